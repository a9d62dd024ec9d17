/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Root, but bounded: which capabilities the daemon keeps, and why. units/vfiod.service has the same list;
 * here it holds for a daemon that was started in another way, too. */

#include <sys/capability.h>

#include "base/macro.h"

/* Drops everything but the list from all sets, the bounding set included, so that a program that is executed
 * gets no more. Privileges that are not there (an unprivileged test) are no failure. 0 or negative errno. */
int privileges_drop(void);

/* The same, and nothing is kept: for worker processes, which only write to root's own files. */
int privileges_drop_all(void);

/* None of the kept capabilities is in force: raise it around the one call that needs it. Without the
 * capability nothing happens, and the call is refused by the kernel. errno is preserved. */
void privilege_raise(cap_value_t capability);
void privilege_lower(cap_value_t capability);
