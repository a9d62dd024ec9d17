#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The queue for devices that others have: who is next, who leaves it and how, and what keeps nobody waiting."""

import errno
import os
import pwd
import signal
import socket
import time

import dbus

import harness
from harness import NOBODY, ROOT_PATH, device_path, needs_root, wait
from host import VFIO
from mock_polkit import MockPolkit
from varlink_client import VarlinkError, VarlinkTestCase

LONG = dbus.UInt64(600)


class WaitTestCase(VarlinkTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver=VFIO, class_code=0x010802)
        self.before = self.host.binding()
        self.set_policy([self.rule(), {**self.rule('nobody', user=NOBODY)}])
        self.prepare()
        self.start()
        self.c = self.client()

    def prepare(self):
        pass

    def nobody(self):
        with harness.identity(NOBODY):
            return self.client()

    def waiting(self, client=None):
        """Ids of the claims that wait, the next one first, and their positions as this client sees them."""
        c = client or self.c
        found = [p['org.vfiod1.Claim'] for path, p in c.objects().items() if '/claim/' in path]
        ids = [str(p['Id']) for p in found if p['State'] == 'waiting']
        positions = {i: int(c.get(f'{ROOT_PATH}/claim/{i}', 'Claim', 'QueuePosition')) for i in ids}
        return sorted(positions.items(), key=lambda item: item[1])

    def wait_for(self, *devices, client=None, wait_sec=LONG, **options):
        """An Acquire that waits, once it is in the queue: the pending answer, and the id of the claim."""
        before = dict(self.waiting())
        pending = (client or self.c).acquire_later(*devices, wait=wait_sec, **options)
        wait(lambda: pending.done or len(self.waiting()) > len(before), 'it waits')
        if pending.done:
            self.fail(pending.error or 'it has not waited')
        name, = set(dict(self.waiting())) - set(before)
        return pending, name

    def positions(self, *names):
        found = dict(self.waiting())
        return [found.get(name) for name in names]

    def result(self, pending):
        wait(lambda: pending.done, 'Acquire is answered')
        if pending.error:
            raise pending.error
        return pending.value[0]

    def end(self, *claims):
        for claim in claims:
            claim.close()
        for claim in claims:
            self.wait_gone(claim)


class WaitTest(WaitTestCase):
    def test_first_come_first_served(self):
        claim = self.c.acquire(self.nic)
        first, a = self.wait_for(self.nic, reason='first')
        second, b = self.wait_for(self.nic)
        self.assertEqual(self.positions(a, b), [1, 2])
        shown = self.c.properties(f'{ROOT_PATH}/claim/{a}', 'Claim')
        self.assertEqual((shown['State'], shown['Devices'], shown['Reason'], shown['Failure']),
                         ('waiting', [device_path(self.nic.name)], 'first', ''))
        self.assertEqual(self.records(), [claim.id + '.json'])  # who waits has nothing
        with self.refused('DeviceClaimed', claim.id, '2 requests are waiting'):
            self.c.acquire(self.nic)
        claim.close()
        got = self.result(first)
        self.assertEqual((got.id, got.state, self.nic.driver), (a, 'held', VFIO))
        self.assertEqual(got.properties()['QueuePosition'], 0)
        wait(lambda: self.positions(b) == [1], 'the second is next')
        self.assertFalse(second.done)
        got.close()
        self.end(self.result(second))
        self.assert_untouched(self.before)

    def test_free_devices_need_no_wait(self):
        self.end(self.c.acquire(self.nic, wait=LONG))
        with self.refused('GroupInUse'):
            self.host.hold_node(f'/dev/vfio/{self.disk.group}')
            self.c.acquire(self.disk, backend='group', wait=LONG)  # nobody tells when that ends

    def test_several_devices(self):
        """Who waits for two devices is not overtaken on the one that is free, and holds up nobody else."""
        other = self.host.add_device('0000:08:00.0', group=10, driver=VFIO)
        wait(lambda: device_path(other.name) in self.c.objects(), 'the third device')
        self.before = self.host.binding()
        claim = self.c.acquire(self.nic)
        both, a = self.wait_for(self.nic, self.disk)
        with self.refused('DeviceClaimed', self.disk.name, '1 request is waiting for it and came before'):
            self.c.acquire(self.disk)
        with self.refused('DeviceClaimed', 'came before'):
            self.c.plan(self.disk)
        with self.refused('DeviceClaimed', 'came before'):
            self.c.manager('Reserve', 'sa{sv}', self.disk.name, {})
        held = self.c.acquire(other)
        with self.refused('DeviceClaimed', 'came before'):
            self.c.add(held, self.disk)
        self.end(held)
        one, b = self.wait_for(self.disk)
        self.assertEqual(self.positions(a, b), [1, 2])
        self.assertEqual(self.c.device(self.disk)['State'], 'free')
        claim.close()
        got = self.result(both)
        self.assertEqual(len(got.properties()['Devices']), 2)
        self.assertFalse(one.done)
        got.close()
        self.end(self.result(one))
        self.assert_untouched(self.before)

    def test_time_is_over(self):
        claim = self.c.acquire(self.nic)
        self.wait_for(self.nic)
        with self.refused('DeviceClaimed', claim.id, f'uid {os.getuid()}', 'the wait of 1 s is over', 'position 2'):
            self.c.acquire(self.nic, wait=dbus.UInt64(1))
        self.assertEqual(len(self.waiting()), 1)
        self.end(claim)

    def test_who_leaves(self):
        claim = self.c.acquire(self.nic)
        gone = self.client()
        self.wait_for(self.nic, client=gone)
        second, b = self.wait_for(self.nic)
        gone.close()
        wait(lambda: self.positions(b) == [1], 'the first has left')
        claim.close()
        self.end(self.result(second))
        self.assert_untouched(self.before)

    def test_who_leaves_over_varlink(self):
        claim = self.c.acquire(self.nic)
        peer = self.peer()
        peer.send('Acquire', {'devices': [self.nic.name], 'wait': 600})
        wait(lambda: len(self.waiting()) == 1, 'it waits')
        second, b = self.wait_for(self.nic)
        peer.close()
        wait(lambda: self.positions(b) == [1], 'the first has left')
        claim.close()
        self.end(self.result(second))

    def test_varlink(self):
        claim = self.c.acquire(self.nic)
        with self.peer() as peer, self.peer() as other:
            peer.send('Acquire', {'devices': [self.nic.name], 'wait': 600})
            wait(lambda: len(self.waiting()) == 1, 'it waits')
            (name, _), = self.waiting()
            shown = other.call('List', {'claim': name})['claim']
            self.assertEqual((shown['state'], shown['queuePosition'], shown['devices']), ('waiting', 1, [self.nic.name]))
            claim.close()
            reply, fds = peer.reply()
            self.assertEqual(reply['claim'], name)
            for fd in fds.values():
                os.close(fd)
        wait(lambda: not self.records(), 'it is over')

    @needs_root
    def test_a_process_that_ended(self):
        """Its connection lives on in another process."""
        claim = self.c.acquire(self.nic)
        path, message = self.socket_path(), b'{"method":"org.vfiod.Broker.Acquire","parameters":{"devices":["%s"],"wait":600}}\0'
        left, right = socket.socketpair()
        child = os.fork()
        if child == 0:
            s = socket.socket(socket.AF_UNIX)
            s.connect(path)
            s.sendall(message % self.nic.name.encode())
            socket.send_fds(right, [b'x'], [s.fileno()])
            signal.pause()
        _, fds, _, _ = socket.recv_fds(left, 1, 1)
        left.close()
        right.close()
        try:
            wait(lambda: len(self.waiting()) == 1, 'it waits')
            second, b = self.wait_for(self.nic)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            wait(lambda: self.positions(b) == [1], 'the first has left')
        finally:
            for fd in fds:
                os.close(fd)
        claim.close()
        self.end(self.result(second))

    def test_released(self):
        claim = self.c.acquire(self.nic)
        first, a = self.wait_for(self.nic, cookie='mine')
        with self.refused('CookieInUse', a):
            self.c.acquire(self.disk, cookie='mine')
        second, b = self.wait_for(self.nic)
        self.c.manager('Release', 'sa{sv}', 'cookie:mine', {})
        with self.refused('DeviceClaimed', 'released while it waited'):
            self.result(first)
        self.assertEqual(self.positions(a, b), [None, 1])
        claim.close()
        self.end(self.result(second))
        self.assert_untouched(self.before)

    def test_bad_values(self):
        claim = self.c.acquire(self.nic)
        for bad in (dbus.UInt64(0), dbus.UInt64(604801), dbus.UInt64(2**64 - 1)):
            with self.refused('InvalidArgument', 'wait'):
                self.c.acquire(self.nic, wait=bad)
        for bad in (dbus.Int32(-1), 'forever', True):
            with self.refused('InvalidArgument', 'wait'):
                self.c.acquire(self.nic, wait=bad)
        with self.refused('InvalidArgument', 'cannot be waited for'):
            self.c.add(claim, self.disk, wait=LONG)
        with self.refused('UnknownOption', 'wait'):
            self.c.manager('Reserve', 'sa{sv}', self.disk.name, {'wait': LONG})
        with self.peer() as peer:
            for bad in (-1, 0, 604801, 'x', 1.5):
                with self.assertRaises(VarlinkError):
                    peer.call('Acquire', {'devices': [self.nic.name], 'wait': bad})
        self.assertEqual(self.waiting(), [])
        self.end(claim)

    def test_a_policy_that_denies_it_meanwhile(self):
        """Whom it denies does not keep the place, and others from the devices, until the turn comes."""
        claim = self.c.acquire(self.nic)
        first, _ = self.wait_for(self.nic, self.disk)
        second, b = self.wait_for(self.nic, reason='a rack test')
        self.set_policy([self.rule('no-more', effect='deny', device=self.disk.name), self.rule()])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        with self.refused('AccessDenied', 'no-more'):
            self.result(first)
        wait(lambda: self.positions(b) == [1], 'the other is next')
        self.assertFalse(second.done)
        self.assertEqual(self.c.get(ROOT_PATH, 'Manager', 'ClaimsDeniedByPolicy'), [])  # nor those that wait
        claim.close()
        self.end(self.result(second))
        self.assert_untouched(self.before)

    def test_what_no_wait_changes_is_refused_at_once(self):
        claim = self.c.acquire(self.nic)
        for rule, options, error, words in (
                ({'reason': 'required'}, {}, 'ReasonRequired', 'requires a reason'),
                ({'memlock': '1M'}, {'memlock': dbus.UInt64(2 << 20)}, 'LimitExceeded', '2M was requested'),
                ({'tether': ['lifeline']}, {'tether': 'process'}, 'AccessDenied', 'tether process'),
                ({'limits': {'devices-per-user': 1}}, {}, 'LimitExceeded', 'devices-per-user')):
            self.set_policy([self.rule(**rule)])
            self.c.manager('ReloadPolicy', 'a{sv}', {})
            with self.refused(error, words):
                self.c.acquire(self.nic, self.disk, wait=LONG, **options)
        self.assertEqual(self.waiting(), [])
        # A limit that this user has reached by now may be free then.
        self.set_policy([self.rule(limits={'claims-per-user': 1})])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        second, _ = self.wait_for(self.nic)
        claim.close()
        self.end(self.result(second))

    def test_the_device_is_pulled_out(self):
        claim = self.c.acquire(self.nic)
        first, _ = self.wait_for(self.nic)
        self.host.remove_device(self.nic)
        claim.close()
        with self.refused('NoSuchDevice', self.nic.name):
            self.result(first)

    def test_the_device_is_quarantined(self):
        claim = self.c.acquire(self.nic)
        first, _ = self.wait_for(self.nic)
        self.kernel.fail('reset', self.nic.address, errno.ENOTTY)
        claim.close()
        with self.refused('DeviceQuarantined', self.nic.name):
            self.result(first)

    def test_reserved_devices(self):
        path, ticket, _ = self.c.manager('Reserve', 'sa{sv}', self.nic.name, {})
        first, a = self.wait_for(self.nic)
        with self.refused('DeviceReserved', '1 request is waiting'):
            self.c.acquire(self.nic)
        claim = self.c.acquire(ticket=str(ticket))  # its redeemer is before all of them
        self.assertEqual(self.positions(a), [1])
        claim.close()
        self.end(self.result(first))
        self.c.manager('Reserve', 'sa{sv}', self.nic.name, {'ttl': dbus.UInt64(1)})
        second, _ = self.wait_for(self.nic)
        self.end(self.result(second))  # it expires
        self.assert_untouched(self.before)

    def test_the_daemon_stops(self):
        claim = self.c.acquire(self.nic)
        first, _ = self.wait_for(self.nic)
        self.daemon.stop()
        with self.refused('ShuttingDown'):
            self.result(first)
        self.start()
        self.c = self.client()
        self.assertEqual(self.waiting(), [])
        claim.client = self.c
        second, _ = self.wait_for(self.nic)
        claim.close()
        self.end(self.result(second))
        self.assert_untouched(self.before)

    def test_the_daemon_is_killed(self):
        claim = self.c.acquire(self.nic)
        first, a = self.wait_for(self.nic)
        self.daemon.kill()
        self.start()
        with self.refused('org.freedesktop.DBus.Error.NoReply'):
            self.result(first)
        self.c = self.client()
        self.assertEqual(self.waiting(), [])
        claim.client = self.c
        self.end(claim)
        self.assert_untouched(self.before)


class FamilyTest(WaitTestCase):
    def prepare(self):
        self.pf = self.host.add_device('0000:04:00.0', group=4, driver='igb')
        self.vfs = [self.host.add_device(f'0000:04:10.{i}', group=20 + i, driver='igbvf', physfn=self.pf) for i in range(2)]

    def test_virtual_functions(self):
        """Functions of one card do not keep each other waiting, and what can never be had keeps nobody from them."""
        claim = self.c.acquire(self.vfs[0])
        first, _ = self.wait_for(self.vfs[0])
        self.end(self.c.acquire(self.vfs[1]))
        with self.refused('DeviceClaimed', self.vfs[0].name):
            self.c.acquire(self.pf, wait=LONG)  # its functions stay when their claims end
        claim.close()
        self.end(self.result(first))


class AskTest(WaitTestCase):
    def prepare(self):
        self.set_policy([self.rule('disk', device=self.disk.name), self.rule('asks', effect='ask')])
        self.polkit = MockPolkit(self.bus.address)
        self.addCleanup(self.polkit.close)

    def test_a_person_is_asked_when_the_turn_has_come(self):
        """Who is asked about keeps nobody waiting; too late is not in vain."""
        first = self.c.acquire_later(self.nic)
        wait(lambda: len(self.polkit.questions) == 1, 'polkit is asked')
        self.polkit.questions[0].answer(True)
        claim = self.result(first)
        second, b = self.wait_for(self.nic)
        third, c = self.wait_for(self.nic)
        self.assertEqual(len(self.polkit.questions), 1)
        claim.close()
        wait(lambda: len(self.polkit.questions) == 3, 'polkit is asked about both')
        wait(lambda: self.waiting() == [], 'both are out of the queue')
        of_second, of_third = self.polkit.questions[1:]
        of_third.answer(True)
        got = self.result(third)
        self.assertFalse(second.done)
        of_second.answer(True)
        wait(lambda: self.positions(b) == [1], 'it is back in the queue')
        got.close()
        got = self.result(second)  # and nobody was asked again
        self.assertEqual((len(self.polkit.questions), got.id), (3, b))
        self.end(got)
        self.assert_untouched(self.before)

    def test_no(self):
        first = self.c.acquire_later(self.nic)
        wait(lambda: len(self.polkit.questions) == 1, 'polkit is asked')
        self.polkit.questions[0].answer(True)
        claim = self.result(first)
        second, _ = self.wait_for(self.nic)
        claim.close()
        wait(lambda: len(self.polkit.questions) == 2, 'polkit is asked')
        self.polkit.questions[1].answer(False)
        with self.refused('NotAuthorized'):
            self.result(second)
        wait(lambda: not self.records(), 'it is over')


@needs_root
class UsersTest(WaitTestCase):
    def prepare(self):
        self.set_policy([self.rule(priority=-5), self.rule('nobody', user=NOBODY, priority=5)])

    def test_priority(self):
        n = self.nobody()
        claim = self.c.acquire(self.nic)
        low, a = self.wait_for(self.nic, self.disk)
        high, b = self.wait_for(self.nic, client=n)
        self.assertEqual(self.positions(b, a), [1, 2])
        self.assertEqual(self.waiting(n), [(a, 0), (b, 1)])  # that of others is not shown
        # Who does not wait is measured as if they did.
        with self.refused('DeviceClaimed', 'came before'):
            self.c.acquire(self.disk)
        overtaker = n.acquire(self.disk)
        claim.close()
        got = self.result(high)
        got.close()
        wait(lambda: self.positions(a) == [1], 'the other is next')
        self.assertFalse(low.done)
        overtaker.close()
        self.end(self.result(low))
        self.assert_untouched(self.before)

    def test_strangers(self):
        claim = self.c.acquire(self.nic)
        first, a = self.wait_for(self.nic)
        n = self.nobody()
        with self.refused('NotOwner'):
            n.manager('Release', 'sa{sv}', a, {})
        second, b = self.wait_for(self.nic, client=n)
        self.c.manager('Release', 'sa{sv}', b, {})  # root may
        with self.refused('DeviceClaimed', 'released while it waited'):
            self.result(second)
        claim.close()
        self.end(self.result(first))

    def test_many(self):
        """One user has so many requests in the queue, however many it sends, and leaves it with all of them."""
        claim = self.c.acquire(self.nic)
        n = self.nobody()
        pending = [n.acquire_later(self.nic, wait=LONG) for _ in range(100)]
        wait(lambda: sum(p.done for p in pending) == 68, 'the others are refused')
        for p in pending:
            if p.done:
                self.assertEqual(p.error.get_dbus_name(), harness.ERROR + 'LimitExceeded')
                self.assertIn('has 32 requests waiting', p.error.get_dbus_message())
        self.assertEqual([position for _, position in self.waiting()], list(range(1, 33)))
        first, a = self.wait_for(self.nic)  # others are not refused for that
        n.close()
        wait(lambda: self.positions(a) == [1], 'all of them have left')
        claim.close()
        self.end(self.result(first))
        self.assert_untouched(self.before)

    def test_many_users(self):
        """All users together have so many requests in the queue. Root's neither count nor are they refused."""
        uids = sorted({account.pw_uid for account in pwd.getpwall()} - {0})[:9]  # the bus admits no others
        self.set_policy([self.rule(), self.rule('many', user=uids)])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        claim = self.c.acquire(self.nic)
        first, a = self.wait_for(self.nic)
        clients, pending = [], []
        for uid in uids[:8]:
            with harness.identity(uid):
                clients.append(self.client())
            pending += [clients[-1].acquire_later(self.nic, wait=LONG) for _ in range(32)]
        wait(lambda: len(self.waiting()) == 257 or any(p.done for p in pending), 'all of them wait')
        self.assertEqual([p.error for p in pending if p.done], [])
        with harness.identity(uids[8]):
            last = self.client()
        with self.refused('LimitExceeded', '256 requests are waiting for devices already'):
            last.acquire(self.nic, wait=LONG)
        second, b = self.wait_for(self.nic)
        self.assertEqual(self.positions(a, b), [1, 258])
        clients[0].close()
        wait(lambda: self.positions(b) == [258 - 32], 'one user has left')
        third, c = self.wait_for(self.nic, client=last)
        self.assertEqual(self.positions(c), [259 - 32])
        for client in (*clients[1:], last):
            client.close()
        wait(lambda: self.positions(a, b) == [1, 2], 'all users have left')
        claim.close()
        self.end(self.result(first))
        self.end(self.result(second))
        self.assertFalse(third.value)
        self.assert_untouched(self.before)


class PreemptTest(WaitTestCase):
    """A claim gives way to a request of a higher priority, if its rule says so; and nobody's else does."""

    def prepare(self):
        self.cheap = {'preemptible': True, 'priority': -5, 'eviction-delay': 60}
        self.set_policy([self.rule('nobody', user=NOBODY, **self.cheap), self.rule('high', priority=10)])

    def eviction(self, claim):
        p = self.c.properties(claim.path, 'Claim')
        return str(p['Eviction']), str(p['EvictCause'])

    def waits_for(self, name, client=None):
        return [str(t) for t in (client or self.c).get(f'{ROOT_PATH}/claim/{name}', 'Claim', 'WaitsFor')]

    @needs_root
    def test_gives_way(self):
        n = self.nobody()
        claim = n.acquire(self.nic)
        pending, name = self.wait_for(self.nic)
        wait(lambda: self.eviction(claim) == ('announced', 'priority'), 'it is evicted')
        self.assertRegex(', '.join(self.waits_for(name)), f'^claim {claim.id} of uid {NOBODY}, held, evicted by .* .priority.$')
        self.assertEqual(self.waits_for(name, n), [])
        self.wait_logged('gives way', claim.id)
        n.manager('AnswerEviction', 'sa{sv}', claim.id, {'more': dbus.UInt64(60)})
        claim.close()
        self.end(self.result(pending))
        self.assert_untouched(self.before)

    @needs_root
    def test_who_leaves_the_queue(self):
        """The claim can stay then; and what root has forgiven is not asked for again."""
        n = self.nobody()
        claim = n.acquire(self.nic)
        for forgive in (False, True):
            pending, name = self.wait_for(self.nic)
            wait(lambda: self.eviction(claim)[0] == 'announced', 'it is evicted')
            if forgive:
                self.c.manager('Evict', 'sa{sv}', claim.id, {'cancel': True})
                other = self.wait_for(self.nic)
                self.assertEqual(self.eviction(claim), ('none', ''))
                self.c.manager('Release', 'sa{sv}', other[1], {})
                wait(lambda: other[0].done, 'it has left the queue')
            self.c.manager('Release', 'sa{sv}', name, {})
            wait(lambda: pending.done, 'it has left the queue')
            wait(lambda: self.eviction(claim) == ('none', ''), 'it can stay')
        self.wait_logged('can stay', claim.id)
        self.c.manager('Evict', 'sa{sv}', claim.id, {})
        pending, name = self.wait_for(self.nic)
        self.c.manager('Release', 'sa{sv}', name, {})
        wait(lambda: pending.done, 'it has left the queue')
        self.assertEqual(self.eviction(claim), ('announced', 'operator'))
        self.end(claim)

    @needs_root
    def test_who_waits_longer_than_the_operator(self):
        """Root asked for the claim first, and changes their mind: the request that waits meanwhile still evicts it."""
        claim = self.nobody().acquire(self.nic)
        self.c.manager('Evict', 'sa{sv}', claim.id, {'in': dbus.UInt64(600)})
        pending, _ = self.wait_for(self.nic)
        self.assertEqual(self.eviction(claim), ('announced', 'operator'))
        self.c.manager('Evict', 'sa{sv}', claim.id, {'cancel': True})
        wait(lambda: self.eviction(claim) == ('announced', 'priority'), 'it is evicted')
        claim.close()
        self.end(self.result(pending))

    @needs_root
    def test_a_pause(self):
        """Who waits and leaves, again and again, has a claim evicted once in a second."""
        claim = self.nobody().acquire(self.nic)
        for _ in range(2):
            pending, name = self.wait_for(self.nic)
            wait(lambda: self.eviction(claim)[0] == 'announced', 'it is evicted')
            left = time.monotonic()
            self.c.manager('Release', 'sa{sv}', name, {})
            wait(lambda: self.eviction(claim)[0] == 'none', 'it can stay')
        pending, _ = self.wait_for(self.nic)
        wait(lambda: self.eviction(claim)[0] == 'announced', 'it is evicted')
        self.assertGreaterEqual(time.monotonic(), left + 1)
        claim.close()
        self.end(self.result(pending))

    @needs_root
    def test_a_restart(self):
        """Who waits has gone with the daemon, and the claim can stay until somebody waits again."""
        claim = self.nobody().acquire(self.nic)
        self.wait_for(self.nic)
        wait(lambda: self.eviction(claim) == ('announced', 'priority'), 'it is evicted')
        self.daemon.kill()
        self.start(keep_fds=True)
        self.c = self.client()
        wait(lambda: self.eviction(claim) == ('none', ''), 'it can stay')
        pending, _ = self.wait_for(self.nic)
        wait(lambda: self.eviction(claim) == ('announced', 'priority'), 'it is evicted anew')
        claim.close()
        self.end(self.result(pending))
        self.assert_untouched(self.before)

    @needs_root
    def test_whose_time_is_over_meanwhile(self):
        """Whoever waits and leaves forgives no deadline; not even one who leaves because vfiod is restarted."""
        for restart in (False, True):
            claim = self.nobody().acquire(self.nic, duration=dbus.UInt64(2))
            deadline = int(self.c.properties(claim.path, 'Claim')['Deadline'])
            pending, name = self.wait_for(self.nic)
            wait(lambda: self.eviction(claim)[0] == 'announced', 'it is evicted')
            wait(lambda: time.time() > deadline / 1e6, 'its time is over')
            if restart:
                self.daemon.kill()
                self.start(keep_fds=True)
                self.c = self.client()
            else:
                self.c.manager('Release', 'sa{sv}', name, {})
                wait(lambda: pending.done, 'it has left the queue')
            wait(lambda: self.eviction(claim) == ('announced', 'deadline'), 'it still has to go')
            self.assertEqual(self.c.properties(claim.path, 'Claim')['Deadline'], deadline)
            self.wait_logged('The time of claim', claim.id)
            claim.close()
            wait(lambda: claim.path not in self.c.objects(), 'the claim has ended')

    @needs_root
    def test_who_does_not_give_way(self):
        """Another rule, an equal priority, and one of two devices that stays: nobody is evicted in vain."""
        n = self.nobody()
        low, high = n.acquire(self.nic), self.c.acquire(self.disk)
        both, a = self.wait_for(self.nic, self.disk)
        one, b = self.wait_for(self.disk)
        equal, c = self.wait_for(self.nic, client=n)
        self.assertEqual([self.eviction(x) for x in (low, high)], [('none', '')] * 2)
        self.assertEqual(len(self.waits_for(a)), 2)
        high.close()
        wait(lambda: self.eviction(low) == ('announced', 'priority'), 'the other one is in the way alone')
        low.close()
        self.end(self.result(both))
        self.end(self.result(one))
        self.end(self.result(equal))

    @needs_root
    def test_the_terms_of_the_beginning(self):
        """A policy that is loaded later changes nothing for a claim."""
        n = self.nobody()
        claim = n.acquire(self.nic)
        self.set_policy([self.rule('nobody', user=NOBODY), self.rule('high', priority=10)])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        pending, name = self.wait_for(self.nic)
        wait(lambda: self.eviction(claim)[0] == 'announced', 'it is evicted')
        self.c.manager('Release', 'sa{sv}', name, {})
        wait(lambda: self.eviction(claim)[0] == 'none', 'it can stay')
        self.end(claim)


if __name__ == '__main__':
    harness.main()
