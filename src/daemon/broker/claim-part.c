/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/claim-part.h"

#include "base/log.h"
#include "base/str.h"
#include "daemon/broker/backend.h"
#include "daemon/broker/drain.h"
#include "daemon/broker/evict.h"
#include "daemon/broker/grant.h"
#include "daemon/broker/sibling.h"

bool claim_is_part(const ClaimRun *j) {
    return j->claim.of[0];
}

static bool is_joining(const ClaimRun *j) {
    return claim_is_part(j) && (j->done || j->claim.state < CLAIM_HELD);
}

bool claim_is_growing(const ClaimRun *j) {
    for (const ClaimRun *i = j->broker->claims; i; i = i->next)
        if (is_joining(i) && streq(i->claim.of, j->claim.id))
            return true;
    return false;
}

ClaimRun *claim_part_find_whole(const ClaimRun *part, Refusal *refusal) {
    ClaimRun *j = claims_find(part->broker, part->claim.of);

    if (j && j->claim.state == CLAIM_HELD)
        return j;
    (void) refuse(refusal, VFIOD_ERROR_NO_SUCH_CLAIM, NULL, "claim %s ended before the devices could join it",
            part->claim.of);
    return NULL;
}

static void swap_shape(Claim *c, Plan *plan, ClaimNodes *nodes) {
    const ClaimNodes old_nodes = {c->nodes, c->n_nodes};
    const Plan old_plan = c->plan;

    c->plan = *plan;
    *plan = old_plan;
    c->nodes = nodes->list;
    c->n_nodes = nodes->n;
    *nodes = old_nodes;
}

/* The record is changed first. On failure everything is as before. Takes ownership of plan and nodes. */
static int change_shape(ClaimRun *j, Plan *plan, ClaimNodes *nodes) {
    int r;

    swap_shape(&j->claim, plan, nodes);
    j->dirty = true;
    r = claim_run_flush(j);
    if (r < 0)
        swap_shape(&j->claim, plan, nodes);
    plan_done(plan);
    free(nodes->list);
    return r;
}

/* ---- Joining ---- */

/* A group that the claim had when the devices were planned may have left it, because one of its devices was
 * unplugged. */
static const PlanMember *find_stranded(const Plan *whole, const Plan *part) {
    for (size_t i = 0; i < part->n_claimed; i++) {
        const PlanMember *m = &part->members[i];

        if (m->group >= 0 && !plan_has_group(whole, m->group) && !plan_has_group(part, m->group))
            return m;
    }
    return NULL;
}

/* The claim may have moved to another holder meanwhile. */
static int check_tether(ClaimRun *part, const Claim *whole) {
    if (part->claim.plan.tethers & 1U << whole->plan.tether)
        return 0;
    return refuse(&part->claim.refusal, VFIOD_ERROR_ACCESS_DENIED, &part->claim.plan.members[0].name,
            "the rule does not allow the tether %s, which claim %s has by now",
            tether_kind_to_string(whole->plan.tether), whole->id);
}

int claim_part_join(ClaimRun *part) {
    const DeviceName *name = &part->claim.plan.members[0].name;
    const PlanMember *stranded;
    _cleanup_(plan_done) Plan joined = PLAN_NULL;
    ClaimNodes nodes;
    ClaimRun *j;
    int r;

    /* The caller or a device is gone: an event for that follows. */
    if (!part->done || part->n_events > 0 || part->deferred != 0)
        return refuse(&part->claim.refusal, VFIOD_ERROR_DEVICE_GONE, name,
                "it was released or unplugged before it could join claim %s", part->claim.of);
    j = claim_part_find_whole(part, &part->claim.refusal);
    if (!j)
        return -ENOENT;
    stranded = find_stranded(&j->claim.plan, &part->claim.plan);
    if (stranded)
        return refuse(&part->claim.refusal, VFIOD_ERROR_DEVICE_GONE, &stranded->name,
                "another device of IOMMU group %d was unplugged before it could join claim %s",
                stranded->group, part->claim.of);
    r = check_tether(part, &j->claim);
    if (r < 0)
        return r;
    r = plan_join(&j->claim.plan, &part->claim.plan, &joined);
    if (r >= 0)
        r = grant_join_nodes(j, part, &nodes);
    evict_limit(&j->claim, r < 0 ? 0 : part->claim.plan.duration_sec);
    if (r >= 0)
        r = change_shape(j, &joined, &nodes);
    (void) evict_watch(j);
    if (r < 0)
        return refuse(&part->claim.refusal, VFIOD_ERROR_INTERNAL, name, "cannot record the claim: %s",
                strerror(-r));
    claim_run_detach(part);
    claim_run_attach(j);
    drain_give(part, j);
    grant_joined(j, part);
    claim_run_take_keeper(j, part);
    backend_watch_removals(j);
    usage_change(j->charge, TAKE_PTR(part->charge), &j->claim.plan);
    claim_run_announce(j, CLAIM_RESHAPED);
    sibling_note_all(j);
    return 0;
}

void claim_part_return(ClaimRun *part) {
    ClaimRun *j = claims_find(part->broker, part->claim.of), *leaving;
    const Plan *plan = &part->claim.plan;
    DeviceName names[REQUEST_DEVICES_MAX];

    for (size_t i = 0; i < plan->n_claimed; i++)
        names[i] = plan->members[i].name;
    if (!j || claim_part_leave(j, names, plan->n_claimed, &leaving) < 0)
        log_warning("Claim %s: cannot give back added devices whose file descriptors were not delivered",
                part->claim.of);
    else if (leaving)
        claim_run_feed(leaving, CLAIM_EVENT_RELEASE);
}

/* ---- Leaving ---- */

static int describe(Claim *c, const Claim *whole) {
    int r;

    memcpy(c->of, whole->id, sizeof(c->of));
    c->uid = whole->uid;
    c->pid = whole->pid;
    c->since_usec = whole->since_usec;
    c->state = CLAIM_HELD;
    c->eviction = whole->eviction; /* ends with it, see eviction_end() */
    r = claims_make_id(c->id);
    if (r >= 0)
        r = subject_copy(&whole->subject, &c->subject);
    if (r >= 0)
        r = free_and_strdup(&c->command, whole->command);
    if (r >= 0)
        r = free_and_strdup(&c->unit, whole->unit);
    return r < 0 ? r : free_and_strdup(&c->reason, whole->reason);
}

/* Makes the part for held devices that leave, and writes its record. Nothing else changes. */
static int part_new(ClaimRun *j, Plan *plan, ClaimRun **ret) {
    _cleanup_(claim_run_freep) ClaimRun *part = claim_run_new(j->broker);
    int r;

    if (!part)
        return -ENOMEM;
    r = describe(&part->claim, &j->claim);
    if (r < 0)
        return r;
    part->claim.plan = TAKE_GENERIC(*plan, PLAN_NULL);
    part->granted = part->dirty = true;
    r = grant_copy_nodes(j, part);
    if (r < 0)
        return r;
    r = usage_charge(j->broker->usage, &part->claim.plan, part->claim.uid, NULL, NULL, &part->charge);
    if (r >= 0)
        r = claim_run_flush(part);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(part);
    return 0;
}

static int divide(ClaimRun *j, Plan *kept, Plan *gone, ClaimRun **ret) {
    _cleanup_(claim_run_freep) ClaimRun *part = NULL;
    ClaimNodes nodes;
    int r;

    r = part_new(j, gone, &part);
    if (r < 0)
        return r;
    claim_run_detach(j); /* while it has its old plan */
    r = grant_leave_nodes(j, part, &nodes);
    if (r >= 0)
        r = change_shape(j, kept, &nodes);
    claim_run_attach(j);
    if (r < 0) {
        store_remove(j->broker->store, part->claim.id);
        return r;
    }
    claim_run_attach(part);
    drain_give(j, part);
    usage_change(j->charge, NULL, &j->claim.plan);
    *ret = TAKE_PTR(part);
    return 0;
}

int claim_part_leave(ClaimRun *j, const DeviceName *names, size_t n, ClaimRun **ret) {
    _cleanup_(plan_done) Plan kept = PLAN_NULL, gone = PLAN_NULL;
    ClaimRun *part = NULL;
    ClaimNodes nodes;
    int r;

    r = plan_part(&j->claim.plan, names, n, &kept, &gone);
    if (r < 0)
        return r;
    if (kept.n_claimed == 0) /* its record was damaged */
        return -EINVAL;
    if (gone.n_members > 0)
        r = divide(j, &kept, &gone, &part);
    else {
        r = grant_leave_nodes(j, NULL, &nodes);
        r = r < 0 ? r : change_shape(j, &kept, &nodes);
    }
    if (r < 0)
        return r;
    claim_run_drop_keeper(j); /* the client that gives devices back has their files */
    grant_left(j);
    claim_run_announce(j, CLAIM_RESHAPED);
    *ret = part;
    return 0;
}

ClaimRun *claim_part_lose(ClaimRun *j, const DeviceName *name) {
    const Plan *plan = &j->claim.plan;
    const PlanMember *lost = plan_find_member(plan, name);
    DeviceName names[REQUEST_DEVICES_MAX];
    ClaimRun *part;
    size_t n = 0;
    int r;

    if (plan->backend == BACKEND_COMPAT) /* the whole claim ends, because the worker has a copy of each
                                          * device */
        return NULL;
    for (size_t i = 0; i < plan->n_claimed; i++)
        if (plan_member_leaves_with(lost, &plan->members[i]))
            names[n++] = plan->members[i].name;
    if (n == plan->n_claimed)
        return NULL;
    r = claim_part_leave(j, names, n, &part);
    if (r >= 0)
        return part;
    log_warning_errno(r, "Claim %s: cannot separate the lost device, so the whole claim ends", j->claim.id);
    return NULL;
}
