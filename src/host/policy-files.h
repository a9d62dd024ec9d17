/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Finds and reads the policy files: NAME.json in policy.d under /etc/vfiod, /run/vfiod and /usr/lib/vfiod; a
 * name in an earlier directory hides the same name in a later one, /dev/null masks it; all are applied in the
 * order of their names. A file that others than root may write is an error, as an unreadable one is. */

#include "core/policy.h"

#define POLICY_DIRECTORIES "/etc/vfiod/policy.d", "/run/vfiod/policy.d", "/usr/lib/vfiod/policy.d"

#define POLICY_FILES_MAX 1024U
#define POLICY_BYTES_MAX (16U * 1024 * 1024) /* of all files together */

typedef struct PolicyLoad {
    Policy *policy; /* owned; NULL when there was any error */
    char **errors;  /* owned; "FILE:LINE:COL: error: …" */
    size_t n_errors;
    size_t n_files;
} PolicyLoad;

void policy_load_done(PolicyLoad *l);
/* directories: a NULL-terminated list in order of precedence. 0 (look at policy and errors) or -ENOMEM. */
int policy_files_load(const char *const *directories, PolicyLoad *ret);
