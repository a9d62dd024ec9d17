#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Varlink face: the same verbs as on the bus, through a socket."""

import json
import os
import select
import socket
import subprocess
import sys

import dbus
from gi.repository import GLib

import harness
from harness import files_of, needs_root, wait
from mock_polkit import MockPolkit
from varlink_client import SERVICE, VarlinkTestCase


class AcquireTest(VarlinkTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.other = self.host.add_device('0000:07:00.0', group=9, driver='e1000e')
        self.before = self.host.binding()

    def end(self, claim, fds):
        for fd in fds.values():
            os.close(fd)
        wait(lambda: claim + '.json' not in self.records(), f'claim {claim} ends')

    def test_all_fds_come_with_the_reply(self):
        self.start()
        peer = self.peer()
        reply, fds = peer.acquire(self.nic, backend='iommufd')
        self.assertEqual(sorted(fds), ['device:pci:0000:06:00.0', 'iommufd', 'lifeline'])
        self.assertEqual((reply['backend'], reply['grant'], reply['tether']), ('iommufd', 'fd', 'lifeline'))
        self.assertEqual(reply['devices'], ['pci:0000:06:00.0'])
        self.assertIn('test (', reply['rule'])
        self.assertEqual(self.records(), [reply['claim'] + '.json'])
        self.end(reply['claim'], fds)
        self.assertEqual(self.host.binding(), self.before)

    def test_nodes_instead_of_files(self):
        self.set_policy([self.rule(grant='node')])
        self.start()
        reply, fds = self.peer().acquire(self.nic, grant='node')
        nodes = ['/dev/iommu', self.host.cdev(self.nic)]
        self.assertEqual((reply['grant'], reply['nodes'], list(fds)), ('node', nodes, ['lifeline']))
        self.assertEqual(self.peer().call('List', {'claim': reply['claim']})['claim']['nodes'], nodes)
        self.end(reply['claim'], fds)

    def test_two_devices_and_a_reason(self):
        self.start()
        reply, fds = self.peer().acquire(self.nic, self.other, reason='for a test', untainted=False)
        self.assertEqual(reply['devices'], [self.nic.name, self.other.name])
        claims = [o for path, o in self.client().objects().items() if '/claim/' in path]
        self.assertEqual([str(o['org.vfiod1.Claim']['Reason']) for o in claims], ['for a test'])
        self.end(reply['claim'], fds)

    def test_the_claim_outlives_the_connection(self):
        self.start()
        peer = self.peer()
        reply, fds = peer.acquire(self.nic)
        peer.close()
        self.peer().call('io.systemd.service.Ping')
        self.assertEqual(self.records(), [reply['claim'] + '.json'])
        self.end(reply['claim'], fds)

    def test_release(self):
        self.start()
        peer = self.peer()
        reply, fds = peer.acquire(self.nic)
        self.assertEqual(peer.call('Release', {'claim': reply['claim']}), {})
        self.end(reply['claim'], fds)
        with self.fails('NoSuchClaim'):
            peer.call('Release', {'claim': reply['claim']})

    def test_devices_come_and_go_while_the_claim_is_held(self):
        self.start()
        peer = self.peer()
        reply, fds = peer.acquire(self.nic, cookie='mine')
        peer.send('AddDevices', {'claim': 'cookie:mine', 'devices': [self.other.name], 'reason': 'more'})
        more, new = peer.reply()
        self.assertEqual((more['claim'], more['devices'], list(new)),
                         (reply['claim'], [self.other.name], [f'device:{self.other.name}']))
        claim = peer.call('List', {'claim': reply['claim']})['claim']
        self.assertEqual(claim['devices'], [self.nic.name, self.other.name])
        with self.fails('InvalidArgument'):
            peer.call('ReleaseDevices', {'claim': reply['claim'], 'devices': []})
        peer.call('ReleaseDevices', {'claim': reply['claim'], 'devices': [self.other.name]})
        os.close(new.popitem()[1])
        wait(lambda: self.host.binding()[self.other.address] == self.before[self.other.address], 'it is given back')
        self.end(reply['claim'], fds)

    def test_a_refusal_has_its_parts(self):
        self.set_policy([self.rule(device='pci:0000:07:00.0')])
        self.start()
        with self.fails('AccessDenied', 'pci:0000:06:00.0', device='pci:0000:06:00.0') as caught:
            self.peer().acquire(self.nic)
        self.assertLessEqual({'message', 'reason', 'remedy'}, set(caught.exception.parameters))
        self.assert_untouched(self.before)

    def test_who_holds_the_device(self):
        self.start()
        reply, fds = self.peer().acquire(self.nic)
        with self.fails('DeviceClaimed', reply['claim']) as caught:
            self.peer().acquire(self.nic)
        self.assertIn('claim', [b['kind'] for b in caught.exception.parameters['blockers']])
        self.end(reply['claim'], fds)

    def test_plan(self):
        self.start()
        plan = self.peer().call('Plan', {'devices': [self.nic.name]})['plan']
        self.assertEqual(plan, self.client().plan(self.nic))
        self.assert_untouched(self.before)

    def test_nothing_is_left_when_the_client_goes_while_it_waits(self):
        gate = self.kernel.hold('bind', self.nic.address)
        self.start()
        peer = self.peer()
        peer.send('Acquire', {'devices': [self.nic.name]})
        wait(lambda: gate.entered, 'the worker binds')
        peer.close()
        gate.let_go()
        wait(lambda: self.records() == [] and self.host.binding() == self.before, 'all is as before')

    def test_nothing_is_left_when_the_client_never_reads(self):
        self.start()
        with self.peer() as peer:
            peer.send('Acquire', {'devices': [self.nic.name]})
            wait(self.records, 'the claim is on record')
        wait(lambda: self.records() == [] and self.host.binding() == self.before, 'all is as before')


class ListTest(VarlinkTestCase):
    """What a reader sees is what they see on the bus."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.devices = [self.nic, self.host.add_device('0000:06:00.1', group=8, driver='vfio-pci'),
                        self.host.add_device('0000:07:00.0', driver='e1000e')]

    @staticmethod
    def camel(name):
        return name[0].lower() + name[1:]

    def convert(self, value):
        """From the bus: paths become names and ids, structures are compared by their values."""
        if isinstance(value, dbus.ObjectPath):
            kind, _, name = str(value).removeprefix(harness.ROOT_PATH + '/').partition('/')
            names = {harness.device_path(d.name): d.name for d in self.devices}
            return names.get(str(value)) or (int(name) if kind == 'group' else name or None)
        if isinstance(value, (dbus.Array, dbus.Struct)):
            return [self.convert(v) for v in value]
        if isinstance(value, dbus.Dictionary):
            return {str(k): self.convert(v) for k, v in value.items()}
        return value

    def values(self, value):
        """Of Varlink: structures as lists, as the bus has them."""
        if isinstance(value, dict) and 'start' in value and 'end' in value:
            return list(value.values())
        return [self.values(v) for v in value] if isinstance(value, list) else value

    def assert_same(self, ours, properties):
        expected = {self.camel(k): self.convert(v) for k, v in properties.items()}
        self.assertEqual({k: self.values(v) for k, v in ours.items()}, expected)

    def test_everything_that_is_announced(self):
        self.start()
        reply, fds = self.peer().acquire(self.nic)
        replies = list(self.peer().stream('List'))
        self.assertTrue(all(len(r) == 1 for r in replies))
        self.assertEqual([kind for r in replies for kind in r], ['host'] + ['device'] * 3 + ['group', 'claim'])
        objects = self.client().objects()
        for kind, key in (('Device', 'name'), ('Group', 'id'), ('Claim', 'id')):
            on_bus = [o[f'org.vfiod1.{kind}'] for o in objects.values() if f'org.vfiod1.{kind}' in o]
            ours = [r[kind.lower()] for r in replies if kind.lower() in r]
            self.assertEqual(len(on_bus), len(ours))
            for a, b in zip(sorted(ours, key=lambda o: o[key]),
                            sorted(on_bus, key=lambda o: self.convert(o[key.capitalize()]))):
                self.assert_same(a, b)
        self.assertEqual(replies[0]['host']['policyState'], 'loaded')
        for fd in fds.values():
            os.close(fd)

    def test_one_object_has_all_fields(self):
        self.start()
        reply, fds = self.peer().acquire(self.nic, cookie='mine')
        c, peer = self.client(), self.peer()
        self.assert_same(peer.call('List', {'device': '06:00.0'})['device'], c.device(self.nic))
        self.assert_same(peer.call('List', {'group': 8})['group'], c.properties(harness.ROOT_PATH + '/group/8', 'Group'))
        path = f'{harness.ROOT_PATH}/claim/{reply["claim"]}'
        self.assertEqual(peer.call('List', {'claim': 'cookie:mine'})['claim']['id'], reply['claim'])
        self.assert_same(peer.call('List', {'claim': reply['claim']})['claim'], c.properties(path, 'Claim'))
        for fd in fds.values():
            os.close(fd)

    def test_costly_fields_are_shown_when_they_are_named(self):
        self.start()
        reply, fds = self.peer().acquire(self.nic)
        peer = self.peer()
        fields = ['hostCritical', 'acsPath', 'name']
        device = peer.call('List', {'device': '0000:07:00.0', 'fields': fields})['device']
        self.assertEqual(set(device), set(fields))
        self.assertEqual(device['hostCritical'], '')
        self.assertEqual(set(device['acsPath']), {'path', 'blocker'})
        claim = peer.call('List', {'claim': reply['claim'], 'fields': ['holders', 'openFiles']})['claim']
        self.assertEqual([h['pid'] for h in claim['holders']], [os.getpid()])
        self.assertEqual([(h['pid'], h['files']) for h in claim['openFiles']], [(os.getpid(), ['cdev'])])
        rule, = peer.call('List', {'host': True, 'fields': ['rules']})['host']['rules']
        self.assertEqual((rule['rule'], rule['effect'], rule['predicates']['what.device']), ('test', 'allow', '*'))
        with self.fails(f'{SERVICE}.InvalidParameter', parameter='fields'):
            peer.call('List', {'device': '0000:07:00.0', 'fields': ['nonsense']})
        for fd in fds.values():
            os.close(fd)

    def test_unknown_objects(self):
        self.start()
        peer = self.peer()
        with self.fails('NoSuchDevice'):
            peer.call('List', {'device': '0000:09:00.0'})
        with self.fails('InvalidName'):
            peer.call('List', {'device': 'x'})
        for group in (9, -1, 1 << 40):
            with self.fails('NoSuchGroup'):
                peer.call('List', {'group': group})
        with self.fails('NoSuchClaim'):
            peer.call('List', {'claim': 'x'})
        with self.fails('InvalidArgument'):
            peer.call('List', {'claim': 'x', 'group': 8})

    def test_kinds(self):
        self.start()
        peer = self.peer()
        self.assertEqual([list(r) for r in peer.stream('List', {'kinds': ['group', 'device']})],
                         [['device']] * 3 + [['group']])
        self.assertEqual(list(peer.stream('List', {'kinds': ['claim']})), [{}])
        for kinds in ([], ['x']):
            with self.fails(f'{SERVICE}.InvalidParameter', parameter='kinds'):
                list(peer.stream('List', {'kinds': kinds}))

    @needs_root
    def test_secrets_are_for_their_owners(self):
        self.set_policy([self.rule(), self.rule('second', user=harness.NOBODY)])
        self.start()
        reply, fds = self.peer().acquire(self.nic)
        claim = json.loads(self.as_nobody('List', {'claim': reply['claim']}))['claim']
        self.assertEqual((claim['rule'], claim['state']), ('', 'held'))
        self.assertIn('test (', self.peer().call('List', {'claim': reply['claim']})['claim']['rule'])
        for fd in fds.values():
            os.close(fd)


class MonitorTest(VarlinkTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')

    def monitor(self, *kinds, **options):
        """All that is there at the beginning is read."""
        peer = self.peer(**options)
        peer.send('Monitor', {'kinds': kinds} if kinds else {}, more=True)
        return peer, self.read_until(peer, lambda r: r['event'] == 'complete')

    def read_until(self, peer, condition):
        replies = []
        while not replies or not condition(replies[-1]):
            reply, _ = peer.reply()
            self.assertTrue(peer.continues)
            replies.append(reply)
        return replies

    def test_what_is_there_comes_first(self):
        self.start()
        _, replies = self.monitor()
        self.assertEqual([(r['event'], r.get('kind')) for r in replies],
                         [('present', 'host'), ('present', 'device'), ('present', 'group'), ('complete', None)])
        listed = list(self.peer().stream('List'))
        self.assertEqual([{k: v for k, v in r.items() if k not in ('event', 'kind')} for r in replies[:-1]], listed)

    def test_a_claim_comes_and_goes(self):
        self.start()
        peer, _ = self.monitor()
        reply, fds = self.peer().acquire(self.nic)
        seen = self.read_until(peer, lambda r: 'claim' in r and r['claim']['state'] == 'held')
        self.assertEqual([r['event'] for r in seen if 'claim' in r][0], 'added')
        seen += self.read_until(peer, lambda r: 'device' in r and r['device']['claim'] == reply['claim'])
        for fd in fds.values():
            os.close(fd)
        end = self.read_until(peer, lambda r: r['event'] == 'removed')
        self.assertEqual({'event': 'removed', 'kind': 'claim', 'name': reply['claim']}, end[-1])
        end = self.read_until(peer, lambda r: 'device' in r and r['device']['state'] == 'free')
        self.assertIsNone(end[-1]['device']['claim'])

    def test_what_changes_at_once_is_new_all_the_same(self):
        prepared = self.host.add_device('0000:07:00.0', group=9, driver='vfio-pci')
        self.start()
        peer, _ = self.monitor('claim')
        other = self.peer()
        for _ in range(20):
            reply, fds = other.acquire(prepared)
            seen = self.read_until(peer, lambda r: r['claim']['state'] == 'held')
            self.assertEqual((seen[0]['event'], seen[0]['claim']['id']), ('added', reply['claim']))
            for fd in fds.values():
                os.close(fd)
            end = self.read_until(peer, lambda r: r['event'] == 'removed')
            self.assertEqual({r['event'] for r in end[:-1]} | {'changed'}, {'changed'})
            reply, fds = other.acquire(prepared)  # its end may be told with its beginning
            for fd in fds.values():
                os.close(fd)
            end = self.read_until(peer, lambda r: r['event'] == 'removed')
            self.assertEqual(end[-1]['name'], reply['claim'])

    def test_devices_come_and_go(self):
        self.start()
        peer, _ = self.monitor('device', 'group')
        other = self.host.add_device('0000:07:00.0', group=9)
        seen = self.read_until(peer, lambda r: r['event'] == 'added' and r['kind'] == 'device')
        self.assertEqual(seen[-1]['device']['name'], 'pci:0000:07:00.0')
        self.host.remove_device(other)
        seen = self.read_until(peer, lambda r: r['event'] == 'removed' and r['kind'] == 'device')
        self.assertEqual(seen[-1]['name'], 'pci:0000:07:00.0')

    def test_the_policy_changes(self):
        self.start()
        peer, _ = self.monitor('host')
        self.set_policy([], text='nonsense')
        with self.fails('PolicyBroken'):
            self.peer().call('io.systemd.service.Reload')
        reply, _ = peer.reply()
        self.assertEqual((reply['event'], reply['host']['policyState']), ('changed', 'stale'))

    def test_a_slow_reader_is_told_that_it_has_missed_something(self):
        self.start()
        peer, _ = self.monitor(buffer=4096)
        claims = 0
        other = self.peer()
        while claims < 150:
            reply, fds = other.acquire(self.nic)
            for fd in fds.values():
                os.close(fd)
            wait(lambda: self.records() == [], 'the claim ends')
            claims += 1
        seen = self.read_until(peer, lambda r: r['event'] == 'resync')
        seen = self.read_until(peer, lambda r: r['event'] == 'complete')
        self.assertEqual([r['device']['state'] for r in seen if 'device' in r], ['free'])
        self.assertEqual([r for r in seen if 'claim' in r], [])

    def sockets_of_daemon(self):
        return sum(file.startswith('socket:') for file in files_of(self.daemon.pid))

    def test_it_ends_with_the_connection(self):
        """Also when it has much to report that nobody reads."""
        self.start()
        other = self.peer()
        for buffer in (None, 4096):
            peers = [self.monitor(buffer=buffer)[0] for _ in range(10)]
            for _ in range(3):
                _, fds = other.acquire(self.nic)
                for fd in fds.values():
                    os.close(fd)
                wait(lambda: self.records() == [], 'the claim ends')
            sockets = self.sockets_of_daemon()
            for peer in peers:
                peer.close()
            wait(lambda: other.call(f'{SERVICE}.GetInfo') and self.sockets_of_daemon() <= sockets - len(peers),
                 'their connections are closed')

    def test_it_ends_with_the_daemon(self):
        self.start()
        peer, _ = self.monitor()
        self.daemon.stop()
        with self.fails('ShuttingDown'):
            peer.reply()
        self.assertTrue(peer.is_closed())


class AskTest(VarlinkTestCase):
    """A rule that requires authentication: polkit is asked about the process."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.set_policy([self.rule(effect='ask')])
        self.polkit = MockPolkit(self.bus.address)
        self.addCleanup(self.polkit.close)
        self.start()

    def ask(self, peer, **options):
        peer.send('Acquire', {'devices': [self.nic.name], **options})
        return self.question()

    def wait_for_answer(self, s):
        """The mock lives in this process: its answer leaves when the main loop runs."""
        watch = GLib.io_add_watch(s.fileno(), GLib.PRIORITY_DEFAULT, GLib.IO_IN, lambda *_: True)
        wait(lambda: select.select([s], [], [], 0)[0], 'the daemon answers')
        GLib.source_remove(watch)

    def question(self):
        wait(lambda: self.polkit.questions, 'polkit is asked')
        return self.polkit.questions[-1]

    def test_polkit_is_asked_about_the_process(self):
        peer = self.peer()
        question = self.ask(peer, allowInteractiveAuthentication=True)
        self.assertEqual(question.subject, ('unix-process', {'pid': os.getpid(), 'start-time': 0, 'uid': os.getuid()}))
        self.assertTrue(question.interactive)
        question.answer(True)
        self.wait_for_answer(peer.socket)
        reply, fds = peer.reply()
        self.assertEqual(reply['devices'], [self.nic.name])
        for fd in fds.values():
            os.close(fd)

    def test_no_person_is_asked_unless_the_client_allows_it(self):
        peer = self.peer()
        question = self.ask(peer)
        self.assertFalse(question.interactive)
        question.answer(False, challenge=True)
        self.wait_for_answer(peer.socket)
        with self.fails('NotAuthorized'):
            peer.reply()

    def test_a_client_that_goes_takes_its_question_along(self):
        peer = self.peer()
        question = self.ask(peer)
        peer.close()
        wait(lambda: question.cancelled, 'polkit hears of it')
        self.assertEqual(self.records(), [])

    def test_the_process_must_be_there_at_the_end(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as shared:
            child = subprocess.Popen([sys.executable, '-c', (
                'import socket, sys\n'
                's = socket.socket(fileno=int(sys.argv[1]))\n'
                's.connect(sys.argv[2]); s.sendall(sys.argv[3].encode() + b"\\0"); sys.stdin.read()'),
                str(shared.fileno()), self.socket_path(), json.dumps(
                    {'method': 'org.vfiod.Broker.Acquire', 'parameters': {'devices': [self.nic.name]}})],
                pass_fds=[shared.fileno()], stdin=subprocess.PIPE)
            question = self.question()
            self.assertEqual(question.subject[1]['pid'], child.pid)
            child.stdin.close()
            child.wait(harness.CALL_TIMEOUT)
            question.answer(True)
            self.wait_for_answer(shared)
            self.assertIn(b'org.vfiod.Broker.NotAuthorized', shared.recv(65536))
        self.assertEqual(self.records(), [])


if __name__ == '__main__':
    harness.main()
