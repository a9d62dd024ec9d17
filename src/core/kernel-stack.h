/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where a process waits in the kernel, by the names of functions. */

#include <stddef.h>

#define KERNEL_STACK_FRAMES_MAX 16U
#define KERNEL_FUNCTION_MAX 64U

typedef struct KernelStack {
    char frames[KERNEL_STACK_FRAMES_MAX][KERNEL_FUNCTION_MAX]; /* the innermost first */
    size_t n;
} KernelStack;

/* Reads the text of /proc/PID/stack or /proc/PID/wchan. Only the names of functions are kept, and only
 * letters, digits, '_' and '.' of those. Lines without a name are skipped. */
void kernel_stack_parse(const char *text, KernelStack *ret);
/* "vfio_unregister_group_dev device_release_driver_internal", owned by the caller; "": it is unknown. */
char *kernel_stack_format(const KernelStack *s);
