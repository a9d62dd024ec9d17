/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From what a person says of somebody to the Subject that the evaluator takes: what daemon/bus/credentials.c
 * would have found out about them. */

#include "core/subject.h"
#include "rehearsal/host-view.h"
#include "rehearsal/rehearsal.h"
#include "rehearsal/test-file.h"

/* The accounts of a host, and in front of them those that a test file names. */
typedef struct Accounts {
    HostView *host;
    const TestFile *test; /* NULL: none */
} Accounts;

/* resolve_name_t; userdata is the Accounts. */
int accounts_resolve(void *userdata, bool is_group, const char *name, uint32_t *ret);

/* ret_name (owned): what to call them, "alice"; NULL when only their number is known. */
int persona_to_subject(const Accounts *accounts, const RehearsalSubject *persona, Subject *ret,
        char **ret_name, char **ret_problem);
/* The same description, borrowed. */
RehearsalSubject persona_of_test(const TestSubject *s);
