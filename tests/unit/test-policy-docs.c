/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The policies in the documentation must load: the installed examples together, and every policy in the
 * manual page and in the README. The manual page must name every key. */

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/str.h"
#include "policy/parse.h"
#include "core/snapshot.h"

/* Every account exists and has its own id: two names with one id would make rules cover each other. */
static int resolve(_unused_ void *userdata, _unused_ bool is_group, const char *name, uint32_t *ret) {
    uint32_t id = 1000;

    for (; *name; name++)
        id = 31 * id + (unsigned char) *name;
    *ret = id & INT32_MAX;
    return 0;
}

static char *read_source(const char *name) {
    char *text = NULL;
    int r = read_file_at(AT_FDCWD, name, 1024 * 1024, &text, NULL);

    if (r < 0)
        fail_msg("%s: %s", name, strerror(-r));
    return text;
}

static void add(PolicyParser *p, const char *file, const char *text) {
    assert_int_equal(policy_parser_add(p, file, text, strlen(text)), 0);
    if (policy_parser_n_errors(p) > 0)
        fail_msg("%s", policy_parser_error(p, 0));
}

static size_t finish(PolicyParser *p) {
    _cleanup_(policy_freep) Policy *policy = NULL;

    if (policy_parser_finish(p, &policy) < 0)
        fail_msg("%s", policy_parser_error(p, 0));
    return policy_n_rules(policy);
}

static int is_json(const struct dirent *entry) {
    const char *dot = strrchr(entry->d_name, '.');

    return dot && streq(dot, ".json");
}

static void test_examples(void **state) {
    _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
    struct dirent **entries;
    int n;

    assert_non_null(p);
    n = scandir(SOURCE_ROOT "/policy/examples", &entries, is_json, alphasort);
    assert_true(n >= 5);
    for (int i = 0; i < n; i++) {
        _cleanup_free_ char *path = format_string(SOURCE_ROOT "/policy/examples/%s", entries[i]->d_name);
        _cleanup_free_ char *text = read_source(path);

        add(p, path, text);
        free(entries[i]);
    }
    free(entries);
    assert_true(finish(p) >= 14);
    if (policy_parser_n_warnings(p) > 0)
        fail_msg("%s", policy_parser_warning(p, 0));
}

static char *read_example(const char *name) {
    _cleanup_free_ char *path = format_string(SOURCE_ROOT "/policy/examples/%s", name);

    return read_source(path);
}

/* Each must also load alone, because users copy one. */
static void test_each_example(void **state) {
    static const struct {
        const char *name;
        size_t n_rules;
    } examples[] = {
            {"10-never.json", 2},
            {"50-one-user.json", 1},
            {"60-virtual-machines.json", 2},
            {"70-workshop.json", 9},
            {"90-no-iommu.json", 1},
    };

    for (size_t i = 0; i < ELEMENTSOF(examples); i++) {
        _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
        _cleanup_free_ char *text = read_example(examples[i].name);

        assert_non_null(p);
        add(p, examples[i].name, text);
        assert_int_equal(finish(p), examples[i].n_rules);
        assert_int_equal(policy_parser_n_warnings(p), 0);
    }
}

/* Literal blocks are between lines of three backticks; the first line may have more text. Blocks that begin
 * with '{' are policies. */
static void expect_policies(const char *path, size_t min_policies, size_t min_rules) {
    _cleanup_free_ char *text = read_source(path);
    char *rest = text, *block;
    size_t n = 0, n_rules = 0;

    while ((block = strstr(rest, "\n```"))) {
        _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
        char *end;

        assert_non_null(p);
        block = strchr(block + 1, '\n');
        assert_non_null(block);
        block++;
        end = strstr(block, "\n```\n");
        assert_non_null(end);
        *end = '\0';
        rest = end + strlen("\n```");
        if (block[0] != '{')
            continue;
        add(p, path, block);
        n_rules += finish(p);
        n++;
    }
    assert_true(n >= min_policies && n_rules >= min_rules);
}

static void test_manual(void **state) {
    expect_policies(SOURCE_ROOT "/man/vfiod-policy.5.scd", 7, 9);
    expect_policies(SOURCE_ROOT "/README.md", 2, 5);
}

/* The example of a recorded host is not a policy. */
static void test_manual_of_snapshots(void **state) {
    _cleanup_free_ char *text = read_source(SOURCE_ROOT "/man/vfiod-snapshot.5.scd"), *problem = NULL;
    _cleanup_(host_snapshot_freep) HostSnapshot *s = NULL;
    char *block = strstr(text, "\n```\n"), *end;

    assert_non_null(block);
    block += strlen("\n```\n");
    end = strstr(block, "\n```\n");
    assert_non_null(end);
    if (host_snapshot_parse(block, (size_t) (end - block), &s, &problem) < 0)
        fail_msg("%s", problem);
    assert_int_equal(inventory_n_devices(host_snapshot_inventory(s)), 1);
}

/* If a key is unknown, the parser's message lists the known ones. */
static void expect_keys_in_manual(const char *policy, const char *manual) {
    _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
    _cleanup_free_ char *message = NULL;
    char *rest, *key;
    unsigned n = 0;

    assert_non_null(p);
    assert_int_equal(policy_parser_add(p, "f", policy, strlen(policy)), 0);
    message = strdup(policy_parser_error(p, 0));
    assert_non_null(message);
    rest = strstr(message, "known are ");
    assert_non_null(rest);
    for (rest += strlen("known are "); (key = strsep(&rest, ", ")); n++) {
        _cleanup_free_ char *entry = NULL, *nested = NULL;

        if (*key == '\0')
            continue;
        key[strlen(key) - 1] = '\0';
        /* It is in the left column, or below a key that is an object. */
        entry = format_string("\n*%s*", key + 1);
        nested = format_string("\n\t*%s*\n", key + 1);
        if (!strstr(manual, entry) && !strstr(manual, nested))
            fail_msg("vfiod-policy(5) does not explain \"%s\"", key + 1);
    }
    assert_true(n >= 1);
}

static void test_manual_names_all_keys(void **state) {
    _cleanup_free_ char *manual = read_source(SOURCE_ROOT "/man/vfiod-policy.5.scd");

    expect_keys_in_manual("{\"zzzzzzzz\":0}", manual);
    expect_keys_in_manual("{\"rules\":[{\"zzzzzzzz\":0}]}", manual);
    expect_keys_in_manual("{\"rules\":[{\"who\":{\"zzzzzzzz\":0}}]}", manual);
    expect_keys_in_manual("{\"rules\":[{\"what\":{\"zzzzzzzz\":0}}]}", manual);
    expect_keys_in_manual("{\"rules\":[{\"what\":{\"isolation\":{\"zzzzzzzz\":0}}}]}", manual);
    expect_keys_in_manual("{\"rules\":[{\"limits\":{\"zzzzzzzz\":0}}]}", manual);
    expect_keys_in_manual("{\"rules\":[{\"noiommu\":{\"zzzzzzzz\":0}}]}", manual);
    expect_keys_in_manual("{\"tags\":{\"a\":{\"zzzzzzzz\":0}}}", manual);
    expect_keys_in_manual("{\"host\":{\"zzzzzzzz\":0}}", manual);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_examples),
            cmocka_unit_test(test_each_example),
            cmocka_unit_test(test_manual),
            cmocka_unit_test(test_manual_names_all_keys),
            cmocka_unit_test(test_manual_of_snapshots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
