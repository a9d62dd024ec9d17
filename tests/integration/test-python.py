#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vfiod.py: over a pretended socket, which may answer anything, and with the real daemon."""

import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import unittest
from unittest import mock

import harness
from harness import SOURCE, VfiodTestCase, wait
from host import VFIO
from mock_varlink import INTERFACE, MockVarlink

sys.path.insert(0, str(SOURCE / 'src/python'))
import vfiod  # noqa: E402

EDU, NIC = 'pci:0000:06:0d.0', 'pci:0000:00:04.0'
CLAIM = '0123456789abcdef'


def open_fds():
    return {fd: os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd')
            if os.path.lexists(f'/proc/self/fd/{fd}')}


class MockTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix='vfiod-test-python.')
        self.addCleanup(temporary.cleanup)
        self.directory = temporary.name
        self.mock = MockVarlink(self.directory)
        self.addCleanup(self.mock.close)
        os.environ['VFIOD_SOCKET'] = self.mock.path
        self.addCleanup(os.environ.pop, 'VFIOD_SOCKET')

    def wait_closed(self):
        for fd in self.mock.lifelines.values():
            self.assertEqual(os.read(fd, 1), b'')

    def assert_no_fds(self):
        with self.mock.busy:
            self.assertFalse([f for f in open_fds().values() if 'fd:' in f])

    def test_claim(self):
        for self.mock.pieces in (1, 9):
            with vfiod.acquire(['0000:06:0d.0', NIC], reason='ü"\n', memlock=1 << 40, untainted=True, cookie='x',
                               interactive=True) as claim:
                self.assertEqual((claim.id, claim.backend, claim.rule, claim.devices),
                                 (CLAIM, 'iommufd', 'one (/x.json:2)', [EDU, NIC]))
                for device, name in ((None, EDU), ('0000:06:0d.0', EDU), (EDU, EDU), (NIC, NIC)):
                    self.assertEqual(os.pread(claim.device_fd(device), 100, 0).decode(), f'device:{name}')
                self.assertEqual(os.pread(claim.fd('iommufd'), 100, 0), b'iommufd')
                self.assertFalse(any(os.get_inheritable(fd) for fd in claim.fds.values()))
                taken = claim.take_fd('iommufd')
                self.assertRaises(KeyError, claim.fd, 'iommufd')
            os.fstat(taken)
            os.close(taken)
            claim.close()
            self.wait_closed()
        self.assertEqual(self.mock.calls[0][1], {
            'devices': ['0000:06:0d.0', NIC], 'reason': 'ü"\n', 'memlock': 1 << 40, 'untainted': True, 'cookie': 'x',
            'allowInteractiveAuthentication': True})
        self.assert_no_fds()

    def test_claim_by_nodes(self):
        nodes = ['/dev/iommu', '/dev/vfio/devices/vfio0']
        self.mock.answers['Acquire'] = lambda p, f: ({
            'claim': CLAIM, 'devices': [EDU], 'grant': 'node', 'tether': 'process', 'nodes': nodes, 'fds': []}, [])
        claim = vfiod.acquire([EDU], grant='node', tether='process')
        self.assertEqual((claim.grant, claim.tether, claim.nodes, claim.fds), ('node', 'process', nodes, {}))

    def test_a_single_name_is_one_device(self):
        vfiod.acquire('0000:06:0d.0').close()
        self.assertEqual(self.mock.calls[0][1]['devices'], ['0000:06:0d.0'])

    def test_parameter_that_the_daemon_does_not_have(self):
        self.mock.answers['Plan'] = lambda p, f: ({'error': 'org.varlink.service.InvalidParameter', 'parameters': {
            'parameter': 'speed'}}, [])
        with self.assertRaises(vfiod.Error) as caught:
            vfiod.plan([EDU], speed=1)
        self.assertEqual((str(caught.exception), caught.exception.parameter),
                         ('org.varlink.service.InvalidParameter: speed', 'speed'))

    def test_claim_that_is_forgotten(self):
        vfiod.acquire([EDU])
        self.wait_closed()

    def test_claim_grows_and_shrinks(self):
        with vfiod.acquire(['0000:06:0d.0']) as claim:
            claim.add_devices(['0000:00:04.0'], reason='more', memlock=4096, untainted=True, interactive=True,
                              require=['pasid', 'migration=p2p'],
                              network={'mac': '52:54:00:12:34:56', 'vlan': 12, 'trust': False})
            self.assertEqual(self.mock.calls[1][1], {
                'claim': CLAIM, 'devices': ['0000:00:04.0'], 'reason': 'more', 'memlock': 4096, 'untainted': True,
                'require': 'pasid,migration=p2p', 'network': 'mac=52:54:00:12:34:56,vlan=12,trust=off',
                'allowInteractiveAuthentication': True})
            self.assertEqual(claim.devices, [EDU, NIC])
            self.assertEqual(claim.device_fd('0000:00:04.0'), claim.device_fd(NIC))
            self.assertRaises(KeyError, claim.release_devices, ['06:0d.0'])
            claim.release_devices(['0000:06:0d.0'])
            self.assertEqual(claim.devices, [NIC])
            self.assertRaises(KeyError, claim.device_fd, EDU)
            claim.release()
        self.assertEqual([c[0] for c in self.mock.calls], ['Acquire', 'AddDevices', 'ReleaseDevices', 'Release'])
        self.assert_no_fds()

    def test_evicted_and_sleeping(self):
        with vfiod.acquire([EDU]) as claim:
            claim.answer_eviction()
            claim.answer_eviction(30)
            claim.ready_to_sleep()
        vfiod.answer_eviction('cookie:x', more=1)
        vfiod.ready_to_sleep('cookie:x')
        self.assertEqual(self.mock.calls[1:], [
            ('AnswerEviction', {'claim': CLAIM}), ('AnswerEviction', {'claim': CLAIM, 'more': 30}),
            ('ReadyToSleep', {'claim': CLAIM}), ('AnswerEviction', {'claim': 'cookie:x', 'more': 1}),
            ('ReadyToSleep', {'claim': 'cookie:x'})])

    def test_transfer(self):
        with vfiod.transfer('cookie:x') as claim:
            self.assertEqual(list(claim.fds), ['lifeline'])
        vfiod.transfer(CLAIM, pid=os.getppid())
        (_, first, _), (_, second, fds) = self.mock.calls
        self.assertEqual((first, second['claim'], second['tether'], second['pid'], fds),
                         ({'claim': 'cookie:x'}, CLAIM, 'process', os.getppid(), 0))

    def test_daemon_that_takes_no_connection(self):
        path = f'{self.directory}/asleep.socket'
        first = socket.socket(socket.AF_UNIX)
        with socket.socket(socket.AF_UNIX) as listener, mock.patch.object(vfiod, 'PATIENCE', 1), first:
            listener.bind(path)
            listener.listen(0)
            first.connect(path)  # the queue is full
            with self.assertRaisesRegex(vfiod.Unreachable, f'Cannot connect to vfiod at {path}: it does not answer'):
                vfiod.Connection(path)

    def test_daemon_that_reads_nothing(self):
        path = f'{self.directory}/asleep.socket'
        with socket.socket(socket.AF_UNIX) as listener, mock.patch.object(vfiod, 'PATIENCE', 1):
            listener.bind(path)
            listener.listen(1)
            with vfiod.Connection(path) as c:
                with self.assertRaisesRegex(vfiod.Unreachable, 'it does not answer'):
                    c.acquire([EDU], reason='x' * (4 << 20))
                self.assertRaises(vfiod.Unreachable, c.acquire, [EDU])

    def test_transfer_to_a_connection(self):
        self.mock.answers['Transfer'] = lambda p, f: ({'claim': CLAIM, 'tether': 'connection', 'fds': []}, [])
        claim = vfiod.transfer(CLAIM)
        claim._connection.release('x')
        claim.close()
        self.assertEqual(self.mock.connections, 1)

    def test_connection_as_tether(self):
        claim = vfiod.acquire([EDU], tether='connection')
        self.assertEqual(self.mock.connections, 1)
        claim._connection.release('x')
        claim.close()
        self.assertEqual((self.mock.connections, self.mock.calls[1]), (1, ('Release', {'claim': 'x'})))

    def test_errors(self):
        blockers = [{'kind': 'claim', 'name': CLAIM, 'why': 'uid 0'}]
        self.mock.answers['Acquire'] = lambda p, f: ({'error': INTERFACE + '.DeviceClaimed', 'parameters': {
            'message': 'It is claimed.', 'blockers': blockers, 'device': EDU}}, [self.mock.file('x')])
        with self.assertRaises(vfiod.Error) as caught:
            vfiod.acquire([EDU])
        e = caught.exception
        self.assertEqual((e.name, str(e), e.blockers, e.device, e.rule), ('DeviceClaimed', 'It is claimed.', blockers, EDU, None))
        again = pickle.loads(pickle.dumps(e))
        self.assertEqual((again.name, again.blockers), (e.name, blockers))
        self.mock.answers['Acquire'] = lambda p, f: ({'error': 'org.varlink.service.MethodNotFound', 'parameters': {}}, [])
        with self.assertRaisesRegex(vfiod.Error, '^org.varlink.service.MethodNotFound$'):
            vfiod.acquire([EDU])
        self.assert_no_fds()

    def test_what_is_no_answer(self):
        good, fds = self.mock.acquire({'devices': [EDU]}, [])
        for fd in fds:
            os.close(fd)

        def refuses(reply, n_fds=3):
            self.mock.answers['Acquire'] = lambda p, f: (reply, [self.mock.file(str(i)) for i in range(n_fds)])
            with self.assertRaises(vfiod.Unreachable, msg=reply):
                vfiod.acquire([EDU])
            self.assert_no_fds()

        for text in (b'\0', b'{\0', b'[]\0', b'1\0', b'{"parameters": []}\0', b'{"parameters": {"claim": "\xff"}}\0',
                     b'{}\0', b'{"parameters": {"claim": 7}}\0', b'{"parameters": ' + b'[' * 100000 + b'\0', None):
            refuses(text)
        for entry in ({'name': 'x'}, {'name': 'x', 'fileDescriptorIndex': 3}, {'name': 'x', 'fileDescriptorIndex': -1},
                      {'name': 'x', 'fileDescriptorIndex': '0'}, {'name': 'x', 'fileDescriptorIndex': True},
                      {'name': 7, 'fileDescriptorIndex': 0}, {'fileDescriptorIndex': 0}, 7):
            refuses({**good, 'fds': [entry]})
        refuses({**good, 'fds': [{'name': n, 'fileDescriptorIndex': 0} for n in 'ab']})
        refuses({**good, 'fds': [{'name': 'a', 'fileDescriptorIndex': i} for i in (0, 1)]})
        refuses({**good, 'fds': 7})
        # What has no name is closed.
        self.mock.answers['Acquire'] = lambda p, f: ({**good, 'fds': []}, [self.mock.file(str(i)) for i in range(200)])
        self.assertEqual(vfiod.acquire([EDU]).fds, {})
        self.assert_no_fds()

    def test_nobody_there(self):
        for path in ('/nonexistent', '/etc/passwd', 'x' * 200):
            with self.assertRaisesRegex(vfiod.Unreachable, path):
                vfiod.Connection(path)

    # What has no function of its own is for operators, or goes through Connection.call().
    ONLY_BY_CALL = {'Evict', 'AnswerEviction', 'RetryQuarantine', 'ClearQuarantine', 'ReadyToSleep', 'SetVirtualFunctions',
                    'ProbeCapabilities', 'ReloadPolicy'}

    def test_names_and_manual(self):
        """Everything public has a docstring and is in the manual, and the methods are those of the contract."""
        manual = (SOURCE / 'man/vfiod-python.3.scd').read_text()
        verbs = {name for name in vfiod.__all__ if name[0].islower()}
        of_claim = {name for name, value in vars(vfiod.Claim).items() if callable(value) and name[0] != '_'}
        for name in vfiod.__all__:
            self.assertTrue(getattr(vfiod, name).__doc__, name)
        for name in of_claim:
            self.assertTrue(getattr(vfiod.Claim, name).__doc__, name)
        for name in verbs | of_claim:
            self.assertRegex(manual, rf'[*_]{name}[*_]\(', name)
        methods = set(re.findall(r'^method (\w+)\(', (SOURCE / 'varlink/org.vfiod.Broker.varlink').read_text(), re.M))
        names = {re.sub('[A-Z]', lambda m: '_' + m[0].lower(), method)[1:] for method in methods - self.ONLY_BY_CALL}
        self.assertEqual(names - verbs - of_claim, set())
        self.assertEqual(verbs - names, {'claim'})
        self.assertEqual(self.ONLY_BY_CALL - methods, set())


class DaemonTest(VfiodTestCase):
    sockets = ('varlink',)

    def setUp(self):
        super().setUp()
        os.environ['VFIOD_SOCKET'] = self.socket_path()
        self.addCleanup(os.environ.pop, 'VFIOD_SOCKET')
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver=VFIO, class_code=0x010802)
        self.before = self.host.binding()
        self.start()
        self.c = self.client()

    def python(self, code, *arguments):
        """The fake kernel lives in this process, so a client that waits for the daemon is another one."""
        process = self.tool(sys.executable, '-c', f'import sys; sys.path.insert(0, {str(SOURCE / "src/python")!r})\n'
                            'import json, os, signal, vfiod\n' + textwrap.dedent(code), *arguments,
                            stdin=subprocess.PIPE)
        self.addCleanup(process.stdin.close)
        return process

    def output(self, code, *arguments):
        process = self.python(code, *arguments)
        output, _ = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 0, output)
        return output

    def test_acquire(self):
        shown = json.loads(self.output('''
            with vfiod.acquire(['06:00.0', '0000:07:00.0'], backend='iommufd', reason='a test') as claim:
                print(json.dumps([claim.devices, claim.backend, claim.rule, sorted(claim.fds),
                                  os.readlink('/proc/self/fd/%i' % claim.device_fd('06:00.0'))]))
            '''))
        self.assertEqual(shown[0], [self.nic.name, self.disk.name])
        self.assertEqual(shown[1], 'iommufd')
        self.assertEqual(shown[3], ['device:' + self.nic.name, 'device:' + self.disk.name, 'iommufd', 'lifeline'])
        self.assertIn('/dev/vfio/devices/vfio', shown[4])
        wait(lambda: not self.records(), 'the claim is over')
        self.assert_untouched(self.before)

    def test_refusal(self):
        claim = self.c.acquire(self.nic)
        shown = json.loads(self.output('''
            try:
                vfiod.acquire(['06:00.0'])
            except vfiod.Error as e:
                print(json.dumps([e.name, e.device, e.blockers, str(e)]))
            '''))
        self.assertEqual(shown[:2], ['DeviceClaimed', self.nic.name])
        self.assertEqual((shown[2][0]['kind'], shown[2][0]['name']), ('claim', claim.id))
        self.assertIn(self.nic.name, shown[3])

    def test_reserve(self):
        shown = json.loads(self.output('''
            reserved = vfiod.reserve('class:nvme', ttl=60, reason='arrives')
            state = vfiod.claim(reserved['claim'])['state']
            with vfiod.acquire(ticket=reserved['ticket'], reason='arrived') as claim:
                print(json.dumps([reserved, state, claim.id, claim.devices, sorted(claim.fds)]))
            try:
                vfiod.acquire(ticket=reserved['ticket'])
            except vfiod.Error as e:
                print(json.dumps(e.name), file=sys.stderr)
            vfiod.release(vfiod.reserve('06:00.0')['claim'])
            ''').splitlines()[0])
        reserved, state, claim, devices, fds = shown
        self.assertEqual((reserved['device'], reserved['uid'], state), (self.disk.name, os.getuid(), 'reserved'))
        self.assertEqual((claim, devices), (reserved['claim'], [self.disk.name]))
        self.assertEqual(fds, ['device:' + self.disk.name, 'iommufd', 'lifeline'])
        wait(lambda: not self.records(), 'the claim is over')
        self.assert_untouched(self.before)

    def test_plan_and_release(self):
        plan = json.loads(self.output('print(json.dumps(vfiod.plan(["06:00.0"], backend="group")))'))
        self.assertEqual((plan['backend'], plan['members'][0]['name']), ('group', self.nic.name))
        process = self.python('''
            claim = vfiod.acquire(['07:00.0'])
            print(claim.id, flush=True)
            vfiod.release(claim.id)
            try:
                vfiod.release('0' * 16)
            except vfiod.Error as e:
                print(e.name, flush=True)
            claim.close()
            ''')
        self.assertEqual(len(process.stdout.readline().strip()), 16)
        self.assertEqual(process.stdout.readline(), 'NoSuchClaim\n')
        self.assertEqual(process.wait(20), 0)
        wait(lambda: not self.records(), 'the claim is over')

    def test_list_and_monitor(self):
        shown = json.loads(self.output('''
            objects = list(vfiod.list('device', 'host'))
            claim = vfiod.acquire(['07:00.0'], cookie='mine')
            print(json.dumps([sorted(o['name'] for k, o in objects if k == 'device'),
                              [o['simulated'] for k, o in objects if k == 'host'],
                              vfiod.claim(claim.id)['state'],
                              dict(vfiod.list(device='07:00.0'))['device']['claim'] == claim.id,
                              vfiod.explain(['06:00.0'])['effect']]))
            '''))
        self.assertEqual(shown, [[self.nic.name, self.disk.name], [False], 'held', True, 'allow'])

    def test_grow_shrink_and_move(self):
        shown = json.loads(self.output('''
            claim = vfiod.acquire(['07:00.0'], cookie='vm-1')
            claim.add_devices(['06:00.0'])
            grown = [list(claim.devices), os.readlink('/proc/self/fd/%i' % claim.device_fd('06:00.0'))[-5:-1]]
            claim.release_devices(['06:00.0'])
            taken = vfiod.transfer('cookie:vm-1')
            old = claim.take_fd('lifeline')
            os.close(old)
            alive = vfiod.claim('cookie:vm-1')['state']
            vfiod.transfer(claim.id, pid=os.getpid())
            taken.close()
            print(json.dumps([grown, claim.devices, taken.id == claim.id, alive,
                              vfiod.claim(claim.id)['tether']]))
            '''))
        self.assertEqual(shown[0], [[self.disk.name, self.nic.name], 'vfio'])
        self.assertEqual(shown[1:], [[self.disk.name], True, 'held', 'process'])
        wait(lambda: not self.records(), 'the claim is over')
        self.assert_untouched(self.before)

    def test_killed(self):
        process = self.python("claim = vfiod.acquire(['07:00.0']); print(claim.id, flush=True); signal.pause()")
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        wait(lambda: not self.records(), 'the claim is over')
        self.assert_untouched(self.before)


if __name__ == '__main__':
    harness.main()
