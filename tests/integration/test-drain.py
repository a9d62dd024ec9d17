#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The end of a claim: nobody else gets a device, and nothing is done to it, while a file of it is open somewhere."""

import contextlib
import fcntl
import json
import os
import pathlib
import random
import select
import signal
import socket

from gi.repository import GLib

import harness
from harness import VfiodTestCase, wait
from host import VFIO


class EnableTest(VfiodTestCase):
    """The kernel's count of users in the attribute `enable`."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver='e1000e')
        self.before = self.host.binding()

    def test_a_count_that_a_former_driver_leaked(self):
        for backend in ('iommufd', 'group'):
            with self.subTest(backend=backend):
                self.set_policy([self.rule(backend=backend)])
                self.start()
                self.kernel.before('bind', lambda: self.kernel.set_enable(self.nic, 1), self.nic.address, driver=VFIO)
                claim = self.client().acquire(self.nic)
                self.kernel.before('unbind', lambda: self.kernel.set_enable(self.nic, 0), self.nic.address)
                claim.close()
                self.wait_gone(claim)
                self.assert_untouched(self.before)
                self.daemon.stop()

    def test_a_count_that_cannot_be_read(self):
        other = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        before = self.host.binding()
        self.start()
        c = self.client()
        claim, barrier = c.acquire(self.nic), c.acquire(other)
        enable = self.host.root + self.nic.path + '/enable'
        self.kernel.unlink(self.nic.path + '/enable')
        os.symlink('enable', enable)  # to itself
        claim.close()
        barrier.close()
        self.wait_gone(barrier)
        self.assertEqual((claim.state, self.nic.resets), ('draining', 0))
        self.nic.enable = 0
        with open(enable + '.new', 'w') as f:
            f.write('0\n')
        os.rename(enable + '.new', enable)  # at no time is there none
        self.wait_gone(claim)
        self.assert_untouched(before)


def workers_of(daemon):
    result = []
    for pid in daemon.children():
        with contextlib.suppress(OSError), open(f'/proc/{pid}/comm') as f:
            if f.read() == 'vfiod-worker\n':
                result.append(pid)
    return result


def wait_end(test, pid):
    pidfd = os.pidfd_open(pid)
    test.addCleanup(os.close, pidfd)
    GLib.io_add_watch(pidfd, GLib.PRIORITY_DEFAULT, GLib.IO_IN, lambda *_: False)
    wait(lambda: select.select([pidfd], [], [], 0)[0], f'process {pid} ends')


class Hidden:
    """A file that is in no process: it is on its way through a socket."""

    def __init__(self, claim, name):
        self._ends = socket.socketpair()
        socket.send_fds(self._ends[0], [b'x'], [claim.fds[name]])
        claim.close(name)

    def close(self):
        for end in self._ends:
            end.close()


class HiddenTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.other = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        self.before = self.host.binding()

    def start_and_hide(self, *arguments, backend='iommufd'):
        self.set_policy([self.rule(backend=backend)])
        self.start(*arguments)
        self.c = self.client()
        self.claim = self.c.acquire(self.nic)
        hidden = Hidden(self.claim, 'group:8' if backend == 'group' else 'device:' + self.nic.name)
        self.addCleanup(hidden.close)
        return hidden

    def restart(self, *arguments):
        self.daemon.kill()
        self.manager.hear_all()
        self.start(*arguments, keep_fds=True)

    def was_asked(self):
        return any(path.endswith('/unbind') for path, _ in self.kernel.writes)

    def assert_draining(self):
        """Whatever the daemon does at once when a claim ends, it has done for a claim that ended later."""
        barrier = self.c.acquire(self.other)
        barrier.close()
        self.wait_gone(barrier)
        self.assertEqual((self.claim.state, self.nic.resets), ('draining', 0))
        with self.refused('DeviceClaimed', self.nic.name):
            self.c.acquire(self.nic)

    def assert_ends(self):
        self.wait_gone(self.claim)
        self.assertEqual(self.nic.resets, 1)
        self.assert_untouched(self.before)

    def test_after_a_restart(self):
        hidden = self.start_and_hide()
        self.restart()
        self.assertEqual(self.claim.state, 'held')
        self.claim.close()
        self.assert_draining()
        self.assertFalse(self.was_asked())  # its close will be seen
        hidden.close()
        self.assert_ends()

    def test_closed_before_a_restart(self):
        hidden = self.start_and_hide()
        hidden.close()
        self.c.device(self.nic)  # it has seen that
        self.restart()
        self.claim.close()
        self.assert_ends()
        self.assertFalse(self.was_asked())

    def test_closed_during_a_restart(self):
        hidden = self.start_and_hide()
        self.daemon.kill()
        self.manager.hear_all()
        hidden.close()
        self.claim.close()
        self.start(keep_fds=True)
        self.assert_ends()
        self.assertFalse(self.was_asked())

    def test_stopped_and_started(self):
        hidden = self.start_and_hide()
        self.daemon.stop()
        self.manager.hear_all()
        self.start(keep_fds=True)
        self.claim.close()
        self.assert_draining()
        self.assertFalse(self.was_asked())
        hidden.close()
        self.assert_ends()

    def test_after_a_restart_without_the_watch(self):
        # As after an update from a daemon that did not keep it: then only the kernel knows.
        hidden = self.start_and_hide()
        self.manager.hear_all()
        self.manager.lose_others()
        self.restart()
        self.claim.close()
        wait(self.was_asked, 'the kernel is asked')
        self.assert_draining()
        hidden.close()
        self.assert_ends()

    def test_the_kernel_does_not_answer_for_long(self):
        hidden = self.start_and_hide()
        self.manager.hear_all()
        self.manager.lose_others()
        self.restart('--worker-timeout=1')
        self.claim.close()
        wait(self.was_asked, 'the kernel is asked')
        self.assertTrue(workers := workers_of(self.daemon))
        for pid in workers:
            wait_end(self, pid)
        self.assert_draining()
        hidden.close()
        self.assert_ends()

    def test_killed_while_the_kernel_is_asked(self):
        hidden = self.start_and_hide()
        self.manager.hear_all()
        self.manager.lose_others()
        self.restart()
        self.claim.close()
        wait(self.was_asked, 'the kernel is asked')
        self.restart()
        self.assert_draining()
        hidden.close()
        self.assert_ends()

    def test_while_another_program_opens_the_node(self):
        hidden = self.start_and_hide()
        os.close(self.host.hold_node(self.host.cdev(self.nic)))
        self.claim.close()
        wait(self.was_asked, 'the kernel is asked')
        self.assert_draining()
        hidden.close()
        self.assert_ends()

    def test_another_program_before_a_restart(self):
        hidden = self.start_and_hide()
        os.close(self.host.hold_node(self.host.cdev(self.nic)))
        self.c.device(self.nic)  # it has seen that
        self.restart()
        self.claim.close()
        wait(self.was_asked, 'the kernel is asked')
        self.assert_draining()
        hidden.close()
        self.assert_ends()

    def test_who_is_seen_is_not_asked_for_the_device(self):
        hidden = self.start_and_hide()
        stranger = self.host.hold_node(self.host.cdev(self.nic))
        self.claim.close()
        hidden.close()
        self.assert_draining()
        self.assertFalse(self.was_asked())
        os.close(stranger)
        self.assert_ends()

    def test_a_group_after_a_restart_without_the_watch(self):
        hidden = self.start_and_hide(backend='group')
        self.manager.hear_all()
        self.manager.lose_others()
        self.restart()
        self.claim.close()
        self.assert_draining()
        hidden.close()
        self.assert_ends()
        self.assertFalse(self.was_asked())

    def test_a_driver_that_does_not_take_it_back(self):
        hidden = self.start_and_hide()
        os.close(self.host.hold_node(self.host.cdev(self.nic)))
        self.host.fail_binding(self.nic)
        hidden.close()
        self.claim.close()
        wait(lambda: self.claim.state == 'quarantined', 'it is quarantined')
        self.assertIn('vfio-pci', self.claim.properties()['Failure'])
        self.kernel.heal()
        self.host.change_driver(self.nic, VFIO)
        self.c.release(self.claim)
        self.wait_gone(self.claim)


class LifelineTest(VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        self.start()
        self.c = self.client()

    def end(self, claim):
        claim.close()
        self.wait_gone(claim)

    def restart(self):
        self.daemon.kill()
        self.manager.hear_all()
        self.start(keep_fds=True)

    def lifeline_of(self, claim):
        """Under which id the service manager has it."""
        record = next(record for record in map(json.loads, self.slots()) if record['id'] == claim.id)
        lifeline = record.get('lifeline', claim.id)
        self.manager.hear_all()
        self.assertIn(f'claim-{lifeline}', self.manager.fds)
        return lifeline

    def acquire_with_an_old_lifeline(self):
        # It waits for the next claim for a second, and a busy machine may take longer.
        for _ in range(20):
            first = self.c.acquire(self.nic)
            self.end(first)
            second = self.c.acquire(self.nic)
            if self.lifeline_of(second) != second.id:
                return first, second
            self.end(second)
        self.fail('each claim gets a lifeline of its own')

    def test_killed_right_after_the_answer(self):
        for _ in range(5):
            claim = self.c.acquire(self.nic)
            self.restart()
            self.assertEqual(claim.state, 'held')
            self.end(claim)

    def test_it_serves_claim_after_claim(self):
        first, second = self.acquire_with_an_old_lifeline()
        self.assertEqual(self.lifeline_of(second), first.id)
        self.assertEqual(len(self.manager.fds[f'claim-{first.id}']), 1)
        self.restart()
        self.assertEqual(second.state, 'held')
        second.close('lifeline', 'iommufd')
        wait(lambda: second.state == 'draining', 'it is tied to that lifeline')
        self.end(second)
        wait(lambda: not self.manager.fds, 'the lifeline is taken back')

    def test_cut_while_no_daemon_runs(self):
        _, second = self.acquire_with_an_old_lifeline()
        self.daemon.kill()
        second.close()
        self.start(keep_fds=True)
        self.wait_gone(second)
        wait(lambda: not self.manager.fds, 'the lifeline is taken back')

    def test_killed_while_it_serves_nobody(self):
        self.end(self.c.acquire(self.nic))
        self.restart()
        wait(lambda: not self.manager.fds, 'the lifeline is taken back')
        self.assertEqual(self.c.device(self.nic)['State'], 'free')

    def test_two_records_name_the_same_one(self):
        """Both claims are tied to it; nothing is done to the device of either before its files are closed."""
        other = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        first, second = self.c.acquire(self.nic), self.c.acquire(other)
        self.manager.hear_all()
        self.daemon.kill()
        self.unpack_slots()
        path = pathlib.Path(f'{self.directory}/state/claims/{second.id}.json')
        path.write_text(json.dumps({**json.loads(path.read_text()), 'lifeline': first.id}))
        self.start(keep_fds=True)
        self.assertEqual((first.state, second.state), ('held', 'held'))
        first.close('lifeline')
        wait(lambda: (first.state, second.state) == ('draining', 'draining'), 'both end')
        self.assertEqual((self.nic.resets, other.resets), (0, 0))
        self.end(first)
        self.assertEqual((second.state, other.resets), ('draining', 0))
        self.end(second)
        wait(lambda: not self.manager.fds, 'nothing is left')

    def test_one_that_a_client_keeps_serves_nobody_else(self):
        first = self.c.acquire(self.nic)
        self.c.release(first)
        first.close('iommufd', f'device:{self.nic.name}')
        self.wait_gone(first)
        second = self.c.acquire(self.nic)
        self.assertEqual(self.lifeline_of(second), second.id)
        first.close('lifeline')
        self.assertEqual(second.state, 'held')

    def test_what_a_client_changed_goes_to_nobody(self):
        for change in (lambda fd: os.write(fd, b'x'), lambda fd: fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 1 << 17),
                       lambda fd: fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 4096)):
            first = self.c.acquire(self.nic)
            former = self.lifeline_of(first)
            change(first.fds['lifeline'])
            self.end(first)
            second = self.c.acquire(self.nic)
            self.assertNotEqual(self.lifeline_of(second), former)
            self.end(second)


class ManyRestartsTest(VfiodTestCase):
    """Killed and started again and again, with many claims that are held, given up, and hidden."""

    ROUNDS = 20

    def setUp(self):
        super().setUp()
        self.random = random.Random(7)
        n = self.n_devices()
        self.devices = [self.host.add_device(f'0000:{i // 32 + 1:02x}:{i % 32:02x}.0', group=i + 1, driver=VFIO)
                        for i in range(n)]
        self.before = self.host.binding()
        self.start()
        self.c = self.client()
        self.held, self.hidden, self.ended = {}, {}, []
        for device in self.devices:
            self.held[device] = self.c.acquire(device)

    def n_devices(self):
        return 200 if os.getuid() == 0 else 60

    def kill(self):
        self.daemon.kill()
        self.manager.hear_all()

    def some(self, devices, n):
        return self.random.sample(list(devices), min(n, len(devices)))

    def give_up_some(self):
        for device in self.some(self.held, 6):
            claim = self.held.pop(device)
            if self.random.random() < 0.5:
                self.hidden[device] = (claim, Hidden(claim, 'device:' + device.name), device.resets)
            else:
                self.ended.append(claim)
            claim.close()

    def find_some(self):
        for device in self.some(self.hidden, 2):
            claim, hidden, resets = self.hidden.pop(device)
            self.assertEqual(device.resets, resets)
            hidden.close()
            self.ended.append(claim)

    def check(self):
        for claim in self.held.values():
            self.assertEqual(claim.state, 'held')
        for device, (claim, _, resets) in self.hidden.items():
            self.assertIn(claim.state, ('held', 'draining'))
            self.assertEqual(device.resets, resets)
        while self.ended:
            self.wait_gone(self.ended.pop())

    def acquire_some(self):
        free = [d for d in self.devices if d not in self.held and d not in self.hidden]
        for device in self.some(free, 4):
            self.held[device] = self.c.acquire(device)

    def test_nothing_is_stranded_and_nothing_taken(self):
        for _ in range(self.ROUNDS):
            self.give_up_some()
            self.find_some()
            self.kill()
            self.give_up_some()
            self.find_some()
            self.start(keep_fds=True)
            self.check()
            self.acquire_some()
        for claim, hidden, _ in self.hidden.values():
            hidden.close()
            self.ended.append(claim)
        for claim in self.held.values():
            claim.close()
            self.ended.append(claim)
        self.held, self.hidden = {}, {}
        self.check()
        self.assert_untouched(self.before)


class ManyUnwatchedRestartsTest(ManyRestartsTest):
    """As before, but the watch over the nodes is lost each time: the kernel is asked about every claim that has ended,
    and the daemon killed while it does not answer."""

    ROUNDS = 8

    def n_devices(self):
        return 50

    def kill(self):
        super().kill()
        self.manager.lose_others()

    def check(self):
        for device, (claim, _, _) in self.hidden.items():
            node = self.host.cdev(device)
            wait(lambda: claim.state not in ('held', 'draining') or not self.kernel.exists(node), f'{node} is taken away')
        super().check()


class WalkTest(VfiodTestCase):
    """It takes long to look at all open files of all processes."""

    def setUp(self):
        super().setUp()
        self.nic = self.host.add_device('0000:06:00.0', group=8, driver=VFIO)
        other = self.host.add_device('0000:07:00.0', group=9, driver=VFIO)
        self.start()
        self.c = self.client()
        first = self.c.acquire(other)
        first.close()
        self.wait_gone(first)  # one idle worker is there from now on
        self.claim = self.c.acquire(self.nic)
        self.worker, = workers_of(self.daemon)
        os.kill(self.worker, signal.SIGSTOP)
        self.addCleanup(self.let_go)

    def let_go(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.worker, signal.SIGCONT)

    def ask(self):
        pending = harness.Pending()
        self.c.connection.call_async(harness.NAME, self.claim.path, harness.PROPERTIES, 'Get', 'ss',
                                     ('org.vfiod1.Claim', 'Holders'), pending.reply, pending.fail,
                                     harness.CALL_TIMEOUT)
        for _ in range(3):
            self.c.device(self.nic)  # by then the worker has its order
        pending.wait = lambda: wait(lambda: pending.done, 'it is told')
        return pending

    def test_everybody_else_is_served_meanwhile(self):
        answers = [self.ask() for _ in range(3)]
        self.assertEqual(self.c.device(self.nic)['State'], 'claimed')
        while GLib.MainContext.default().iteration(False):
            pass
        self.assertEqual([a.done for a in answers], [False] * 3)
        self.let_go()
        for answer in answers:
            answer.wait()
            self.assertEqual([int(pid) for pid, _ in answer.value[0]], [os.getpid()])
        self.claim.close()
        self.wait_gone(self.claim)

    def test_a_caller_that_does_not_wait(self):
        self.ask()
        self.c.close()
        c = self.client()
        self.assertEqual(c.device(self.nic)['State'], 'claimed')
        self.let_go()
        self.assertEqual(len(c.get(self.claim.path, 'Claim', 'Holders')), 1)
        self.claim.close()
        self.claim.client = c
        self.wait_gone(self.claim)

    def test_a_claim_that_ends_meanwhile(self):
        answer = self.ask()
        self.claim.close()
        self.wait_gone(self.claim)
        self.let_go()
        answer.wait()
        self.assertEqual(answer.error.get_dbus_name(), 'org.freedesktop.DBus.Error.UnknownObject')

    def test_a_walk_that_fails(self):
        os.close(self.host.hold_node(self.host.cdev(self.nic)))
        self.c.device(self.nic)
        answer = self.ask()
        os.kill(self.worker, signal.SIGKILL)
        answer.wait()
        self.assertEqual(answer.error.get_dbus_name(), harness.ERROR + 'Internal')
        self.claim.close()  # the kernel is asked
        self.wait_gone(self.claim)


if __name__ == '__main__':
    harness.main()
