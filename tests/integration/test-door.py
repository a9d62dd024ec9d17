#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Everything that a user asks is charged to that user: nobody waits behind somebody else's flood, and nobody is refused
because of it. What is shown depends on the reader, whichever way it is read."""

import os
import pathlib
import pwd
import signal
import unittest

import dbus
import dbus.lowlevel

import harness
from harness import (NAME, NOBODY, OBJECT_MANAGER, PROPERTIES, ROOT_PATH, VfiodTestCase, device_path, identity,
                     needs_root, wait)
from host import VFIO

STRANGER = pwd.getpwnam('daemon').pw_uid  # whom the bus knows
INTROSPECTABLE = 'org.freedesktop.DBus.Introspectable'
LIMIT = harness.ERROR + 'LimitExceeded'


class Pipeline:
    """Calls that are sent one after the other without waiting for an answer."""

    def __init__(self, client):
        self.connection = client.connection
        self.replies = []  # in the order in which the daemon has sent them, to one connection
        self.sent = 0

    def call(self, path, interface, member, *arguments, reply=True):
        message = dbus.lowlevel.MethodCallMessage(NAME, path, interface, member)
        message.append(*arguments)
        if not reply:
            message.set_no_reply(True)
            self.connection.send_message(message)
            return
        self.connection.send_message_with_reply(message, self.replies.append, 60)
        self.sent += 1

    def calls(self, n, *call):
        for _ in range(n):
            self.call(*call)
        return self

    def objects(self, n):
        return self.calls(n, ROOT_PATH, OBJECT_MANAGER, 'GetManagedObjects')

    def reach_the_daemon(self):
        """The bus has passed on what was sent before this is answered."""
        self.connection.get_name_owner('org.freedesktop.DBus')
        return self

    def finish(self):
        wait(lambda: len(self.replies) == self.sent, f'all {self.sent} calls are answered')
        return self

    def errors(self):
        return [r.get_error_name() for r in self.replies if r.get_type() == dbus.lowlevel.MESSAGE_TYPE_ERROR]

    def serials(self):
        """The daemon numbers its messages."""
        return [r.get_serial() for r in self.replies]


class DoorTestCase(VfiodTestCase):
    n_devices = 2

    def setUp(self):
        super().setUp()
        self.devices = [self.host.add_device(f'0000:{n // 256:02x}:{n // 8 % 32:02x}.{n % 8}', group=n, driver=VFIO)
                        for n in range(256, 256 + self.n_devices)]
        self.start()

    def client_of(self, uid):
        """A connection of this process that the bus takes for another user's."""
        with identity(uid):
            client = self.client()
        client.manager('GetGroup', 'u', self.devices[0].group)  # from here on the daemon knows who it is
        return client


@needs_root
class FairnessTest(DoorTestCase):
    n_devices = 200

    def assert_not_behind(self, client, flood, other_client, *call):
        """Of the answers to the flood, all but a few come after one that was asked for after it. The daemon finds both
        at once, however busy the machine is."""
        self.daemon.process.send_signal(signal.SIGSTOP)
        flood = flood(Pipeline(client)).reach_the_daemon()
        other = Pipeline(other_client)
        other.call(*call)
        other.reach_the_daemon()
        self.daemon.process.send_signal(signal.SIGCONT)
        other.finish()
        flood.finish()
        self.assertEqual(flood.errors() + other.errors(), [])
        behind = sum(serial < other.serials()[0] for serial in flood.serials())
        self.assertLess(behind, flood.sent // 4)

    def test_another_user_is_answered_between_lists(self):
        root, stranger = self.client_of(0), self.client_of(STRANGER)
        self.assert_not_behind(stranger, lambda p: p.objects(30), root, ROOT_PATH, PROPERTIES, 'Get', f'{NAME}.Manager',
                               'Version')

    def test_root_is_measured_as_well(self):
        root, stranger = self.client_of(0), self.client_of(STRANGER)
        self.assert_not_behind(root, lambda p: p.objects(30), stranger, device_path(self.devices[0].name), PROPERTIES,
                               'GetAll', f'{NAME}.Device')

    def test_introspection_of_everything(self):
        root, stranger = self.client_of(0), self.client_of(STRANGER)
        self.assert_not_behind(stranger, lambda p: p.calls(60, f'{ROOT_PATH}/device', INTROSPECTABLE, 'Introspect'),
                               root, ROOT_PATH, f'{NAME}.Manager', 'GetDevice', self.devices[0].name)

    def test_a_list_among_lists_of_others(self):
        root, stranger = self.client_of(0), self.client_of(STRANGER)
        self.assert_not_behind(stranger, lambda p: p.objects(30), root, ROOT_PATH, OBJECT_MANAGER, 'GetManagedObjects')

    def test_the_list_is_whole(self):
        """Also when it takes many slices, and things come and go meanwhile."""
        client = self.client_of(STRANGER)
        objects = client.objects()
        devices = {path for path in objects if '/device/' in path}
        self.assertEqual(devices, {device_path(d.name) for d in self.devices})
        self.assertEqual(len(objects), 2 * self.n_devices)
        one = objects[device_path(self.devices[0].name)]
        self.assertEqual(set(one), {f'{NAME}.Device'})
        self.assertEqual(one[f'{NAME}.Device']['Driver'], VFIO)
        self.assertNotIn('NumaNode', one[f'{NAME}.Device'])
        self.assertIn('NumaNode', client.device(self.devices[0]))


@needs_root
class BoundedTest(DoorTestCase):
    WINDOW = 120  # the bus lets a connection have 128 calls under way

    def test_a_queue_has_an_end(self):
        """Who has too many calls under way is refused, and nobody else; afterwards everything is as before."""
        root = self.client_of(0)
        strangers = [self.client_of(STRANGER) for _ in range(4)]
        self.daemon.process.send_signal(signal.SIGSTOP)  # it finds them all at once
        floods = [Pipeline(s).objects(self.WINDOW).reach_the_daemon() for s in strangers]
        mine = Pipeline(root).objects(self.WINDOW).reach_the_daemon()
        self.daemon.process.send_signal(signal.SIGCONT)
        mine.finish()
        self.assertEqual(mine.errors(), [])
        errors = [error for flood in floods for error in flood.finish().errors()]
        self.assertEqual(set(errors), {LIMIT})  # and some there are
        self.assertLessEqual(len(errors), 4 * self.WINDOW - 256)
        again = Pipeline(strangers[0]).objects(3).finish()
        self.assertEqual(again.errors(), [])

    def test_root_is_never_refused(self):
        clients = [self.client_of(0) for _ in range(4)]
        self.daemon.process.send_signal(signal.SIGSTOP)
        floods = [Pipeline(c).objects(self.WINDOW).reach_the_daemon() for c in clients]
        self.daemon.process.send_signal(signal.SIGCONT)
        self.assertEqual([flood.finish().errors() for flood in floods], [[]] * 4)

    def resident_kib(self):
        status = pathlib.Path(f'/proc/{self.daemon.pid}/status').read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith('VmRSS:'))

    @unittest.skipIf('ASAN_OPTIONS' in os.environ, 'it keeps what was freed for a while')
    def test_a_long_message_leaves_no_memory_behind(self):
        client = self.client_of(STRANGER)
        before = self.resident_kib()
        for _ in range(3):
            with self.assertRaises(dbus.DBusException):
                client.manager('GetDevice', 's', 'x' * (20 << 20))
        client.objects()  # the answer to the last one has been sent
        self.assertLess(self.resident_kib() - before, 2048)

    def test_new_connections_do_not_keep_others_out(self):
        """It is not known yet who they are when their calls come in."""
        root = self.client_of(0)
        with identity(STRANGER):
            strangers = [self.client() for _ in range(30)]
        with identity(NOBODY):
            nobody = self.client()
        self.daemon.process.send_signal(signal.SIGSTOP)
        call = (ROOT_PATH, f'{NAME}.Manager', 'Release', '0123456789abcdef', dbus.Dictionary({}, signature='sv'))
        floods = [Pipeline(stranger).calls(30, *call).reach_the_daemon() for stranger in strangers]
        others = [Pipeline(client).calls(1, *call).reach_the_daemon() for client in (root, nobody)]
        self.daemon.process.send_signal(signal.SIGCONT)
        for other in others:
            self.assertEqual(other.finish().errors(), [harness.ERROR + 'NoSuchClaim'])
        errors = [error for flood in floods for error in flood.finish().errors()]
        self.assertLessEqual(set(errors), {LIMIT, harness.ERROR + 'NoSuchClaim'})

    def test_a_call_without_a_reply_does_nothing(self):
        root = self.client_of(0)
        flood = Pipeline(root)
        for _ in range(300):
            flood.call(ROOT_PATH, f'{NAME}.Manager', 'Acquire', dbus.Array([self.devices[0].name]),
                       dbus.Dictionary({}, signature='sv'), reply=False)
        self.assertEqual(int(root.get(ROOT_PATH, 'Manager', 'Claims')), 0)
        self.assertEqual(self.records(), [])
        claim = root.acquire(self.devices[0])
        flood.call(ROOT_PATH, f'{NAME}.Manager', 'Release', claim.id, dbus.Dictionary({}, signature='sv'), reply=False)
        for fd in claim.fds.values():
            os.close(fd) if isinstance(fd, int) else fd.close()
        self.wait_gone(claim)


@needs_root
class RebindTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nics = [self.host.add_device(f'0000:{n:02x}:00.0', group=n, driver='e1000e') for n in (6, 7)]
        self.set_policy([{'name': 'all', 'effect': 'allow', 'who': {}, 'what': {'device': '*'}, 'reset': 'optional'}])
        self.start()

    def rebind(self, client, nic):
        claim = client.acquire(nic)
        claim.close()
        self.wait_gone(claim)

    def test_is_paced_by_user_and_device(self):
        root = self.client()
        with identity(NOBODY):
            nobody = self.client()
        with self.refused('LimitExceeded', self.nics[0].name, 'driver'):
            for _ in range(60):
                self.rebind(nobody, self.nics[0])
        self.rebind(nobody, self.nics[1])
        for _ in range(25):
            self.rebind(root, self.nics[0])


@needs_root
class ReaderTest(DoorTestCase):
    """What a claim's rule is, is for its owner and for root, by whatever call it is read."""

    def setUp(self):
        super().setUp()
        self.set_policy([self.rule('secret', user=NOBODY, reset='optional')])
        self.root = self.client_of(0)
        self.root.manager('ReloadPolicy', 'a{sv}', {})
        self.owner = self.client_of(NOBODY)
        self.stranger = self.client_of(STRANGER)
        self.claim = self.owner.acquire(self.devices[0])
        self.addCleanup(self.claim.close)

    def rules(self, client):
        """The property as each call has it."""
        path = self.claim.path
        return [str(client.get(path, 'Claim', 'Rule')), str(client.properties(path, 'Claim')['Rule']),
                str(client.objects()[path][f'{NAME}.Claim']['Rule'])]

    def test_rule_of_a_claim(self):
        for client in (self.root, self.owner):
            for rule in self.rules(client):
                self.assertIn('secret', rule)
        self.assertEqual(self.rules(self.stranger), ['', '', ''])

    def test_the_first_call_of_a_connection(self):
        for uid, expected in ((NOBODY, True), (STRANGER, False)):
            with identity(uid):
                client = self.client()
            self.assertEqual('secret' in client.get(self.claim.path, 'Claim', 'Rule'), expected)

    def test_text_of_errors(self):
        self.set_policy([], text='{"rules": [{"effect": "secret-word"}]}')
        with self.refused('PolicyBroken'):
            self.root.manager('ReloadPolicy', 'a{sv}', {})
        for read in (lambda c: c.get(ROOT_PATH, 'Manager', 'PolicyErrors'),
                     lambda c: c.properties(ROOT_PATH, 'Manager')['PolicyErrors']):
            self.assertIn('secret-word', ' '.join(read(self.root)))
            for client in (self.owner, self.stranger):
                self.assertEqual(len(read(client)), len(read(self.root)))
                self.assertNotIn('secret-word', ' '.join(read(client)))


if __name__ == '__main__':
    harness.main()
