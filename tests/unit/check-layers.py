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

# A file of this layer may include headers of these.
LAYERS = {
    "base": {"base"},
    "core": {"base", "core"},
    "host": {"base", "core", "host"},
    "daemon": {"base", "core", "host", "daemon"},
    "rehearsal": {"base", "core", "host", "rehearsal"},
    "client": {"base", "client"},
}

# The client talks through the contracts alone: the one table of errors, and the door of the rehearsal.
CONTRACTS = {"client": {"core/error-table.h", "rehearsal/rehearsal.h"}}

# core is pure: no system calls, no clock, no log. (base/fd.h is not named: a value that owns an fd must close it.)
IMPURE = {
    "core": {
        "base/log.h", "fcntl.h", "unistd.h", "time.h", "dirent.h", "poll.h", "syslog.h", "libudev.h",
        "sys/ioctl.h", "sys/socket.h", "sys/stat.h", "sys/time.h", "sys/wait.h", "sys/mman.h", "sys/inotify.h",
    },
}
IMPURE_PREFIXES = {"core": ("systemd/", "linux/")}

# Adapters do not know each other; these modules of the daemon put them together.
SEE_SEVERAL = ("main", "options", "manager", "engine", "job", "bus")

# For every adapter: definitions of the kernel's, and the way to raise a privilege around one call.
SHARED = {"uapi", "privileges"}

# An adapter that is built on another, which knows nothing of it.
BUILT_ON = {
    "sysfs": {"host-critical", "udev-properties"},
    "worker": {"driver", "vfio"},  # the program that a worker process runs
}

# ---- the check ----

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def modules(path):
    """bus-claim.c belongs to the module bus-claim and to the family bus."""
    return {path.stem, path.stem.split("-")[0]}


def breach(path, quote, header):
    """Why path (relative to src/) may not include header, or None."""
    layer = path.parts[0]
    if header in IMPURE.get(layer, ()) or header.startswith(IMPURE_PREFIXES.get(layer, ("//",))):
        return f"{layer} is pure"
    if quote == "<":
        return None
    target = Path(header)
    if len(target.parts) != 2 or target.parts[0] not in LAYERS:
        return "include by path from src/"
    if header in CONTRACTS.get(layer, ()):
        return None
    if target.parts[0] not in LAYERS[layer]:
        return f"{layer} may include only {', '.join(sorted(LAYERS[layer]))}"
    if layer in ("daemon", "host") and target.parts[0] == layer and not modules(path) & set(SEE_SEVERAL):
        if target.stem not in {path.stem} | SHARED | BUILT_ON.get(path.stem, set()):
            return "adapters do not include each other"
    return None


def check(src):
    found = []
    count = 0
    for path in sorted(src.glob("**/*.[ch]")):
        relative = path.relative_to(src)
        if relative.parts[0] not in LAYERS or len(relative.parts) != 2:
            found.append(f"src/{relative}: not in one of the layers {', '.join(LAYERS)}")
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if match:
                count += 1
                reason = breach(relative, *match.groups())
                if reason:
                    found.append(f"src/{relative}:{number}: {match[2]}: {reason}")
    return count, found


def self_test():
    """Each of these is a breach, each of those is none."""
    bad = {
        "base/a.c": '"core/claim.h"',
        "core/a.c": '"base/log.h"',
        "core/b.c": "<unistd.h>",
        "core/c.c": "<systemd/sd-bus.h>",
        "core/d.c": '"daemon/engine.h"',
        "core/e.c": '"claim.h"',
        "daemon/store.c": '"daemon/hotplug.h"',
        "host/a.c": '"daemon/store.h"',
        "host/b.c": '"host/sysfs.h"',
        "daemon/d.c": '"rehearsal/rehearsal.h"',
        "client/d.c": '"host/sysfs.h"',
        "client/a.c": '"core/claim.h"',
        "client/b.c": '"daemon/engine.h"',
        "other/a.c": "<stdio.h>",
    }
    good = {
        "base/b.c": '"base/fd.h"',
        "core/f.c": '"base/str.h"',
        "daemon/hotplug.c": '"host/sysfs.h"',
        "rehearsal/a.c": '"host/sysfs.h"',
        "client/e.c": '"rehearsal/rehearsal.h"',
        "daemon/vfio.c": '"daemon/uapi.h"',
        "daemon/bus-claim.c": '"daemon/engine.h"',
        "daemon/engine.c": '"daemon/store.h"',
        "client/c.c": '"core/error-table.h"',
    }
    with tempfile.TemporaryDirectory() as directory:
        for name, header in {**bad, **good}.items():
            path = Path(directory, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"#include {header}\n")
        _, found = check(Path(directory))
        names = {line.split(":")[0].removeprefix("src/") for line in found}
        return names ^ set(bad)


def main():
    wrong = self_test()
    if wrong:
        sys.exit(f"check-layers does not see what it must: {', '.join(sorted(wrong))}")
    count, found = check(Path(sys.argv[1]))
    if count == 0:
        sys.exit(f"no includes found below {sys.argv[1]}")
    print("\n".join(found) if found else f"{count} includes obey the layer rule")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
