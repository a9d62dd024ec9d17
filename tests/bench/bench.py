#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tools/bench [NAME...]: what vfiod costs, against floors measured in the same run.

  acquire   Acquire of a device that is on its vfio driver, and closing all that came, over a private dbus-daemon;
            microseconds, median and 99th percentile. Floor: one org.freedesktop.DBus.Peer.Ping to the daemon over the
            same bus plus open and close of the same nodes (/dev/iommu and the device's), taken in turns.
              acquire    by a client that has called before; goal 1.5 x the floor
              again      likewise, at once after everything of the last claim was closed; `busy` counts how often the
                         daemon was not through with that (DeviceClaimed; waiting is then part of the sample)
              first      the first call of a connection, without connecting; goal 2.5 x
              release    from closing until the daemon has no claim left
  startup   From exec to READY=1 with 64, 512 and 4096 groups of 4 devices; milliseconds, median. Floor: a program that
            enumerates with libudev and reads the same properties of each device through it; goal 1.3 x. `startup-scan`
            is the same against enumeration alone. `memory` is the daemon's peak resident set then; goal 12 MiB with
            4096 groups.
  uevent    Processor time of the daemon for one uevent that changes a device's driver, signal on the bus included, at
            each size; microseconds. Goal: with 4096 groups not more than 1.3 x that with 64. `uevent-wait` is the time
            from the uevent to the signal (announcements are collected for a few milliseconds).

Without NAME: all. One line for each figure: NAME VALUE UNIT floor=F ratio=VALUE/F goal=G ok|SHORT. A goal is one for
the ratio where there is a floor, else for the value; a figure without a goal is there to be looked at and says `-`.
SHORT is shown and is not an error: the exit status is 0 unless something did not work.

The devices are pretended: plain files and LD_PRELOAD (umockdev), which makes every path that a program looks at slower,
in the daemon and in the floors alike. VFIO nodes are plain files opened by one system call; resets do not happen. Take
the ratios, not the microseconds, and compare runs of one machine.
"""

import contextlib
import faulthandler
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration")]

SIZES = {64: 15, 512: 7, 4096: 3}  # groups: runs of each program
READY_TIMEOUT = 120
EVENTS = 200


class Trouble(Exception):
    """Something did not work; the message says what."""


def report(name, value, unit, floor=None, goal=None):
    ratio = value / floor if floor else None
    verdict = "-" if goal is None else "ok" if (value if ratio is None else ratio) <= goal else "SHORT"
    shown = [f"floor={floor:.1f}" if floor else "floor=-", f"ratio={ratio:.2f}" if ratio is not None else "ratio=-",
             "goal=-" if goal is None else f"goal={goal}"]
    print(name, f"{value:.1f}", unit, *shown, verdict, flush=True)


# ---- acquire ----

ACQUIRE_GOALS = {"acquire-p50": 1.5, "again-p50": 1.5, "first-p50": 2.5, "busy": 0}


def bench_acquire(build):
    os.environ["VFIOD_TEST_DAEMON"] = str(build / "src/daemon/vfiod")
    # The nodes of tests/fakes are answered by another process: too slow to be a floor.
    os.environ["VFIOD_TEST_PRELOAD"] = f"{build}/tests/bench/libquick-nodes.so:{build}/tests/fakes/libfake-kernel.so"
    import harness

    class Stage(harness.VfiodTestCase):
        def runTest(self):
            raise NotImplementedError

    stage = Stage()
    stage.setUp()
    faulthandler.cancel_dump_traceback_later()  # for tests; this takes longer
    try:
        device = stage.host.add_device("0000:06:0d.0", group=8, driver="vfio-pci", reset="")
        stage.set_policy([stage.rule(reset="optional")])
        stage.start()
        environment = harness.preload_environment(stage.host)
        environment["DBUS_SYSTEM_BUS_ADDRESS"] = stage.bus.address
        with tempfile.TemporaryFile("w+") as output:
            client = subprocess.Popen([build / "tests/bench/bench-acquire", "--device", device.name, "--node", "/dev/iommu",
                                       "--node", stage.host.cdev(device)], env=environment, stdout=output)
            # The main loop must run: it is the service manager that the daemon leaves lifelines with.
            harness.wait(lambda: client.poll() is not None, "the client ends", READY_TIMEOUT)
            if client.returncode != 0:
                stage.log.seek(0)
                raise Trouble(f"bench-acquire failed; log of vfiod:\n{stage.log.read().decode(errors='replace')}")
            output.seek(0)
            for line in output:
                name, value, floor = line.split()
                report(name, float(value), "times" if name == "busy" else "us", None if floor == "-" else float(floor),
                       ACQUIRE_GOALS.get(name))
    finally:
        stage.doCleanups()


# ---- startup and uevents, over a big tree ----


class Program:
    """Runs until it is closed; `seconds` is the time from exec to READY=1."""

    def __init__(self, directory, command, environment):
        path = f"{directory}/notify"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            notify.settimeout(READY_TIMEOUT)
            self.log = tempfile.TemporaryFile("w+")
            begin = time.monotonic()
            self.process = subprocess.Popen(command, env=dict(environment, NOTIFY_SOCKET=path), stdin=subprocess.PIPE,
                                            stdout=self.log, stderr=self.log)
            while "READY=1" not in self.receive(notify, command).split("\n"):
                pass
            self.seconds = time.monotonic() - begin

    def receive(self, notify, command):
        try:
            return notify.recv(8192).decode()
        except TimeoutError:
            self.process.kill()
            self.log.seek(0)
            raise Trouble(f"{command[0]} does not get ready:\n{self.log.read()}") from None

    def close(self):
        """What the program has printed."""
        self.process.stdin.close()
        if self.process.args[0].name == "vfiod":
            self.process.terminate()
        if self.process.wait(30) != 0:
            self.log.seek(0)
            raise Trouble(f"{self.process.args[0]} ended with status {self.process.returncode}:\n{self.log.read()}")
        self.log.seek(0)
        with self.log:
            return self.log.read()

    def peak_mib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024

    def cpu_seconds(self):
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


class BigHost:
    """A tree, a bus, and how programs are started over both."""

    def __init__(self, build, groups):
        import harness
        from tree import Tree
        self.build = build
        self.directory = tempfile.mkdtemp(prefix="vfiod-bench.")
        for name in ("root", "policy.d", "state"):
            os.mkdir(f"{self.directory}/{name}", 0o755)
        self.tree = Tree(f"{self.directory}/root", groups)
        self.bus = harness.PrivateBus(self.directory)
        self.environment = dict(os.environ, UMOCKDEV_DIR=f"{self.directory}/root", LD_PRELOAD="libumockdev-preload.so.0",
                                DBUS_SYSTEM_BUS_ADDRESS=self.bus.address)

    def enumerate(self, *arguments):
        program = Program(self.directory, [self.build / "tests/bench/enumerate", *arguments], self.environment)
        count = int(program.close().split()[0])
        if count != len(self.tree.devices):
            raise Trouble(f"enumeration found {count} devices, {len(self.tree.devices)} are there")
        return program.seconds

    def start_daemon(self):
        program = Program(self.directory, [self.build / "src/daemon/vfiod", f"--state-directory={self.directory}/state",
                                           f"--policy-directory={self.directory}/policy.d"], self.environment)
        import harness
        client = harness.Client(self.bus.address)
        found = tuple(int(client.get(harness.ROOT_PATH, "Manager", name)) for name in ("Devices", "Groups"))
        client.close()
        if found != (len(self.tree.devices), self.tree.groups):
            raise Trouble(f"the daemon found {found[0]} devices in {found[1]} groups, {len(self.tree.devices)} in "
                          f"{self.tree.groups} are there")
        return program

    def close(self):
        self.bus.stop()
        shutil.rmtree(self.directory)


@contextlib.contextmanager
def big_host(build, groups):
    host = BigHost(build, groups)
    try:
        yield host
    finally:
        host.close()


def bench_startup(build):
    for groups, runs in SIZES.items():
        with big_host(build, groups) as host:
            times = {"floor": [], "scan": [], "daemon": []}
            peaks = []
            host.enumerate()  # the tree is in the caches of nobody yet
            for _ in range(runs):
                times["floor"].append(host.enumerate())
                times["scan"].append(host.enumerate("--only"))
                daemon = host.start_daemon()
                times["daemon"].append(daemon.seconds)
                peaks.append(daemon.peak_mib())
                daemon.close()
            floor, scan, value = (statistics.median(times[name]) * 1000 for name in ("floor", "scan", "daemon"))
            report(f"startup-{groups}", value, "ms", floor, 1.3)
            report(f"startup-scan-{groups}", value, "ms", scan)
            report(f"memory-{groups}", max(peaks), "MiB", goal=12 if groups == 4096 else None)


def one_uevent(host, sender, client, name, driver):
    """Seconds from the uevent to the signal."""
    import harness
    path = harness.device_path(f"pci:{name}")
    host.tree.rebind(name, driver)
    client.events.clear()
    begin = time.monotonic()
    sender.send("bind", f"/devices/pci0000:00/{name}", "pci", DRIVER=driver, PCI_SLOT_NAME=name)
    harness.wait(lambda: client.seen("PropertiesChanged", path, Driver=driver), f"{path} shows {driver}")
    return time.monotonic() - begin


def bench_uevent(build):
    import harness
    import tree
    from uevents import UeventSender
    smallest = None
    for groups in SIZES:
        with big_host(build, groups) as host:
            daemon = host.start_daemon()
            sender, client = UeventSender(f"{host.directory}/root"), harness.Client(host.bus.address)
            bound = [name for i, name in enumerate(host.tree.devices)
                     if tree.DRIVERS[i // tree.FUNCTIONS % len(tree.DRIVERS)] == "e1000e"]
            spread = [bound[i * len(bound) // EVENTS % len(bound)] for i in range(EVENTS)]
            drivers = {}
            waits = []
            one_uevent(host, sender, client, bound[-1], "vfio-pci")
            begin = daemon.cpu_seconds()
            for name in spread:
                drivers[name] = "e1000e" if drivers.get(name) == tree.OTHER_DRIVER else tree.OTHER_DRIVER
                waits.append(one_uevent(host, sender, client, name, drivers[name]))
            cost = (daemon.cpu_seconds() - begin) / EVENTS * 1e6
            client.close()
            daemon.close()
            smallest = smallest or cost
            report(f"uevent-{groups}", cost, "us", smallest if cost != smallest else None,
                   1.3 if groups == 4096 else None)
            report(f"uevent-wait-{groups}", statistics.median(waits) * 1e6, "us")


BENCHES = {"acquire": bench_acquire, "startup": bench_startup, "uevent": bench_uevent}


def main():
    build, *names = sys.argv[1:]
    if any(name in ("-h", "--help") for name in names):
        print(__doc__.strip())
        return 0
    unknown = set(names) - set(BENCHES)
    if unknown:
        print(f"tools/bench: no figure is called {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}",
              file=sys.stderr)
        return 2
    # /run is in memory on a real host, and a tree of 16384 devices is better there, too.
    if os.access("/dev/shm", os.W_OK):
        os.environ["TMPDIR"] = tempfile.tempdir = "/dev/shm"
    status = 0
    for name in names or BENCHES:
        try:
            BENCHES[name](pathlib.Path(build))
        except (Trouble, AssertionError) as trouble:
            print(f"tools/bench: {name}: {trouble}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
