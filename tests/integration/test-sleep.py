#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host is about to sleep: who hears of it, for whom it waits, and what is said when it has woken up."""

import json
import os
import subprocess
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

    def slept(self, claim, resume):
        """The host sleeps and wakes up, and the claim is told this."""
        self.logind.sleep(True)
        wait(lambda: not self.logind.is_delayed(), 'the host can sleep')
        self.logind.sleep(False)
        wait(lambda: self.last(claim, 'Resume') == resume, 'it is told', timeout=30)
        self.assertEqual(claim.properties()['Resume'], resume)
        return [str(line) for line in claim.properties()['ResumeFailures']]

    def last(self, claim, name):
        """As it was announced."""
        told = [e[2][name] for e in self.c.events if e[:2] == ('PropertiesChanged', claim.path) and name in e[2]]
        return told[-1] if told else None

    def config(self, device, at, data):
        path = device.path + '/config'
        with open(self.host.root + path, 'rb') as f:
            before = f.read()
        self.kernel.put(path, before[:at] + data + before[at + len(data):])
        return lambda: self.kernel.put(path, before)

    def test_a_holder_that_uses_the_library(self):
        self.begin(**{'sleep-delay': MINUTES, 'eviction-delay': 60})
        for transport in ('dbus', 'varlink'):
            holder = self.tool('env', f'VFIOD_TRANSPORT={transport}', f'VFIOD_SOCKET={self.socket_path()}',
                               os.environ['LIBVFIOD_HOLDER'], self.nic.name, stdin=subprocess.PIPE)
            claim = holder.stdout.readline().strip()

            def get(name):
                return self.c.get(f'{harness.ROOT_PATH}/claim/{claim}', 'Claim', name)

            def ask(what):
                holder.stdin.write(f'{what}\n')
                holder.stdin.flush()
                return holder.stdout.readline().strip()
            self.assertEqual((ask(0), ask('ready')), ('InvalidArgument', 'InvalidArgument'))
            if os.getuid() == 0:
                self.c.manager('Evict', 'sa{sv}', claim, {})
                at = get('EvictAt')
                self.assertEqual((ask(0), get('Eviction'), get('EvictAt')), ('ok', 'acknowledged', at))
                self.assertEqual((ask(60), get('EvictAt')), ('ok', at + 60 * 1000000))
                self.assertEqual(ask(1), 'LimitExceeded')
            self.logind.sleep(True)
            wait(lambda: get('SleepAt') > 0, 'the host is about to sleep')
            self.assertEqual(ask('ready'), 'ok')
            wait(lambda: not self.logind.is_delayed(), 'it can sleep')
            self.logind.sleep(False)
            wait(self.logind.is_delayed, 'vfiod has a lock again')
            holder.stdin.close()
            self.assertEqual(holder.wait(20), 0)
            wait(lambda: self.nic.driver == 'e1000e' and self.c.device(self.nic)['State'] == 'free', 'the claim is over')

    def test_events_of_the_library(self):
        self.begin()
        for transport in ('dbus', 'varlink'):
            holder = self.tool('env', f'VFIOD_TRANSPORT={transport}', f'VFIOD_SOCKET={self.socket_path()}',
                               os.environ['LIBVFIOD_LOOP'], self.usb.name)
            claim = json.loads(holder.stdout.readline())['claim']

            def event(condition):
                """The next one of this kind: over Varlink, any change of the claim is one."""
                while not condition(found := json.loads(holder.stdout.readline())):
                    self.assertEqual(found['state'], 'held')
                return found
            event(lambda e: len(e) == 3)

            def get(name):
                return self.c.get(f'{harness.ROOT_PATH}/claim/{claim}', 'Claim', name)
            if os.getuid() == 0:
                self.c.manager('Evict', 'sa{sv}', claim, {'in': dbus.UInt64(600)})
                self.assertEqual(event(lambda e: 'eviction' in e)['evict at'], get('EvictAt'))
            self.logind.sleep(True)
            found = event(lambda e: 'sleep at' in e)
            self.assertGreater(found['sleep at'], 1)
            wait(lambda: not self.logind.is_delayed(), 'the host can sleep')
            self.logind.sleep(False)
            self.assertNotIn('sleep at', event(lambda e: e.get('resume') == 'ok'))
            wait(self.logind.is_delayed, 'vfiod has a lock again')
            holder.kill()
            holder.wait(20)
            wait(lambda: self.c.device(self.usb)['State'] == 'free', 'the claim is over')

    def test_the_devices_are_back(self):
        self.begin()
        claim = self.held(self.nic)
        self.assertEqual((claim.properties()['Resume'], claim.properties()['ResumeFailures']), ('none', []))
        self.assertEqual(self.slept(claim, 'ok'), [])
        self.wait_logged(claim.id, 'its devices are back')
        self.assertIn('ok', self.vfioctl('status', claim.id)[1])
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.c.device(self.nic)['State'], 'free')

    def test_one_does_not_come_back(self):
        self.begin()
        claim, other = self.held(self.disk), self.held(self.nic)
        heal = self.config(self.disk, 0, b'\xff' * 64)
        failure, = self.slept(claim, 'failed')
        self.assertIn(self.disk.name, failure)
        self.assertIn('all ones', failure)
        self.wait_logged(claim.id, self.disk.name, 'did not come back', 'all ones')
        self.assertEqual((claim.state, other.properties()['ResumeFailures']), ('held', []))
        self.assertIn('did not come back', self.vfioctl('status', claim.id)[1])
        with self.peer() as peer:
            listed = peer.call('List', {'claim': claim.id})['claim']
        self.assertEqual((listed['resume'], listed['resumeFailures']), ('failed', [failure]))
        heal()  # nobody knows what a reset would be good for
        resets = self.disk.resets
        claim.close()
        wait(lambda: self.c.device(self.disk)['State'] == 'quarantined', 'it is quarantined')
        self.assertEqual(self.c.device(self.disk)['QuarantineCause'], 'no-answer')
        self.assertEqual(self.disk.resets, resets)
        for word in (self.disk.name, 'host woke up', 'all ones'):
            self.assertIn(word, claim.properties()['Failure'])
        if os.getuid() == 0:
            self.c.manager('RetryQuarantine', 'asa{sv}', [self.disk.name], {})
            self.wait_gone(claim)
            self.c.acquire(self.disk).close()

    def test_many_claims_take_turns(self):
        """Each worker is a process: a host that wakes up with many claims does not start them all at once."""
        devices = [self.host.add_device(f'0000:{0x20 + i:02x}:00.0', group=40 + i, driver=VFIO) for i in range(20)]
        self.begin()
        claims = [self.held(device) for device in devices]
        paths = [f'{self.host.root}{device.path}/config' for device in devices]
        for path in paths:  # whoever opens it sleeps
            os.rename(path, path + '.kept')
            os.mkfifo(path)
        self.logind.sleep(True)
        wait(lambda: not self.logind.is_delayed(), 'the host can sleep')
        self.logind.sleep(False)
        wait(lambda: all(self.last(c, 'Resume') == 'checking' for c in claims), 'they are told')
        wait(lambda: len(self.daemon.workers()) >= 16, 'the first are looked at')
        self.assertLessEqual(len(self.daemon.workers()), 17)  # one may be idle
        for path in paths:
            os.rename(path, path + '.held')
            os.rename(path + '.kept', path)
        for path in paths:
            self.addCleanup(os.close, os.open(path + '.held', os.O_RDWR | os.O_NONBLOCK))
        wait(lambda: all(self.last(c, 'Resume') in ('ok', 'unknown') for c in claims), 'all are looked at', timeout=30)

    def test_it_comes_back_as_another_one(self):
        self.begin()
        claim = self.held(self.disk)
        self.config(self.disk, 2, b'\xff\xff')
        failure, = self.slept(claim, 'failed')
        self.assertIn(':ffff', failure)

    def test_it_comes_back_later(self):
        """The next sleep, or a link that takes a moment."""
        self.begin()
        claim = self.held(self.disk)
        heal = self.config(self.disk, 0, b'\xff' * 64)
        self.slept(claim, 'failed')
        heal()
        self.assertEqual(self.slept(claim, 'ok'), [])
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.c.device(self.disk)['State'], 'free')

    def test_what_is_lost_is_remembered(self):
        self.begin()
        claim = self.held(self.disk)
        heal = self.config(self.disk, 0, b'\xff' * 64)
        self.slept(claim, 'failed')
        heal()
        self.daemon.kill()
        self.start(keep_fds=True)
        claim.client = self.c = self.client()
        self.assertEqual(claim.properties()['Resume'], 'failed')
        self.assertIn('all ones', claim.properties()['ResumeFailures'][0])
        claim.close()
        wait(lambda: self.c.device(self.disk)['State'] == 'quarantined', 'it is quarantined')
        self.assertIn('host woke up', claim.properties()['Failure'])

    def test_what_its_user_has_put_to_sleep_is_not_woken(self):
        self.begin()
        claim = self.held(self.disk)
        self.config(self.disk, 0, b'\xff' * 64)  # would be seen
        self.kernel.put(self.disk.path + '/power/runtime_status', 'suspended\n')
        self.kernel.set_enable(self.disk, 1)
        self.assertEqual(self.slept(claim, 'ok'), [])

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

    def test_hold_tells_its_user(self):
        self.begin(**{'sleep-delay': MINUTES})
        for transport in ('dbus', 'varlink'):
            process = self.tool('env', f'VFIOD_TRANSPORT={transport}', f'VFIOD_SOCKET={self.socket_path()}',
                                os.environ['VFIOCTL'], 'hold', self.disk.name)
            claim = process.stdout.readline().split()[-1]
            while 'Held until' not in process.stdout.readline():
                pass
            for _ in range(2):
                self.logind.sleep(True)
                self.assertRegex(process.stdout.readline(),
                                 rf'^vfioctl: Claim {claim}: The host is about to sleep, at the latest [0-9-]+ .*\.\n$')
                self.ready(claim)
                wait(lambda: not self.logind.is_delayed(), 'the host can sleep')
                self.logind.sleep(False)
                lines = [process.stdout.readline()]
                if 'checks' in lines[0]:  # the check may be over before the first line
                    lines.append(process.stdout.readline())
                self.assertEqual(lines[-1], f'vfioctl: Claim {claim}: The host has resumed, and the devices are back.\n')
            process.terminate()
            process.communicate(timeout=20)
            wait(lambda: not any('/claim/' in path for path in self.c.objects()), 'the claim is gone')


if __name__ == '__main__':
    harness.main()
