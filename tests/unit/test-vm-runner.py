#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Does tests/vm/run tell a slow guest from a dead one? A busy host must not look like a fault of vfiod.

test-vm-runner.py RUN
"""

import contextlib
import importlib.machinery
import importlib.util
import io
import sys
import tempfile
import types
import unittest
from pathlib import Path

sys.dont_write_bytecode = True


def load(path):
    loader = importlib.machinery.SourceFileLoader("vm_run", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("vm_run", loader))
    loader.exec_module(module)
    return module


class Boot(unittest.TestCase):
    """A guest on a host whose clock and processor this test turns."""

    def setUp(self):
        self.now = self.used = 0.0
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.console = Path(directory.name, "console")
        self.console.write_text("")
        self.progress = vm.BootProgress(self.console, lambda: self.used, lambda: self.now)

    def wait(self, seconds, share, lines=False):
        """Seconds in which QEMU gets that share of a processor."""
        for _ in range(int(seconds)):
            self.now += 1
            self.used += share
            if lines:
                with self.console.open("a") as console:
                    console.write("a line\n")
            self.progress.check()

    def test_a_slow_boot_may_take_an_hour(self):
        self.wait(3600, 0.05, lines=True)

    def test_a_busy_host_is_no_stall(self):
        self.wait(vm.STALLED_IDLE * 3, 0.1)

    def test_a_guest_that_waits_is_stalled(self):
        with self.assertRaisesRegex(vm.Died, "did nothing"):
            self.wait(vm.STALLED_IDLE + 5, 0.001)

    def test_a_guest_in_a_circle_is_stalled(self):
        with self.assertRaisesRegex(vm.Died, "processor time"):
            self.wait(vm.STALLED_CPU + 5, 1.5)

    def test_a_line_begins_the_wait_anew(self):
        self.wait(vm.STALLED_IDLE - 1, 0.001)
        self.wait(1, 0, lines=True)
        self.wait(vm.STALLED_IDLE - 1, 0.001)


class PretendedGuest:
    """Each boot takes the next of `boots`: a reason not to come up, or None. Each part of a case, the next of `statuses`."""

    boots, statuses = [], []
    plugged = {"d": {"driver": "e1000e", "id": "d", "bus": "hot0"}}

    def __init__(self, *_):
        self.failure = self.boots.pop(0)

    def wait_for_boot(self):
        if self.failure:
            raise vm.Died(self.failure)
        return {"uptime": 1, "kernel": "6", "systemd": "252", "state": "running"}

    def run(self, case, story):
        return {"status": self.statuses.pop(0), "seconds": 1.0}

    def reboot(self):
        pass

    def interrupt(self):
        pass

    def close(self):
        pass

    def console_tail(self):
        return "the last line"


class Restart(unittest.TestCase):
    def run_cases(self, *boots, statuses=(0,)):
        """(passed, failed, stderr)"""
        PretendedGuest.boots, PretendedGuest.statuses = list(boots), list(statuses)
        self.plugged = []  # for each boot
        options = types.SimpleNamespace(kernel="full", machine="iommu", bus="daemon", story=False)
        self.case = case = types.SimpleNamespace(name="smoke", timeout=60, part=1, seconds=0, why_not=lambda _: None)
        report = vm.Report(options)
        said = io.StringIO()
        with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()), \
                contextlib.redirect_stderr(said):
            vm.CACHE, vm.Guest = Path(directory), PretendedGuest
            Path(directory, "qemu.log").write_text("")
            vm.run_cases([case], report, options, lambda _, plugged: self.plugged.append(plugged), None)
        return report.passed, report.failed, said.getvalue()

    def test_a_guest_that_does_not_come_up_is_started_once_more(self):
        passed, failed, said = self.run_cases("it hangs", None)
        self.assertEqual((passed, failed), (1, 0))
        self.assertIn("once more", said)
        self.assertIn("the last line", said)

    def test_a_guest_that_never_comes_up_is_a_failure(self):
        self.assertEqual(self.run_cases("it hangs", "it hangs")[:2], (0, 1))

    def test_a_case_goes_on_after_its_reboot(self):
        """With the disks and the devices that it had; where it does not come up, it is one failure."""
        self.assertEqual(self.run_cases(None, None, None, statuses=(vm.REBOOT, vm.REBOOT, 0))[:2], (1, 0))
        self.assertEqual(self.plugged, [None, PretendedGuest.plugged, PretendedGuest.plugged])
        self.assertEqual((self.case.part, self.case.seconds), (3, 3))
        self.assertEqual(self.run_cases(None, "it hangs", "it hangs", statuses=(vm.REBOOT,))[:2], (0, 1))

    def test_a_panic_on_the_way_down_is_no_reboot(self):
        def go_away(_):
            raise vm.WentAway("it went away")
        guest = types.SimpleNamespace(ctl=types.SimpleNamespace(send=lambda _: None), slowness=1, next_message=go_away)
        with tempfile.TemporaryDirectory() as directory:
            guest.console = Path(directory, "console")
            guest.console.write_text("reboot: Restarting system\n")
            REAL_GUEST.reboot(guest)
            guest.console.write_text("Kernel panic - not syncing\n")
            with self.assertRaisesRegex(vm.Died, "panicked"):
                REAL_GUEST.reboot(guest)

    def test_what_was_plugged(self):
        """Not what QEMU refused, and not what has gone since, by whatever command."""
        plugged = vm.Plugged()
        for n, reply in enumerate(("return", "return", "error", "return"), 1):
            plugged.note_request({"execute": "device_add", "id": n,
                                  "arguments": {"driver": "e1000e", "id": f"d{n}", "addr": n, "x-on": n == 4}})
            plugged.note_reply({"id": n, reply: {}})
        plugged.note_request({"execute": "device_del", "id": 5, "arguments": {"id": "d1"}})
        plugged.note_reply({"id": 5, "return": {}})
        for name in ("d1", "d2"):
            plugged.note_reply({"event": "DEVICE_DELETED", "data": {"device": name, "path": "/"}})
        plugged.note_reply({"event": "DEVICE_DELETED", "data": {"path": "/"}})
        self.assertEqual(list(plugged.arguments()), ["-device", "e1000e,id=d4,addr=4,x-on=on"])


if __name__ == "__main__":
    vm = load(sys.argv.pop(1))
    REAL_GUEST = vm.Guest
    unittest.main(verbosity=2)
