#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon over time: when it ends by itself, and that it keeps nothing."""

import fcntl
import os
import pathlib
import signal

from gi.repository import GLib

import harness
from harness import ROOT_PATH, VfiodTestCase, device_path, needs_root, wait
from host import VFIO


class IdleTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)

    def test_it_ends_when_idle(self):
        self.start('--exit-idle=1')
        self.assertEqual(self.daemon.wait_exit(), 0)

    def test_not_while_a_client_listens(self):
        self.start('--exit-idle=1')
        c = self.client()
        c.plan(self.nic)
        # Longer than the idle time, measured by the daemon's own clock: another one that is alone ends meanwhile.
        first = self.daemon
        self.assert_outlives_an_idle_one(first)
        c.close()
        self.assertEqual(first.wait_exit(), 0)

    def test_not_while_a_claim_is_held(self):
        self.start('--exit-idle=1')
        c = self.client()
        claim = c.acquire(self.nic)
        c.close()
        first = self.daemon
        self.assert_outlives_an_idle_one(first)
        claim.close()
        self.assertEqual(first.wait_exit(), 0)
        self.assertEqual(self.records(), [])

    def assert_outlives_an_idle_one(self, first):
        other = Alone('run')
        other.setUp()
        try:
            other.start('--exit-idle=2')
            self.assertEqual(other.daemon.wait_exit(), 0)
        finally:
            other.doCleanups()
            other.log.close()
        self.assertIsNone(first.process.poll())


class Alone(VfiodTestCase):
    """A host of its own, with nobody on its bus; used by the test above."""


class LateEventTest(VfiodTestCase):
    """udev is busy, and its events about the claim before come when the next one is held."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')

    def test_a_late_event_does_not_end_a_newer_claim(self):
        self.start()
        c = self.client()
        first = c.acquire(self.nic)
        with self.kernel.uevents.held_back():
            first.close()
            self.wait_gone(first)
            second = c.acquire(self.nic)
            other = self.host.add_device('0000:07:00.0', group=9)  # its event comes last
        self.assertIn(('remove', 'vfio-dev', self.nic.path[len('/sys'):] + '/vfio-dev/vfio0'),
                      self.kernel.uevents.sent)
        wait(lambda: c.seen('InterfacesAdded', device_path(other.name)), 'the last event has arrived')
        self.assertEqual(second.state, 'held')
        second.close()
        self.wait_gone(second)


class EndTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')

    def test_both_signals_end_it_well(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self.start()
            self.client().device(self.nic)
            self.daemon.process.send_signal(number)
            self.assertEqual(self.daemon.wait_exit(), 0)

    def test_sighup_reads_the_policy_again(self):
        self.start()
        c = self.client()
        for rules, state in (([], 'loaded'), (['broken'], 'stale'), ([self.rule(), self.rule('second')], 'loaded')):
            c.events.clear()
            self.set_policy(rules)
            self.daemon.process.send_signal(signal.SIGHUP)
            wait(lambda: any(e[0] == 'PropertiesChanged' and e[1] == ROOT_PATH for e in c.events), 'it is announced')
            self.assertEqual(c.get(ROOT_PATH, 'Manager', 'PolicyState'), state)
        self.assertEqual(c.get(ROOT_PATH, 'Manager', 'PolicyRules'), 2)

    def test_a_second_daemon_does_not_get_the_name(self):
        self.start()
        c = self.client()
        claim, before = c.acquire(self.nic), {}
        for path in pathlib.Path(self.directory, 'state').rglob('*'):
            before[path] = path.is_file() and path.read_bytes()
        second = harness.Daemon(self)
        self.assertNotEqual(second.wait_exit(), 0)
        self.assertIn(b'another vfiod', os.pread(self.log.fileno(), 1 << 16, 0).lower())
        # It has not taken the claims up.
        self.assertEqual({p: p.is_file() and p.read_bytes() for p in before}, before)
        self.assertEqual(claim.state, 'held')
        claim.close()
        self.wait_gone(claim)

    def test_a_worker_may_end_a_moment_after_its_daemon(self):
        """One that was just being started has the lock, too."""
        state = f'{self.directory}/state/claims'
        worker = os.open(state, os.O_RDONLY)
        fcntl.flock(worker, fcntl.LOCK_EX)
        self.daemon = harness.Daemon(self)

        def end():
            if state not in self.daemon.files():
                return True
            os.close(worker)
            return False

        GLib.timeout_add(5, end)
        self.daemon.wait_ready()

    def test_it_waits_until_the_one_before_is_gone(self):
        before, c = self.client(), self.client()
        before.connection.request_name(harness.NAME)
        self.daemon = harness.Daemon(self)
        wait(lambda: len(c.queued_owners()) == 2, 'it waits')
        before.close()
        self.daemon.wait_ready()
        self.assertEqual(c.device(self.nic)['State'], 'free')

    def test_it_follows_one_that_was_killed(self):
        for _ in range(3):
            before = self.start()
            with self.bus.stopped():
                before.process.kill()
                before.process.wait(10)
                before.stop()
                self.daemon = harness.Daemon(self)
            self.daemon.wait_ready()
            self.assertEqual(self.client().device(self.nic)['State'], 'free')
            self.daemon.stop()


class ManyTimesTest(VfiodTestCase):
    def test_two_hundred_claims_leave_nothing(self):
        nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.start()
        c = self.client()

        def cycle():
            claim = c.acquire(nic)
            claim.close()
            self.wait_gone(claim)
            c.events.clear()

        for _ in range(3):
            cycle()
        # What is ready for the next claim (an iommufd, a pipe) is closed after a second without one.
        before = [file for file in self.daemon.files() if not file.endswith('/iommu') and not file.startswith('pipe:')]
        for _ in range(200):
            cycle()
        harness.wait(lambda: len(self.daemon.files()) == len(before), 'no file is left')
        self.assertEqual(self.records(), [])
        self.assertEqual(nic.resets, 203)
        self.assertEqual(c.properties(ROOT_PATH, 'Manager')['Claims'], 0)

    @needs_root
    def test_claims_of_one_user_are_limited(self):
        devices = [self.host.add_device(f'0000:{n:02x}:00.0', group=n, driver=VFIO) for n in range(67)]
        self.set_policy([{'name': 'all', 'effect': 'allow', 'who': {}, 'what': {'device': '*'}, 'reset': 'optional'}])
        self.start()
        with harness.identity(harness.NOBODY):
            c = self.client()
        claims = [c.acquire(d) for d in devices[:64]]
        with self.refused('LimitExceeded', '64'):
            c.acquire(devices[64])
        claims[0].close()
        self.wait_gone(claims[0])
        claims[0] = c.acquire(devices[64])
        for claim in claims:
            claim.close()
        wait(lambda: self.records() == [], 'all end')
        # root hands devices to everybody: it is bounded by the host's maximum alone
        root = self.client()
        claims = [root.acquire(d) for d in devices]
        for claim in claims:
            claim.close()
        wait(lambda: self.records() == [], 'all end')

    def test_many_clients_at_once(self):
        devices = [self.host.add_device(f'0000:{n:02x}:00.0', group=n, driver='e1000e') for n in range(16)]
        before = self.host.binding()
        self.start()
        clients = [self.client() for _ in devices]
        answers = [c.acquire_later(d) for c, d in zip(clients, devices)]
        wait(lambda: all(a.done for a in answers), 'all are answered')
        self.assertEqual([a.error for a in answers if a.error], [])
        for answer in answers:
            answer.value[0].close()
        wait(lambda: self.host.binding() == before, 'all are back')
        wait(lambda: self.records() == [], 'no record is left')


if __name__ == '__main__':
    harness.main()
