/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* All states of some worlds, and proof that the walk notices errors: the table of the machine is broken in
 * every way that one cell allows (an effect is left out, another state follows, the event is ignored). Each
 * of these machines must break an invariant in some small world, or be listed in `harmless` with the reason.
 *
 * TAP, with the sizes of walks as comments. A number as argument limits the states of each walk; a walk that
 * was cut short says so. */

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
    printf("# %zu states and %zu steps in all\n", all_states, all_steps);
    check_cells();
    check_mutants();
    printf("1..%u\n", n_tests);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
