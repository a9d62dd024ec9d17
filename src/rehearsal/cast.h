/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The subjects for whom policies are compared: the people of the host, those that the rules of a policy or a
 * test file describe, and a stranger. */

#include "rehearsal/persona.h"

#define CAST_MAX 1024U

typedef struct CastMember {
    char *name; /* owned; "alice, unit vm.service" */
    char *text; /* owned; "alice (1000), unit vm.service"; NULL unless the cast is for people */
    Subject subject;
} CastMember;

typedef struct Cast {
    CastMember *members; /* owned; names are unique */
    bool for_people;     /* set before the first member is added */
    size_t n;
    size_t n_left_out; /* beyond CAST_MAX */
} Cast;

void cast_done(Cast *c);
/* Adds every account of a person (by its uid, or root), and a stranger. */
int cast_add_accounts(Cast *c, const Accounts *accounts, char **ret_problem);
/* Adds a subject for each rule of this text that matches the rule's "who". */
int cast_add_policy(Cast *c, const Accounts *accounts, const char *text, size_t size, char **ret_problem);
int cast_add_tests(Cast *c, const Accounts *accounts, char **ret_problem);
