/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/macro.h"

/* Does systemd use the unified hierarchy of control groups, or the one with its own name? Checks this as
 * systemd's library does. Returns 0 or negative errno. */
int cgroup_layout_is_unified(bool *ret);
