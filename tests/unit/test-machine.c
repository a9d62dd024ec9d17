/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/machine.h"
#include "core/plan.h"

/* The properties that make the table safe, read from the table itself. A changed cell that breaks one fails
 * here. */

static bool possible(ClaimState s, ClaimEvent e) {
    return !(machine_step(s, e).effects & CLAIM_EFFECT_IMPOSSIBLE);
}

#define FOREACH_TRANSITION(s, e, t)                                                                          \
    for (ClaimState s = 0; s < _CLAIM_STATE_MAX; s++)                                                        \
        for (ClaimEvent e = 0; e < _CLAIM_EVENT_MAX; e++)                                                    \
            for (Transition t = machine_step(s, e), *once = &t; once && possible(s, e); once = NULL)

static void test_tables(void **state) {
    for (ClaimState s = 0; s < _CLAIM_STATE_MAX; s++)
        assert_int_equal(claim_state_from_string(claim_state_to_string(s)), s);
    for (ClaimEvent e = 0; e < _CLAIM_EVENT_MAX; e++)
        assert_int_equal(claim_event_from_string(claim_event_to_string(e)), e);
    for (Disposition d = 0; d < _DISPOSITION_MAX; d++)
        assert_int_equal(disposition_from_string(disposition_to_string(d)), d);
    assert_null(claim_state_to_string(_CLAIM_STATE_MAX));
    assert_null(claim_state_to_string(_CLAIM_STATE_INVALID));
    assert_int_equal(claim_state_from_string("heldd"), _CLAIM_STATE_INVALID);
    assert_int_equal(claim_event_from_string(NULL), _CLAIM_EVENT_INVALID);
}

static void test_impossible_changes_nothing(void **state) {
    for (ClaimState s = 0; s < _CLAIM_STATE_MAX; s++)
        for (ClaimEvent e = 0; e < _CLAIM_EVENT_MAX; e++) {
            Transition t = machine_step(s, e);

            assert_true(t.next >= 0 && t.next < _CLAIM_STATE_MAX);
            if (t.effects & CLAIM_EFFECT_IMPOSSIBLE) {
                assert_int_equal(t.next, s);
                assert_int_equal(t.effects, CLAIM_EFFECT_IMPOSSIBLE);
            }
        }
    for (ClaimEvent e = 0; e < _CLAIM_EVENT_MAX; e++)
        assert_false(possible(CLAIM_GONE, e)); /* final */
}

/* A waiting request holds nothing, and leaves no trace. */
static void test_waiting_holds_nothing(void **state) {
    FOREACH_TRANSITION(s, e, t) {
        if (t.next == CLAIM_WAITING)
            assert_int_equal(t.effects, 0);
        if (s == CLAIM_WAITING && t.next == CLAIM_GONE)
            assert_int_equal(t.effects, CLAIM_EFFECT_REFUSE | CLAIM_EFFECT_FORGET);
    }
    assert_true(possible(CLAIM_WAITING, CLAIM_EVENT_ALLOWED) && possible(CLAIM_WAITING, CLAIM_EVENT_RELEASE));
}

static void test_fds_leave_only_on_opened(void **state) {
    FOREACH_TRANSITION(s, e, t) {
        if (t.effects & CLAIM_EFFECT_REPLY) {
            assert_int_equal(s, CLAIM_OPENING);
            assert_int_equal(e, CLAIM_EVENT_OPENED);
            assert_int_equal(t.next, CLAIM_HELD);
        }
        /* A claim gets its devices only when it is allowed, and only once. */
        if (t.effects & CLAIM_EFFECT_BIND)
            assert_int_equal(e, CLAIM_EVENT_ALLOWED);
    }
}

static void test_written_down_before_acting(void **state) {
    FOREACH_TRANSITION(s, e, t) {
        if (t.effects & (CLAIM_EFFECT_BIND | CLAIM_EFFECT_RESET | CLAIM_EFFECT_RESTORE))
            assert_true(t.effects & CLAIM_EFFECT_SAVE);
        /* The claim that redeems a reservation has its record. */
        assert_int_equal(t.next == CLAIM_GONE && s != CLAIM_GONE && e != CLAIM_EVENT_REDEEMED,
                !!(t.effects & CLAIM_EFFECT_FORGET));
    }
}

/* It has no devices to return, and is entered by a decision to allow or by its record alone. */
static void test_a_reservation_touches_nothing(void **state) {
    FOREACH_TRANSITION(s, e, t) {
        if (t.next == CLAIM_RESERVED)
            assert_true(e == CLAIM_EVENT_RESERVED || e == CLAIM_EVENT_RECOVERED_RESERVED);
        assert_int_equal(e == CLAIM_EVENT_RESERVED, t.effects == (CLAIM_EFFECT_SAVE | CLAIM_EFFECT_TICKET));
        if (s == CLAIM_RESERVED)
            assert_int_equal(t.next, CLAIM_GONE);
        if (e == CLAIM_EVENT_REDEEMED)
            assert_true(s == CLAIM_RESERVED && t.effects == 0);
    }
}

/* While a worker is in the kernel no external event may move the claim. */
static void test_busy_states_wait_for_their_worker(void **state) {
    static const ClaimState busy[] = {CLAIM_BINDING, CLAIM_OPENING, CLAIM_RESETTING, CLAIM_RESTORING};

    for (size_t i = 0; i < ELEMENTSOF(busy); i++) {
        assert_int_equal(machine_step(busy[i], CLAIM_EVENT_RELEASE).next, busy[i]);
        assert_int_equal(machine_step(busy[i], CLAIM_EVENT_DEVICE_GONE).next, busy[i]);
        assert_int_equal(machine_step(busy[i], CLAIM_EVENT_WORKER_STUCK).next, CLAIM_QUARANTINED);
    }
    /* If the client leaves before it has its fds, that must not be lost. */
    assert_true(machine_step(CLAIM_BINDING, CLAIM_EVENT_RELEASE).effects & CLAIM_EFFECT_DEFER);
    assert_true(machine_step(CLAIM_OPENING, CLAIM_EVENT_RELEASE).effects & CLAIM_EFFECT_DEFER);
}

/* Only a held claim joins another claim, which then has all of its devices. Nothing is done to them. */
static void test_joining_leaves_the_devices_alone(void **state) {
    for (ClaimState s = 0; s < _CLAIM_STATE_MAX; s++)
        assert_int_equal(possible(s, CLAIM_EVENT_JOINED), s == CLAIM_HELD);
    assert_int_equal(machine_step(CLAIM_HELD, CLAIM_EVENT_JOINED).next, CLAIM_GONE);
    assert_int_equal(machine_step(CLAIM_HELD, CLAIM_EVENT_JOINED).effects, CLAIM_EFFECT_FORGET);
}

/* Marks the states reachable from s without the transitions into `without`. Joining another claim is not an
 * end: its devices go the way of that claim. */
static void reach(ClaimState s, unsigned without, bool seen[static _CLAIM_STATE_MAX]) {
    if (seen[s])
        return;
    seen[s] = true;
    for (ClaimEvent e = 0; e < _CLAIM_EVENT_MAX; e++)
        if (e != CLAIM_EVENT_JOINED && possible(s, e) && !(without & (1U << machine_step(s, e).next)))
            reach(machine_step(s, e).next, without, seen);
}

static void test_every_claim_ends(void **state) {
    for (ClaimState s = 0; s < _CLAIM_STATE_MAX; s++) {
        bool seen[_CLAIM_STATE_MAX] = {};

        reach(s, 0, seen);
        assert_true(seen[CLAIM_GONE]);
    }
}

/* Between the client and the next owner there is always the wait for the close and the reset, or a
 * quarantine. A quarantine ends only by an operator, by unplugging the device, or by a late return of the
 * kernel. Then the reset comes first. */
static void test_no_way_around_the_reset(void **state) {
    bool without_reset[_CLAIM_STATE_MAX] = {}, without_drain[_CLAIM_STATE_MAX] = {};

    reach(CLAIM_HELD, 1U << CLAIM_RESETTING, without_reset);
    assert_false(without_reset[CLAIM_GONE]);
    assert_false(without_reset[CLAIM_RESTORING]);
    reach(CLAIM_HELD, 1U << CLAIM_DRAINING, without_drain);
    assert_false(without_drain[CLAIM_RESETTING]);

    for (ClaimEvent e = 0; e < _CLAIM_EVENT_MAX; e++)
        if (possible(CLAIM_QUARANTINED, e) && machine_step(CLAIM_QUARANTINED, e).next != CLAIM_QUARANTINED)
            assert_true(e == CLAIM_EVENT_FORGET || e == CLAIM_EVENT_DEVICE_GONE || e == CLAIM_EVENT_RETURNED);
    assert_int_equal(machine_step(CLAIM_QUARANTINED, CLAIM_EVENT_RETURNED).next, CLAIM_RESETTING);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_tables),
            cmocka_unit_test(test_impossible_changes_nothing),
            cmocka_unit_test(test_a_reservation_touches_nothing),
            cmocka_unit_test(test_waiting_holds_nothing),
            cmocka_unit_test(test_fds_leave_only_on_opened),
            cmocka_unit_test(test_written_down_before_acting),
            cmocka_unit_test(test_busy_states_wait_for_their_worker),
            cmocka_unit_test(test_every_claim_ends),
            cmocka_unit_test(test_joining_leaves_the_devices_alone),
            cmocka_unit_test(test_no_way_around_the_reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
