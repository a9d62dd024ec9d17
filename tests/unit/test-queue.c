/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/queue.h"

#define MINE(id_)                                                                                            \
    { .id = (id_) }
#define SHARED(id_)                                                                                          \
    { .id = (id_), .shared = true }

static const QueueThing x[] = {MINE(1)}, y[] = {MINE(2)}, x_and_y[] = {MINE(1), MINE(2)},
                        child[] = {MINE(3), SHARED(1)}, other_child[] = {MINE(4), SHARED(1)};

static QueueEntry entry(const QueueThing *things, size_t n, int priority) {
    return (QueueEntry){.things = things, .n_things = n, .priority = priority};
}
#define ENTRY(things_, priority_) entry(things_, ELEMENTSOF(things_), priority_)

static void test_rivals(void **state) {
    const QueueEntry a = ENTRY(x, 0), b = ENTRY(y, 0), both = ENTRY(x_and_y, 0), c = ENTRY(child, 0),
                     d = ENTRY(other_child, 0), nothing = {};

    assert_true(queue_rivals(&a, &a));
    assert_false(queue_rivals(&a, &b));
    assert_true(queue_rivals(&a, &both) && queue_rivals(&both, &b));
    assert_true(queue_rivals(&a, &c) && queue_rivals(&c, &a)); /* a takes the parent of c */
    assert_false(queue_rivals(&c, &d));
    assert_false(queue_rivals(&nothing, &both) || queue_rivals(&both, &nothing));
}

static void test_first_come_first_served(void **state) {
    QueueEntry a = ENTRY(x, 0), b = ENTRY(x, 0), c = ENTRY(y, 0), newcomer = ENTRY(x, 0);
    Queue q = {};

    queue_add(&q, &a);
    queue_add(&q, &b);
    queue_add(&q, &c);
    assert_int_equal(a.n_before, 0);
    assert_int_equal(b.n_before, 1);
    assert_int_equal(c.n_before, 0); /* no entry blocks it */
    assert_int_equal(queue_count_before(&q, &newcomer), 2);
    queue_remove(&q, &a);
    queue_remove(&q, &a);
    assert_int_equal(b.n_before, 0);
    assert_int_equal(queue_count_before(&q, &newcomer), 1);
    assert_true(queue_is_sound(&q));
    assert_int_equal(q.n, 2);
}

static void test_priority(void **state) {
    QueueEntry low = ENTRY(x, -1), normal = ENTRY(x, 0), high = ENTRY(x, 7), newcomer = ENTRY(x, 7);
    Queue q = {};

    queue_add(&q, &low);
    queue_add(&q, &high);
    queue_add(&q, &normal);
    assert_int_equal(high.n_before, 0);
    assert_int_equal(normal.n_before, 1);
    assert_int_equal(low.n_before, 2);
    assert_int_equal(queue_count_before(&q, &newcomer), 1);
    newcomer.priority = 8; /* a request that does not wait is measured as if it did */
    assert_int_equal(queue_count_before(&q, &newcomer), 0);
    assert_true(queue_is_sound(&q));
}

/* A request for many devices is not overtaken by requests for one of them. */
static void test_many_devices_do_not_starve(void **state) {
    QueueEntry both = ENTRY(x_and_y, 0), small[8];
    Queue q = {};

    queue_add(&q, &both);
    for (size_t i = 0; i < ELEMENTSOF(small); i++) {
        small[i] = i % 2 ? ENTRY(x, 0) : ENTRY(y, 0);
        queue_add(&q, &small[i]);
        assert_true(small[i].n_before > 0);
    }
    assert_int_equal(both.n_before, 0);
    queue_remove(&q, &both);
    assert_int_equal(small[0].n_before, 0);
    assert_int_equal(small[1].n_before, 0);
    assert_int_equal(small[2].n_before, 1);
    assert_true(queue_is_sound(&q));
}

static void test_place_is_kept(void **state) {
    QueueEntry a = ENTRY(x, 0), b = ENTRY(x, 0);
    Queue q = {};

    queue_add(&q, &a);
    queue_add(&q, &b);
    queue_remove(&q, &a);
    assert_int_equal(b.n_before, 0);
    assert_int_equal(queue_count_before(&q, &a), 0);
    queue_add(&q, &a);
    assert_int_equal(a.n_before, 0);
    assert_int_equal(b.n_before, 1);
    assert_true(q.first == &a && queue_is_sound(&q));
}

/* Tries every sequence of that many steps, each of which adds or removes an entry. The queue is consistent
 * after each, its first entry is never blocked, and queue_count_before() agrees with the queue. */
#define N_ENTRIES 5U
#define DEPTH 6U

static unsigned n_walked;

static void check(Queue *q, QueueEntry *entries) {
    assert_true(queue_is_sound(q));
    assert_true(!q->first || q->first->n_before == 0);
    for (unsigned i = 0; i < N_ENTRIES; i++) {
        size_t n;

        if (!entries[i].queued)
            continue;
        n = entries[i].n_before;
        queue_remove(q, &entries[i]);
        assert_int_equal(queue_count_before(q, &entries[i]), n);
        queue_add(q, &entries[i]);
        assert_int_equal(entries[i].n_before, n);
    }
    n_walked++;
}

static void walk(Queue *q, QueueEntry *entries, unsigned depth) {
    check(q, entries);
    for (unsigned i = 0; depth > 0 && i < N_ENTRIES; i++) {
        bool was_queued = entries[i].queued;

        if (was_queued)
            queue_remove(q, &entries[i]);
        else
            queue_add(q, &entries[i]);
        walk(q, entries, depth - 1);
        if (was_queued)
            queue_add(q, &entries[i]);
        else
            queue_remove(q, &entries[i]);
    }
}

static void test_all_sequences(void **state) {
    QueueEntry entries[N_ENTRIES] = {
            ENTRY(x, 0), ENTRY(x_and_y, 0), ENTRY(y, 5), ENTRY(child, 0), ENTRY(other_child, -3)};
    Queue q = {};

    walk(&q, entries, DEPTH);
    assert_int_equal(n_walked, 19531); /* 5^0 + … + 5^6 */
}

/* Devices are given to the next entry and returned at random. Every request is served, never after a later
 * one with the same devices, and no two have the same device. */
static void test_random_service(void **state) {
    const QueueThing *const wishes[] = {x, y, x_and_y, child, other_child};
    const size_t sizes[] = {
            ELEMENTSOF(x), ELEMENTSOF(y), ELEMENTSOF(x_and_y), ELEMENTSOF(child), ELEMENTSOF(other_child)};
    QueueEntry entries[64];
    bool holds[64] = {};
    unsigned seed = 4711, served = 0;
    Queue q = {};

    for (unsigned i = 0; i < ELEMENTSOF(entries); i++) {
        unsigned wish = (seed = seed * 1103515245 + 12345) >> 16 & 0x7fff;

        entries[i] = entry(wishes[wish % 5], sizes[wish % 5], 0);
        queue_add(&q, &entries[i]);
    }
    for (unsigned round = 0; q.n > 0; round++) {
        assert_true(round < 10000);
        for (unsigned i = 0; i < ELEMENTSOF(entries); i++) {
            bool free = entries[i].queued && entries[i].n_before == 0;

            for (unsigned k = 0; free && k < ELEMENTSOF(entries); k++)
                free = !holds[k] || !queue_rivals(&entries[k], &entries[i]);
            if (!free)
                continue;
            for (unsigned k = 0; k < i; k++) /* no earlier entry wants the same device */
                assert_false(entries[k].queued && entries[k].things == entries[i].things);
            queue_remove(&q, &entries[i]);
            holds[i] = true;
            served++;
            assert_true(queue_is_sound(&q));
        }
        seed = seed * 1103515245 + 12345;
        holds[(seed >> 16) % ELEMENTSOF(entries)] = false;
    }
    assert_int_equal(served, ELEMENTSOF(entries));
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_rivals),
            cmocka_unit_test(test_first_come_first_served),
            cmocka_unit_test(test_priority),
            cmocka_unit_test(test_many_devices_do_not_starve),
            cmocka_unit_test(test_place_is_kept),
            cmocka_unit_test(test_all_sequences),
            cmocka_unit_test(test_random_service),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
