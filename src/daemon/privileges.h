/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Root, but bounded: which capabilities the daemon keeps, and why. units/vfiod.service, with its drop-in for
 * devices without an IOMMU, has the same list; here it holds for a daemon that was started in another way,
 * too. */

#include <sys/capability.h>

#include "base/macro.h"

/* Drops everything but the list from all sets, the bounding set included, so that a program that is executed
 * gets no more. Privileges that are not there (an unprivileged test) are no failure. 0 or negative errno. */
int privileges_drop(void);

/* Could it be raised? A daemon that is not root (a test) has none, and is told of no lack. */
bool privileges_have(cap_value_t capability);

/* Gives one of the list up permanently: CAP_SYS_RAWIO, when no rule of the policy is about devices
 * without an IOMMU. With no_new_privs nothing brings back what is not permitted, whatever the bounding set
 * says, and the workers are no better off. 0 or negative errno. */
int privileges_give_up(cap_value_t capability);

/* privileges_drop() for worker processes, which touch root's own files, and look into those of other
 * processes: kept are CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, and CAP_SYS_RAWIO where the daemon still has
 * it; of one that the spawner started, CAP_SYS_ADMIN and CAP_NET_ADMIN alone. */
int privileges_drop_in_worker(void);
/* Likewise for the spawner: nothing but CAP_SYS_ADMIN and CAP_NET_ADMIN, for its workers. */
int privileges_drop_in_spawner(void);
/* For a process that needs none. */
int privileges_drop_all(void);

/* None of the kept capabilities is in force: privileges_raise(CAP_…) around the one call that needs them,
 * privileges_lower() after it, which ends the process when that fails. Without the capability nothing
 * happens, and the call is refused by the kernel. errno is preserved. */
#define privileges_raise(...)                                                                                \
    privileges_raise_list(                                                                                   \
            (const cap_value_t[]){__VA_ARGS__}, (int) ELEMENTSOF(((const cap_value_t[]){__VA_ARGS__})))
void privileges_raise_list(const cap_value_t *capabilities, int n);
void privileges_lower(void);
