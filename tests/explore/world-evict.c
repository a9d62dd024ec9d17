/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Evictions of the first claim (evict.c, stop.c, and the preemption in waiting.c), by the decisions of
 * core/eviction.h. They get a clock that stands still, and times that are some ticks away from it; a tick
 * moves all times. Time goes on while the daemon is down, and no timer has to be punctual.
 *
 * A change of the eviction, its record and its announcement are one step: a crash before the record leaves
 * nothing of it, and after a crash the object of the claim announces what is on record. */

#include <signal.h>

#include "world-internal.h"

#define TICK_SEC EVICTION_IN_DEFAULT_SEC
#define TICK_USEC (TICK_SEC * UINT64_C(1000000))
#define NOW (100 * TICK_USEC)
#define TICKS_MAX 3U

enum {
    STOPPER_NONE,
    STOPPER_RUNS,
    STOPPER_FOUND,
    STOPPER_FOUND_NOBODY
};

/* ---- Fields that are packed ---- */

static unsigned ticks_until(uint64_t usec) {
    return usec <= NOW ? 0 : (unsigned) MIN((usec - NOW + TICK_USEC - 1) / TICK_USEC, TICKS_MAX);
}

static Eviction get_eviction(Times t) {
    uint64_t usec = NOW + t.left * TICK_USEC - TICK_USEC;

    if (t.eviction == EVICTION_NONE)
        return (Eviction){};
    return (Eviction){.state = (EvictionState) t.eviction,
            .cause = (EvictionCause) t.cause,
            .at_usec = usec,
            .deadline_usec = usec,
            .more_sec = t.more * TICK_SEC};
}

static void put_eviction(Times *t, const Eviction *v) {
    bool none = v->state == EVICTION_NONE;

    t->eviction = v->state & 3;
    t->cause = none ? 0 : v->cause & 3;
    t->left = none || v->deadline_usec < NOW ? 0 : MIN(ticks_until(v->deadline_usec) + 1, TICKS_MAX) & 3;
    t->more = none ? 0 : MIN(v->more_sec / TICK_SEC, TICKS_MAX) & 3;
}

static Stop get_stop(Times t) {
    uint64_t usec = NOW + t.stop_left * TICK_USEC;

    return t.stop == STOP_NONE ? (Stop){}
                               : (Stop){.state = (StopState) t.stop, .at_usec = usec, .deadline_usec = usec};
}

static void put_stop(Times *t, const Stop *s) {
    t->stop = s->state & 3;
    t->stop_left = s->state == STOP_NONE ? 0 : ticks_until(s->deadline_usec) & 3;
}

static bool is_same(Times a, Times b) {
    return memcmp(&a, &b, sizeof(a)) == 0;
}

static unsigned in_ticks(uint32_t sec) {
    return (sec + TICK_SEC - 1) / TICK_SEC;
}

/* ---- What the holder can rely on ---- */

static unsigned grace_of(const Evicting *e) {
    if (e->grace == 0 || e->drain_grace == 0)
        return e->grace + e->drain_grace; /* one of them is 0 */
    return e->grace < e->drain_grace ? e->grace : e->drain_grace;
}

static void forgive(Evicting *e) {
    e->asked = e->granted = 0;
    e->grace = 0;
}

static void ask(Evicting *e, uint64_t in_sec, const HoldTerms *hold) {
    e->asked = 1;
    e->granted = 0;
    e->grace = hold->stop_after_sec == 0
            ? 0
            : (1 + in_ticks((uint32_t) in_sec) + in_ticks(hold->stop_after_sec)) & 7;
}

/* ---- The daemon ---- */

static void keep(World *t, const WorldRules *rules) {
    if (rules->evictions->unrecorded)
        return;
    t->evicting.record = t->evicting.now;
}

static void begin(
        Steps *s, World *t, EvictionCause cause, uint64_t in_sec, bool cancel, const WorldRules *rules) {
    const EvictionWish wish = {.cause = cause, .in_sec = in_sec, .cancel = cancel};
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    Evicting *e = &t->evicting;
    Times before = e->now;
    Eviction v = get_eviction(before);

    if (rules->evictions->begin(&v, &wish, NOW, NOW, &refusal) < 0)
        return;
    put_eviction(&e->now, &v);
    keep(t, rules);
    if (cancel)
        forgive(e);
    else if (!is_same(before, e->now)) {
        world_broken_unless(s,
                cause == EVICTION_BY_OPERATOR || before.eviction == EVICTION_NONE ||
                        before.left > e->now.left,
                "a claim is evicted later because its time is over");
        ask(e, in_sec, &rules->hold);
    }
}

static void begin_by_deadline(Steps *s, World *t, const WorldRules *rules) {
    begin(s, t, EVICTION_BY_DEADLINE, EVICTION_IN_DEFAULT_SEC, false, rules);
}

static bool deadline_is_over(const Evicting *e) {
    return e->now.deadline == 1;
}

/* evict_for_waiter() */
static void review(Steps *s, World *t, bool wanted, const WorldRules *rules) {
    Evicting *e = &t->evicting;
    Eviction v = get_eviction(e->now);

    switch (rules->evictions->for_waiter(&v, wanted, e->spared || e->paused, deadline_is_over(e))) {
    case EVICTION_STAYS:
        return;
    case EVICTION_TURNS:
        put_eviction(&e->now, &(Eviction){});
        begin_by_deadline(s, t, rules);
        return;
    case EVICTION_BEGINS:
    case EVICTION_IS_CANCELLED:
        begin(s, t, EVICTION_BY_PRIORITY, EVICTION_IN_DEFAULT_SEC, !wanted, rules);
        e->paused |= !wanted;
        return;
    }
}

static void end(World *t, const WorldRules *rules) {
    Evicting *e = &t->evicting;
    Eviction v = get_eviction(e->now);
    Stop stop = get_stop(e->now);

    rules->evictions->end(&v, &rules->hold, &stop);
    put_eviction(&e->now, &v);
    put_stop(&e->now, &stop);
    e->paused = 0;
}

static void limit(World *t, uint64_t in_sec, const WorldRules *rules) {
    Stop stop = get_stop(t->evicting.now);

    rules->evictions->limit(&stop, in_sec, NOW, NOW);
    put_stop(&t->evicting.now, &stop);
}

void world_evict_limit(World *t, unsigned k, const WorldRules *rules) {
    if (k == EVICTED && rules->hold.max_duration_sec > 0)
        t->evicting.now.deadline = (2 + in_ticks(rules->hold.max_duration_sec)) & 3;
}

bool world_evict_searches(const World *w, unsigned k) {
    return k == EVICTED && w->evicting.stopper != STOPPER_NONE;
}

void world_evict_note(World *t, unsigned k, ClaimState before, ClaimState next, const WorldRules *rules) {
    Evicting *e = &t->evicting;
    uint32_t drain_sec = rules->hold.drain_timeout_sec;

    if (k == WAITER) {
        if (before == CLAIM_WAITING || next == CLAIM_WAITING)
            e->review = 1;
        return;
    }
    if (before == CLAIM_HELD)
        end(t, rules);
    if (before == CLAIM_DRAINING) {
        put_stop(&e->now, &(Stop){});
        e->stopper = STOPPER_NONE;
    }
    if (next == CLAIM_HELD && t->claims[WAITER].state == CLAIM_WAITING)
        e->review = 1;
    if (next != CLAIM_DRAINING || drain_sec == 0)
        return;
    limit(t, drain_sec, rules);
    if (e->drain_grace == 0)
        e->drain_grace = (1 + in_ticks(drain_sec)) & 7;
}

static void operator_steps(Steps *s, const World *w, const WorldRules *rules) {
    World *t;

    if (!rules->operator_evicts)
        return;
    for (unsigned ticks = 0; ticks < 2; ticks++)
        begin(s, world_will(s, w, ticks ? "an operator evicts it" : "an operator evicts it at once", EVICTED),
                EVICTION_BY_OPERATOR, ticks * TICK_SEC, false, rules);
    if (w->evicting.now.eviction == EVICTION_NONE)
        return;
    t = world_will(s, w, "an operator cancels its eviction", EVICTED);
    t->evicting.spared = w->evicting.now.cause == EVICTION_BY_PRIORITY;
    if (deadline_is_over(&w->evicting)) {
        t->evicting.now.deadline = 0;
        t->evicting.lifted = 1;
    }
    begin(s, t, EVICTION_BY_OPERATOR, 0, true, rules);
    t->evicting.review |= w->claims[WAITER].state == CLAIM_WAITING;
}

static void holder_answers(Steps *s, const World *w, const WorldRules *rules) {
    if (w->evicting.now.eviction == EVICTION_NONE || !w->outside[EVICTED].lifeline)
        return;
    for (unsigned ticks = 0; ticks < 3; ticks++) {
        _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
        Eviction v = get_eviction(w->evicting.now);
        World *t;
        Evicting *e;

        if (rules->evictions->answer(&v, ticks * TICK_SEC, rules->hold.eviction_delay_sec, &refusal) < 0)
            continue;
        t = world_will(s, w, ticks ? "its holder gets more time" : "its holder acknowledges", EVICTED);
        e = &t->evicting;
        put_eviction(&e->now, &v);
        keep(t, rules);
        e->granted = MIN((unsigned) e->granted + ticks, 3U) & 3;
        e->grace = e->grace == 0 ? 0 : MIN((unsigned) e->grace + ticks, 7U) & 7;
        world_broken_unless(s, e->granted <= in_ticks(rules->hold.eviction_delay_sec),
                "a holder gets more time than its rule allows");
    }
}

/* The timers of a held claim. */
static void time_is_over(Steps *s, const World *w, const WorldRules *rules) {
    Eviction v = get_eviction(w->evicting.now);
    uint64_t usec = rules->evictions->stop_usec(&rules->hold, v.deadline_usec);
    World *t;

    if (w->evicting.now.deadline == 2) {
        t = world_add(s, w, "the time of the claim is over", EVICTED, false);
        t->evicting.now.deadline = 1;
        begin_by_deadline(s, t, rules);
        keep(t, rules);
    }
    if (rules->evictions->is_due(&v, NOW)) {
        t = world_add(s, w, "it is overdue", EVICTED, false);
        put_eviction(&t->evicting.now, &v);
        keep(t, rules);
        return;
    }
    if (v.state != EVICTION_OVERDUE || usec == 0 || usec > NOW)
        return;
    t = world_add(s, w, "it is ended, because it is overdue", EVICTED, false);
    world_broken_unless(s, w->evicting.asked && w->evicting.grace == 1,
            "a claim is taken from a holder who was not asked, or has time left");
    put_stop(&t->evicting.now, &(Stop){.state = STOP_DUE, .deadline_usec = NOW});
    world_push(s, t, EVICTED, CLAIM_EVENT_RELEASE);
}

static bool is_wanted(const World *w, const WorldRules *rules) {
    return rules->hold.preemptible && w->claims[WAITER].state == CLAIM_WAITING;
}

static void queue_steps(Steps *s, const World *w, const WorldRules *rules) {
    World *t;

    if (w->evicting.review) {
        t = world_add(s, w, "it is looked who waits", EVICTED, false);
        t->evicting.review = 0;
        if (w->claims[EVICTED].state == CLAIM_HELD)
            review(s, t, is_wanted(w, rules), rules);
    }
    if (w->evicting.paused) {
        t = world_add(s, w, "it can be evicted again", EVICTED, false);
        t->evicting.paused = 0;
        t->evicting.review |= w->claims[WAITER].state == CLAIM_WAITING;
    }
}

static void stop_steps(Steps *s, const World *w, const WorldRules *rules) {
    const Evicting *e = &w->evicting;
    World *t;

    if (e->stopper == STOPPER_NONE && e->now.stop != STOP_NONE && e->now.stop_left == 0)
        world_add(s, w, "a worker is to look who has it open", EVICTED, false)->evicting.stopper =
                STOPPER_RUNS;
    if (e->stopper >= STOPPER_FOUND) {
        Stop stop = get_stop(e->now);

        t = world_add(s, w, "the worker has found them, or nobody", EVICTED, false);
        rules->evictions->note_sent(&stop, e->stopper == STOPPER_FOUND, NOW, NOW);
        put_stop(&t->evicting.now, &stop);
        keep(t, rules);
        t->evicting.stopper = STOPPER_NONE;
    }
}

void world_evict_steps(Steps *s, const World *w, const WorldRules *rules) {
    queue_steps(s, w, rules);
    if (w->claims[EVICTED].state == CLAIM_HELD) {
        operator_steps(s, w, rules);
        holder_answers(s, w, rules);
        time_is_over(s, w, rules);
    }
    if (w->claims[EVICTED].state == CLAIM_DRAINING)
        stop_steps(s, w, rules);
}

void world_evict_crash(World *t) {
    Evicting *e = &t->evicting;

    e->now = (Times){};
    e->stopper = STOPPER_NONE;
    e->spared = e->paused = e->review = 0;
}

void world_evict_recover(Steps *s, World *t, ClaimEvent event, const WorldRules *rules) {
    t->evicting.now = t->evicting.record;
    if (event != CLAIM_EVENT_RECOVERED_HELD) {
        end(t, rules);
        return;
    }
    t->evicting.drain_grace = 0; /* its end was not on record */
    review(s, t, /* wanted= */ false, rules);
}

/* ---- Time, workers, holders ---- */

static void tick(Times *t) {
    t->left -= t->left > 0;
    t->stop_left -= t->stop_left > 0;
    t->deadline -= t->deadline > 2;
}

static void let_time_pass(Steps *s, const World *w) {
    World later = *w;
    Evicting *e = &later.evicting;

    tick(&e->now);
    tick(&e->record);
    e->grace -= e->grace > 1;
    e->drain_grace -= e->drain_grace > 1;
    if (memcmp(&later, w, sizeof(later)) != 0)
        (void) world_add(s, &later, "time passes", STEP_OF_NOBODY, false);
}

static void send_signal(Steps *s, const World *w, const WorldRules *rules) {
    const Stop stop = get_stop(w->evicting.now);
    World *t = world_add(s, w, "the worker looks, and sends its signal", EVICTED, false);
    Evicting *e = &t->evicting;

    if (!w->outside[EVICTED].files) {
        e->stopper = STOPPER_FOUND_NOBODY;
        return;
    }
    world_broken_unless(
            s, grace_of(e) == 1, "a holder is stopped whom the rule does not stop, or who has time left");
    e->stopper = STOPPER_FOUND;
    if (rules->evictions->signal(&stop) == SIGTERM) {
        e->asked_to_end = 1;
        return;
    }
    world_broken_unless(s, e->asked_to_end, "a holder is killed who was not asked to end");
    e->killed = 1;
}

void world_evict_outside(Steps *s, const World *w, const WorldRules *rules) {
    World *t;

    if (!w->claims[0].busy && !w->claims[1].busy) {
        let_time_pass(s, w);
        if (w->evicting.stopper == STOPPER_RUNS)
            send_signal(s, w, rules);
    }
    if (!w->evicting.killed)
        return;
    t = world_add(s, w, "who was killed is gone", EVICTED, false);
    t->evicting.killed = 0;
    world_drop_all(t, EVICTED);
}

/* ---- What must hold ---- */

static const char *check_held(const WorldRules *rules, const World *w) {
    const Evicting *e = &w->evicting;
    bool is_evicted = e->now.eviction != EVICTION_NONE, is_awaited = w->claims[WAITER].state == CLAIM_WAITING;

    if (e->asked && !is_evicted)
        return "an eviction is forgotten";
    if (!e->asked && is_evicted)
        return "a holder was not asked, and is evicted";
    if (e->now.eviction == EVICTION_OVERDUE && e->now.left > 1)
        return "an eviction is overdue before its time";
    if (is_evicted && e->grace != 0 && e->now.left + in_ticks(rules->hold.stop_after_sec) > e->grace + 0U &&
            e->now.left > 0)
        return "an eviction takes longer than was announced";
    if (e->now.deadline == 1 && !is_evicted)
        return "the time of a claim is over, and it is not evicted";
    if (e->now.deadline == 0 && rules->hold.max_duration_sec > 0 && !e->lifted)
        return "the deadline of a claim is forgotten";
    if (is_evicted && e->now.cause == EVICTION_BY_PRIORITY && !is_awaited && !e->review)
        return "a claim is evicted for a request that does not wait";
    if (!is_evicted && is_wanted(w, rules) && !e->review && !e->spared && !e->paused)
        return "a claim does not give way";
    return NULL;
}

const char *world_evict_check(const WorldRules *rules, const World *w) {
    const Evicting *e = &w->evicting;
    const Memory *c = &w->claims[EVICTED];

    if (!w->up || w->claims[0].busy || w->claims[1].busy)
        return NULL;
    if (c->charged && !c->dirty && !is_same(e->now, e->record))
        return "the record of an eviction is not true";
    if (c->state == CLAIM_HELD)
        return check_held(rules, w);
    if (c->state != CLAIM_DRAINING || grace_of(e) == 0)
        return NULL;
    if (e->now.stop == STOP_NONE)
        return "a holder has ended the claim and keeps the device, and is not stopped";
    if (e->now.stop == STOP_DUE && e->now.stop_left >= grace_of(e) && e->now.stop_left > 1)
        return "a holder is stopped later than was announced";
    return NULL;
}

bool world_is_evicted(const WorldRules *rules, const World *w) {
    return w->evicting.asked;
}

bool world_is_evicted_or_waits(const WorldRules *rules, const World *w) {
    const Evicting *e = &w->evicting;

    if (!e->asked || world_is_settled(w, EVICTED))
        return true;
    if (!w->up || w->claims[EVICTED].busy || rules->hold.stop_after_sec > 0)
        return false;
    /* It is visible, and Holders names who has it. */
    return e->now.eviction == EVICTION_OVERDUE ||
            (w->claims[EVICTED].state == CLAIM_DRAINING && rules->hold.drain_timeout_sec == 0);
}

bool world_waits_for_evicted(const WorldRules *rules, const World *w) {
    return w->up && w->evicting.asked && rules->hold.stop_after_sec > 0 &&
            w->claims[WAITER].state == CLAIM_WAITING;
}

bool world_waiter_has_it(const WorldRules *rules, const World *w) {
    return w->claims[WAITER].state == CLAIM_HELD || w->claims[EVICTED].state == CLAIM_QUARANTINED;
}
