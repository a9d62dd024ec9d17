/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/broker/usage.h"

#define MIB (UINT64_C(1) << 20)

typedef struct World {
    sd_event *event;
    Usage *usage;
} World;

static int set_up(void **state) {
    World *w = calloc(1, sizeof(*w));

    assert_true(sd_event_new(&w->event) >= 0);
    assert_int_equal(usage_new(w->event, &w->usage), 0);
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    World *w = *state;

    usage_free(w->usage);
    sd_event_unref(w->event);
    free(w);
    return 0;
}

static UsageCharge *charge(World *w, const char *rule, uid_t uid, const Subject *process, uint64_t memlock) {
    _cleanup_(plan_done) Plan plan = PLAN_NULL;
    UsageCharge *c = NULL;
    PlanCharge *by;

    by = plan_add_charge(&plan);
    (void) snprintf(by->rule, sizeof(by->rule), "%s", rule);
    by->devices = 2;
    plan.memlock = memlock;
    assert_int_equal(usage_charge(w->usage, &plan, uid, process, NULL, &c), 0);
    return c;
}

#define LOCKED 16384U

/* Starts a process that sleeps until it is killed, with that much locked memory. */
static Subject start_locking_process(size_t bytes) {
    Subject s = SUBJECT_NULL;
    int ready[2];
    char c;

    assert_int_equal(pipe(ready), 0);
    s.uid = 1000;
    s.pid = fork();
    if (s.pid == 0) {
        /* A sanitizer's mlock() does nothing. The child must not keep our output open for its reader. */
        void *memory = mmap(NULL, LOCKED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (memory == MAP_FAILED || (bytes > 0 && syscall(SYS_mlock, memory, bytes) < 0) ||
                write(ready[1], "", 1) != 1)
            _exit(1);
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    s.pidfd = pidfd_open(s.pid, 0);
    assert_true(s.pidfd >= 0);
    return s;
}

static Subject start_process(void) {
    return start_locking_process(0);
}

static void end_process(World *w, Subject *s) {
    assert_int_equal(kill(s->pid, SIGKILL), 0);
    assert_int_equal(waitpid(s->pid, NULL, 0), s->pid);
    while (sd_event_run(w->event, 0) > 0)
        ;
    subject_done(s);
}

static RuleUsage count(World *w, const char *rule, const Subject *s) {
    RuleUsage u;

    usage_count(w->usage, rule, s, NULL, &u);
    return u;
}

static void test_claims_are_counted(void **state) {
    Subject s = SUBJECT_NULL;
    World *w = *state;
    UsageCharge *a = charge(w, "r", 1000, NULL, 0), *b = charge(w, "r", 1001, NULL, 0),
                *c = charge(w, "other", 1000, NULL, 0);

    s.uid = 1000;
    assert_int_equal(count(w, "r", &s).claims, 2);
    assert_int_equal(count(w, "r", &s).claims_of_user, 1);
    assert_int_equal(count(w, "r", &s).devices, 4);
    assert_int_equal(count(w, "r", &s).devices_of_user, 2);
    assert_int_equal(count(w, "nobody's", &s).claims, 0);
    usage_discharge(a);
    assert_int_equal(count(w, "r", &s).claims, 1);
    assert_int_equal(count(w, "r", &s).claims_of_user, 0);
    usage_discharge(b);
    assert_int_equal(count(w, "r", &s).claims, 0);
    usage_discharge(c);
}

static void add_charge(Plan *plan, const char *rule, unsigned devices) {
    PlanCharge *by = plan_add_charge(plan);

    (void) snprintf(by->rule, sizeof(by->rule), "%s", rule);
    by->devices = devices;
}

static void test_a_claim_that_grows_is_counted_once(void **state) {
    _cleanup_(plan_done) Plan more = PLAN_NULL, joined = PLAN_NULL, left = PLAN_NULL;
    UsageCharge *c, *joining;
    Subject s = SUBJECT_NULL;
    World *w = *state;

    s.uid = 1000;
    add_charge(&more, "r", 1);
    add_charge(&more, "other", 1);
    add_charge(&joined, "r", 3);
    add_charge(&joined, "other", 1);
    add_charge(&left, "other", 1);
    c = charge(w, "r", 1000, NULL, 0);
    assert_int_equal(usage_charge(w->usage, &more, 1000, NULL, c, &joining), 0);
    for (unsigned i = 0; i < 2; i++) { /* while they join, and after they have joined */
        assert_int_equal(count(w, "r", &s).claims, 1);
        assert_int_equal(count(w, "r", &s).devices_of_user, 3);
        assert_int_equal(count(w, "other", &s).claims_of_user, 1);
        assert_int_equal(count(w, "other", &s).devices, 1);
        if (i == 0)
            usage_change(c, joining, &joined);
    }
    usage_change(c, NULL, &left);
    assert_int_equal(count(w, "r", &s).claims, 0);
    assert_int_equal(count(w, "r", &s).devices, 0);
    assert_int_equal(count(w, "other", &s).claims, 1);
    /* It joins again, charged to a rule that it has no device of, which counts as one claim more. */
    assert_int_equal(usage_charge(w->usage, &more, 1000, NULL, c, &joining), 0);
    assert_int_equal(count(w, "r", &s).claims, 1);
    usage_discharge(joining);
    usage_discharge(c);
    assert_int_equal(count(w, "other", &s).devices, 0);
}

static void test_memory_of_what_has_joined_stays(void **state) {
    _cleanup_(plan_done) Plan plan = PLAN_NULL;
    Subject p = start_process();
    World *w = *state;
    UsageCharge *c = charge(w, "r", 1000, &p, 4 * MIB), *joining = charge(w, "r", 1000, &p, 2 * MIB);

    add_charge(&plan, "r", 1);
    usage_set_raised(c);
    usage_set_raised(joining);
    assert_int_equal(usage_memlock(joining), 6 * MIB);
    usage_change(c, joining, &plan);
    assert_int_equal(count(w, "r", &p).claims, 1);
    assert_int_equal(count(w, "r", &p).pinned, 6 * MIB);
    usage_discharge(c);
    assert_int_equal(count(w, "r", &p).claims, 0);
    end_process(w, &p);
}

static void test_locked_memory_counts_until_the_process_ends(void **state) {
    World *w = *state;
    Subject p = start_process(), other = start_process();
    UsageCharge *a = charge(w, "r", 1000, &p, 4 * MIB), *b;

    usage_set_raised(a);
    assert_int_equal(count(w, "r", &other).pinned, 4 * MIB);
    usage_discharge(a);
    assert_int_equal(count(w, "r", &other).claims, 0);
    assert_int_equal(count(w, "r", &other).pinned, 4 * MIB);
    assert_int_equal(count(w, "r", &other).pinned_spare, 0);
    assert_int_equal(count(w, "r", &p).pinned_spare, 4 * MIB);

    /* Its next claim can use the spare memory, as far as it suffices. */
    b = charge(w, "r", 1000, &p, 6 * MIB);
    assert_int_equal(count(w, "r", &other).pinned, 6 * MIB);
    assert_int_equal(count(w, "r", &p).pinned_spare, 0);
    usage_set_raised(b);
    end_process(w, &p);
    /* A claim still has its device. */
    assert_int_equal(count(w, "r", &other).pinned, 6 * MIB);
    usage_discharge(b);
    assert_int_equal(count(w, "r", &other).pinned, 0);
    end_process(w, &other);
}

/* Returns this process, whose limit is known and can be raised up to the hard limit. */
static Subject own_process(struct rlimit *ret) {
    Subject s = SUBJECT_NULL;

    s.uid = getuid();
    s.pid = getpid();
    s.pidfd = pidfd_open(s.pid, 0);
    assert_int_equal(prlimit(0, RLIMIT_MEMLOCK, NULL, ret), 0);
    ret->rlim_cur = MIN(ret->rlim_max, (rlim_t) (64 * 1024));
    assert_int_equal(prlimit(0, RLIMIT_MEMLOCK, ret, NULL), 0);
    return s;
}

static rlim_t soft_limit(void) {
    struct rlimit l;

    assert_int_equal(prlimit(0, RLIMIT_MEMLOCK, NULL, &l), 0);
    return l.rlim_cur;
}

static UsageCharge *raise_by(World *w, const char *rule, const Subject *p, uint64_t memlock) {
    UsageCharge *c = charge(w, rule, 1000, p, memlock);
    MemlockChange *change = usage_limit(c, p);

    assert_non_null(change);
    assert_int_equal(memlock_raise(p, usage_memlock(c), change), 0);
    usage_set_raised(c);
    return c;
}

static void end(UsageCharge *c) {
    usage_end(c);
    usage_discharge(c);
}

static void test_the_limit_is_put_back(void **state) {
    World *w = *state;
    struct rlimit before;
    Subject p = own_process(&before);
    UsageCharge *a = raise_by(w, "r", &p, 128 * 1024), *b = raise_by(w, "other", &p, 64 * 1024);

    assert_int_equal(soft_limit(), 192 * 1024);
    /* It is not lowered below what other claims of the process need. */
    end(a);
    assert_int_equal(soft_limit(), 64 * 1024);
    assert_int_equal(count(w, "r", &p).pinned, 0);
    assert_int_equal(count(w, "other", &p).pinned, 64 * 1024);
    end(b);
    assert_int_equal(soft_limit(), before.rlim_cur);
    assert_int_equal(count(w, "other", &p).pinned, 0);

    /* It is never lowered below its original value. */
    a = raise_by(w, "r", &p, 4096);
    end(a);
    assert_int_equal(soft_limit(), before.rlim_cur);
    /* It is not lowered if only the daemon ends, and the claim does not. */
    a = raise_by(w, "r", &p, 128 * 1024);
    usage_discharge(a);
    assert_int_equal(soft_limit(), 128 * 1024);
    subject_done(&p);
}

static void test_a_limit_of_the_processs_own_stays(void **state) {
    World *w = *state;
    struct rlimit before, own;
    Subject p = own_process(&before);
    UsageCharge *a = raise_by(w, "r", &p, 128 * 1024), *b;

    own = (struct rlimit){.rlim_cur = 100 * 1024, .rlim_max = before.rlim_max};
    assert_int_equal(prlimit(0, RLIMIT_MEMLOCK, &own, NULL), 0);
    end(a);
    assert_int_equal(soft_limit(), own.rlim_cur);
    assert_int_equal(count(w, "r", &p).pinned, 128 * 1024); /* the process may still have it locked */
    assert_int_equal(count(w, "r", &p).pinned_spare, 128 * 1024);
    /* The next claim restores the limit that the process has set itself. */
    b = raise_by(w, "other", &p, 192 * 1024);
    end(b);
    assert_int_equal(soft_limit(), own.rlim_cur);
    assert_int_equal(count(w, "other", &p).pinned, 0);
    assert_int_equal(count(w, "r", &p).pinned, 128 * 1024);
    assert_int_equal(prlimit(0, RLIMIT_MEMLOCK, &before, NULL), 0);
    subject_done(&p);
}

static void test_the_limit_of_a_process_that_has_ended(void **state) {
    World *w = *state;
    Subject p = start_process();
    UsageCharge *c;

    p.uid = getuid();
    c = raise_by(w, "r", &p, 64 * 1024);
    end_process(w, &p);
    end(c);
}

static void test_claims_at_a_time_add_up(void **state) {
    World *w = *state;
    Subject p = start_process();
    UsageCharge *a = charge(w, "r", 1000, &p, 4 * MIB), *b = charge(w, "other", 1000, &p, 2 * MIB);

    assert_int_equal(usage_memlock(a), 6 * MIB);
    assert_int_equal(usage_memlock(b), 6 * MIB);
    usage_discharge(b);
    assert_int_equal(usage_memlock(a), 4 * MIB);
    usage_discharge(a);
    end_process(w, &p);
}

/* A record that somebody has edited. */
static void test_memory_by_no_rule(void **state) {
    _cleanup_(plan_done) Plan plan = PLAN_NULL;
    World *w = *state;
    Subject p = start_process();
    UsageCharge *none = NULL, *c;

    plan.memlock = MIB;
    assert_int_equal(usage_charge(w->usage, &plan, 1000, NULL, NULL, &none), 0);
    c = charge(w, "r", 1000, &p, 4 * MIB);
    assert_int_equal(usage_memlock(c), 4 * MIB);
    usage_discharge(c);
    usage_discharge(none);
    end_process(w, &p);
}

static void test_what_was_not_raised_counts_no_longer(void **state) {
    World *w = *state;
    Subject p = start_process();

    usage_discharge(charge(w, "r", 1000, &p, 4 * MIB));
    assert_int_equal(count(w, "r", &p).pinned, 0);
    end_process(w, &p);
    /* Recovered claims: their process is unknown. */
    usage_discharge(charge(w, "r", 1000, NULL, UINT64_MAX));
}

static void assert_memory(World *w, uint64_t allowed, uint64_t locked) {
    uint64_t a = 1, l = 1;

    usage_get_memory(w->usage, &a, &l);
    assert_int_equal(a, allowed);
    assert_int_equal(l, locked);
}

/* The memory of a process with two claims, by two rules, counts once. */
static void test_memory_that_is_locked(void **state) {
    World *w = *state;
    Subject p = start_locking_process(LOCKED);
    UsageCharge *a, *b;

    assert_memory(w, 0, 0);
    a = charge(w, "r", 1000, &p, 4 * MIB);
    b = charge(w, "other", 1000, &p, MIB);
    assert_memory(w, 5 * MIB, LOCKED);
    usage_discharge(a);
    assert_memory(w, MIB, LOCKED);
    end_process(w, &p);
    assert_memory(w, MIB, 0);
    usage_discharge(b);
    assert_memory(w, 0, 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
            TEST(test_claims_are_counted),
            TEST(test_a_claim_that_grows_is_counted_once),
            TEST(test_memory_of_what_has_joined_stays),
            TEST(test_locked_memory_counts_until_the_process_ends),
            TEST(test_the_limit_is_put_back),
            TEST(test_a_limit_of_the_processs_own_stays),
            TEST(test_the_limit_of_a_process_that_has_ended),
            TEST(test_claims_at_a_time_add_up),
            TEST(test_memory_by_no_rule),
            TEST(test_what_was_not_raised_counts_no_longer),
            TEST(test_memory_that_is_locked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
