/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the verbs of `vfioctl policy` share: the way through rehearsal.h, and its problems as errors. */

#include "client/convert.h"
#include "client/show.h"
#include "rehearsal/rehearsal.h"

#define _cleanup_rehearsal_ _cleanup_(rehearsal_freep)

/* policy: files and directories ended by NULL; none at all: what vfiod reads. */
int policy_open(const Options *o, const char *const *policy, Rehearsal **ret, VfiodErrorText *error);
/* The same with a file that is to be installed; NULL: none. */
int policy_open_with(const Options *o, const char *const *policy, const RehearsalFile *file, Rehearsal **ret,
        VfiodErrorText *error);
/* For a negative r of the rehearsal; takes problem over. */
int policy_failed(int r, char *problem, VfiodErrorText *error);
/* --json, or what show does with it. */
int policy_show(const Options *o, struct json_object *result,
        int (*show)(const Options *o, struct json_object *result), VfiodErrorText *error);
/* One line of text that came from a file; sanitized. */
void policy_print(const char *format, ...) _printf_(1, 2);
/* Every text of a list, one on a line. */
void policy_print_lines(struct json_object *result, const char *key);
