/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text of a test file, see vfiod-policy-test(5) -> its cases. As strict as the policy's own parser, and for
 * the same reason: a case with a misspelt key would pass for ever. Pure. */

#include "policy/policy.h"
#include "core/request.h"
#include "core/schema.h"

#define TEST_CASES_MAX 16384U

typedef struct TestAccount {
    bool is_group;
    char *name; /* owned */
    uint32_t id;
} TestAccount;

/* Strings are owned, NULL where the key is not there; lists are ended by NULL, and NULL without the key. */
typedef struct TestSubject {
    char *name; /* NULL: it stands in its case */
    char *user; /* name or number */
    char **groups;
    size_t n_groups;
    char *unit, *cgroup, *label, *scope;
    char **capabilities;
    size_t n_capabilities;
    bool foreign_namespace;
} TestSubject;

typedef struct TestCase {
    char *name; /* owned; "case 3" when it has none */
    unsigned line;
    size_t subject; /* index in the file's subjects */
    Request request;
    uint64_t now_usec; /* 0: the time of the run */
    Effect expect;
    bool expects_rule, expects_error;
    char *rule;       /* owned; NULL: the default denies */
    VfiodError error; /* of the whole request; _VFIOD_ERROR_INVALID: it is granted */
} TestCase;

typedef struct TestFile {
    TestAccount *accounts; /* owned */
    TestSubject *subjects; /* owned */
    TestCase *cases;       /* owned, in the order of the file */
    size_t n_accounts, n_subjects, n_cases;
} TestFile;

void test_file_done(TestFile *f);
/* Everything that is wrong goes to problems; *ret is then untouched. file is what messages call it. 0;
 * -EBADMSG when there was any problem; -ENOMEM. */
int test_file_parse(const char *file, const char *text, size_t size, TestFile *ret, Problems *problems);
/* By name; NULL when the file does not say. */
const TestAccount *test_file_find_account(const TestFile *f, bool is_group, const char *name);
