#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs in examples/, as they are, and what libvirt and container engines run."""

import contextlib
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys

import dbus
from gi.repository import GLib

import harness
from harness import SOURCE, VfiodTestCase, wait
from mock_logind import MockLogind

EXAMPLES = SOURCE / 'examples'
PIPE_SIZE = 65536
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

    def run_hook(self, operation, stage, *devices, command=(SOURCE / 'src/libvirt/qemu-hook',)):
        """Its status and what it prints."""
        domain = f"<domain><name>work</name><uuid>{UUID}</uuid><devices>{''.join(devices)}</devices></domain>"
        process = subprocess.run(
            [sys.executable, *command, 'work', operation, stage, '-'], input=domain, text=True,
            env=dict(os.environ, PYTHONPATH=str(SOURCE / 'src/python'), VFIOD_SOCKET=self.socket_path()),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        return process.returncode, process.stdout

    @staticmethod
    def address(bus):
        return f"<address domain='0x0000' bus='0x{bus:02x}' slot='0x00' function='0x0'/>"

    def card(self, bus):
        return f"<hostdev mode='subsystem' type='pci'><source>{self.address(bus)}</source></hostdev>"

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

    def run_under(self, script, padding=''):
        """The hook "prepare" under another libvirtd, this script of the shell; as far as it has read."""
        process = subprocess.Popen(
            ['sh', '-c', script, 'sh', sys.executable, SOURCE / 'src/libvirt/qemu-hook', 'work', 'prepare', 'begin', '-'], text=True,
            env=dict(os.environ, PYTHONPATH=str(SOURCE / 'src/python'), VFIOD_SOCKET=self.socket_path()),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        process.stdin.write(f"<domain><name>work</name><uuid>{UUID}</uuid><devices><hostdev mode='subsystem' type='pci'><source>"
                            f"{self.address(6)}</source></hostdev></devices>{padding}</domain>")
        process.stdin.flush()
        return process

    def test_libvirtd_is_killed(self):
        self.start()
        libvirtd = self.run_under('"$@" && exec sleep 1000')
        libvirtd.stdin.close()
        libvirtd.stdin = None
        wait(lambda: self.records(), 'there is a claim')
        libvirtd.kill()
        wait(lambda: not self.records(), 'the claim is over')
        self.assertEqual(self.host.binding(), self.before)

        libvirtd = self.run_under('"$@"; exit', padding=' ' * 2 * PIPE_SIZE)  # the hook runs when this is written
        libvirtd.kill()
        libvirtd.wait()
        self.assertEqual(libvirtd.communicate(timeout=60)[0], 'vfiod: [Errno 3] No such process\n')
        self.assertEqual(self.records(), [])

    def test_libvirtd_is_dead_when_the_hook_begins(self):
        """Its parent is init then. A claim that is tied to it would stay until the next boot."""
        self.start()
        path = str(SOURCE / 'src/libvirt/qemu-hook')
        command = ('-c', f'import os, runpy; os.getppid = lambda: 1; runpy.run_path({path!r}, run_name="__main__")')
        self.assertEqual(self.run_hook('prepare', 'begin', self.card(6), command=command), (
            1, 'vfiod: process 1 runs this hook: libvirtd has ended, or is process 1 itself\n'))
        self.assertEqual(self.records(), [])

    def test_a_start_after_an_end(self):
        """The next start may come while the devices of the last one are reset; or vfiod was not told of its end at all."""
        self.start()
        self.assertEqual(self.run_hook('prepare', 'begin', self.card(6)), (0, ''))
        first = self.client().manager('GetClaim', 's', f'cookie:{UUID}')
        self.assertEqual(self.run_hook('prepare', 'begin', self.card(6)), (0, ''))
        self.assertNotEqual(self.client().manager('GetClaim', 's', f'cookie:{UUID}'), first)
        self.assertEqual(self.run_hook('release', 'end', self.card(6)), (0, ''))
        self.assertEqual((self.records(), self.host.binding()), ([], self.before))  # it is over when the hook has ended

    def test_another_program_keeps_the_device(self):
        self.start()
        self.assertEqual(self.run_hook('prepare', 'begin', self.card(6)), (0, ''))
        device = next(d for d in self.kernel.devices.values() if d.address == '0000:06:00.0')
        self.kernel.set_enable(device, 1)
        status, text = self.run_hook('release', 'end', self.card(6))
        self.assertEqual(status, 0)
        self.assertRegex(text, r'^vfiod: claim [0-9a-f]{16} has ended, and its devices are not free yet \(draining\)\n$')
        self.kernel.set_enable(device, 0)
        wait(lambda: not self.records(), 'the claim is over')

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
import os, pathlib, select
VIR_DOMAIN_XML_INACTIVE, VIR_DOMAIN_AFFECT_LIVE, VIR_EVENT_HANDLE_READABLE = 2, 1, 1
VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_STOPPED = '3', '4', '5'
VIR_DOMAIN_EVENT_PMSUSPENDED, VIR_DOMAIN_EVENT_CRASHED = '7', '8'
VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_ID_DEVICE_ADDED = 'LA'
VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED = 'RF'
state = pathlib.Path(os.environ['XDG_RUNTIME_DIR'])
loop, callbacks, timers, handles = [], {}, [], {}
def read(name): return (state / name).read_text() if (state / name).exists() else ''
def remove():
    (state / 'added').unlink()
    (state / 'requested').unlink()
def virEventRegisterDefaultImpl(): loop.append('registered')
def virEventAddTimeout(milliseconds, function, opaque): timers.append((milliseconds / 1000, function, opaque))
def virEventAddHandle(fd, events, function, opaque):
    handles[fd] = function, opaque
    return fd
def virEventRemoveHandle(handle): del handles[handle]
def watch_really():
    # What happens: lines EVENT WHAT [DETAIL] of the file.
    (state / 'watched').write_text(str(len(handles)))
    for fd in select.select(list(handles), [], [], 0.05)[0]:
        function, opaque = handles[fd]
        function(fd, fd, 1, opaque)
    if happens := read('happens'):
        (state / 'happens').unlink()
        for event, what, *details in map(str.split, happens.splitlines()):
            function, opaque = callbacks[event]
            function(None, what, *map(int, details), opaque) if event == 'lost' else \\
                function(None, None, what, *map(int, details), opaque)
def virEventRunDefaultImpl():
    if not timers:
        return watch_really()
    # What happens next (a line SECOND EVENT ALIAS gone|there of the file), or the end of the timer, which takes no time.
    next, *others = (read('guest') or '1000 - - -').splitlines()
    second, event, alias, device = next.split()
    end, function, opaque = timers[0]
    if float(second) >= end:
        return function(1, opaque)
    (state / 'guest').write_text('\\n'.join(others))
    if device != 'there':
        remove()
    if device in ('off', 'forgotten'):
        (state / 'active').write_text('no' if device == 'off' else device)
    function, opaque = callbacks[event]
    function(None, None, alias, opaque)
VIR_ERR_NO_DOMAIN = 42
class libvirtError(Exception):
    def get_error_code(self): return VIR_ERR_NO_DOMAIN if 'no domain' in str(self) else 1
class Domain:
    def name(self): return 'work'
    def UUIDString(self): return '6f2a3c0e-5a7e-4a7c-9d43-3c4d1f6b0a11'
    def isActive(self): return int(read('active') == 'yes')
    def XMLDesc(self, flags):
        if read('active') == 'forgotten': raise libvirtError('no domain of this name')
        added = read('added').replace('</source>', '</source><alias name="hostdev1"/>')
        return \'\'\'<domain><devices><hostdev type="pci"><source><address domain="0x0000" bus="0x06" slot="0x00"
                     function="0x0"/></source></hostdev>\'\'\' + added + '</devices></domain>'
    def maxMemory(self): return 1024 - 1024 * 1024  # with the gigabyte for QEMU a megabyte: no limit need be raised
    def create(self): (state / 'active').write_text('yes')
    def destroy(self): print('stopped')
    def attachDeviceFlags(self, xml, flags): (state / 'added').write_text(xml)
    def detachDeviceFlags(self, xml, flags):
        if read('error') or read('requested'):
            raise libvirtError(read('error') or 'Device hostdev1 is already in the process of unplug')
        assert xml == read('added'), xml
        assert len(callbacks) == 5, 'an event could be missed'
        (state / 'requested').write_text('yes')
        if read('guest') == 'at once':
            remove()
class Connection:
    def lookupByName(self, name): return Domain()
    def domainEventRegisterAny(self, domain, event, function, opaque):
        assert loop, 'there are no events'
        callbacks[event] = function, opaque
        if read('active') == 'ends':
            (state / 'active').write_text('no')
    def registerCloseCallback(self, function, opaque): callbacks['lost'] = function, opaque
    def close(self): pass
def open(uri): return Connection()
def registerErrorHandler(function, context): pass
"""

    def setUp(self):
        super().setUp()
        self.card = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.nic = self.host.add_device('0000:07:00.0', group=9, driver='igb')
        self.before = self.host.binding()
        self.set_policy([{'effect': 'allow', 'who': {}, 'what': {'device': '*'}, 'reset': 'optional', 'grant': ['node'],
                          'memlock': '64G'}])
        self.write('libvirt.py', self.LIBVIRT)
        self.start()

    def write(self, name, text):
        path = pathlib.Path(self.directory, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def begin(self, *arguments):
        process = subprocess.Popen(
            [sys.executable, SOURCE / 'src/libvirt/vfioctl-virt', *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict(os.environ, PYTHONPATH=f'{self.directory}:{SOURCE}/src/python', VFIOD_SOCKET=self.socket_path(),
                     XDG_RUNTIME_DIR=self.directory))
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def end(self, process):
        """(exit status, output that was not read, errors)"""
        output, errors = process.communicate(timeout=60)
        return process.returncode, output, errors

    def virt(self, *arguments):
        return self.end(self.begin(*arguments))

    def test_a_process_that_is_not_found(self):
        status, output, errors = self.virt('start', 'work')
        self.assertEqual((status, output), (1, 'stopped\n'), errors)
        self.assertIn('vfioctl virt: libvirt does not say which process runs domain work', errors)
        wait(lambda: not self.records(), 'the claim is over')
        self.assertEqual(self.host.binding(), self.before)

    def start_domain(self):
        """With a second card, as vfiod shows the claim."""
        qemu = subprocess.Popen(['sleep', '1000'])
        self.addCleanup(qemu.wait)
        self.addCleanup(qemu.kill)
        self.write('libvirt/qemu/run/work.pid', str(qemu.pid))
        status, output, errors = self.virt('start', 'work')
        self.assertEqual((status, errors), (0, ''))
        self.assertIn("Domain 'work' started, claim ", output)
        self.assertEqual(self.virt('attach', 'work', '07:00.0'), (0, "Attached to domain 'work': pci:0000:07:00.0\n", ''))
        self.assertEqual(self.devices(), [self.card.name, self.nic.name])
        return qemu

    def devices(self):
        c = self.client()
        paths = c.properties(c.manager('GetClaim', 's', f'cookie:{UUID}'), 'Claim')['Devices']
        return [d.name for d in (self.card, self.nic) if harness.device_path(d.name) in paths]

    WAITING = 'Waiting up to 30 s for the guest in domain work to release pci:0000:07:00.0\n'
    DETACHED = (0, "Detached from domain 'work': pci:0000:07:00.0\n", WAITING)

    def test_attach_and_detach(self):
        qemu = self.start_domain()
        self.write('guest', '1 R hostdev7 there\n10 R hostdev1 gone')
        self.assertEqual(self.virt('detach', 'work', '07:00.0'), self.DETACHED)
        self.assertEqual(self.devices(), [self.card.name])
        wait(lambda: self.host.binding()['0000:07:00.0'] == self.before['0000:07:00.0'], 'the card is back')
        qemu.kill()
        wait(lambda: not self.records(), 'the claim is over')
        self.assertEqual(self.host.binding(), self.before)

    def test_what_ends_the_wait(self):
        """There may be no event at all; or one before libvirt's description shows it; or one of something else."""
        self.start_domain()
        for guest, errors in (('at once', ''), ('29 R hostdev1 there', self.WAITING), ('29 L 4 gone', self.WAITING)):
            self.write('guest', guest)
            self.assertEqual(self.virt('detach', 'work', '07:00.0'), self.DETACHED[:2] + (errors,), guest)
            self.assertEqual(self.devices(), [self.card.name])
            pathlib.Path(self.directory, 'requested').unlink(missing_ok=True)
            wait(lambda: self.host.binding()['0000:07:00.0'] == self.before['0000:07:00.0'], 'the card is back')
            self.assertEqual(self.virt('attach', 'work', '07:00.0')[0], 0)

    def test_a_domain_that_ends_meanwhile(self):
        """The description of a domain that does not run has its devices still."""
        self.start_domain()
        ended = (0, "Domain 'work' has ended, and its claim with it\n", self.WAITING)
        self.write('guest', '29 L 5 there')
        self.assertEqual(self.virt('detach', 'work', '07:00.0'), ended)
        self.write('guest', '29 L 8 off')  # it has lost the device before its end is reported
        self.assertEqual(self.virt('detach', 'work', '07:00.0'), ended)

    def test_a_transient_domain_that_ends_meanwhile(self):
        self.start_domain()
        self.write('guest', '29 L 8 forgotten')
        self.assertEqual(self.virt('detach', 'work', '07:00.0'),
                         (0, "Domain 'work' has ended, and its claim with it\n", self.WAITING))

    def test_a_guest_that_does_not_release_it(self):
        """QEMU reports a refusal of memory, and of devices of the machine pseries, but of no PCI device of a PC: it cannot be had
        from a real libvirt here."""
        self.start_domain()
        for guest, why in (('', 'has not released pci:0000:07:00.0 within 30 s'),
                           ('31 R hostdev1 gone', 'has not released pci:0000:07:00.0 within 30 s'),  # for libvirt, now an error
                           ('1 F hostdev7 there\n2 F hostdev1 there', 'refuses to release pci:0000:07:00.0')):
            self.write('guest', guest)
            status, output, errors = self.virt('detach', 'work', '0000:07:00.0')
            self.assertEqual((status, output), (1, ''))
            self.assertEqual(errors, f'{self.WAITING}vfioctl virt: the guest in domain work {why}; domain and claim keep it. '
                             'Try again when the guest has released it, or stop the domain\n')
            self.assertEqual(self.devices(), [self.card.name, self.nic.name])
        self.write('guest', '0 R hostdev1 gone')
        self.assertEqual(self.virt('detach', 'work', '0000:07:00.0'), self.DETACHED)
        self.assertEqual(self.devices(), [self.card.name])

    def test_detach_that_is_refused(self):
        self.start_domain()
        self.write('error', 'this device cannot be unplugged')
        self.assertEqual(self.virt('detach', 'work', '07:00.0'), (1, '', 'vfioctl virt: this device cannot be unplugged\n'))
        for device, text in (('08:00.0', 'the claim of domain work does not have pci:0000:08:00.0'), ('7', '7 is not the address')):
            status, output, errors = self.virt('detach', 'work', device)
            self.assertEqual((status, output), (1, ''))
            self.assertIn(text, errors)
        self.assertEqual(self.devices(), [self.card.name, self.nic.name])

    def follow(self):
        """What follows the domain, and the id of its claim."""
        process = self.begin('follow', 'work')
        line = process.stdout.readline()
        self.assertRegex(line, r"^Following domain 'work' and claim \S+\n$")
        return process, line.split()[-1]

    def shows(self, process, *lines):
        for line in lines:
            self.assertRegex(process.stdout.readline(), f'^{line}\n$')

    def happens(self, *lines):
        self.write('happens', '\n'.join(lines))

    TIME = r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+'

    def test_follow_until_it_stops(self):
        qemu = self.start_domain()
        added = pathlib.Path(self.directory, 'added').rename(pathlib.Path(self.directory, 'later'))
        process, claim = self.follow()
        self.happens('L 3 0', 'L 4 0', 'L 2 0', 'F hostdev1')
        self.shows(process, "Domain 'work' is paused", "Domain 'work' runs again")
        self.write('added', added.read_text())
        self.happens('F hostdev1', 'A hostdev1', 'F hostdev1', 'F hostdev7', 'R hostdev1')
        self.shows(process, *(f"Domain 'work' {what} pci:0000:07:00.0" for what in ('has got', 'refuses to release', 'has released')))
        self.client().manager('ReleaseDevices', 'sasa{sv}', claim, [self.nic.name], {})
        self.shows(process, f'Claim {claim} has {self.card.name} now')
        qemu.kill()
        self.shows(process, f'Claim {claim} has ended')
        wait(lambda: pathlib.Path(self.directory, 'watched').read_text() == '0', 'events of other claims wake nobody')
        self.happens('L 5 1')
        self.assertEqual(self.end(process), (0, "Domain 'work' has stopped (destroyed)\n", ''))
        self.assertEqual(self.host.binding(), self.before)

    def test_follow_waits_for_the_claim(self):
        qemu = self.start_domain()
        process, claim = self.follow()
        self.kernel.set_enable(self.card, 1)
        self.happens('L 5 0')
        self.shows(process, r"Domain 'work' has stopped \(its guest has shut down\)")
        qemu.kill()
        self.shows(process, f'Claim {claim} is being given back')
        self.happens('lost 0')  # of no use any more
        self.kernel.set_enable(self.card, 0)
        self.assertEqual(self.end(process), (0, f'Claim {claim} has ended\n', ''))

    def test_follow_an_eviction(self):
        """It is shown, also one that was there before, and nothing is done about it."""
        self.start_domain()
        process, claim = self.follow()
        line = (f'Claim {claim} must be given back by {self.TIME}: the card is swapped \\(announced\\)\\. Detach its devices '
                r"\('vfioctl virt detach work DEVICE…'\) or stop the domain\. "
                f"'vfioctl evict --more=SECONDS {claim}' asks for more time\\.")
        root = self.client()
        root.manager('Evict', 'sa{sv}', claim, {'reason': 'the card is swapped', 'in': dbus.UInt64(600)})
        self.shows(process, line)
        self.shows(self.follow()[0], line)
        root.manager('Evict', 'sa{sv}', claim, {'cancel': True})
        self.shows(process, f'Claim {claim} can stay')
        process.send_signal(signal.SIGINT)
        self.assertEqual(self.end(process), (-signal.SIGINT, '', ''))
        self.assertEqual(self.devices(), [self.card.name, self.nic.name])

    def test_follow_while_the_host_sleeps(self):
        self.start_domain()
        process, claim = self.follow()
        logind = MockLogind(self.bus.address, 600000000)
        self.addCleanup(logind.close)
        wait(logind.is_delayed, 'vfiod has a lock')
        logind.sleep(True)
        self.shows(process, f'The host is about to sleep, at {self.TIME} at the latest')
        self.assertTrue(logind.is_delayed(), 'who only follows must not answer for the holder')
        logind.sleep(False)
        self.shows(process, 'The host is awake')

    def test_follow_after_a_restart_of_vfiod(self):
        qemu = self.start_domain()
        process, claim = self.follow()
        self.daemon.kill()
        self.start(keep_fds=True)
        self.client().manager('ReleaseDevices', 'sasa{sv}', claim, [self.nic.name], {})
        self.shows(process, f'Claim {claim} has {self.card.name} now')
        self.daemon.kill()
        qemu.kill()  # the next daemon finds out
        self.start(keep_fds=True)
        wait(lambda: not self.records(), 'the claim is over')
        self.happens('L 5 2')
        self.assertEqual(self.end(process)[::2], (0, ''))

    def test_follow_what_is_lost(self):
        self.start_domain()
        process, claim = self.follow()
        self.happens('lost 0')
        self.assertEqual(self.end(process), (
            3, '', 'vfioctl virt: the connection to libvirt was lost; domain work and its claim are as they were\n'))
        process, claim = self.follow()
        os.unlink(self.socket_path())
        self.daemon.stop()
        status, output, errors = self.end(process)
        self.assertEqual((status, output), (3, ''))
        self.assertIn('vfioctl virt: Cannot connect to vfiod', errors)

    def test_follow_what_does_not_run(self):
        self.assertEqual(self.virt('follow', 'work'), (1, '', 'vfioctl virt: domain work is not running\n'))
        self.write('active', 'yes')
        process = self.begin('follow', 'work')
        self.shows(process, "Following domain 'work' and no claim: it has none")
        self.happens('L 5 1')
        self.assertEqual(self.end(process), (0, "Domain 'work' has stopped (destroyed)\n", ''))

    def test_follow_what_stops_at_once(self):
        """Between the first look and the registration, when there is no event of it."""
        qemu = self.start_domain()
        self.write('active', 'ends')
        process, claim = self.follow()
        self.shows(process, "Domain 'work' has stopped")
        self.happens('L 5 1')  # it is not shown twice
        qemu.kill()
        status, output, errors = self.end(process)
        self.assertEqual((status, errors), (0, ''))
        self.assertIn(f'Claim {claim} has ended\n', output)
        self.assertNotIn('stopped', output)


class OciHookTest(VfiodTestCase):
    """The three stages get what podman passes: this process is the engine."""
    sockets = ('varlink',)
    HOOK = SOURCE / 'src/containers/vfiod-oci-hook'

    def setUp(self):
        super().setUp()
        self.card = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.nic = self.host.add_device('0000:07:00.0', group=9, driver='igb')
        self.before = self.host.binding()
        self.set_policy([{'effect': 'allow', 'who': {}, 'what': {'device': '*'}, 'reset': 'optional', 'grant': ['fd', 'node']}])
        self.bundle = pathlib.Path(self.directory, 'bundle')
        self.bundle.mkdir()
        self.container = subprocess.Popen(['sleep', '1000'])
        self.addCleanup(self.end_container)
        self.start()
        self.c = self.client()

    def end_container(self):
        self.container.kill()
        self.container.wait()

    def run_hook(self, stage, document, status=0):
        """What it prints; its errors are in error_output."""
        path = pathlib.Path(self.directory, 'stdin')
        path.write_text(json.dumps(document))
        with path.open() as stdin:
            return self.run_on_host(sys.executable, self.HOOK, stage, status=status, stdin=stdin, environment={
                'PYTHONPATH': str(SOURCE / 'src/python'), 'VFIOD_SOCKET': self.socket_path()})

    def precreate(self, device, **annotations):
        """The configuration, which podman then writes into the bundle."""
        output = self.run_hook('precreate', {'annotations': {'org.vfiod.devices': device, **annotations}})
        (self.bundle / 'config.json').write_text(output)
        return json.loads(output)

    def state(self, **annotations):
        return {'ociVersion': '1.0.2', 'id': 'board', 'status': 'created', 'pid': self.container.pid, 'bundle': str(self.bundle),
                'annotations': {'org.vfiod.devices': '0000:06:00.0', **annotations}}

    def write_annotation(self, value):
        (self.bundle / 'config.json').write_text(json.dumps({'annotations': {'org.vfiod.claim': value}}))

    def shown(self, cookie):
        return self.c.properties(self.c.manager('GetClaim', 's', f'cookie:{cookie}'), 'Claim')

    def test_the_life_of_a_container(self):
        configuration = self.precreate(' 0000:06:00.0, 07:00.0', **{'org.vfiod.claim': 'of-the-user'})
        cookie = configuration['annotations']['org.vfiod.claim']
        claim = self.shown(cookie)
        self.assertEqual((claim['State'], claim['Grant'], claim['Tether'], claim['Reason']), ('held', 'node', 'lifeline', 'container'))
        self.assertEqual(len(self.hook_processes()), 1)
        paths = [n['path'] for n in configuration.get('linux', {}).get('devices', [])] + [
            m['destination'] for m in configuration.get('mounts', [])]
        self.assertEqual(paths, list(claim['Nodes']))
        self.assertEqual(len(paths), 3)
        self.assertEqual(self.run_hook('createRuntime', self.state()), '')
        self.wait_no_hook()
        self.assertEqual((self.shown(cookie)['State'], self.shown(cookie)['Tether']), ('held', 'process'))
        self.end_container()  # nobody runs poststop
        wait(lambda: not self.records(), 'the claim is over')
        self.assertEqual(self.host.binding(), self.before)
        self.assertEqual((self.run_hook('poststop', self.state()), self.error_output), ('', ''))

    def test_poststop_ends_the_claim(self):
        """podman passes the annotations of the creation, which precreate has not seen."""
        self.precreate('06:00.0')
        self.run_hook('createRuntime', self.state())
        self.run_hook('poststop', self.state())
        wait(lambda: not self.records(), 'the claim is over')
        self.assertEqual(self.host.binding(), self.before)

    def begin(self, *command, document, socket_path=None):
        """In the background. Nobody reads what it writes."""
        process = subprocess.Popen(
            command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**harness.preload_environment(self.host), 'PYTHONPATH': str(SOURCE / 'src/python'),
                 'VFIOD_SOCKET': socket_path or self.socket_path()})
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        process.stdin.write(json.dumps(document))
        process.stdin.close()
        process.stdin = None
        return process

    def wait_awake(self, condition, what):
        """For what wakes no main loop."""
        timer = GLib.timeout_add(50, lambda: True)
        try:
            wait(condition, what)
        finally:
            GLib.source_remove(timer)

    def wait_readable(self, what):
        self.wait_awake(lambda: select.select([what], [], [], 0)[0], f'{what} can be read')

    def hook_processes(self):
        found = []
        for path in pathlib.Path('/proc').glob('[0-9]*'):
            with contextlib.suppress(OSError):
                if self.socket_path() in (path / 'environ').read_text() and str(self.HOOK) in (path / 'cmdline').read_text():
                    found.append(int(path.name))
        return found

    def wait_no_hook(self):
        self.wait_awake(lambda: not self.hook_processes(), 'no process is left')

    def wait_restored(self):
        wait(lambda: not self.records(), 'the claim is over')
        self.assertEqual(self.host.binding(), self.before)
        self.wait_no_hook()

    def test_killed(self):
        """Whatever is killed, and whoever goes on, no claim stays behind."""
        hook = [sys.executable, self.HOOK]
        # More than the pipe takes: the hook has the claim, and cannot finish.
        document = {'annotations': {'org.vfiod.devices': '06:00.0', 'padding': 'x' * 2 * PIPE_SIZE}}

        precreate = self.begin(*hook, 'precreate', document=document)
        self.wait_readable(precreate.stdout)
        self.assertEqual(len(self.records()), 1)
        precreate.kill()  # the engine is this process, which goes on
        self.wait_restored()

        engine = self.begin('sh', '-c', '"$@"; exit', 'sh', *hook, 'precreate', document=document)
        self.wait_readable(engine.stdout)
        engine.kill()
        engine.wait()
        self.assertEqual(engine.communicate(timeout=60)[1], '')
        self.wait_restored()

        document['annotations']['padding'] = ''
        engine = self.begin('sh', '-c', '"$@" >"$0" && echo created && exec sleep 1000', self.bundle / 'config.json', *hook,
                            'precreate', document=document)
        self.wait_readable(engine.stdout)
        path = f'{self.directory}/silent'
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(path)
            silent.listen()
            create_runtime = self.begin(*hook, 'createRuntime', document=self.state(), socket_path=path)
            self.wait_readable(silent)
            create_runtime.kill()
            create_runtime.wait()
        self.assertEqual(len(self.records()), 1)
        engine.kill()
        self.wait_restored()

    def test_a_container_that_is_never_created(self):
        """The engine goes on, and does not run poststop."""
        run = (f"import importlib.machinery, types; hook = types.ModuleType('hook'); "
               f"importlib.machinery.SourceFileLoader('hook', '{self.HOOK}').exec_module(hook); "
               "hook.CREATION_TIMEOUT = 0.01; hook.main(['precreate'])")
        precreate = self.begin(sys.executable, '-c', run, document={'annotations': {'org.vfiod.devices': '06:00.0'}})
        output, errors = precreate.communicate(timeout=60)
        self.assertEqual(errors, '')
        self.wait_restored()
        (self.bundle / 'config.json').write_text(output)
        self.run_hook('createRuntime', self.state(), status=1)  # too late
        self.assertIn('vfiod: ', self.error_output)

    def test_refused(self):
        self.set_policy([])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        self.assertEqual(self.run_hook('precreate', {'annotations': {'org.vfiod.devices': '06:00.0'}}, status=1), '')
        self.assertTrue(self.error_output.startswith('vfiod: '), self.error_output)
        self.assertIn('no rule', self.error_output)
        self.assert_untouched(self.before)
        self.run_hook('poststop', self.state())  # there is no bundle yet
        (self.bundle / 'config.json').write_text('{}')
        self.run_hook('poststop', self.state())
        self.assertEqual(self.error_output, '')
        self.run_hook('createRuntime', self.state(), status=1)
        self.assertIn('did not run the hook of the stage precreate', self.error_output)

    def test_a_configuration_that_cannot_be_changed(self):
        """What was claimed for it is given back."""
        document = {'annotations': {'org.vfiod.devices': '06:00.0'}, 'linux': 'none', 'mounts': 'none'}
        self.assertEqual(self.run_hook('precreate', document, status=1), '')
        self.assertTrue(self.error_output.startswith('vfiod: '), self.error_output)
        self.wait_logged('ended, its devices are restored')
        wait(lambda: not self.records(), 'the claim is over')
        self.assert_untouched(self.before)

    def test_an_annotation_of_the_user(self):
        """It names claims that are not the container's."""
        claim = self.c.acquire(self.card, cookie='6f2a3c0e')
        other = self.precreate('07:00.0')['annotations']['org.vfiod.claim']
        for value in (claim.id, '6f2a3c0e', 'cookie:6f2a3c0e', f'cookie:{other}', other + '\n', '', None, [other]):
            self.write_annotation(value)
            self.run_hook('createRuntime', self.state(), status=1)
            self.run_hook('poststop', self.state())
        (self.bundle / 'config.json').write_text('{}')
        for value in (claim.id, other):  # only in what the engine was asked for
            self.run_hook('createRuntime', self.state(**{'org.vfiod.claim': value}), status=1)
            self.run_hook('poststop', self.state(**{'org.vfiod.claim': value}))
        self.write_annotation('oci-hook-' + '0' * 32)
        self.run_hook('createRuntime', self.state(), status=1)
        self.assertIn('claim', self.error_output)
        self.run_hook('poststop', self.state())
        self.assertEqual([claim.state, self.shown(other)['State']], ['held', 'held'])
        self.end_container()
        self.assertEqual(len(self.records()), 2)
        claim.close()
        self.c.manager('Release', 'sa{sv}', f'cookie:{other}', {})
        wait(lambda: not self.records(), 'both are over')

    def test_documents_that_are_none(self):
        for document in ([], {}, {'annotations': {}}, {'annotations': {'org.vfiod.devices': 6}}, None):
            self.run_hook('precreate', document, status=1)
            self.assertTrue(self.error_output.startswith('vfiod: '), self.error_output)
        for document in ([], {}, {'bundle': 6}, None):
            for stage in ('createRuntime', 'poststop'):
                self.run_hook(stage, document, status=1)
                self.assertTrue(self.error_output.startswith('vfiod: '), self.error_output)
        self.assert_untouched(self.before)


if __name__ == '__main__':
    harness.main()
