# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What cases with vfiod share, after lib.sh.
# shellcheck shell=bash

command -v vfioctl >/dev/null || skip "vfiod is not installed: no --stage"

# A case leaves the policy as it found it: none.
drop_policy() {
    rm -f /etc/vfiod/policy.d/*.json
    vfioctl reload >/dev/null 2>&1 || true
}
trap drop_policy EXIT

# policy NAME <TEXT: puts a policy file in place; it is in force after a reload.
policy() {
    mkdir -p /etc/vfiod/policy.d
    cat >"/etc/vfiod/policy.d/$1"
}

# Driver and override: where a device must be back at the end.
state_of() { printf 'driver %s, driver_override %s\n' "$(driver_of "$1")" "$(override_of "$1")"; }

# show_refused STATUS COMMAND…: shows it like `show`; it must end with this status.
show_refused() {
    local expected=$1 status=0
    shift
    printf '    $ %s\n' "$*"
    "$@" 2>&1 | sed 's/^/      /' || status=${PIPESTATUS[0]}
    same "status of: $*" "$expected" "$status"
}

# hold_as USER DEVICE… -- COMMAND…: claims and runs COMMAND, which prints READY and ends when its input does. let_go ends it.
hold_as() {
    local user=$1 options=() line
    shift
    while [ "$1" != -- ]; do
        options+=(--device "$1")
        shift
    done
    shift
    printf '    $ %s\n' "as $user vfioctl exec ${options[*]} -- $*"
    coproc holder { as "$user" vfioctl exec "${options[@]}" -- "$@"; }
    holder_pid=$!
    while IFS= read -r line <&"${holder[0]}"; do
        if [ "$line" = READY ]; then
            return 0
        fi
        printf '      %s\n' "$line"
    done
    fail "the holder ended before it was ready"
}

let_go() {
    eval "exec ${holder[1]}>&-"
    wait "$holder_pid" || true
}

claim_ids() { vfioctl status --json | jq -r '.claims[]?.id'; }

# Waits for the end of every claim that there is now; `release` returns when it is gone.
wait_for_no_claims() {
    local id
    for id in $(claim_ids); do
        vfioctl release "$id" >/dev/null 2>&1 || true
    done
    same "claims that are left" "" "$(claim_ids)"
}
