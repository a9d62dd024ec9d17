#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rules of UAPI.20 (Varlink 0.1) as tables, and what a hostile or careless peer may send."""

import contextlib
import json
import os
import select
import socket
import sys
import time
import unittest

import harness
from harness import SOURCE, needs_root, wait
from varlink_client import INTERFACE, SERVICE, Closed, VarlinkTestCase

PING, LEVEL = 'io.systemd.service.Ping', 'io.systemd.service.GetLogLevel'
MESSAGE_MAX = 64 * 1024
PEERS_PER_USER = 128
FDS_MAX = 253  # in one message, by the kernel


def call(method, **members):
    return json.dumps({'method': method, **members}).encode()


# What has no well-defined reply: the connection is closed.
CLOSED = {
    'oneway and more': call(PING, oneway=True, more=True),
    'oneway and upgrade': call(PING, oneway=True, upgrade=True),
    'more and upgrade': call(PING, more=True, upgrade=True),
    'all flags': call(PING, oneway=True, more=True, upgrade=True),
    'oneway is a number': call(PING, oneway=1),
    'more is a string': call(PING, more='true'),
    'upgrade is an object': call(PING, upgrade={}),
    'unknown unprefixed member': call(PING, extra=True),
    'member with X-': b'{"method":"%s","X-vendor":{}}' % PING.encode(),
    'no method': b'{"parameters":{}}',
    'method is null': call(None),
    'method is a number': call(1),
    'parameters are a list': call(PING, parameters=[]),
    'parameters are a string': call(PING, parameters='{}'),
    'not an object': b'["method"]',
    'a number': b'1',
    'nothing': b'',
    'truncated': call(PING)[:-1],
    'two values': call(PING) + call(PING),
    'comment': call(PING) + b'// comment',
    'member twice': b'{"method":"%s","method":"%s"}' % (PING.encode(), PING.encode()),
    'trailing comma': call(PING)[:-1] + b',}',
    'not UTF-8': b'{"method":"\xff"}',
    'byte order mark': b'\xef\xbb\xbf' + call(PING),
    'NUL in a string': b'{"method":"a\\u0000b"}',
    'nested too deep': b'{"method":' + b'[' * 5000 + b']' * 5000 + b'}',
    'a million nothings': b'\0' * 1000000,
    'too many values': b'{"method":"%s","parameters":{"x":[%s1]}}' % (PING.encode(), b'1,' * 20000),
}

# What is answered with an error first: it never ends, so nobody knows what it was.
TOO_LONG = {
    'a call': call(PING, parameters={'x': 'y' * MESSAGE_MAX}),
    'a string of 1 MiB': call(f'{INTERFACE}.Acquire', parameters={'devices': ['x' * (1 << 20)]}),
    'no call': b'x' * (MESSAGE_MAX + 1),
    'oneway': call(PING, oneway=True, parameters={'x': 'y' * MESSAGE_MAX}),
}

# What has: call, error, its parameters.
ERRORS = {
    'unknown interface': ('org.example.Method', 'InterfaceNotFound', {'interface': 'org.example'}),
    'no interface': ('Method', 'InterfaceNotFound', {'interface': 'Method'}),
    'empty': ('', 'InterfaceNotFound', {'interface': ''}),
    'unknown method': (f'{INTERFACE}.Nonsense', 'MethodNotFound', {'method': f'{INTERFACE}.Nonsense'}),
    'method without name': (f'{INTERFACE}.', 'MethodNotFound', {'method': f'{INTERFACE}.'}),
    'other case': (f'{INTERFACE}.acquire', 'MethodNotFound', {'method': f'{INTERFACE}.acquire'}),
}
INVALID = {
    'unknown parameter': (PING, {'x': 1}, 'x'),
    'unknown parameter that is null': (PING, {'x': None}, 'x'),
    'hostile name': (PING, {'\x1b[2J': 1}, '\\x1b[2J'),
    'missing': (f'{INTERFACE}.Acquire', {}, 'devices'),
    'null where a value is required': (f'{INTERFACE}.Acquire', {'devices': None}, 'devices'),
    'string for a list': (f'{INTERFACE}.Acquire', {'devices': 'pci:0000:06:00.0'}, 'devices'),
    'list of numbers': (f'{INTERFACE}.Acquire', {'devices': [1]}, 'devices'),
    'number for a string': (f'{INTERFACE}.Plan', {'devices': [], 'reason': 1}, 'reason'),
    'string for a number': (f'{INTERFACE}.Plan', {'devices': [], 'memlock': '16G'}, 'memlock'),
    'fraction': (f'{INTERFACE}.Plan', {'devices': [], 'memlock': 1.5}, 'memlock'),
    'number out of range': (f'{INTERFACE}.Plan', {'devices': [], 'memlock': 1 << 64}, 'memlock'),
    'number for a boolean': (f'{INTERFACE}.Plan', {'devices': [], 'untainted': 1}, 'untainted'),
    'object for a boolean': (f'{INTERFACE}.Acquire', {'devices': [], 'allowInteractiveAuthentication': {}},
                             'allowInteractiveAuthentication'),
    'of another method': (f'{INTERFACE}.Release', {'claim': 'x', 'devices': []}, 'devices'),
    'level': ('io.systemd.service.SetLogLevel', {'level': 8}, 'level'),
}
REFUSED = {
    'no device': ({'devices': []}, 'InvalidArgument'),
    'no name': ({'devices': ['']}, 'InvalidName'),
    'hostile name': ({'devices': ['\x1b[2J\u202e']}, 'InvalidName'),
    'device twice': ({'devices': ['pci:0000:06:00.0', '06:00.0']}, 'InvalidArgument'),
    'too many devices': ({'devices': [f'pci:0000:06:00.{i % 8}' if i < 8 else f'pci:0000:07:00.{i % 8}'
                                      for i in range(15)]}, 'TooManyDevices'),
    'bad backend': ({'devices': ['pci:0000:06:00.0'], 'backend': 'x'}, 'InvalidArgument'),
    'negative': ({'devices': ['pci:0000:06:00.0'], 'memlock': -1}, 'InvalidArgument'),
    'long reason': ({'devices': ['pci:0000:06:00.0'], 'reason': 'x' * 1000}, 'InvalidArgument'),
}


class ProtocolTest(VarlinkTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.start()

    def test_what_has_no_reply_closes_the_connection(self):
        for name, message in CLOSED.items():
            with self.subTest(name), self.peer() as peer:
                try:
                    peer.send_raw(message + b'\0')
                except (BrokenPipeError, ConnectionResetError):
                    pass  # it was closed before all was sent
                self.assertTrue(peer.is_closed())
        self.peer().call(PING)

    def test_a_message_that_is_too_long(self):
        for name, message in TOO_LONG.items():
            with self.subTest(name), self.peer() as peer:
                peer.send(PING)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    peer.send_raw(message + b'\0')
                self.assertEqual(peer.receive()[0], {})
                reply, fds = peer.receive()
                self.assertEqual(reply['error'], f'{INTERFACE}.LimitExceeded')
                self.assertEqual(reply['parameters']['message'],
                                 f'the message is longer than {MESSAGE_MAX} bytes. Send a shorter one, on a new connection.')
                self.assertTrue(peer.is_closed())
        with self.peer() as peer:  # the longest that is allowed
            text = call(PING, parameters={'x': ''})
            with self.fails(f'{SERVICE}.InvalidParameter', parameter='x'):
                peer.send_raw(text.replace(b'""', b'"%s"' % (b'y' * (MESSAGE_MAX - len(text) - 1))) + b'\0')
                peer.reply()

    def test_clients_show_that_their_message_is_too_long(self):
        sys.path.insert(0, str(SOURCE / 'src/python'))
        import vfiod
        with vfiod.Connection(self.socket_path()) as connection, self.assertRaises(vfiod.Error) as caught:
            connection.call('Explain', devices=[self.nic.name], reason='x' * MESSAGE_MAX)
        self.assertEqual(caught.exception.name, 'LimitExceeded')

    def test_the_journal_says_why_a_connection_was_closed(self):
        """Five times a minute: whoever goes on is counted."""
        for message, reason in ((b'nonsense', 'it sent a message that is not a method call'),
                                (b'x' * (MESSAGE_MAX + 1), 'it sent a message that is too long')):
            with self.subTest(reason), self.peer() as peer:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    peer.send_raw(message + b'\0')
                with contextlib.suppress(Closed):
                    peer.receive()
                self.wait_logged(f'Closed a connection of uid {os.getuid()}: {reason}')
        for _ in range(20):
            with self.peer() as peer:
                peer.send_raw(b'nonsense\0')
                self.assertTrue(peer.is_closed())
        self.assertEqual(len(self.log_lines('Closed a connection of')), 5)
        self.daemon.stop()
        self.assertEqual(len(self.log_lines(f'17 more closed connections of uid {os.getuid()}')), 1)

    def test_what_has_a_reply(self):
        peer = self.peer()
        for name, (method, error, parameters) in ERRORS.items():
            with self.subTest(name), self.fails(f'{SERVICE}.{error}', **parameters):
                peer.send_raw(call(method) + b'\0')
                peer.reply()

    def test_invalid_parameters(self):
        peer = self.peer()
        for name, (method, parameters, invalid) in INVALID.items():
            with self.subTest(name), self.fails(f'{SERVICE}.InvalidParameter', parameter=invalid):
                peer.call(method, parameters)

    def test_refused_requests(self):
        before = self.host.binding()
        peer = self.peer()
        for name, (parameters, error) in REFUSED.items():
            with self.subTest(name), self.fails(error):
                peer.call('Acquire', parameters)
        self.assert_untouched(before)

    def test_absent_parameters_null_and_none_are_the_same(self):
        peer = self.peer()
        for members in ({}, {'parameters': None}, {'parameters': {}}):
            peer.send_raw(call(LEVEL, **members) + b'\0')
            self.assertEqual(peer.reply()[0], {'level': 6})

    def test_an_absent_field_and_null_are_the_same(self):
        peer = self.peer()
        plan = peer.call('Plan', {'devices': [self.nic.name]})
        self.assertEqual(peer.call('Plan', {'devices': [self.nic.name], 'memlock': None, 'backend': None}), plan)

    def test_flags_that_are_false_or_null(self):
        peer = self.peer()
        for value in (False, None):
            peer.send_raw(call(PING, oneway=value, more=value, upgrade=value) + b'\0')
            self.assertEqual(peer.receive()[0], {})

    def test_extensions_of_vendors_are_ignored(self):
        peer = self.peer()
        peer.send_raw(b'{"method":"%s","org.example":{"x":1}}\0' % PING.encode())
        self.assertEqual(peer.receive()[0], {})

    def test_oneway_has_no_reply(self):
        peer = self.peer()
        peer.send(PING, oneway=True)
        peer.send('org.example.Nonsense', oneway=True)
        peer.send(PING, {'x': 1}, oneway=True)
        peer.send('Acquire', {'devices': [self.nic.name]}, oneway=True)
        self.assertEqual(peer.call(LEVEL), {'level': 6})
        self.assertEqual(self.records(), [])

    def test_oneway_has_its_effect_where_it_has_one(self):
        reply, fds = self.peer().acquire(self.nic)
        with self.peer() as peer:
            peer.send('Release', {'claim': reply['claim']}, oneway=True)
            for fd in fds.values():
                os.close(fd)
        wait(lambda: self.records() == [], 'the claim ends')

    def test_more_where_there_is_no_more(self):
        peer = self.peer()
        self.assertEqual(list(peer.stream(LEVEL)), [{'level': 6}])

    def test_more_is_required_where_there_may_be_more(self):
        peer = self.peer()
        for method in ('List', 'Monitor'):
            with self.fails(f'{SERVICE}.ExpectedMore'):
                peer.call(method)

    def test_the_next_call_waits_for_the_last_reply(self):
        peer = self.peer()
        peer.send('List', more=True)
        peer.send(LEVEL)
        while True:
            parameters, _ = peer.reply()
            if not peer.continues:
                break
            self.assertNotIn('level', parameters)
        self.assertEqual(peer.reply()[0], {'level': 6})

    def test_upgrade_is_refused_and_the_connection_stays(self):
        peer = self.peer()
        with self.fails(f'{SERVICE}.MethodNotImplemented', method=PING):
            peer.call(PING, upgrade=True)
        peer.call(PING)

    def test_info(self):
        peer = self.peer()
        info = peer.call(f'{SERVICE}.GetInfo')
        self.assertEqual(set(info), {'vendor', 'product', 'version', 'url', 'interfaces'})
        self.assertEqual(info['interfaces'], ['io.systemd.service', SERVICE, INTERFACE])
        for interface in info['interfaces']:
            description = peer.call(f'{SERVICE}.GetInterfaceDescription', {'interface': interface})['description']
            self.assertEqual(description, (harness.SOURCE / f'varlink/{interface}.varlink').read_text())
        with self.fails(f'{SERVICE}.InterfaceNotFound', interface='org.example'):
            peer.call(f'{SERVICE}.GetInterfaceDescription', {'interface': 'org.example'})

    # --- framing --------------------------------------------------------------------------------------------------

    def test_a_message_may_come_byte_by_byte_with_space_around_it(self):
        peer = self.peer()
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        for byte in b' \n\t' + call(LEVEL) + b'\r\n \0':
            peer.send_raw(bytes([byte]))
        self.assertEqual(peer.reply()[0], {'level': 6})

    def test_many_messages_at_once_are_answered_in_order(self):
        peer = self.peer()
        peer.send_raw(b''.join(call(f'{INTERFACE}.N{i}') + b'\0' for i in range(1000)))
        for i in range(1000):
            with self.fails(f'{SERVICE}.MethodNotFound', method=f'{INTERFACE}.N{i}'):
                peer.reply()

    def test_half_closed_connections_get_their_answers(self):
        peer = self.peer()
        peer.send_raw((call(LEVEL) + b'\0') * 3)
        peer.socket.shutdown(socket.SHUT_WR)
        for _ in range(3):
            self.assertEqual(peer.reply()[0], {'level': 6})
        self.assertTrue(peer.is_closed())

    def test_the_first_byte_has_the_fds(self):
        peer = self.peer()
        peer.send('Acquire', {'devices': [self.nic.name]})
        peer._receive(1)
        self.assertEqual((peer.data, len(peer.fds)), (b'{', 3))
        reply, fds = peer.receive()
        self.assertEqual([fd['fileDescriptorIndex'] for fd in reply['parameters']['fds']], [0, 1, 2])
        for fd in fds:
            os.close(fd)
        wait(lambda: self.records() == [], 'the claim ends')

    def test_fds_are_refused_by_the_kernel(self):
        """Where it can do that (Linux 6.16), for all who connect while vfiod runs."""
        peer = self.peer()
        peer.call(PING)
        before = self.daemon.fds()
        with open('/dev/null') as null:
            try:
                peer.send_raw(call(LEVEL) + b'\0', [null.fileno()])
            except PermissionError:
                self.assertEqual(peer.call(LEVEL), {'level': 6})
            else:
                self.assertTrue(peer.is_closed())
                return
        self.assertEqual(self.daemon.fds(), before)

    # --- io.systemd.service ---------------------------------------------------------------------------------------

    def test_log_level(self):
        peer = self.peer()
        self.assertEqual(peer.call('io.systemd.service.SetLogLevel', {'level': 7}), {})
        self.assertEqual(peer.call(LEVEL), {'level': 7})

    def test_reload(self):
        peer = self.peer()
        self.set_policy([self.rule(device='pci:0000:07:00.0')])
        self.assertEqual(peer.call('io.systemd.service.Reload'), {})
        with self.fails('AccessDenied'):
            peer.call('Plan', {'devices': [self.nic.name]})
        self.set_policy([], text='nonsense')
        with self.fails('PolicyBroken', '50-test.json'):
            peer.call('io.systemd.service.Reload')

    @needs_root
    def test_who_is_not_root(self):
        for method, parameters in (('Reload', None), ('SetLogLevel', {'level': 7})):
            self.assertIn(f'{SERVICE}.PermissionDenied',
                          self.as_nobody(f'io.systemd.service.{method}', parameters))
        self.assertEqual(json.loads(self.as_nobody(PING)), {})
        self.assertEqual(self.peer().call(LEVEL), {'level': 6})


class FilesTest(VarlinkTestCase):
    """No method takes a file. What was sent before the daemon was there, no kernel refuses."""

    def test_who_sends_files_is_closed(self):
        message = call(LEVEL) + b'\0'
        other, *peers = [self.peer() for _ in range(5)]
        self.start()
        other.call('io.systemd.service.SetLogLevel', {'level': 7})
        for peer in (other, *peers):
            peer.call(PING)
        before = set(self.daemon.fds())
        null = os.open('/dev/null', os.O_RDONLY)
        self.addCleanup(os.close, null)
        peers[0].send_raw(message, [null])
        peers[1].send_raw(message, [null] * FDS_MAX)
        peers[2].send_raw(message[:10])
        peers[2].send_raw(message[10:], [null])
        peers[3].send_raw(message + message[:1])
        self.assertEqual(peers[3].reply()[0], {'level': 7})
        peers[3].send_raw(message[1:], [null])
        for peer in peers:
            with self.subTest(peers.index(peer)):
                self.assertTrue(peer.is_closed())
        self.assertEqual(other.call(LEVEL), {'level': 7})
        wait(lambda: len(self.log_lines('it sent files')) == len(peers), 'the log says why')
        # Theirs are closed, and what they sent was never here. A copy on its way to be closed is for a moment.
        wait(lambda: set(self.daemon.fds()) < before, 'the daemon has fewer files than before')


class SlowPeerTest(VarlinkTestCase):
    """A peer that is slow or silent costs itself only."""

    def fill(self, peer):
        """Asks for more than the socket holds, and reads nothing."""
        ask = call(f'{SERVICE}.GetInterfaceDescription', parameters={'interface': INTERFACE}) + b'\0'
        peer.send_raw(ask * 60)

    def test_it_is_closed_after_a_while_and_nobody_waits_for_it(self):
        self.start()
        half, silent, idle = self.peer(), self.peer(), self.peer()
        half.send_raw(call(PING)[:10])
        self.fill(silent)
        began = time.monotonic()
        other = self.peer()
        for _ in range(100):
            other.call(PING)
        self.assertLess(time.monotonic() - began, 5)
        half.socket.settimeout(60)
        self.assertTrue(half.is_closed())
        self.assertGreater(time.monotonic() - began, 5)
        hangup = select.poll()
        hangup.register(silent.socket, 0)
        self.assertTrue(hangup.poll(60000))
        self.assertGreater(time.monotonic() - began, 20)
        idle.call(PING)
        with self.assertRaises(Closed):  # after what the socket held
            for _ in range(60):
                silent.receive()

    def test_a_reader_of_single_bytes_gets_everything(self):
        self.start()
        peer = self.peer(buffer=4096)
        self.fill(peer)
        for _ in range(60):
            reply, _ = peer.receive(size=1000)
            self.assertIn('interface org.vfiod.Broker', reply['parameters']['description'])

    @needs_root
    def test_connections_of_a_user_are_bounded(self):
        self.start()
        mine = [self.peer() for _ in range(PEERS_PER_USER + 10)]
        served = json.loads(self.run_as_nobody(
            'from varlink_client import Closed\n'
            'peers, served = [Peer(sys.argv[2]) for _ in range(140)], 0\n'
            'for peer in peers:\n'
            '    try:\n'
            f'        peer.call("{PING}"); served += 1\n'
            '    except (Closed, BrokenPipeError): pass\n'
            'print(served)'))
        self.assertEqual(served, PEERS_PER_USER)
        for peer in mine:
            peer.call(PING)

    @unittest.skipIf('ASAN_OPTIONS' in os.environ, 'it keeps what was freed for a while')
    def test_idle_peers_cost_little(self):
        self.start()
        for peer in [self.peer() for _ in range(100)]:
            peer.call(PING)
        before = self.memory()
        peers = [self.peer() for _ in range(1000)]
        for peer in peers:
            peer.call(PING)
        self.assertLessEqual((self.memory() - before) / len(peers), 4096)

    def memory(self):
        with open(f'/proc/{self.daemon.pid}/status') as f:
            return next(int(line.split()[1]) for line in f if line.startswith('VmRSS:')) * 1024


if __name__ == '__main__':
    harness.main()
