/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Raises the limit of locked memory of the process that asked. What a client maps for DMA is pinned on its
 * account, and the usual limit of 8 MiB is too small for anything. The kernel looks at the limit whenever
 * memory is pinned, so raising it from outside works; it is the process's own from then on, and inherited by
 * what it executes. */

#include "core/subject.h"

/* Soft and hard limit are at least bytes afterwards; neither is ever lowered. 0; -ESRCH: which process asked
 * is not known, or it is gone; -EACCES: it does not run as the user who asked alone (set-user-id);
 * -EPERM: the daemon lacks the capability; another negative errno. */
int memlock_raise(const Subject *subject, uint64_t bytes);
