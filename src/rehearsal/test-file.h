/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Parses a test file into its cases, see vfiod-policy-test(5). It is as strict as the policy's parser: a case
 * with a misspelt key would always pass. Pure. */

#include "policy/policy.h"
#include "core/request.h"
#include "core/schema.h"

#define TEST_CASES_MAX 16384U

typedef struct TestAccount {
    bool is_group;
    char *name; /* owned */
    uint32_t id;
} TestAccount;

/* Strings are owned, and NULL without the key. Lists end with NULL, and are NULL without the key. */
typedef struct TestSubject {
    char *name; /* NULL: it is inside a case */
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
    uint64_t now_usec; /* 0: when the test runs */
    Effect expect;
    bool expects_rule, expects_error;
    char *rule;       /* owned; NULL: no rule matches */
    VfiodError error; /* of the whole request; _VFIOD_ERROR_INVALID: granted */
} TestCase;

typedef struct TestFile {
    TestAccount *accounts; /* owned */
    TestSubject *subjects; /* owned */
    TestCase *cases;       /* owned, in the order of the file */
    size_t n_accounts, n_subjects, n_cases;
} TestFile;

void test_file_done(TestFile *f);
/* Parses size bytes. file is its name in messages. Every problem is added to problems, and *ret is then
 * untouched. 0; -EBADMSG when there was a problem; or -ENOMEM. */
int test_file_parse(const char *file, const char *text, size_t size, TestFile *ret, Problems *problems);
/* Finds an account by name, borrowed. NULL: the file does not have it. */
const TestAccount *test_file_find_account(const TestFile *f, bool is_group, const char *name);
