#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who is on the other side of a socket, and through which socket they came."""

import contextlib
import json
import os
import pathlib
import select
import socket
import struct
import subprocess
import sys
import time
import unittest

import harness
from harness import NOBODY, VfiodTestCase, find_hierarchy, needs_root, wait
from varlink_client import INTERFACE, Peer, VarlinkError

READ_ONLY, SCOPE = 'varlink-read-only', 'varlink-scope-ci'

# A client that can be started anywhere. Prints the parameters of the reply, or the error with them.
CLIENT = '''
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(20)
s.connect(sys.argv[1])
s.sendall(json.dumps({"method": "%s." + sys.argv[3], "parameters": {"devices": [sys.argv[2]]}}).encode() + bytes(1))
data = b""
while not data.endswith(bytes(1)):
    more, fds, *_ = socket.recv_fds(s, 65536, 16)
    data += more or bytes(1)
print(data[:-1].decode())
''' % INTERFACE


def may_unshare(*command):
    return os.getuid() == 0 and subprocess.run([*command, 'true'], stderr=subprocess.DEVNULL).returncode == 0


AS_NOBODY = ('setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}', '--clear-groups')


class PeerTestCase(VfiodTestCase):
    sockets = ('varlink', SCOPE, READ_ONLY)

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='vfio-pci')
        self.other = self.host.add_device('0000:07:00.0', group=9, driver='vfio-pci')

    def peer(self, name='varlink'):
        peer = Peer(self.socket_path(name))
        self.addCleanup(peer.close)
        return peer

    @contextlib.contextmanager
    def fails(self, error, *words):
        with self.assertRaises(VarlinkError) as caught:
            yield
        self.assertEqual(caught.exception.name, f'{INTERFACE}.{error}', caught.exception)
        for word in words:
            self.assertIn(word, caught.exception.parameters['message'])

    def claim(self, device, name='varlink'):
        """Gets it and gives it back."""
        reply, fds = self.peer(name).acquire(device)
        for fd in fds.values():
            os.close(fd)
        wait(lambda: reply['claim'] + '.json' not in self.records(), 'the claim ends')
        return reply

    def ask_from(self, *wrapper, path=None, method='Acquire'):
        """The reply to such a call about self.nic."""
        command = [*wrapper, sys.executable, '-c', CLIENT, path or self.socket_path(), self.nic.name, method]
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True, cwd='/').stdout)


class IdentityTest(PeerTestCase):
    """Only root of this host gets anything."""

    def setUp(self):
        super().setUp()
        self.set_policy([self.rule(user=0)])

    def refused_from(self, *wrapper, **options):
        answer = self.ask_from(*wrapper, **options)
        self.assertEqual(answer.get('error'), f'{INTERFACE}.AccessDenied', answer)
        return answer['parameters']['message']

    @needs_root
    def test_who_is_allowed_and_who_is_not(self):
        self.start()
        self.assertNotIn('error', self.ask_from())
        self.assertIn(f'uid {NOBODY}', self.refused_from(*AS_NOBODY))

    @unittest.skipUnless(may_unshare(*AS_NOBODY, 'unshare', '-Ur'), 'no user namespaces here')
    def test_a_faked_root(self):
        self.start()
        self.assertIn(f'uid {NOBODY} in another user namespace', self.refused_from(*AS_NOBODY, 'unshare', '-Ur'))
        self.wait_logged(f'Refused uid {NOBODY} in another user namespace (AccessDenied)')

    @unittest.skipUnless(may_unshare('unshare', '-pf'), 'no pid namespaces here')
    def test_another_pid_namespace(self):
        self.set_policy([{'name': 'here', 'effect': 'allow', 'who': {'namespace': 'host'}, 'what': {}}])
        self.start()
        self.assertNotIn('error', self.ask_from())
        self.assertIn('uid 0 in another pid namespace', self.refused_from('unshare', '-pf'))

    @unittest.skipUnless(may_unshare(*AS_NOBODY, 'unshare', '-Urmpf'), 'no namespaces here')
    def test_through_a_bind_mount_in_a_container(self):
        """Path, pid and uid are others there; the caller is the same."""
        self.set_policy([self.rule(user=0), {'name': 'boxed', 'effect': 'allow', 'what': {},
                                             'who': {'user': NOBODY, 'namespace': 'other', 'scope': 'ci'}}])
        self.start()
        inside = ('sh', '-ec', 'mount -t tmpfs none /mnt; touch /mnt/socket; mount --bind "$1" /mnt/socket; shift; exec "$@"',
                  'sh')
        container = (*AS_NOBODY, 'unshare', '-Urmpf', '--mount-proc', *inside)
        self.assertIn(f'uid {NOBODY} in another user and pid namespace',
                      self.refused_from(*container, self.socket_path(), path='/mnt/socket'))
        answer = self.ask_from(*container, self.socket_path(SCOPE), path='/mnt/socket')
        self.assertNotIn('error', answer)
        claim = answer['parameters']['claim']
        self.wait_logged(f'Claim {claim}: uid {NOBODY} in another user and pid namespace through the scope ci got '
                         f'{self.nic.name}')
        self.assertRegex(self.log_text(), f'VFIOD_CLAIM={claim} .* VFIOD_FACE=varlink VFIOD_SCOPE=ci '
                                        'VFIOD_NAMESPACES=user=other pid=other')
        wait(lambda: self.records() == [], 'the claim ends')

    @needs_root
    def test_capabilities_of_a_file_do_not_count(self):
        self.set_policy([{'name': 'capable', 'effect': 'allow', 'who': {'capability': 'CAP_CHOWN'}, 'what': {}}])
        self.start()
        self.assertNotIn('error', self.ask_from())
        self.refused_from(*AS_NOBODY)
        self.assertNotIn('error', self.ask_from(*AS_NOBODY, '--inh-caps=+chown', '--ambient-caps=+chown'))

    @needs_root
    def test_a_connection_in_the_hands_of_another(self):
        """It acts for the process that has connected, whoever writes to it later."""
        self.start()
        ours, theirs = socket.socketpair()
        script = ('import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); '
                  'socket.send_fds(socket.socket(fileno=0), [b"x"], [s.fileno()])')
        with ours, theirs:
            subprocess.run([*AS_NOBODY, sys.executable, '-c', script, self.socket_path()], stdin=theirs, timeout=20,
                           check=True, cwd='/')
            _, (fd,), *_ = socket.recv_fds(ours, 1, 1)
        peer = self.peer()
        peer.socket.close()
        peer.socket = socket.socket(fileno=fd)
        with self.fails('AccessDenied', f'uid {NOBODY}'):
            peer.acquire(self.nic)


class ScopeTest(PeerTestCase):
    def setUp(self):
        super().setUp()
        mine = {'user': os.getuid()}
        self.set_policy([
            {'name': 'never', 'effect': 'deny', 'who': mine, 'what': {'device': '0000:08:*'}},
            {'name': 'ci', 'effect': 'allow', 'who': {**mine, 'scope': ['lab', 'ci']},
             'what': {'device': ['0000:07:*', '0000:08:*']}},
            {'name': 'mine', 'effect': 'allow', 'who': mine, 'what': {'device': '06:00.0'}}])

    def test_each_socket_gives_what_its_rules_allow(self):
        self.host.add_device('0000:08:00.0', group=10, driver='vfio-pci')
        self.start()
        self.assertIn('mine (', self.claim(self.nic)['rule'])
        self.assertIn('ci (', self.claim(self.other, SCOPE)['rule'])
        with self.fails('AccessDenied', 'through the scope ci'):
            self.peer(SCOPE).acquire(self.nic)
        with self.fails('AccessDenied'):
            self.peer().acquire(self.other)
        for name in 'varlink', SCOPE:
            with self.fails('AccessDenied', 'never'):
                self.peer(name).acquire('pci:0000:08:00.0')

    @needs_root
    def test_explanations(self):
        self.start()

        def effect(**who):
            return self.peer().call('Explain', {'devices': [self.other.name], 'uid': 0, **who})['explanation']['effect']

        self.assertEqual([effect(), effect(scope='ci'), effect(scope='x')], ['deny', 'allow', 'deny'])
        own = self.peer(SCOPE).call('Explain', {'devices': [self.other.name]})['explanation']
        self.assertEqual((own['effect'], own['subject']['scope']), ('allow', 'ci'))
        with self.fails('InvalidArgument', 'scope'):
            effect(scope='../ci')

    def test_a_claim_is_that_of_its_scope_after_a_restart(self):
        self.start()
        reply, fds = self.peer(SCOPE).acquire(self.other)
        self.manager.hear_all()
        self.daemon.kill()
        self.start(keep_fds=True)
        self.assertEqual(self.client().get(harness.ROOT_PATH, 'Manager', 'ClaimsDeniedByPolicy'), [])
        self.assertEqual([json.loads(text)['subject']['scope'] for text in self.slots()], ['ci'])
        for fd in fds.values():
            os.close(fd)
        wait(lambda: self.records() == [], 'the claim ends')


class ReadOnlyTest(PeerTestCase):
    def test_questions_and_nothing_else(self):
        self.start()
        peer = self.peer(READ_ONLY)
        self.assertIn('plan', peer.call('Plan', {'devices': [self.nic.name]}))
        peer.call('io.systemd.service.Ping')
        reply, fds = self.peer().acquire(self.other)
        before = self.host.binding()
        for method, parameters in (('Acquire', {'devices': [self.nic.name]}), ('Release', {'claim': reply['claim']}),
                                   ('io.systemd.service.Reload', None)):
            with self.subTest(method), self.fails('ReadOnly'):
                peer.call(method, parameters)
        self.assertEqual(self.records(), [reply['claim'] + '.json'])
        self.assertEqual(self.host.binding(), before)
        for fd in fds.values():
            os.close(fd)
        wait(lambda: self.records() == [], 'the claim ends')


@unittest.skipUnless(find_hierarchy('unified'), 'no control groups here')
class UnitTest(PeerTestCase):
    """As services that systemd has started."""

    def wrapper_of(self, *groups):
        path = self.make_cgroup(find_hierarchy('unified'), *groups)
        return 'sh', '-ec', 'echo 0 >"$0/cgroup.procs"; exec "$@"', str(path)

    def test_a_bridge_to_the_network_may_only_ask(self):
        self.start()
        bridge = self.wrapper_of('varlink-httpd.service')
        before = self.host.binding()
        answer = self.ask_from(*bridge)
        self.assertEqual(answer['error'], f'{INTERFACE}.ReadOnly')
        self.assertIn('varlink-httpd.service', answer['parameters']['message'])
        self.assertIn('plan', self.ask_from(*bridge, method='Plan')['parameters'])
        self.assertEqual((self.records(), self.host.binding()), ([], before))

    def test_the_journal_names_the_control_group(self):
        self.start()
        answer = self.ask_from(*self.wrapper_of('vfiod-test.service', 'payload'))
        claim = answer['parameters']['claim']
        self.wait_logged(f'VFIOD_CLAIM={claim} ', ' VFIOD_UNIT=vfiod-test.service VFIOD_CGROUP=',
                         '/vfiod-test.service/payload VFIOD_COMMAND=')
        wait(lambda: self.records() == [], 'the claim ends')


class SocketsTest(PeerTestCase):
    sockets = ('varlink',)

    def listen_as(self, name, family=socket.AF_UNIX, kind=socket.SOCK_STREAM):
        listener = socket.socket(family, kind)
        self.addCleanup(listener.close)
        listener.bind('' if family == socket.AF_UNIX else ('127.0.0.1', 0))
        if kind == socket.SOCK_STREAM:
            listener.listen()
        self.listeners[name] = listener
        return listener

    def test_other_sockets_are_refused_by_name(self):
        names = ('vfiod.socket', 'varlink-scope-', 'varlink-scope-a b', 'varlink-scope-..', 'varlink2', 'claim-0123456789abcdef')
        for name in names:
            self.listen_as(name)
        self.start()
        for name in names:
            self.assertIn(f'Not listening on the socket "{name}", which has an unknown FileDescriptorName=', self.log_text())
        self.claim(self.nic)
        self.assertEqual([path for path in self.client().objects() if '/claim/' in path], [])

    def test_other_kinds_of_sockets(self):
        self.listen_as('varlink-scope-tcp', socket.AF_INET)
        self.listen_as('varlink-scope-datagram', kind=socket.SOCK_DGRAM)
        pair = socket.socketpair()
        self.addCleanup(pair[0].close)
        self.addCleanup(pair[1].close)
        self.listeners['varlink-scope-connected'] = pair[0]
        self.start()
        for name in 'tcp', 'datagram', 'connected':
            self.assertIn(f'Not listening on the socket "varlink-scope-{name}", which is not a local stream socket',
                          self.log_text())
        self.claim(self.nic)

    def test_sockets_and_kept_fds_come_in_one_list(self):
        self.start()
        reply, fds = self.peer().acquire(self.nic)
        self.manager.hear_all()
        self.daemon.kill()
        waiting = self.peer()  # before the next daemon is there
        waiting.send('Plan', {'devices': [self.other.name]})
        self.start(keep_fds=True)
        self.assertIn('plan', waiting.reply()[0])
        self.assertEqual(self.records(), [reply['claim'] + '.json'])
        for fd in fds.values():
            os.close(fd)
        wait(lambda: self.records() == [], 'the claim ends')


class PassCredentialsTest(PeerTestCase):
    sockets = ('varlink',)

    def test_a_unit_that_has_credentials_passed(self):
        """Nobody reads them, and they are not taken for files."""
        for option in socket.SO_PASSCRED, getattr(socket, 'SO_PASSSEC', 34):
            self.listeners['varlink'].setsockopt(socket.SOL_SOCKET, option, 1)
        early = self.peer()
        early.send('io.systemd.service.Ping')
        self.start()
        self.assertEqual(early.reply()[0], {})
        self.claim(self.nic)


class NoBusTest(PeerTestCase):
    def test_a_host_without_a_bus(self):
        self.bus.stop()
        self.start()
        self.claim(self.nic)
        self.assertIn('Cannot connect to the bus', self.log_text())

    def test_a_bus_that_does_not_answer(self):
        """As in early boot, when only its socket is there."""
        with self.bus.stopped():
            self.start()
            self.claim(self.nic)
        c = self.client()
        wait(lambda: c.connection.name_has_owner(harness.NAME), 'the bus gives it the name')
        c.plan(self.nic)
        self.assertEqual(sum(m.get('READY') == '1' for m in self.manager.messages), 1)


class LingeringTest(PeerTestCase):
    """The last close of a file may take long, and a peer could make vfiod the last that has one. What is sent before the
    daemon is there, no kernel refuses."""

    def lingering(self):
        """A TCP socket that nobody reads from, and that waits for that when it is closed."""
        listener = socket.socket()
        listener.bind(('127.0.0.1', 0))
        listener.listen()
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
        listener.close()
        self.addCleanup(theirs.close)
        ours.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                ours.send(bytes(65536))
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 60))
        return ours

    def send_away(self, data, flags=0):
        """A peer that has sent it with the only fd there is."""
        peer = self.peer()
        with self.lingering() as file:
            peer.socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack('i', file.fileno()))], flags)
            file.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 60))
        return peer

    def test_files_that_linger(self):
        ping = b'{"method":"io.systemd.service.Ping"}\0'
        late = self.peer()
        late.send_raw(ping)
        peers = [self.send_away(data, flags) for data, flags in
                 ((ping, 0), (ping[:1], 0), (b'\0', 0), (ping, socket.MSG_OOB), (b'x', socket.MSG_OOB))]
        gone = self.send_away(ping)
        gone.socket.close()
        # Also behind what is harmless.
        behind = self.peer()
        behind.send_raw(ping)
        with self.lingering() as file:
            socket.send_fds(behind.socket, [ping], [file.fileno()])
        self.start()
        began = time.monotonic()
        for peer in peers:
            self.assertTrue(peer.is_closed())
        self.assertEqual(late.reply()[0], {})
        self.claim(self.nic)
        self.assertLess(time.monotonic() - began, 20)

    def test_a_claim_does_not_keep_them(self):
        """It is tied to the connection, and goes on for as long as its device is open."""
        kept = []
        self.addCleanup(lambda: [os.close(fd) for fd in kept])
        peer = self.peer()
        self.start()
        reply, fds = peer.acquire(self.nic, tether='connection')
        self.manager.hear_all()
        with self.lingering() as file:
            socket.send_fds(peer.socket, [b'{'], [file.fileno()])
        self.assertTrue(peer.is_closed())
        kept += self.manager.fds.pop('claim-' + reply['claim'])
        connection = f'socket:[{os.fstat(kept[0]).st_ino}]'
        wait(lambda: connection not in self.open_files(), 'the daemon has no copy of it', 20)
        began = time.monotonic()
        for fd in fds.values():
            os.close(fd)
        wait(lambda: self.records() == [], 'the claim is gone')
        self.claim(self.nic)
        self.assertLess(time.monotonic() - began, 20)

    def open_files(self):
        directory = f'/proc/{self.daemon.pid}/fd'
        links = set()
        for fd in os.listdir(directory):
            with contextlib.suppress(FileNotFoundError):
                links.add(os.readlink(f'{directory}/{fd}'))
        return links

    def test_they_are_closed_in_the_end(self):
        ends = []
        for _ in range(300):  # more than are left to one process
            reading, writing = os.pipe()
            ends.append(reading)
            peer = Peer(self.socket_path())
            socket.send_fds(peer.socket, [b'{'], [writing])
            os.close(writing)
            peer.close()
        self.start()
        self.claim(self.nic)
        before = set(os.listdir(f'/proc/{self.daemon.pid}/fd'))
        for reading in ends:
            with open(reading, 'rb') as f:
                self.assertTrue(select.select([f], [], [], 20)[0])
                self.assertEqual(f.read(), b'')
        self.peer().call('io.systemd.service.Ping')
        self.assertLess(len(os.listdir(f'/proc/{self.daemon.pid}/fd')), len(before) + 5)


class IdleTest(PeerTestCase):
    PEERS = 1000

    def memory(self):
        """Bytes of the daemon that are its own."""
        status = pathlib.Path(f'/proc/{self.daemon.pid}/status').read_text()
        return 1024 * int(status.split('RssAnon:')[1].split()[0])

    @needs_root  # others may not have so many
    @unittest.skipIf('ASAN_OPTIONS' in os.environ, 'it keeps what was freed for a while')
    def test_idle_peers_cost_little(self):
        self.start()

        def connect(n):
            peers = [self.peer() for _ in range(n)]
            for p in peers:
                p.call('io.systemd.service.Ping')
            return peers

        connect(100)
        before = self.memory()
        connect(self.PEERS)
        each = (self.memory() - before) / self.PEERS
        print(f'# {each:.0f} bytes for each idle peer')
        self.assertLessEqual(each, 4096)


if __name__ == '__main__':
    harness.main()
