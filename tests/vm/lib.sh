# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Shared by the host scripts of the test machine: image, kernel and shell source it.
# shellcheck shell=bash
# shellcheck disable=SC2034 # used by scripts that source this

VM_SUITE=forky # the suite of the root image, and where its kernel source is looked for last
VM_CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/vfiod/vm

say() { printf 'vm: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

need_root() {
    [ "$(id -u)" = 0 ] || die "$1 needs root (it sets up a chroot with other users' files): use sudo"
}

# The Debian mirror that this host uses. The tree names no mirror, so a site's own stays in use.
host_mirror() {
    local codename uri
    if [ -n "${VFIOD_VM_MIRROR:-}" ]; then
        echo "$VFIOD_VM_MIRROR"
        return
    fi
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # ORIGIN comes from the downloaded lists and stays unexpanded if there are none yet.
    # shellcheck disable=SC2016 # apt expands it
    uri=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(ORIGIN) $(REPO_URI)' 'Created-By: Packages' |
        awk -v c="$codename" '$1 == c && $2 == "main" && ($3 == "Debian" || $3 ~ /^\$/) { print $4; exit }')
    [ -n "$uri" ] || die "no Debian mirror in this host's apt configuration (try apt-get update, or set VFIOD_VM_MIRROR)"
    echo "$uri"
}

# Options that make mmdebstrap's apt reach the mirror the way the host's apt does.
mmdebstrap_options() {
    local key value
    for key in Acquire::http::Proxy Acquire::https::Proxy; do
        value=$(apt-config dump --format '%v' "$key")
        [ -z "$value" ] || printf -- '--aptopt=%s "%s"\n' "$key" "$value"
    done
    # A test image is rebuilt on machines whose mirror may be a frozen snapshot.
    printf -- '--aptopt=%s\n' 'Acquire::Check-Valid-Until "false"'
}

# package_list FILE: its entries, without comments.
package_list() { sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$1"; }

# run_logged LOG COMMAND...: prints nothing on success, and the end of the output on failure.
run_logged() {
    local log=$1
    shift
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        die "failed: $1 (all of it: $log)"
    fi
}
