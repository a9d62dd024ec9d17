/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/json-text.h"
#include "base/str.h"
#include "policy/rule.h"
#include "host/policy-files.h"

/* Three directories under a temporary one. `missing` is never created. */
typedef struct Tree {
    char root[32];
    char etc[48], run[48], lib[48], missing[48];
    const char *directories[5];
    const char *credentials; /* run, for some tests */
} Tree;

static void make_directory(char path[static 48], const char *root, const char *name, bool make) {
    snprintf(path, 48, "%s/%s", root, name);
    if (make)
        assert_int_equal(mkdir(path, 0755), 0);
}

static int setup(void **state) {
    Tree *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    umask(0022);
    strcpy(t->root, "/tmp/test-policy-XXXXXX");
    assert_non_null(mkdtemp(t->root));
    make_directory(t->etc, t->root, "etc", true);
    make_directory(t->run, t->root, "run", true);
    make_directory(t->lib, t->root, "lib", true);
    make_directory(t->missing, t->root, "missing", false);
    t->directories[0] = t->etc;
    t->directories[1] = t->missing;
    t->directories[2] = t->run;
    t->directories[3] = t->lib;
    *state = t;
    return 0;
}

static int teardown(void **state) {
    Tree *t = *state;
    _cleanup_free_ char *command = format_string("rm -rf -- '%s'", t->root);

    assert_non_null(startswith(t->root, "/tmp/test-policy-"));
    assert_int_equal(system(command), 0);
    free(t);
    return 0;
}

static char *path_of(const char *directory, const char *name) {
    char *path = format_string("%s/%s", directory, name);

    assert_non_null(path);
    return path;
}

static void put(const char *directory, const char *name, const char *text) {
    _cleanup_close_ int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write_file_atomic_at(fd, name, text, strlen(text), 0644), 0);
}

/* Writes a file with one rule of this name. */
static void put_rule(const char *directory, const char *name, const char *rule) {
    _cleanup_free_ char *text =
            format_string("{\"rules\":[{\"name\":\"%s\",\"effect\":\"deny\",\"who\":{},\"what\":{}}]}", rule);

    assert_non_null(text);
    put(directory, name, text);
}

static void link_to(const char *target, const char *directory, const char *name) {
    _cleanup_free_ char *path = path_of(directory, name);

    assert_int_equal(symlink(target, path), 0);
}

static void change_mode(const char *directory, const char *name, mode_t mode) {
    _cleanup_free_ char *path = path_of(directory, name);

    assert_int_equal(chmod(path, mode), 0);
}

static PolicySource source_of(const Tree *t) {
    return (PolicySource){.directories = t->directories, .credentials = t->credentials};
}

/* names: the names of the rules in force, separated by spaces. */
static void expect_rules(const Tree *t, size_t n_files, const char *names) {
    _cleanup_(policy_load_done) PolicyLoad load = {};
    const PolicySource source = source_of(t);
    _cleanup_strbuf_ StrBuf b = {};

    assert_int_equal(policy_files_load_from(&source, &load), 0);
    if (load.n_errors > 0)
        fail_msg("%s", load.errors[0]);
    assert_non_null(load.policy);
    for (size_t i = 0; i < policy_n_rules(load.policy); i++)
        strbuf_addf(&b, "%s%s", i == 0 ? "" : " ", rule_name(load.policy->rules + i));
    assert_string_equal(b.text ?: "", names);
    assert_int_equal(load.n_files, n_files);
}

/* error: the text after the root's path in the only error. */
static void expect_error(const Tree *t, const char *error) {
    _cleanup_(policy_load_done) PolicyLoad load = {};
    const PolicySource source = source_of(t);
    const char *rest;

    assert_int_equal(policy_files_load_from(&source, &load), 0);
    assert_null(load.policy);
    if (load.n_errors != 1)
        fail_msg("%zu errors, not \"%s\"", load.n_errors, error);
    rest = startswith(load.errors[0], t->root);
    assert_non_null(rest);
    assert_string_equal(rest, error);
}

static void test_nothing(void **state) {
    static const char *const none[] = {NULL};
    _cleanup_(policy_load_done) PolicyLoad load = {};

    expect_rules(*state, 0, "");
    assert_int_equal(policy_files_load(none, &load), 0);
    assert_non_null(load.policy);
    assert_int_equal(policy_n_rules(load.policy), 0);
}

static void test_order(void **state) {
    Tree *t = *state;

    put_rule(t->lib, "10-first.json", "first");
    put_rule(t->etc, "90-last.json", "last");
    put_rule(t->run, "50-middle.json", "middle");
    put_rule(t->etc, "5-between.json", "between"); /* names are compared as text */
    expect_rules(t, 4, "first between middle last");
}

static void test_other_names(void **state) {
    Tree *t = *state;

    put_rule(t->etc, "50-a.json", "a");
    put(t->etc, ".hidden.json", "broken");
    put(t->etc, "50-a.json~", "broken");
    put(t->etc, "50-a.json.dpkg-old", "broken");
    put(t->etc, "README", "broken");
    put(t->etc, ".json", "broken");
    expect_rules(t, 1, "a");
}

static void test_hiding(void **state) {
    Tree *t = *state;

    put_rule(t->lib, "50-a.json", "vendor");
    put_rule(t->run, "50-a.json", "runtime");
    expect_rules(t, 1, "runtime");
    put_rule(t->etc, "50-a.json", "operator");
    expect_rules(t, 1, "operator");
    /* a hidden file is not even read */
    put(t->lib, "50-a.json", "broken");
    expect_rules(t, 1, "operator");
}

static void test_masking(void **state) {
    Tree *t = *state;

    put_rule(t->lib, "50-a.json", "vendor");
    put_rule(t->lib, "60-b.json", "other");
    link_to("/dev/null", t->etc, "50-a.json");
    expect_rules(t, 1, "other");
}

/* In other software an empty file masks, too. Here a full disk could then remove a deny rule. */
static void test_empty_file(void **state) {
    Tree *t = *state;

    put(t->etc, "50-a.json", "");
    expect_error(t, "/etc/50-a.json:1:1: error: expected a value, found the end of the file");
}

static void test_symlink(void **state) {
    Tree *t = *state;

    put_rule(t->root, "elsewhere", "linked");
    link_to("../elsewhere", t->etc, "50-a.json");
    expect_rules(t, 1, "linked");
    change_mode(t->root, "elsewhere", 0666);
    expect_error(t, "/etc/50-a.json: error: the file must belong to root and be writable only by root");
}

static void test_dangling_symlink(void **state) {
    Tree *t = *state;

    put_rule(t->lib, "50-a.json", "vendor");
    link_to("nowhere", t->etc, "50-a.json");
    expect_error(t, "/etc/50-a.json: error: cannot open: No such file or directory");
}

/* Its target may not be mounted. Its deny rules must not be ignored without an error. */
static void test_dangling_directory(void **state) {
    Tree *t = *state;

    put_rule(t->lib, "50-a.json", "vendor");
    assert_int_equal(rmdir(t->etc), 0);
    expect_rules(t, 1, "vendor");
    assert_int_equal(symlink("nowhere", t->etc), 0);
    expect_error(t, "/etc: error: cannot open the directory: No such file or directory");
}

static void test_not_regular(void **state) {
    Tree *t = *state;
    _cleanup_free_ char *path = path_of(t->etc, "50-a.json");

    assert_int_equal(mkdir(path, 0755), 0);
    expect_error(t, "/etc/50-a.json: error: not a regular file");
    assert_int_equal(rmdir(path), 0);
    /* the loader does not wait for a writer */
    assert_int_equal(mkfifo(path, 0644), 0);
    expect_error(t, "/etc/50-a.json: error: not a regular file");
    assert_int_equal(unlink(path), 0);
    link_to("/dev/zero", t->etc, "50-a.json");
    expect_error(t, "/etc/50-a.json: error: not a regular file");
}

static void test_unprintable_name(void **state) {
    Tree *t = *state;

    put_rule(t->etc, "50-\xff.json", "r");
    expect_error(t, "/etc/50-\\xff.json: error: the name of the file must be printable UTF-8");
}

static void test_writable_file(void **state) {
    static const mode_t modes[] = {0664, 0646, 0622, 0777};
    Tree *t = *state;

    for (size_t i = 0; i < ELEMENTSOF(modes); i++) {
        put_rule(t->etc, "50-a.json", "a");
        change_mode(t->etc, "50-a.json", modes[i]);
        expect_error(t, "/etc/50-a.json: error: the file must belong to root and be writable only by root");
    }
}

static void test_writable_directory(void **state) {
    Tree *t = *state;

    put_rule(t->etc, "50-a.json", "a");
    assert_int_equal(chmod(t->etc, 0775), 0);
    expect_error(t, "/etc: error: the directory must belong to root and be writable only by root");
    assert_int_equal(chmod(t->etc, 0700), 0);
    expect_rules(t, 1, "a");
}

static void test_not_a_directory(void **state) {
    Tree *t = *state;

    assert_int_equal(rmdir(t->run), 0);
    put(t->root, "run", "");
    expect_error(t, "/run: error: cannot open the directory: Not a directory");
}

/* Only root can change a file's owner, and root can read everything. So one of these checks runs for each
 * user. */
static void test_owner_or_access(void **state) {
    Tree *t = *state;
    _cleanup_free_ char *path = path_of(t->etc, "50-a.json");

    put_rule(t->etc, "50-a.json", "a");
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 12345, (gid_t) -1), 0);
        expect_error(t, "/etc/50-a.json: error: the file must belong to root and be writable only by root");
        assert_int_equal(unlink(path), 0);
        assert_int_equal(chown(t->run, 12345, (gid_t) -1), 0);
        expect_error(t, "/run: error: the directory must belong to root and be writable only by root");
    } else {
        assert_int_equal(chmod(path, 0), 0);
        expect_error(t, "/etc/50-a.json: error: cannot open: Permission denied");
        assert_int_equal(chmod(t->etc, 0), 0);
        expect_error(t, "/etc: error: cannot open the directory: Permission denied");
        assert_int_equal(chmod(t->etc, 0700), 0);
    }
}

/* If one file is broken, the good files are not in force either. */
static void test_errors_of_several_files(void **state) {
    Tree *t = *state;
    _cleanup_(policy_load_done) PolicyLoad load = {};

    put_rule(t->etc, "10-good.json", "good");
    put(t->run, "20-bad.json", "{\"rules\":[\n{\"name\":1}]}");
    put(t->etc, "30-bad.json", "{");
    put_rule(t->lib, "40-again.json", "good");
    assert_int_equal(policy_files_load(t->directories, &load), 0);
    assert_null(load.policy);
    assert_int_equal(load.n_files, 4);
    assert_int_equal(load.n_errors, 6);
    assert_non_null(strstr(load.errors[0], "/run/20-bad.json:2:9: error: \"name\" must be a string"));
    assert_non_null(strstr(load.errors[3], "/run/20-bad.json:2:1: error: a rule requires the key \"what\""));
    assert_non_null(strstr(load.errors[4], "/etc/30-bad.json:1:2: error: expected a key"));
    assert_non_null(
            strstr(load.errors[5], "/lib/40-again.json:1:19: error: rule \"good\" already exists at "));
    assert_non_null(strstr(load.errors[5], "/etc/10-good.json:1:19"));
}

static void test_size(void **state) {
    Tree *t = *state;
    _cleanup_free_ char *path = path_of(t->etc, "50-a.json");

    put_rule(t->etc, "50-a.json", "a");
    assert_int_equal(truncate(path, JSON_SIZE_MAX + 1), 0);
    expect_error(t, "/etc/50-a.json: error: the file is too large");
}

static void test_size_together(void **state) {
    Tree *t = *state;
    _cleanup_free_ char *text = malloc(JSON_SIZE_MAX + 1);

    assert_non_null(text);
    memset(text, ' ', JSON_SIZE_MAX);
    text[JSON_SIZE_MAX] = '\0';
    memcpy(text, "{\"rules\":[]}", 12);
    put(t->etc, "1.json", text);
    put(t->etc, "2.json", text);
    put(t->etc, "3.json", text);
    put(t->etc, "4.json", text);
    expect_rules(t, 4, "");
    put(t->etc, "5.json", "{\"rules\":[]}");
    expect_error(t, "/etc/5.json: error: with this file the policy is too large");
}

static void test_number_of_files(void **state) {
    Tree *t = *state;
    char name[32];

    for (unsigned i = 0; i < POLICY_FILES_MAX; i++) {
        snprintf(name, sizeof(name), "%u.json", i);
        put(t->etc, name, "{\"rules\":[]}");
    }
    expect_rules(t, POLICY_FILES_MAX, "");
    put(t->lib, "one-more.json", "{\"rules\":[]}");
    expect_error(t, "/lib: error: too many policy files");
}

/* Names of the host's own accounts. */
static void test_names(void **state) {
    Tree *t = *state;
    _cleanup_(policy_load_done) PolicyLoad load = {};
    const Rule *r;

    put(t->etc, "50-a.json",
            "{\"rules\":[{\"effect\":\"allow\",\"who\":{\"user\":[\"root\",4000000000],\"group\":\"root\"},"
            "\"what\":{}}]}");
    assert_int_equal(policy_files_load(t->directories, &load), 0);
    assert_non_null(load.policy);
    r = load.policy->rules;
    assert_int_equal(r->n_uids, 2);
    assert_int_equal(r->uids[0], 0);
    assert_true(r->uids[1] == 4000000000U);
    assert_int_equal(r->n_gids, 1);
    assert_int_equal(r->gids[0], 0);

    put(t->etc, "50-a.json",
            "{\"rules\":[{\"effect\":\"allow\",\"who\":{\"group\":\"no-such-group-here\"},\"what\":{}}]}");
    policy_load_done(&load);
    assert_int_equal(policy_files_load(t->directories, &load), 0);
    assert_non_null(load.policy);
    assert_int_equal(load.n_warnings, 1);
    assert_non_null(
            strstr(load.warnings[0], "/etc/50-a.json:1:44: warning: unknown group \"no-such-group-here\""));
}

static int note(void *userdata, const PolicyFileInfo *info) {
    StrBuf *b = userdata;

    strbuf_addf(b, "%s %s", policy_file_fate_to_string(info->fate), strrchr(info->path, '/') + 1);
    if (info->hidden_by)
        strbuf_addf(b, " by %s", strstr(info->hidden_by, "/etc/") ?: "?");
    strbuf_addf(b, " %zu\n", info->size);
    return streq(strrchr(info->path, '/') + 1, "stop.json") ? -ECANCELED : 0;
}

static void test_fates(void **state) {
    Tree *t = *state;
    _cleanup_strbuf_ StrBuf b = {};
    _cleanup_(policy_load_done) PolicyLoad load = {}, none = {};
    const PolicySource source = {.directories = t->directories, .visit = note, .visit_userdata = &b};

    put(t->etc, "a.json", "{\"rules\":[]}");
    put_rule(t->lib, "a.json", "hidden");
    link_to("/dev/null", t->run, "b.json");
    assert_int_equal(policy_files_load_from(&source, &load), 0);
    assert_string_equal(b.text, "overridden a.json by /etc/a.json 0\nread a.json 12\nmasked b.json 0\n");
    put(t->etc, "stop.json", "{\"rules\":[]}");
    assert_int_equal(policy_files_load_from(&source, &none), -ECANCELED);
}

static int resolve_to_seven(
        _unused_ void *userdata, _unused_ bool is_group, const char *name, uint32_t *ret) {
    *ret = 7;
    return streq(name, "seven") ? 0 : -ENOENT;
}

/* Files and directories are read in the given order. No name hides another, and the files may belong to the
 * user that tests a policy. */
static void test_named(void **state) {
    Tree *t = *state;
    _cleanup_(policy_load_done) PolicyLoad load = {}, missing = {};
    _cleanup_free_ char *single = path_of(t->lib, "z.json"), *nothing = path_of(t->lib, "nothing.json");
    const char *names[] = {single, t->etc, NULL}, *absent[] = {nothing, t->missing, NULL};

    put(t->lib, "z.json",
            "{\"rules\":[{\"name\":\"one\",\"effect\":\"allow\",\"who\":{\"user\":\"seven\"},\"what\":{}}]}");
    change_mode(t->lib, "z.json", 0666);
    put_rule(t->etc, "z.json", "three");
    put_rule(t->etc, "a.json", "two");
    assert_int_equal(
            policy_files_load_from(&(const PolicySource){.names = names, .resolve = resolve_to_seven}, &load),
            0);
    assert_int_equal(load.n_errors, 0);
    assert_int_equal(policy_n_rules(load.policy), 3);
    assert_string_equal(rule_name(policy_rule(load.policy, 0)), "one");
    assert_int_equal(policy_rule(load.policy, 0)->uids[0], 7);
    assert_string_equal(rule_name(policy_rule(load.policy, 1)), "two");
    assert_string_equal(rule_name(policy_rule(load.policy, 2)), "three");

    assert_int_equal(policy_files_load_from(&(const PolicySource){.names = absent}, &missing), 0);
    assert_int_equal(missing.n_errors, 2);
    assert_null(missing.policy);
}

static void expect_with_stand_in(const Tree *t, PolicyStandIn stand_in, const char *told, const char *error) {
    _cleanup_strbuf_ StrBuf b = {};
    _cleanup_(policy_load_done) PolicyLoad load = {};
    const PolicySource source = {
            .directories = t->directories, .stand_in = &stand_in, .visit = note, .visit_userdata = &b};

    stand_in.size = strlen(stand_in.text);
    assert_int_equal(policy_files_load_from(&source, &load), 0);
    assert_string_equal(b.text, told);
    assert_int_equal(load.n_errors, error ? 1 : 0);
    if (error)
        assert_non_null(strstr(load.errors[0], error));
}

/* A file to be installed replaces a present one, may be in a directory that does not exist, and is hidden by
 * an earlier one like any other. The present file is not read. */
static void test_stand_in(void **state) {
    Tree *t = *state;

    put(t->etc, "a.json", "{\"rules\":[]}");
    put(t->lib, "b.json", "{\"rules\":[]}");
    expect_with_stand_in(t, (PolicyStandIn){.directory = t->etc, .name = "b.json", .text = "{\"rules\":[ ]}"},
            "overridden b.json by /etc/b.json 0\nread a.json 12\nread b.json 13\n", NULL);
    expect_with_stand_in(t, (PolicyStandIn){.directory = t->lib, .name = "a.json", .text = "{\"rules\":[ ]}"},
            "overridden a.json by /etc/a.json 0\nread a.json 12\nread b.json 12\n", NULL);
    change_mode(t->etc, "a.json", 0666);
    expect_with_stand_in(t, (PolicyStandIn){.directory = t->etc, .name = "a.json", .text = "{\"rules\":[ ]}"},
            "read a.json 13\nread b.json 12\n", NULL);
    expect_with_stand_in(t, (PolicyStandIn){.directory = t->etc, .name = "a.json", .text = "{"},
            "read a.json 1\nread b.json 12\n", "/etc/a.json:1:2: error: ");
    change_mode(t->etc, "a.json", 0644);
    t->directories[0] = t->missing;
    t->directories[1] = t->etc;
    expect_with_stand_in(t,
            (PolicyStandIn){.directory = t->missing, .name = "b.json", .text = "{\"rules\":[ ]}"},
            "overridden b.json by ? 0\nread a.json 12\nread b.json 13\n", NULL);
}

/* Warnings are part of the loaded set. Without an explicit time, the time of the host counts. */
static void test_warnings(void **state) {
    Tree *t = *state;
    _cleanup_(policy_load_done) PolicyLoad now = {}, then = {};

    put(t->etc, "a.json",
            "{\"rules\":[{\"effect\":\"deny\",\"who\":{},\"what\":{},\n\"until\":\"2020-01-01T00:00:00Z\"}]"
            "}");
    assert_int_equal(policy_files_load(t->directories, &now), 0);
    assert_non_null(now.policy);
    assert_int_equal(now.n_errors, 0);
    assert_int_equal(now.n_warnings, 1);
    assert_non_null(
            strstr(now.warnings[0], "/etc/a.json:2:9: warning: this rule has expired and has no effect"));
    assert_int_equal(
            policy_files_load_from(
                    &(const PolicySource){.directories = t->directories, .now_usec = 1000000}, &then),
            0);
    assert_int_equal(then.n_warnings, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* The credential "vfiod.policy.NAME" is the file NAME.json. Other files in the directory are ignored. */
static void test_credentials(void **state) {
    Tree *t = *state;

    t->credentials = t->run;
    put_rule(t->run, "vfiod.policy.50-gpu", "by-credential");
    put_rule(t->run, "vfiod.policy.10-first.json", "first");
    put(t->run, "vfiod.policy", "no policy");
    put(t->run, "vfiod.policy.", "no policy");
    put(t->run, "vfiod.policy-shadow.x", "no policy");
    put(t->run, "other.json", "no policy");
    put(t->run, "network.wireguard", "no policy");
    put_rule(t->etc, "20-second.json", "second");
    put_rule(t->lib, "50-gpu.json", "by-package");
    expect_rules(t, 3, "first second by-credential");
    put_rule(t->etc, "50-gpu.json", "by-operator");
    expect_rules(t, 3, "first second by-operator");
}

static void test_a_credential_can_be_masked(void **state) {
    Tree *t = *state;

    t->credentials = t->run;
    put_rule(t->run, "vfiod.policy.50-gpu", "by-credential");
    link_to("/dev/null", t->etc, "50-gpu.json");
    expect_rules(t, 0, "");
}

static void test_bad_credentials(void **state) {
    Tree *t = *state;

    t->credentials = t->run;
    put(t->run, "vfiod.policy.a", "{\n\"rules\": 1}");
    expect_error(t, "/run/vfiod.policy.a:2:10: error: \"rules\" must be an array of rules, found an integer");
    put(t->run, "vfiod.policy.a", "");
    expect_error(t, "/run/vfiod.policy.a:1:1: error: expected a value, found the end of the file");
    put_rule(t->run, "vfiod.policy.a", "a");
    change_mode(t->run, "vfiod.policy.a", 0666);
    expect_error(t, "/run/vfiod.policy.a: error: the file must belong to root and be writable only by root");
}

/* Which one is seen first is not defined. */
static void test_two_credentials_for_one_file(void **state) {
    _cleanup_(policy_load_done) PolicyLoad load = {};
    Tree *t = *state;
    PolicySource source;

    t->credentials = t->run;
    put_rule(t->run, "vfiod.policy.a", "a");
    put_rule(t->run, "vfiod.policy.a.json", "b");
    source = source_of(t);
    assert_int_equal(policy_files_load_from(&source, &load), 0);
    assert_null(load.policy);
    assert_int_equal(load.n_errors, 1);
    assert_non_null(strstr(load.errors[0], "it stands for the same file as vfiod.policy.a"));
}

/* In other directories such a name has no meaning. */
static void test_a_credential_in_another_directory(void **state) {
    Tree *t = *state;

    t->credentials = t->missing;
    put_rule(t->run, "vfiod.policy.50-gpu", "by-credential");
    put_rule(t->run, "vfiod.policy.60.json", "a-file");
    expect_rules(t, 1, "a-file");
}

int main(void) {
    const struct CMUnitTest tests[] = {
            TEST(test_nothing),
            TEST(test_order),
            TEST(test_credentials),
            TEST(test_a_credential_can_be_masked),
            TEST(test_bad_credentials),
            TEST(test_two_credentials_for_one_file),
            TEST(test_a_credential_in_another_directory),
            TEST(test_other_names),
            TEST(test_hiding),
            TEST(test_masking),
            TEST(test_empty_file),
            TEST(test_symlink),
            TEST(test_dangling_symlink),
            TEST(test_dangling_directory),
            TEST(test_not_regular),
            TEST(test_unprintable_name),
            TEST(test_writable_file),
            TEST(test_writable_directory),
            TEST(test_not_a_directory),
            TEST(test_owner_or_access),
            TEST(test_errors_of_several_files),
            TEST(test_size),
            TEST(test_size_together),
            TEST(test_number_of_files),
            TEST(test_names),
            TEST(test_fates),
            TEST(test_named),
            TEST(test_stand_in),
            TEST(test_warnings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
