/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a user may use, and in which order the door serves users who exceed that. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon/broker/door.h"

#define SECOND UINT64_C(1000000)
#define NOON (1000000 * SECOND)

static Budget *budget(void) {
    Budget *b = budget_new(&(BudgetLimits){.claims_per_user = 2, .claims = 5});

    assert_non_null(b);
    return b;
}

static void assert_refused(int r, Refusal *refusal) {
    assert_true(r < 0);
    assert_int_equal(refusal->code, VFIOD_ERROR_LIMIT_EXCEEDED);
    refusal_done(refusal);
    *refusal = REFUSAL_NULL;
}

static void test_claims_of_a_user(void **state) {
    _cleanup_(budget_freep) Budget *b = budget();
    Refusal refusal = REFUSAL_NULL;

    assert_int_equal(budget_begin_claim(b, 1000, &refusal), 0);
    assert_int_equal(budget_begin_claim(b, 1000, &refusal), 0);
    assert_refused(budget_begin_claim(b, 1000, &refusal), &refusal);
    assert_int_equal(budget_begin_claim(b, 1001, &refusal), 0);
    budget_end_claim(b, 1000);
    assert_int_equal(budget_begin_claim(b, 1000, &refusal), 0);
}

static void test_root_has_the_limit_of_the_host(void **state) {
    _cleanup_(budget_freep) Budget *b = budget();
    Refusal refusal = REFUSAL_NULL;

    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(budget_begin_claim(b, 0, &refusal), 0);
    assert_refused(budget_begin_claim(b, 0, &refusal), &refusal);
    assert_refused(budget_begin_claim(b, 1000, &refusal), &refusal);
}

static void test_claims_from_before_count(void **state) {
    _cleanup_(budget_freep) Budget *b = budget();
    Refusal refusal = REFUSAL_NULL;

    for (unsigned i = 0; i < 3; i++)
        budget_adopt_claim(b, 1000);
    assert_refused(budget_begin_claim(b, 1000, &refusal), &refusal);
    budget_end_claim(b, 1000);
    budget_end_claim(b, 1000);
    assert_int_equal(budget_begin_claim(b, 1000, &refusal), 0);
}

static void test_calls(void **state) {
    _cleanup_(budget_freep) Budget *b = budget();
    BudgetAccount *user = budget_account(b, 1000), *root = budget_account(b, 0);
    Refusal refusal = REFUSAL_NULL;

    for (unsigned i = 0; i < BUDGET_CALLS_PER_USER; i++)
        assert_int_equal(budget_begin_call(b, user, &refusal), 0);
    assert_refused(budget_begin_call(b, user, &refusal), &refusal);
    for (unsigned i = 0; i < 2 * BUDGET_CALLS_PER_USER; i++)
        assert_int_equal(budget_begin_call(b, root, &refusal), 0);
    budget_end_call(b, user);
    assert_int_equal(budget_begin_call(b, user, &refusal), 0);
}

/* However many users exhaust the common budget, another user still has at least one call. */
static void test_calls_of_many_users(void **state) {
    _cleanup_(budget_freep) Budget *b = budget();
    Refusal refusal = REFUSAL_NULL;
    BudgetAccount *late;

    for (uid_t uid = 1; uid <= BUDGET_CALLS_MAX / BUDGET_CALLS_PER_USER; uid++)
        for (unsigned i = 0; i < BUDGET_CALLS_PER_USER; i++)
            assert_int_equal(budget_begin_call(b, budget_account(b, uid), &refusal), 0);
    late = budget_account(b, 5000);
    assert_int_equal(budget_begin_call(b, late, &refusal), 0);
    assert_refused(budget_begin_call(b, late, &refusal), &refusal);
    assert_int_equal(budget_begin_call(b, budget_account(b, 0), &refusal), 0);
}

static void test_purses_are_of_one_user(void **state) {
    _cleanup_(budget_freep) Budget *b = budget();

    for (Purse p = 0; p < _PURSE_MAX; p++) {
        BudgetAccount *a = budget_account(b, 1000 + p);

        assert_true(budget_has_credit(a, p, NOON));
        budget_spend(a, p, NOON, 10 * SECOND);
        assert_false(budget_has_credit(a, p, NOON));
        assert_true(budget_has_credit(budget_account(b, 2000), p, NOON));
        assert_true(budget_has_credit(a, p, budget_credit_at(a, p)));
        assert_false(budget_has_credit(a, p, budget_credit_at(a, p) - 1));
        assert_true(budget_credit_at(a, p) <= NOON + 100 * SECOND);
    }
}

static void test_long_answers_of_root(void **state) {
    _cleanup_(budget_freep) Budget *b = budget();
    BudgetAccount *user = budget_account(b, 1000), *root = budget_account(b, 0);

    budget_spend_bytes(user, NOON, 10 << 20);
    budget_spend_bytes(root, NOON, 10 << 20);
    assert_false(budget_has_credit(user, PURSE_ANSWERS, NOON));
    assert_true(budget_has_credit(root, PURSE_ANSWERS, NOON));
}

/* An account is freed if and only if it owes nothing. */
static void test_many_users(void **state) {
    _cleanup_(budget_freep) Budget *b = budget();

    budget_spend(budget_account(b, 7), PURSE_EXPLAIN, budget_now(), 100 * SECOND);
    budget_adopt_claim(b, 8);
    for (uid_t uid = 1000; uid < 10000; uid++)
        assert_non_null(budget_account(b, uid));
    assert_false(budget_has_credit(budget_account(b, 7), PURSE_EXPLAIN, budget_now()));
    assert_int_equal(budget_account(b, 8)->n_claims, 1);
}

/* Makes calls of as many users as can have an account of their own, from uid 1000 on. Returns the first uid
 * without one. */
static uid_t fill_accounts(Budget *b) {
    uid_t uid = 1000;

    for (BudgetAccount *a; (a = budget_account(b, uid))->uid == uid; uid++)
        assert_int_equal(budget_begin_call(b, a, NULL), 0);
    return uid;
}

/* Users that come too late share one account, so that every charge has an account. Root and claims have their
 * own. */
static void test_too_many_users(void **state) {
    _cleanup_(budget_freep) Budget *b = budget();
    uid_t late = fill_accounts(b);
    Refusal refusal = REFUSAL_NULL;
    BudgetAccount *others = budget_account(b, late);

    assert_true(late >= 2000);
    assert_int_equal(others->uid, BUDGET_UID_OTHERS);
    assert_int_equal(budget_begin_call(b, others, &refusal), 0);
    assert_ptr_equal(budget_account(b, late + 1), others);
    assert_int_equal(budget_account(b, 0)->uid, 0);
    for (unsigned i = 1; i < BUDGET_CALLS_PER_USER; i++)
        assert_int_equal(budget_begin_call(b, others, &refusal), 0);
    assert_refused(budget_begin_call(b, others, &refusal), &refusal);

    assert_refused(budget_begin_claim(b, late, &refusal), &refusal);
    budget_adopt_claim(b, late);
    assert_int_equal(budget_account(b, late)->n_claims, 1);
    budget_end_claim(b, late);
    assert_int_equal(budget_account(b, late)->n_claims, 0);
    assert_int_equal(others->n_claims, 0);
}

#define MB (UINT64_C(1) << 20)

static void test_unread_of_a_user(void **state) {
    _cleanup_(budget_freep) Budget *b = budget();
    BudgetAccount *user = budget_account(b, 1000), *other = budget_account(b, 1001);
    BudgetReader readers[2] = {}, late = {};

    for (unsigned i = 0; i < 2; i++)
        budget_attach_reader(b, &readers[i], user);
    budget_charge_bytes(b, &readers[0], 7 * MB);
    assert_false(budget_is_full(b, user));
    assert_true(budget_is_nearly_full(b, user));
    budget_charge_bytes(b, &readers[1], MB);
    assert_true(budget_is_full(b, user));
    assert_false(budget_is_nearly_full(b, other));
    budget_note_unread(b, &readers[0], 9 * MB); /* never more than was sent */
    assert_int_equal(user->unread, 8 * MB);
    budget_note_unread(b, &readers[0], MB);
    assert_false(budget_is_nearly_full(b, user));
    budget_charge_bytes(b, &late, MB); /* before the user is known */
    budget_attach_reader(b, &late, user);
    assert_int_equal(user->unread, 3 * MB);
    budget_note_unread(b, &late, 0);
    budget_reader_done(b, &late);
    assert_int_equal(user->unread, 2 * MB);
}

/* If a face drops data and does not know whether it was read, the charge stays. */
static void test_unread_without_a_reader(void **state) {
    _cleanup_(budget_freep) Budget *b = budget();
    BudgetAccount *user = budget_account(b, 1000);

    for (unsigned i = 0; i < 100; i++) {
        BudgetReader reader = {};

        budget_attach_reader(b, &reader, user);
        budget_charge_bytes(b, &reader, MB / 10);
        budget_reader_done(b, &reader);
    }
    assert_int_equal(user->n_users, 0);
    assert_true(budget_is_full(b, user));
    budget_note_orphans(b, user, MB);
    assert_int_equal(user->unread, MB);
    assert_false(budget_is_full(b, user));
}

/* With many users together, a user that reads continues, and root is separate. */
static void test_unread_of_many_users(void **state) {
    _cleanup_(budget_freep) Budget *b = budget();
    BudgetReader full[4] = {}, other = {}, root = {};

    for (unsigned i = 0; i < 4; i++) {
        budget_attach_reader(b, &full[i], budget_account(b, 1000 + i));
        budget_charge_bytes(b, &full[i], 7 * MB);
    }
    budget_attach_reader(b, &other, budget_account(b, 2000));
    budget_attach_reader(b, &root, budget_account(b, 0));
    budget_charge_bytes(b, &other, 1000);
    budget_charge_bytes(b, &root, 15 * MB);
    assert_true(budget_is_full(b, full[0].account));
    assert_false(budget_is_full(b, other.account));
    assert_false(budget_is_full(b, root.account));
    budget_charge_bytes(b, &other, MB);
    assert_true(budget_is_full(b, other.account));
    budget_note_unread(b, &full[3], 0);
    assert_false(budget_is_full(b, other.account));
    assert_false(budget_is_full(b, full[0].account));
}

static void test_rebinding(void **state) {
    _cleanup_(budget_freep) Budget *b = budget();
    Refusal refusal = REFUSAL_NULL;
    DeviceName nic, disk;
    unsigned n = 0;
    int r;

    assert_int_equal(device_name_parse("0000:06:00.0", &nic), 0);
    assert_int_equal(device_name_parse("0000:07:00.0", &disk), 0);
    while ((r = budget_rebind(b, 1000, &nic, NOON, &refusal)) >= 0)
        assert_true(++n < 100);
    assert_refused(r, &refusal);
    assert_true(n >= 10);
    assert_int_equal(budget_rebind(b, 1000, &disk, NOON, &refusal), 0);
    assert_int_equal(budget_rebind(b, 1001, &nic, NOON, &refusal), 0);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(budget_rebind(b, 0, &nic, NOON, &refusal), 0);
    assert_int_equal(budget_rebind(b, 1000, &nic, NOON + 10 * SECOND, &refusal), 0);
}

/* ---- the door ---- */

typedef struct Visit {
    DoorTask task;
    Door *door;
    char name;
    unsigned steps; /* steps left */
} Visit;

static char order[4096];
static size_t n_order;

static DoorStep on_step(DoorTask *t) {
    Visit *v = container_of(t, Visit, task);

    order[n_order++] = v->name;
    while (t->kind == DOOR_LONG && !door_is_over(v->door))
        ; /* uses a whole slice */
    if (--v->steps > 0)
        return DOOR_MORE;
    door_leave(v->door, t);
    return DOOR_DONE;
}

typedef struct House {
    sd_event *event;
    Budget *budget;
    Door *door;
} House;

static void open_house(House *h) {
    assert_true(sd_event_new(&h->event) >= 0);
    h->budget = budget();
    assert_int_equal(door_new(h->event, h->budget, &h->door), 0);
    memset(order, 0, sizeof(order));
    n_order = 0;
}

static void close_house(House *h) {
    door_free(h->door);
    budget_free(h->budget);
    sd_event_unref(h->event);
}

static void enter(House *h, Visit *v, uid_t uid) {
    const Subject subject = {.uid = uid, .pidfd = -EBADF};
    Refusal refusal = REFUSAL_NULL;

    v->door = h->door;
    v->task.step = on_step;
    assert_int_equal(door_enter(h->door, &v->task, &subject, &refusal), 0);
}

static void serve_until(House *h, size_t n) {
    while (n_order < n)
        assert_true(sd_event_run(h->event, 10 * SECOND) > 0);
}

/* A user without an account of their own is charged for what they are sent, too, and that charge is
 * bounded. */
static void test_full_without_an_account(void **state) {
    BudgetReader reader = {};
    House h;
    uid_t late;

    open_house(&h);
    late = fill_accounts(h.budget);
    door_charge_bytes(h.door, &reader, late, 7 * MB);
    assert_false(door_is_full(h.door, &reader));
    door_charge_bytes(h.door, &reader, late, 1 * MB);
    assert_true(door_is_full(h.door, &reader));
    door_note_unread(h.door, &reader, 0);
    assert_false(door_is_full(h.door, &reader));
    door_reader_done(h.door, &reader);
    close_house(&h);
}

static void test_served_at_once(void **state) {
    Visit v = {.name = 'a', .steps = 1};
    House h;

    open_house(&h);
    enter(&h, &v, 1000);
    assert_string_equal(order, "a");
    close_house(&h);
}

/* A user in debt is served after a user without debt, in the order of their own calls, and is served. */
static void test_debtors_come_last(void **state) {
    Visit debtor[] = {{.name = 'a', .steps = 2}, {.name = 'b', .steps = 1}},
          other = {.name = 'x', .steps = 1};
    House h;

    open_house(&h);
    budget_spend(budget_account(h.budget, 1000), PURSE_LOOP, budget_now(), SECOND);
    enter(&h, &debtor[0], 1000);
    enter(&h, &debtor[1], 1000);
    enter(&h, &other, 1001);
    assert_string_equal(order, "x");
    serve_until(&h, 4);
    assert_string_equal(order, "xaba");
    close_house(&h);
}

static void test_long_answers_one_at_a_time(void **state) {
    Visit first = {.task.kind = DOOR_LONG, .name = 'a', .steps = 3},
          second = {.task.kind = DOOR_LONG, .name = 'b', .steps = 1}, call = {.name = 'x', .steps = 1};
    House h;

    open_house(&h);
    enter(&h, &first, 1000);
    assert_int_equal(n_order, 0);
    serve_until(&h, 1);
    enter(&h, &second, 1001);
    enter(&h, &call, 1000);
    serve_until(&h, 5);
    assert_string_equal(order, "axaab");
    assert_false(door_is_answering(h.door));
    close_house(&h);
}

/* Others wait for the end of a long answer. Further calls of its user do not delay it. */
static void test_a_long_answer_goes_on_among_calls(void **state) {
    Visit first = {.task.kind = DOOR_LONG, .name = 'a', .steps = 3},
          second = {.task.kind = DOOR_LONG, .name = 'b', .steps = 1}, calls[6];
    House h;

    open_house(&h);
    enter(&h, &first, 1000);
    serve_until(&h, 1);
    budget_spend(budget_account(h.budget, 1000), PURSE_LOOP, budget_now(), SECOND);
    for (size_t i = 0; i < ELEMENTSOF(calls); i++) {
        calls[i] = (Visit){.name = 's', .steps = 1};
        enter(&h, &calls[i], 1000);
    }
    serve_until(&h, 5);
    assert_string_equal(order, "asasa");
    assert_false(door_is_answering(h.door));
    enter(&h, &second, 1001);
    serve_until(&h, 10);
    assert_string_equal(order, "asasabssss");
    close_house(&h);
}

/* A caller that leaves while it waits leaves nothing behind. */
static void test_leaving_early(void **state) {
    Visit waiting = {.task.kind = DOOR_LONG, .name = 'a', .steps = 3}, queued = {.name = 'b', .steps = 1};
    House h;

    open_house(&h);
    budget_spend(budget_account(h.budget, 1000), PURSE_LOOP, budget_now(), SECOND);
    enter(&h, &waiting, 1000);
    enter(&h, &queued, 1000);
    door_leave(h.door, &queued.task);
    serve_until(&h, 1);
    door_leave(h.door, &waiting.task);
    assert_false(door_is_answering(h.door));
    assert_int_equal(budget_account(h.budget, 1000)->n_calls, 0);
    assert_int_equal(budget_account(h.budget, 1000)->n_users, 0);
    close_house(&h);
}

typedef struct Slow {
    House house;
    BudgetReader reader;
    unsigned n_asked;
} Slow;

/* The reader has read something only at the second query. */
static void on_full(void *userdata, uid_t uid) {
    Slow *s = userdata;

    assert_int_equal(uid, 1000);
    assert_int_equal(n_order, 1);
    if (++s->n_asked == 2)
        door_note_unread(s->house.door, &s->reader, 0);
}

/* Other users do not wait meanwhile. */
static void test_full_users_wait_until_they_read(void **state) {
    Visit full = {.name = 'a', .steps = 1}, other = {.name = 'x', .steps = 1};
    Slow s = {};

    open_house(&s.house);
    assert_int_equal(door_add_full(s.house.door, on_full, &s), 0);
    door_charge_bytes(s.house.door, &s.reader, 1000, 4 * MB);
    door_charge_fds(s.house.door, &s.reader, 8);
    enter(&s.house, &full, 1000);
    enter(&s.house, &other, 1001);
    assert_string_equal(order, "x");
    serve_until(&s.house, 2);
    assert_string_equal(order, "xa");
    assert_int_equal(s.n_asked, 2);
    door_reader_done(s.house.door, &s.reader);
    close_house(&s.house);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_claims_of_a_user),
            cmocka_unit_test(test_root_has_the_limit_of_the_host),
            cmocka_unit_test(test_claims_from_before_count),
            cmocka_unit_test(test_calls),
            cmocka_unit_test(test_calls_of_many_users),
            cmocka_unit_test(test_purses_are_of_one_user),
            cmocka_unit_test(test_long_answers_of_root),
            cmocka_unit_test(test_many_users),
            cmocka_unit_test(test_too_many_users),
            cmocka_unit_test(test_unread_of_a_user),
            cmocka_unit_test(test_unread_without_a_reader),
            cmocka_unit_test(test_unread_of_many_users),
            cmocka_unit_test(test_rebinding),
            cmocka_unit_test(test_full_without_an_account),
            cmocka_unit_test(test_served_at_once),
            cmocka_unit_test(test_debtors_come_last),
            cmocka_unit_test(test_long_answers_one_at_a_time),
            cmocka_unit_test(test_a_long_answer_goes_on_among_calls),
            cmocka_unit_test(test_leaving_early),
            cmocka_unit_test(test_full_users_wait_until_they_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
