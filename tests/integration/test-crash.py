#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The crash matrix. vfiod-failpoints (tests/fakes/failpoints.c) is killed at each of its failpoints in turn: before and
after each effect of the machine, each step and order of a worker, each write of a record and each message to the service
manager. Then it is started again over what is left, and nothing may be stranded. BusTest
kills the bus there instead.

The failpoints come from the tables of the enums themselves. One that no scenario passes fails the test, unless NOT_HIT
has the reason."""

import collections
import contextlib
import errno
import fnmatch
import itertools
import json
import os
import pathlib
import subprocess
import sys
import time

import dbus

import harness
from harness import VfiodTestCase, wait
from host import VFIO
from mock_polkit import MockPolkit
from mock_systemd import MockSystemd

FAILPOINTS = os.environ['VFIOD_TEST_FAILPOINTS']
NOT_HIT = {
    'effect:impossible:*': 'it changes nothing, and no event of a scenario is impossible',
    'step:identify:*': 'no worker reports it: it changes nothing',
    'step:verify:*': 'reported by a recycling only',
    'step:open:*': 'an open is no step of a device: its order is killed before and after',
    'step:create:*': 'made devices: test-mediated kills the daemon there',
    'step:remove:*': 'likewise',
    'order:open-noiommu:*': 'test-noiommu',
    'order:open-nodes:*': 'vDPA: test-vdpa',
    'order:open-compat:*': 'test-compat',
    'order:recycle:*': 'test-drain',
    'order:probe-nodes:*': 'test-vdpa',
    'order:find-holders:*': 'reads only',
    'order:probe-groups:*': 'opens and closes',
    'order:survey:*': 'reads only',
    'order:wake:*': 'reads only',
    'order:check-resumed:*': 'reads only',
    'order:look-at-stuck:*': 'reads only',
    'order:stop-holders:*': 'it only sends signals: test-evict',
    'order:set-virtual-functions:*': 'test-virtual-functions',
    'order:read-mediated-types:*': 'reads only',
    'order:*-network:*': 'test-network',
    'order:set-vf-token:*': 'test-vf-token',
    'file:plan-text:*': 'reads only: ErrorTest lets it fail',
    'file:worker-start:*': 'killed before the first order instead; ErrorTest lets it fail',
    'file:slots-open:*': 'for the first record of a state directory only',
    'file:record-file:*': 'records that outgrow their slot: test-store',
    'file:record-remove:*': 'likewise',
}
# A scenario that is played again passes each failpoint as often, or else the matrix has not been there.
NOT_AGAIN = {
    'file:record-write:*': 'changes that a worker reports together are one write',
}
SETTLED = ('not-begun', 'restored')


class Died(Exception):
    """The daemon was killed, as it should be."""


class CrashTestCase(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.points = pathlib.Path(self.directory, 'failpoints')
        self.points.mkdir(mode=0o700)
        for name, value in (('VFIOD_FAILPOINTS', str(self.points)), ('VFIOD_TEST_DAEMON', FAILPOINTS)):
            self.addCleanup(self._put_environment, name, os.environ.get(name))
            os.environ[name] = value
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.disk = self.host.add_device('0000:07:00.0', group=9, driver='nvme', override='nvme', class_code=0x010802)
        self.ready = self.host.add_device('0000:0b:00.0', group=11, driver=VFIO)
        self.kept = self.host.add_device('0000:0c:00.0', group=12, driver=VFIO)
        self.shared = self.host.add_device('0000:0d:00.0', group=13, driver='e1000e')
        self.beside = self.host.add_device('0000:0d:00.1', group=13, driver='nvme', class_code=0x010802)
        self.idle = self.host.add_device('0000:0d:00.2', group=13)
        for device in (self.disk, self.ready):
            self.kernel.put(device.path + '/d3cold_allowed', '1\n')
        os.makedirs(self.host.root + self.ready.path + '/firmware_node/power_resources_D3hot')
        self.before = self.host.binding()
        self.set_policy([self.rule('asks', effect='ask', device=self.ready.name),
                         self.rule('parks', device=self.shared.name, siblings='park'), self.rule()])
        self.polkit = MockPolkit(self.bus.address)
        self.addCleanup(self.polkit.close)
        self.is_enough = lambda: False  # is it in vain to wait for the end of a claim?
        self.arm('')
        watch = harness.DirectoryWatch(str(self.points))
        self.addCleanup(watch.close)
        self.start()
        self.c = self.client()
        self.survivor = self.c.acquire(self.kept)
        self.open = []  # claims that a scenario has, and has not closed
        self.kills = self.stranded = 0

    @staticmethod
    def _put_environment(name, value):
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value

    # --- failpoints -----------------------------------------------------------------------------------------------

    def arm(self, point):
        (self.points / 'trace').write_text('')
        (self.points / 'point.new').write_text(point)
        os.rename(self.points / 'point.new', self.points / 'point')

    def passed(self):
        return (self.points / 'trace').read_text().split()

    def trace(self):
        """[(name, how many times it had been passed by then)]"""
        seen, result = collections.Counter(), []
        for name in self.passed():
            seen[name] += 1
            result.append((name, seen[name]))
        return result

    # --- scenarios ------------------------------------------------------------------------------------------------

    def is_dead(self):
        return self.daemon.process.poll() is not None

    def until(self, condition, what):
        wait(lambda: self.is_dead() or condition(), what)
        if self.is_dead():
            raise Died

    def wait_answered(self, pending):
        """Of a bus that is dead dbus-python does not always tell its callers."""
        wait(lambda: pending.done or self.bus.is_dead(), 'it is answered')
        if not pending.done:
            raise Died

    def acquire(self, *devices, **options):
        """A claim, or None when it was refused."""
        pending = self.c.acquire_later(*devices, **options)
        self.wait_answered(pending)
        if pending.error:
            if not pending.error.get_dbus_name().startswith(harness.ERROR):  # its callers hear first
                wait(self.is_dead, 'it is dead')
                raise Died
            return None
        self.open.append(pending.value[0])
        return pending.value[0]

    def end(self, claim):
        if claim:
            self.open.remove(claim)
            claim.close()
        self.until(lambda: self.records() == [self.survivor.id + '.json'] or self.is_enough(), 'it ends')

    def bind_and_end(self):
        self.end(self.acquire(self.nic, self.disk))

    def spoil_the_lifeline(self):
        def removals():
            return sum('FDSTOREREMOVE' in m for m in self.manager.messages)
        before = removals()
        claim = self.acquire(self.nic)
        if not claim:
            self.end(None)
            return
        with contextlib.suppress(BlockingIOError):
            os.write(claim.fds['lifeline'], b'x')  # so it serves no other claim
        self.end(claim)
        self.until(lambda: removals() > before, 'the service manager drops it')

    def group_and_end(self):
        self.end(self.acquire(self.nic, backend='group'))

    def share_a_group(self):
        """One device is claimed, one is parked, and one without a driver is kept so."""
        claim = self.acquire(self.shared, backend='group')
        if claim and not self.is_dead():
            self.assertEqual([d.driver for d in (self.shared, self.beside, self.idle)], [VFIO, VFIO, None])
        self.end(claim)

    def reserve_and_redeem(self):
        _, ticket, _ = self.c.manager('Reserve', 'sa{sv}', self.nic.name, {})
        self.end(self.acquire(ticket=str(ticket)))

    def ask_a_person(self):
        self.polkit.questions.clear()
        pending = self.ask(self.ready)
        self.until(lambda: self.polkit.questions or pending.done, 'a person is asked')
        if self.polkit.questions:
            self.polkit.questions[-1].answer(True)
        self.wait_answered(pending)
        if pending.error:
            if self.is_dead():
                raise Died
            self.end(None)
            return
        self.open.append(pending.value[0])
        self.end(pending.value[0])

    def ask(self, device):
        pending = harness.Pending()
        m = dbus.lowlevel.MethodCallMessage(harness.NAME, harness.ROOT_PATH, harness.NAME + '.Manager', 'Acquire')
        m.set_allow_interactive_authorization(True)
        m.append([device.name], {}, signature='asa{sv}')

        def on_reply(reply):
            if isinstance(reply, dbus.lowlevel.ErrorMessage):
                pending.fail(dbus.DBusException(*reply.get_args_list(), name=reply.get_error_name()))
            else:
                pending.reply(harness.Claim(self.c, *reply.get_args_list()))
        self.c.connection.send_message_with_reply(m, on_reply, harness.CALL_TIMEOUT)
        return pending

    def fail_to_bind(self):
        self.host.fail_binding(self.disk)
        claim = self.acquire(self.nic, self.disk)
        self.assertIsNone(claim)
        self.end(None)

    def quarantine_and_lift(self):
        self.kernel.fail('reset', self.nic.address, errno.ENOTTY)
        claim = self.acquire(self.nic)
        if not claim:
            self.end(None)
            return
        self.open.remove(claim)
        claim.close()
        self.until(lambda: claim.state in ('quarantined', 'gone'), 'it is quarantined')
        self.kernel.heal()
        if claim.state == 'quarantined':
            self.c.release(claim)
        self.end(None)

    def release_while_binding(self):
        gates = self.host.hold_binding(self.nic)
        pending = self.c.acquire_later(self.nic)
        try:
            self.release_meanwhile(pending, gates)
        finally:
            self.wait_answered(pending)
            if pending.value:
                pending.value[0].close()
        self.end(None)

    def release_meanwhile(self, pending, gates):
        self.until(lambda: gates.entered or pending.done, 'the bind is under way')
        for path, interfaces in self.c.objects().items():
            claim = interfaces.get('org.vfiod1.Claim')
            if claim and path != self.survivor.path:
                self.c.manager('Release', 'sa{sv}', path.rsplit('/', 1)[1], {})
        gates.let_go()

    SCENARIOS = (bind_and_end, spoil_the_lifeline, group_and_end, share_a_group, reserve_and_redeem, ask_a_person, fail_to_bind,
                 quarantine_and_lift, release_while_binding)

    def play(self, scenario):
        """False when the daemon has died."""
        try:
            scenario(self)
            self.c.get(harness.ROOT_PATH, 'Manager', 'Version')  # whatever it was in the middle of is done by then
        except Died:
            return False
        except dbus.DBusException:
            if not self.is_dead():
                wait(self.is_dead, 'it is dead when its callers hear of that')
            return False
        finally:
            self.kernel.forget_faults()
        return not self.is_dead()

    # --- what must hold -------------------------------------------------------------------------------------------

    def recorded(self):
        return [json.loads(text) for text in self.slots()]

    def check_records(self):
        """While there is no daemon: whatever was changed is in a record that says so, and only in one."""
        self.kernel.settle()
        records = self.recorded()
        names = [m['name'] for r in records for m in r['members']]
        self.assertEqual(len(names), len(set(names)), 'a device is in two records')
        begun = {m['name'] for r in records for m in r['members'] if m.get('progress', 'bound') not in SETTLED}
        for address, binding in self.host.binding().items():
            if binding != self.before[address]:
                self.assertIn('pci:' + address, begun, f'{binding}, and no record says so: {records}')
        powered = {m['name'] for r in records for m in r['members'] if m.get('restoreD3cold')}
        for device in (self.disk, self.ready):
            if self.host.attribute(device, 'd3cold_allowed') == '0\n':
                self.assertIn('pci:' + device.address, powered)
        for r in records:
            self.assertEqual(r['uid'], os.getuid(), r)
            for m in r['members']:
                device = self.kernel.devices[m['name'].split(':', 1)[1]]
                self.assertEqual(m['group'], device.group, r)
                self.assertIn(m['group'], r['groups'], r)
                driver, override = self.before[device.address]
                self.assertEqual(m['originalDriver'], driver or '', r)
                self.assertEqual(m['originalOverride'] or '(null)', override.strip(), r)
                if r['state'] == 'held':
                    self.assertEqual(device.driver, None if m.get('kept') else VFIO, r)

    def check_claims(self):
        """Over the daemon that was started again."""
        self.assertEqual(self.survivor.state, 'held')
        objects = self.c.objects()
        claimed = [str(d) for i in objects.values() if 'org.vfiod1.Claim' in i
                   for d in i['org.vfiod1.Claim']['Devices']]
        self.assertEqual(len(claimed), len(set(claimed)), 'a device is claimed twice')
        for claim in self.open:
            self.assertEqual(claim.state, 'held', 'who has the files has the claim')

    def quarantined(self):
        return [path.rsplit('/', 1)[1] for path, i in self.c.objects().items()
                if i.get('org.vfiod1.Claim', {}).get('State') == 'quarantined']

    def reserved(self):
        return [path.rsplit('/', 1)[1] for path, i in self.c.objects().items()
                if i.get('org.vfiod1.Claim', {}).get('State') == 'reserved']

    def finish(self):
        """All claims but the survivor's can end, and the host is as it was."""
        while self.open:
            self.open.pop().close()

        def is_over():
            for claim in self.quarantined() + self.reserved():
                with contextlib.suppress(dbus.DBusException):  # it has ended by itself
                    self.c.manager('Release', 'sa{sv}', claim, {})
            return (self.records() == [self.survivor.id + '.json'] and self.host.binding() == self.before and
                    all(self.host.attribute(d, 'd3cold_allowed') == '1\n' for d in (self.disk, self.ready)))
        try:
            wait(is_over, 'everything is back')
        except AssertionError:
            self.stranded += 1
            raise
        self.assertEqual(self.survivor.state, 'held')

    @contextlib.contextmanager
    def case(self, *what):
        """The first that fails ends the test: what it has left would be in the way of all others."""
        harness.faulthandler.dump_traceback_later(harness.TEST_TIMEOUT, exit=True)
        try:
            yield
        except AssertionError as e:
            raise AssertionError(f'{" ".join(map(str, what))}: {e}') from e

    def restart(self):
        self.arm('')
        self.daemon.kill()
        self.check_records()
        self.start(keep_fds=True)


class MatrixTest(CrashTestCase):
    def reference(self, scenario):
        """What it passes, from a fresh start on."""
        self.restart()
        self.assertTrue(self.play(scenario))
        trace = self.trace()
        self.finish()
        return trace

    def is_well(self):
        """The scenario is over. Was it killed after that?"""
        self.arm('')
        with contextlib.suppress(dbus.DBusException):
            self.c.objects()
            return True
        wait(self.is_dead, 'it is dead when its callers hear of that')
        return False

    def kill_at(self, scenario, name, n):
        self.arm(f'{name} {n} 0')
        if self.play(scenario) and self.is_well():
            self.finish()
            return False
        self.kills += 1
        self.restart()
        self.check_claims()
        self.finish()
        return True

    def chosen(self, scenario, trace):
        """All of the first scenario; of the others each point when it is passed first and last."""
        last = dict(trace)
        return [(name, n) for name, n in trace if not self.is_excused(name)
                and (scenario is self.SCENARIOS[0] or n in (1, last[name]))]

    @staticmethod
    def is_excused(name):
        return any(fnmatch.fnmatch(name, pattern) for pattern in NOT_HIT)

    def test_killed_at_each_failpoint(self):
        listed = subprocess.run([FAILPOINTS], env={**os.environ, 'VFIOD_FAILPOINTS_LIST': '1'}, stdout=subprocess.PIPE,
                                text=True, check=True).stdout.split()
        begin, killed, missed = time.monotonic(), collections.Counter(), []
        scenarios = [s for s in self.SCENARIOS if fnmatch.fnmatch(s.__name__, os.environ.get('VFIOD_CRASH_SCENARIOS', '*'))]
        for scenario in scenarios:
            trace = self.reference(scenario)
            self.restart()
            for name, n in self.chosen(scenario, trace):
                with self.case(scenario.__name__, name, n):
                    if self.kill_at(scenario, name, n):
                        killed[name] += 1
                    else:
                        missed.append((scenario.__name__, name, n))
        print(f'# failpoints: {len(listed)}, killed at {len(killed)} of them, {self.kills} kills, '
              f'{len(missed)} not passed again, stranded {self.stranded}, {time.monotonic() - begin:.0f} s')
        unexplained = [m for m in missed if not any(fnmatch.fnmatch(m[1], pattern) for pattern in NOT_AGAIN)]
        self.assertEqual(unexplained, [], 'failpoints that were not passed again')
        if len(scenarios) < len(self.SCENARIOS):
            return
        self.assertEqual([name for name in listed if name not in killed and not self.is_excused(name)], [], 'failpoints that were never hit')
        self.assertEqual(sorted(set(killed) - set(listed)), [], 'failpoints that are not listed')


class BusTest(CrashTestCase):
    """It is not the daemon that dies, but the bus, and then comes back."""

    def is_dead(self):
        return self.bus.is_dead()

    def restart_bus(self):
        self.arm('')
        self.bus.stop()
        self.polkit.close()
        self.bus.start()
        self.polkit = MockPolkit(self.bus.address)
        self.c.close()  # with the files of answers that nobody has read
        self.c = self.client()
        for claim in [self.survivor, *self.open]:
            claim.client = self.c
        wait(lambda: self.c.connection.name_has_owner(harness.NAME), 'the name is owned again')

    def kill_at(self, scenario, name, n):
        self.arm(f'{name} {n} {-self.bus.pid}')
        self.play(scenario)
        if self.passed().count(name) < n:
            self.arm('')
            self.finish()
            return
        wait(self.bus.is_dead, 'it is dead')
        self.kills += 1
        self.restart_bus()
        self.assertIsNone(self.daemon.process.poll(), 'the daemon goes on')
        self.check_claims()
        self.finish()

    def test_the_bus_dies_at_each_failpoint(self):
        """Each when the first scenario passes it, and of that which binds also when it is passed last."""
        begin, seen = time.monotonic(), set()
        for scenario in self.SCENARIOS:
            self.arm('')
            self.assertTrue(self.play(scenario))
            self.finish()
            last = {name: n for name, n in self.trace() if name.endswith(':before') and name not in seen}
            seen.update(last)
            for name, n in last.items():
                for each in {1, n if scenario is self.SCENARIOS[0] else 1}:
                    with self.case(scenario.__name__, name, each):
                        self.kill_at(scenario, name, each)
        pid = self.daemon.process.pid
        self.restart()  # what is on record is true
        self.assertNotEqual(self.daemon.process.pid, pid)
        self.finish()
        print(f'# bus: {len(seen)} failpoints, killed {self.kills} times, stranded {self.stranded}, '
              f'{time.monotonic() - begin:.0f} s')

    def test_what_claims_hang_on(self):
        """A lifeline does not notice. A connection of the bus ends with it, and so does its claim."""
        lifeline, connection = self.c.acquire(self.nic), self.c.acquire(self.disk, tether='connection')
        os.kill(self.bus.pid, 9)
        wait(self.bus.is_dead, 'it is dead')
        self.restart_bus()
        lifeline.client = connection.client = self.c
        self.assertEqual((lifeline.state, self.survivor.state), ('held', 'held'))
        with contextlib.suppress(dbus.DBusException):
            self.assertEqual(connection.state, 'draining')
        connection.close()
        lifeline.close()
        self.finish()


class ScrubCrashTest(CrashTestCase):
    def test_killed_when_the_host_has_it_back(self):
        systemd = MockSystemd(self.bus.address)
        self.addCleanup(systemd.close)
        self.set_policy([self.rule(scrub='vfiod-scrub@.service')])
        self.restart()
        self.c.acquire(self.nic).close()
        wait(lambda: len(systemd.jobs) == 1, 'the unit is started')
        self.arm('order:restore:after 1 0')
        systemd.end(0)
        wait(self.is_dead, 'it is dead')
        self.assertEqual(self.nic.driver, 'e1000e')
        self.restart()
        wait(lambda: self.records() == [self.survivor.id + '.json'], 'the record goes')
        self.assertEqual(len(systemd.jobs), 1)
        self.assertEqual(self.host.binding(), self.before)


ERRORS_ENOUGH = 5  # of one that stays, before it is over: among them retries of a removal
ERRORS = (errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.ENOMEM)


class ErrorTest(CrashTestCase):
    """What cannot be written, sent or started, once or from then on."""

    @staticmethod
    def with_errors(points):
        """Each failpoint with each error, and each time that it is passed with one of them."""
        for name in sorted({name for name, _ in points}):
            times = [n for other, n in points if other == name]
            for i, stays in itertools.product(range(max(len(times), len(ERRORS))), ('', ' stays')):
                yield name, times[i % len(times)], ERRORS[i % len(ERRORS)], stays

    def test_errors_of_files(self):
        begin, n_errors = time.monotonic(), 0
        for scenario in (CrashTestCase.bind_and_end, CrashTestCase.reserve_and_redeem):
            self.restart()
            self.assertTrue(self.play(scenario))
            points = [p for p in self.trace() if p[0].startswith('file:') and p[0].endswith(':before')]
            self.finish()
            self.restart()
            for name, n, error, stays in self.with_errors(points):
                with self.case(scenario.__name__, name, n, errno.errorcode[error] + stays):
                    n_errors += 1
                    self.fail_at(scenario, f'{name} {n} {error}{stays}')
        print(f'# errors: {n_errors}, stranded {self.stranded}, {time.monotonic() - begin:.0f} s')

    def test_a_plan_that_cannot_be_written_down(self):
        self.arm(f'file:plan-text:before 1 {errno.ENOMEM}')
        with self.refused('Internal', 'Cannot allocate memory'):
            self.c.plan(self.nic)
        self.assertEqual([m['name'] for m in self.c.plan(self.nic)['members']], [self.nic.name])

    def fail_at(self, scenario, point):
        name, n = point.split()[:2]
        self.arm(point)
        self.is_enough = lambda: sum(line == name for line in self.passed()) >= int(n) + ERRORS_ENOUGH
        with contextlib.suppress(dbus.DBusException):  # it is refused
            scenario(self)
        self.assertFalse(self.is_dead())
        self.arm('')
        self.is_enough = lambda: False
        self.finish()
        self.restart()
        self.check_claims()


if __name__ == '__main__':
    harness.main()
