/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* All states of some worlds, and proof that the walk notices errors: the table of the machine is broken in
 * every way that one cell allows (an effect is left out, another state follows, the event is ignored). Each
 * of these machines must break an invariant in some small world, or be listed in `harmless` with the reason.
 *
 * TAP, with the sizes of walks as comments. A number as argument limits the states of each walk; a walk that
 * was cut short says so. */

#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "explore.h"

#define STATES_MAX ((size_t) 6 * 1000 * 1000)

/* Masks of devices: A and B are in one group. */
#define A 1U
#define B 2U
#define C 4U

static size_t bound = STATES_MAX;
static unsigned n_tests, n_failed;

static void tell(bool ok, const char *what) {
    printf("%s %u - %s\n", ok ? "ok" : "not ok", ++n_tests, what);
    (void) fflush(stdout);
    n_failed += !ok;
}

static double seconds_since(const struct timespec *begin) {
    struct timespec now;

    (void) clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) (now.tv_sec - begin->tv_sec) + (double) (now.tv_nsec - begin->tv_nsec) / 1e9;
}

/* ---- The worlds ---- */

typedef struct NamedWorld {
    const char *name;
    WorldRules rules;
} NamedWorld;

static const NamedWorld worlds[] = {
        {"one claim over a group, and what can go wrong",
                {.wishes = {{A}}, .unplugs = A | B, .hangs = true, .asks = true, .retries = true}},
        {"one claim over a group, and a full disk",
                {.wishes = {{A}}, .disk_fails = true, .hangs = true, .reserves = true, .retries = true}},
        {"one claim over two groups, and a full disk",
                {.wishes = {{A | C}}, .simple = true, .disk_fails = true}},
        {"one claim over two groups, and a kernel that hangs",
                {.wishes = {{A | C}}, .simple = true, .hangs = true}},
        {"two claims want devices of one group, with a queue", {.wishes = {{A}, {B}}, .queues = true}},
        {"two claims want one device, with tickets and a full disk",
                {.wishes = {{C}, {C}}, .disk_fails = true, .reserves = true}},
        {"two claims want one device, with questions and a policy that changes",
                {.wishes = {{C}, {C}},
                        .hangs = true,
                        .reserves = true,
                        .asks = true,
                        .policy_changes = true}},
        {"two claims want one device, which is pulled out",
                {.wishes = {{C}, {C}}, .unplugs = C, .hangs = true, .retries = true}},
        {"two claims have nothing in common", {.wishes = {{A}, {C}}, .simple = true}},
};

#define TICK EVICTION_IN_DEFAULT_SEC

static const EvictionSteps eviction_steps = {.name = "as they are",
        .begin = eviction_begin,
        .answer = eviction_answer,
        .is_due = eviction_is_due,
        .stop_usec = eviction_stop_usec,
        .end = eviction_end,
        .for_waiter = eviction_for_waiter,
        .limit = stop_limit,
        .signal = stop_signal,
        .note_sent = stop_note_sent};

static const NamedWorld evicting_worlds[] = {
        {"a claim with a deadline, an operator, and a rule that stops holders",
                {.wishes = {{C}},
                        .unplugs = C,
                        .hangs = true,
                        .evictions = &eviction_steps,
                        .operator_evicts = true,
                        .hold = {.eviction_delay_sec = TICK,
                                .max_duration_sec = TICK,
                                .stop_after_sec = TICK}}},
        {"a claim with a deadline, an operator, and a rule that stops nobody",
                {.wishes = {{C}},
                        .unplugs = C,
                        .evictions = &eviction_steps,
                        .operator_evicts = true,
                        .hold = {.eviction_delay_sec = TICK, .max_duration_sec = TICK}}},
        {"a claim that an operator evicts, and a rule that stops who keeps the device",
                {.wishes = {{C}},
                        .hangs = true,
                        .evictions = &eviction_steps,
                        .operator_evicts = true,
                        .hold = {.stop_after_sec = TICK, .drain_timeout_sec = TICK}}},
        {"a claim gives way to a request of a higher priority",
                {.wishes = {{C}, {C}},
                        .queues = true,
                        .evictions = &eviction_steps,
                        .operator_evicts = true,
                        .hold = {.max_duration_sec = TICK, .stop_after_sec = TICK, .preemptible = true}}},
};

/* For broken machines: these worlds are small, and use every cell between them. */
static const NamedWorld small_worlds[] = {
        {"one claim over one device, and whatever can go wrong",
                {.wishes = {{C}},
                        .unplugs = C,
                        .disk_fails = true,
                        .hangs = true,
                        .reserves = true,
                        .asks = true,
                        .policy_changes = true}},
        {"two claims want one device, with tickets and a queue",
                {.wishes = {{C}, {C}}, .reserves = true, .asks = true, .queues = true}},
};

static size_t all_states, all_steps;

static void walk(const NamedWorld *w) {
    WorldRules rules = w->rules;
    struct timespec begin;
    Explored e;
    int r;

    rules.step = machine_step;
    (void) clock_gettime(CLOCK_MONOTONIC, &begin);
    r = explore(&rules, bound, /* loud= */ true, &e);
    printf("# %zu states, %zu steps, %zu MiB, %.1f s%s\n", e.n_states, e.n_steps, e.memory >> 20,
            seconds_since(&begin),
            e.complete ? "" : "; CUT SHORT: not all states were seen, and no way out was looked for");
    all_states += e.n_states;
    all_steps += e.n_steps;
    tell(r >= 0 && !e.broken && (e.complete || bound < STATES_MAX), w->name);
}

/* ---- Evictions that are broken ---- */

static int prolong(
        Eviction *v, const EvictionWish *wish, uint64_t real_usec, uint64_t boot_usec, Refusal *refusal) {
    if (!wish->cancel)
        *v = (Eviction){};
    return eviction_begin(v, wish, real_usec, boot_usec, refusal);
}

static int give_any_time(Eviction *v, uint64_t more_sec, uint32_t max_sec, Refusal *refusal) {
    return eviction_answer(v, more_sec, UINT32_MAX, refusal);
}

static int forget_answers(Eviction *v, uint64_t more_sec, uint32_t max_sec, Refusal *refusal) {
    v->more_sec = 0;
    return eviction_answer(v, more_sec, max_sec, refusal);
}

static bool is_never_due(Eviction *v, uint64_t boot_usec) {
    return false;
}

static bool is_always_due(Eviction *v, uint64_t boot_usec) {
    return eviction_is_due(v, UINT64_MAX);
}

static uint64_t stop_without_rule(const HoldTerms *terms, uint64_t eviction_usec) {
    return eviction_usec + terms->stop_after_sec * UINT64_C(1000000);
}

static uint64_t stop_at_once(const HoldTerms *terms, uint64_t eviction_usec) {
    return terms->stop_after_sec == 0 ? 0 : eviction_usec;
}

static uint64_t stop_never(const HoldTerms *terms, uint64_t eviction_usec) {
    return 0;
}

static void end_without_stop(Eviction *v, const HoldTerms *terms, Stop *s) {
    *v = (Eviction){};
}

static void end_too_soon(Eviction *v, const HoldTerms *terms, Stop *s) {
    HoldTerms hasty = *terms;

    hasty.stop_after_sec = terms->stop_after_sec > 0;
    v->deadline_usec -= MIN(v->deadline_usec, TICK * UINT64_C(1000000));
    eviction_end(v, &hasty, s);
}

static EvictionMove cancel_all(const Eviction *v, bool wanted, bool spared, bool deadline_is_over) {
    return !wanted && v->state != EVICTION_NONE ? EVICTION_IS_CANCELLED
                                                : eviction_for_waiter(v, wanted, spared, deadline_is_over);
}

static EvictionMove forget_deadline(const Eviction *v, bool wanted, bool spared, bool deadline_is_over) {
    return eviction_for_waiter(v, wanted, spared, false);
}

static EvictionMove never_give_way(const Eviction *v, bool wanted, bool spared, bool deadline_is_over) {
    return wanted ? EVICTION_STAYS : eviction_for_waiter(v, wanted, spared, deadline_is_over);
}

static EvictionMove never_cancel(const Eviction *v, bool wanted, bool spared, bool deadline_is_over) {
    return wanted ? eviction_for_waiter(v, wanted, spared, deadline_is_over) : EVICTION_STAYS;
}

static void limit_nothing(Stop *s, uint64_t in_sec, uint64_t real_usec, uint64_t boot_usec) {
}

static int kill_first(const Stop *s) {
    return SIGKILL;
}

static int never_kill(const Stop *s) {
    return SIGTERM;
}

static void note_nothing(Stop *s, bool any, uint64_t real_usec, uint64_t boot_usec) {
    stop_note_sent(s, false, real_usec, boot_usec);
}

static EvictionSteps broken_evictions[] = {
        {.name = "a deadline prolongs an eviction", .begin = prolong},
        {.name = "a holder gets any time", .answer = give_any_time},
        {.name = "what a holder got is not counted", .answer = forget_answers},
        {.name = "nothing is ever overdue", .is_due = is_never_due},
        {.name = "everything is overdue at once", .is_due = is_always_due},
        {.name = "a holder is stopped without a rule", .stop_usec = stop_without_rule},
        {.name = "a claim is ended when it is overdue", .stop_usec = stop_at_once},
        {.name = "a claim is never ended", .stop_usec = stop_never},
        {.name = "who ends a claim may keep the device", .end = end_without_stop},
        {.name = "who ends a claim is stopped at once", .end = end_too_soon},
        {.name = "no request evicts", .for_waiter = never_give_way},
        {.name = "a request that leaves cancels every eviction", .for_waiter = cancel_all},
        {.name = "a request that leaves cancels a deadline", .for_waiter = forget_deadline},
        {.name = "a request that leaves cancels nothing", .for_waiter = never_cancel},
        {.name = "a claim drains forever", .limit = limit_nothing},
        {.name = "holders are killed first", .signal = kill_first},
        {.name = "holders are never killed", .signal = never_kill},
        {.name = "signals are not counted", .note_sent = note_nothing},
        {.name = "the record lacks the eviction", .unrecorded = true},
};

/* The invariant that it breaks, or NULL. */
static const char *try_eviction(EvictionSteps *e) {
#define AS_IT_IS(field) e->field = e->field ?: eviction_steps.field
    AS_IT_IS(begin);
    AS_IT_IS(answer);
    AS_IT_IS(is_due);
    AS_IT_IS(stop_usec);
    AS_IT_IS(end);
    AS_IT_IS(for_waiter);
    AS_IT_IS(limit);
    AS_IT_IS(signal);
    AS_IT_IS(note_sent);
    for (size_t i = 0; i < ELEMENTSOF(evicting_worlds); i++) {
        WorldRules rules = evicting_worlds[i].rules;
        Explored result;

        rules.step = machine_step;
        rules.evictions = e;
        if (explore(&rules, bound, /* loud= */ false, &result) < 0)
            return NULL;
        if (result.broken)
            return result.broken;
    }
    return NULL;
}

static void check_broken_evictions(void) {
    unsigned n = 0;

    for (size_t i = 0; i < ELEMENTSOF(broken_evictions); i++) {
        const char *broken = try_eviction(&broken_evictions[i]);

        printf("# %s: %s\n", broken_evictions[i].name, broken ?: "not noticed");
        n += broken != NULL;
    }
    printf("# %zu broken decisions about evictions: %u break an invariant\n", ELEMENTSOF(broken_evictions),
            n);
    tell(n == ELEMENTSOF(broken_evictions) || bound < STATES_MAX, "every broken eviction is noticed");
}

/* ---- Cells that no world uses ---- */

typedef struct CellName {
    ClaimState state;
    ClaimEvent event;
    const char *reason;
} CellName;

static const CellName unused_cells[] = {
        {CLAIM_REQUESTED, CLAIM_EVENT_DEVICE_GONE, "a claim that holds nothing is not told"},
        {CLAIM_AUTHORIZING, CLAIM_EVENT_DEVICE_GONE, "likewise"},
        {CLAIM_BINDING, CLAIM_EVENT_WORKER_STUCK,
                "only an open is reported so; a bind that hangs has failed"},
        {CLAIM_RESETTING, CLAIM_EVENT_WORKER_STUCK, "likewise"},
        {CLAIM_RESTORING, CLAIM_EVENT_WORKER_STUCK, "likewise"},
        {CLAIM_HELD, CLAIM_EVENT_JOINED, "claims that grow are not in the model"},
};

static bool is_unused(ClaimState state, ClaimEvent event) {
    for (size_t i = 0; i < ELEMENTSOF(unused_cells); i++)
        if (unused_cells[i].state == state && unused_cells[i].event == event)
            return true;
    return false;
}

static bool is_possible(ClaimState state, ClaimEvent event) {
    return !(machine_step(state, event).effects & CLAIM_EFFECT_IMPOSSIBLE);
}

static void check_cells(void) {
    unsigned n = 0, n_used = 0, n_wrong = 0;

    for (ClaimState s = 0; s < _CLAIM_STATE_MAX; s++)
        for (ClaimEvent e = 0; e < _CLAIM_EVENT_MAX; e++) {
            if (!is_possible(s, e))
                continue;
            n++;
            n_used += world_cells[s][e];
            if (world_cells[s][e] != is_unused(s, e))
                continue;
            n_wrong++;
            printf("# %s + %s %s\n", claim_state_to_string(s), claim_event_to_string(e),
                    world_cells[s][e] ? "is used, and said not to be"
                                      : "is in the table, and no world uses it");
        }
    printf("# %u of %u cells of the table are used\n", n_used, n);
    tell(n_wrong == 0, "every cell of the table is used, or known not to be");
}

/* ---- Machines that are broken ---- */

static struct {
    ClaimState state;
    ClaimEvent event;
    Transition instead;
} mutation;

static Transition broken_step(ClaimState state, ClaimEvent event) {
    return state == mutation.state && event == mutation.event ? mutation.instead : machine_step(state, event);
}

/* A difference that does no harm, or none that the model can show. next: -1: any. */
typedef struct Harmless {
    ClaimState state;
    ClaimEvent event;
    int next;         /* of the broken machine */
    unsigned without; /* effect */
    const char *reason;
} Harmless;

static const Harmless harmless[] = {
        {CLAIM_REQUESTED, CLAIM_EVENT_ALLOWED, -1, CLAIM_EFFECT_SAVE,
                "what binds is written before each device"},
        {CLAIM_AUTHORIZING, CLAIM_EVENT_ALLOWED, -1, CLAIM_EFFECT_SAVE, "likewise"},
        {CLAIM_OPENING, CLAIM_EVENT_WORKER_STUCK, -1, CLAIM_EFFECT_SAVE,
                "a device that turns bad is written anyhow"},
        {CLAIM_RESETTING, CLAIM_EVENT_RESET_FAILED, -1, CLAIM_EFFECT_SAVE, "likewise"},
        {CLAIM_RESTORING, CLAIM_EVENT_RESTORE_FAILED, -1, CLAIM_EFFECT_SAVE, "likewise"},
        {CLAIM_QUARANTINED, CLAIM_EVENT_DEVICE_GONE, -1, CLAIM_EFFECT_SAVE, "and one that is bad no more"},
        {CLAIM_QUARANTINED, CLAIM_EVENT_FORGET, -1, CLAIM_EFFECT_SAVE, "likewise"},
        {CLAIM_QUARANTINED, CLAIM_EVENT_RETURNED, -1, CLAIM_EFFECT_SAVE, "likewise"},
        {CLAIM_REQUESTED, CLAIM_EVENT_DENIED, -1, CLAIM_EFFECT_FORGET, "nothing is on record yet"},
        {CLAIM_REQUESTED, CLAIM_EVENT_RELEASE, -1, CLAIM_EFFECT_FORGET, "likewise"},
        {CLAIM_AUTHORIZING, CLAIM_EVENT_DENIED, -1, CLAIM_EFFECT_FORGET, "likewise"},
        {CLAIM_AUTHORIZING, CLAIM_EVENT_RELEASE, -1, CLAIM_EFFECT_FORGET, "likewise"},
        {CLAIM_AUTHORIZING, CLAIM_EVENT_QUEUED, CLAIM_REQUESTED, 0,
                "in the model it is decided once more, and waits"},
        {CLAIM_WAITING, CLAIM_EVENT_ALLOWED, -1, CLAIM_EFFECT_SAVE,
                "what binds is written before each device"},
        {CLAIM_WAITING, CLAIM_EVENT_DENIED, -1, CLAIM_EFFECT_FORGET, "nothing is on record yet"},
        {CLAIM_WAITING, CLAIM_EVENT_RELEASE, -1, CLAIM_EFFECT_FORGET, "likewise"},
        {CLAIM_RESERVED, CLAIM_EVENT_DEVICE_GONE, -1, CLAIM_EFFECT_REFUSE,
                "who has the ticket waits for nothing"},
        {CLAIM_BINDING, CLAIM_EVENT_DEVICE_GONE, -1, CLAIM_EFFECT_DEFER,
                "what is gone is neither bound nor opened"},
        {CLAIM_DRAINING, CLAIM_EVENT_DEVICE_GONE, -1, CLAIM_EFFECT_WATCH_CLOSE,
                "it is watched since it drains"},
};

static const char *find_excuse(unsigned without) {
    for (size_t i = 0; i < ELEMENTSOF(harmless); i++) {
        const Harmless *h = &harmless[i];

        if (h->reason && h->state == mutation.state && h->event == mutation.event && h->without == without &&
                (h->next < 0 || h->next == (int) mutation.instead.next))
            return h->reason;
    }
    return NULL;
}

static unsigned n_mutants, n_noticed, n_excused;

static bool is_noticed(void) {
    for (size_t i = 0; i < ELEMENTSOF(small_worlds); i++) {
        WorldRules rules = small_worlds[i].rules;
        Explored e;

        rules.step = broken_step;
        if (explore(&rules, bound, /* loud= */ false, &e) < 0 || e.broken)
            return true;
    }
    return false;
}

static void try_mutant(ClaimState state, ClaimEvent event, Transition instead, unsigned without) {
    mutation.state = state;
    mutation.event = event;
    mutation.instead = instead;
    n_mutants++;
    if (is_noticed()) {
        n_noticed++;
        return;
    }
    if (find_excuse(without)) {
        n_excused++;
        return;
    }
    printf("# not noticed: %s + %s goes to %s%s", claim_state_to_string(state), claim_event_to_string(event),
            claim_state_to_string(instead.next), without != 0 ? " without effect" : "");
    printf(without != 0 ? " %x\n" : "\n", without);
}

static void try_mutants_of(ClaimState state, ClaimEvent event) {
    const Transition right = machine_step(state, event);

    for (unsigned effect = 1; effect <= right.effects; effect <<= 1)
        if (right.effects & effect)
            try_mutant(state, event, (Transition){.next = right.next, .effects = right.effects & ~effect},
                    effect);
    for (ClaimState next = 0; next < _CLAIM_STATE_MAX; next++)
        if (next != right.next && !(right.effects & CLAIM_EFFECT_DEFER)) /* then the next state does not
                                                                          * matter */
            try_mutant(state, event, (Transition){.next = next, .effects = right.effects}, 0);
    if (right.next != state)
        try_mutant(state, event, (Transition){.next = state}, 0);
}

static void check_mutants(void) {
    struct timespec begin;

    (void) clock_gettime(CLOCK_MONOTONIC, &begin);
    for (ClaimState s = 0; s < _CLAIM_STATE_MAX; s++)
        for (ClaimEvent e = 0; e < _CLAIM_EVENT_MAX; e++)
            if (is_possible(s, e) && !is_unused(s, e))
                try_mutants_of(s, e);
    printf("# %u broken machines: %u break an invariant, %u are known to do no harm; %.1f s\n", n_mutants,
            n_noticed, n_excused, seconds_since(&begin));
    tell(n_noticed + n_excused == n_mutants, "every broken machine is noticed");
}

int main(int argc, char **argv) {
    if (argc > 1)
        bound = strtoul(argv[1], NULL, 10);
    for (size_t i = 0; i < ELEMENTSOF(small_worlds); i++)
        walk(&small_worlds[i]);
    for (size_t i = 0; i < ELEMENTSOF(worlds); i++)
        walk(&worlds[i]);
    for (size_t i = 0; i < ELEMENTSOF(evicting_worlds); i++)
        walk(&evicting_worlds[i]);
    printf("# %zu states and %zu steps in all\n", all_states, all_steps);
    check_cells();
    check_broken_evictions();
    check_mutants();
    printf("1..%u\n", n_tests);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
