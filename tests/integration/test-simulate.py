#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vfiod --simulate: the daemon on a recorded host. It answers as it would there, hands nothing out, and touches
nothing of this machine, which in these tests has other devices."""

import copy
import json
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

import harness
from harness import NAME, ROOT_PATH, VfiodTestCase, device_path

NIC = {'name': 'pci:0000:06:00.0', 'vendor': 0x8086, 'product': 0x10d3, 'subsystemVendor': 0x1af4,
       'subsystemProduct': 0x1100, 'class': 0x020000, 'revision': 3, 'driver': 'e1000e', 'group': 7,
       'numaNode': 1, 'resetMethods': ['flr', 'bus'], 'driverOverride': '', 'removable': 'fixed', 'hostCritical': '',
       'enable': 1, 'acsPath': 'incomplete', 'slotPath': '0000:00:1c.0/00.0', 'serial': '',
       'properties': {'ID_PATH': 'pci-0000:06:00.0'}}
DISK = {**NIC, 'name': 'pci:0000:07:00.0', 'class': 0x010802, 'driver': 'nvme', 'group': 8,
        'hostCritical': 'nvme0n1p1 is mounted on /srv'}
HOST = {
    'version': 1, 'vfiod': '0.1.0',
    'kernel': {'iommu': True, 'iommufd': True, 'deviceCdev': True, 'container': False, 'noiommuSupport': True,
               'noiommuEnabled': False, 'lockdown': False},
    'devices': [NIC, DISK],
    'groups': [{'id': 7, 'type': 'DMA-FQ', 'vfioNode': '',
                'reservedRegions': [{'start': '0xfee00000', 'end': '0xfeefffff', 'type': 'msi'}]}],
    'taints': [{'kind': 'command-line', 'weakens': True, 'what': 'pcie_acs_override=downstream'}],
    'accounts': {'users': {'recorded': {'uid': os.getuid(), 'groups': [os.getgid()]}}, 'groups': {}},
}


class SimulateTestCase(VfiodTestCase):
    def write(self, content, name='host.json'):
        path = f'{self.directory}/{name}'
        data = content if isinstance(content, bytes) else json.dumps(content, indent=1).encode()
        pathlib.Path(path).write_bytes(data)
        return path

    def simulate(self, content=HOST):
        self.start(f'--simulate={self.write(content)}')
        return self.client()


class SimulateTest(SimulateTestCase):
    def setUp(self):
        super().setUp()
        self.real = self.host.add_device('0000:99:00.0', group=1, driver='e1000e')
        self.before = self.host.binding()
        self.set_policy([self.rule(user='recorded')])

    def tearDown(self):
        self.assertEqual(self.host.binding(), self.before)
        self.assertEqual(self.kernel.writes, [])
        self.assertEqual(os.listdir(f'{self.directory}/state/claims'), [])
        self.assertEqual(os.listdir(f'{self.directory}/state'), ['claims'])

    def test_only_the_recorded_devices_are_there(self):
        c = self.simulate()
        self.assertEqual({p for p in c.objects() if '/device/' in p or '/group/' in p},
                         {device_path(NIC['name']), device_path(DISK['name']), ROOT_PATH + '/group/7',
                          ROOT_PATH + '/group/8'})
        with self.refused('NoSuchDevice'):
            c.plan(self.real)

    def test_properties(self):
        c = self.simulate()
        path = device_path(NIC['name'])
        p = c.properties(path, 'Device')
        self.assertEqual((p['Vendor'], p['Product'], p['Class'], p['NumaNode']), (0x8086, 0x10d3, 0x020000, 1))
        self.assertEqual((p['Driver'], p['Removable'], p['State']), ('e1000e', 'fixed', 'free'))
        self.assertEqual(sorted(p['ResetMethods']), ['bus', 'flr'])
        # Which port it is was not recorded.
        self.assertEqual(tuple(c.get(path, 'Device', 'AcsPath')), ('incomplete', ''))
        self.assertEqual(c.get(device_path(DISK['name']), 'Device', 'HostCritical'), 'nvme0n1p1 is mounted on /srv')
        g = c.properties(ROOT_PATH + '/group/7', 'Group')
        self.assertEqual((g['Type'], list(map(tuple, g['ReservedRegions']))),
                         ('DMA-FQ', [(0xfee00000, 0xfeefffff, 'msi')]))
        self.assertEqual(c.properties(ROOT_PATH + '/group/8', 'Group')['Type'], 'unknown')
        m = c.properties(ROOT_PATH, 'Manager')
        self.assertTrue(m['Kernel']['iommufd'] and not m['Kernel']['container'])
        self.assertEqual([str(t['what']) for t in m['Taints']], ['pcie_acs_override=downstream'])
        self.assertTrue(m['Simulated'])

    def test_plan(self):
        plan = self.simulate().plan(NIC['name'])
        self.assertEqual(plan['backend'], 'iommufd')
        self.assertEqual(plan['members'][0]['targetDriver'], 'vfio-pci')

    def test_explain(self):
        self.set_policy([{'name': 'far', 'effect': 'allow', 'who': {'user': 'recorded'}, 'what': {'numa': 0}},
                         self.rule('near', user='recorded')])
        explained = json.loads(self.simulate().manager('Explain', 'asa{sv}', [NIC['name']], {}))
        device = explained['devices'][0]
        self.assertEqual((device['effect'], device['rule']), ('allow', 'near'))
        far = device['considered'][0]
        self.assertEqual([(p['key'], p['holds'], p['seen']) for p in far['predicates'] if p['holds'] != 'yes'],
                         [('what.numa', 'no', '1')])

    def test_names_are_the_recorded_ones(self):
        self.set_policy([])
        with self.refused('AccessDenied', f'no rule of the policy allows it to recorded ({os.getuid()})'):
            self.simulate().acquire(NIC['name'])

    def test_acquire(self):
        c = self.simulate()
        with self.refused('Simulation', NIC['name'], 'the request would be granted'):
            c.acquire(NIC['name'])
        # Who would be refused is refused as ever.
        with self.refused('HostCritical', 'mounted on /srv'):
            c.acquire(DISK['name'])
        with self.refused('NoSuchDevice'):
            c.acquire('0000:01:00.0')
        with self.refused('BackendUnavailable'):
            c.acquire(NIC['name'], backend='group')
        with self.refused('HostTainted', 'pcie_acs_override=downstream'):
            c.acquire(NIC['name'], untainted=True)
        with self.refused('InvalidArgument'):
            c.manager('Acquire', 'asa{sv}', [], {})
        self.assertEqual(c.get(ROOT_PATH, 'Manager', 'Claims'), 0)

    def test_reload(self):
        c = self.simulate()
        self.set_policy([self.rule(user='recorded', effect='deny')])
        c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('AccessDenied'):
            c.acquire(NIC['name'])
        self.set_policy([self.rule(user='recorded', effect='ask')])
        c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('Simulation', 'authentication would be required'):
            c.acquire(NIC['name'])

    def test_refusals_are_remembered(self):
        c = self.simulate()
        with self.refused('HostCritical'):
            c.acquire(DISK['name'])
        explained = json.loads(c.manager('Explain', 'asa{sv}', [], {'lastRefusal': True}))
        self.assertEqual(explained['refused']['error'], 'HostCritical')
        self.assertEqual(explained['devices'][0]['device'], DISK['name'])

    def test_the_shadow_is_compared(self):
        shadow = pathlib.Path(self.directory) / 'shadow.d'
        shadow.mkdir(mode=0o755)
        (shadow / '50-try.json').write_text(json.dumps({'rules': [self.rule(user='recorded', effect='deny')]}))
        (shadow / '50-try.json').chmod(0o644)
        self.start(f'--simulate={self.write(HOST)}', f'--shadow-directory={shadow}')
        c = self.client()
        with self.refused('Simulation'):
            c.acquire(NIC['name'])
        self.assertEqual(c.get(ROOT_PATH, 'Manager', 'ShadowDifferences'), 1)

    def test_accounts_are_the_recorded_ones(self):
        # There is a "root" on this host, but not on that one.
        self.set_policy([self.rule(user='root')])
        c = self.simulate()
        self.assertIn('unknown user "root"', c.get(ROOT_PATH, 'Manager', 'PolicyWarnings')[0])

    def test_what_is_not_recorded_is_unknown(self):
        host = copy.deepcopy(HOST)
        for fact in ('numaNode', 'hostCritical', 'acsPath'):
            del host['devices'][0][fact]
        for part in ('kernel', 'taints', 'groups'):
            del host[part]
        c = self.simulate(host)
        self.assertEqual(tuple(c.get(device_path(NIC['name']), 'Device', 'AcsPath')), ('unknown', ''))
        self.assertFalse(any(c.get(ROOT_PATH, 'Manager', 'Kernel').values()))
        with self.refused('Internal', 'cannot find out what the kernel supports'):
            c.acquire(NIC['name'])
        host['kernel'] = HOST['kernel']
        self.daemon.stop()
        with self.refused('HostCritical', 'is unknown'):
            self.simulate(host).acquire(NIC['name'])

    def test_no_device_at_all(self):
        c = self.simulate({'version': 1, 'devices': []})
        self.assertEqual(c.get(ROOT_PATH, 'Manager', 'Devices'), 0)

    def test_many_devices(self):
        host = {**HOST, 'devices': [{**NIC, 'name': f'pci:{n >> 13:04x}:{n >> 5 & 255:02x}:{n & 31:02x}.0', 'group': n}
                                    for n in range(16384)], 'groups': []}
        c = self.simulate(host)
        self.assertEqual(c.get(ROOT_PATH, 'Manager', 'Devices'), 16384)
        with self.refused('Simulation'):
            c.acquire('0001:ff:1f.0')


class HostileSnapshotTest(SimulateTestCase):
    """A file that came by mail: a clear error, soon, and nothing else."""

    def fails(self, path):
        daemon = subprocess.run([os.environ['VFIOD_TEST_DAEMON'], f'--simulate={path}'], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        self.assertEqual(daemon.returncode, 1, daemon.stdout)
        self.assertLess(len(daemon.stdout), 2000)
        self.assertFalse([b for b in daemon.stdout if b < 0x20 and b != 0x0a], daemon.stdout)
        return daemon.stdout.decode()

    def refuses(self, content, *parts):
        text = self.fails(self.write(content))
        for part in (f'{self.directory}/host.json: not a recorded host: ', *parts):
            self.assertIn(part, text)

    def test_garbage(self):
        self.refuses(b'', 'line 1, column 1')
        self.refuses(b'\x7fELF\x02\x01\x01', 'line 1, column 1')
        self.refuses(os.urandom(65536))
        self.refuses(b'\x00' * 4096, 'line 1, column 1')
        self.refuses(b'"\x1b]0;title\x07"')
        self.refuses(b'null', 'expected object, found null')

    def test_truncated(self):
        data = json.dumps(HOST, indent=1).encode()
        for n in range(1, len(data), 97):
            self.refuses(data[:n], 'line ')

    def test_huge(self):
        path = self.write(b'')
        os.truncate(path, 1 << 40)  # takes no room
        self.assertIn('cannot read the recorded host', self.fails(path))
        self.refuses(b'[' * 1000000, 'nested more than')
        self.refuses(b'[' + b'[],' * 3000000 + b'[]]', 'more than 2097152 values')
        self.refuses({**HOST, 'devices': [{}] * 70000}, 'devices (line', 'are more than the 65536')

    def test_duplicates(self):
        self.refuses({**HOST, 'devices': [NIC, DISK, NIC]}, 'devices[2] (line', 'another device of this name')
        self.refuses({**HOST, 'devices': [NIC, {**NIC, 'name': '06:00.0'}]}, 'devices[1]')
        self.refuses(b'{"version": 1, "version": 1, "devices": []}', 'version')
        self.refuses({**HOST, 'groups': HOST['groups'] * 2}, 'groups (line', 'group 7 is there twice')

    def test_wrong_members(self):
        for change, parts in (
                ({'driver': 7}, ['devices[1].driver (line', 'expected string, found integer']),
                ({'vendor': '0x8086'}, ['devices[1].vendor (line', 'expected integer, found string']),
                ({'vendor': 1 << 40}, ['devices[1].vendor (line', 'is not from 0 to 65535']),
                ({'group': -1}, ['devices[1].group (line']),
                ({'name': '../../etc'}, ['devices[1].name (line', 'not the name of a device']),
                ({'resetMethods': ['flr', {}]}, ['devices[1].resetMethods[1] (line']),
                ({'properties': {'A': []}}, ['devices[1].properties.A (line']),
                ({'driver': 'x' * 64}, ['devices[1].driver (line', 'longer than 63 bytes']),
                ({'drivers': 'x'}, ['devices[1].drivers (line', "did you mean 'driver'?"]),
                ({'\x1b[31m': 1}, ['devices[1].\\x1b[31m (line', 'unknown member'])):
            self.refuses({**HOST, 'devices': [NIC, {**DISK, **change}]}, *parts)
        self.refuses({**HOST, 'version': 2}, 'version (line', 'only version 1')
        self.refuses({**HOST, 'groups': [{'id': 9}]}, 'groups[0] (line', 'no device is in this group')
        self.refuses({**HOST, 'accounts': {'users': {'a': {'uid': -1}}}}, 'accounts.users.a.uid (line')

    def test_names_that_lead_nowhere(self):
        loop = f'{self.directory}/loop.json'
        os.symlink('loop.json', loop)
        fifo = f'{self.directory}/fifo.json'
        os.mkfifo(fifo)
        for path in (loop, fifo, self.directory, f'{self.directory}/nothing.json', '/dev/zero', ''):
            self.assertIn('cannot read the recorded host', self.fails(path))


UNPRIVILEGED = f'''
import os, socket, subprocess, sys, tempfile, dbus, dbus.bus
address = os.environ['DBUS_SESSION_BUS_ADDRESS']
with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.bind(directory + '/notify')
    notify.settimeout(20)
    os.environ.update(DBUS_SYSTEM_BUS_ADDRESS=address, NOTIFY_SOCKET=directory + '/notify')
    daemon = subprocess.Popen([sys.argv[1], '--simulate=' + sys.argv[2], '--policy-directory=' + sys.argv[3]])
    while b'READY=1' not in notify.recv(8192):
        pass
bus = dbus.bus.BusConnection(address)
try:
    bus.call_blocking('{NAME}', '{ROOT_PATH}', '{NAME}.Manager', 'Acquire', 'asa{{sv}}', ([sys.argv[4]], {{}}), 20)
except dbus.DBusException as e:
    print(e.get_dbus_name(), e)
daemon.terminate()
sys.exit(daemon.wait(20))
'''


class UnprivilegedTest(SimulateTestCase):
    @unittest.skipUnless(os.getuid() == 0 and shutil.which('setpriv') and shutil.which('dbus-run-session'),
                         'no other user to be')
    def test_nobody_runs_it(self):
        os.mkdir(f'{self.directory}/theirs')
        policy = pathlib.Path(f'{self.directory}/theirs/50-test.json')
        policy.write_text(json.dumps({'rules': [self.rule(user=harness.NOBODY)]}))
        program = shutil.copy(os.environ['VFIOD_TEST_DAEMON'], f'{self.directory}/vfiod')
        environment = {k: v for k, v in os.environ.items() if k not in ('LD_PRELOAD', 'NOTIFY_SOCKET')}
        answer = subprocess.run(
            ['setpriv', f'--reuid={harness.NOBODY}', f'--regid={harness.NOBODY}', '--clear-groups',
             'dbus-run-session', '--', sys.executable, '-c', UNPRIVILEGED, program, self.write(HOST),
             str(policy.parent), NIC['name']],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, timeout=60, text=True)
        self.assertEqual(answer.returncode, 0, answer)
        self.assertIn('org.vfiod1.Error.Simulation', answer.stdout)


if __name__ == '__main__':
    harness.main()
