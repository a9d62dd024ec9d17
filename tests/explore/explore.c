/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "explore.h"

#include <stdio.h>

#define NOWHERE UINT32_MAX

typedef struct Edge {
    uint32_t to : 30, mishap : 1, willed : 1;
} Edge;

typedef struct Walk {
    const WorldRules *rules;
    size_t max;
    World *states; /* owned, as all below; in the order in which they were found */
    uint32_t *parents;
    uint32_t *first_edge; /* of each state, and one more */
    uint32_t *table;      /* of the hash: number of the state + 1 */
    Edge *edges;
    size_t n_states, allocated, table_size, n_edges, edges_allocated;
    bool full, out_of_memory;
    Steps steps;
} Walk;

static void walk_done(Walk *w) {
    free(w->states);
    free(w->parents);
    free(w->first_edge);
    free(w->table);
    free(w->edges);
}

static size_t memory_of(const Walk *w) {
    return w->allocated * (sizeof(World) + 2 * sizeof(uint32_t)) + w->table_size * sizeof(uint32_t) +
            w->edges_allocated * sizeof(Edge);
}

/* ---- The set of states ---- */

static uint64_t hash(const World *world) {
    uint64_t words[sizeof(World) / 8], h = UINT64_C(0x9e3779b97f4a7c15);

    memcpy(words, world, sizeof(words));
    for (size_t i = 0; i < ELEMENTSOF(words); i++) {
        h = (h ^ words[i]) * UINT64_C(0xff51afd7ed558ccd);
        h ^= h >> 32;
    }
    return h;
}

static uint32_t *find_slot(Walk *w, const World *world) {
    size_t i = hash(world) & (w->table_size - 1);

    while (w->table[i] != 0 && memcmp(&w->states[w->table[i] - 1], world, sizeof(*world)) != 0)
        i = (i + 1) & (w->table_size - 1);
    return &w->table[i];
}

static int grow_array(void *array, size_t n, size_t size) {
    void **p = array;
    void *grown = reallocarray(*p, n, size);

    if (!grown)
        return -ENOMEM;
    *p = grown;
    return 0;
}

static int grow(Walk *w) {
    size_t n = MAX(w->allocated * 2, (size_t) 1 << 12);
    uint32_t *table = calloc(n * 2, sizeof(*table));

    if (!table)
        return -ENOMEM;
    free(w->table);
    w->table = table;
    w->table_size = n * 2;
    if (grow_array(&w->states, n, sizeof(World)) < 0 || grow_array(&w->parents, n, sizeof(uint32_t)) < 0 ||
            grow_array(&w->first_edge, n + 1, sizeof(uint32_t)) < 0)
        return -ENOMEM;
    w->allocated = n;
    for (size_t i = 0; i < w->n_states; i++)
        *find_slot(w, &w->states[i]) = (uint32_t) i + 1;
    return 0;
}

/* Its number; NOWHERE when there is no room. */
static uint32_t add_state(Walk *w, const World *world, uint32_t parent) {
    uint32_t *slot = find_slot(w, world);

    if (*slot != 0)
        return *slot - 1;
    if (w->n_states == w->max) {
        w->full = true;
        return NOWHERE;
    }
    if (w->n_states == w->allocated) {
        if (grow(w) < 0) {
            w->out_of_memory = true;
            return NOWHERE;
        }
        slot = find_slot(w, world);
    }
    w->states[w->n_states] = *world;
    w->parents[w->n_states] = parent;
    *slot = (uint32_t) w->n_states + 1;
    return (uint32_t) w->n_states++;
}

static int add_edge(Walk *w, uint32_t to, const Step *s) {
    if (w->n_edges == w->edges_allocated) {
        size_t n = MAX(w->edges_allocated * 2, (size_t) 1 << 14);

        if (grow_array(&w->edges, n, sizeof(Edge)) < 0)
            return -ENOMEM;
        w->edges_allocated = n;
    }
    w->edges[w->n_edges++] = (Edge){.to = to & 0x3fffffff, .mishap = s->mishap, .willed = s->willed};
    return 0;
}

/* ---- What is reported ---- */

static void print_steps(Walk *w, uint32_t state) {
    uint32_t parent = w->parents[state];

    if (parent == NOWHERE)
        return;
    print_steps(w, parent);
    world_steps(w->rules, &w->states[parent], &w->steps);
    for (size_t i = 0; i < w->steps.n; i++) {
        const Step *s = &w->steps.steps[i];

        if (memcmp(&s->to, &w->states[state], sizeof(World)) != 0)
            continue;
        if (s->claim == STEP_OF_NOBODY)
            printf("#   %s\n", s->what);
        else
            printf("#   %d: %s\n", s->claim, s->what);
        break;
    }
}

static const char *report(Walk *w, uint32_t state, const char *broken, bool loud) {
    if (loud) {
        printf("# BROKEN: %s\n# The shortest path to it:\n", broken);
        print_steps(w, state);
        world_print(&w->states[state]);
    }
    return broken;
}

/* ---- The walk ---- */

/* A claim must always wait for something. */
static const char *check_awaited(const Walk *w, const World *world) {
    for (unsigned k = 0; k < N_CLAIMS; k++) {
        bool awaited = !world->up || world->claims[k].state == NO_STATE;

        if (world->claims[1 - k].busy) /* the daemon has one thread */
            continue;
        for (size_t i = 0; i < w->steps.n && !awaited; i++)
            awaited = w->steps.steps[i].claim == (int) k;
        /* late kernel work comes first */
        if (!awaited && world->late == 0)
            return "a claim waits for nothing";
    }
    return NULL;
}

static const char *visit(Walk *w, uint32_t state) {
    const World world = w->states[state];
    const char *broken = world_check(&world);

    if (!broken && w->rules->evictions)
        broken = world_evict_check(w->rules, &world);

    w->first_edge[state] = (uint32_t) w->n_edges;
    if (broken)
        return broken;
    world_steps(w->rules, &world, &w->steps);
    broken = w->steps.broken ?: check_awaited(w, &world);
    for (size_t i = 0; i < w->steps.n && !broken; i++) {
        uint32_t to = add_state(w, &w->steps.steps[i].to, state);

        if (to != NOWHERE && add_edge(w, to, &w->steps.steps[i]) < 0)
            w->out_of_memory = true;
    }
    return broken;
}

/* ---- Goals that must be reachable from every state ---- */

typedef bool (*is_state_t)(const WorldRules *rules, const World *w);

typedef struct Goal {
    is_state_t from; /* NULL: from every state */
    is_state_t to;
    bool alone; /* without anything that a client or person might do */
    const char *broken;
} Goal;

static bool is_settled_0(const WorldRules *rules, const World *w) {
    return world_is_settled(w, 0);
}

static bool is_settled_1(const WorldRules *rules, const World *w) {
    return world_is_settled(w, 1);
}

static bool is_quiet(const WorldRules *rules, const World *w) {
    return world_is_quiet(w);
}

static const Goal goals[] = {
        {.to = is_settled_0, .broken = "a claim can reach neither gone nor quarantined"},
        {.to = is_settled_1, .broken = "a claim can reach neither gone nor quarantined"},
        {.to = is_quiet, .broken = "there is no way back to a host on which nothing is claimed"},
};

static const Goal eviction_goals[] = {
        {world_is_evicted, world_is_evicted_or_waits, true, "an eviction does not end by itself"},
        {world_waits_for_evicted, world_waiter_has_it, true,
                "who waits for an evicted claim does not get it"},
};

static bool leads_on(const Walk *w, size_t state, const Goal *g, const bool *reaches) {
    for (size_t e = w->first_edge[state]; e < w->first_edge[state + 1]; e++)
        if (!w->edges[e].mishap && !(g->alone && w->edges[e].willed) && reaches[w->edges[e].to])
            return true;
    return false;
}

/* Can the goal be reached from every state without relying on mishaps? *ret_state: the nearest state where it
 * cannot. */
static int find_trap(const Walk *w, const Goal *g, uint32_t *ret_state) {
    _cleanup_free_ bool *reaches = calloc(w->n_states, sizeof(*reaches));
    bool changed = true;

    if (!reaches)
        return -ENOMEM;
    for (size_t i = 0; i < w->n_states; i++)
        reaches[i] = g->to(w->rules, &w->states[i]);
    while (changed) {
        changed = false;
        for (size_t i = w->n_states; i-- > 0;)
            if (!reaches[i] && leads_on(w, i, g, reaches))
                reaches[i] = changed = true;
    }
    for (size_t i = 0; i < w->n_states; i++)
        if (!reaches[i] && (!g->from || g->from(w->rules, &w->states[i]))) {
            *ret_state = (uint32_t) i;
            return 1;
        }
    return 0;
}

static int check_goals(Walk *w, const Goal *g, size_t n, const char **ret_broken, uint32_t *ret_state) {
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++) {
        r = find_trap(w, &g[i], ret_state);
        if (r > 0)
            *ret_broken = g[i].broken;
    }
    return r;
}

static int check_ways_out(Walk *w, const char **ret_broken, uint32_t *ret_state) {
    int r = check_goals(w, goals, ELEMENTSOF(goals), ret_broken, ret_state);

    if (r == 0 && w->rules->evictions)
        r = check_goals(w, eviction_goals, ELEMENTSOF(eviction_goals), ret_broken, ret_state);
    return MIN(r, 0);
}

static int walk(Walk *w, bool loud, Explored *ret) {
    const World first = world_initial();
    uint32_t state = 0;
    int r = 0;

    if (grow(w) < 0)
        return -ENOMEM;
    (void) add_state(w, &first, NOWHERE);
    for (; state < w->n_states && !ret->broken && !w->out_of_memory; state++)
        ret->broken = visit(w, state);
    if (w->out_of_memory)
        return -ENOMEM;
    w->first_edge[w->n_states] = (uint32_t) w->n_edges;
    if (ret->broken)
        state--;
    else if (!w->full)
        r = check_ways_out(w, &ret->broken, &state);
    if (ret->broken)
        (void) report(w, state, ret->broken, loud);
    ret->n_states = w->n_states;
    ret->n_steps = w->n_edges;
    ret->memory = memory_of(w);
    ret->complete = !w->full;
    return r;
}

int explore(const WorldRules *rules, size_t max, bool loud, Explored *ret) {
    Walk w = {.rules = rules, .max = max};
    int r;

    *ret = (Explored){};
    r = walk(&w, loud, ret);
    walk_done(&w);
    return r;
}
