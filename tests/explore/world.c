/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "world-internal.h"

#define BIT(i) (1U << (i))
#define FIRST_GROUP 0x3U

bool world_cells[_CLAIM_STATE_MAX][_CLAIM_EVENT_MAX];

static bool has(unsigned mask, unsigned i) {
    return mask & BIT(i);
}

static unsigned groups_of(unsigned devices) {
    return devices | (devices & FIRST_GROUP ? FIRST_GROUP : 0);
}

/* ---- Fields that are packed ---- */

static MemberProgress unpack(uint64_t progress, unsigned d) {
    return (MemberProgress) (progress >> (3 * d) & 7);
}

static uint64_t repack(uint64_t progress, unsigned d, MemberProgress p) {
    return (progress & ~(UINT64_C(7) << (3 * d))) | (uint64_t) p << (3 * d);
}

static void set_progress(Memory *c, unsigned d, MemberProgress p) {
    c->dirty |= unpack(c->progress, d) != p;
    c->progress = repack(c->progress, d, p) & 0x1ff;
}

static unsigned bad_members(const Memory *c) {
    unsigned bad = 0;

    for (unsigned d = 0; d < N_DEVICES; d++)
        if (has(c->members, d) && unpack(c->progress, d) == MEMBER_BAD)
            bad |= BIT(d);
    return bad;
}

static Late late_of(const World *w, unsigned d) {
    return (Late) (w->late >> (2 * d) & 3);
}

static void set_late(World *w, unsigned d, Late late) {
    w->late = (w->late & ~(3U << (2 * d)) & 0x3f) | (uint32_t) late << (2 * d);
}

void world_broken_unless(Steps *s, bool holds, const char *what) {
    if (!holds)
        s->broken = what;
}

/* Three numbers of five bits, the first one lowest. */
#define NO_EVENTS 0x7fffU

void world_push(Steps *s, World *w, unsigned k, ClaimEvent event) {
    unsigned shift = 0;

    while (shift < 15 && (w->events[k] >> shift & 31) != NO_EVENT)
        shift += 5;
    world_broken_unless(s, shift < 15, "more events wait than the model has room for");
    w->events[k] = (uint16_t) ((w->events[k] & ~(31U << shift) & NO_EVENTS) | (unsigned) event << shift);
    w->claims[k].busy = 1;
}

static bool is_pushed(const World *w, unsigned k, ClaimEvent event) {
    return (w->events[k] & 31) == event || (w->events[k] >> 5 & 31) == event;
}

static ClaimEvent pop(World *w, unsigned k) {
    ClaimEvent event = (ClaimEvent) (w->events[k] & 31);

    w->events[k] = (uint16_t) (w->events[k] >> 5 | NO_EVENT << 10);
    return event;
}

static void clear(World *w, unsigned k) {
    memset(&w->claims[k], 0, sizeof(w->claims[k]));
    w->claims[k].state = NO_STATE;
    w->events[k] = NO_EVENTS;
}

World world_initial(void) {
    World w;

    memset(&w, 0, sizeof(w));
    for (unsigned k = 0; k < N_CLAIMS; k++) {
        clear(&w, k);
        w.outside[k].record = NO_STATE;
    }
    w.present = BIT(N_DEVICES) - 1;
    w.up = w.permits = 1;
    return w;
}

/* ---- Steps ---- */

World *world_add(Steps *s, const World *w, const char *what, int claim, bool mishap) {
    assert(s->n < STEPS_MAX);
    s->steps[s->n] = (Step){.to = *w, .what = what, .claim = claim, .mishap = mishap};
    return &s->steps[s->n++].to;
}

World *world_will(Steps *s, const World *w, const char *what, unsigned k) {
    World *t = world_add(s, w, what, (int) k, false);

    s->steps[s->n - 1].willed = true;
    return t;
}

#define OWN(what) world_add(s, w, what, (int) k, false)
#define WILLED(what) world_will(s, w, what, k)
#define MISHAP(what) world_add(s, w, what, (int) k, true)

void world_write_record(World *t, unsigned k) {
    Memory *c = &t->claims[k];
    Outside *o = &t->outside[k];

    o->record = c->state & 15;
    o->members = c->members & 7;
    o->want = c->want & 7;
    o->progress = c->progress & 0x1ff;
    c->dirty = 0;
    if (k == EVICTED)
        t->evicting.record = t->evicting.now;
}

static void charge(World *t, unsigned k) {
    t->claims[k].charged = 1;
    t->usage = (t->usage + 1) & 3;
}

static void discharge(World *t, unsigned k) {
    t->usage = (t->usage - t->claims[k].charged) & 3;
    t->claims[k].charged = 0;
}

/* ---- Effects (run_effects() in claim-run.c) ---- */

static World *run(Steps *s, const World *w, unsigned k, unsigned effect, const char *what, bool mishap) {
    World *t = world_add(s, w, what, (int) k, mishap);

    t->claims[k].effects &= ~effect & 0x1fff;
    return t;
}

/* Every device that is handed out is bound, and nobody has pulled it out. */
static bool can_open(const World *w, unsigned k) {
    unsigned want = w->claims[k].want;

    return (want & ~w->moved) == 0 && (want & w->outside[k].lost) == 0;
}

static unsigned first_of(unsigned devices) {
    unsigned d = 0;

    while (!has(devices, d))
        d++;
    return d;
}

static void run_open(Steps *s, const World *w, unsigned k, const WorldRules *rules) {
    World *t;

    if (can_open(w, k))
        world_push(s, run(s, w, k, CLAIM_EFFECT_OPEN, "the nodes are open", false), k, CLAIM_EVENT_OPENED);
    t = run(s, w, k, CLAIM_EFFECT_OPEN, "a node cannot be opened", can_open(w, k));
    t->claims[k].refused = 1;
    world_push(s, t, k, CLAIM_EVENT_OPEN_FAILED);
    if (!rules->hangs)
        return;
    t = run(s, w, k, CLAIM_EFFECT_OPEN, "a device does not wake up", true);
    set_progress(&t->claims[k], first_of(w->claims[k].want), MEMBER_BAD);
    t->claims[k].refused = 1;
    world_push(s, t, k, CLAIM_EVENT_OPEN_FAILED);
    t = run(s, w, k, CLAIM_EFFECT_OPEN, "a worker is to open the groups", true);
    t->claims[k].work = WORK_OPEN;
    t->claims[k].task = TASK_RUNNING;
}

static void give(Steps *s, World *t, unsigned k) {
    Memory *c = &t->claims[k];
    Outside *o = &t->outside[k];
    unsigned fresh = c->want & ~o->lost;

    world_broken_unless(s, o->allowed, "files leave without a yes");
    world_broken_unless(s, (fresh & ~t->moved) == 0, "files leave over a device that is not bound");
    world_broken_unless(s, (fresh & t->used) == 0, "a device is handed on that was not reset");
    world_broken_unless(s, o->record == CLAIM_HELD, "files leave before the record says so");
    world_broken_unless(s, o->kept, "files leave before the service manager has the lifeline");
    c->granted = 1;
    c->waiting = 0;
    o->files = o->lifeline = 1;
    t->used |= fresh & t->present;
}

static void run_reply(Steps *s, const World *w, unsigned k, const WorldRules *rules) {
    const Memory *c = &w->claims[k];
    World *t;

    if (c->dirty) {
        t = OWN("the record is written");
        world_evict_limit(t, k, rules);
        world_write_record(t, k);
        if (!rules->disk_fails)
            return;
        t = run(s, w, k, CLAIM_EFFECT_REPLY, "the record cannot be written", true);
        t->claims[k].refused = 1;
        world_push(s, t, k, CLAIM_EVENT_RELEASE);
        return;
    }
    if (!c->waiting) {
        world_push(
                s, run(s, w, k, CLAIM_EFFECT_REPLY, "nobody takes the files", false), k, CLAIM_EVENT_RELEASE);
        return;
    }
    if (!w->outside[k].kept)
        OWN("the service manager gets the lifeline")->outside[k].kept = 1;
    else
        give(s, run(s, w, k, CLAIM_EFFECT_REPLY, "the files leave", false), k);
}

static void run_ticket(Steps *s, const World *w, unsigned k, const WorldRules *rules) {
    const Memory *c = &w->claims[k];
    World *t;

    if (c->dirty && rules->disk_fails) {
        t = run(s, w, k, CLAIM_EFFECT_TICKET, "the record cannot be written", true);
        t->claims[k].refused = 1;
        world_push(s, t, k, CLAIM_EVENT_RELEASE);
    }
    if (c->dirty) {
        world_write_record(OWN("the record is written"), k);
        return;
    }
    t = run(s, w, k, CLAIM_EFFECT_TICKET, "the ticket leaves", false);
    t->claims[k].ticket = 1;
    t->claims[k].granted = c->waiting;
    t->claims[k].waiting = 0;
    if (!c->waiting)
        world_push(s, t, k, CLAIM_EVENT_RELEASE);
}

static void run_watch_close(Steps *s, const World *w, unsigned k) {
    World *t = run(s, w, k, CLAIM_EFFECT_WATCH_CLOSE, "it is watched for its close", false);

    t->claims[k].watched = 1;
    if (!w->outside[k].files && !world_evict_searches(w, k) && !is_pushed(w, k, CLAIM_EVENT_CLOSED))
        world_push(s, t, k, CLAIM_EVENT_CLOSED);
}

static void run_work(Steps *s, const World *w, unsigned k, unsigned effect, Work work, const char *what) {
    Memory *c = &run(s, w, k, effect, what, false)->claims[k];

    world_broken_unless(s, !w->outside[k].files || w->outside[k].lifted,
            work == WORK_BIND ? "a device that is open is bound" : "a device is taken back while it is open");
    if (work == WORK_BIND)
        world_broken_unless(s, w->outside[k].allowed, "a device is bound without a yes");
    else
        c->watched = 0;
    c->work = work;
    c->index = 0;
}

/* The tether is dropped before the record: a lifeline without a record looks like a lost record. */
static void run_forget(Steps *s, const World *w, unsigned k) {
    World *t;

    if (w->outside[k].kept) {
        OWN("the service manager drops the lifeline")->outside[k].kept = 0;
        return;
    }
    t = run(s, w, k, CLAIM_EFFECT_FORGET, "the record is removed", false);
    t->claims[k].dirty = 0;
    t->outside[k].record = NO_STATE;
    if (k == EVICTED)
        t->evicting.record = (Times){};
}

static void run_authorize(Steps *s, const World *w, unsigned k) {
    World *t = run(s, w, k, CLAIM_EFFECT_AUTHORIZE, "a person is asked", false);

    t->claims[k].asked = 1;
    t = run(s, w, k, CLAIM_EFFECT_AUTHORIZE, "nobody can be asked", true);
    t->claims[k].refused = 1;
    world_push(s, t, k, CLAIM_EVENT_DENIED);
}

static void run_refuse(Steps *s, const World *w, unsigned k) {
    World *t = run(s, w, k, CLAIM_EFFECT_REFUSE, "the caller is refused", false);

    if (!w->claims[k].granted && w->claims[k].refused)
        t->claims[k].waiting = 0;
}

static void run_effect(Steps *s, const World *w, unsigned k, const WorldRules *rules) {
    unsigned effects = w->claims[k].effects, effect = effects & -effects;

    switch ((ClaimEffect) effect) {
    case CLAIM_EFFECT_SAVE:
        run(s, w, k, effect, "the record is to be written", false)->claims[k].dirty = 1;
        return;
    case CLAIM_EFFECT_BIND:
        run_work(s, w, k, effect, WORK_BIND, "it is to be bound");
        return;
    case CLAIM_EFFECT_OPEN:
        run_open(s, w, k, rules);
        return;
    case CLAIM_EFFECT_REPLY:
        run_reply(s, w, k, rules);
        return;
    case CLAIM_EFFECT_REFUSE:
        run_refuse(s, w, k);
        return;
    case CLAIM_EFFECT_WATCH_CLOSE:
        run_watch_close(s, w, k);
        return;
    case CLAIM_EFFECT_RESET:
        run_work(s, w, k, effect, WORK_RESET, "it is to be reset");
        return;
    case CLAIM_EFFECT_RESTORE:
        run_work(s, w, k, effect, WORK_RESTORE, "it is to be restored");
        return;
    case CLAIM_EFFECT_FORGET:
        run_forget(s, w, k);
        return;
    case CLAIM_EFFECT_AUTHORIZE:
        run_authorize(s, w, k);
        return;
    case CLAIM_EFFECT_TICKET:
        run_ticket(s, w, k, rules);
        return;
    case CLAIM_EFFECT_DEFER:
    case CLAIM_EFFECT_IMPOSSIBLE:
        break;
    }
    s->broken = "an effect that the model does not know";
}

/* ---- Work on one device after the other (claim-work.c) ---- */

static unsigned device_at(const Memory *c) {
    return c->work == WORK_RESTORE ? N_DEVICES - 1 - (unsigned) c->index : (unsigned) c->index;
}

static bool is_due(const Memory *c) {
    unsigned d = device_at(c);

    switch ((Work) c->work) {
    case WORK_BIND:
        return has(c->members, d);
    case WORK_RESET:
        return has(c->want, d) && member_is_begun(unpack(c->progress, d));
    default:
        return has(c->members, d) && member_is_begun(unpack(c->progress, d));
    }
}

static void end_work(Steps *s, World *t, unsigned k) {
    Memory *c = &t->claims[k];
    Work work = (Work) c->work;
    bool bad = bad_members(c) != 0;

    c->work = WORK_NONE;
    c->index = 0;
    world_push(s, t, k,
            work == WORK_BIND            ? CLAIM_EVENT_BOUND
                    : work == WORK_RESET ? (bad ? CLAIM_EVENT_RESET_FAILED : CLAIM_EVENT_RESET_DONE)
                    : bad                ? CLAIM_EVENT_RESTORE_FAILED
                                         : CLAIM_EVENT_RESTORED);
}

static void fail_binding(Steps *s, World *t, unsigned k) {
    Memory *c = &t->claims[k];

    c->refused = 1;
    c->work = WORK_NONE;
    c->index = 0;
    world_push(s, t, k, CLAIM_EVENT_BIND_FAILED);
}

/* No worker, or no record. */
static void cannot_begin(Steps *s, World *t, unsigned k, unsigned d) {
    Memory *c = &t->claims[k];

    if (c->work == WORK_BIND) {
        set_progress(c, d, MEMBER_NOT_BEGUN);
        fail_binding(s, t, k);
        return;
    }
    set_progress(c, d, MEMBER_BAD);
    c->refused = 1;
    c->index++;
}

static void next_work(Steps *s, const World *w, unsigned k, const WorldRules *rules) {
    World here = *w;
    Memory *c = &here.claims[k];
    unsigned d;

    while (c->index < N_DEVICES && !is_due(c))
        c->index++;
    if (c->index == N_DEVICES) {
        end_work(s, &here, k);
        (void) world_add(s, &here, "nothing is left to do", (int) k, false);
        return;
    }
    d = device_at(c);
    if (c->work == WORK_BIND)
        set_progress(c, d, MEMBER_OVERRIDE);
    w = &here;
    if (!c->dirty) {
        OWN("a worker gets its order")->claims[k].task = TASK_RUNNING;
        if (rules->hangs)
            cannot_begin(s, MISHAP("no worker can be started"), k, d);
        return;
    }
    world_write_record(OWN("the record is written before"), k);
    if (!rules->disk_fails)
        return;
    if (c->work == WORK_BIND)
        cannot_begin(s, MISHAP("the record cannot be written before"), k, d);
    else
        MISHAP("the record cannot be written, and a worker gets its order")->claims[k].task = TASK_RUNNING;
}

/* What the kernel does for a worker. */
static void kernel_step(Steps *s, const World *w, unsigned k) {
    const Memory *c = &w->claims[k];
    unsigned d = device_at(c);
    bool gone = has(w->outside[k].lost, d), bind = c->work == WORK_BIND;
    World *t;

    if (c->work == WORK_OPEN) {
        if (can_open(w, k))
            OWN("a worker has opened the groups")->claims[k].task = TASK_DONE;
        return;
    }
    if (late_of(w, d) != LATE_NONE || w->outside[k].files) /* it waits */
        return;
    if (gone) {
        OWN("the worker finds no device")->claims[k].task = bind ? TASK_FAILED : TASK_DONE;
        return;
    }
    t = OWN("the kernel has done it");
    t->claims[k].task = TASK_DONE;
    if (bind)
        t->moved |= BIT(d);
    else if (c->work == WORK_RESTORE)
        t->moved &= ~BIT(d) & 7;
    else if (has(w->moved, d))
        t->used &= ~BIT(d) & 7;
    MISHAP("the kernel refuses")->claims[k].task = TASK_FAILED;
    if (c->work == WORK_RESET || has(w->moved, d) == bind)
        return;
    t = MISHAP("the kernel does half of it");
    t->claims[k].task = TASK_FAILED;
    t->moved ^= BIT(d);
}

static void next_member(Memory *c) {
    c->task = TASK_NONE;
    c->index++;
    c->busy = 1;
}

/* on_member_done(), without the retries. */
static void report_success(Steps *s, const World *w, unsigned k) {
    Memory *c = &OWN("the daemon hears that it is done")->claims[k];
    unsigned d = device_at(c);
    MemberProgress before = unpack(c->progress, d);

    set_progress(c, d,
            c->work == WORK_BIND            ? MEMBER_BOUND
                    : c->work == WORK_RESET ? MAX(before, MEMBER_RESET)
                                            : MEMBER_RESTORED);
    next_member(c);
}

static void report_failure(Steps *s, World *t, unsigned k, bool timed_out) {
    Memory *c = &t->claims[k];
    unsigned d = device_at(c);

    c->refused = 1;
    if (timed_out || c->work != WORK_BIND) {
        set_progress(c, d, MEMBER_BAD);
        c->timed = (timed_out ? c->timed | BIT(d) : c->timed & ~BIT(d)) & 7;
    }
    if (c->work != WORK_BIND) {
        next_member(c);
        return;
    }
    c->task = TASK_NONE;
    fail_binding(s, t, k);
}

static void report_late(Steps *s, const World *w, unsigned k) {
    unsigned d = device_at(&w->claims[k]);
    World *t = MISHAP("the kernel does not answer in time");

    if (w->claims[k].work != WORK_RESET && !has(w->outside[k].lost, d))
        set_late(t, d, w->claims[k].work == WORK_BIND ? LATE_BIND : LATE_RESTORE);
    t->stuck |= BIT(d) & 7;
    report_failure(s, t, k, /* timed_out= */ true);
}

static void report_open(Steps *s, const World *w, unsigned k) {
    World *t;

    if (w->claims[k].task == TASK_DONE) {
        t = OWN("the daemon hears that the groups are open");
        t->claims[k].work = t->claims[k].task = 0;
        world_push(s, t, k, CLAIM_EVENT_OPENED);
        return;
    }
    t = world_add(s, w, "a worker cannot open a group", (int) k, can_open(w, k));
    t->claims[k].work = t->claims[k].task = 0;
    t->claims[k].refused = 1;
    world_push(s, t, k, CLAIM_EVENT_OPEN_FAILED);
    t = MISHAP("the open does not come back");
    t->claims[k].work = t->claims[k].task = 0;
    t->claims[k].refused = 1;
    for (unsigned d = 0; d < N_DEVICES; d++)
        if (has(w->claims[k].members, d))
            set_progress(&t->claims[k], d, MEMBER_BAD);
    t->claims[k].timed = w->claims[k].members;
    t->stuck |= w->claims[k].members;
    world_push(s, t, k, CLAIM_EVENT_WORKER_STUCK);
}

static void report(Steps *s, const World *w, unsigned k, const WorldRules *rules) {
    const Memory *c = &w->claims[k];

    if (c->work == WORK_OPEN)
        report_open(s, w, k);
    else if (c->task == TASK_DONE)
        report_success(s, w, k);
    else if (c->task == TASK_FAILED)
        report_failure(s, OWN("the daemon hears that it failed"), k, /* timed_out= */ false);
    else if (rules->hangs)
        report_late(s, w, k);
}

/* ---- Events (step() and set_state() in claim-run.c) ---- */

static void keep_bad(Memory *c) {
    unsigned bad = bad_members(c);

    if (bad == 0)
        return;
    c->members = c->want = bad & 7;
    c->dirty = 1;
}

static void lift(World *t, unsigned k, ClaimEvent event) {
    Memory *c = &t->claims[k];

    for (unsigned d = 0; d < N_DEVICES; d++)
        if (has(c->members, d))
            set_progress(c, d, member_lifted(unpack(c->progress, d), /* changed= */ true));
    c->timed = 0;
    if (event == CLAIM_EVENT_RETURNED) { /* nobody has looked: the reset comes next */
        c->returned = 1;
        return;
    }
    t->outside[k].lifted = 1; /* whoever lifts it has checked the device, or it is gone */
    t->used &= ~c->members & 7;
}

/* All its devices are known to be gone: no event will report that again. */
static bool is_left_over(const World *w, unsigned k) {
    return (w->claims[k].members & (~w->outside[k].lost | w->unheard)) == 0;
}

/* stuck_is_over() in stuck.c. */
static bool stuck_is_over(const World *w, unsigned k) {
    const Memory *c = &w->claims[k];
    unsigned bad = bad_members(c);

    return bad != 0 && !c->returned && (bad & ~c->timed) == 0 && (c->members & w->stuck) == 0;
}

static void feed(Steps *s, World *t, unsigned k, ClaimEvent event, const WorldRules *rules) {
    Memory *c = &t->claims[k];
    ClaimState before = (ClaimState) c->state;
    Transition transition = rules->step(before, event);

    world_cells[before][event] = true;
    world_broken_unless(
            s, !(transition.effects & CLAIM_EFFECT_IMPOSSIBLE), "an event that the table calls impossible");
    if (transition.effects & CLAIM_EFFECT_IMPOSSIBLE)
        return;
    if (event == CLAIM_EVENT_RELEASE || event == CLAIM_EVENT_DEVICE_GONE)
        t->outside[k].released = 1;
    else
        world_broken_unless(
                s, transition.next != before || transition.effects != 0, "an answer changes nothing");
    if (transition.effects & CLAIM_EFFECT_DEFER) {
        c->deferred |= event == CLAIM_EVENT_RELEASE ? 1 : 2;
        return;
    }
    if (before == CLAIM_QUARANTINED && transition.next != CLAIM_QUARANTINED)
        lift(t, k, event);
    c->due = transition.next != before && c->deferred != 0;
    c->effects = transition.effects & 0x1fff;
    if (transition.next == before)
        return;
    world_broken_unless(
            s, transition.next != CLAIM_GONE || bad_members(c) == 0, "a claim ends with a bad device");
    c->state = transition.next & 15;
    if (rules->evictions)
        world_evict_note(t, k, before, transition.next, rules);
    if (c->state == CLAIM_QUARANTINED && before != CLAIM_REQUESTED)
        keep_bad(c);
    if (c->state == CLAIM_QUARANTINED && is_left_over(t, k))
        world_push(s, t, k, CLAIM_EVENT_DEVICE_GONE);
    else if (c->state == CLAIM_QUARANTINED && before != CLAIM_REQUESTED && stuck_is_over(t, k))
        world_push(s, t, k, CLAIM_EVENT_RETURNED);
}

static void take_event(Steps *s, const World *w, unsigned k, const WorldRules *rules) {
    ClaimEvent event = (ClaimEvent) (w->events[k] & 31);
    World *t = OWN(claim_event_to_string(event));

    feed(s, t, k, pop(t, k), rules);
}

static void push_deferred(Steps *s, const World *w, unsigned k) {
    World *t = OWN("what was deferred comes up again");
    Memory *c = &t->claims[k];

    if (c->deferred & 1)
        world_push(s, t, k, CLAIM_EVENT_RELEASE);
    if (c->deferred & 2)
        world_push(s, t, k, CLAIM_EVENT_DEVICE_GONE);
    c->deferred = c->due = 0;
}

static void end_claim(Steps *s, const World *w, unsigned k) {
    const Outside *o = &w->outside[k];
    World *t = OWN("the claim is over");

    world_broken_unless(s, !w->claims[k].waiting, "a claim ends and its caller has no answer");
    world_broken_unless(s, o->record == NO_STATE, "a claim ends and leaves its record");
    world_broken_unless(s, !o->kept, "a claim ends and leaves its lifeline with the service manager");
    world_broken_unless(s, !w->claims[k].charged || (w->claims[k].members & ~o->lost & w->moved) == 0,
            "a claim ends and leaves a device on the vfio driver");
    discharge(t, k);
    clear(t, k);
    if (k == EVICTED)
        t->evicting = (Evicting){.review = t->evicting.review};
    t->outside[k].allowed = t->outside[k].lifted = t->outside[k].released = 0;
    t->outside[k].lost = 0;
}

/* The daemon is in the middle of an event of this claim. */
static void go_on(Steps *s, const World *w, unsigned k, const WorldRules *rules) {
    const Memory *c = &w->claims[k];

    if (c->effects != 0)
        run_effect(s, w, k, rules);
    else if (c->work != WORK_NONE && c->task == TASK_NONE)
        next_work(s, w, k, rules);
    else if (c->due)
        push_deferred(s, w, k);
    else if (c->state == CLAIM_GONE)
        end_claim(s, w, k);
    else if (w->events[k] != NO_EVENTS)
        take_event(s, w, k, rules);
    else if (!c->dirty)
        OWN("the daemon waits again")->claims[k].busy = 0;
    else {
        World *t = OWN("the record is written, and the daemon waits again");

        world_write_record(t, k);
        t->claims[k].busy = 0;
        if (rules->disk_fails)
            MISHAP("the record cannot be written, and the daemon waits again")->claims[k].busy = 0;
    }
}

/* ---- What comes to the daemon from outside ---- */

static bool is_free(const World *w, unsigned k) {
    unsigned mine = groups_of(w->claims[k].members);

    for (unsigned other = 0; other < N_CLAIMS; other++)
        if (other != k && w->claims[other].charged && (groups_of(w->claims[other].members) & mine))
            return false;
    return true;
}

/* Would the planner allow it? */
static bool can_be_had(const World *w, unsigned k) {
    unsigned members = w->claims[k].members;

    return w->permits && is_free(w, k) && (members & (~w->present | w->unheard | w->moved)) == 0;
}

static void allow(Steps *s, World *t, unsigned k) {
    Memory *c = &t->claims[k];

    charge(t, k);
    t->outside[k].allowed = 1;
    t->outside[k].lost = 0; /* the present device is judged */
    world_push(s, t, k, c->reserving ? CLAIM_EVENT_RESERVED : CLAIM_EVENT_ALLOWED);
}

static void deny(Steps *s, World *t, unsigned k) {
    t->claims[k].refused = 1;
    world_push(s, t, k, CLAIM_EVENT_DENIED);
}

static void request(Steps *s, const World *w, unsigned k, const WorldRules *rules) {
    const Outside *o = &w->outside[k];

    if (o->record != NO_STATE || o->kept || o->files || o->lifeline)
        return;
    for (const unsigned *wish = rules->wishes[k]; wish < rules->wishes[k] + 4 && *wish; wish++)
        for (unsigned reserving = 0; reserving <= rules->reserves; reserving++) {
            World *t = OWN(reserving ? "a reservation is requested" : "devices are requested");
            Memory *c = &t->claims[k];

            c->state = CLAIM_REQUESTED;
            c->want = *wish & 7;
            c->members = groups_of(*wish) & 7;
            c->waiting = 1;
            c->reserving = reserving & 1;
            t->outside[k].allowed = t->outside[k].lifted = t->outside[k].released = 0;
            t->outside[k].lost = 0;
        }
}

/* The claim with a reservation's ticket takes over its place, its share of the limits and its record. */
static void redeem(Steps *s, const World *w, unsigned k) {
    const Memory *c = &w->claims[k];

    for (unsigned r = 0; r < N_CLAIMS; r++) {
        const Memory *reserved = &w->claims[r];
        World *t;

        if (r == k || reserved->state != CLAIM_RESERVED || !reserved->ticket || c->reserving ||
                reserved->want != c->want || !w->permits ||
                (reserved->members & (~w->present | w->unheard)) != 0)
            continue;
        t = OWN("a ticket is redeemed");
        t->outside[k].record = w->outside[r].record;
        t->outside[k].members = w->outside[r].members;
        t->outside[k].want = w->outside[r].want;
        t->outside[k].progress = w->outside[r].progress;
        t->outside[r].record = NO_STATE;
        discharge(t, r);
        allow(s, t, k);
        world_push(s, t, r, CLAIM_EVENT_REDEEMED);
    }
}

static void leave(Steps *s, const World *w, unsigned k) {
    World *t;

    if (!w->claims[k].waiting || (w->claims[k].deferred & 1))
        return;
    t = WILLED("the caller goes away");
    t->claims[k].waiting = 0;
    world_push(s, t, k, CLAIM_EVENT_RELEASE);
}

/* A claim that is over is not released again. */
static void release(Steps *s, const World *w, unsigned k, const WorldRules *rules, const char *what) {
    Transition t = rules->step((ClaimState) w->claims[k].state, CLAIM_EVENT_RELEASE);
    World *to;

    world_cells[w->claims[k].state][CLAIM_EVENT_RELEASE] = true;
    if ((w->claims[k].state >= CLAIM_DRAINING && t.next == w->claims[k].state && t.effects == 0) ||
            (w->claims[k].deferred & 1))
        return;
    to = w->outside[k].lifeline ? WILLED(what) : OWN(what);
    to->claims[k].refused |= to->claims[k].state == CLAIM_AUTHORIZING ||
            to->claims[k].state == CLAIM_WAITING || to->claims[k].state == CLAIM_RESERVED;
    world_push(s, to, k, CLAIM_EVENT_RELEASE);
}

/* The policy allows it, and another claim has it. */
static bool is_taken(const World *w, unsigned k) {
    unsigned members = w->claims[k].members;

    return w->permits && !is_free(w, k) && (members & (~w->present | w->unheard)) == 0;
}

/* Nobody waits in the queue for a reservation. */
static void wait_in_queue(Steps *s, const World *w, unsigned k, const WorldRules *rules) {
    World *t;

    if (!rules->queues || w->claims[k].reserving || !is_taken(w, k))
        return;
    t = OWN("others have it, and the caller waits in the queue");
    t->claims[k].asked = 0;
    world_push(s, t, k, CLAIM_EVENT_QUEUED);
}

static void decide(Steps *s, const World *w, unsigned k, const WorldRules *rules) {
    bool possible = can_be_had(w, k);

    if (possible)
        allow(s, OWN("the policy allows it"), k);
    if (possible && rules->asks)
        world_push(s, OWN("the policy wants a person's answer"), k, CLAIM_EVENT_ASK);
    deny(s, world_add(s, w, "it is denied", (int) k, possible), k);
    wait_in_queue(s, w, k, rules);
    redeem(s, w, k);
    leave(s, w, k);
}

static void answer(Steps *s, const World *w, unsigned k, const WorldRules *rules) {
    if (w->claims[k].asked) {
        if (can_be_had(w, k))
            allow(s, OWN("the person says yes"), k);
        deny(s, OWN("the person says no, or too late"), k);
        wait_in_queue(s, w, k, rules);
    }
    release(s, w, k, rules, "it is released while a person is asked");
    leave(s, w, k);
}

/* Its turn may come, and its waiting time may end. The order of the queue is not in the model. */
static void take_turn(Steps *s, const World *w, unsigned k, const WorldRules *rules) {
    bool possible = can_be_had(w, k);

    if (possible)
        allow(s, OWN("its turn comes"), k);
    if (possible && rules->asks)
        world_push(s, OWN("its turn comes, and the policy wants a person's answer"), k, CLAIM_EVENT_ASK);
    deny(s, world_add(s, w, "it has waited too long, or is denied", (int) k, possible), k);
    release(s, w, k, rules, "it is released while it waits");
    leave(s, w, k);
}

static void client_step(Steps *s, const World *w, unsigned k, const WorldRules *rules) {
    const Memory *c = &w->claims[k];

    switch (c->state) {
    case NO_STATE:
        request(s, w, k, rules);
        return;
    case CLAIM_REQUESTED:
        decide(s, w, k, rules);
        return;
    case CLAIM_AUTHORIZING:
        answer(s, w, k, rules);
        return;
    case CLAIM_WAITING:
        take_turn(s, w, k, rules);
        return;
    case CLAIM_RESERVED:
        if (c->ticket)
            release(s, w, k, rules, "the reservation expires");
        return;
    case CLAIM_DRAINING:
        if (c->watched && !w->outside[k].files && !world_evict_searches(w, k))
            world_push(s, OWN("the last file is closed"), k, CLAIM_EVENT_CLOSED);
        break;
    case CLAIM_QUARANTINED:
        world_push(s, WILLED("an operator lifts the quarantine"), k, CLAIM_EVENT_FORGET);
        if (rules->retries && (c->members & w->stuck) == 0 && bad_members(c) != 0)
            world_push(s, MISHAP("an operator has it tried again"), k, CLAIM_EVENT_RETURNED);
        break;
    default:
        leave(s, w, k);
        break;
    }
    release(s, w, k, rules, w->outside[k].lifeline ? "its owner releases it" : "its lifeline hangs up");
}

/* broker_device_removed(), and broker_device_changed() where it has left its driver */
static void hear_of_removal(Steps *s, const World *w, unsigned d) {
    World *t = world_add(s, w, "the daemon hears that it is gone", STEP_OF_NOBODY, false);

    t->unheard &= ~BIT(d) & 7;
    for (unsigned k = 0; k < N_CLAIMS; k++) {
        Memory *c = &t->claims[k];

        bool left = c->state == CLAIM_HELD && !has(t->moved, d);

        if (!c->charged || !has(c->want, d) || (!has(t->outside[k].lost, d) && !left) || (c->deferred & 2))
            continue;
        if (c->state == CLAIM_QUARANTINED && (c->members & ~t->outside[k].lost & t->present) != 0)
            continue;
        world_push(s, t, k, CLAIM_EVENT_DEVICE_GONE);
    }
}

/* The kernel has no more work in progress. */
static void hear_of_return(Steps *s, const World *w, unsigned d) {
    World *t = world_add(s, w, "the daemon hears that a worker came back", STEP_OF_NOBODY, false);

    t->stuck &= ~BIT(d) & 7;
    for (unsigned k = 0; k < N_CLAIMS; k++)
        if (w->claims[k].state == CLAIM_QUARANTINED && has(w->claims[k].members, d) && stuck_is_over(t, k)) {
            world_push(s, t, k, CLAIM_EVENT_RETURNED);
            return;
        }
}

static void daemon_steps(Steps *s, const World *w, const WorldRules *rules) {
    for (unsigned k = 0; k < N_CLAIMS; k++)
        if (w->claims[k].busy) {
            go_on(s, w, k, rules);
            return;
        }
    for (unsigned k = 0; k < N_CLAIMS; k++) {
        client_step(s, w, k, rules);
        if (w->claims[k].task != TASK_NONE)
            report(s, w, k, rules);
    }
    if (rules->evictions)
        world_evict_steps(s, w, rules);
    for (unsigned d = 0; d < N_DEVICES; d++) {
        if (has(w->unheard, d))
            hear_of_removal(s, w, d);
        if (has(w->stuck, d) && late_of(w, d) == LATE_NONE)
            hear_of_return(s, w, d);
    }
}

/* ---- A crash, and the start after it (recover.c) ---- */

static void crash(Steps *s, const World *w) {
    World *t = world_add(s, w, "the daemon is killed", STEP_OF_NOBODY, true);

    for (unsigned k = 0; k < N_CLAIMS; k++) {
        const Memory *c = &w->claims[k];

        if (c->task == TASK_RUNNING && (c->work == WORK_BIND || c->work == WORK_RESTORE) &&
                !has(w->outside[k].lost, device_at(c)) && late_of(w, device_at(c)) == LATE_NONE)
            set_late(t, device_at(c), c->work == WORK_BIND ? LATE_BIND : LATE_RESTORE);
        clear(t, k);
    }
    world_evict_crash(t);
    t->up = t->usage = t->unheard = t->stuck = 0;
}

static void recover(Steps *s, World *t, unsigned k, const WorldRules *rules) {
    Memory *c = &t->claims[k];
    Outside *o = &t->outside[k];
    ClaimEvent event;

    if (o->record == NO_STATE) {
        world_broken_unless(s, !o->kept || !o->lifeline, "a client holds a claim that has no record");
        o->kept = 0;
        if (k == EVICTED)
            t->evicting = (Evicting){};
        return;
    }
    if (o->record == CLAIM_HELD) /* a release that is not on record is forgotten */
        o->released = 0;
    event = machine_recovery((ClaimState) o->record, o->kept && o->lifeline);
    c->state = CLAIM_REQUESTED;
    c->members = o->members;
    c->want = o->want;
    for (unsigned d = 0; d < N_DEVICES; d++)
        c->progress =
                repack(c->progress, d, member_after_crash(unpack(o->progress, d), (ClaimState) o->record)) &
                0x1ff;
    c->granted = 1;
    c->watched = o->record == CLAIM_HELD || o->record == CLAIM_DRAINING;
    c->ticket = event == CLAIM_EVENT_RECOVERED_RESERVED;
    charge(t, k);
    world_push(s, t, k, event);
    if (rules->evictions && k == EVICTED)
        world_evict_recover(s, t, event, rules);
    if (event != CLAIM_EVENT_RECOVERED_HELD)
        o->kept = 0;
    if (event == CLAIM_EVENT_RECOVERED_HELD && (c->want & (o->lost | ~t->moved)) != 0)
        world_push(s, t, k, CLAIM_EVENT_DEVICE_GONE);
    if (event == CLAIM_EVENT_RECOVERED_RESERVED && (c->want & o->lost) != 0)
        world_push(s, t, k, CLAIM_EVENT_DEVICE_GONE);
}

static void start(Steps *s, const World *w, const WorldRules *rules) {
    World *t = world_add(s, w, "the daemon starts again", STEP_OF_NOBODY, false);

    t->up = 1;
    for (unsigned k = 0; k < N_CLAIMS; k++)
        recover(s, t, k, rules);
}

/* ---- Clients, kernel, hands ---- */

static bool is_open(const World *w, unsigned d) {
    for (unsigned k = 0; k < N_CLAIMS; k++)
        if (w->outside[k].files && (has(w->outside[k].want, d) || has(w->claims[k].want, d)))
            return true;
    return false;
}

static void unplug(Steps *s, const World *w, unsigned d) {
    World *t = world_add(s, w, "a device is pulled out", STEP_OF_NOBODY, true);

    t->present &= ~BIT(d) & 7;
    t->moved &= ~BIT(d) & 7;
    t->used &= ~BIT(d) & 7;
    t->unheard |= w->up ? BIT(d) & 7 : 0;
    set_late(t, d, LATE_NONE);
    for (unsigned k = 0; k < N_CLAIMS; k++)
        if (has(w->claims[k].members, d) ||
                (w->outside[k].record != NO_STATE && has(w->outside[k].members, d)))
            t->outside[k].lost |= BIT(d) & 7;
}

static void late_write(Steps *s, const World *w, unsigned d) {
    World *t = world_add(s, w, "a write that nobody waits for is done", STEP_OF_NOBODY, false);

    if (late_of(w, d) == LATE_BIND)
        t->moved |= BIT(d);
    else {
        t->moved &= ~BIT(d) & 7;
        t->unheard |= w->up ? BIT(d) & 7 : 0; /* its node goes */
    }
    set_late(t, d, LATE_NONE);
    set_late(world_add(s, w, "a write that nobody waits for fails", STEP_OF_NOBODY, false), d, LATE_NONE);
}

static void device_steps(Steps *s, const World *w, const WorldRules *rules) {
    for (unsigned d = 0; d < N_DEVICES; d++) {
        if (late_of(w, d) != LATE_NONE)
            late_write(s, w, d);
        if (!has(rules->unplugs, d))
            continue;
        if (has(w->present, d))
            unplug(s, w, d);
        else if (!has(w->unheard, d) && !is_open(w, d))
            world_add(s, w, "another device is put in", STEP_OF_NOBODY, false)->present |= BIT(d) & 7;
    }
}

void world_drop_all(World *t, unsigned k) {
    t->outside[k].files = t->outside[k].lifeline = 0;
}

void world_steps(const WorldRules *rules, const World *w, Steps *s) {
    s->n = 0;
    s->broken = NULL;
    if (w->up) {
        daemon_steps(s, w, rules);
        crash(s, w);
    } else
        start(s, w, rules);
    for (unsigned k = 0; k < N_CLAIMS; k++) {
        if (w->claims[k].task == TASK_RUNNING)
            kernel_step(s, w, k);
        if (w->outside[k].lifeline && !rules->simple)
            WILLED("the client drops its lifeline")->outside[k].lifeline = 0;
        if (w->outside[k].files && rules->simple)
            world_drop_all(WILLED("the client is gone"), k);
        if (w->outside[k].files && !rules->simple)
            WILLED("the client closes its files")->outside[k].files = 0;
    }
    device_steps(s, w, rules);
    if (rules->evictions)
        world_evict_outside(s, w, rules);
    if (rules->policy_changes && !w->claims[0].busy && !w->claims[1].busy)
        world_add(s, w, w->permits ? "the policy is withdrawn" : "the policy is back", STEP_OF_NOBODY,
                w->permits)
                ->permits ^= 1;
}

/* ---- What must hold in every state ---- */

/* A crash may leave a claim without a change, never a change without a claim. */
static bool is_recorded(const World *w, unsigned d) {
    for (unsigned k = 0; k < N_CLAIMS; k++) {
        const Outside *o = &w->outside[k];
        MemberProgress p = unpack(o->progress, d);

        if (o->record != NO_STATE && has(o->members, d) && !has(o->lost, d) && p != MEMBER_NOT_BEGUN &&
                p != MEMBER_RESTORED)
            return true;
    }
    return false;
}

static const char *check_devices(const World *w) {
    for (unsigned d = 0; d < N_DEVICES; d++)
        if ((has(w->moved, d) || late_of(w, d) == LATE_BIND) && !is_recorded(w, d))
            return "a device was changed, and no record says so";
    return NULL;
}

static const char *check_claim(const World *w, unsigned k) {
    const Outside *o = &w->outside[k];

    if (o->files && !o->allowed)
        return "a client has files without a yes";
    if (o->files && o->record == NO_STATE && !o->lifted && (o->want & ~o->lost))
        return "a client has a device, and there is no record of it";
    return NULL;
}

/* What a claim that waits for something must have. */
static const char *check_charged(const World *w, unsigned k) {
    const Memory *c = &w->claims[k];
    const Outside *o = &w->outside[k];
    unsigned told = c->want & o->lost & ~w->unheard;

    if (!c->dirty &&
            (o->record != c->state || o->members != c->members || o->want != c->want ||
                    o->progress != c->progress))
        return "the record is not true";
    if (c->state == CLAIM_HELD && o->released)
        return "a claim is held that was released, or has lost its device";
    if ((c->state == CLAIM_HELD || c->state == CLAIM_RESERVED) && told != 0)
        return "a claim is held or reserved whose device is gone";
    if (c->state == CLAIM_HELD && (!o->kept || (c->want & ~o->lost & ~w->moved & ~w->unheard) != 0))
        return "a claim is held without a lifeline, or over a device that is not bound";
    if (c->state == CLAIM_QUARANTINED && (c->members == 0 || bad_members(c) != c->members))
        return "a device is in quarantine that is not bad";
    if (c->state == CLAIM_QUARANTINED && is_left_over(w, k))
        return "a quarantine is left over where there is no device";
    if (c->state == CLAIM_QUARANTINED && c->waiting)
        return "a device is in quarantine, and the caller has no answer";
    return NULL;
}

static const char *check_at_rest(const World *w, unsigned k) {
    const Memory *c = &w->claims[k];
    const Outside *o = &w->outside[k];

    if (!w->up || c->busy)
        return NULL;
    if (o->files && o->lifeline && c->state != CLAIM_HELD && !o->released)
        return "a claim was taken from its holder";
    switch (c->state) {
    case NO_STATE:
        return NULL;
    case CLAIM_REQUESTED:
        return c->waiting && !c->asked && !c->charged ? NULL
                                                      : "a request of which nobody waits for the answer";
    case CLAIM_WAITING:
        return c->waiting && !c->asked && !c->charged ? NULL
                                                      : "a place in the queue of which nobody takes the turn";
    case CLAIM_AUTHORIZING:
        return c->waiting && c->asked && !c->charged
                ? NULL
                : "a question that nobody was asked, or nobody waits for";
    default:
        return c->charged ? check_charged(w, k) : "a claim has something and is not charged for it";
    }
}

static unsigned recorded_groups(const Outside *o) {
    return o->record == NO_STATE ? 0 : groups_of(o->members);
}

static unsigned held_groups(const World *w, unsigned k) {
    return w->claims[k].charged ? groups_of(w->claims[k].members) : 0;
}

const char *world_check(const World *w) {
    const char *broken = check_devices(w);
    unsigned usage = 0;

    for (unsigned k = 0; k < N_CLAIMS && !broken; k++) {
        broken = check_claim(w, k) ?: check_at_rest(w, k);
        usage += w->claims[k].charged;
    }
    if (broken)
        return broken;
    if (held_groups(w, 0) & held_groups(w, 1))
        return "two claims have one group";
    if (recorded_groups(&w->outside[0]) & recorded_groups(&w->outside[1]))
        return "two records have one group";
    if (w->outside[0].files && w->outside[1].files &&
            (groups_of(w->outside[0].want & ~w->outside[0].lost) &
                    groups_of(w->outside[1].want & ~w->outside[1].lost)))
        return "two clients have files of one group";
    if (usage != w->usage)
        return "the quotas do not add up to the claims";
    return NULL;
}

bool world_is_settled(const World *w, unsigned k) {
    const Memory *c = &w->claims[k];

    return w->up && !c->busy && (c->state == NO_STATE || c->state == CLAIM_QUARANTINED);
}

bool world_is_quiet(const World *w) {
    for (unsigned k = 0; k < N_CLAIMS; k++) {
        const Outside *o = &w->outside[k];

        if (w->claims[k].state != NO_STATE || o->record != NO_STATE || o->kept || o->files || o->lifeline)
            return false;
    }
    return w->up && w->moved == 0 && w->late == 0 && w->used == 0 && w->usage == 0;
}

static void print_claim(const World *w, unsigned k) {
    const Memory *c = &w->claims[k];
    const Outside *o = &w->outside[k];

    printf("#     claim %u: %s%s members=%x want=%x progress=%03o", k,
            c->state == NO_STATE ? "-" : claim_state_to_string((ClaimState) c->state),
            c->busy ? " (busy)" : "", (unsigned) c->members, (unsigned) c->want, (unsigned) c->progress);
    printf("; on disk: %s members=%x progress=%03o",
            o->record == NO_STATE ? "-" : claim_state_to_string((ClaimState) o->record),
            (unsigned) o->members, (unsigned) o->progress);
    printf(";%s%s%s%s%s%s%s lost=%x\n", c->waiting ? " waiting" : "", c->dirty ? " dirty" : "",
            c->watched ? " watched" : "", o->kept ? " kept" : "", o->lifeline ? " lifeline" : "",
            o->files ? " files" : "", o->allowed ? " allowed" : "", (unsigned) o->lost);
}

void world_print(const World *w) {
    printf("#     %s present=%x vfio=%x used=%x late=%02x usage=%u\n", w->up ? "up" : "down",
            (unsigned) w->present, (unsigned) w->moved, (unsigned) w->used, (unsigned) w->late,
            (unsigned) w->usage);
    for (unsigned k = 0; k < N_CLAIMS; k++)
        print_claim(w, k);
}
