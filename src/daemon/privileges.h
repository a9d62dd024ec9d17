/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Root with few capabilities: which ones the daemon keeps, and why. units/vfiod.service with its drop-in
 * for devices without an IOMMU has the same list. Here it applies also when the daemon is started in
 * another way. */

#include <sys/capability.h>

#include "base/macro.h"

/* Drops everything else from all sets including the bounding set, so that executed programs get no more.
 * Missing privileges (an unprivileged test) are not an error. 0 or negative errno. */
int privileges_drop(void);

/* Can it be raised? Also true in a daemon that is not root (a test). */
bool privileges_have(cap_value_t capability);

/* Gives up one of them permanently: CAP_SYS_RAWIO, when no rule of the policy is about devices without an
 * IOMMU. With no_new_privs nothing can bring it back, whatever the bounding set contains, and new workers do
 * not get it either. 0 or negative errno. */
int privileges_give_up(cap_value_t capability);

/* privileges_drop() for workers, which change root's files and read those of other processes. They keep
 * CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH and CAP_KILL, and CAP_SYS_RAWIO if the daemon still has it; those that
 * the spawner starts keep CAP_SYS_PTRACE, CAP_SYS_ADMIN and CAP_NET_ADMIN only. */
int privileges_drop_in_worker(void);
/* The same for the spawner: it keeps CAP_SYS_PTRACE, CAP_SYS_ADMIN and CAP_NET_ADMIN for its
 * workers. */
int privileges_drop_in_spawner(void);
/* For a process that needs none. */
int privileges_drop_all(void);

/* The kept capabilities are not effective. Call privileges_raise(CAP_…) before the one call that needs them,
 * and privileges_lower() after it, which ends the process if it fails. Without the capability nothing is
 * raised, and the kernel refuses the call. errno is preserved. */
#define privileges_raise(...)                                                                                \
    privileges_raise_list(                                                                                   \
            (const cap_value_t[]){__VA_ARGS__}, (int) ELEMENTSOF(((const cap_value_t[]){__VA_ARGS__})))
void privileges_raise_list(const cap_value_t *capabilities, int n);
void privileges_lower(void);
