#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client that asks and asks for what it may not have: every call is answered, at a rate that leaves room for others;
memory and log do not grow with it. tools/bench has the figures; here are the facts, with VFIOD_FLOOD calls each."""

import os
import pathlib
import subprocess

import harness
from harness import NOBODY, needs_root, wait

COUNT = int(os.environ.get('VFIOD_FLOOD', '3000'))
WINDOW = 100  # calls under way; dbus-daemon grants 128 to a connection
LINES_MAX = 20


class FloodTest(harness.VfiodTestCase):
    def setUp(self):
        super().setUp()
        self.mine = self.host.add_device('0000:06:00.0', group=8, driver='vfio-pci')
        self.other = self.host.add_device('0000:07:00.0', group=9, driver='vfio-pci')
        self.start()

    def flood(self, call, count=COUNT):
        """Name of the answer -> how many; another client has claimed a device again and again meanwhile."""
        process = self.tool(os.environ['BENCH_FLOOD'], '--device', self.mine.name, '--forbidden', self.other.name,
                            '--call', call, '--count', str(count), '--window', str(WINDOW), '--alone', '20')
        output, _ = process.communicate(timeout=harness.TEST_TIMEOUT)
        self.assertEqual(process.returncode, 0, output)
        figures = dict(line.split()[:2] for line in output.splitlines())
        self.assertGreater(int(figures['samples']), 0)
        return {name.removeprefix('answers-'): int(n) for name, n in figures.items() if name.startswith('answers-')}

    def resident_kib(self):
        status = pathlib.Path(f'/proc/{self.daemon.pid}/status').read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith('VmRSS:'))

    def lines_about_nobody(self):
        return self.log_lines(f'uid {NOBODY}')

    def assert_refused(self, answers, error, count=COUNT):
        """The first calls of a connection wait for its credentials, and only so many may."""
        self.assertEqual(sum(answers.values()), count)
        self.assertLessEqual(set(answers), {harness.ERROR + error, harness.ERROR + 'LimitExceeded'})
        self.assertLess(answers.get(harness.ERROR + 'LimitExceeded', 0), WINDOW)

    @needs_root
    def test_acquire(self):
        self.assert_refused(first := self.flood('acquire'), 'AccessDenied')
        before = self.resident_kib()
        self.assert_refused(second := self.flood('acquire'), 'AccessDenied')
        if not os.environ.get('ASAN_OPTIONS'):  # it keeps what was freed for a while
            self.assertLess(self.resident_kib() - before, 512)
        self.daemon.stop()  # tells what it has counted
        lines = self.lines_about_nobody()
        self.assertLessEqual(len(lines), LINES_MAX)
        asked = sum(answers[harness.ERROR + 'AccessDenied'] for answers in (first, second))
        self.assertEqual(harness.count_refusals(lines), asked)

    @needs_root
    def test_plan(self):
        self.assert_refused(self.flood('plan'), 'AccessDenied')
        self.assertLessEqual(len(self.lines_about_nobody()), LINES_MAX)

    @needs_root
    def test_release(self):
        self.assert_refused(self.flood('release'), 'NoSuchClaim')
        self.assertLessEqual(len(self.lines_about_nobody()), LINES_MAX)

    @needs_root
    def test_reload(self):
        self.assert_refused(self.flood('reload'), 'AccessDenied')
        self.assertLessEqual(len(self.lines_about_nobody()), LINES_MAX)

    @needs_root
    def test_answered_when_the_daemon_stops(self):
        """More answers wait than one tick sends: none is lost. For calls that reach the bus later it answers itself."""
        client = self.client()
        calls = [client.acquire_later('pci:0000:0f:00.0') for _ in range(WINDOW)]
        wait(lambda: any(call.done for call in calls), 'the first is answered')
        self.daemon.process.terminate()
        wait(lambda: all(call.done for call in calls), 'all are answered')
        names = {call.error.get_dbus_name() for call in calls}
        self.assertLessEqual(names, {harness.ERROR + name for name in ('NoSuchDevice', 'LimitExceeded', 'ShuttingDown')}
                             | {'org.freedesktop.DBus.Error.ServiceUnknown'})

    def test_answered_in_the_middle_of_a_claim(self):
        """Its worker is stuck in the kernel; the caller is told nevertheless."""
        nic = self.host.add_device('0000:08:00.0', group=10, driver='e1000e')
        gate = self.kernel.hold('unbind', nic.address)
        self.addCleanup(gate.let_go)
        client = self.client()
        wait(lambda: client.objects().get(harness.device_path(nic.name)), 'the card is known')
        call = client.acquire_later(nic)
        wait(lambda: self.records(), 'the claim has begun')
        self.daemon.process.terminate()
        wait(lambda: call.done, 'it is answered')
        self.assertEqual(call.error.get_dbus_name(), harness.ERROR + 'ShuttingDown')


if __name__ == '__main__':
    harness.main()
