/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The names of the kernel's capabilities, in the order of their numbers. This is our own list, because the
 * kernel may be newer than the headers of the build. */

#include "base/macro.h"

#define CAPABILITIES_MAX 41U

/* "CAP_SYS_RAWIO" -> 17. -EINVAL for an unknown name. */
int capability_from_name(const char *name);
/* NULL for a number without a name. */
const char *capability_name(unsigned capability);
/* All names, ended by NULL, for nearest(). */
const char *const *capability_names(void);
