#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Claims that can be found again, are tied to something else than a lifeline, and move."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import unittest

import dbus

import harness
from harness import VfiodTestCase, identity, needs_root, wait
from host import VFIO
from varlink_client import Peer, VarlinkError

DAEMON = 1  # an account that every host has
EVERYBODY = {'name': 'all', 'effect': 'allow', 'who': {}, 'what': {'device': '*'}, 'reset': 'optional'}


# A client of its own process. Prints the answer to each line of its input: [method, signature, arguments].
HOLDER = """
import json, os, sys
import dbus, dbus.bus
files = []
c = dbus.bus.BusConnection(sys.argv[1])
print(os.getpid(), flush=True)
for line in sys.stdin:
    method, signature, arguments = json.loads(line)
    if arguments:
        arguments[-1] = {k: dbus.UInt64(v) if isinstance(v, int) else v for k, v in arguments[-1].items()}
    if method == 'leave':
        c.close()
        print('[]', flush=True)
        continue
    try:
        answer = c.call_blocking('org.vfiod1', '/org/vfiod1', 'org.vfiod1.Manager', method, signature, arguments, 20)
        fds = answer[-1] if isinstance(answer, tuple) else []
        files += [fd.take() for _, fd in fds]
        claim = str(answer[0]).rsplit('/', 1)[1] if method == 'Acquire' else ''
        print(json.dumps([claim, [str(n) for n, _ in fds]]), flush=True)
    except dbus.DBusException as e:
        print(json.dumps({'error': e.get_dbus_name(), 'message': e.get_dbus_message()}), flush=True)
"""


class Holder:
    def __init__(self, test, user=None, group=None):
        def enter():
            if group:
                (group / 'cgroup.procs').write_text(str(os.getpid()))
        options = {} if user is None else {'user': user, 'group': user, 'extra_groups': []}
        self.process = subprocess.Popen(
            [sys.executable, '-c', HOLDER, test.bus.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd='/', preexec_fn=enter, **options)
        test.addCleanup(self.end)
        self.process.stdout.readline()

    @property
    def pid(self):
        return self.process.pid

    def send(self, method, signature='', *arguments):
        print(json.dumps([method, signature, arguments]), file=self.process.stdin, flush=True)

    def receive(self):
        return json.loads(self.process.stdout.readline())

    def call(self, *call):
        self.send(*call)
        return self.receive()

    def acquire(self, device, **options):
        return self.call('Acquire', 'asa{sv}', [device.name], options)

    def transfer(self, claim, **options):
        return self.call('Transfer', 'sa{sv}', claim, options)

    def leave(self):
        self.call('leave')

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def end(self):
        self.kill()
        self.process.stdin.close()
        self.process.stdout.close()


class TetherTestCase(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.card = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        self.before = self.host.binding()
        self.set_policy([EVERYBODY])

    def client_of(self, uid):
        with identity(uid):
            return self.client()

    def restart(self):
        self.daemon.kill()
        self.start(keep_fds=True)


class CookieTest(TetherTestCase):
    UUID = '6b86b273-ff34-4ce1-9d6b-804eff5a3f57'

    def test_it_names_the_claim(self):
        self.start()
        c = self.client()
        claim = c.acquire(self.nic, cookie=self.UUID)
        shown = claim.properties()
        self.assertEqual((shown['Cookie'], shown['Tether'], shown['Grant']), (self.UUID, 'lifeline', 'fd'))
        self.assertEqual((claim.result['tether'], claim.result['grant']), ('lifeline', 'fd'))
        plan = c.plan(self.card)
        self.assertEqual((plan['tether'], plan['grant']), ('lifeline', 'fd'))
        explanation = c.manager('Explain', 'asa{sv}', [], {'claim': 'cookie:' + self.UUID})
        self.assertIn(claim.id, explanation)
        c.manager('Release', 'sa{sv}', 'cookie:' + self.UUID, {})
        claim.close()
        self.wait_gone(claim)
        with self.refused('NoSuchClaim', 'cookie:' + self.UUID):
            c.manager('Release', 'sa{sv}', 'cookie:' + self.UUID, {})

    def test_another_connection_finds_it_after_a_crash(self):
        self.start()
        claim = self.client().acquire(self.nic, cookie='vm-1')
        wait(lambda: self.manager.fds, 'the lifeline is kept')
        self.restart()
        c = self.client()
        self.assertEqual(c.manager('GetClaim', 's', 'cookie:vm-1'), claim.path)
        self.assertEqual(c.manager('GetClaim', 's', claim.id), claim.path)
        for name in ('cookie:vm-2', 'cookie:', '', 'x' * 5000):
            with self.refused('NoSuchClaim'):
                c.manager('GetClaim', 's', name)
        self.assertEqual(c.properties(claim.path, 'Claim')['Cookie'], 'vm-1')
        with self.refused('CookieInUse', claim.id, 'vm-1'):
            c.acquire(self.card, cookie='vm-1')
        c.manager('Release', 'sa{sv}', 'cookie:vm-1', {})
        claim.client = c
        claim.close()
        self.wait_gone(claim)
        c.acquire(self.card, cookie='vm-1').close()

    def test_it_is_unique_for_its_user(self):
        self.start()
        c = self.client()
        claim = c.acquire(self.nic, cookie='vm-1')
        for call in c.acquire, c.plan:
            with self.refused('CookieInUse', claim.id):
                call(self.card, cookie='vm-1')
        self.assertEqual(self.records(), [claim.id + '.json'])
        other = c.acquire(self.card, cookie='vm-2')
        claim.close()
        self.wait_gone(claim)
        c.acquire(self.nic, cookie='vm-1').close()
        other.close()

    def test_bad_cookies(self):
        self.start()
        c = self.client()
        for bad in ('', ' ', 'a/b', 'a\n', 'é', 'c' * 65, 'cookie:', '\x01'):
            if bad == 'cookie:':
                c.plan(self.nic, cookie=bad)
                continue
            with self.refused('InvalidArgument', 'not a cookie'):
                c.acquire(self.nic, cookie=bad)
        with self.refused('InvalidArgument', 'must be a string'):
            c.acquire(self.nic, cookie=7)
        for name in ('cookie:', 'cookie:x', 'cookie:' + 'c' * 100_000, 'cookie:\x1b[2J'):
            with self.refused('NoSuchClaim'):
                c.manager('Release', 'sa{sv}', name, {})

    @needs_root
    def test_of_somebody_else(self):
        self.start()
        alice, root = self.client_of(harness.NOBODY), self.client()
        claim = alice.acquire(self.nic, cookie='vm-1')
        bob = self.client_of(DAEMON)
        for stranger in (bob, root):
            with self.refused('NoSuchClaim'):
                stranger.manager('Release', 'sa{sv}', 'cookie:vm-1', {})
            with self.refused('NoSuchClaim'):
                stranger.manager('Explain', 'asa{sv}', [], {'claim': 'cookie:vm-1'})
        self.assertEqual(bob.properties(claim.path, 'Claim')['Cookie'], '')
        self.assertEqual(bob.objects()[claim.path]['org.vfiod1.Claim']['Cookie'], '')
        self.assertEqual(root.properties(claim.path, 'Claim')['Cookie'], 'vm-1')
        self.assertNotIn('vm-1', str([c.events for c in (alice, bob, root)]))
        own = bob.acquire(self.card, cookie='vm-1')  # his own
        bob.manager('Release', 'sa{sv}', 'cookie:vm-1', {})
        own.close()
        self.wait_gone(own)
        self.assertEqual(claim.state, 'held')
        claim.close()


class RuleTest(TetherTestCase):
    def test_the_rule_decides(self):
        self.set_policy([{**EVERYBODY, 'tether': ['unit', 'explicit']}])
        self.start()
        c = self.client()
        for call in c.plan, c.acquire:
            with self.refused('AccessDenied', 'does not allow the tether lifeline', 'To loosen the policy',
                              'add "lifeline" to "tether"'):
                call(self.nic)
        with self.refused('InvalidArgument', 'not a tether'):
            c.plan(self.nic, tether='life')
        with self.refused('InvalidArgument', 'not a grant'):
            c.plan(self.nic, grant='fds')
        self.assert_untouched(self.before)

    @needs_root
    def test_explicit_is_for_root(self):
        self.set_policy([{**EVERYBODY, 'tether': ['lifeline', 'explicit']}])
        self.start()
        with self.refused('AccessDenied', 'only root', 'No rule can allow'):
            self.client_of(harness.NOBODY).plan(self.nic, tether='explicit')


class ProcessTest(TetherTestCase):
    def ends(self, claim):
        wait(lambda: claim + '.json' not in self.records(), f'claim {claim} ends')
        self.assertEqual(self.host.binding(), self.before)

    def stays(self, claim, tether):
        shown = self.client().properties('/org/vfiod1/claim/' + claim, 'Claim')
        self.assertEqual((shown['State'], shown['Tether']), ('held', tether))

    def test_the_callers(self):
        self.start()
        for restart in (False, True):
            holder = Holder(self)
            claim, fds = holder.acquire(self.nic, tether='process')
            self.assertNotIn('lifeline', fds)
            holder.leave()
            if restart:
                wait(lambda: self.manager.fds, 'the pidfd is kept')
                self.restart()
            self.stays(claim, 'process')
            holder.kill()
            self.ends(claim)
            wait(lambda: not self.manager.fds, 'the pidfd goes')

    def test_it_ends_while_there_is_no_daemon(self):
        self.start()
        holder = Holder(self)
        claim, _ = holder.acquire(self.nic, tether='process')
        wait(lambda: self.manager.fds, 'the pidfd is kept')
        self.daemon.kill()
        holder.kill()
        self.start(keep_fds=True)
        self.ends(claim)

    def test_another_one(self):
        self.start()
        c = self.client()
        other, third = Holder(self), Holder(self)
        claim = c.acquire(self.nic, tether='process', pid=dbus.UInt64(other.pid))
        second = c.acquire(self.card, tether='process', pid=dbus.UInt64(other.pid))
        wait(lambda: len(self.manager.fds) == 2, 'there is a pidfd for each of them')
        self.restart()
        c = self.client()
        third.kill()
        self.stays(claim.id, 'process')
        other.kill()
        for one in claim, second:
            one.client = c
            wait(lambda: one.state == 'draining', 'it has ended')
            one.close()
            self.wait_gone(one)

    def test_bad_processes(self):
        self.start()
        c = self.client()
        dead = Holder(self)
        dead.kill()
        for pid in (dead.pid, 2**31 - 1):
            with self.refused('InvalidArgument', f'there is no process {pid}', 'running process'):
                c.acquire(self.nic, tether='process', pid=dbus.UInt64(pid))
        for pid in (0, 2**31, 2**64 - 1):
            with self.refused('InvalidArgument', 'not a value for "pid"'):
                c.acquire(self.nic, tether='process', pid=dbus.UInt64(pid))
        with self.refused('InvalidArgument', 'only for the tether "process"'):
            c.acquire(self.nic, pid=dbus.UInt64(os.getpid()))
        with self.refused('InvalidArgument', 'must be a number'):
            c.acquire(self.nic, tether='process', pid='1')
        self.assert_untouched(self.before)

    def test_the_id_of_a_pidfd(self):
        self.start()
        c = self.client()
        holder = Holder(self)
        pidfd = os.pidfd_open(holder.pid)
        self.addCleanup(os.close, pidfd)
        number = os.fstat(pidfd).st_ino
        if tuple(map(int, os.uname().release.split('.')[:2])) < (6, 9):
            with self.refused('InvalidArgument', 'no ids on this kernel'):
                c.acquire(self.nic, tether='process', pid=dbus.UInt64(holder.pid), pidfdId=dbus.UInt64(number))
            return
        with self.refused('InvalidArgument', 'with that pidfdId'):
            c.acquire(self.nic, tether='process', pid=dbus.UInt64(holder.pid), pidfdId=dbus.UInt64(number + 1))
        claim = c.acquire(self.nic, tether='process', pid=dbus.UInt64(holder.pid), pidfdId=dbus.UInt64(number))
        claim.close()

    @needs_root
    def test_of_a_stranger(self):
        self.start()
        root, own = Holder(self), Holder(self, user=harness.NOBODY)
        alice = Holder(self, user=harness.NOBODY)
        for pid in (root.pid, 1, self.daemon.pid):
            answer = alice.acquire(self.nic, tether='process', pid=pid)
            self.assertEqual(answer['error'], harness.ERROR + 'AccessDenied')
            self.assertIn(f'process {pid} does not run as uid {harness.NOBODY} alone', answer['message'])
        self.assert_untouched(self.before)
        claim, _ = alice.acquire(self.nic, tether='process', pid=own.pid)
        self.stays(claim, 'process')
        alice.kill()
        self.stays(claim, 'process')
        own.kill()
        self.ends(claim)


    @needs_root
    def test_root_names_any(self):
        self.start()
        c, holder = self.client(), Holder(self, user=harness.NOBODY)
        claim = c.acquire(self.nic, tether='process', pid=dbus.UInt64(holder.pid))
        self.assertEqual(claim.state, 'held')
        holder.kill()
        wait(lambda: claim.state == 'draining', 'it has ended')
        claim.close()
        self.wait_gone(claim)


class ConnectionTest(TetherTestCase):
    def test_it_leaves_the_bus(self):
        self.start()
        for restart in (False, True):
            c, other = self.client(), self.client()
            claim = c.acquire(self.nic, tether='connection')
            second = c.acquire(self.card, tether='connection')
            self.assertNotIn('lifeline', claim.fds)
            if restart:
                self.restart()
                other = self.client()
            self.assertEqual((other.get(claim.path, 'Claim', 'State'), other.get(claim.path, 'Claim', 'Tether')),
                             ('held', 'connection'))
            c.close()
            for one in claim, second:
                one.client = other
                wait(lambda: one.state == 'draining', 'it has ended')
                one.close()
                self.wait_gone(one)

    def test_it_leaves_while_there_is_no_daemon(self):
        self.start()
        c, other = self.client(), self.client()
        claim = c.acquire(self.nic, tether='connection')
        self.daemon.kill()
        c.close()
        self.start(keep_fds=True)
        claim.client = self.client()
        wait(lambda: claim.state == 'draining', 'it has ended')
        claim.close()
        self.wait_gone(claim)

    def test_the_bus_is_another_one(self):
        """The same unique name is somebody else's there."""
        self.start()
        c = self.client()
        claim = c.acquire(self.nic, tether='connection')
        self.bus.stop()
        self.bus.start()
        others = [self.client() for _ in range(10)]
        claim.client = others[0]
        wait(lambda: self.claimed_state(others[0], claim) in ('draining', 'gone'), 'it has ended')
        claim.close()
        self.wait_gone(claim)

    def claimed_state(self, client, claim):
        try:
            return claim.state
        except dbus.DBusException:
            return None

    @needs_root
    def test_many_connections(self):
        devices = [self.host.add_device(f'0000:{n:02x}:00.0', group=100 + n, driver=VFIO) for n in range(16, 34)]
        self.start()
        clients = [self.client_of(harness.NOBODY) for _ in devices]
        claims = [c.acquire(d, tether='connection') for c, d in zip(clients, devices[:16])]
        with self.refused('LimitExceeded', 'are tied to 16 connections', 'another tether'):
            clients[16].acquire(devices[16], tether='connection')
        claims.append(clients[0].acquire(devices[16], tether='connection'))  # it has one already
        claims.append(self.client_of(DAEMON).acquire(devices[17], tether='connection'))
        for claim in claims:
            claim.close()
            claim.client.release(claim)
        wait(lambda: self.records() == [], 'all end')
        clients[16].acquire(devices[16], tether='connection').close()

    def test_somebody_else_says_that_it_left(self):
        self.start()
        c, forger = self.client(), self.client()
        claim = c.acquire(self.nic, tether='connection')
        name = c.connection.get_unique_name()
        for destination in self.vfiod_names(forger):
            forger.forge(destination, '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'NameOwnerChanged',
                         name, name, '')
        self.assertEqual(c.device(self.nic)['State'], 'claimed')
        self.assertEqual(claim.state, 'held')
        claim.close()

    def vfiod_names(self, client):
        return [str(n) for n in client.queued_owners()]


def find_unified():
    top = pathlib.Path('/sys/fs/cgroup')
    found = top / 'unified' if (top / 'unified').exists() else top
    return found if os.getuid() == 0 and os.access(found / 'cgroup.procs', os.W_OK) else None


@unittest.skipUnless(find_unified(), 'no control groups here')
class UnitTest(ProcessTest):
    test_the_callers = test_it_ends_while_there_is_no_daemon = test_another_one = test_bad_processes = None
    test_the_id_of_a_pidfd = test_of_a_stranger = None

    def setUp(self):
        super().setUp()
        os.makedirs(f'{self.host.root}/sys/fs', exist_ok=True)
        os.symlink('/sys/fs/cgroup', f'{self.host.root}/sys/fs/cgroup')
        self.group = find_unified() / f'vfiod-test-{os.getpid()}.service'
        self.payload = self.group / 'payload'
        for path in self.group, self.payload:
            path.mkdir()
            self.addCleanup(lambda path=path: path.rmdir() if path.exists() else None)

    def test_the_last_process_ends_it(self):
        self.start()
        for restart in (False, True):
            holder, sibling = Holder(self, group=self.group), Holder(self, group=self.payload)
            claim, fds = holder.acquire(self.nic, tether='unit')
            self.assertNotIn('lifeline', fds)
            if restart:
                wait(lambda: self.manager.fds, 'the group is kept')
                self.restart()
            holder.kill()
            self.client().device(self.nic)
            self.stays(claim, 'unit')
            sibling.kill()
            self.ends(claim)
            wait(lambda: not self.manager.fds, 'the group goes')

    def test_it_ends_while_there_is_no_daemon(self):
        self.start()
        holder = Holder(self, group=self.payload)
        claim, _ = holder.acquire(self.nic, tether='unit')
        wait(lambda: self.manager.fds, 'the group is kept')
        self.daemon.kill()
        holder.kill()
        wait(lambda: 'populated 0' in (self.payload / 'cgroup.events').read_text(), 'the group is empty')
        # Another one of the same name counts for nothing.
        self.payload.rmdir()
        self.payload.mkdir()
        heir = Holder(self, group=self.payload)
        self.start(keep_fds=True)
        self.ends(claim)
        self.assertIsNone(heir.process.poll())

    def test_it_has_left_its_group(self):
        self.start()
        holder = Holder(self, group=self.group)
        holder.call('Plan', 'asa{sv}', [self.nic.name], {})  # it is known from now on
        (self.payload / 'cgroup.procs').write_text(str(holder.pid))
        answer = holder.acquire(self.nic, tether='unit')
        self.assertIn('has left its control group', answer['message'])
        self.assertIn('Request the tether lifeline, process or connection.', answer['message'])
        self.assert_untouched(self.before)

    def test_the_root(self):
        self.start()
        with self.refused('InvalidArgument', "no end of the caller's control group", 'Request the tether lifeline, process or connection.'):
            self.client().acquire(self.nic, tether='unit')
        self.assert_untouched(self.before)


class TransferTest(TetherTestCase):
    def state(self, claim):
        try:
            shown = self.client().properties('/org/vfiod1/claim/' + claim, 'Claim')
        except dbus.DBusException:
            return None
        return str(shown['State']), str(shown['Tether'])

    def gone(self, claim):
        wait(lambda: claim + '.json' not in self.records(), f'claim {claim} ends')

    def untouched(self):
        """Since the device was opened."""
        writes, resets = list(self.kernel.writes), self.nic.resets
        return lambda: (self.assertEqual(self.kernel.writes, writes), self.assertEqual(self.nic.resets, resets))

    def test_a_lifeline(self):
        self.start()
        c, other = self.client(), self.client()
        claim = c.acquire(self.nic, cookie='vm')
        check = self.untouched()
        result, fds = other.manager('Transfer', 'sa{sv}', 'cookie:vm', {})
        self.assertEqual((result['claim'], result['tether'], result['devices']),
                         (claim.path, 'lifeline', [self.nic.name]))
        self.assertEqual([str(name) for name, _ in fds], ['lifeline'])
        fresh = fds[0][1].take()
        wait(lambda: len(self.manager.fds) == 1, 'systemd has the new one alone')
        claim.close('lifeline')
        self.assertEqual(c.device(self.nic)['State'], 'claimed')
        self.assertEqual(claim.state, 'held')
        check()
        self.restart()
        claim.client = self.client()
        self.assertEqual(claim.state, 'held')
        check()
        os.close(fresh)
        wait(lambda: claim.state == 'draining', 'it has ended')
        claim.close()
        self.wait_gone(claim)
        wait(lambda: not self.manager.fds, 'nothing is kept')

    def test_there_and_back(self):
        self.start()
        first, second = Holder(self), Holder(self)
        claim, _ = first.acquire(self.nic)
        kept = self.client().acquire(self.card)
        check = self.untouched()
        for holder, kind, fds in ((second, 'process', []), (first, 'lifeline', ['lifeline']), (second, 'connection', []),
                                  (first, 'process', []), (second, 'lifeline', ['lifeline'])):
            seen = self.client()
            answer = holder.transfer(claim, tether=kind)
            self.assertEqual(answer, ['', fds])
            wait(lambda: seen.seen('PropertiesChanged', '/org/vfiod1/claim/' + claim, Tether=kind), 'it is announced')
            self.assertEqual(self.state(claim), ('held', kind))
            self.restart()
            self.assertEqual(self.state(claim), ('held', kind))
        check()
        first.kill()
        self.client().device(self.nic)
        self.assertEqual(self.state(claim), ('held', 'lifeline'))
        check()
        second.kill()
        self.gone(claim)
        kept.client = self.client()
        kept.close()
        self.wait_gone(kept)
        wait(lambda: not self.manager.fds, 'nothing is kept')
        self.assertEqual(self.host.binding(), self.before)

    def test_to_a_process(self):
        self.start()
        c, target = self.client(), Holder(self)
        claim = c.acquire(self.nic)
        for _ in range(2):  # again is the same
            result, fds = c.manager('Transfer', 'sa{sv}', claim.id, {'tether': 'process', 'pid': dbus.UInt64(target.pid)})
            self.assertEqual((result['tether'], fds), ('process', []))
        claim.close('lifeline')
        self.assertEqual(claim.state, 'held')
        target.kill()
        wait(lambda: claim.state == 'draining', 'it has ended')
        claim.close()
        self.wait_gone(claim)

    def test_bad_requests(self):
        self.start()
        c, dead = self.client(), Holder(self)
        dead.kill()
        claim = c.acquire(self.nic)
        self.manager.hear_all()
        before = self.slots(), dict(self.manager.fds)
        for error, options in (
                ('UnknownOption', {'backend': 'group'}), ('UnknownOption', {'pidfd': 'x'}),
                ('InvalidArgument', {'tether': 'x'}), ('InvalidArgument', {'pid': dbus.UInt64(1)}),
                ('InvalidArgument', {'tether': 'process', 'pid': dbus.UInt64(dead.pid)}),
                ('InvalidArgument', {'tether': 'process', 'pidfdId': dbus.UInt64(7)}),
                ('InvalidArgument', {'tether': 'unit'}),
                ('AccessDenied', {'tether': 'explicit'})):
            with self.subTest(options=options), self.refused(error):
                c.manager('Transfer', 'sa{sv}', claim.id, options)
        for name in ('', '0' * 16, 'cookie:', 'cookie:x', '\x01'):
            with self.refused('NoSuchClaim'):
                c.manager('Transfer', 'sa{sv}', name, {})
        self.manager.hear_all()
        self.assertEqual((self.slots(), self.manager.fds), before)
        claim.close()
        self.wait_gone(claim)
        with self.refused('NoSuchClaim'):
            c.manager('Transfer', 'sa{sv}', claim.id, {})

    def test_of_a_claim_that_has_ended(self):
        self.start()
        c = self.client()
        claim = c.acquire(self.nic, cookie='vm')
        claim.close('lifeline')
        for name in (claim.id, 'cookie:vm'):
            with self.refused('NoSuchClaim', 'not held by anybody any more (draining)'):
                c.manager('Transfer', 'sa{sv}', name, {})
        claim.close()
        self.wait_gone(claim)

    def test_before_it_is_held(self):
        self.start()
        c = self.client()
        gate = self.kernel.hold('bind', self.nic.address)
        pending = c.acquire_later(self.nic, cookie='vm')
        wait(lambda: self.state_of(c) == 'binding', 'it is being bound')
        with self.refused('ClaimBusy', 'binding'):
            c.manager('Transfer', 'sa{sv}', 'cookie:vm', {})
        gate.let_go()
        wait(lambda: pending.done, 'it is held')
        pending.value[0].close()

    def state_of(self, client):
        return str(client.device(self.nic)['State'])

    @needs_root
    def test_by_a_stranger(self):
        self.set_policy([{**EVERYBODY, 'tether': ['lifeline', 'process']}])
        self.start()
        alice, bob, root = Holder(self, user=harness.NOBODY), Holder(self, user=DAEMON), self.client()
        claim, _ = alice.acquire(self.nic, cookie='vm')
        for name, error in ((claim, 'NotOwner'), ('cookie:vm', 'NoSuchClaim')):
            self.assertEqual(bob.transfer(name)['error'], harness.ERROR + error)
            self.assertEqual(bob.transfer(name, tether='process', pid=bob.pid)['error'], harness.ERROR + error)
        answer = alice.transfer(claim, tether='process', pid=bob.pid)
        self.assertEqual(answer['error'], harness.ERROR + 'AccessDenied')
        answer = alice.transfer(claim, tether='connection')
        self.assertIn(f'the rule that allowed claim {claim} does not allow the tether connection', answer['message'])
        self.assertIn('Request the tether lifeline or process.', answer['message'])
        self.assertRegex(alice.transfer(claim, tether='explicit')['message'],
                         'only root.* Request the tether lifeline or process. No rule can allow this one.')
        with self.refused('AccessDenied', f'does not run as uid {harness.NOBODY} alone'):
            root.manager('Transfer', 'sa{sv}', claim, {'tether': 'process', 'pid': dbus.UInt64(os.getpid())})
        self.assertEqual(self.state(claim), ('held', 'lifeline'))
        # root may hold it, and give it back.
        _, fds = root.manager('Transfer', 'sa{sv}', claim, {})
        root.manager('Transfer', 'sa{sv}', claim, {'tether': 'process', 'pid': dbus.UInt64(alice.pid)})
        os.close(fds[0][1].take())
        self.assertEqual(self.state(claim), ('held', 'process'))
        alice.kill()
        self.gone(claim)


class TransferCrashTest(TransferTest):
    """The daemon is killed at each step of a move. Exactly one of the two holders counts afterwards."""
    for name in [n for n in dir(TransferTest) if n.startswith('test_')]:
        locals()[name] = None

    def spoil(self, claim, **members):
        """The record as it was at some moment of a move."""
        self.daemon.kill()
        self.unpack_slots()
        path = pathlib.Path(f'{self.directory}/state/claims/{claim}.json')
        path.write_text(json.dumps({**json.loads(path.read_text()), **members}))

    def go_on(self):
        self.start(keep_fds=True)
        record, = self.records()
        for text in (*self.slots(), (pathlib.Path(f'{self.directory}/state/claims') / record).read_bytes()
                     if (pathlib.Path(f'{self.directory}/state/claims') / record).exists() else b''):
            self.assertNotIn(b'moving', text)

    NEW = 'feedfacefeedface'

    def test_before_the_new_one_was_kept(self):
        self.start()
        holder = Holder(self)
        claim, _ = holder.acquire(self.nic)
        wait(lambda: self.manager.fds, 'it is kept')
        self.spoil(claim, moving=True, lifeline=self.NEW, previousLifeline=claim)
        self.go_on()
        self.assertEqual(self.state(claim), ('held', 'lifeline'))
        holder.kill()
        self.gone(claim)

    def test_before_the_answer(self):
        """The new lifeline died with the daemon, which had its other end."""
        self.start()
        holder = Holder(self)
        claim, _ = holder.acquire(self.nic)
        wait(lambda: self.manager.fds, 'it is kept')
        ours, theirs = os.pipe()
        os.close(theirs)
        self.manager.fds['claim-' + self.NEW] = [ours]
        self.spoil(claim, moving=True, lifeline=self.NEW, previousLifeline=claim)
        self.go_on()
        self.assertEqual(self.state(claim), ('held', 'lifeline'))
        wait(lambda: {'FDSTOREREMOVE': '1', 'FDNAME': 'claim-' + self.NEW} in self.manager.messages, 'it is dropped')
        holder.kill()
        self.gone(claim)

    def test_after_the_answer(self):
        self.start()
        holder = Holder(self)
        claim, _ = holder.acquire(self.nic)
        wait(lambda: self.manager.fds, 'it is kept')
        ours, theirs = os.pipe()
        self.manager.fds['claim-' + self.NEW] = [ours]
        self.spoil(claim, moving=True, lifeline=self.NEW, previousLifeline=claim)
        self.go_on()
        wait(lambda: {'FDSTOREREMOVE': '1', 'FDNAME': 'claim-' + claim} in self.manager.messages, 'it is dropped')
        holder.kill()
        self.client().device(self.nic)
        self.assertEqual(self.state(claim), ('held', 'lifeline'))
        os.close(theirs)
        self.gone(claim)

    def test_between_two_kinds(self):
        self.start()
        holder, target = Holder(self), Holder(self)
        claim, _ = holder.acquire(self.nic)
        wait(lambda: self.manager.fds, 'it is kept')
        self.manager.fds['claim-' + self.NEW] = [os.pidfd_open(target.pid)]
        self.spoil(claim, moving=True, tether='process', lifeline=self.NEW, previousLifeline=claim)
        self.go_on()
        self.assertEqual(self.state(claim), ('held', 'process'))
        holder.kill()
        self.client().device(self.nic)
        self.assertEqual(self.state(claim), ('held', 'process'))
        target.kill()
        self.gone(claim)

    def test_both_have_ended(self):
        self.start()
        holder, target = Holder(self), Holder(self)
        claim, _ = holder.acquire(self.nic)
        wait(lambda: self.manager.fds, 'it is kept')
        self.manager.fds['claim-' + self.NEW] = [os.pidfd_open(target.pid)]
        self.spoil(claim, moving=True, tether='process', lifeline=self.NEW, previousLifeline=claim)
        holder.kill()
        target.kill()
        self.start(keep_fds=True)
        self.gone(claim)
        self.assertEqual(self.host.binding(), self.before)

    def test_what_is_kept_does_not_fit_the_record(self):
        """The daemon starts, and the claim ends."""
        self.start()
        for tether in 'unit', 'lifeline':
            with self.subTest(tether):
                holder = Holder(self)
                claim, _ = holder.acquire(self.nic, tether='process')
                wait(lambda: self.manager.fds, 'it is kept')
                if tether == 'lifeline':
                    with open(os.devnull, 'rb') as f:
                        os.dup2(f.fileno(), self.manager.fds['claim-' + claim][0])
                self.spoil(claim, tether=tether)
                self.start(keep_fds=True)
                holder.kill()
                self.gone(claim)
                self.manager.fds.clear()

    def test_killed_again_and_again(self):
        """In the middle of calls, wherever that is."""
        self.start()
        holder = Holder(self)
        claim, _ = holder.acquire(self.nic)
        for n in range(12):
            holder.send('Transfer', 'sa{sv}', claim, {'tether': ('process', 'lifeline', 'connection')[n % 3]})
            for _ in range(n % 4):
                self.client().get('/org/vfiod1', 'Manager', 'Claims')
            self.daemon.kill()
            self.start(keep_fds=True)
            holder.receive()
            self.assertEqual(self.state(claim)[0], 'held')
        holder.kill()
        self.gone(claim)
        self.assertEqual(self.host.binding(), self.before)


class VarlinkTest(TransferTest):
    sockets = ('varlink',)
    for name in [n for n in dir(TransferTest) if n.startswith('test_')]:
        locals()[name] = None

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:08:00.0', group=10, driver=VFIO)
        self.before = self.host.binding()

    def peer(self):
        peer = Peer(self.socket_path())
        self.addCleanup(peer.close)
        return peer

    def ask(self, peer, method, **parameters):
        """The reply, and the lifeline if there is one; devices are closed again."""
        peer.send(method, parameters)
        reply, fds = peer.reply()
        lifeline = fds.pop('lifeline', None)
        for fd in fds.values():
            os.close(fd)
        return reply, lifeline

    def test_a_connection(self):
        self.start()
        peer = self.peer()
        claims = []
        for device in self.nic, self.card:
            reply, lifeline = self.ask(peer, 'Acquire', devices=[device.name], tether='connection')
            self.assertEqual((reply['tether'], lifeline), ('connection', None))
            claims.append(reply['claim'])
        self.manager.hear_all()
        self.assertEqual(len(self.manager.fds), 1)  # systemd keeps a file once
        self.daemon.kill()
        self.start(keep_fds=True)
        for claim in claims:
            self.assertEqual(self.state(claim), ('held', 'connection'))
        with self.assertRaises(BrokenPipeError):  # nobody serves it, and says so
            peer.send('Plan', {'devices': [self.nic.name]})
        self.client().manager('Release', 'sa{sv}', claims[0], {})
        self.gone(claims[0])
        self.assertEqual(self.state(claims[1]), ('held', 'connection'))
        self.manager.hear_all()
        self.assertEqual(len(self.manager.fds), 1)
        peer.close()
        self.gone(claims[1])
        wait(lambda: not self.manager.fds, 'nothing is kept')

    def test_the_daemon_ends_it(self):
        """What is no Varlink closes the connection, copies or not."""
        self.start()
        peer = self.peer()
        reply, _ = self.ask(peer, 'Acquire', devices=[self.nic.name], tether='connection')
        peer.send_raw(b'garbage\0')
        self.assertTrue(peer.is_closed())
        self.gone(reply['claim'])

    def test_move(self):
        self.start()
        first, second = self.peer(), self.peer()
        reply, lifeline = self.ask(first, 'Acquire', devices=[self.nic.name], cookie='vm')
        claim = reply['claim']
        check = self.untouched()
        reply, fresh = self.ask(second, 'Transfer', claim='cookie:vm')
        self.assertEqual((reply['claim'], reply['tether']), (claim, 'lifeline'))
        os.close(lifeline)
        self.assertEqual(self.state(claim), ('held', 'lifeline'))
        with self.assertRaisesRegex(VarlinkError, 'NoSuchClaim'):
            second.call('Transfer', {'claim': 'cookie:other'})
        for _ in range(2):  # on the same connection again
            reply, none = self.ask(second, 'Transfer', claim=claim, tether='connection')
            self.assertEqual((reply['tether'], none), ('connection', None))
        os.close(fresh)
        first.close()
        check()
        self.assertEqual(self.state(claim), ('held', 'connection'))
        self.manager.hear_all()
        self.assertEqual(len(self.manager.fds), 1)
        second.close()
        self.gone(claim)


class ExplicitTest(TetherTestCase):
    @needs_root
    def test_it_ends_by_release_alone(self):
        self.set_policy([{**EVERYBODY, 'tether': ['lifeline', 'explicit']}])
        self.start()
        holder = Holder(self)
        claim, fds = holder.acquire(self.nic, tether='explicit', cookie='domain')
        self.assertNotIn('lifeline', fds)
        self.assertEqual(self.manager.fds, {})
        holder.kill()
        self.restart()
        c = self.client()
        shown = c.properties('/org/vfiod1/claim/' + claim, 'Claim')
        self.assertEqual((shown['State'], shown['Tether'], shown['Cookie']), ('held', 'explicit', 'domain'))
        self.assertEqual(self.daemon.stop(), 0)
        self.start()
        self.client().manager('Release', 'sa{sv}', 'cookie:domain', {})
        wait(lambda: self.records() == [], 'it ends')
        self.assertEqual(self.host.binding(), self.before)


if __name__ == '__main__':
    harness.main()
