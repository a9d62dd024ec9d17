/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The parts behind the interface of the rehearsal, with the recorded host of tests/rehearsal.
 * tests/integration/test-rehearsal.py tests the verbs. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/str.h"
#include "rehearsal/cast.h"
#include "rehearsal/decide.h"
#include "rehearsal/persona.h"

#define HOST SOURCE_ROOT "/tests/rehearsal/host.json"
#define POLICY SOURCE_ROOT "/policy/examples/70-workshop.json"

static void open_host(HostView *ret) {
    _cleanup_free_ char *problem = NULL;

    if (host_view_open(HOST, ret, &problem) < 0)
        fail_msg("%s", problem ?: "out of memory");
}

/* --- test files --- */

static void parse(const char *text, TestFile *ret) {
    _cleanup_(problems_done) Problems problems = {};

    if (test_file_parse("t.json", text, strlen(text), ret, &problems) < 0)
        fail_msg("%s", problems_get(&problems, 0));
}

/* error: the only one expected. */
static void expect_error(const char *text, const char *error) {
    _cleanup_(problems_done) Problems problems = {};
    TestFile file = {};

    assert_int_equal(test_file_parse("t.json", text, strlen(text), &file, &problems), -EBADMSG);
    assert_int_equal(problems_count(&problems), 1);
    assert_string_equal(problems_get(&problems, 0), error);
    assert_null(file.cases);
}

static void test_file(_unused_ void **state) {
    _cleanup_(test_file_done) TestFile f = {};

    /* "cases" may come before what they refer to. */
    parse("{\"cases\":[{\"subject\":\"s\",\"devices\":\"06:0d.0\",\"expect\":\"ask\",\"rule\":null},\n"
          "{\"name\":\"n\",\"subject\":{\"user\":7},\"devices\":[\"06:0d.0\",\"06:0e.0\"],\"expect\":"
          "\"deny\","
          "\"error\":\"HostTainted\",\"now\":\"1970-01-01T00:00:01Z\"}],"
          "\"subjects\":{\"s\":{\"user\":\"alice\",\"groups\":[\"a\",2],\"capabilities\":\"CAP_CHOWN\"}},"
          "\"accounts\":{\"users\":{\"alice\":5}}}",
            &f);
    assert_int_equal(f.n_cases, 2);
    assert_string_equal(f.cases[0].name, "case 1");
    assert_int_equal(f.cases[0].expect, EFFECT_ASK);
    assert_true(f.cases[0].expects_rule && !f.cases[0].rule && !f.cases[0].expects_error);
    assert_string_equal(f.subjects[f.cases[0].subject].user, "alice");
    assert_string_equal(f.subjects[f.cases[0].subject].groups[1], "2");
    assert_null(f.subjects[f.cases[0].subject].groups[2]);
    assert_string_equal(f.cases[1].name, "n");
    assert_int_equal(f.cases[1].line, 2);
    assert_int_equal(f.cases[1].now_usec, 1000000);
    assert_int_equal(f.cases[1].error, VFIOD_ERROR_HOST_TAINTED);
    assert_int_equal(f.cases[1].request.n_devices, 2);
    assert_string_equal(f.subjects[f.cases[1].subject].user, "7");
    assert_int_equal(test_file_find_account(&f, false, "alice")->id, 5);
    assert_null(test_file_find_account(&f, true, "alice"));
}

static void test_file_errors(_unused_ void **state) {
    expect_error("", "t.json:1:1: error: expected a value, found the end of the file");
    expect_error("[]", "t.json:1:1: error: a test file must be an object, found an array");
    expect_error("{}", "t.json:1:1: error: a test file requires the key \"cases\"");
    expect_error("{\"cases\":[7]}", "t.json:1:11: error: a case must be an object, found an integer");
    expect_error("{\"cases\":[],\"subjects\":{\"a\":{\"user\":\"x\",\"namespace\":\"hots\"}}}",
            "t.json:1:53: error: unknown namespace \"hots\", did you mean \"host\"?");
    expect_error("{\"cases\":[{\"subject\":{\"user\":1},\"devices\":\"6:0\",\"expect\":\"deny\"}]}",
            "t.json:1:43: error: \"6:0\" is not the name of a device, like pci:0000:06:0d.0, did you mean "
            "\"pci:0000:06:00.0\", or "
            "all "
            "functions of that card, one by one?");
    expect_error("{\"cases\":[{\"subject\":{\"user\":1},\"devices\":\"06:0d.0\",\"expect\":\"deny\","
                 "\"error\":\"AcessDenied\"}]}",
            "t.json:1:77: error: unknown error \"AcessDenied\", did you mean \"AccessDenied\"?");
}

/* --- the caller --- */

static void expect_subject(
        const RehearsalSubject *persona, const char *name, const char *unit, const char *cgroup) {
    _cleanup_(host_view_done) HostView host = {};
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    _cleanup_free_ char *user = NULL, *problem = NULL;
    const Accounts accounts = {.host = &host};

    open_host(&host);
    assert_int_equal(persona_to_subject(&accounts, persona, &s, &user, &problem), 0);
    assert_true(streq_ptr(user, name));
    assert_true(streq_ptr(s.unit, unit));
    assert_true(streq_ptr(s.cgroup, cgroup));
}

static void test_unit_and_cgroup(_unused_ void **state) {
    expect_subject(&(const RehearsalSubject){.user = "alice"}, "alice", NULL, NULL);
    expect_subject(&(const RehearsalSubject){.user = "1000"}, "alice", NULL, NULL);
    expect_subject(&(const RehearsalSubject){.user = "4321"}, NULL, NULL, NULL);
    expect_subject(&(const RehearsalSubject){.user = "alice", .unit = "a.service"}, "alice", "a.service",
            "/system.slice/a.service");
    expect_subject(&(const RehearsalSubject){.user = "alice", .unit = "a.service", .cgroup = "/x"}, "alice",
            "a.service", "/x");
    /* As systemd determines it: a slice is not a unit, and a group below a unit is not another unit. */
    expect_subject(&(const RehearsalSubject){.user = "alice", .cgroup = "/a.slice/b.scope/c.service"},
            "alice", "b.scope", "/a.slice/b.scope/c.service");
    expect_subject(&(const RehearsalSubject){.user = "alice", .cgroup = "/a.slice/.service/lxc"}, "alice",
            NULL, "/a.slice/.service/lxc");
    /* a container that another manager has created: its inner groups are not systemd's */
    expect_subject(
            &(const RehearsalSubject){.user = "alice", .cgroup = "/docker/0123/system.slice/a.service"},
            "alice", NULL, "/docker/0123/system.slice/a.service");
    expect_subject(&(const RehearsalSubject){.user = "alice", .cgroup = "/lxc.payload.gpu1/init.scope"},
            "alice", NULL, "/lxc.payload.gpu1/init.scope");
}

static void test_groups(_unused_ void **state) {
    static const char *const named[] = {"drivers", "7", NULL};
    _cleanup_(host_view_done) HostView host = {};
    const Accounts accounts = {.host = &host};
    const struct {
        RehearsalSubject persona;
        size_t n;
        gid_t last;
    } cases[] = {
            {{.user = "alice"}, 2, 2000},
            {{.user = "1000"}, 2, 2000},
            {{.user = "4321"}, 0, 0}, /* no such account */
            {{.user = "alice", .groups = named}, 2, 7},
    };

    open_host(&host);
    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_(subject_done) Subject s = SUBJECT_NULL;
        _cleanup_free_ char *user = NULL, *problem = NULL;

        assert_int_equal(persona_to_subject(&accounts, &cases[i].persona, &s, &user, &problem), 0);
        assert_int_equal(s.n_gids, cases[i].n);
        if (s.n_gids > 0)
            assert_int_equal(s.gids[s.n_gids - 1], cases[i].last);
    }
}

/* An account in the file hides one of the host, and does not get that one's groups. */
static void test_accounts_of_a_test(_unused_ void **state) {
    _cleanup_(host_view_done) HostView host = {};
    _cleanup_(test_file_done) TestFile file = {};
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    _cleanup_free_ char *user = NULL, *problem = NULL;
    const Accounts accounts = {.host = &host, .test = &file};

    open_host(&host);
    parse("{\"cases\":[],\"accounts\":{\"users\":{\"alice\":1001}}}", &file);
    assert_int_equal(
            persona_to_subject(&accounts, &(const RehearsalSubject){.user = "alice"}, &s, &user, &problem),
            0);
    assert_int_equal(s.uid, 1001);
    assert_int_equal(s.n_gids, 0);
}

/* --- the subjects to try --- */

static void test_cast_fits_every_rule(_unused_ void **state) {
    _cleanup_(policy_parser_freep) PolicyParser *parser = NULL;
    _cleanup_(policy_freep) Policy *policy = NULL;
    _cleanup_free_ char *text = NULL, *problem = NULL;
    _cleanup_(host_view_done) HostView host = {};
    const Accounts accounts = {.host = &host};
    _cleanup_(cast_done) Cast cast = {};
    size_t size;

    open_host(&host);
    assert_int_equal(read_file_at(AT_FDCWD, POLICY, 1024 * 1024, &text, &size), 0);
    parser = policy_parser_new(host_view_resolve, &host);
    assert_non_null(parser);
    assert_int_equal(policy_parser_add(parser, POLICY, text, size), 0);
    assert_int_equal(policy_parser_finish(parser, &policy), 0);
    assert_int_equal(cast_add_policy(&cast, &accounts, text, size, &problem), 0);
    assert_int_equal(cast_add_accounts(&cast, &accounts, &problem), 0);
    for (size_t i = 0; i < policy_n_rules(policy); i++) {
        size_t n = 0;

        for (size_t k = 0; k < cast.n; k++)
            n += rule_concerns(policy_rule(policy, i), &cast.members[k].subject);
        if (n == 0)
            fail_msg("nobody fits %s", rule_name(policy_rule(policy, i)));
    }
    /* The same subjects are tried only once. */
    size = cast.n;
    assert_int_equal(cast_add_accounts(&cast, &accounts, &problem), 0);
    assert_int_equal(cast.n, size);
}

static void test_cast_is_bounded(_unused_ void **state) {
    _cleanup_(host_view_done) HostView host = {};
    const Accounts accounts = {.host = &host};
    _cleanup_free_ char *problem = NULL;
    _cleanup_strbuf_ StrBuf b = {};
    _cleanup_(cast_done) Cast cast = {};

    open_host(&host);
    strbuf_add(&b, "{\"rules\":[{\"who\":{\"user\":[0");
    for (unsigned i = 1; i < CAST_MAX + 10; i++)
        strbuf_addf(&b, ",%u", 100000 + i);
    strbuf_add(&b, "]}}]}");
    assert_int_equal(cast_add_policy(&cast, &accounts, b.text, b.length, &problem), 0);
    assert_int_equal(cast.n, CAST_MAX);
    assert_int_equal(cast.n_left_out, 10);
}

/* --- decisions --- */

static void test_effects(_unused_ void **state) {
    assert_int_equal(effect_of_both(EFFECT_ALLOW, EFFECT_ALLOW), EFFECT_ALLOW);
    assert_int_equal(effect_of_both(EFFECT_ALLOW, EFFECT_ASK), EFFECT_ASK);
    assert_int_equal(effect_of_both(EFFECT_ASK, EFFECT_DENY), EFFECT_DENY);
    assert_int_equal(effect_of_both(EFFECT_DENY, EFFECT_ALLOW), EFFECT_DENY);
}

static unsigned n_reads;

static int count_reads(void *userdata, const Device *d, unsigned what, DeviceFacts *ret) {
    const FactSource *source = userdata;

    n_reads += (what & DEVICE_FACT_NUMA_NODE) != 0;
    return source->read_facts(source->userdata, d, what, ret);
}

/* Policy and planner use the same facts, which are read once. */
static void test_facts_are_read_once(_unused_ void **state) {
    static const char text[] = "{\"rules\":[{\"name\":\"r\",\"effect\":\"allow\",\"who\":{},"
                               "\"what\":{\"device\":\"0a:00.0\",\"numa\":0}}]}";
    _cleanup_(policy_parser_freep) PolicyParser *parser = NULL;
    _cleanup_(policy_freep) Policy *policy = NULL;
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(host_view_done) HostView host = {};
    _cleanup_(answer_freep) Answer *answer = NULL;
    _cleanup_(survey_done) Survey survey = {};
    _cleanup_free_ char *problem = NULL;
    Request request = REQUEST_NULL;
    Subject subject = SUBJECT_NULL;
    FactSource source;
    Decision decision;
    Device *device;

    open_host(&host);
    parser = policy_parser_new(host_view_resolve, &host);
    assert_int_equal(policy_parser_add(parser, "f", text, strlen(text)), 0);
    if (policy_parser_n_errors(parser) > 0)
        fail_msg("%s", policy_parser_error(parser, 0));
    assert_int_equal(policy_parser_finish(parser, &policy), 0);
    subject.uid = 1000;
    source = host.facts;
    host.facts.read_facts = count_reads;
    host.facts.userdata = &source;
    host.facts.read_kernel_facts = NULL;
    assert_int_equal(request_add_device(&request, "0a:00.0", &refusal), 0);
    assert_int_equal(find_device(&host, &request.devices[0], &device, &problem), 0);
    n_reads = 0;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(decide_device(&host, &survey, policy, &subject, device, 0, &decision, &problem), 0);
        assert_int_equal(decision.verdict.effect, EFFECT_ALLOW);
    }
    assert_int_equal(decide_request(&host, &survey, policy, &subject, &request, 0, &answer, &problem), 0);
    assert_int_equal(n_reads, 1);
}

static void test_find_device(_unused_ void **state) {
    _cleanup_(host_view_done) HostView host = {};
    _cleanup_free_ char *problem = NULL;
    DeviceName name;
    Device *d = NULL;

    open_host(&host);
    assert_int_equal(device_name_parse("01:00.0", &name), 0);
    assert_int_equal(find_device(&host, &name, &d, &problem), 0);
    assert_int_equal(device_name_compare(&d->name, &name), 0);
    assert_int_equal(device_name_parse("01:00.7", &name), 0);
    assert_int_equal(find_device(&host, &name, &d, &problem), -ENODEV);
    assert_string_equal(
            problem, "there is no device pci:0000:01:00.7 on the host; did you mean pci:0000:01:00.0?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_file),
            cmocka_unit_test(test_file_errors),
            cmocka_unit_test(test_unit_and_cgroup),
            cmocka_unit_test(test_groups),
            cmocka_unit_test(test_accounts_of_a_test),
            cmocka_unit_test(test_cast_fits_every_rule),
            cmocka_unit_test(test_cast_is_bounded),
            cmocka_unit_test(test_effects),
            cmocka_unit_test(test_facts_are_read_once),
            cmocka_unit_test(test_find_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
