/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the log contains after a flood of refusals. The lines go to stderr, which is a file here. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/rate-limit.h"
#include "base/str.h"
#include "daemon/broker/audit.h"

#define WINDOW_USEC UINT64_C(20000)

static void test_rate_limit(void **state) {
    RateLimit l = {.per_key = 2, .in_all = 3};
    unsigned keys;

    assert_true(rate_limit_admit(&l, 1));
    assert_true(rate_limit_admit(&l, 1));
    assert_false(rate_limit_admit(&l, 1));
    assert_true(rate_limit_admit(&l, 2));
    assert_false(rate_limit_admit(&l, 3)); /* three were admitted in all */
    assert_false(rate_limit_admit(&l, 2));
    assert_false(rate_limit_admit(&l, 2));
    assert_int_equal(rate_limit_rest(&l, &keys), 4);
    assert_int_equal(keys, 3);
    assert_int_equal(rate_limit_worst(&l)->key, 2);
    assert_int_equal(rate_limit_worst(&l)->suppressed, 2);

    rate_limit_restart(&l);
    assert_null(rate_limit_worst(&l));
    assert_int_equal(rate_limit_rest(&l, &keys), 0);
    assert_int_equal(keys, 0);
    assert_true(rate_limit_admit(&l, 3));
}

static void test_rate_limit_is_bounded(void **state) {
    RateLimit l = {.per_key = 1, .in_all = UINT32_MAX};
    unsigned keys;

    for (uint32_t key = 0; key < 100 * RATE_LIMIT_KEYS; key++)
        assert_int_equal(rate_limit_admit(&l, key), key < RATE_LIMIT_KEYS);
    assert_int_equal(rate_limit_rest(&l, &keys), 99 * RATE_LIMIT_KEYS);
    assert_int_equal(keys, 1);
}

/* Returns everything that f writes to stderr. */
static char *log_of(void (*f)(void)) {
    _cleanup_close_ int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    FILE *file = tmpfile();
    char *text = NULL;
    size_t size;

    assert_non_null(file);
    assert_true(saved >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    f();
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    assert_true(lseek(fileno(file), 0, SEEK_SET) == 0);
    assert_int_equal(read_file(fileno(file), 1 << 20, &text, &size), 0);
    fclose(file);
    return text;
}

static unsigned count(const char *text, const char *part) {
    unsigned n = 0;

    for (const char *p = text; (p = strstr(p, part)); p++)
        n++;
    return n;
}

static void refuse_user(Audit *a, uid_t uid, unsigned times) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    Request request = REQUEST_NULL;
    Subject subject = SUBJECT_NULL;

    subject.uid = uid;
    (void) refuse(&refusal, VFIOD_ERROR_ACCESS_DENIED, NULL, "no rule");
    for (unsigned i = 0; i < times; i++)
        audit_refused(a, &subject, &request, &refusal);
}

static void grant_user(Audit *a, uid_t uid) {
    Claim c = CLAIM_NULL;

    c.uid = uid;
    audit_granted(a, &c);
}

/* One user makes a million requests. The log still shows another user, and a grant to the first one. */
static void flood(void) {
    _cleanup_(audit_freep) Audit *a = NULL;
    sd_event *event = NULL;

    assert_int_equal(sd_event_new(&event), 0);
    assert_int_equal(audit_new(event, WINDOW_USEC, &a), 0);
    refuse_user(a, 1000, 1000000);
    refuse_user(a, 1001, 2);
    grant_user(a, 1000);
    dprintf(STDERR_FILENO, "|");
    assert_true(sd_event_run(event, UINT64_MAX) > 0); /* the window ends */
    dprintf(STDERR_FILENO, "|");
    refuse_user(a, 1000, 6);
    a = audit_free(a);
    sd_event_unref(event);
}

static void test_flood(void **state) {
    _cleanup_free_ char *text = log_of(flood);
    char *later = strchr(text, '|'), *last;

    assert_non_null(later);
    *later++ = '\0';
    last = strchr(later, '|');
    assert_non_null(last);
    *last++ = '\0';
    assert_int_equal(count(text, "Refused uid 1000"), 5);
    assert_int_equal(count(text, "Refused uid 1001"), 2);
    assert_int_equal(count(text, "uid 1000 got"), 1);
    assert_int_equal(count(text, "\n"), 8);
    assert_int_equal(count(later, "999995 more refusals of uid 1000 in the last minute were not logged"), 1);
    assert_int_equal(count(later, "\n"), 1);
    /* The next window begins with the next refusal, and no count is lost when the daemon ends. */
    assert_int_equal(count(last, "Refused uid 1000"), 5);
    assert_int_equal(count(last, "1 more refusals of uid 1000"), 1);
}

static void grant_device(Audit *a, uid_t uid, unsigned device, const char *rule) {
    PlanMember member = {};
    Claim c = CLAIM_NULL;
    char name[32];

    snprintf(name, sizeof(name), "pci:0000:%02x:00.0", device);
    assert_int_equal(device_name_parse(name, &member.name), 0);
    c.uid = uid;
    c.plan.members = &member;
    c.plan.n_members = c.plan.n_claimed = 1;
    strcpy(c.plan.rule, rule);
    audit_granted(a, &c);
}

static void churn(void) {
    _cleanup_(audit_freep) Audit *a = NULL;
    sd_event *event = NULL;

    assert_int_equal(sd_event_new(&event), 0);
    assert_int_equal(audit_new(event, WINDOW_USEC, &a), 0);
    for (unsigned i = 0; i < 100; i++)
        grant_device(a, 1000, 1, "one");
    for (unsigned i = 0; i < 2; i++) {
        grant_device(a, 1000, 2, "one");
        grant_device(a, 1000, 1, "two");
        grant_device(a, 1001, 1, "one");
    }
    for (unsigned device = 3; device < 200; device++)
        grant_device(a, 1000, device, "one");
    dprintf(STDERR_FILENO, "|");
    assert_true(sd_event_run(event, UINT64_MAX) > 0); /* the window ends */
    dprintf(STDERR_FILENO, "|");
    for (unsigned i = 0; i < 30; i++)
        grant_device(a, 1000, 2, "one");
    a = audit_free(a);
    sd_event_unref(event);
}

/* A grant of a device by a rule without a line in this window gets one, however many its user has had. */
static void test_churn_hides_nothing(void **state) {
    _cleanup_free_ char *text = log_of(churn);
    char *told = strchr(text, '|'), *last;

    assert_non_null(told);
    *told++ = '\0';
    last = strchr(told, '|');
    assert_non_null(last);
    *last++ = '\0';
    assert_int_equal(count(text, "uid 1000 got pci:0000:01:00.0 (iommufd) by rule one"), 21);
    assert_int_equal(count(text, "uid 1000 got pci:0000:02:00.0 (iommufd) by rule one"), 1);
    assert_int_equal(count(text, "uid 1000 got pci:0000:01:00.0 (iommufd) by rule two"), 1);
    assert_int_equal(count(text, "uid 1001 got pci:0000:01:00.0 (iommufd) by rule one"), 2);
    for (unsigned device = 3; device < 200; device++) {
        char line[64];

        snprintf(line, sizeof(line), "uid 1000 got pci:0000:%02x:00.0 ", device);
        assert_int_equal(count(text, line), 1);
    }
    assert_int_equal(count(told, "81 more grants and ends of claims of uid 1000"), 1);
    assert_int_equal(count(last, "uid 1000 got pci:0000:02:00.0"), 21);
}

static void preempt(void) {
    _cleanup_(audit_freep) Audit *a = NULL;
    sd_event *event = NULL;
    Claim c = CLAIM_NULL;

    strcpy(c.id, "0123456789abcdef");
    c.uid = 1000;
    assert_int_equal(sd_event_new(&event), 0);
    assert_int_equal(audit_new(event, WINDOW_USEC, &a), 0);
    for (unsigned i = 0; i < 50; i++)
        audit_preempted(a, &c, 1001);
    audit_preempted(a, &c, 1002);
    a = audit_free(a);
    sd_event_unref(event);
}

/* A user that waits and leaves repeatedly does not flood the journal. The lines are counted for the
 * waiter. */
static void test_waiters_are_limited(void **state) {
    _cleanup_free_ char *text = log_of(preempt);

    assert_int_equal(count(text, "Claim 0123456789abcdef of uid 1000 can stay"), 21);
    assert_int_equal(count(text, "30 more grants and ends of claims of uid 1001"), 1);
}

static void operate(void) {
    PlanMember member = {};
    Subject root = SUBJECT_NULL, owner = SUBJECT_NULL;
    Claim c = CLAIM_NULL;

    assert_int_equal(device_name_parse("pci:0000:06:00.0", &member.name), 0);
    c.plan.members = &member;
    c.plan.n_members = c.plan.n_claimed = 1;
    strcpy(c.id, "0123456789abcdef");
    c.uid = 1000;
    c.state = CLAIM_HELD;
    root.uid = 0;
    root.pid = 77;
    root.command = (char *) "vfioctl";
    owner.uid = 1000;
    audit_released(&c, &owner); /* no line */
    audit_released(&c, &root);
    c.state = CLAIM_QUARANTINED;
    audit_released(&c, &root);
    audit_reload(&root);
}

static void test_operator(void **state) {
    _cleanup_free_ char *text = log_of(operate);

    assert_int_equal(count(text, "\n"), 3);
    assert_int_equal(count(text, "uid 0 released claim 0123456789abcdef of uid 1000: pci:0000:06:00.0 "), 1);
    assert_int_equal(count(text, "uid 0 lifted the quarantine of claim 0123456789abcdef"), 1);
    assert_int_equal(count(text, "uid 0 reloads the policy"), 1);
    assert_int_equal(count(text, "VFIOD_UID=0 VFIOD_PID=77 VFIOD_COMMAND=vfioctl"), 3);
    assert_int_equal(count(text, "VFIOD_CLAIM_UID=1000"), 2);
    assert_int_equal(count(text, "VFIOD_ACTION=release "), 1);
    assert_int_equal(count(text, "VFIOD_ACTION=lift-quarantine "), 1);
    assert_int_equal(count(text, "VFIOD_ACTION=reload "), 1);
}

static void flood_of_users(void) {
    _cleanup_(audit_freep) Audit *a = NULL;
    sd_event *event = NULL;

    assert_int_equal(sd_event_new(&event), 0);
    assert_int_equal(audit_new(event, WINDOW_USEC, &a), 0);
    for (uid_t uid = 1000; uid < 11000; uid++)
        refuse_user(a, uid, 100);
    a = audit_free(a);
    sd_event_unref(event);
}

static void test_flood_of_users(void **state) {
    _cleanup_free_ char *text = log_of(flood_of_users);

    assert_int_equal(count(text, "Refused uid"), 60);
    assert_int_equal(count(text, "\n"), 60 + 8 + 1);
    assert_int_equal(count(text, "or more other users"), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_rate_limit),
            cmocka_unit_test(test_rate_limit_is_bounded),
            cmocka_unit_test(test_flood),
            cmocka_unit_test(test_flood_of_users),
            cmocka_unit_test(test_churn_hides_nothing),
            cmocka_unit_test(test_waiters_are_limited),
            cmocka_unit_test(test_operator),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
