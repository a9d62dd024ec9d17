/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Processes, by pidfd. The number of a process is given to another one when it has ended and was waited for;
 * a pidfd is not. So whatever is read by number counts only when the pidfd says afterwards that the process
 * is still there. */

#include <sys/types.h>

#include "base/macro.h"

/* A pidfd of its own (not a copy) of the process of another pidfd. 0; -ESRCH: it has ended. */
int process_open_again(int pidfd, int *ret);
/* By number, as somebody names it who takes care that the process is not waited for meanwhile. id: of the
 * pidfd (the inode number of the file, on kernels from 6.9 on), 0: not given. 0; -ESRCH: there is none, or it
 * is another one; -EOPNOTSUPP: this kernel has no such ids. */
int process_open(pid_t pid, uint64_t id, int *ret);

bool process_has_ended(int pidfd);
/* 0; -ESRCH: it has ended and was waited for, or it is in no pid namespace that we see. */
int process_number(int pidfd, pid_t *ret);
/* Is it of this user, and nobody else's: real, effective and saved? 0; -EACCES: not; -ESRCH: it has ended. */
int process_check_user(int pidfd, uid_t uid);
/* The path of its control group in the unified hierarchy, as /proc shows it. 0; -ENODATA: it has none there;
 * -ESRCH: it has ended. */
int process_control_group(int pidfd, char **ret);
