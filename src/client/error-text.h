/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one form in which library and vfioctl carry a failure: VfiodErrorText of vfiod.h. Errors of the daemon
 * have their errnos by its own table, core/error-table.h. */

#include "base/macro.h"
#include "client/vfiod.h"

/* Names that the daemon does not use. */
#define ERROR_NAME_UNREACHABLE "Unreachable"      /* no bus, or no daemon on it */
#define ERROR_NAME_USAGE "UsageError"             /* vfioctl was called the wrong way */
#define ERROR_NAME_FAILED "Failed"                /* trouble of this process: memory, files */
#define ERROR_NAME_REHEARSAL "RehearsalFailed"    /* a verb of the policy could not do its work */
#define ERROR_NAME_PROBLEMS "ProblemsFound"       /* vfioctl doctor has found some */
#define ERROR_NAME_NOT_EXECUTABLE "NotExecutable" /* vfioctl exec: the command is there but cannot be run */
#define ERROR_NAME_NOT_FOUND "CommandNotFound"

/* All fill *e (NULL allowed) and return a negative errno, so that `return error_text_…(…)` is the idiom. Text
 * is sanitized. */
int error_text_set(VfiodErrorText *e, int error, const char *name, const char *format, ...) _printf_(4, 5);
int error_text_errno(VfiodErrorText *e, int error, const char *what);
/* A refusal of the daemon, by its name without prefix. */
int error_text_of_daemon(VfiodErrorText *e, const char *name, const char *message);

/* vfioctl's exit status for an error name; 1 for a name that has none of its own. */
int exit_status_of(const char *name);
