/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A small world around the machine of a claim: everything that can happen to two claims over two devices of
 * one group and one outside, one small step at a time.
 *
 * The decisions are those of the daemon itself: machine_step() (core/machine.h), machine_recovery(), what
 * core/progress.h says of a device that is half done, and core/eviction.h. What the daemon does between them
 * (claim-run.c, claim-work.c, recover.c), the disk, the service manager, the kernel, the clients and the
 * operator are modelled here, each by the freedom that it has: a worker may succeed, fail half-way, hang, or
 * be killed with its write under way; a disk may be full; a device may be pulled out and another one put in.
 *
 * A step is as small as a crash can tell: each effect of a transition is one, and the daemon may die between
 * any two. Steps of one claim's event are not interleaved with those of the other claim, because the daemon
 * has one thread. Clients, kernel and hands interleave with everything. */

#include "core/eviction.h"
#include "core/machine.h"
#include "core/progress.h"

#define N_DEVICES 3U /* the first two are in one group */
#define N_CLAIMS 2U

#define NO_EVENT 31U
#define NO_STATE 15U /* no claim, or no record */

typedef enum Task {
    TASK_NONE,
    TASK_RUNNING, /* the worker has its order */
    TASK_DONE,    /* the kernel has done it, and the daemon has not been told */
    TASK_FAILED,  /* likewise */
} Task;

typedef enum Work {
    WORK_NONE,
    WORK_BIND,
    WORK_OPEN,
    WORK_RESET,
    WORK_RESTORE,
} Work;

/* What the daemon knows, and loses when it dies. */
typedef struct Memory {
    uint64_t state : 4, members : 3, want : 3; /* devices that it moves, and hands out of them */
    uint64_t effects : 13;                     /* of the last transition, still to be run */
    uint64_t deferred : 2, due : 1;            /* release, device gone; to be fed after the effects */
    uint64_t dirty : 1, busy : 1;              /* its events are being handled */
    uint64_t work : 3, index : 2, task : 2;
    uint64_t progress : 9;
    uint64_t returned : 1; /* a late worker has returned: once */
    uint64_t timed : 3;    /* of its bad devices, those that the kernel was late with, and nothing else */
    uint64_t charged : 1, asked : 1, waiting : 1, granted : 1, watched : 1, refused : 1;
    uint64_t reserving : 1, ticket : 1;
} Memory;

/* What is outside of the daemon, for the same claim. */
typedef struct Outside {
    uint32_t record : 4, members : 3, want : 3, progress : 9; /* on disk */
    uint32_t kept : 1;                                        /* its lifeline, by the service manager */
    uint32_t lifeline : 1, files : 1;                         /* the client has them */
    uint32_t allowed : 1;                                     /* a caller or person with the right to do so
                                                               * has allowed it */
    uint32_t lost : 3;                                        /* of its devices, pulled out since */
    uint32_t lifted : 1;   /* its quarantine; nobody waits for the client any more */
    uint32_t released : 1; /* its owner has given it up, or its device is gone */
    uint32_t spare : 3;
} Outside;

typedef enum Late {
    LATE_NONE,
    LATE_BIND, /* an abandoned write that the kernel may still perform */
    LATE_RESTORE,
} Late;

/* Time in ticks of EVICTION_IN_DEFAULT_SEC, from now on: so a state does not depend on how late it is. */
typedef struct Times {
    uint16_t eviction : 2, cause : 2, left : 2, more : 2; /* left: until the eviction's deadline, + 1 */
    uint16_t stop : 2, stop_left : 2;
    uint16_t deadline : 2; /* of the claim: 0: none, 1: over, otherwise ticks + 2 */
    uint16_t unused : 2;
} Times;

/* The eviction of the first claim; see world-evict.c. */
typedef struct Evicting {
    Times now, record;                                        /* in memory, and on disk */
    uint32_t stopper : 2, spared : 1, paused : 1, review : 1; /* lost with the daemon */
    uint32_t asked : 1, granted : 2, lifted : 1;              /* what the holder was told */
    uint32_t grace : 3, drain_grace : 3;                      /* ticks + 1 until it may be stopped */
    uint32_t asked_to_end : 1, killed : 1;                    /* the signals that it got */
    uint32_t unused : 15;
} Evicting;

typedef struct World {
    Memory claims[N_CLAIMS];
    Outside outside[N_CLAIMS];
    uint32_t present : 3, moved : 3, used : 3, unheard : 3; /* devices; used: not reset since */
    uint32_t late : 6, usage : 2;
    uint32_t up : 1, permits : 1; /* the daemon; the policy */
    uint32_t stuck : 3;           /* devices; the daemon waits for a worker that has not come back */
    uint32_t spare : 7;
    uint16_t events[N_CLAIMS]; /* up to three that wait */
    Evicting evicting;
} World;
_Static_assert(sizeof(World) == 40, "a state has a hash over all of its bytes");

typedef Transition (*step_t)(ClaimState state, ClaimEvent event);

/* The decisions of core/eviction.h, or versions that a test has broken. */
typedef struct EvictionSteps {
    const char *name;
    int (*begin)(Eviction *, const EvictionWish *, uint64_t real_usec, uint64_t boot_usec, Refusal *);
    int (*answer)(Eviction *, uint64_t more_sec, uint32_t max_sec, Refusal *);
    bool (*is_due)(Eviction *, uint64_t boot_usec);
    uint64_t (*stop_usec)(const HoldTerms *, uint64_t eviction_usec);
    void (*end)(Eviction *, const HoldTerms *, Stop *);
    EvictionMove (*for_waiter)(const Eviction *, bool wanted, bool spared, bool deadline_is_over);
    void (*limit)(Stop *, uint64_t in_sec, uint64_t real_usec, uint64_t boot_usec);
    int (*signal)(const Stop *);
    void (*note_sent)(Stop *, bool any, uint64_t real_usec, uint64_t boot_usec);
    bool unrecorded; /* the record lacks the eviction */
} EvictionSteps;

/* What can happen in the world. */
typedef struct WorldRules {
    step_t step;                  /* machine_step(), or a version that a test has broken */
    unsigned wishes[N_CLAIMS][4]; /* masks of devices that the clients may request; 0: no more */
    unsigned unplugs;             /* mask of devices that are pulled out and put in */
    bool simple;                  /* clients close everything at once */
    bool disk_fails, hangs, reserves, asks, queues, policy_changes;
    bool retries; /* an operator retries quarantines */
    /* Of the first claim. The second one has a higher priority. */
    const EvictionSteps *evictions; /* NULL: nobody is evicted */
    HoldTerms hold;
    bool operator_evicts;
} WorldRules;

/* A step is the world's own, or that of one claim. */
#define STEP_OF_NOBODY (-1)

typedef struct Step {
    World to;
    const char *what;
    int claim;   /* the claim that it advances, or STEP_OF_NOBODY */
    bool mishap; /* a crash, an unplug or an error: progress must not depend on it */
    bool willed; /* what a client or person may do, and need not */
} Step;

#define STEPS_MAX 128U
typedef struct Steps {
    Step steps[STEPS_MAX];
    size_t n;
    const char *broken; /* an invariant that a step has broken on its way */
} Steps;

World world_initial(void);
void world_steps(const WorldRules *rules, const World *w, Steps *ret);
/* The invariant that this state breaks, or NULL. */
const char *world_check(const World *w);
/* Is the claim over, or in quarantine? */
bool world_is_settled(const World *w, unsigned claim);
/* Nothing is claimed, and everything is as before the first claim. */
bool world_is_quiet(const World *w);
/* Invariants of evictions. */
const char *world_evict_check(const WorldRules *rules, const World *w);
/* Somebody was asked for the first claim; that is over, or waits for a holder whom the rule does not stop. */
bool world_is_evicted(const WorldRules *rules, const World *w);
bool world_is_evicted_or_waits(const WorldRules *rules, const World *w);
/* The second claim waits for a holder who has to go; it has the device. */
bool world_waits_for_evicted(const WorldRules *rules, const World *w);
bool world_waiter_has_it(const WorldRules *rules, const World *w);
void world_print(const World *w);

/* Which cells of the table have been used. */
extern bool world_cells[_CLAIM_STATE_MAX][_CLAIM_EVENT_MAX];
