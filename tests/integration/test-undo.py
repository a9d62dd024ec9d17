#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is undone, and by how many attempts: only what was begun, device by device, and one bad device keeps no other."""

import contextlib
import errno
import json
import os
import pathlib
import resource
import select
import signal
import time

import harness
from harness import VfiodTestCase, device_path, wait
from host import VFIO


class UndoTestCase(VfiodTestCase):
    def silence_udev(self, client):
        """From here on nobody tells the daemon what happens. It has heard of all that was before, and looked."""
        last = self.host.add_device('0000:70:00.0', group=70)
        wait(lambda: client.seen('InterfacesAdded', harness.device_path(last.name)), 'it has heard of the last')
        self.kernel.uevents.send = lambda *arguments, **properties: None

    def bind_elsewhere(self, device, driver=VFIO, override=VFIO):
        """What driverctl or libvirt do."""
        with device.lock:
            self.kernel.unbind(device)
            self.kernel._write_driver_override(device, override)
            self.kernel.probe(device, driver)

    def set_override(self, device, override):
        self.kernel._write_driver_override(device, override)

    def record(self):
        return json.loads(self.slots()[0])

    def progress(self):
        return [m['progress'] for m in self.record()['members']]

    def workers(self):
        return self.daemon.children()

    @contextlib.contextmanager
    def stopped_daemon(self):
        os.kill(self.daemon.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.daemon.pid, signal.SIGCONT)

    def kill_workers(self):
        for pid in self.workers():
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                fd = os.pidfd_open(pid)
                os.kill(pid, signal.SIGKILL)
                select.select([fd], [], [], harness.WAIT_TIMEOUT)
                os.close(fd)


class OthersTest(UndoTestCase):
    """What others have done to a device stays."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')

    def test_a_bind_that_never_began(self):
        self.start()
        c = self.client()
        self.silence_udev(c)
        self.bind_elsewhere(self.nic)
        before = self.host.binding()
        self.kernel.writes.clear()
        with self.refused('BindFailed', self.nic.name, 'Try again'):
            c.acquire(self.nic)
        self.assertEqual(self.kernel.writes, [])
        self.assert_untouched(before)
        self.assertEqual(c.device(self.nic)['State'], 'free')

    def test_another_card_of_the_same_model(self):
        """Same vendor and device: the rest of its identity tells it apart."""
        self.start()
        c = self.client()
        self.silence_udev(c)
        self.kernel.put(self.nic.path + '/subsystem_device', '0xa020\n', 0o444)
        before = self.host.binding()
        self.kernel.writes.clear()
        with self.refused('BindFailed', self.nic.name, 'Try again'):
            c.acquire(self.nic)
        self.assertEqual(self.kernel.writes, [])
        self.assert_untouched(before)

    def test_the_second_bind_never_began(self):
        other = self.host.add_device('0000:07:00.0', group=9, driver='e1000e')
        self.start()
        c = self.client()
        self.silence_udev(c)
        self.bind_elsewhere(other)
        before = self.host.binding()
        with self.refused('BindFailed', other.name):
            c.acquire(self.nic, other)
        self.assert_untouched(before)
        self.assertFalse([w for w in self.kernel.writes if other.address in w[0] or other.address in w[1]])

    def test_killed_before_the_second_bind_began(self):
        other = self.host.add_device('0000:07:00.0', group=9, driver='e1000e')
        before = self.host.binding()
        self.start()
        gates = self.host.hold_binding(self.nic)
        answer = self.client().acquire_later(self.nic, other)
        wait(lambda: gates.entered, 'the first bind is under way')
        wait(lambda: self.progress() == ['bound', 'not-begun'], 'the step is on record')
        self.daemon.kill()
        wait(lambda: answer.done, 'the caller hears of it')
        gates.let_go()
        wait(lambda: self.nic.driver == VFIO, 'the kernel has bound it')
        self.bind_elsewhere(other)
        self.start()
        wait(lambda: self.host.binding()[self.nic.address] == before[self.nic.address], 'the first is back')
        wait(lambda: self.records() == [], 'the record goes')
        self.assertEqual(self.host.binding()[other.address], (VFIO, VFIO + '\n'))
        self.assertEqual(other.resets, 0)

    def test_killed_while_it_restores_before_that_is_on_record(self):
        before = self.host.binding()
        self.start()
        claim = self.client().acquire(self.nic)
        away = self.kernel.hold('unbind', self.nic.address)
        back = self.kernel.hold('bind', self.nic.address, driver='e1000e')
        claim.close()
        wait(lambda: away.entered, 'it is taken from its vfio driver')
        os.kill(self.daemon.pid, signal.SIGSTOP)
        away.let_go()
        wait(lambda: back.entered, 'it goes back to its own')
        self.kill_workers()
        self.daemon.kill()
        back.let_go()
        wait(lambda: self.nic.driver == 'e1000e', 'the kernel has bound it')
        self.assertEqual(self.host.binding()[self.nic.address], ('e1000e', 'e1000e\n'))
        self.start()
        wait(lambda: self.records() == [], 'the record goes')
        self.assert_untouched(before)

    def test_a_bind_of_before_ends_while_it_is_restored(self):
        """The worker of a killed daemon is still in the kernel, and its bind comes first."""
        before = self.host.binding()
        self.start()
        gates = self.host.hold_binding(self.nic)
        answer = self.client().acquire_later(self.nic)
        wait(lambda: gates.entered, 'the bind is under way')
        wait(lambda: self.progress() == ['bound'], 'the step is on record')
        self.daemon.kill()
        wait(lambda: answer.done, 'the caller hears of it')
        gates.let_go(effect=False)
        late = self.kernel.before('bind', lambda: self.kernel.probe(self.nic, VFIO), self.nic.address,
                                  driver='e1000e')
        self.start()
        wait(lambda: late.hits, 'the late bind came first')
        wait(lambda: self.records() == [], 'the record goes')
        self.assert_untouched(before)
        self.assertEqual(self.client().device(self.nic)['State'], 'free')

    def test_an_override_that_an_admin_set_meanwhile(self):
        self.start()
        claim = self.client().acquire(self.nic)
        self.set_override(self.nic, 'pci-stub')
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.host.binding()[self.nic.address], ('e1000e', 'pci-stub\n'))

    def test_an_override_that_forbids_the_driver_that_was_there(self):
        nics = [self.host.add_device(f'0000:4{n}:00.0', group=60 + n, driver='i40e', override=override)
                for n, override in enumerate((VFIO, 'none', 'i40e', None))]
        before = self.host.binding()
        self.start()
        c = self.client()
        for nic in nics:
            claim = c.acquire(nic)
            self.assertEqual(nic.driver, VFIO)
            claim.close()
            self.wait_gone(claim)
        self.assert_untouched(before)

    def test_a_parked_sibling_is_pulled_out(self):
        sibling = self.host.add_device('0000:06:00.1', group=8, driver='e1000e')
        self.set_policy([self.rule(siblings='park')])
        self.start()
        c = self.client()
        claim = c.acquire(self.nic)
        self.assertEqual(sibling.driver, VFIO)
        self.host.remove_device(sibling).join(harness.WAIT_TIMEOUT)
        wait(lambda: c.seen('InterfacesRemoved', device_path(sibling.name)), 'the sibling goes')
        self.assertEqual(claim.state, 'held')
        self.assertEqual(claim.properties()['Failure'], '')
        claim.close()
        self.wait_gone(claim)
        self.assertEqual(self.nic.driver, 'e1000e')

    def test_a_former_driver_leaks_a_count(self):
        for backend in ('iommufd', 'group'):
            self.kernel.before('bind', lambda: self.kernel.set_enable(self.nic, 1), self.nic.address)
            self.kernel.before('unbind', lambda: self.kernel.set_enable(self.nic, 0), self.nic.address, driver=VFIO)
            if not self.daemon:
                self.start()
            claim = self.client().acquire(self.nic, backend=backend)
            claim.close()
            self.wait_gone(claim)


class ProgressTest(UndoTestCase):
    def test_each_step_is_on_record_before_it_is_taken(self):
        nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.start()
        gates = [self.kernel.hold('driver_override', nic.address), self.kernel.hold('unbind', nic.address),
                 self.kernel.hold('bind', nic.address)]
        answer = self.client().acquire_later(nic)
        for gate, progress in zip(gates, ('override', 'unbound', 'bound')):
            wait(lambda: gate.entered, f'the step {progress}')
            wait(lambda: self.progress() == [progress], f'{progress} is on record')
            gate.let_go()
        wait(lambda: answer.done, 'it is held')
        claim = answer.value[0]
        gates = [self.kernel.hold('reset', nic.address), self.kernel.hold('unbind', nic.address),
                 self.kernel.hold('bind', nic.address)]
        claim.close()
        for gate, progress in zip(gates, ('bound', 'reset', 'restoring')):
            wait(lambda: gate.entered, f'the step after {progress}')
            wait(lambda: self.progress() == [progress], f'{progress} is on record')
            gate.let_go()
        self.wait_gone(claim)


class BadMemberTestCase(UndoTestCase):
    """One device of three cannot be put right."""

    arguments = []

    def setUp(self):
        super().setUp()
        self.devices = [self.host.add_device(f'0000:{n:02x}:00.0', group=n, driver='e1000e') for n in (6, 7, 8)]
        self.before = self.host.binding()
        self.bad = self.devices[1]
        self.good = [self.devices[0], self.devices[2]]
        self.start(*self.arguments)
        self.c = self.client()

    def announced_causes(self):
        return [str(properties['QuarantineCause']) for member, path, properties, *_ in self.c.events
                if member == 'PropertiesChanged' and path == device_path(self.bad.name)
                and 'QuarantineCause' in properties]

    def assert_only_the_bad_one_is_kept(self, claim, failure):
        for device in self.good:
            wait(lambda: self.c.device(device)['State'] == 'free', 'a healthy one is free')
            self.assertEqual(self.host.binding()[device.address], self.before[device.address])
            self.assertEqual(self.c.device(device)['QuarantineCause'], '')
        self.assertEqual(self.c.device(self.bad)['State'], 'quarantined')
        self.assertEqual(self.c.device(self.bad)['QuarantineCause'], failure)
        self.assertEqual([str(p) for p in claim.properties()['Devices']], [device_path(self.bad.name)])
        self.assertIn(self.bad.name, claim.properties()['Failure'])
        wait(lambda: self.progress() == ['bad'], 'it is on record')
        self.assertEqual(self.record()['members'][0]['failure'], failure)
        with self.refused('DeviceQuarantined', self.bad.name):
            self.c.acquire(self.bad)
        second = self.c.acquire(*self.good)
        second.close()
        self.wait_gone(second)

    def lift(self, claim):
        self.kernel.heal()
        self.c.release(claim)
        self.wait_gone(claim)
        wait(lambda: self.announced_causes()[-1:] in ([], ['']), 'the end of the quarantine is announced')
        self.assert_untouched(self.before)


class BadMemberTest(BadMemberTestCase):
    def test_a_reset_that_fails(self):
        claim = self.c.acquire(*self.devices)
        self.kernel.fail('reset', self.bad.address, errno.ENOTTY)
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        for device in self.good:
            wait(lambda: self.c.seen('PropertiesChanged', device_path(device.name), State='free'), 'it is announced')
        wait(lambda: self.announced_causes()[-1:] == ['reset-failed'], 'so is the cause')
        self.assert_only_the_bad_one_is_kept(claim, 'reset-failed')
        self.assertEqual([d.resets for d in self.good], [2, 2])
        self.daemon.stop()
        self.start()
        self.assert_only_the_bad_one_is_kept(claim, 'reset-failed')
        self.lift(claim)

    def test_a_device_that_does_not_answer(self):
        claim = self.c.acquire(*self.devices)
        self.kernel.put(self.bad.path + '/config', b'\xff' * 4096)
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        self.assert_only_the_bad_one_is_kept(claim, 'no-answer')
        self.lift(claim)

    def test_a_driver_that_does_not_take_it_back(self):
        claim = self.c.acquire(*self.devices)
        self.host.fail_binding(self.bad, errno.EIO, driver='e1000e')
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        self.assert_only_the_bad_one_is_kept(claim, 'restore-failed')
        self.lift(claim)

    def test_a_parked_sibling(self):
        sibling = self.host.add_device('0000:06:00.1', group=6, driver='e1000e')
        self.set_policy([self.rule(siblings='park')])
        self.assertEqual(self.daemon.stop(), 0)
        self.start()
        before = self.host.binding()
        claim = self.c.acquire(self.devices[0])
        self.host.fail_binding(sibling, errno.EIO, driver='e1000e')
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        self.assertEqual([str(p) for p in claim.properties()['Devices']], [device_path(sibling.name)])
        self.assertEqual(self.c.device(sibling)['State'], 'quarantined')
        self.assertEqual(self.host.binding()[self.devices[0].address], before[self.devices[0].address])
        self.daemon.stop()
        self.start()
        self.assertEqual(claim.state, 'quarantined')
        self.kernel.heal()
        self.c.release(claim)
        self.wait_gone(claim)
        self.assert_untouched(before)


class StuckMemberTest(BadMemberTestCase):
    arguments = ['--worker-timeout=3']

    def test_a_reset_that_hangs(self):
        claim = self.c.acquire(*self.devices)
        gate = self.kernel.hold('reset', self.bad.address)
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        self.assert_only_the_bad_one_is_kept(claim, 'timed-out')
        gate.let_go()
        # The kernel did come back. The device is reset anew, since nobody saw the end of the first one.
        self.wait_gone(claim)
        self.assertEqual(self.bad.resets, 2)
        self.assert_untouched(self.before)

    def test_a_bind_that_hangs(self):
        gates = self.host.hold_binding(self.bad)
        with self.refused('TimedOut', self.bad.name, ': bind'):
            self.c.acquire(*self.devices)
        wait(lambda: len(self.records()) == 1, 'there is a record')
        claims = [o for o in self.c.objects() if '/claim/' in o]
        claim = harness.Claim(self.c, claims[0], {}, [])
        self.assert_only_the_bad_one_is_kept(claim, 'timed-out')
        gates.let_go()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_a_reset_that_hangs_and_fails_the_next_time(self):
        claim = self.c.acquire(*self.devices)
        gate = self.kernel.hold('reset', self.bad.address)
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        self.kernel.fail('reset', self.bad.address, errno.EIO)
        gate.let_go()
        wait(lambda: self.c.device(self.bad)['QuarantineCause'] == 'reset-failed', 'the second reset fails')
        self.assertEqual(claim.state, 'quarantined')
        self.lift(claim)

    def test_it_is_late_again(self):
        """A device that is always late does not work."""
        claim = self.c.acquire(*self.devices)
        gates = [self.kernel.hold('reset', self.bad.address) for _ in range(2)]
        claim.close()
        for gate in gates:
            wait(lambda: gate.entered, 'a reset hangs')
            wait(lambda: claim.state == 'quarantined', 'it is quarantined')
            gate.let_go()
        wait(lambda: self.c.get(harness.ROOT_PATH, 'Manager', 'StuckWorkers') == [], 'the worker ends')
        self.assertEqual(claim.state, 'quarantined')
        self.assertEqual(self.c.device(self.bad)['QuarantineCause'], 'timed-out')
        self.lift(claim)

    def stick(self):
        """A claim in quarantine, because the reset of one of its devices hangs; the worker and the gate."""
        claim = self.c.acquire(*self.devices)
        gate = self.kernel.hold('reset', self.bad.address)
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        (worker, *_), = self.c.get(harness.ROOT_PATH, 'Manager', 'StuckWorkers')
        return claim, int(worker), gate

    def start_again(self, claim):
        self.start(*self.arguments)
        claim.client = self.c = self.client()

    def assert_recovered(self, claim):
        self.wait_gone(claim)
        self.assertEqual(self.bad.resets, 2)
        self.assert_untouched(self.before)

    def test_it_comes_back_after_a_restart(self):
        claim, worker, gate = self.stick()
        self.daemon.kill(settle=False)
        self.start_again(claim)
        (pid, device, operation, step, *_), = self.c.get(harness.ROOT_PATH, 'Manager', 'StuckWorkers')
        self.assertEqual((pid, device, operation, step), (worker, self.bad.name, 'reset', 'reset'))
        self.assertEqual(claim.state, 'quarantined')
        with self.refused('DeviceQuarantined', 'stuck in the kernel'):
            self.c.manager('RetryQuarantine', 'asa{sv}', [self.bad.name], {})
        gate.let_go()
        self.assert_recovered(claim)
        self.assertEqual(self.c.get(harness.ROOT_PATH, 'Manager', 'StuckWorkers'), [])
        self.wait_logged(f'Worker {worker} has returned from the kernel')

    def test_it_comes_back_while_vfiod_does_not_run(self):
        claim, _, gate = self.stick()
        self.daemon.kill(settle=False)
        gate.let_go()
        self.kernel.settle()
        self.start_again(claim)
        self.assert_recovered(claim)

    def test_it_is_late_again_after_a_restart(self):
        claim, _, gate = self.stick()
        again = self.kernel.hold('reset', self.bad.address)
        gate.let_go()
        wait(lambda: again.entered, 'the second reset hangs')
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        self.daemon.kill(settle=False)
        again.let_go()
        self.kernel.settle()
        self.start_again(claim)
        self.assertEqual(claim.state, 'quarantined')
        self.assertEqual(self.bad.resets, 2)
        self.lift(claim)

    def test_killed_before_the_quarantine(self):
        claim = self.c.acquire(*self.devices)
        gate = self.kernel.hold('reset', self.bad.address)
        last = [self.kernel.hold(name, self.devices[2].address, driver='e1000e') for name in ('bind', 'drivers_probe')]
        claim.close()
        wait(lambda: any(g.entered for g in last), 'another device is restored')
        self.assertEqual([m['progress'] for m in self.record()['members']].count('bad'), 1)
        self.assertNotEqual(self.record()['state'], 'quarantined')
        self.daemon.kill(settle=False)
        for g in last:
            g.let_go()
        self.start_again(claim)
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        self.assertEqual([str(w[1]) for w in self.c.get(harness.ROOT_PATH, 'Manager', 'StuckWorkers')], [self.bad.name])
        gate.let_go()
        self.assert_recovered(claim)

    def test_an_open_that_hangs_and_a_restart(self):
        """An order about the whole claim. The next daemon finds its worker by any device."""
        self.set_policy([self.rule(backend='group')])
        self.assertEqual(self.daemon.stop(), 0)
        self.start(*self.arguments)
        self.c = self.client()
        gate = self.kernel.hold('open', data='/dev/vfio/7')
        with self.refused('TimedOut'):
            self.c.acquire(*self.devices)
        wait(lambda: len(self.records()) == 1, 'there is a record')
        path, = [o for o in self.c.objects() if '/claim/' in o]
        claim = harness.Claim(self.c, path, {}, [])
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        self.daemon.kill(settle=False)
        self.start_again(claim)
        self.assertEqual(len(self.c.get(harness.ROOT_PATH, 'Manager', 'StuckWorkers')), 1)
        self.assertEqual(claim.state, 'quarantined')
        gate.let_go()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def change_record(self, **changes):
        self.unpack_slots()
        path, = (pathlib.Path(self.directory) / 'state/claims').glob('*.json')
        record = json.loads(path.read_text())
        member = next(m for m in record['members'] if 'latePid' in m)
        for key, value in changes.items():
            if value is None:
                del member[key]
            else:
                member[key] = value
        path.write_text(json.dumps(record))

    def test_its_pid_is_that_of_another_process_after_a_restart(self):
        claim, _, gate = self.stick()
        self.daemon.kill(settle=False)
        gate.let_go()
        self.kernel.settle()
        self.change_record(latePid=os.getpid())
        self.start_again(claim)
        self.assert_recovered(claim)

    def test_it_is_unknown_after_a_restart(self):
        """A record of an older vfiod."""
        claim, _, gate = self.stick()
        self.daemon.kill(settle=False)
        self.change_record(latePid=None, lateStarted=None)
        self.start_again(claim)
        self.assertEqual(self.c.get(harness.ROOT_PATH, 'Manager', 'StuckWorkers'), [])
        gate.let_go()
        wait(lambda: self.bad.resets == 1, 'the kernel has done it')
        self.assertEqual(claim.state, 'quarantined')
        self.lift(claim)

    def test_it_comes_back_while_others_are_reset(self):
        claim = self.c.acquire(*self.devices)
        late, later = (self.kernel.hold('reset', d.address) for d in self.devices[1:])
        claim.close()
        wait(lambda: later.entered, 'the first is given up, and the next one is reset')
        late.let_go()
        wait(lambda: self.c.get(harness.ROOT_PATH, 'Manager', 'StuckWorkers') == [], 'the worker has come back')
        later.let_go()
        self.wait_gone(claim)
        self.assertEqual(self.bad.resets, 2)
        self.assert_untouched(self.before)

    def test_root_was_faster_than_the_kernel(self):
        claim = self.c.acquire(*self.devices)
        gate = self.kernel.hold('reset', self.bad.address)
        claim.close()
        wait(lambda: claim.state == 'quarantined', 'it is quarantined')
        self.lift(claim)
        gate.let_go()
        wait(lambda: self.c.get(harness.ROOT_PATH, 'Manager', 'StuckWorkers') == [], 'the worker ends')
        self.assert_untouched(self.before)
        self.c.acquire(*self.devices).close()


class WorkerTest(UndoTestCase):
    """Trouble with processes is no trouble with a device."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.before = self.host.binding()

    def test_an_idle_worker_is_killed(self):
        self.start()
        claim = self.client().acquire(self.nic)
        with self.stopped_daemon():  # it does not hear of it
            self.kill_workers()
            claim.close()
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_a_worker_is_killed_while_it_resets_and_while_it_restores(self):
        self.start()
        claim = self.client().acquire(self.nic)
        for attribute in ('reset', 'unbind'):
            gate = self.kernel.hold(attribute, self.nic.address)
            claim.close()
            wait(lambda: gate.entered, f'{attribute} is under way')
            self.kill_workers()
            gate.let_go(errno.EIO, effect=False)
        self.wait_gone(claim)
        self.assert_untouched(self.before)

    def test_no_step_is_taken_without_a_daemon(self):
        self.start()
        gate = self.kernel.hold('unbind', self.nic.address)
        answer = self.client().acquire_later(self.nic)
        wait(lambda: gate.entered, 'the bind plan is in its middle')
        workers = [os.pidfd_open(pid) for pid in self.workers()]
        self.daemon.kill()
        wait(lambda: answer.done, 'the caller hears of it')
        done = len(self.kernel.writes)
        gate.let_go()
        for fd in workers:
            self.assertTrue(select.select([fd], [], [], harness.WAIT_TIMEOUT)[0], 'it ends with the daemon')
            os.close(fd)
        wait(lambda: not self.nic.driver, 'the kernel has ended the step that was under way')
        self.assertEqual(len(self.kernel.writes), done)
        self.start()
        wait(lambda: self.records() == [], 'the record goes')
        self.assert_untouched(self.before)

    def test_no_worker_can_be_had_for_a_while(self):
        self.start()
        claim = self.client().acquire(self.nic)
        limits = resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE)

        def kill_and_limit():
            resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
            self.kill_workers()
        # Not before the claim is reset: without descriptors nobody knows whether the device is closed.
        killed = self.kernel.before('reset', kill_and_limit, self.nic.address)
        claim.close()
        wait(lambda: killed.hits and claim.state == 'resetting', 'it is to be reset')
        resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE, limits)
        self.wait_gone(claim)
        self.assertEqual(self.nic.resets, 2)  # by the worker that was killed, too
        self.assert_untouched(self.before)


class DeadlineTest(UndoTestCase):
    """Only the time itself can make these happen, so they wait for it. A machine that stalls for TIMEOUT - STEP could fail
    them."""

    TIMEOUT, STEP = 4, 0.6

    def test_a_deadline_for_each_device(self):
        """Together the resets take longer than one may."""
        devices = [self.host.add_device(f'0000:{n:02x}:00.0', group=n, driver=VFIO) for n in range(6, 14)]
        self.assertGreater(len(devices) * self.STEP, self.TIMEOUT + self.STEP)
        self.start(f'--worker-timeout={self.TIMEOUT}')
        claim = self.client().acquire(*devices)
        gates = [self.kernel.hold('reset', device.address) for device in devices]
        claim.close()
        for gate in gates:
            wait(lambda: gate.entered, 'a slow reset')
            time.sleep(self.STEP)
            gate.let_go()
        self.wait_gone(claim)

    def test_an_answer_that_was_there_in_time(self):
        nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.start('--worker-timeout=2')
        claim = self.client().acquire(nic)
        gate = self.kernel.hold('reset', nic.address)
        claim.close()
        wait(lambda: gate.entered, 'the reset is under way')
        with self.stopped_daemon():
            gate.let_go()
            wait(lambda: nic.resets == 1, 'the reset is done')
            time.sleep(2.2)
        self.wait_gone(claim)


if __name__ == '__main__':
    harness.main()
