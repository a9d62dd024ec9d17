/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Makes the Subject that the evaluator takes from a description of a caller. For a real caller,
 * daemon/bus/credentials.c does this. */

#include "core/subject.h"
#include "rehearsal/host-view.h"
#include "rehearsal/rehearsal.h"
#include "rehearsal/test-file.h"

/* The accounts of a host, and before them those of a test file. */
typedef struct Accounts {
    HostView *host;
    const TestFile *test; /* NULL: none */
} Accounts;

/* resolve_name_t; userdata is the Accounts. */
int accounts_resolve(void *userdata, bool is_group, const char *name, uint32_t *ret);

/* Makes the names of a subject's groups known for texts, see base/user-name.h. 0 or -ENOMEM. */
int accounts_name_groups(const Accounts *accounts, const Subject *subject);

/* *ret_name is owned by the caller: the subject's name, "alice"; NULL when only the number is known. */
int persona_to_subject(const Accounts *accounts, const RehearsalSubject *persona, Subject *ret,
        char **ret_name, char **ret_problem);
/* Converts the description in a test file. Strings are borrowed from s. */
RehearsalSubject persona_of_test(const TestSubject *s);
