#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host is about to sleep: who hears of it, for whom it waits, and what is said when it has woken up."""

import json
import time

import dbus
import dbus.bus
import dbus.lowlevel

import harness
from harness import NOBODY, needs_root, wait
from host import VFIO
from mock_logind import INTERFACE, MockLogind, PATH
from varlink_client import VarlinkError, VarlinkTestCase

MINUTES = 600  # longer than any test


class SleepTest(VarlinkTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver=VFIO, class_code=0x010802)
        self.usb = self.host.add_device('0000:09:00.0', group=11, driver=VFIO, class_code=0x0c0330)

    def begin(self, delay_usec=MINUTES * 1000000, **terms):
        """A policy with these terms for nic and disk, and none for usb; a logind that vfiod delays."""
        waited = [self.rule(f'waited{i}', device=d.name, **terms) for i, d in enumerate((self.nic, self.disk))]
        self.set_policy([*waited, self.rule(), self.rule('nobody', user=NOBODY)])
        self.start()
        self.c = self.client()
        self.logind = self.new_logind(delay_usec)

    def new_logind(self, delay_usec=MINUTES * 1000000):
        logind = MockLogind(self.bus.address, delay_usec)
        self.addCleanup(logind.close)
        wait(logind.is_delayed, 'vfiod has a lock')
        return logind

    def held(self, device):
        claim = self.c.acquire(device)
        wait(lambda: self.c.seen('InterfacesAdded', claim.path), 'it is announced')
        return claim

    def at(self, claim):
        return int(claim.properties()['SleepAt'])

    def ready(self, claim, client=None):
        (client or self.c).manager('ReadyToSleep', 'sa{sv}', getattr(claim, 'id', claim), {})

    def told(self, claim, sleeps):
        """Of the last that was announced."""
        told = [e[2]['SleepAt'] for e in self.c.events
                if e[:2] == ('PropertiesChanged', claim.path) and 'SleepAt' in e[2]]
        return bool(told) and (told[-1] > 0) == sleeps

    def sleep(self, *claims):
        self.logind.sleep(True)
        wait(lambda: all(self.told(claim, True) for claim in claims), 'they hear of it')

    def test_waits_for_its_holders(self):
        self.begin(**{'sleep-delay': MINUTES})
        one, two, other = self.held(self.nic), self.held(self.disk), self.held(self.usb)
        self.assertEqual((self.at(one), self.at(other)), (0, 0))
        with self.refused('InvalidArgument', 'not about to sleep'):
            self.ready(one)
        before = int(time.time() * 1000000)
        self.sleep(one, two, other)
        self.assertGreaterEqual(self.at(one), before + MINUTES * 1000000)
        self.assertLess(self.at(other), self.at(one))  # nobody waits for it
        self.wait_logged('about to sleep: 3 claims', 'holders of 2')
        self.ready(one)
        self.assertTrue(self.logind.is_delayed())  # by the other
        self.ready(other)
        self.ready(two)
        wait(lambda: not self.logind.is_delayed(), 'the host can sleep')
        self.logind.sleep(False)
        wait(lambda: all(self.told(claim, False) for claim in (one, two, other)), 'they hear that it is over')
        wait(self.logind.is_delayed, 'there is a lock for the next time')
        self.assertEqual([self.at(claim) for claim in (one, two, other)], [0] * 3)

    def test_nobody_is_waited_for(self):
        self.begin()
        claim = self.held(self.nic)
        self.sleep(claim)
        wait(lambda: not self.logind.is_delayed(), 'the host can sleep')
        self.logind.sleep(False)
        wait(lambda: self.at(claim) == 0, 'it is over')

    def test_nobody_delays_it_by_answers(self):
        """Whoever is not waited for can say as often as it likes that it is ready."""
        self.begin()
        claim = self.held(self.nic)
        self.sleep(claim)
        end = time.monotonic() + 20
        while self.logind.is_delayed():
            self.assertLess(time.monotonic(), end)
            self.ready(claim)

    def test_no_claims(self):
        self.begin()
        self.logind.sleep(True)
        wait(lambda: not self.logind.is_delayed(), 'the host can sleep')
        self.logind.sleep(False)
        wait(self.logind.is_delayed, 'there is a lock for the next time')

    def test_who_does_not_answer(self):
        self.begin(**{'sleep-delay': 1})
        claim = self.held(self.nic)
        self.sleep(claim)
        self.wait_logged(claim.id, 'was not ready in time')
        wait(lambda: not self.logind.is_delayed(), 'the host can sleep')

    def test_logind_waits_less(self):
        self.begin(delay_usec=1000000, **{'sleep-delay': MINUTES})
        claim = self.held(self.nic)
        wait(lambda: self.at_most(claim, 1000000), 'vfiod knows how long logind waits')
        wait(lambda: not self.logind.is_delayed(), 'the host can sleep')

    def at_most(self, claim, usec):
        self.logind.sleep(True)
        now = int(time.time() * 1000000)
        wait(lambda: self.at(claim) > 0, 'it hears of it')
        if self.at(claim) <= now + usec + 500000:
            return True
        self.logind.sleep(False)
        wait(lambda: self.at(claim) == 0, 'once more')
        return False

    def test_a_claim_that_ends(self):
        self.begin(**{'sleep-delay': MINUTES})
        claim = self.held(self.nic)
        self.sleep(claim)
        claim.close()
        self.wait_gone(claim)
        wait(lambda: not self.logind.is_delayed(), 'nobody is left to wait for')

    def test_a_claim_that_begins_meanwhile(self):
        self.begin(**{'sleep-delay': MINUTES})
        claim = self.held(self.nic)
        self.sleep(claim)
        late = self.held(self.disk)
        self.assertEqual(self.at(late), 0)
        self.ready(claim)
        wait(lambda: not self.logind.is_delayed(), 'the host can sleep')

    def test_logind_is_restarted(self):
        self.begin(**{'sleep-delay': MINUTES})
        claim = self.held(self.nic)
        self.sleep(claim)
        self.logind.close()
        wait(lambda: self.at(claim) == 0, 'nobody says that it sleeps')
        self.logind = self.new_logind()
        self.sleep(claim)
        self.ready(claim)
        wait(lambda: not self.logind.is_delayed(), 'the host can sleep')

    def test_the_daemon_is_restarted(self):
        self.begin(**{'sleep-delay': MINUTES})
        claim = self.held(self.nic)
        self.sleep(claim)
        self.daemon.kill()
        self.start(keep_fds=True)
        claim.client = self.c = self.client()
        wait(self.logind.is_delayed, 'the new one has a lock')
        self.assertEqual(self.at(claim), 0)
        self.logind.sleep(False)  # that of before
        self.logind.sleep(True)
        wait(lambda: self.at(claim) > 0, 'it hears of the next time')

    def test_strangers_cannot_say_it(self):
        self.begin(**{'sleep-delay': MINUTES})
        claim = self.held(self.nic)
        stranger = dbus.bus.BusConnection(self.bus.address)
        self.addCleanup(stranger.close)
        signal = dbus.lowlevel.SignalMessage(PATH, INTERFACE, 'PrepareForSleep')
        signal.append(True, signature='b')
        stranger.send_message(signal)
        stranger.flush()
        self.ping(stranger)
        self.assertEqual(self.at(claim), 0)

    def ping(self, connection):
        connection.call_blocking(harness.NAME, '/org/vfiod1', 'org.freedesktop.DBus.Peer', 'Ping', '', ())

    @needs_root
    def test_only_its_owner_answers(self):
        self.begin(**{'sleep-delay': MINUTES})
        claim = self.held(self.nic)
        self.sleep(claim)
        with harness.identity(NOBODY):
            stranger = self.client()
        with self.refused('NotOwner'):
            self.ready(claim, stranger)
        self.assertTrue(self.logind.is_delayed())
        with self.refused('NoSuchClaim'):
            self.ready('0123456789abcdef')

    def test_varlink(self):
        self.begin(**{'sleep-delay': MINUTES})
        claim = self.held(self.nic)
        with self.peer() as peer:
            with self.assertRaises(VarlinkError):
                peer.call('ReadyToSleep', {'claim': claim.id})
            self.sleep(claim)
            peer.call('ReadyToSleep', {'claim': claim.id})
        wait(lambda: not self.logind.is_delayed(), 'the host can sleep')

    def test_status(self):
        self.begin(**{'sleep-delay': MINUTES})
        claim = self.held(self.nic)
        self.sleep(claim)
        shown, = json.loads(self.vfioctl('--json', 'status', claim.id)[1])
        self.assertEqual(shown['sleepAt'], self.at(claim))
        self.assertIn('Host sleeps', self.vfioctl('status', claim.id)[1])


if __name__ == '__main__':
    harness.main()
