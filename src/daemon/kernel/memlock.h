/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Raises the caller's limit of locked memory, and restores it. What a client maps for DMA is pinned on its
 * account, and the usual limit of 8 MiB is too small. The kernel checks the limit whenever memory is
 * pinned, so it can be raised from outside. Processes that the client starts meanwhile inherit the limit
 * and keep it. */

#include <sys/resource.h>

#include "core/subject.h"

/* What was changed for one process. */
typedef struct MemlockChange {
    bool raised;
    struct rlimit was; /* before the first change */
    struct rlimit set; /* by the last change */
} MemlockChange;

/* Ensures that soft and hard limit are at least bytes, and notes a change in *change. 0; -ESRCH: the caller's
 * process is unknown or gone; -EACCES: it does not run as the caller's user only (set-user-id); -EPERM: the
 * daemon lacks the capability; or another negative errno. */
int memlock_raise(const Subject *subject, uint64_t bytes, MemlockChange *change);

/* " (it is 64K now, 1M at most)" for a message, or "" when the limit is unknown. */
#define MEMLOCK_DESCRIPTION_MAX 80U
const char *memlock_describe(const Subject *subject, char *buf, size_t size);

/* The bytes that the process has locked and pinned, together: the backend decides which of the two it is
 * charged for. 0; -ESRCH: it is gone; or another negative errno. */
int memlock_read(const Subject *subject, uint64_t *ret);

/* Restores the limit, but not below bytes, which the process still needs. 0; -ESTALE: the process has set a
 * limit itself since, which stays; otherwise as for memlock_raise(). */
int memlock_put_back(const Subject *subject, uint64_t bytes, MemlockChange *change);
