#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs in examples/, as they are, and the hook of libvirt."""

import os
import pathlib
import subprocess
import sys

import harness
from harness import SOURCE, VfiodTestCase, wait

EXAMPLES = SOURCE / 'examples'
UUID = '6f2a3c0e-5a7e-4a7c-9d43-3c4d1f6b0a11'


class LibvirtTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.card = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.nic = self.host.add_device('0000:07:00.0', group=9, driver='igb')
        self.before = self.host.binding()

    def run_example(self, *command):
        process = subprocess.Popen(
            [sys.executable, EXAMPLES / 'libvirt-dbus.py', 'work', UUID, '06:00.0', '07:00.0', '--', *command],
            env=dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS=self.bus.address), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        return process

    def test_the_life_of_a_domain(self):
        self.start()
        process = self.run_example('sh', '-c', 'readlink /proc/self/fd/$0 /proc/self/fd/$1; read line', '{iommufd}', '{device}')
        lines = [process.stdout.readline() for _ in range(5)]
        self.assertTrue(any(line.strip().endswith('/iommu') for line in lines), lines)
        self.assertTrue(any('vfio' in line for line in lines), lines)
        self.assertTrue(any('is held and is tied to process' in line for line in lines), lines)
        self.assertIn(f'added {self.nic.name}: device:{self.nic.name}\n', lines)
        self.assertIn(f'removed {self.nic.name}\n', lines)
        claim = self.client().manager('GetClaim', 's', f'cookie:{UUID}').rpartition('/')[2]
        wait(lambda: self.records() == [f'{claim}.json'], 'the added device is given back')
        out, error = process.communicate('quit\n', timeout=60)
        self.assertEqual(process.returncode, 0, error)
        self.assertEqual((out, error), ('', ''))
        wait(lambda: not self.records(), 'the claim is over')
        self.assertEqual(self.host.binding(), self.before)

    def test_denied(self):
        self.set_policy([])
        self.start()
        _, error = self.run_example('true').communicate(timeout=60)
        self.assertIn('org.vfiod1.Error.AccessDenied: ', error)
        self.assert_untouched(self.before)

    def test_no_vfiod(self):
        process = self.run_example('true')
        self.assertEqual(process.communicate(timeout=60)[1], 'There is no vfiod on this host.\n')
        self.assertEqual(process.returncode, 1)


class HookTest(VfiodTestCase):
    sockets = ('varlink',)

    def setUp(self):
        super().setUp()
        for number in (6, 7, 8):
            self.host.add_device(f'0000:{number:02}:00.0', group=number, driver='e1000e')
        self.before = self.host.binding()
        self.set_policy([{'effect': 'allow', 'who': {}, 'what': {'device': '*'}, 'reset': 'optional', 'grant': ['none']}])

    def run_hook(self, operation, stage, *devices):
        """Its status and what it prints."""
        domain = f"<domain><name>work</name><uuid>{UUID}</uuid><devices>{''.join(devices)}</devices></domain>"
        process = subprocess.run(
            [sys.executable, SOURCE / 'src/libvirt/qemu-hook', 'work', operation, stage, '-'], input=domain, text=True,
            env=dict(os.environ, PYTHONPATH=str(SOURCE / 'src/python'), VFIOD_SOCKET=self.socket_path()),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        return process.returncode, process.stdout

    @staticmethod
    def address(bus):
        return f"<address domain='0x0000' bus='0x{bus:02x}' slot='0x00' function='0x0'/>"

    def test_every_kind_of_device(self):
        disk = "<disk type='nvme'><source type='pci' managed='yes' namespace='{}'>" + self.address(8) + '</source></disk>'
        devices = (f"<hostdev mode='subsystem' type='pci'><source>{self.address(6)}</source>{self.address(1)}</hostdev>",
                   f"<interface type='hostdev'><source>{self.address(7)}</source></interface>",
                   disk.format(1), disk.format(2))
        self.start()
        self.assertEqual(self.run_hook('prepare', 'begin', *devices), (0, ''))
        c = self.client()
        claim = c.manager('GetClaim', 's', f'cookie:{UUID}')
        self.assertEqual(list(c.properties(claim, 'Claim')['Devices']),
                         [harness.device_path(f'pci:0000:{bus:02}:00.0') for bus in (6, 7, 8)])
        self.assertEqual(self.run_hook('release', 'end', *devices), (0, ''))
        wait(lambda: not self.records(), 'the claim is over')
        self.assertEqual(self.host.binding(), self.before)

    def test_a_domain_without_devices_needs_no_vfiod(self):
        os.unlink(self.socket_path())
        for call in ('prepare', 'begin'), ('started', 'begin'), ('release', 'end'):
            self.assertEqual(self.run_hook(*call), (0, ''))
        status, text = self.run_hook('prepare', 'begin', f"<hostdev type='pci'><source>{self.address(6)}</source></hostdev>")
        self.assertEqual(status, 1)
        self.assertTrue(text.startswith('vfiod: Cannot connect to vfiod at '), text)


class VirtTest(VfiodTestCase):
    sockets = ('varlink',)
    LIBVIRT = """
VIR_DOMAIN_XML_INACTIVE = 2
class libvirtError(Exception): pass
class Domain:
    def name(self): return 'work'
    def UUIDString(self): return '6f2a3c0e-5a7e-4a7c-9d43-3c4d1f6b0a11'
    def isActive(self): return 0
    def XMLDesc(self, flags):
        return '''<domain><devices><hostdev type="pci"><source><address domain="0x0000" bus="0x06" slot="0x00"
                     function="0x0"/></source></hostdev></devices></domain>'''
    def maxMemory(self): return 1024 - 1024 * 1024  # with the gigabyte for QEMU a megabyte: no limit need be raised
    def create(self): pass
    def destroy(self): print('stopped')
class Connection:
    def lookupByName(self, name): return Domain()
    def close(self): pass
def open(uri): return Connection()
def registerErrorHandler(function, context): pass
"""

    def test_a_process_that_is_not_found(self):
        card = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        before = self.host.binding()
        self.set_policy([{'effect': 'allow', 'who': {}, 'what': {'device': card.name}, 'reset': 'optional', 'grant': ['node'],
                          'memlock': '64G'}])
        pathlib.Path(f'{self.directory}/libvirt.py').write_text(self.LIBVIRT)
        self.start()
        process = subprocess.run(
            [sys.executable, SOURCE / 'src/libvirt/vfioctl-virt', 'start', 'work'], text=True, timeout=60, capture_output=True,
            env=dict(os.environ, PYTHONPATH=f'{self.directory}:{SOURCE}/src/python', VFIOD_SOCKET=self.socket_path(),
                     XDG_RUNTIME_DIR=self.directory))
        self.assertEqual((process.returncode, process.stdout), (1, 'stopped\n'), process.stderr)
        self.assertIn('vfioctl virt: libvirt does not say which process runs domain work', process.stderr)
        wait(lambda: not self.records(), 'the claim is over')
        self.assertEqual(self.host.binding(), before)


if __name__ == '__main__':
    harness.main()
