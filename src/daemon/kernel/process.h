/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Processes by pidfd. A pid is reused after its process has ended and was reaped; a pidfd is not. So whatever
 * is read by pid counts only if the pidfd shows afterwards that the process still exists. */

#include <sys/types.h>

#include "base/macro.h"
#include "core/kernel-stack.h"

/* Opens another pidfd (not a copy) for the same process, owned by the caller. 0; -ESRCH: it has ended. */
int process_open_again(int pidfd, int *ret);
/* By pid, from a caller that makes sure that the process is not reaped meanwhile. id: of the pidfd (its inode
 * number, on kernels from 6.9 on); 0: not given. *ret is owned by the caller. 0; -ESRCH: there is no such
 * process, or it is another one; -EOPNOTSUPP: this kernel has no such ids. */
int process_open(pid_t pid, uint64_t id, int *ret);

bool process_has_ended(int pidfd);
/* 0; -ESRCH: it has ended and was reaped, or it is in no pid namespace that we can see. */
int process_number(int pidfd, pid_t *ret);
/* Does it run as this user only: real, effective and saved uid? 0; -EACCES: no; -ESRCH: it has ended. */
int process_check_user(int pidfd, uid_t uid);
/* The path of its control group in the unified hierarchy, as /proc shows it, owned by the caller. 0;
 * -ENODATA: it has none there; -ESRCH: it has ended. */
int process_control_group(int pidfd, char **ret);

/* When it started, in ticks since the boot. 0; -ESRCH: it has ended. */
int process_start_ticks(int pidfd, uint64_t *ret);

/* Where the process waits in the kernel: its stack, or the one function that /proc/PID/wchan names, where the
 * kernel does not show the stack. By pid, and may sleep. 0 or negative errno. */
int process_kernel_stack(pid_t pid, KernelStack *ret);
