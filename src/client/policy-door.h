/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Shared by the verbs of `vfioctl policy`: opening a rehearsal, and reporting its problems. */

#include "client/convert.h"
#include "client/show.h"
#include "rehearsal/rehearsal.h"

#define _cleanup_rehearsal_ _cleanup_(rehearsal_freep)

/* policy: files and directories ended by NULL; an empty list means what vfiod reads. */
int policy_open(const Options *o, const char *const *policy, Rehearsal **ret, VfiodErrorText *error);
/* The same with a file that may be installed; NULL: none. */
int policy_open_with(const Options *o, const char *const *policy, const RehearsalFile *file, Rehearsal **ret,
        VfiodErrorText *error);
/* The error for a negative r of the rehearsal; takes ownership of problem. */
int policy_failed(int r, char *problem, VfiodErrorText *error);
/* Shows the result: with --json as it is, otherwise with show. */
int policy_show(const Options *o, struct json_object *result,
        int (*show)(const Options *o, struct json_object *result), VfiodErrorText *error);
/* Prints one line of text from a file, sanitized. */
void policy_print(const char *format, ...) _printf_(1, 2);
/* Prints every text of a list on its own line. */
void policy_print_lines(struct json_object *result, const char *key);
