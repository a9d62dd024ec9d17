/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Everybody whom it is worth asking a policy about: the people of the host, those whom the rules of a policy
 * or a test file describe, and one whom nobody knows. */

#include "rehearsal/persona.h"

#define CAST_MAX 1024U

typedef struct CastMember {
    char *name; /* owned; "alice, unit vm.service" */
    Subject subject;
} CastMember;

typedef struct Cast {
    CastMember *members; /* owned; no two of the same name */
    size_t n;
    size_t n_left_out; /* beyond CAST_MAX */
} Cast;

void cast_done(Cast *c);
/* Whoever has an account and is a person (a uid as they get it, or root), and a stranger. */
int cast_add_accounts(Cast *c, const Accounts *accounts, char **ret_problem);
/* Somebody for whom the "who" of each rule of this text holds. */
int cast_add_policy(Cast *c, const Accounts *accounts, const char *text, size_t size, char **ret_problem);
int cast_add_tests(Cast *c, const Accounts *accounts, char **ret_problem);
