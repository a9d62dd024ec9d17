#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tools/bench [--quick] [NAME...]: what vfiod costs, against floors measured in the same run.

  acquire   Acquire of a device that is on its vfio driver and alone in its group, and closing all that came, over a
            private dbus-daemon; microseconds, median and 99th percentile. The measure (floor=) is `bare`: a service of
            the same shape that opens such nodes, makes a pipe and answers, taken in turns with it.
              acquire    by a client that has called before; goal 1.2 x bare
              again      likewise, at once after everything of the last claim was closed; `busy` counts how often the
                         daemon was not through with that (DeviceClaimed; waiting is then part of the sample)
              first      the first call of a connection, without connecting; goal 2.2 x bare's first call
              release    from closing until the daemon has no claim left
              acquire-floor, bare-floor  both against the old floor: one Peer.Ping to the daemon plus open and close of
                         such nodes
              syscalls   system calls of the daemon between receiving Acquire and sending the answer (strace); goal 20
  growth    Acquire (p50, as multiple of bare) with 512 claims held, 4,096 groups and 10,000 rules, against the same with
            one claim, 64 groups and one rule; goal 1.1 x. `claim-memory` is what each of 511 claims adds to the daemon's
            resident set; goal 8 KiB.
  startup   From exec to READY=1 with 64, 512 and 4096 groups of 4 devices; milliseconds, median. Floor: a program that
            enumerates with libudev and reads the same properties of each device through it; goal 1.3 x. `startup-scan`
            is the same against enumeration alone. `memory` is the daemon's peak resident set then; goal 12 MiB with
            4096 groups.
  kinds     The same with 256 virtual functions and 512 mediated devices: `startup-kinds`, goal 1.3 x the enumeration with
            its reads; and `list-kinds`, the time that `vfioctl list` takes as a process, goal 1.3 x.
  uevent    Processor time of the daemon for one uevent that changes a device's driver, signal on the bus included, at
            each size; microseconds, median. Goal: with 4096 groups not more than 1.3 x that with 64. `uevent-wait` is
            the time from the uevent to the signal (announcements are collected for a few milliseconds).
  flood     A client that asks a million times for what none of 1,000 rules gives it, as fast as the bus takes it.
              bus         what a flood of pings does to the Acquire of another client, floor: the same without a flood. This
                          is the bus's own doing
              claim       what the million does to it; goal 2 x
              growth      memory of the daemon after it, against that before; goal 64 KiB
              log         lines that it left, for a minute; goal 10. What they tell must add up
  crowd     With 2,000 devices, a stranger who calls as fast as the bus takes it, 100 calls under way: all objects, all
            properties of a device, HostCritical, Plan, Explain; and a user who is allowed a device and acquires it. The
            99th percentile of another client's Acquire and Ping meanwhile, floor: without the flood; goal 3 x. `bus`: the
            same while somebody floods with pings, which is the bus's own doing.
  objects   GetManagedObjects with 4,096 groups of 4 devices. `wait`: the longest Ping of another client meanwhile;
            floor: the same with a service that puts an answer of this shape together and does nothing else, for
            nothing overtakes it on the bus; goal 1.5 x. `memory`: the daemon's peak
            resident set, goal 16 MiB.
  varlink   Acquire over a Varlink socket, in turns with D-Bus and with `bare`, a socket service of the same shape;
            microseconds. All but `list` runs on one processor.
              varlink    goal 1.35 x bare; `dbus`: against D-Bus in the same turns, goal 0.45 x
              connect    connecting and Acquire; goal 2 x bare
              crowd-8, crowd-64  one claim when so many clients ask at once, goal 1.3 x; floor: one client that calls
                         again and again, without its first call after a pause, which takes longer
              list       with 4,096 groups of 4 devices, the longest Ping of another peer while one lists everything;
                         milliseconds, goal 5. floor: the same time without a list; the goal is for what is above it
              idle       what each of 1,000 idle peers adds to the daemon's resident set; bytes, goal 4096
  policy    One decision, of policies whose rules all ask about the same thing, and of a mix; microseconds, median. Floor:
            a policy of one such rule, which matches; for the mix, one that asks about all of it.
              last, none  1,000 rules of which the last matches, or none
              worst       the slowest of all these; goal 100 us
              cold        of the mix when nothing of it is in the processor's caches, as after a pause; goal 100 us
              load        10,000 rules from text to what is asked, warnings included; milliseconds, goal 1000.
                          `load-json`: likewise, against parsing the same text as JSON and nothing else

Without NAME: all. One line for each figure: NAME VALUE UNIT floor=F ratio=VALUE/F goal=G ok|SHORT. A goal is one for
the ratio where there is a floor, else for the value; a figure without a goal is there to be looked at and says `-`.
SHORT is shown and is not an error: the exit status is 0 unless something did not work. --quick takes few samples and
the smallest tree: it tells that all this works, and its figures are worth little.

The host is a pretended one, and nothing slows a path down: in mount and network namespaces of its own (which need
root) a tmpfs with plain files is mounted over /sys, VFIO nodes are character devices that behave as /dev/null, and
uevents go over netlink as udev sends them. What the real kernel does in its own functions (sysfs reads that ask the
hardware, resets) is not in the figures.
"""

import contextlib
import ctypes
import json
import math
import os
import pathlib
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration")]

import harness  # noqa: E402
import tree  # noqa: E402
import uevents  # noqa: E402
from tree import Tree  # noqa: E402

READY_TIMEOUT = 120


class Amount:
    """How much is measured."""

    sizes = {64: 15, 512: 7, 4096: 3}  # groups: runs of each program
    events = 200
    samples = 1000
    flood = 1000000
    is_quick = False

    @classmethod
    def be_quick(cls):
        cls.is_quick = True
        cls.sizes, cls.events, cls.samples, cls.flood = {64: 1}, 10, 20, 20000


class Trouble(Exception):
    """Something did not work; the message says what."""


def show(value):
    return f"{value:.{1 if value >= 10 else 3}f}"


def report(name, value, unit, floor=None, goal=None):
    ratio = value / floor if floor else None
    verdict = "-" if goal is None else "ok" if (value if ratio is None else ratio) <= goal else "SHORT"
    shown = [f"floor={show(floor)}" if floor else "floor=-",
             f"ratio={ratio:.2f}" if ratio is not None else "ratio=-", "goal=-" if goal is None else f"goal={goal}"]
    print(name, show(value), unit, *shown, verdict, flush=True)


# ---- a pretended host ----

MS_BIND, MNT_DETACH = 4096, 2
NETLINK_KOBJECT_UEVENT, UEVENT_GROUP_UDEV = 15, 2


def mount_over(source, target):
    # On a real host this would take the /dev of every program away.
    if os.environ.get("VFIOD_BENCH_OUTSIDE") in (None, os.readlink("/proc/self/ns/mnt")):
        raise Trouble("the pretended host needs a mount namespace of its own: use tools/bench")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(os.fsencode(source), os.fsencode(target), None, MS_BIND, None) != 0:
        raise Trouble(f"cannot mount over {target}: {os.strerror(ctypes.get_errno())}")


def unmount(target):
    ctypes.CDLL(None).umount2(os.fsencode(target), MNT_DETACH)


BARE_NAME = "org.vfiod1.Bare"
BARE_POLICY = f"""<policy context="default">
  <allow own="{BARE_NAME}"/>
  <allow send_destination="{BARE_NAME}"/>
</policy>"""


PASS_SOCKET = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="varlink", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])"""


class Program:
    """Runs until it is closed; `seconds` is the time from exec to READY=1."""

    def __init__(self, directory, command, environment, listener=None):
        """listener: a socket that is passed as systemd does, under the name "varlink"."""
        passed = [listener.fileno()] if listener else []
        if listener:
            command = [sys.executable, "-c", PASS_SOCKET, str(listener.fileno()), *command]
        self.is_daemon = any(pathlib.Path(word).name == "vfiod" for word in command)
        self.log = tempfile.TemporaryFile("w+")
        path = f"{directory}/notify"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(path)
        self.notify.settimeout(READY_TIMEOUT)
        begin = time.monotonic()
        self.process = subprocess.Popen(command, env=dict(environment, NOTIFY_SOCKET=path), stdin=subprocess.PIPE,
                                        stdout=self.log, stderr=self.log, pass_fds=passed)
        self.wait_ready()
        self.seconds = time.monotonic() - begin
        self.notify.settimeout(None)
        threading.Thread(target=self.be_service_manager, args=(self.notify,), daemon=True).start()

    def wait_ready(self):
        try:
            while "READY=1" not in self.notify.recv(8192).decode().split("\n"):
                pass
        except TimeoutError:
            self.process.kill()
            raise Trouble(f"{self.process.args[0]} does not get ready:\n{self.text()}") from None

    @staticmethod
    def be_service_manager(notify):
        """Takes what the daemon leaves there; the fds in it are dropped."""
        with contextlib.suppress(OSError):
            while notify.recv(8192):
                pass

    def text(self):
        self.log.seek(0)
        return self.log.read()

    def reap(self):
        self.process.stdin.close()
        status = self.process.wait(30)
        self.notify.shutdown(socket.SHUT_RDWR)
        self.notify.close()
        return status

    def close(self):
        """What the program has printed."""
        if self.is_daemon:
            self.process.terminate()
        status = self.reap()
        with self.log:
            if status != 0:
                raise Trouble(f"{self.process.args[0]} ended with status {status}:\n{self.text()}")
            return self.text()

    def kill(self):
        self.process.kill()
        self.reap()
        self.log.close()

    def kib(self, field):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field))

    def peak_mib(self):
        return self.kib("VmHWM:") / 1024

    def resident_kib(self):
        return self.kib("VmRSS:")

    def cpu_seconds(self):
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


class Host:
    """A tree that is mounted, a bus, and how programs are started there."""

    def __init__(self, build, groups, functions):
        self.build = build
        self.directory = tempfile.mkdtemp(prefix="host.")
        os.chmod(self.directory, 0o755)  # clients of other users reach the bus
        for name in ("policy.d", "state", "run", "run/udev"):
            os.mkdir(f"{self.directory}/{name}", 0o755)
        # Without it libudev believes that nobody sends uevents, and does not listen.
        pathlib.Path(f"{self.directory}/run/udev/control").touch()
        self.tree = Tree(self.directory, groups, functions)
        self.log = tempfile.TemporaryFile()
        self.mounted = []
        for name in ("/run", "/sys", "/dev"):
            mount_over(self.directory + name, name)
            self.mounted.append(name)
        self.bus = harness.PrivateBus(self.directory, self.log, BARE_POLICY)
        self.environment = dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS=self.bus.address, SYSTEMD_DEVICE_VERIFY_SYSFS="0")

    def enumerate(self, *arguments):
        program = Program(self.directory, [self.build / "tests/bench/enumerate", *arguments], self.environment)
        count = int(program.close().split()[0])
        if count != len(self.tree.devices):
            raise Trouble(f"enumeration found {count} devices, {len(self.tree.devices)} are there")
        return program.seconds

    def listen(self):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(f"{self.directory}/varlink")
        listener.listen(4096)
        return listener

    def start_daemon(self, listener=None):
        preload = f"{self.build}/tests/bench/libnull-iommu.so"
        program = Program(self.directory, [self.build / "src/daemon/vfiod", f"--state-directory={self.directory}/state",
                                           f"--policy-directory={self.directory}/policy.d"],
                          dict(self.environment, LD_PRELOAD=preload), listener)
        client = harness.Client(self.bus.address)
        found = tuple(int(client.get(harness.ROOT_PATH, "Manager", name)) for name in ("Devices", "Groups"))
        client.close()
        if found != (len(self.tree.devices), self.tree.groups):
            raise Trouble(f"the daemon found {found[0]} devices in {found[1]} groups, {len(self.tree.devices)} in "
                          f"{self.tree.groups} are there")
        return program

    def close(self):
        self.bus.stop()
        self.log.close()
        for name in self.mounted:
            unmount(name)
        shutil.rmtree(self.directory)


@contextlib.contextmanager
def pretended_host(build, groups, functions=4):
    host = Host(build, groups, functions)
    try:
        yield host
    finally:
        host.close()


# ---- acquire ----

ACQUIRE_GOALS = {"acquire-p50": 1.2, "again-p50": 1.2, "first-p50": 2.2, "busy": 0}


@contextlib.contextmanager
def bare_service(host):
    """The least that can answer, on the last device that is on its vfio driver."""
    node = f"/dev/vfio/devices/vfio{host.tree.vfio_indices[-1]}"
    program = Program(host.directory, [host.build / "tests/bench/bare-server", BARE_NAME, node], host.environment)
    try:
        yield node
    finally:
        program.kill()


def run_client(host, service, node, *options):
    """What bench-acquire measures: name -> (value, measure)."""
    client = subprocess.run([host.build / "tests/bench/bench-acquire", "--device", host.tree.devices[0], "--node",
                             "/dev/iommu", "--node", node, "--samples", str(Amount.samples), *options],
                            env=host.environment, stdout=subprocess.PIPE, text=True)
    if client.returncode != 0:
        raise Trouble(f"bench-acquire failed; the service said:\n{service.text()}")
    figures = (line.split() for line in client.stdout.splitlines())
    return {name: (float(value), None if floor == "-" else float(floor)) for name, value, floor in figures}


def write_rules(host, rules):
    pathlib.Path(f"{host.directory}/policy.d/50-bench.json").write_text(json.dumps({"rules": rules}))


ALLOW_ROOT = {"effect": "allow", "who": {"user": 0}, "what": {"device": "*"}, "reset": "optional"}


def count_syscalls(lines):
    """Of a strace: the calls between each reception of an Acquire and the answer with its fds; median."""
    counts, count = [], None
    for line in lines:
        if "recvmsg(" in line and "Acquire" in line:
            count = 0
        elif count is not None and "sendmsg(" in line and "SCM_RIGHTS" in line and "FDSTORE" not in line:
            counts.append(count)
            count = None
        elif count is not None:
            count += 1
    if not counts:
        raise Trouble("the trace shows no Acquire that was answered")
    return statistics.median(counts)


def measure_syscalls(host, daemon):
    trace = f"{host.directory}/strace"
    strace = subprocess.Popen(["strace", "-qq", "-s", "4096", "-o", trace, "-p", str(daemon.process.pid)],
                              stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    client = harness.Client(host.bus.address)
    try:
        # The first call of a connection asks more. What was called before strace was there is not seen.
        harness.wait(lambda: trace_has_begun(client, trace), "strace sees the daemon")
        for _ in range(10):
            client.acquire(f"pci:{host.tree.devices[0]}").close()
            harness.wait(lambda: int(client.get(harness.ROOT_PATH, "Manager", "Claims")) == 0, "the claim goes")
    finally:
        client.close()
        strace.terminate()
        strace.wait(30)
    with open(trace, encoding="utf-8", errors="replace") as lines:
        return count_syscalls(lines)


def trace_has_begun(client, trace):
    client.get(harness.ROOT_PATH, "Manager", "Claims")
    return os.path.exists(trace) and os.path.getsize(trace) > 0


def bench_acquire(build):
    with pretended_host(build, groups=4, functions=1) as host:
        host.tree.forget_reset(host.tree.devices[0])
        write_rules(host, [ALLOW_ROOT])
        daemon = host.start_daemon()
        with bare_service(host) as node:
            figures = run_client(host, daemon, node)
        syscalls = measure_syscalls(host, daemon)
        daemon.close()
    for name, (value, floor) in figures.items():
        report(name, value, "times" if name == "busy" else "us", floor, ACQUIRE_GOALS.get(name))
    report("syscalls", syscalls, "calls", goal=20)


# ---- how costs grow ----


WARM = 8


def hold_claims(client, devices):
    return [client.acquire(f"pci:{device}") for device in devices]


@contextlib.contextmanager
def held_claims(build, groups, rules, claims):
    """(host, daemon, KiB of the daemon that one held claim costs) while so many are held"""
    with pretended_host(build, groups, functions=1) as host:
        bound = host.tree.bound
        for device in bound[:max(claims, WARM) + 1]:
            host.tree.forget_reset(device)
        write_rules(host, rules + [ALLOW_ROOT])
        daemon = host.start_daemon()
        client = harness.Client(host.bus.address)
        for claim in hold_claims(client, bound[1:WARM + 1]):  # what is needed once is not a claim's
            claim.close()
        harness.wait(lambda: int(client.get(harness.ROOT_PATH, "Manager", "Claims")) == 0, "the claims go")
        before = daemon.resident_kib()
        held = hold_claims(client, bound[1:claims + 1])
        yield host, daemon, (daemon.resident_kib() - before) / claims if claims else 0
        client.close()
        for claim in held:
            claim.close()
        daemon.close()


def multiple_of_bare(build, groups, rules, claims):
    """(p50 of Acquire, p50 of bare)"""
    with held_claims(build, groups, rules, claims) as (host, daemon, _), bare_service(host) as node:
        return run_client(host, daemon, node, "--others", str(claims), "--known")["acquire-p50"]


def bench_growth(build):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    groups, rules, claims = (64, 100, 8) if Amount.is_quick else (4096, 10000, 511)
    others = [{"effect": "allow", "who": {"unit": f"vm-{number}*.service"},
               "what": {"device": f"0000:{number % 256:02x}:*"}} for number in range(rules - 1)]
    value, bare = multiple_of_bare(build, 64, [], 0)
    small = value / bare
    value, bare = multiple_of_bare(build, groups, others, claims)
    report("growth-acquire-p50", value / bare, "bare", small, 1.1)
    # Of a small policy: what is left free by the loading of a long one would hold many claims.
    with held_claims(build, 2 * (claims + 1), [], claims) as (_, _, memory):
        report("claim-memory", memory, "KiB", goal=8)


# ---- startup and uevents, over big trees ----


def bench_startup(build):
    for groups, runs in Amount.sizes.items():
        with pretended_host(build, groups) as host:
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


def run_list(host):
    """Seconds that a user waits for it."""
    begin = time.monotonic()
    done = subprocess.run([host.build / "src/client/vfioctl", "list"], env=host.environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True)
    seconds = time.monotonic() - begin
    if done.returncode != 0 or len(done.stdout.splitlines()) != len(host.tree.devices) + 1:
        raise Trouble("vfioctl list does not show every device")
    return seconds


def bench_kinds(build):
    with pretended_host(build, groups=65) as host:
        physical, *functions = list(host.tree.devices)[3:260]
        for name in functions:
            host.tree.make_virtual(name, physical)
        for number in range(512):
            host.tree.mediated(number, functions[number % 8])
        times = {"floor": [], "daemon": [], "list": []}
        host.enumerate()
        for _ in range(5 if Amount.is_quick else 25):
            times["floor"].append(host.enumerate())
            daemon = host.start_daemon()
            times["daemon"].append(daemon.seconds)
            times["list"].append(run_list(host))
            daemon.close()
        floor, start, shown = (statistics.median(times[name]) * 1000 for name in ("floor", "daemon", "list"))
        report("startup-kinds", start, "ms", floor, 1.3)
        report("list-kinds", shown, "ms", floor, 1.3)


def send_bind(name, driver):
    """What udevd sends when the kernel has bound a device; here nobody else hears it."""
    message = uevents.encode({"ACTION": "bind", "DEVPATH": f"/devices/pci0000:00/{name}", "SUBSYSTEM": "pci",
                              "DRIVER": driver, "PCI_SLOT_NAME": name, "SEQNUM": 1})
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT) as s:
        s.sendto(message, (0, UEVENT_GROUP_UDEV))


def one_uevent(host, client, name, driver):
    """Seconds from the uevent to the signal."""
    path = harness.device_path(f"pci:{name}")
    host.tree.rebind(name, driver)
    client.events.clear()
    begin = time.monotonic()
    send_bind(name, driver)
    harness.wait(lambda: client.seen("PropertiesChanged", path, Driver=driver), f"{path} shows {driver}")
    return time.monotonic() - begin


def bench_uevent(build):
    smallest = None
    for groups in Amount.sizes:
        with pretended_host(build, groups) as host:
            daemon = host.start_daemon()
            client = harness.Client(host.bus.address)
            bound = [name for i, name in enumerate(host.tree.devices)
                     if tree.DRIVERS[i // host.tree.functions % len(tree.DRIVERS)] == "e1000e"]
            spread = [bound[i * len(bound) // Amount.events % len(bound)] for i in range(Amount.events)]
            drivers = {}
            waits = []
            for name in bound[:8]:  # warm
                one_uevent(host, client, name, "vfio-pci")
                one_uevent(host, client, name, "e1000e")
            costs = []
            for name in spread:
                drivers[name] = "e1000e" if drivers.get(name) == tree.OTHER_DRIVER else tree.OTHER_DRIVER
                begin = daemon.cpu_seconds()
                waits.append(one_uevent(host, client, name, drivers[name]))
                costs.append(daemon.cpu_seconds() - begin)
            cost = statistics.median(costs) * 1e6
            client.close()
            daemon.close()
            report(f"uevent-{groups}", cost, "us", smallest, 1.3 if groups == 4096 else None)
            report(f"uevent-wait-{groups}", statistics.median(waits) * 1e6, "us")
            smallest = smallest or cost


# ---- flood ----

FLOOD_WINDOW = 100  # calls under way; dbus-daemon grants 128 to a connection


def run_flood(host, call, count):
    """What bench-flood measures: name -> (value, floor)."""
    run = subprocess.run([host.build / "tests/bench/bench-flood", "--device", host.tree.devices[0], "--forbidden",
                          host.tree.devices[2], "--call", call, "--count", str(count), "--window", str(FLOOD_WINDOW)],
                         env=host.environment, stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        raise Trouble(f"bench-flood failed with {call}")
    figures = (line.split() for line in run.stdout.splitlines())
    return {name: (float(value), None if floor == "-" else float(floor)) for name, value, floor in figures}


def bench_flood(build):
    with pretended_host(build, groups=4, functions=1) as host:
        host.tree.forget_reset(host.tree.devices[0])
        rules = [{"effect": "allow", "who": {"unit": f"vm-{number}*.service"},
                  "what": {"device": f"0000:{number % 256:02x}:*"}} for number in range(1000)]
        rules.append({"effect": "allow", "who": {"user": 0}, "what": {"device": "*"}, "reset": "optional"})
        pathlib.Path(f"{host.directory}/policy.d/50-bench.json").write_text(json.dumps({"rules": rules}))
        daemon = host.start_daemon()
        denied = f"answers-{harness.ERROR}AccessDenied"
        figures = run_flood(host, "ping", Amount.flood // 10)
        report("flood-bus-rate", figures["rate"][0], "per-second")
        for name in ("claim-p50", "claim-p99"):
            report(f"flood-bus-{name}", figures[name][0], "us", figures[name][1])
        begin = time.monotonic()
        refused = run_flood(host, "acquire", Amount.flood // 10)[denied][0]  # memory that is needed once
        resident, cpu = daemon.resident_kib(), daemon.cpu_seconds()
        figures = run_flood(host, "acquire", Amount.flood)
        minutes = math.ceil((time.monotonic() - begin) / 60)  # one has begun with the first refusal
        refused += figures[denied][0]
        report("flood-rate", figures["rate"][0], "per-second")
        report("flood-claim-p50", figures["claim-p50"][0], "us", figures["claim-p50"][1], 2)
        report("flood-claim-p99", figures["claim-p99"][0], "us", figures["claim-p99"][1])
        report("flood-cpu", (daemon.cpu_seconds() - cpu) / Amount.flood * 1e6, "us")
        report("flood-growth", daemon.resident_kib() - resident, "KiB", goal=64)
        whose = re.compile(rf"uid {harness.NOBODY}\b|\({harness.NOBODY}\)")  # this host may have a name for it
        lines = [line for line in daemon.close().splitlines() if whose.search(line)]
        told = harness.count_refusals(lines)
        if told != refused:
            raise Trouble(f"{refused} calls were refused, and the log tells of {told}")
        report("flood-log", len(lines) / minutes, "lines/minute", goal=10)


# ---- a crowd ----

CROWD_CALLS = ("ping", "objects", "properties", "host-critical", "plan", "explain", "acquire")


def crowd_figures(host, call, measure, seconds):
    run = subprocess.run([host.build / "tests/bench/bench-flood", "--device", host.tree.devices[0], "--forbidden",
                          host.tree.devices[2], "--call", call, "--measure", measure, "--seconds", str(seconds), "--alone",
                          str(200 * seconds), "--window", str(FLOOD_WINDOW)],
                         env=host.environment, stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        raise Trouble(f"bench-flood failed with {call}")
    figures = (line.split() for line in run.stdout.splitlines())
    return {name: (float(value), None if floor == "-" else float(floor)) for name, value, floor in figures}


def bench_crowd(build):
    seconds = 1 if Amount.is_quick else 6
    with pretended_host(build, groups=2000, functions=1) as host:
        for device in (host.tree.devices[0], host.tree.devices[2]):
            host.tree.forget_reset(device)
        pathlib.Path(f"{host.directory}/policy.d/50-bench.json").write_text(
            '{"rules": [{"effect": "allow", "who": {"user": [0, %d]}, "what": {"device": "*"}, "reset": "optional"}]}\n'
            % harness.NOBODY)
        daemon = host.start_daemon()
        for call in CROWD_CALLS:
            name = "bus" if call == "ping" else call
            for measure in ("claim", "ping"):
                figures = crowd_figures(host, call, measure, seconds)
                for percent in ("p50", "p99"):
                    goal = 3 if percent == "p99" and call != "ping" else None
                    report(f"crowd-{name}-{measure}-{percent}", *figures[f"{measure}-{percent}"][:1], "us",
                           figures[f"{measure}-{percent}"][1], goal)
            report(f"crowd-{name}-rate", figures["rate"][0], "per-second")
        daemon.close()


# ---- all objects ----


LIST_SHAPE = (16384 + 4096, 10)  # objects, and properties of each: devices have 11, groups have 6


def longest_ping(host, client, name, *call):
    """The longest round trip to a service in milliseconds while somebody makes this call to it."""
    caller = subprocess.Popen(["busctl", f"--address={host.bus.address}", "--quiet", "call", name, harness.ROOT_PATH, *call])
    longest = 0
    while caller.poll() is None:
        begin = time.monotonic()
        client.connection.call_blocking(name, "/", "org.freedesktop.DBus.Peer", "Ping", "", ())
        longest = max(longest, time.monotonic() - begin)
    if caller.returncode != 0:
        raise Trouble(f"busctl cannot call {call[1]}")
    return longest * 1000


def bench_objects(build):
    with pretended_host(build, groups=4096) as host:
        daemon = host.start_daemon()
        bare = Program(host.directory, [build / "tests/bench/bare-server", BARE_NAME, "/dev/null"], host.environment)
        client = harness.Client(host.bus.address)
        waits, floors = [], []
        for _ in range(1 if Amount.is_quick else 7):
            waits.append(longest_ping(host, client, harness.NAME, harness.OBJECT_MANAGER, "GetManagedObjects"))
            floors.append(longest_ping(host, client, BARE_NAME, "org.vfiod1.Manager", "LongAnswer", "uu", *map(str, LIST_SHAPE)))
        report("objects-wait", statistics.median(waits), "ms", statistics.median(floors), goal=1.5)
        report("objects-memory", daemon.peak_mib(), "MiB", goal=16)
        client.close()
        bare.kill()
        daemon.close()


# ---- varlink ----

VARLINK_GOALS = {"varlink-p50": 1.35, "dbus-p50": 0.45, "connect-p50": 2, "crowd-8-p50": 1.3, "crowd-64-p50": 1.3}


class VarlinkPeer:
    def __init__(self, host):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(f"{host.directory}/varlink")

    def ping(self):
        """Milliseconds."""
        begin = time.monotonic()
        self.socket.sendall(b'{"method":"io.systemd.service.Ping"}\0')
        if self.socket.recv(65536) != b"{}\0":
            raise Trouble("the daemon does not answer a ping")
        return (time.monotonic() - begin) * 1000


@contextlib.contextmanager
def one_processor():
    """For all that is started meanwhile. `bare` is woken by its client alone, and the scheduler leaves the two together;
    vfiod has other things to do, and mostly is put on another processor. Waking one costs a virtual machine more than the
    whole call, so the ratio would tell where the scheduler had put whom."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def varlink_figures(build):
    with one_processor(), pretended_host(build, groups=132, functions=1) as host:
        for device in host.tree.devices:
            host.tree.forget_reset(device)
        write_rules(host, [ALLOW_ROOT])
        with host.listen() as listener:
            daemon = host.start_daemon(listener)
            devices = [f"pci:{device}" for device in host.tree.bound[:64]]
            node = f"/dev/vfio/devices/vfio{host.tree.vfio_indices[-1]}"
            client = subprocess.run([build / "tests/bench/bench-varlink", f"{host.directory}/varlink", node,
                                     str(Amount.samples), *devices], env=host.environment, stdout=subprocess.PIPE, text=True)
            if client.returncode != 0:
                raise Trouble(f"bench-varlink failed; the daemon said:\n{daemon.text()}")
            for line in client.stdout.splitlines():
                name, value, floor = line.split()
                report(f"varlink-{name}".replace("varlink-varlink", "varlink"), float(value), "us",
                       None if floor == "-" else float(floor), VARLINK_GOALS.get(name))
            first = VarlinkPeer(host)
            first.ping()
            before = daemon.resident_kib()
            peers = [VarlinkPeer(host) for _ in range(1000)]
            for peer in peers:
                peer.ping()
            report("varlink-idle", (daemon.resident_kib() - before) * 1024 / len(peers), "bytes", goal=4096)
            daemon.close()


LIST_ALL = """import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b'{"method":"org.vfiod.Broker.List","more":true}\\0')
data = b""
while not (data.endswith(b"\\0") and b'"continues"' not in data.rsplit(b"\\0", 2)[-2]):
    data = data[-65536:] + s.recv(65536)"""


def longest_varlink_ping(peer, *command):
    """The longest ping in milliseconds while the command runs."""
    other, longest = subprocess.Popen([sys.executable, "-c", *command]), 0
    while other.poll() is None:
        longest = max(longest, peer.ping())
    if other.returncode != 0:
        raise Trouble("nobody can list")
    return longest


def varlink_list(build):
    with pretended_host(build, groups=64 if Amount.is_quick else 4096) as host, host.listen() as listener:
        daemon = host.start_daemon(listener)
        peer, waits, floors = VarlinkPeer(host), [], []
        for _ in range(1 if Amount.is_quick else 7):
            floors.append(longest_varlink_ping(peer, "import time; time.sleep(0.5)"))
            waits.append(longest_varlink_ping(peer, LIST_ALL, f"{host.directory}/varlink"))
        wait, floor = statistics.median(waits), statistics.median(floors)
        report("varlink-list", max(wait - floor, 0), "ms", goal=5)
        report("varlink-list-longest", wait, "ms", floor)
        daemon.close()


def bench_varlink(build):
    varlink_figures(build)
    varlink_list(build)


# ---- policy ----


def bench_policy(build):
    quick = ["--quick"] if Amount.is_quick else []
    run = subprocess.run([build / "tests/bench/bench-policy", *quick], stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        raise Trouble("bench-policy failed")
    worst = 0
    for line in run.stdout.splitlines():
        name, value, floor = line.split()
        value = float(value)
        if name.startswith("load-"):
            report(f"policy-{name}", value / 1000, "ms", goal=1000)
            report(name.replace("load", "policy-load-json", 1), value / 1000, "ms", float(floor) / 1000)
        elif name.startswith("policy-cold-"):
            report(name, value, "us", goal=100 if name.endswith("p50") else None)
        elif floor == "-":
            report(name, value, "us")
        else:
            worst = max(worst, value)
            report(name, value, "us", float(floor))
    report("policy-worst", worst, "us", goal=100)


BENCHES = {"acquire": bench_acquire, "growth": bench_growth, "startup": bench_startup, "kinds": bench_kinds,
           "uevent": bench_uevent, "flood": bench_flood, "crowd": bench_crowd, "objects": bench_objects,
           "varlink": bench_varlink, "policy": bench_policy}


def main():
    build, *names = sys.argv[1:]
    if any(name in ("-h", "--help") for name in names):
        print(__doc__.strip())
        return 0
    if "--quick" in names:
        names.remove("--quick")
        Amount.be_quick()
    unknown = set(names) - set(BENCHES)
    if unknown:
        print(f"tools/bench: no figure is called {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}",
              file=sys.stderr)
        return 2
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
