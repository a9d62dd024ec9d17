#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The operator wants a claim back: what its holder hears and answers, and what becomes of it when nobody gives it back."""

import contextlib
import json
import os
import pathlib
import signal
import time

import dbus

import harness
from harness import NOBODY, needs_root, wait
from host import VFIO
from varlink_client import VarlinkError, VarlinkTestCase

LOCAL_TIME = r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+'


class EvictTest(VarlinkTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver=VFIO, class_code=0x010802)
        self.before = self.host.binding()
        self.set_policy([self.rule(**{'eviction-delay': 60}), self.rule('nobody', user=NOBODY)])
        self.start()
        self.c = self.client()

    def held(self, device):
        """Announced, so that what becomes of it is an announcement of its own."""
        claim = self.c.acquire(device)
        wait(lambda: self.c.seen('InterfacesAdded', claim.path), 'it is announced')
        return claim

    def evict(self, claim, client=None, **options):
        (client or self.c).manager('Evict', 'sa{sv}', getattr(claim, 'id', claim), options)

    def answer(self, claim, client=None, **options):
        (client or self.c).manager('AnswerEviction', 'sa{sv}', getattr(claim, 'id', claim), options)

    def eviction(self, claim):
        p = claim.properties()
        return str(p['Eviction']), str(p['EvictReason'])

    def end(self, claim):
        claim.close()
        self.wait_gone(claim)

    def test_who_obeys(self):
        claim = self.held(self.nic)
        self.assertEqual((self.eviction(claim), claim.properties()['EvictAt']), (('none', ''), 0))
        self.evict(claim, reason='the card is swapped\x1b')
        wait(lambda: self.c.seen('PropertiesChanged', claim.path, Eviction='announced'), 'the holder hears of it')
        self.assertEqual(self.eviction(claim), ('announced', 'the card is swapped\\x1b'))
        self.assertEqual(claim.state, 'held')
        self.wait_logged('asked for claim', claim.id, 'the card is swapped')
        at = claim.properties()['EvictAt']
        self.answer(claim)
        wait(lambda: self.c.seen('PropertiesChanged', claim.path, Eviction='acknowledged'), 'everybody hears of the answer')
        self.assertEqual(claim.properties()['EvictAt'], at)
        self.kernel.set_enable(self.nic, 1)  # the close takes its time
        claim.close()
        wait(lambda: self.c.seen('PropertiesChanged', claim.path, State='draining', Eviction='none'), 'that is over with it')
        self.kernel.set_enable(self.nic, 0)
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_who_asks_for_time(self):
        claim = self.held(self.nic)
        self.evict(claim, **{'in': dbus.UInt64(600)})
        at = claim.properties()['EvictAt']
        self.answer(claim, more=dbus.UInt64(40))
        self.assertEqual(claim.properties()['EvictAt'], at + 40 * 1000000)
        for bad in (21, 2**64 - 1):
            with self.refused('LimitExceeded', '20 seconds more'):
                self.answer(claim, more=dbus.UInt64(bad))
        self.answer(claim, more=dbus.UInt64(20))
        with self.refused('LimitExceeded', '0 seconds more'):
            self.answer(claim, more=dbus.UInt64(1))
        self.evict(claim, cancel=True)
        self.assertEqual((self.eviction(claim), claim.properties()['EvictAt']), (('none', ''), 0))
        self.wait_logged('cancelled the eviction of claim', claim.id)
        with self.refused('InvalidArgument', 'not being evicted'):
            self.answer(claim)
        self.end(claim)

    def test_who_ignores_it(self):
        """Nothing is taken from a program that runs: it is overdue, and everybody sees that."""
        claim = self.held(self.nic)
        self.evict(claim, **{'in': dbus.UInt64(0)})
        wait(lambda: self.c.seen('PropertiesChanged', claim.path, Eviction='overdue'), 'it is overdue')
        self.wait_logged('overdue', claim.id, str(os.getpid()))
        self.assertEqual((claim.state, self.nic.driver), ('held', VFIO))
        with self.refused('LimitExceeded', 'is over'):
            self.answer(claim, more=dbus.UInt64(1))
        self.end(claim)
        self.assert_untouched(self.before)

    def test_terms_stay(self):
        """No device that joins an overdue claim, and leaves it, takes away when the claim is ended."""
        self.set_policy([self.rule('disk', device=self.disk.name), self.rule(**{'stop-after': 86400})])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        claim = self.held(self.nic)
        self.evict(claim, **{'in': dbus.UInt64(0)})
        wait(lambda: self.eviction(claim)[0] == 'overdue', 'it is overdue')
        at = claim.properties()['StopAt']
        self.assertGreater(at, 0)
        self.c.add(claim, self.disk)
        self.assertEqual(claim.properties()['StopAt'], at)
        self.c.release_devices(claim, self.disk)
        self.assertEqual((self.eviction(claim)[0], claim.properties()['StopAt']), ('overdue', at))
        self.end(claim)

    def test_restarts(self):
        claim, other = self.held(self.nic), self.held(self.disk)
        self.evict(claim, reason='one', **{'in': dbus.UInt64(600)})
        self.answer(claim, more=dbus.UInt64(30))
        at = claim.properties()['EvictAt']
        self.evict(other, reason='two', **{'in': dbus.UInt64(1)})
        self.daemon.kill()
        self.start(keep_fds=True)
        claim.client = other.client = self.c = self.client()
        self.assertEqual((self.eviction(claim), claim.properties()['EvictAt']), (('acknowledged', 'one'), at))
        wait(lambda: self.eviction(other)[0] == 'overdue' or self.c.seen('PropertiesChanged', other.path, Eviction='overdue'),
             'the time goes on')
        with self.refused('LimitExceeded', '30 seconds more'):
            self.answer(claim, more=dbus.UInt64(31))
        self.end(claim)
        self.end(other)
        self.assert_untouched(self.before)

    def test_bad_values(self):
        claim = self.held(self.nic)
        for option, bad in (('in', dbus.UInt64(86401)), ('in', dbus.UInt64(2**64 - 1)), ('in', dbus.Int64(-1)), ('in', '5'),
                            ('reason', dbus.UInt64(1)), ('reason', 'x' * 256), ('cancel', 'yes')):
            with self.refused('InvalidArgument'):
                self.evict(claim, **{option: bad})
        with self.refused('UnknownOption'):
            self.evict(claim, inn=dbus.UInt64(1))
        with self.refused('UnknownOption'):
            self.answer(claim, moer=dbus.UInt64(1))
        with self.refused('InvalidArgument', 'not being evicted'):
            self.evict(claim, cancel=True)
        with self.refused('NoSuchClaim'):
            self.evict('0123456789abcdef')
        self.assertEqual(self.eviction(claim), ('none', ''))
        path, _, _ = self.c.manager('Reserve', 'sa{sv}', self.disk.name, {})
        with self.refused('InvalidArgument', 'not held'):
            self.evict(str(path).rsplit('/', 1)[1])
        with self.peer() as peer:
            for bad in (-1, 86401, 'x', 1.5):
                with self.assertRaises(VarlinkError):
                    peer.call('Evict', {'claim': claim.id, 'in': bad})
            with self.assertRaises(VarlinkError):
                peer.call('AnswerEviction', {'claim': claim.id, 'more': -1})
        self.end(claim)

    def test_varlink(self):
        claim = self.held(self.nic)
        with self.peer() as peer:
            peer.call('Evict', {'claim': claim.id, 'in': None, 'reason': 'update'})
            shown = peer.call('List', {'claim': claim.id})['claim']
            self.assertEqual((shown['eviction'], shown['evictReason'], shown['evictAt']),
                             ('announced', 'update', claim.properties()['EvictAt']))
            peer.call('AnswerEviction', {'claim': claim.id, 'more': 10})
            self.assertEqual(peer.call('List', {'claim': claim.id})['claim']['eviction'], 'acknowledged')
            peer.call('Evict', {'claim': claim.id, 'cancel': True})
            self.assertEqual(peer.call('List', {'claim': claim.id})['claim']['eviction'], 'none')
        self.end(claim)

    def deadline(self, claim):
        return int(claim.properties()['Deadline'])

    def test_deadline(self):
        """At its deadline a claim is evicted like by root; what root forgives is over."""
        before = time.time()
        claim = self.c.acquire(self.nic, duration=dbus.UInt64(1))
        self.assertTrue(before + 1 <= self.deadline(claim) / 1e6 <= time.time() + 1)
        wait(lambda: self.eviction(claim)[0] == 'announced', 'its time is over')
        p = claim.properties()
        self.assertEqual((p['EvictCause'], p['EvictReason'], p['State']), ('deadline', 'the time of the claim is over', 'held'))
        self.assertGreaterEqual(p['EvictAt'], p['Deadline'] + 30 * 1000000)
        self.wait_logged('The time of claim', claim.id, str(os.getpid()))
        self.answer(claim, more=dbus.UInt64(60))
        with self.refused('LimitExceeded', '0 seconds more'):
            self.answer(claim, more=dbus.UInt64(1))
        self.evict(claim, cancel=True)
        self.assertEqual((self.eviction(claim)[0], self.deadline(claim), claim.properties()['EvictCause']), ('none', 0, ''))
        self.evict(claim)
        self.assertEqual(claim.properties()['EvictCause'], 'operator')
        self.end(claim)

    def test_deadline_and_root(self):
        """What root wants earlier counts; what root wants later does not prolong it."""
        early, late = self.c.acquire(self.nic, duration=dbus.UInt64(2)), self.c.acquire(self.disk, duration=dbus.UInt64(2))
        self.evict(early, **{'in': dbus.UInt64(20)})
        self.evict(late, **{'in': dbus.UInt64(1000)})
        wait(lambda: late.properties()['EvictCause'] == 'deadline', 'its time is over')
        self.assertLess(late.properties()['EvictAt'], self.deadline(late) + 40 * 1000000)
        self.wait_logged('The time of claim', late.id)
        self.assertEqual(early.properties()['EvictCause'], 'operator')
        self.end(early)
        self.end(late)

    def test_max_duration(self):
        self.set_policy([self.rule('disk', device=self.disk.name, **{'max-duration': 300}),
                         self.rule(**{'max-duration': 600})])
        self.c.manager('ReloadPolicy', 'a{sv}', {})
        claim = self.c.acquire(self.nic)
        self.assertAlmostEqual(self.deadline(claim) / 1e6, time.time() + 600, delta=20)
        self.c.add(claim, self.disk)
        self.assertAlmostEqual(self.deadline(claim) / 1e6, time.time() + 300, delta=20)
        self.end(claim)
        for duration in (601, 31536000):
            with self.refused('LimitExceeded', f'600 seconds at most; {duration} were requested'):
                self.c.acquire(self.nic, duration=dbus.UInt64(duration))
        claim = self.c.acquire(self.disk)
        self.c.add(claim, self.nic)  # which would have longer
        self.assertAlmostEqual(self.deadline(claim) / 1e6, time.time() + 300, delta=20)
        self.end(claim)
        claim = self.c.acquire(self.nic, duration=dbus.UInt64(600))
        with self.refused('InvalidArgument', 'have its time'):
            self.c.manager('AddDevices', 'sasa{sv}', claim.id, [self.disk.name], {'duration': dbus.UInt64(5)})
        self.assertAlmostEqual(self.deadline(claim) / 1e6, time.time() + 600, delta=20)
        self.end(claim)

    def test_deadline_restarts(self):
        claim, other = self.c.acquire(self.nic, duration=dbus.UInt64(600)), self.c.acquire(self.disk, duration=dbus.UInt64(1))
        at = self.deadline(claim)
        self.daemon.kill()
        self.start(keep_fds=True)
        claim.client = other.client = self.c = self.client()
        self.assertEqual((self.deadline(claim), self.eviction(claim)[0]), (at, 'none'))
        wait(lambda: other.properties()['EvictCause'] == 'deadline', 'the time goes on')
        self.evict(other, cancel=True)
        self.daemon.kill()
        self.start(keep_fds=True)
        claim.client = other.client = self.c = self.client()
        self.assertEqual((self.deadline(other), self.eviction(other)[0], self.deadline(claim)), (0, 'none', at))
        self.end(claim)
        self.end(other)
        self.assert_untouched(self.before)

    def test_bad_durations(self):
        for bad in (dbus.UInt64(0), dbus.UInt64(31536001), dbus.UInt64(2**64 - 1), dbus.Int64(-1), dbus.UInt32(5), '5', True):
            with self.refused('InvalidArgument'):
                self.c.acquire(self.nic, duration=bad)
        with self.refused('UnknownOption', 'when the ticket is redeemed'):
            self.c.manager('Reserve', 'sa{sv}', self.nic.name, {'duration': dbus.UInt64(5)})
        with self.peer() as peer:
            for bad in (0, -1, 31536001, 2**63 - 1, 1.5, '5'):
                with self.assertRaises(VarlinkError):
                    peer.call('Acquire', {'devices': [self.nic.name], 'duration': bad})
        path, _, result = self.c.manager('Reserve', 'sa{sv}', self.nic.name, {})
        p = self.c.properties(path, 'Claim')
        self.assertTrue(p['ReservedUntil'] > 0 and p['Deadline'] == 0)

    def test_deadline_varlink(self):
        with self.peer() as peer:
            reply, fds = peer.acquire(self.nic, duration=1)
            shown = peer.call('List', {'claim': reply['claim']})['claim']
            self.assertAlmostEqual(shown['deadline'] / 1e6, time.time() + 1, delta=20)
            wait(lambda: peer.call('List', {'claim': reply['claim']})['claim']['evictCause'] == 'deadline', 'its time is over')
            for fd in fds.values():
                os.close(fd)
        wait(lambda: self.nic.driver == 'e1000e', 'the claim has ended')

    @needs_root
    def test_strangers(self):
        with harness.identity(NOBODY):
            n = self.client()
        claim, theirs = self.c.acquire(self.nic), n.acquire(self.disk, cookie='mine')
        for target in (claim, theirs, 'cookie:mine', '0123456789abcdef'):
            with self.refused('AccessDenied', 'only root'):
                self.evict(target, client=n)
        self.evict(claim)
        with self.refused('NotOwner'):
            self.answer(claim, client=n)
        self.evict(theirs)
        self.answer('cookie:mine', client=n)
        with self.refused('LimitExceeded', '0 seconds more'):  # of its rule
            self.answer(theirs, client=n, more=dbus.UInt64(1))
        self.assertEqual(self.eviction(theirs)[0], 'acknowledged')
        self.end(claim)
        self.end(theirs)

    def test_vfioctl(self):
        claim = self.held(self.nic)
        environment = {'VFIOD_TRANSPORT': 'dbus', 'VFIOD_SOCKET': self.socket_path()}

        def vfioctl(*arguments):
            process = self.tool('env', *(f'{k}={v}' for k, v in environment.items()), os.environ['VFIOCTL'], *arguments)
            output = process.communicate(timeout=20)[0]
            return process.returncode, output
        for transport in ('dbus', 'varlink'):
            environment['VFIOD_TRANSPORT'] = transport
            status, output = vfioctl('evict', self.nic.name, '--in=10m', '--reason', 'swap')
            self.assertEqual(status, 0)
            self.assertRegex(output, rf'^Claim {claim.id} of .* \({os.getuid()}\) must be given back by {LOCAL_TIME}: swap '
                                     r'\(not answered yet\)\.\n$')
            self.assertEqual(self.eviction(claim), ('announced', 'swap'))
            self.assertRegex(vfioctl('status', claim.id)[1], rf'Give back: by {LOCAL_TIME}: swap \(not answered yet\)\n')
            self.assertRegex(vfioctl('status')[1], rf'Give back: {claim.id} by {LOCAL_TIME}: swap \(not answered yet\)\n')
            self.assertRegex(vfioctl('evict', claim.id, '--more')[1], r'swap \(its holder has answered\)\.\n$')
            self.assertEqual(vfioctl('--json', 'evict', claim.id, '--more=1m'), (0, ''))
            self.assertEqual(vfioctl('evict', claim.id, '--more=1')[0], 33)
            self.assertEqual(json.loads(vfioctl('--json', 'status', claim.id)[1])[0]['eviction'], 'acknowledged')
            status, output = vfioctl('evict', claim.id, '--cancel')
            self.assertEqual(status, 0)
            self.assertRegex(output, rf'^Claim {claim.id} of .* can stay\.\n$')
            self.assertNotIn('Give back', vfioctl('status')[1])
            self.assertEqual(self.eviction(claim), ('none', ''))
        for bad in (['--in=x'], ['--in='], ['--in=-1'], ['--in=5d'], ['--in=99999999999999999999'], ['--more=y'],
                    ['--more', '--in=1'], ['--cancel', '--in=1'], ['--cancel', '--reason=x']):
            self.assertEqual(vfioctl('evict', claim.id, *bad)[0], 2, bad)
        self.assertEqual(vfioctl('evict', claim.id, '--in=25h')[0], 11)
        self.end(claim)
        for transport in ('dbus', 'varlink'):
            environment['VFIOD_TRANSPORT'] = transport
            wait(lambda: self.nic.driver == 'e1000e', 'the claim before has ended')
            self.assertEqual(json.loads(vfioctl('plan', '--json', '--for=2h', self.nic.name)[1])['duration'], 7200)
            status, output = vfioctl('exec', '--for=10m', '-d', self.nic.name, 'sh', '-c', '"$0" status $VFIOD_CLAIM',
                                     os.environ['VFIOCTL'])
            self.assertEqual(status, 0, output)
            self.assertRegex(output, r'\n *Deadline: 20')
            for bad, expected in (('0', 2), ('x', 2), ('', 2), ('-1', 2), ('1h30', 2), ('99999999999999999999', 2), ('8761h', 11)):
                status, output = vfioctl('plan', f'--for={bad}', self.nic.name)
                self.assertEqual(status, expected, output)

    def test_hold_tells_its_user(self):
        for transport in ('dbus', 'varlink'):
            process = self.tool('env', f'VFIOD_TRANSPORT={transport}', f'VFIOD_SOCKET={self.socket_path()}',
                                os.environ['VFIOCTL'], 'hold', self.nic.name)
            claim = process.stdout.readline().split()[-1]
            while 'Held until' not in process.stdout.readline():
                pass
            self.evict(claim, **{'in': dbus.UInt64(600)}, reason='swap')
            self.assertRegex(process.stdout.readline(),
                             rf'^vfioctl: Claim {claim} must be given back by {LOCAL_TIME}: swap \(not answered yet\)\. Ctrl-C ')
            self.evict(claim, cancel=True)
            self.assertEqual(process.stdout.readline(), f'vfioctl: Claim {claim} can stay.\n')
            process.terminate()
            process.communicate(timeout=20)
            wait(lambda: not any('/claim/' in path for path in self.c.objects()), 'the claim is gone')


FIRST_THREAD_ENDS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""
IGNORES = 'trap "" TERM; sleep 1000 & sleep 1000; sleep 1000'


@needs_root
class StopTest(VarlinkTestCase):
    """Who keeps devices open for longer than the rule of the claim allows, and whom nobody may have stopped."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver='nvme', class_code=0x010802)
        self.before = self.host.binding()

    def begin(self, **terms):
        self.set_policy([self.rule('root'), self.rule('nobody', user=NOBODY, **terms)])
        self.start()
        self.c = self.client()

    def run_holder(self, script, device=None):
        """A program of nobody that has the device, in a session of its own, and its claim's path."""
        before = set(self.paths())
        process = self.tool('env', 'VFIOD_TRANSPORT=dbus', os.environ['VFIOCTL'], 'exec', '-d', (device or self.nic).name,
                            '--', 'sh', '-c', script, user=NOBODY, start_new_session=True)
        self.addCleanup(self.kill_all, process)

        def held():
            return [path for path in self.paths() if path not in before and self.get(path, 'State') == 'held']
        path, = wait(held, 'it has the device')
        return process, path

    def kill_all(self, process):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def paths(self):
        return [path for path in self.c.objects() if '/claim/' in path]

    def get(self, path, name):
        return self.c.get(path, 'Claim', name)

    def evict(self, path, **options):
        self.c.manager('Evict', 'sa{sv}', path.rsplit('/', 1)[1], options)

    def wait_free(self):
        wait(lambda: not self.paths(), 'the claim is over')
        self.assert_untouched(self.before)

    def test_who_ends_when_asked(self):
        self.begin(**{'stop-after': 1})
        process, path = self.run_holder('sleep 1000; true')
        self.evict(path, **{'in': dbus.UInt64(600)})
        self.assertEqual(self.get(path, 'StopAt'), self.get(path, 'EvictAt') + 1000000)
        self.evict(path, **{'in': dbus.UInt64(0)})
        self.wait_free()
        process.wait(20)
        claim = path.rsplit('/', 1)[1]
        self.wait_logged('Claim ' + claim, 'is ended')
        self.wait_logged('sleep', claim, 'asked to end (SIGTERM)')

    def test_who_does_not(self):
        """Nor do its children, which have the device as well; and a daemon that starts meanwhile goes on."""
        self.begin(**{'stop-after': 1})
        process, path = self.run_holder(IGNORES)
        self.evict(path, **{'in': dbus.UInt64(0)})
        wait(lambda: path in self.c.objects() and self.get(path, 'Stopping') == 'asked', 'it is asked', 30)
        self.assertEqual(self.get(path, 'State'), 'draining')
        self.assertIn('did not give it back in time', self.get(path, 'Failure'))
        self.assertGreater(self.get(path, 'StopAt'), 0)
        self.assertIsNone(process.poll())
        self.daemon.kill()
        self.start(keep_fds=True)
        self.c = self.client()
        self.assertEqual(self.get(path, 'Stopping'), 'asked')
        wait(lambda: not self.paths(), 'they are killed', 60)
        self.assertEqual(process.wait(20), -9)
        self.wait_logged('sleep', path.rsplit('/', 1)[1], 'killed (SIGKILL)')
        self.assert_untouched(self.before)

    def test_who_gives_back_the_claim_only(self):
        """A holder that ends its evicted claim and keeps the device gains nothing, whether a daemon runs meanwhile or not."""
        self.begin(**{'stop-after': 1})
        for restart in (False, True):
            process, path = self.run_holder('sleep 1000; true')
            self.evict(path, **{'in': dbus.UInt64(10)})
            stop_at = self.get(path, 'StopAt')
            self.c.manager('Release', 'sa{sv}', path.rsplit('/', 1)[1], {})
            wait(lambda: self.get(path, 'State') == 'draining', 'it drains')
            self.assertEqual([self.get(path, name) for name in ('Eviction', 'Stopping', 'StopAt')], ['none', 'due', stop_at])
            self.assertIsNone(process.poll())
            if restart:
                self.daemon.kill()
                self.start(keep_fds=True)
                self.c = self.client()
                self.assertEqual([self.get(path, name) for name in ('Stopping', 'StopAt')], ['due', stop_at])
            wait(lambda: not self.paths(), 'its program is stopped', 60)
            self.assertGreaterEqual(time.time(), int(stop_at) / 1e6)
            process.wait(20)
            self.wait_logged('sleep', path.rsplit('/', 1)[1], 'asked to end (SIGTERM)')
        self.assert_untouched(self.before)

    def test_a_cancelled_eviction_spares_what_was_given_back(self):
        self.set_policy([self.rule(**{'stop-after': 600})])
        self.start()
        self.c = self.client()
        claim = self.c.acquire(self.nic, self.disk)
        self.evict(claim.path, **{'in': dbus.UInt64(600)})
        self.kernel.set_enable(self.disk, 1)  # it is still open
        self.c.release_devices(claim, self.disk)
        part = str(self.c.device(self.disk)['Claim'])
        self.assertEqual(self.get(part, 'Stopping'), 'due')
        self.evict(claim.path, cancel=True)
        self.assertEqual([self.get(part, name) for name in ('State', 'Stopping', 'StopAt')], ['draining', 'none', 0])
        claim.close()
        self.kernel.set_enable(self.disk, 0)
        self.wait_free()

    def test_drain_timeout(self):
        """The claim has ended, and its program keeps the device."""
        self.begin(**{'drain-timeout': 1})
        process, path = self.run_holder('sleep 1000; true')
        self.evict(path, **{'in': dbus.UInt64(0)})
        wait(lambda: self.get(path, 'Eviction') == 'overdue', 'it is overdue')
        self.assertEqual(self.get(path, 'StopAt'), 0)  # that alone stops nobody
        self.c.manager('Release', 'sa{sv}', path.rsplit('/', 1)[1], {})
        wait(lambda: not self.paths() or self.get(path, 'Stopping') != 'none', 'it will be stopped')
        self.wait_free()
        process.wait(20)

    def test_whose_first_thread_has_ended(self):
        """Its process shows no files any more, and its other threads have them."""
        self.begin(**{'drain-timeout': 1})
        process, path = self.run_holder(f"exec /usr/bin/python3 -c '{FIRST_THREAD_ENDS}'")
        status = pathlib.Path(f'/proc/{process.pid}/task/{process.pid}/status')
        wait(lambda: 'State:\tZ' in status.read_text(), 'its first thread has ended')
        self.c.manager('Release', 'sa{sv}', path.rsplit('/', 1)[1], {})
        self.wait_free()
        process.wait(20)

    def test_deadline_and_priority(self):
        """Claims that end because their time is over, and because somebody more important waits, and are not given back."""
        self.set_policy([self.rule('root', priority=10),
                         self.rule('timed', user=NOBODY, device=self.nic.name, **{'max-duration': 1, 'stop-after': 1}),
                         self.rule('cheap', user=NOBODY, device=self.disk.name, preemptible=True, **{'stop-after': 1})])
        self.start()
        self.c = self.client()
        holders = {'deadline': self.run_holder('sleep 1000; true'),
                   'priority': self.run_holder('sleep 1000; true', self.disk)}
        waiter = self.tool('env', 'VFIOD_TRANSPORT=dbus', os.environ['VFIOCTL'], 'exec', '--wait=600', '-d', self.disk.name,
                           '--', 'true')
        stop_at = {}
        for cause, (_, path) in holders.items():
            wait(lambda: self.get(path, 'EvictCause') == cause, 'it is evicted')
            self.assertEqual((self.get(path, 'Eviction'), self.get(path, 'Stopping')), ('announced', 'none'))
            self.assertEqual(self.get(path, 'StopAt'), self.get(path, 'EvictAt') + 1000000)
            stop_at[path] = int(self.get(path, 'StopAt')) / 1e6
        for process, path in holders.values():
            wait(lambda: path not in self.c.objects(), 'the claim is over', 60)
            self.assertGreaterEqual(time.time(), stop_at[path])
            process.wait(20)
            claim = path.rsplit('/', 1)[1]
            self.wait_logged('Claim ' + claim, 'is ended')
            self.wait_logged('sleep', claim, 'asked to end (SIGTERM)')
        self.assertEqual(waiter.wait(20), 0)
        self.wait_free()

    def test_no_rule(self):
        self.begin()
        process, path = self.run_holder('sleep 1000; true')
        self.c.manager('Release', 'sa{sv}', path.rsplit('/', 1)[1], {})
        wait(lambda: self.get(path, 'State') == 'draining', 'it drains')
        self.assertEqual((self.get(path, 'Stopping'), self.get(path, 'StopAt')), ('none', 0))
        self.assertIsNone(process.poll())
        self.kill_all(process)
        self.wait_free()

    def test_strangers(self):
        """A process of somebody else has been given the file: it is named, and not stopped."""
        self.begin(**{'drain-timeout': 1})
        with harness.identity(NOBODY):
            n = self.client()
        claim = n.acquire(self.nic)  # by this process, which is root's again
        self.c.manager('Release', 'sa{sv}', claim.id, {})
        self.wait_logged(str(os.getpid()), claim.id, 'is not stopped')
        self.assertEqual([self.get(claim.path, name) for name in ('State', 'Stopping')], ['draining', 'due'])
        claim.close()
        self.wait_free()


if __name__ == '__main__':
    harness.main()
