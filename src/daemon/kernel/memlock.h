/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Raises the limit of locked memory of the process that asked, and puts it back. What a client maps for DMA
 * is pinned on its account, and the usual limit of 8 MiB is too small for anything. The kernel looks at the
 * limit whenever memory is pinned, so raising it from outside works. What the process starts meanwhile
 * inherits it and keeps it. */

#include <sys/resource.h>

#include "core/subject.h"

/* What was done to one process. */
typedef struct MemlockChange {
    bool raised;
    struct rlimit was; /* before the first time */
    struct rlimit set; /* by the last */
} MemlockChange;

/* Soft and hard limit are at least bytes afterwards, and noted in *change when they had to be raised. 0;
 * -ESRCH: the calling process is unknown or gone; -EACCES: it does not run as the calling user alone
 * (set-user-id); -EPERM: the daemon lacks the capability; another negative errno. */
int memlock_raise(const Subject *subject, uint64_t bytes, MemlockChange *change);

/* " (it is 64K now, 1M at most)" for a message, or "" when the limit is unknown. */
#define MEMLOCK_DESCRIPTION_MAX 80U
const char *memlock_describe(const Subject *subject, char *buf, size_t size);

/* What the process has locked and pinned, in bytes: whichever of the two it is charged for depends on the
 * backend. 0; -ESRCH: it is gone; another negative errno. */
int memlock_read(const Subject *subject, uint64_t *ret);

/* Back to what it was, or to bytes, which the process still needs, where that is more. 0; -ESTALE: the
 * process has set a limit itself since, which stays; else as above. */
int memlock_put_back(const Subject *subject, uint64_t bytes, MemlockChange *change);
