/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/eviction.h"

#define SEC UINT64_C(1000000)

static Eviction begun(uint64_t in_sec) {
    Refusal refusal = REFUSAL_NULL;
    Eviction v = {};

    assert_int_equal(eviction_begin(&v, &(EvictionWish){.in_sec = in_sec, .reason = "x\x1b"}, 1000 * SEC,
                             10 * SEC, &refusal),
            0);
    return v;
}

static void expect(Refusal *refusal, int r, VfiodError code) {
    assert_true(r < 0);
    assert_int_equal(refusal->code, code);
    refusal_done(refusal);
}

static void test_begin(void **state) {
    Refusal refusal = REFUSAL_NULL;
    char reason[REQUEST_REASON_MAX + 1];
    Eviction v = begun(30), before = v;

    assert_int_equal(v.state, EVICTION_ANNOUNCED);
    assert_true(v.at_usec == 1030 * SEC && v.deadline_usec == 40 * SEC);
    assert_string_equal(v.reason, "x\\x1b");
    memset(reason, 'x', sizeof(reason) - 1);
    reason[sizeof(reason) - 1] = '\0';
    expect(&refusal, eviction_begin(&v, &(EvictionWish){.reason = reason}, 1, 1, &refusal),
            VFIOD_ERROR_INVALID_ARGUMENT);
    expect(&refusal, eviction_begin(&v, &(EvictionWish){.in_sec = EVICTION_SEC_MAX + 1}, 1, 1, &refusal),
            VFIOD_ERROR_INVALID_ARGUMENT);
    expect(&refusal, eviction_begin(&v, &(EvictionWish){.in_sec = UINT64_MAX}, 1, 1, &refusal),
            VFIOD_ERROR_INVALID_ARGUMENT);
    assert_memory_equal(&v, &before, sizeof(v));
}

/* The deadline of a claim shortens an eviction, and never extends one. */
static void test_deadline(void **state) {
    const EvictionWish wish = {.cause = EVICTION_BY_DEADLINE, .in_sec = 30, .reason = "over"};
    Refusal refusal = REFUSAL_NULL;
    Eviction v = begun(30), before = v;

    assert_int_equal(eviction_begin(&v, &wish, 1000 * SEC, 10 * SEC, &refusal), 0);
    assert_memory_equal(&v, &before, sizeof(v));
    v = begun(31);
    assert_int_equal(eviction_begin(&v, &wish, 1000 * SEC, 10 * SEC, &refusal), 0);
    assert_int_equal(v.cause, EVICTION_BY_DEADLINE);
    assert_string_equal(v.reason, "over");
    assert_true(v.deadline_usec == 40 * SEC);
    assert_true(eviction_is_due(&v, 40 * SEC));
    before = v;
    assert_int_equal(eviction_begin(&v, &wish, 1000 * SEC, 10 * SEC, &refusal), 0);
    assert_memory_equal(&v, &before, sizeof(v));
    v = (Eviction){};
    assert_int_equal(eviction_begin(&v, &wish, 1000 * SEC, 10 * SEC, &refusal), 0);
    assert_int_equal(v.state, EVICTION_ANNOUNCED);
    assert_int_equal(eviction_begin(&v, &(EvictionWish){.in_sec = 500}, 1000 * SEC, 10 * SEC, &refusal), 0);
    assert_int_equal(v.cause, EVICTION_BY_OPERATOR);
    assert_true(v.deadline_usec == 510 * SEC);
}

static void test_terms(void **state) {
    const HoldTerms none = {},
                    some = {.eviction_delay_sec = 60, .max_duration_sec = 3600, .preemptible = true},
                    less = {.eviction_delay_sec = 90, .max_duration_sec = 1800, .preemptible = true};
    HoldTerms t = hold_terms_meet(&some, &less);

    assert_true(t.eviction_delay_sec == 60 && t.max_duration_sec == 1800 && t.preemptible);
    t = hold_terms_meet(&none, &some);
    assert_true(t.preemptible && t.eviction_delay_sec == 0 && t.max_duration_sec == 3600);
    t = hold_terms_meet(&some, &none);
    assert_true(t.preemptible && t.eviction_delay_sec == 0 && t.max_duration_sec == 3600);
    t = hold_terms_meet(&none, &none);
    assert_true(!t.preemptible && t.eviction_delay_sec == 0 && t.max_duration_sec == 0);
}

/* A further device does not remove what another device's rule requires of the holder. */
static void test_stop_terms(void **state) {
    const HoldTerms none = {}, some = {.stop_after_sec = 60, .drain_timeout_sec = 10},
                    more = {.stop_after_sec = 30, .drain_timeout_sec = 20};
    HoldTerms t = hold_terms_meet(&some, &more);

    assert_true(t.stop_after_sec == 30 && t.drain_timeout_sec == 10);
    t = hold_terms_meet(&some, &none);
    assert_true(t.stop_after_sec == 60 && t.drain_timeout_sec == 10);
    t = hold_terms_meet(&none, &some);
    assert_true(t.stop_after_sec == 60 && t.drain_timeout_sec == 10);
    t = hold_terms_meet(&none, &none);
    assert_true(t.stop_after_sec == 0 && t.drain_timeout_sec == 0);
    assert_false(hold_terms_meet(&none, &(HoldTerms){.d3cold = true}).d3cold);
    assert_true(hold_terms_meet(&(HoldTerms){.d3cold = true}, &(HoldTerms){.d3cold = true}).d3cold);
    assert_true(eviction_stop_usec(&some, 5 * SEC) == 65 * SEC);
    assert_true(eviction_stop_usec(&none, 5 * SEC) == 0);
}

static void test_stop(void **state) {
    Stop s = {};

    stop_begin(&s, 20, 1000 * SEC, 10 * SEC);
    assert_int_equal(s.state, STOP_DUE);
    assert_true(s.at_usec == 1020 * SEC && s.deadline_usec == 30 * SEC);
    assert_int_equal(stop_signal(&s), SIGTERM);
    stop_note_sent(&s, /* any= */ false, 1010 * SEC, 20 * SEC);
    assert_int_equal(s.state, STOP_DUE);
    assert_int_equal(stop_signal(&s), SIGTERM);
    stop_note_sent(&s, true, 1020 * SEC, 30 * SEC);
    assert_int_equal(s.state, STOP_ASKED);
    assert_true(s.at_usec == 1030 * SEC && s.deadline_usec == 40 * SEC);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(stop_signal(&s), SIGKILL);
        stop_note_sent(&s, i != 1, 1030 * SEC, 40 * SEC);
        assert_int_equal(s.state, STOP_KILLED);
        assert_true(s.deadline_usec == 50 * SEC);
    }
}

/* Stopping processes begins at the earlier time, and not anew. */
static void test_stop_limit(void **state) {
    Stop s = {};

    stop_limit(&s, 20, 1000 * SEC, 10 * SEC);
    assert_int_equal(s.state, STOP_DUE);
    assert_true(s.at_usec == 1020 * SEC && s.deadline_usec == 30 * SEC);
    stop_limit(&s, 20, 1001 * SEC, 11 * SEC);
    assert_true(s.deadline_usec == 30 * SEC);
    stop_limit(&s, 5, 1001 * SEC, 11 * SEC);
    assert_true(s.at_usec == 1006 * SEC && s.deadline_usec == 16 * SEC);
    stop_note_sent(&s, true, 1006 * SEC, 16 * SEC);
    stop_limit(&s, 1, 1007 * SEC, 17 * SEC);
    assert_int_equal(s.state, STOP_ASKED);
    assert_true(s.deadline_usec == 26 * SEC);
}

/* Ending the claim and keeping its devices changes nothing about when processes are stopped. */
static void test_end(void **state) {
    const HoldTerms none = {}, some = {.stop_after_sec = 60};
    Eviction v = {};
    Stop s = {};

    eviction_end(&v, &some, &s);
    assert_int_equal(s.state, STOP_NONE);
    v = begun(30);
    eviction_end(&v, &none, &s);
    assert_true(v.state == EVICTION_NONE && s.state == STOP_NONE);
    v = begun(30);
    eviction_end(&v, &some, &s);
    assert_true(v.state == EVICTION_NONE && s.state == STOP_DUE);
    assert_true(s.at_usec == 1090 * SEC && s.deadline_usec == 100 * SEC);
    v = begun(30);
    stop_begin(&s, 0, 1000 * SEC, 10 * SEC);
    eviction_end(&v, &some, &s);
    assert_true(s.deadline_usec == 10 * SEC);
}

static void test_for_waiter(void **state) {
    const Eviction none = {}, operator= begun(30),
                   priority = {.state = EVICTION_OVERDUE, .cause = EVICTION_BY_PRIORITY};

    assert_int_equal(eviction_for_waiter(&none, true, false, false), EVICTION_BEGINS);
    assert_int_equal(eviction_for_waiter(&none, true, true, false), EVICTION_STAYS);
    assert_int_equal(eviction_for_waiter(&none, false, false, true), EVICTION_STAYS);
    for (unsigned over = 0; over < 2; over++) {
        assert_int_equal(eviction_for_waiter(&operator, true, false, over), EVICTION_STAYS);
        assert_int_equal(eviction_for_waiter(&operator, false, false, over), EVICTION_STAYS);
        assert_int_equal(eviction_for_waiter(&priority, true, false, over), EVICTION_STAYS);
    }
    assert_int_equal(eviction_for_waiter(&priority, false, false, false), EVICTION_IS_CANCELLED);
    assert_int_equal(eviction_for_waiter(&priority, false, true, true), EVICTION_TURNS);
}

static void test_cancel(void **state) {
    const EvictionWish cancel = {.cancel = true};
    Refusal refusal = REFUSAL_NULL;
    Eviction v = begun(30);

    assert_int_equal(eviction_begin(&v, &cancel, 1, 1, &refusal), 0);
    assert_int_equal(v.state, EVICTION_NONE);
    expect(&refusal, eviction_begin(&v, &cancel, 1, 1, &refusal), VFIOD_ERROR_INVALID_ARGUMENT);
    expect(&refusal, eviction_answer(&v, 0, 100, &refusal), VFIOD_ERROR_INVALID_ARGUMENT);
    assert_false(eviction_is_due(&v, UINT64_MAX));
}

/* All answers together get no more time than the rule allows. */
static void test_answers(void **state) {
    Refusal refusal = REFUSAL_NULL;
    Eviction v = begun(30);

    expect(&refusal, eviction_answer(&v, 1, 0, &refusal), VFIOD_ERROR_LIMIT_EXCEEDED);
    assert_int_equal(v.state, EVICTION_ANNOUNCED);
    assert_int_equal(eviction_answer(&v, 0, 0, &refusal), 0);
    assert_int_equal(v.state, EVICTION_ACKNOWLEDGED);
    assert_int_equal(eviction_answer(&v, 40, 60, &refusal), 0);
    assert_true(v.at_usec == 1070 * SEC && v.deadline_usec == 80 * SEC);
    expect(&refusal, eviction_answer(&v, 21, 60, &refusal), VFIOD_ERROR_LIMIT_EXCEEDED);
    expect(&refusal, eviction_answer(&v, UINT64_MAX, 60, &refusal), VFIOD_ERROR_LIMIT_EXCEEDED);
    assert_int_equal(eviction_answer(&v, 20, 60, &refusal), 0);
    expect(&refusal, eviction_answer(&v, 1, 30, &refusal), VFIOD_ERROR_LIMIT_EXCEEDED); /* reloaded */
    assert_int_equal(v.more_sec, 60);
}

static void test_due(void **state) {
    Refusal refusal = REFUSAL_NULL;
    Eviction v = begun(30);

    assert_false(eviction_is_due(&v, 40 * SEC - 1));
    assert_true(eviction_is_due(&v, 40 * SEC));
    assert_int_equal(v.state, EVICTION_OVERDUE);
    assert_false(eviction_is_due(&v, 41 * SEC)); /* once */
    expect(&refusal, eviction_answer(&v, 1, 100, &refusal), VFIOD_ERROR_LIMIT_EXCEEDED);
    assert_int_equal(eviction_answer(&v, 0, 100, &refusal), 0);
    assert_int_equal(v.state, EVICTION_OVERDUE);
    assert_int_equal(eviction_begin(&v, &(EvictionWish){.in_sec = 5}, 0, 50 * SEC, &refusal), 0);
    assert_int_equal(v.state, EVICTION_ANNOUNCED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_begin),
            cmocka_unit_test(test_deadline),
            cmocka_unit_test(test_terms),
            cmocka_unit_test(test_stop_terms),
            cmocka_unit_test(test_stop),
            cmocka_unit_test(test_stop_limit),
            cmocka_unit_test(test_end),
            cmocka_unit_test(test_for_waiter),
            cmocka_unit_test(test_cancel),
            cmocka_unit_test(test_answers),
            cmocka_unit_test(test_due),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
