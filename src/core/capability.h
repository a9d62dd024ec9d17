/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The names of the kernel's capabilities, in the order of their numbers. Our own list: the headers that a
 * build finds may be older than the kernel that it runs on. */

#include "base/macro.h"

#define CAPABILITIES_MAX 41U

/* "CAP_SYS_RAWIO" -> 17. -EINVAL for a name that is none. */
int capability_from_name(const char *name);
/* NULL for a number that has no name. */
const char *capability_name(unsigned capability);
/* All of them, ended by NULL: for nearest(). */
const char *const *capability_names(void);
