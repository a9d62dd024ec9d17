/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/stuck.h"

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

static void on_stuck(void *userdata, const WorkerStuck *stuck, bool returned) {
    Broker *e = userdata;

    audit_stuck(stuck, returned);
    if (!returned || !stuck->has_device)
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

void stuck_watch(Broker *e) {
    worker_pool_watch_stuck(e->workers, on_stuck, e);
    worker_pool_watch_stuck(e->lookers, on_stuck, e);
    worker_pool_watch_stuck(e->setters, on_stuck, e);
}
