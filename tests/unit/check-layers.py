#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The layer rule as a test: who may include whom below src/. ARCHITECTURE.md tells why.

check-layers.py SRC. It first proves to itself that it sees every kind of breach.
"""

import re
import sys
import tempfile
from pathlib import Path

# ---- the rule ----

# A file of this room may include headers of these.
PURE = {"base", "policy", "core"}
READS = PURE | {"host"}
BROKER = READS | {"daemon", "daemon/kernel", "daemon/broker"}
ROOMS = {
    "base": {"base"},
    "policy": PURE,
    "core": PURE,
    "host": READS,
    "daemon/kernel": READS | {"daemon", "daemon/kernel"},
    "daemon/broker": BROKER,
    "daemon/bus": BROKER | {"daemon/bus"},
    "daemon/varlink": BROKER | {"daemon/varlink"},
    "daemon": BROKER | {"daemon/bus", "daemon/varlink"},
    "rehearsal": READS | {"rehearsal"},
    "pins": READS | {"pins"},
    "client": {"base", "client"},
}

# The client uses only the contracts: the tables of errors and of variant drivers, the headers of rehearsal and pins, and
# the kernel's own.
CONTRACTS = {"client": {"core/error-table.h", "core/variant-table.h", "host/uapi.h", "pins/pins.h", "rehearsal/rehearsal.h"}}

# These rooms are pure: no system calls, no clock, no log. (base/fd.h is not listed, because a value that owns an fd
# must close it.)
IMPURE_HEADERS = {
    "base/clock.h", "base/log.h", "fcntl.h", "unistd.h", "time.h", "dirent.h", "poll.h", "syslog.h", "libudev.h",
    "sys/ioctl.h", "sys/socket.h", "sys/stat.h", "sys/time.h", "sys/wait.h", "sys/mman.h", "sys/inotify.h",
}
IMPURE = {"core": IMPURE_HEADERS, "policy": IMPURE_HEADERS}
IMPURE_PREFIXES = {"core": ("systemd/", "linux/"), "policy": ("systemd/", "linux/")}

# From src/daemon itself, the rooms below it may use only the way to raise a privilege around one call.
DAEMON_FOR_ROOMS = {"daemon/privileges.h"}

# Adapters do not include each other. Everything in these rooms is one, unless BUILT_ON lists what it is built on.
ADAPTER_ROOMS = ("daemon/kernel", "host")
SHARED = {"uapi"}  # definitions of the kernel's
BUILT_ON = {
    "host-critical": {"use"},
    "use-disk": {"use"},
    "use-display": {"use"},
    "use-interface": {"use"},
    "device-power": {"device-look", "driver"},
    "driver": {"device-look"},
    "mdev": {"driver"},
    "socket-peer": {"caller-process"},
    "sriov": {"driver"},
    "sysfs": {"container", "device-links-reader", "host-critical", "kept-files", "pci-place", "udev-properties",
              "variant-reader"},
    "vf-setup": {"driver", "vf-link"},
    "vfio": {"container"},
    "vfio-caps": {"vfio"},
    "worker": {"device-power", "driver", "holders", "mdev", "process", "spawner", "sriov", "vf-setup", "vfio", "vfio-caps"},  # the program that a worker process runs, and what starts it
}

# ---- the check ----

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def breach(path, quote, header):
    """Why path (relative to src/) may not include header, or None."""
    room = str(path.parent)
    if header in IMPURE.get(room, ()) or header.startswith(IMPURE_PREFIXES.get(room, ("//",))):
        return f"{room} is pure"
    if quote == "<":
        return None
    target = Path(header)
    if str(target.parent) not in ROOMS:
        return "include by path from src/"
    if header in CONTRACTS.get(room, ()):
        return None
    if str(target.parent) not in ROOMS[room]:
        return f"{room} may include only {', '.join(sorted(ROOMS[room]))}"
    if str(target.parent) == "daemon" and room != "daemon" and header not in DAEMON_FOR_ROOMS:
        return "a room does not know who puts it together"
    if room in ADAPTER_ROOMS and str(target.parent) == room:
        if target.stem not in {path.stem} | SHARED | BUILT_ON.get(path.stem, set()):
            return "adapters do not include each other"
    return None


def circles(graph):
    """Headers that include each other in a circle, each circle once."""
    found, done = [], set()

    def walk(node, trail):
        if node in trail:
            found.append(" -> ".join(trail[trail.index(node):] + [node]))
            return
        if node in done:
            return
        for target in sorted(graph.get(node, ())):
            walk(target, trail + [node])
        done.add(node)

    for node in sorted(graph):
        walk(node, [])
    return found


def check(src):
    found = []
    count = 0
    graph = {}
    for path in sorted(src.glob("**/*.[ch]")):
        relative = path.relative_to(src)
        if str(relative.parent) not in ROOMS:
            found.append(f"src/{relative}: not in one of the rooms {', '.join(ROOMS)}")
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if match:
                count += 1
                if relative.suffix == ".h" and match[1] == '"':
                    graph.setdefault(str(relative), set()).add(match[2])
                reason = breach(relative, *match.groups())
                if reason:
                    found.append(f"src/{relative}:{number}: {match[2]}: {reason}")
    return count, found + [f"src/{circle}: a circle" for circle in circles(graph)]


def self_test():
    """Each of these is a breach, each of those is none."""
    bad = {
        "base/a.c": '"core/claim.h"',
        "core/a.c": '"base/log.h"',
        "core/b.c": "<unistd.h>",
        "core/c.c": "<systemd/sd-bus.h>",
        "core/d.c": '"daemon/broker/broker.h"',
        "core/e.c": '"claim.h"',
        "policy/a.c": "<time.h>",
        "policy/b.c": '"host/sysfs.h"',
        "daemon/kernel/vfio.c": '"daemon/kernel/hotplug.h"',
        "daemon/kernel/worker.c": '"daemon/broker/store.h"',
        "daemon/broker/store.c": '"daemon/bus/bus.h"',
        "daemon/broker/a.c": '"daemon/manager.h"',
        "daemon/d.c": '"rehearsal/rehearsal.h"',
        "host/a.c": '"daemon/broker/store.h"',
        "host/b.c": '"host/sysfs.h"',
        "client/d.c": '"host/sysfs.h"',
        "client/a.c": '"core/claim.h"',
        "client/b.c": '"daemon/broker/broker.h"',
        "other/a.c": "<stdio.h>",
        "base/x.h": '"base/y.h"',
    }
    good = {
        "base/b.c": '"base/fd.h"',
        "base/y.h": '"base/x.h"',
        "core/f.c": '"base/str.h"',
        "core/g.c": '"policy/policy.h"',
        "policy/c.c": '"core/facts.h"',
        "daemon/kernel/hotplug.c": '"host/sysfs.h"',
        "daemon/kernel/memlock.c": '"daemon/privileges.h"',
        "rehearsal/a.c": '"host/sysfs.h"',
        "client/e.c": '"rehearsal/rehearsal.h"',
        "daemon/bus/bus-claim.c": '"daemon/broker/broker.h"',
        "daemon/broker/broker.c": '"daemon/broker/store.h"',
        "client/c.c": '"core/error-table.h"',
    }
    with tempfile.TemporaryDirectory() as directory:
        for name, header in {**bad, **good}.items():
            path = Path(directory, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#include {header}\n")
        _, found = check(Path(directory))
        names = {re.split(r"[: ]", line)[0].removeprefix("src/") for line in found}
        return names ^ set(bad)


def main():
    wrong = self_test()
    if wrong:
        sys.exit(f"check-layers does not see what it must: {', '.join(sorted(wrong))}")
    count, found = check(Path(sys.argv[1]))
    if count == 0:
        sys.exit(f"no includes found below {sys.argv[1]}")
    print("\n".join(found) if found else f"{count} includes obey the rule of the rooms")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
