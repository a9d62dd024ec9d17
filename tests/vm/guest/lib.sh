# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Shared by all cases. A case starts with
#
#     . /vm/guest/lib.sh
#
# It then has the devices by name (EDU_ALONE, NIC_SHARED, …: see tests/vm/run), VM_KERNEL, VM_MACHINE, and the
# functions below. The first command that fails ends the case, and the output shows where.
# shellcheck shell=bash
# shellcheck disable=SC2034 # used by scripts that source this

set -euo pipefail
set -E
trap 'echo "failed: ${BASH_SOURCE[0]##*/} line $LINENO: $BASH_COMMAND" >&2' ERR

EDU_DMA=/vm/bin/edu-dma

# ---- how a case ends ----

fail() { echo "FAIL: $*" >&2; exit 1; }
skip() { echo "skip: $*"; exit 77; }

# reboot: ends this part of the case without its trap for EXIT. What is on the root disk is there in the next part.
reboot() { trap - EXIT; exit 78; }

# same WHAT EXPECTED ACTUAL
same() { [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"; }

# refused COMMAND…: it must fail; prints its output.
refused() {
    local out
    if out=$("$@" 2>&1); then
        fail "was to be refused, but worked: $*"$'\n'"$out"
    fi
    printf '%s\n' "$out"
}

# n_devices: the number of devices that vfiod shows without mediated or vDPA devices. Those of the platform bus count only
# if firmware describes them.
n_devices() {
    {
        find /sys/bus/pci/devices -type l
        find -L /sys/bus/platform/devices -mindepth 2 -maxdepth 2 -name firmware_node
    } | wc -l
}

# ---- telling a story (--story shows stdout as it comes) ----

tell() { printf '\n%s\n' "$*"; }
# show COMMAND…: prints it as a user would type it, then its output.
show() { printf '    $ %s\n' "$*"; "$@" 2>&1 | sed 's/^/      /'; }

# ---- who ----

# as USER COMMAND…: with the user's ids and groups and none of root's environment or capabilities.
as() { (become "$@"); }

# become USER COMMAND…: likewise, in place of this shell: for the background, where the pid must be the command's.
become() {
    local user=$1
    shift
    exec setpriv --reuid "$user" --regid "$user" --init-groups --inh-caps=-all \
        env -i PATH=/usr/local/bin:/usr/bin:/bin:/vm/bin HOME="/home/$user" USER="$user" LANG=C.UTF-8 "$@"
}

# ---- devices ----

sysfs_of() { readlink -e "/sys/bus/pci/devices/$1"; }
driver_of() { local d; d=$(readlink "/sys/bus/pci/devices/$1/driver") && echo "${d##*/}" || echo none; }
override_of() { cat "/sys/bus/pci/devices/$1/driver_override"; }
group_of() { local g; g=$(readlink "/sys/bus/pci/devices/$1/iommu_group") && echo "${g##*/}" || echo none; }
members_of() { ls "/sys/kernel/iommu_groups/$1/devices"; }

# bind_to DRIVER ADDRESS: binds it manually, as an administrator would. DRIVER "" gives the device back to its own driver.
bind_to() {
    local driver=$1 device=/sys/bus/pci/devices/$2
    echo "$driver" >"$device/driver_override"
    [ ! -e "$device/driver" ] || echo "$2" >"$device/driver/unbind"
    echo "$2" >/sys/bus/pci/drivers_probe
    [ -z "$driver" ] || same "driver of $2" "$driver" "$(driver_of "$2")"
}

# ---- plugging devices: commands to QEMU through the runner ----

# qmp JSON: prints what the command returns; fails with its message.
qmp() {
    local reply
    # shellcheck disable=SC2016 # the inner shell expands it
    # The port takes one opener: concurrent callers queue.
    reply=$(flock /run/vm-qmp.lock bash -c \
        'exec 3<>/dev/virtio-ports/vm.qmp && printf "%s\n" "$1" >&3 && IFS= read -r r <&3 && printf "%s\n" "$r"' qmp "$1")
    if [ "$(jq 'has("error")' <<<"$reply")" = true ]; then
        echo "qmp: $(jq -r .error.desc <<<"$reply")" >&2
        return 1
    fi
    jq -c .return <<<"$reply"
}

# qmp_of SOCKET COMMAND: sends it to a QEMU inside the guest; prints what the command returns.
qmp_of() {
    timeout 60 python3 - "$1" "$2" <<'PYTHON'
import json, socket, sys
monitor = socket.socket(socket.AF_UNIX)
monitor.connect(sys.argv[1])
stream = monitor.makefile("rw")
stream.readline()
for command in ("qmp_capabilities", sys.argv[2]):
    stream.write(json.dumps({"execute": command}) + "\n")
    stream.flush()
    while "return" not in (answer := json.loads(stream.readline())):
        if "error" in answer:
            sys.exit(answer["error"]["desc"])
print(json.dumps(answer["return"]))
PYTHON
}

# plug NAME DRIVER [PROPERTY=VALUE…]: puts a device into hotplug port NAME (HOT0, HOT1, HOT2) and waits until udev
# has seen it. Its QEMU id is the port's name in small letters with a `d` before it.
plug() {
    local bus=${1,,} address=${!1} driver=$2 property json
    json=$(jq -nc --arg d "$driver" --arg b "$bus" '{driver: $d, id: ("d" + $b), bus: $b}')
    for property in "${@:3}"; do
        json=$(jq -c --arg k "${property%%=*}" --arg v "${property#*=}" '.[$k] = $v' <<<"$json")
    done
    qmp "{\"execute\": \"device_add\", \"arguments\": $json}" >/dev/null
    udevadm wait --timeout=30 --settle "$(port_path "$1")/$address"
}

# plug_card: puts a graphics card ($CARD) with an audio function ($CARD_AUDIO) into its port, unless an earlier case has. It
# stays there, because QEMU 7.2 does not free the memory of a card that is unplugged, and aborts when the next one is plugged.
# The stock kernel has drivers for both functions (bochs-drm, snd_hda_intel), the full kernel for neither.
plug_card() {
    [ ! -e "/sys/bus/pci/devices/$CARD" ] || return 0
    qmp "$(jq -nc '{execute: "device_add",
        arguments: {driver: "ich9-intel-hda", id: "dcardb", bus: "card", addr: "0.1", multifunction: true}}')" >/dev/null
    plug CARD bochs-display multifunction=on
    udevadm wait --timeout=30 --settle "$(port_path CARD)/$CARD_AUDIO"
}

# unplug NAME: asks the guest to release it, as the slot's button would, and waits until it is gone.
unplug() {
    qmp "{\"execute\": \"device_del\", \"arguments\": {\"id\": \"d${1,,}\"}}" >/dev/null
    udevadm wait --timeout=30 --removed "$(port_path "$1")/${!1}"
}

# The root port above hotplug slot NAME.
port_path() {
    local port
    for port in /sys/devices/pci0000:00/0000:00:*; do
        if [ -d "$port/pci_bus/${!1%:*}" ]; then
            echo "$port"
            return
        fi
    done
    fail "no root port has the bus of $1"
}
