#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a hostile client, a careless admin or bad luck could use: a device without a rule that allows it, a claim that
does not end, a daemon that serves nobody else."""

import json
import os
import pathlib
import struct

import harness
import rawbus
from harness import VfiodTestCase, wait
from host import VFIO


class AnotherDeviceTest(VfiodTestCase):
    """Numbers are given out anew: whoever may have one device must not get another by that."""

    def setUp(self):
        super().setUp()
        self.mine = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)

    def allow_mine(self, **more):
        rule = self.rule(**more)
        rule['what'] = {'device': self.mine.address, 'id': '8086:10d3'}
        self.set_policy([rule])

    def replace(self):
        """Something else is plugged in at the same place, and goes to vfio-pci by itself."""
        self.kernel.remove(self.mine)
        return self.host.add_device(self.mine.address, group=8, driver=VFIO, vendor=0x144D, device=0xA808,
                                    class_code=0x010802)

    def test_a_node_whose_number_is_another_device_s_by_now(self):
        other = self.host.add_device('0000:07:00.0', group=9)
        self.allow_mine()
        self.start()
        c = self.client()

        def swap():
            self.kernel.unbind(self.mine)
            self.kernel.probe(other, VFIO)
        self.kernel.before('open', swap, data=self.host.cdev(self.mine))
        with self.refused('NodeMissing', self.mine.name):
            c.acquire(self.mine)
        self.assertEqual(self.host.cdev(other), '/dev/vfio/devices/vfio0')
        wait(lambda: self.records() == [], 'the record goes')

    def test_a_device_that_is_replaced_before_its_node_is_opened(self):
        self.allow_mine()
        self.start()
        c = self.client()
        self.kernel.before('open', self.replace, data='/dev/iommu')
        with self.assertRaises(harness.dbus.DBusException):
            c.acquire(self.mine)
        wait(lambda: self.records() == [], 'the record goes')

    def test_a_device_that_is_replaced_while_its_group_is_opened(self):
        self.allow_mine(backend='group')
        self.start()
        c = self.client()
        gate = self.kernel.hold('open', data='/dev/vfio/8')
        answer = c.acquire_later(self.mine)
        wait(lambda: gate.entered, 'the group is being opened')
        new = self.replace()
        wait(lambda: c.find(new).get('Vendor') == 0x144D, 'the new one is seen')
        gate.let_go()
        wait(lambda: answer.done, 'there is an answer')
        self.assertIsNone(answer.value)
        self.assertEqual(answer.error.get_dbus_name(), 'org.vfiod1.Error.DeviceGone')
        wait(lambda: self.records() == [], 'the record goes')
        self.assertEqual(c.device(new)['State'], 'free')

    def test_a_group_whose_number_is_another_s_by_now(self):
        self.allow_mine(backend='group')
        self.start()
        c = self.client()

        def swap():
            self.kernel.remove(self.mine)
            self.mine = self.host.add_device(self.mine.address, group=9, driver=VFIO)
            self.host.add_device('0000:07:00.0', group=8, driver=VFIO)
        self.kernel.before('open', swap, data='/dev/vfio/8')
        with self.assertRaises(harness.dbus.DBusException):
            c.acquire(self.mine)
        wait(lambda: self.records() == [], 'the record goes')


class RecordTest(VfiodTestCase):
    """What a daemon may find when it starts."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.before = self.host.binding()
        self.start()
        self.c = self.client()
        self.claim = self.c.acquire(self.nic)
        wait(lambda: self.manager.fds, 'the lifeline is with the service manager')
        self.directory_of_records = f'{self.directory}/state/claims/'

    def restart(self):
        self.start(keep_fds=True)
        self.manager.forget()

    def test_two_records_over_one_device(self):
        self.daemon.kill()
        self.unpack_slots()
        with open(self.directory_of_records + self.claim.id + '.json') as f:
            record = json.load(f)
        rival = 'f' * 16
        with open(self.directory_of_records + rival + '.json', 'w') as f:
            json.dump({**record, 'id': rival, 'state': 'restoring'}, f)
        self.restart()
        # One of them is believed, and nobody takes the device from under its owner.
        self.assertEqual(self.records(), [self.claim.id + '.json', rival + '.json.bad'])
        self.assertEqual(self.claim.state, 'held')
        self.assertEqual(self.c.properties(harness.ROOT_PATH, 'Manager')['Claims'], 1)
        self.claim.close()
        wait(lambda: self.host.binding() == self.before, 'the device is back')

    def test_a_device_that_went_while_nobody_listened(self):
        self.daemon.kill()
        self.claim.close('device:pci:0000:06:00.0')
        self.kernel.remove(self.nic)
        new = self.host.add_device(self.nic.address, group=8, driver='nvme', vendor=0x144D, device=0xA808,
                                   class_code=0x010802)
        self.restart()
        # Its place is free for what is there now, although the client holds on to its lifeline.
        self.wait_gone(self.claim)
        self.assertEqual(self.c.device(new)['State'], 'free')
        self.assertEqual((new.driver, new.override, new.resets), ('nvme', None, 0))

    def test_a_driver_that_went_while_nobody_listened(self):
        self.daemon.kill()
        self.claim.close('device:pci:0000:06:00.0')
        self.host.change_driver(self.nic, 'e1000e')
        self.restart()
        self.wait_gone(self.claim)
        self.assert_untouched(self.before)


class ResetTest(VfiodTestCase):
    def test_what_a_group_exposes_is_reset_too(self):
        mine = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        beside = self.host.add_device('0000:06:00.1', group=8, driver=VFIO)
        parked = self.host.add_device('0000:06:00.2', group=8, driver='e1000e')
        self.set_policy([self.rule(backend='group', siblings='park')])
        before = self.host.binding()
        self.start()
        claim = self.client().acquire(mine)
        claim.close()
        self.wait_gone(claim)
        self.assertEqual((mine.resets, beside.resets, parked.resets), (1, 1, 1))
        self.assert_untouched(before)


class NamesTest(VfiodTestCase):
    def test_names_are_cut_between_letters(self):
        """What a message cannot carry is no answer: with half a letter in it, nobody could plan or read the claim."""
        nics = [self.host.add_device(f'0000:{i:02x}:00.0', group=i, driver=VFIO) for i in range(6, 18)]
        self.start()
        c = self.client()
        for shift in ('', 'x'):
            self.set_policy([self.rule(f'{shift}{"é" * 30}{i}', device=d.address) for i, d in enumerate(nics)])
            c.manager('ReloadPolicy', 'a{sv}', {})
            self.assertIn('é', c.plan(*nics)['rule'])
            claim = c.acquire(*nics)
            self.assertNotIn('\\x', claim.result['rule'])
            claim.close()
            self.wait_gone(claim)

    def test_a_name_that_cannot_be_sent_keeps_no_list_back(self):
        """Anybody names his program as he likes; dbus-daemon carries every code point, sd-bus does not."""
        nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.start()
        other = self.client()
        task = pathlib.Path('/proc/self/comm')
        before = task.read_bytes()
        self.addCleanup(task.write_bytes, before)
        for name in (b'\xff', b'\x1b[2J', b'a\nb', b'\xef\xbf\xbe', b'\xef\xb7\x90', b'\xf4\x8f\xbf\xbf'):
            with self.subTest(name=name):
                task.write_bytes(name)
                claim = self.client().acquire(nic)
                shown = ''.join(f'\\x{c:02x}' if c < 32 or c > 126 else chr(c) for c in name)
                self.assertEqual(other.objects()[claim.path][f'{harness.NAME}.Claim']['Command'], shown)
                wait(lambda: any(e[0] == 'InterfacesAdded' and claim.path in e for e in other.events), 'it is announced')
                claim.close()
                self.wait_gone(claim)


class MessageTest(VfiodTestCase):
    """What a client may send."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.start()
        self.c = self.client()

    def test_long_paths_keep_nobody_waiting(self):
        path, pending = '/a' * 32000, []
        for _ in range(30):  # each was half a second of the daemon's time
            pending.append(harness.Pending())
            self.c.connection.call_async(harness.NAME, path, harness.PROPERTIES, 'GetAll', 's', ('x',),
                                         pending[-1].reply, pending[-1].fail, harness.CALL_TIMEOUT)
        claim = self.client().acquire(self.nic)
        wait(lambda: all(p.done for p in pending), 'all are answered', timeout=5)
        self.assertEqual({p.error.get_dbus_name() for p in pending}, {'org.freedesktop.DBus.Error.UnknownObject'})
        claim.close()
        self.wait_gone(claim)

    def test_nobody_sends_it_file_descriptors(self):
        # The last to close a device is who waits for its reset.
        claim = self.c.acquire(self.nic)
        m = harness.dbus.lowlevel.MethodCallMessage(harness.NAME, harness.ROOT_PATH, 'org.freedesktop.DBus.Peer', 'Ping')
        m.append(harness.dbus.types.UnixFd(claim.fds['device:pci:0000:06:00.0']))
        with self.refused('org.freedesktop.DBus.Error.AccessDenied'):
            self.c.connection.send_message_with_reply_and_block(m, harness.CALL_TIMEOUT)
        del m
        claim.close()
        self.wait_gone(claim)

    def cpu(self):
        """Seconds that the daemon has worked."""
        fields = pathlib.Path(f'/proc/{self.daemon.pid}/stat').read_text().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def test_large_messages_keep_nobody_waiting(self):
        """As much as one message holds: read up to the first that is wrong, no matter what comes after it."""
        less = 8 if 'ASAN_OPTIONS' in os.environ else 1  # the floor itself takes minutes
        many, size = 900000 // less, (24 << 20) // less

        def request(fill, devices=(self.nic.name,)):
            return rawbus.Body().array(4, lambda b: [b.s(d) for d in devices]).array(8, fill)

        def same(name, value):
            return lambda b: b.repeat(many, 8, lambda e: e.s(name).g('b').u(value))

        def different(b):
            for i in range(many):
                b.pad(8).extend(struct.pack('<I8sxBcxI', 8, f'{i:08}'.encode(), 1, b'b', 0))

        def strings(text):
            return lambda b: b.repeat(size // (4 + 4 * len(text) // 4 + 4), 4, lambda e: e.s(text))

        def lists(signature, fill):
            return lambda b: b.pad(8).s('capabilities').g(signature).array(4, fill)

        refused = {
            'an option': ('Plan', 'asa{sv}', request(same('untainted', 0))),
            'details': ('Plan', 'asa{sv}', request(same('details', 1))),
            'details of a reload': ('ReloadPolicy', 'a{sv}', rawbus.Body().array(8, same('details', 0))),
            'options that nobody knows': ('Plan', 'asa{sv}', request(different)),
            'devices': ('Plan', 'asa{sv}', rawbus.Body().array(4, strings('abc')).array(8, lambda b: None)),
            'strings in an option': ('Plan', 'asa{sv}', request(lists('as', strings('abc')))),
            'numbers in an option': ('Plan', 'asa{sv}', request(lists('ai', lambda b: b.extend(bytes(size))))),
            'capabilities': ('Explain', 'asa{sv}', request(lists('as', strings('CAP_SYS_ADMIN')))),
        }

        def ask(*arguments):
            """(the answer, seconds of the daemon's time)"""
            c, before = rawbus.RawClient(self.bus.address), self.cpu()
            try:
                return c.ask(harness.NAME, harness.ROOT_PATH, f'{harness.NAME}.Manager', *arguments), self.cpu() - before
            finally:
                c.close()

        _, floor = ask('GetDevice', 's', rawbus.Body().s('x' * size))  # to receive as much, and to look at each byte
        for what, arguments in refused.items():
            with self.subTest(what):
                answer, seconds = ask(*arguments)
                self.assertIn(b'org.vfiod1.Error.', answer)
                # More than the floor's own noise, which a sanitizer makes large; such a message once took 0.1 s and more.
                self.assertLessEqual(seconds, 1.25 * floor + 0.03)


HOLDERS_READER = '''
import os, resource, sys
import dbus.bus, dbus.lowlevel
if os.getuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 60000), hard))
bus = dbus.bus.BusConnection(sys.argv[1])
try:
    while True:
        os.dup(0)
except OSError:
    pass
def ask():
    m = dbus.lowlevel.MethodCallMessage('org.vfiod1', sys.argv[2], 'org.freedesktop.DBus.Properties', 'Get')
    m.append('org.vfiod1.Claim', 'Holders', signature='ss')
    return bus.send_message_with_reply_and_block(m, 60)
try:
    for i in range(3000):
        ask()
except dbus.DBusException as e:
    print(e.get_dbus_name())
'''


BUS = ('/org/freedesktop/DBus', 'org.freedesktop.DBus')


class ForgedSignalTest(VfiodTestCase):
    """Anybody may send a signal that looks like the bus's own. Here the bus delivers it."""
    bus_policy = '<policy context="mandatory"><allow send_type="signal"/></policy>'

    def test_the_death_of_a_caller(self):
        nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.start()
        gate = self.host.hold_binding(nic)
        caller, other = self.client(), self.client()
        answer = caller.acquire_later(nic)
        wait(lambda: gate.entered, 'the device is being bound')
        name = caller.connection.get_unique_name()
        other.forge(harness.NAME, *BUS, 'NameOwnerChanged', name, name, '')
        other.get(harness.ROOT_PATH, 'Manager', 'Claims')  # when it answers, it has seen the signal
        gate.let_go()
        wait(lambda: answer.done, 'there is an answer')
        self.assertIsNone(answer.error)
        answer.value[0].close()
        self.wait_gone(answer.value[0])


    def test_the_gift_of_the_name(self):
        before, other = self.client(), self.client()
        before.connection.request_name(harness.NAME)
        self.daemon = harness.Daemon(self)
        daemon = wait(lambda: other.queued_owners()[1:], 'it waits')[0]
        other.forge(daemon, *BUS, 'NameAcquired', harness.NAME)
        other.connection.call_blocking(daemon, '/', 'org.freedesktop.DBus.Peer', 'Ping', '', ())
        self.assertNotIn('1', [m.get('READY') for m in self.manager.messages])
        before.close()
        self.daemon.wait_ready()


@harness.needs_root
class UnreadAnswersTest(VfiodTestCase):
    """The bus keeps what a client does not read, and when that is too much, reads nothing more from who sent it."""
    bus_policy = '<limit name="max_incoming_bytes">100000</limit>'

    def is_answered(self, client):
        try:
            client.call(harness.ROOT_PATH, 'org.freedesktop.DBus.Peer', 'Ping', '', timeout=2)
        except harness.dbus.DBusException:
            return False
        return True

    def test_others_are_answered_again(self):
        nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.start()
        c = self.client()
        claim = c.acquire(nic)
        owners = []
        c.connection.watch_name_owner(harness.NAME, owners.append)
        wait(lambda: owners, 'the bus says who has the name')
        with harness.identity(harness.NOBODY):
            stranger = rawbus.RawClient(self.bus.address)
        self.addCleanup(stranger.close)
        stranger.send_unread(120, harness.NAME, harness.ROOT_PATH, 'org.freedesktop.DBus.Introspectable', 'Introspect')
        while self.is_answered(c):
            pass
        self.is_answered(c)  # it looks when somebody asks; from here on nobody does
        wait(lambda: owners[-1] not in ('', owners[0]), 'it has another connection', 30)
        self.assertTrue(self.is_answered(c))
        self.assertEqual(claim.state, 'held')
        claim.close()
        self.wait_gone(claim)


@harness.needs_root
class FullQueueTest(VfiodTestCase):
    """Before the bus has too much of us, who reads nothing gets no more answers."""
    bus_policy = f'<limit name="max_incoming_bytes">{32 << 20}</limit>'
    READ = (harness.ROOT_PATH, 'org.freedesktop.DBus.Introspectable', 'Introspect')
    AT_ONCE = 100
    N_DEVICES = 30

    def setUp(self):
        super().setUp()
        self.nics = [self.host.add_device(f'0000:{n:02x}:00.0', group=n, driver=VFIO) for n in range(self.N_DEVICES)]
        self.set_policy([self.rule('all', user=harness.NOBODY, reset='optional')])
        self.start()
        self.mine = self.client()
        with harness.identity(harness.NOBODY):
            self.stranger = rawbus.RawClient(self.bus.address)
        self.addCleanup(self.stranger.close)

    def unread_bytes(self):
        """Of all that the daemon has sent."""
        bus = self.mine.connection.get_object('org.freedesktop.DBus', '/org/freedesktop/DBus', introspect=False)
        owner = self.mine.connection.get_name_owner(harness.NAME)
        return int(bus.GetConnectionStats(owner, dbus_interface='org.freedesktop.DBus.Debug.Stats')['IncomingBytes'])

    def assert_answered(self):
        self.mine.call(harness.ROOT_PATH, 'org.freedesktop.DBus.Properties', 'Get', 'ss', f'{harness.NAME}.Manager',
                       'Version', timeout=4)

    def attack(self, count, *call):
        for _ in range(count // self.AT_ONCE):
            self.stranger.send_unread(self.AT_ONCE, harness.NAME, *call)
            self.assert_answered()
        self.assertLess(self.unread_bytes(), 12 << 20)

    def test_answers(self):
        self.attack(8000, *self.READ)
        self.assertGreater(self.unread_bytes(), 2 << 20)  # how far it gets depends on how fast both are
        self.stranger.receive_answers(8000)  # from the bus, or from us now that there is room
        self.attack(8000, *self.READ)

    def test_errors_of_the_bus_library(self):
        self.attack(30000, harness.ROOT_PATH, 'i.' + 'x' * 250, 'z' * 250)

    def test_descriptors(self):
        """The bus holds 64 of them for a sender."""
        self.stranger.send_unread(60, harness.NAME, *self.READ)  # so much is in the socket
        for nic in self.nics:
            body = rawbus.Body().array(4, lambda a: a.s(nic.name)).array(8, lambda a: None)
            self.stranger.send_unread(1, harness.NAME, harness.ROOT_PATH, f'{harness.NAME}.Manager', 'Acquire',
                                      'asa{sv}', bytes(body))
            self.assert_answered()
        self.stranger.receive_answers(60 + self.N_DEVICES)


class BusPolicyTest(VfiodTestCase):
    def test_nobody_sends_signals_to_the_daemon(self):
        daemon, other = self.client(), self.client()
        daemon.connection.request_name(harness.NAME)
        seen = []
        daemon.connection.add_message_filter(lambda _, m: seen.append(m.get_member()))
        for destination in (harness.NAME, daemon.connection.get_unique_name()):
            other.forge(destination, *BUS, 'NameOwnerChanged', 'a', 'b', 'c')
        call = harness.dbus.lowlevel.MethodCallMessage(harness.NAME, '/', 'a.b', 'Call')
        other.connection.send_message(call)
        wait(lambda: 'Call' in seen, 'the call arrives')
        self.assertNotIn('NameOwnerChanged', seen)


class HoldersTest(VfiodTestCase):
    def test_who_makes_it_slow_is_stopped(self):
        nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.start()
        c = self.client()
        claim = c.acquire(nic)
        reader = self.tool('/usr/bin/python3', '-c', HOLDERS_READER, self.bus.address, claim.path)
        output, _ = reader.communicate(timeout=60)
        self.assertEqual(output, 'org.vfiod1.Error.LimitExceeded\n')
        if os.getuid() == 0:
            self.assertEqual([int(p) for p, _ in c.get(claim.path, 'Claim', 'Holders')], [os.getpid()])
        claim.close()
        self.wait_gone(claim)


if __name__ == '__main__':
    harness.main()
