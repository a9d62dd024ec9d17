# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Shared by cases with vfiod, in addition to lib.sh. Functions wait for events, see until_event.
# shellcheck shell=bash

command -v vfioctl >/dev/null || skip "vfiod is not installed: no --stage"

# ---- around a case ----

SCRATCH=$(mktemp -d /tmp/case.XXXXXX)

# A case leaves neither its policy nor a daemon with its drop-in behind. Its claims end with its processes. The next
# case starts when they have ended.
leave() {
    rm -rf "$SCRATCH" /etc/vfiod/policy.d/*.json
    if [ -e /run/systemd/system/vfiod.service.d ]; then
        rm -r /run/systemd/system/vfiod.service.d
        systemctl daemon-reload
        systemctl stop vfiod.service
    fi
    vfioctl reload >/dev/null 2>&1 || true
}
trap leave EXIT

# ---- policy ----

# policy NAME <TEXT: writes a policy file. A reload loads it.
policy() {
    mkdir -p /etc/vfiod/policy.d
    cat >"/etc/vfiod/policy.d/$1"
}

# allow USER DEVICE… [-- KEY VALUE…]: loads a policy of one rule. An edu has no reset, so the rule requires none.
allow() {
    local user=$1 devices=() keys='"reset": "optional"'
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        devices+=("$1")
        shift
    done
    if [ $# -gt 0 ]; then
        keys+=", \"$2\": \"$3\""
    fi
    policy 50-case.json <<POLICY
{ "rules": [ { "name": "$VM_CASE", "effect": "allow", "who": { "user": "$user" }, $keys,
               "what": { "device": $(jq -nc '$ARGS.positional' --args -- "${devices[@]}") } } ] }
POLICY
    vfioctl reload >/dev/null
}

# ---- a story: what each user types, and the output ----

# quoted WORD…: prints the words as a user would type them, with quotes only where they are required.
quoted() {
    local word line=
    for word; do
        [[ $word != *[!A-Za-z0-9_./:=,{}@%+-]* ]] || word=${word@Q}
        line+="${line:+ }$word"
    done
    echo "$line"
}

# types WHO LINE [STATUS]: shows LINE as WHO would type it, runs it, and shows its output, which `said` repeats. It must
# end with STATUS (0).
types() {
    local who=$1 line=$2 expected=${3:-0} status=0 prompt='$'
    [ "$who" != root ] || prompt='#'
    printf '    %s%s %s\n' "$who" "$prompt" "$line"
    if [ "$who" = root ]; then
        bash -c "$line" 2>&1 </dev/null
    else
        as "$who" bash -c "$line" 2>&1 </dev/null
    fi | tee "$SCRATCH/said" | fold -s -w 100 | sed -e 's/^/      /' -e 's/ *$//' || status=${PIPESTATUS[0]}
    same "status of: $line" "$expected" "$status"
}

said() { cat "$SCRATCH/said"; }

# fails STATUS COMMAND…: it must end with this status; prints its output.
fails() {
    local expected=$1 status=0 out
    shift
    out=$("$@" 2>&1 </dev/null) || status=$?
    [ "$status" = "$expected" ] || fail "status of: $*: expected $expected, got $status"$'\n'"$out"
    printf '%s\n' "$out"
}

# says WHAT PATTERN TEXT: TEXT must match the glob.
says() {
    # shellcheck disable=SC2053 # it is a pattern
    [[ $3 == $2 ]] || fail "$1: expected something like '$2', got: $3"
}

# ---- programs that hold a claim ----

# hold_as USER DEVICE… -- COMMAND…: claims and starts COMMAND in the background, which prints READY and ends when its
# standard input does. Sets HOLDER (its pid). tell_holder writes a line to it, hear_holder waits for one, let_go ends it.
hold_as() {
    start_as "$@"
    hear_holder READY
}

# start_as: likewise, but does not wait. EXEC_OPTIONS has further options for vfioctl.
EXEC_OPTIONS=()
start_as() {
    local user=$1 options=("${EXEC_OPTIONS[@]}")
    shift
    while [ "$1" != -- ]; do
        options+=(--device "$1")
        shift
    done
    shift
    rm -f "$SCRATCH/in" "$SCRATCH/out"
    mkfifo "$SCRATCH/in" "$SCRATCH/out"
    printf '    %s$ vfioctl exec %s -- %s &\n' "$user" "${options[*]}" "$(quoted "$@")"
    become "$user" vfioctl exec "${options[@]}" -- "$@" <"$SCRATCH/in" >"$SCRATCH/out" &
    HOLDER=$!
    exec {HOLDER_IN}>"$SCRATCH/in" {HOLDER_OUT}<"$SCRATCH/out"
}

tell_holder() { printf '%s\n' "$*" >&"$HOLDER_IN"; }

# hear_holder LINE: passes on its output up to that line.
hear_holder() {
    local line
    while IFS= read -r -t 60 line <&"$HOLDER_OUT"; do
        if [ "$line" = "$1" ]; then
            return 0
        fi
        printf '      %s\n' "$line"
    done
    fail "the holder ended, or was silent for a minute, before it said $1"
}

let_go() {
    exec {HOLDER_IN}>&- {HOLDER_OUT}<&-
    wait "$HOLDER" || true
}

# ---- what the daemon reports ----

# The number of fds that systemd keeps, without the copy of the taints, which only some kernels have.
n_kept() {
    local taints=0
    ! grep -q '"kind"' /run/vfiod/taints.json 2>/dev/null || taints=1
    echo $(($(systemctl show -P NFileDescriptorStore vfiod.service) - taints))
}

# Its whole journal so far.
journal() {
    journalctl --sync
    journalctl --quiet --no-pager --boot --unit=vfiod.service --output=cat "$@"
}

object_of() {
    local name=pci:$1
    name=${name//:/_3a}
    echo "/org/vfiod1/device/${name//./_2e}"
}

# property OBJECT-PATH INTERFACE NAME
property() { busctl --json=short get-property org.vfiod1 "$1" "org.vfiod1.$2" "$3" | jq -c .data; }
state_in_vfiod() { property "$(object_of "$1")" Device State | jq -r .; }
claim_ids() { vfioctl status --json | jq -r '.claims[].id'; }

# The claims that have a record; each is in a slot, or a file of its own. A slot has two halves (core/slot.h): the one with
# the higher generation counts, and is free without a text.
records() {
    python3 - /run/vfiod/claims <<'PYTHON' | sort -u
import json, pathlib, struct, sys
directory = pathlib.Path(sys.argv[1])
for file in directory.glob('*.json'):
    print(file.stem)
data = (directory / 'slots').read_bytes() if (directory / 'slots').exists() else b''
for offset in range(0, len(data), 8192):
    halves = [data[offset + i:offset + i + 4096] for i in (0, 4096)]
    _, length, half = max((*struct.unpack_from('=8xQQ', half), half) for half in halves)
    if length:
        print(json.loads(half[32:32 + length])['id'])
PYTHON
}

# until_event WHAT COMMAND…: waits until COMMAND succeeds. COMMAND runs again after each change that vfiod announces, so it
# must depend on something that is announced.
until_event() {
    local what=$1 events line watcher
    shift
    exec {events}< <(exec vfioctl monitor --json)
    watcher=$!
    # The first line reports that it listens. A change is seen by the first try or announced afterwards.
    while IFS= read -r -t 45 line <&"$events"; do
        if "$@"; then
            kill "$watcher"
            exec {events}<&-
            return 0
        fi
    done
    fail "waited in vain: $what"
}

is_in_state() { [ "$(state_in_vfiod "$1")" = "$2" ]; }
# until_state DEVICE STATE
until_state() { until_event "$1 is $2" is_in_state "$@"; }

there_is_no_claim() { [ -z "$(claim_ids)" ]; }
# Waits until every claim has ended by itself.
until_no_claims() { until_event "no claims" there_is_no_claim; }

# Prints the driver and the override, to which a device must be restored.
state_of() { printf 'driver %s, driver_override %s\n' "$(driver_of "$1")" "$(override_of "$1")"; }

# Waits for the network interface of a card, which reappears some time after its driver is bound.
interface_of() {
    local path
    for path in "/sys/bus/pci/devices/$1"/{,virtio*/}net/*; do
        [ ! -e "$path" ] || echo "${path##*/}"
    done
}
until_interface() {
    udevadm settle --timeout=30
    [ -n "$(interface_of "$1")" ] || fail "$1 has no network interface"
}

# in_unit LINE…: runs the daemon with lines of its unit changed, until the case ends.
in_unit() {
    mkdir -p /run/systemd/system/vfiod.service.d
    printf '%s\n' '[Service]' "$@" >/run/systemd/system/vfiod.service.d/case.conf
    systemctl daemon-reload
}

# For conditions without an event: tries COMMAND for SECONDS, ten times a second.
# within SECONDS COMMAND…
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "not in time: $*"
        sleep 0.1
    done
}

# waits_in_unbind DEVICE BEGAN: does the kernel say, since BEGAN (date +%s), that the unbind of DEVICE waits for its last file?
waits_in_unbind() { journalctl -qkb --since "@$2" --grep 'blocked until released by user' | grep "$1" >/dev/null; }

# An earlier case may have failed while it held a claim.
[ -n "${IN_CASE:-}" ] || [ -z "$(ls /run/vfiod/claims 2>/dev/null)" ] || until_no_claims
