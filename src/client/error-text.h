/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* VfiodErrorText of vfiod.h, in which library and vfioctl carry every failure. core/error-table.h has the
 * errno of each error of the daemon. */

#include "base/macro.h"
#include "client/vfiod.h"

/* Names that the daemon does not use. */
#define ERROR_NAME_UNREACHABLE "Unreachable"      /* no bus, or no daemon on it */
#define ERROR_NAME_USAGE "UsageError"             /* vfioctl was called incorrectly */
#define ERROR_NAME_FAILED "Failed"                /* an error of this process: memory, files */
#define ERROR_NAME_REHEARSAL "RehearsalFailed"    /* a policy verb could not do its work */
#define ERROR_NAME_PROBLEMS "ProblemsFound"       /* vfioctl doctor has found some */
#define ERROR_NAME_NOT_EXECUTABLE "NotExecutable" /* vfioctl exec: the command exists but cannot be run */
#define ERROR_NAME_NOT_FOUND "CommandNotFound"

/* All set *e (NULL allowed) and return a negative errno, so that callers write `return error_text_…(…)`. Text
 * is sanitized. */
int error_text_set(VfiodErrorText *e, int error, const char *name, const char *format, ...) _printf_(4, 5);
int error_text_errno(VfiodErrorText *e, int error, const char *what);
/* A refusal of the daemon, by its name without the prefix. */
int error_text_of_daemon(VfiodErrorText *e, const char *name, const char *message);

/* vfioctl's exit status for an error name; 1 for an unknown name. */
int exit_status_of(const char *name);
