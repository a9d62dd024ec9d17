# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the scripts in tools/ share: finding the checkout, installing what is missing, building.
# shellcheck shell=bash

umask 022 # what is built here is run by other users, too
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }

# package_list FILE...: their entries, without comments.
package_list() { sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$@"; }

# missing_packages FILE...: which of them dpkg does not have installed.
missing_packages() {
    local package
    for package in $(package_list "$@"); do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

# need_packages FILE...: installs what is missing. Without root it prints what to install: exit status 3.
need_packages() {
    local missing log
    command -v dpkg-query >/dev/null || return 0 # not Debian: the build says what it does not find
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        say "${0##*/}: packages are missing. As root:"
        say "    apt-get install --no-install-recommends ${missing[*]}"
        exit 3
    fi
    say "installing ${#missing[@]} packages: ${missing[*]}"
    log=$(mktemp "${TMPDIR:-/tmp}/vfiod-apt.XXXXXX")
    export DEBIAN_FRONTEND=noninteractive
    # One line for each installed package shows the progress; everything else is in the log.
    if { apt-get -q update && apt-get -q -y --no-install-recommends install "${missing[@]}"; } \
        </dev/null 2>&1 | tee "$log" | sed -nu 's/^Setting up \([^ ]*\) .*/  installed \1/p' >&2; then
        rm -f "$log"
    else
        tail -n 30 "$log" >&2
        die "packages could not be installed (all of it: $log)"
    fi
}

# Where builds go: outside of the checkout, so that builds of root and of a user never share a directory; one for each
# checkout, so that a clean clone has a clean build. VFIOD_BUILD overrides it.
build_root() {
    local cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache} key
    if [ -n "${VFIOD_BUILD:-}" ]; then
        mkdir -p "$VFIOD_BUILD" && (cd "$VFIOD_BUILD" && pwd)
        return
    fi
    # The inode distinguishes a fresh clone from an earlier one at the same path.
    key=$(printf '%s %s' "$TOP" "$(stat -c %i "$TOP")" | sha256sum | cut -c1-12)
    # Root's tests run the build as other users, who cannot enter root's home.
    [ "$(id -u)" != 0 ] || cache=/var/cache
    if ! mkdir -p "$cache/vfiod" 2>/dev/null || [ ! -w "$cache/vfiod" ]; then
        # There is no home (a service, nobody). A directory in a shared place that somebody else made is not trusted.
        cache=${TMPDIR:-/tmp}/vfiod-$(id -u)
        mkdir -m 700 "$cache" 2>/dev/null || [ -O "$cache" ] ||
            die "no place for builds: set VFIOD_BUILD to a directory that you can write"
    fi
    mkdir -p "$cache/vfiod/build-$key"
    echo "$cache/vfiod/build-$key"
}

# build DIR [MESON-OPTION...]: sets DIR up, again if the options have changed, and compiles TARGET or all. CC is the caller's.
build() {
    local dir=$1 options
    shift
    options="${CC:-cc} $*"
    if [ ! -e "$dir/build.ninja" ] || [ "$(cat "$dir/options" 2>/dev/null)" != "$options" ]; then
        rm -rf "$dir"
        meson setup "$dir" "$TOP" "$@" </dev/null || return
        printf '%s\n' "$options" >"$dir/options"
    fi
    ninja -C "$dir" ${TARGET:-all} </dev/null
}
