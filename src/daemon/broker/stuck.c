/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/stuck.h"

#include "base/str.h"
#include "daemon/broker/broker-internal.h"
#include "daemon/broker/claim-run.h"

static bool has_member(const ClaimRun *j, const DeviceName *name) {
    for (size_t i = 0; i < j->claim.plan.n_members; i++)
        if (device_name_compare(&j->claim.plan.members[i].name, name) == 0)
            return true;
    return false;
}

/* Finds another stuck worker with a device of the same claim. */
static int find_member(void *userdata, const WorkerStuck *stuck) {
    return stuck->has_device && has_member(userdata, &stuck->device);
}

static bool was_only_late(const Plan *plan) {
    for (size_t i = 0; i < plan->n_members; i++)
        if (plan->members[i].progress == MEMBER_BAD && plan->members[i].failure != MEMBER_FAILURE_TIMED_OUT)
            return false;
    return plan_has_bad(plan);
}

bool stuck_has_claim(const ClaimRun *j) {
    return broker_foreach_stuck(j->broker, find_member, (void *) j) != 0;
}

bool stuck_is_over(const ClaimRun *j) {
    if (!j->late || j->returned)
        return false;
    return was_only_late(&j->claim.plan) && !stuck_has_claim(j);
}

/* ---- Where it waits ---- */

#define LOOK_TIMEOUT_USEC (2 * UINT64_C(1000000))

/* The journal has one record of a stuck worker. So it is written when the look at its stack is over. */
struct StuckLook {
    Broker *broker;
    StuckLook *next; /* broker.stuck_looks */
    WorkerStuck stuck;
    WorkerTask *task; /* borrowed from the pool */
};

static void look_free(StuckLook *look) {
    for (StuckLook **i = &look->broker->stuck_looks; *i; i = &(*i)->next)
        if (*i == look) {
            *i = look->next;
            break;
        }
    if (look->task)
        worker_task_abandon(look->task);
    free(look);
}

static bool note_stack(Broker *e, pid_t pid, const KernelStack *stack) {
    return worker_pool_note_stack(e->workers, pid, stack) || worker_pool_note_stack(e->lookers, pid, stack) ||
            worker_pool_note_stack(e->setters, pid, stack);
}

static void on_looked(void *userdata, const WorkerResult *result, int *fds) {
    StuckLook *look = userdata;

    if (result->error >= 0 && note_stack(look->broker, look->stuck.pid, &result->stack))
        look->stuck.stack = result->stack;
    audit_stuck(&look->stuck, /* returned= */ false);
    look_free(look);
}

/* Reading a stack can sleep in the kernel, and a worker that looks may get stuck itself. */
static int look_at(Broker *e, const WorkerStuck *stuck) {
    const WorkerOrder order = {.operation = WORKER_LOOK_STUCK, .pid = stuck->pid};
    StuckLook *look;
    int r;

    if (stuck->pid <= 0 || stuck->operation == WORKER_LOOK_STUCK)
        return -EINVAL;
    look = malloc(sizeof(*look));
    if (!look)
        return -ENOMEM;
    *look = (StuckLook){.broker = e, .next = e->stuck_looks, .stuck = *stuck};
    e->stuck_looks = look;
    r = worker_submit(e->lookers, &order, LOOK_TIMEOUT_USEC,
            &(WorkerCaller){.done = on_looked, .userdata = look, .task = &look->task});
    if (r < 0)
        look_free(look);
    return r;
}

/* It has returned before anybody could see where it was. */
static void end_look(Broker *e, pid_t pid) {
    for (StuckLook *look = e->stuck_looks; look; look = look->next)
        if (look->stuck.pid == pid) {
            audit_stuck(&look->stuck, /* returned= */ false);
            look_free(look);
            return;
        }
}

/* ---- Over a restart ---- */

typedef struct Search {
    const ClaimRun *claim;
    const DeviceName *name;
    const WorkerStuck *found; /* borrowed */
} Search;

/* An order about all devices of a claim names one of them. */
static int find_device(void *userdata, const WorkerStuck *stuck) {
    Search *s = userdata;

    if (!stuck->has_device || !has_member(s->claim, &stuck->device))
        return 0;
    s->found = stuck;
    return device_name_compare(&stuck->device, s->name) == 0;
}

void stuck_note(const ClaimRun *j, PlanMember *m) {
    Search s = {.claim = j, .name = &m->name};

    m->late = (LateWorker){};
    if (j->returned) /* also after a restart, a device that is late again stays in quarantine */
        return;
    (void) broker_foreach_stuck(j->broker, find_device, &s);
    if (!s.found || s.found->pid <= 0 || s.found->started == 0)
        return;
    m->late =
            (LateWorker){.pid = s.found->pid, .started = s.found->started, .since_usec = s.found->since_usec};
    put_text(m->late.operation, sizeof(m->late.operation), worker_operation_to_string(s.found->operation));
    if (s.found->step >= 0)
        put_text(m->late.step, sizeof(m->late.step), driver_step_to_string(s.found->step));
}

/* False: whether it has returned is unknown. */
static bool recover_worker(Broker *e, const PlanMember *m) {
    const WorkerStuck stuck = {.pid = m->late.pid,
            .operation = worker_operation_from_string(m->late.operation),
            .step = driver_step_from_string(m->late.step),
            .device = m->name,
            .has_device = true,
            .since_usec = m->late.since_usec,
            .started = m->late.started};
    int r;

    if (stuck.pid <= 0 || stuck.started == 0 || (int) stuck.operation < 0)
        return false;
    r = worker_pool_adopt_stuck(e->workers, &stuck);
    return r >= 0 || r == -ESRCH;
}

void stuck_recover(ClaimRun *j) {
    const Plan *plan = &j->claim.plan;
    bool known = was_only_late(plan);

    for (size_t i = 0; i < plan->n_members; i++)
        if (plan->members[i].progress == MEMBER_BAD && plan->members[i].failure == MEMBER_FAILURE_TIMED_OUT)
            known = recover_worker(j->broker, &plan->members[i]) && known;
    j->late = known;
}

/* ---- Its end ---- */

static void on_stuck(void *userdata, const WorkerStuck *stuck, bool returned) {
    Broker *e = userdata;

    if (!returned) {
        if (look_at(e, stuck) < 0)
            audit_stuck(stuck, /* returned= */ false);
        return;
    }
    end_look(e, stuck->pid);
    audit_stuck(stuck, /* returned= */ true);
    if (!stuck->has_device)
        return;
    for (ClaimRun *j = e->claims; j; j = j->next)
        if (j->claim.state == CLAIM_QUARANTINED && has_member(j, &stuck->device) && stuck_is_over(j)) {
            claim_run_feed(j, CLAIM_EVENT_RETURNED);
            return; /* a device is in one claim only, and this one may be freed */
        }
}

int broker_foreach_stuck(Broker *e, int (*visit)(void *userdata, const WorkerStuck *stuck), void *userdata) {
    WorkerPool *const pools[] = {e->workers, e->lookers, e->setters};
    int r = 0;

    for (size_t i = 0; r == 0 && i < ELEMENTSOF(pools); i++)
        r = worker_pool_foreach_stuck(pools[i], visit, userdata);
    return r;
}

void stuck_unwatch(Broker *e) {
    while (e->stuck_looks) {
        audit_stuck(&e->stuck_looks->stuck, /* returned= */ false);
        look_free(e->stuck_looks);
    }
}

void stuck_watch(Broker *e) {
    worker_pool_watch_stuck(e->workers, on_stuck, e);
    worker_pool_watch_stuck(e->lookers, on_stuck, e);
    worker_pool_watch_stuck(e->setters, on_stuck, e);
}
