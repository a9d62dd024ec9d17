/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/macro.h"

/* Does systemd manage the unified hierarchy of control groups, or the one with its name? As its own library
 * looks. 0 or negative errno. */
int cgroup_layout_is_unified(bool *ret);
