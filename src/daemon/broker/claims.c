/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/claims.h"

#include <sys/random.h>

#include "base/str.h"
#include "daemon/broker/claim-question.h"
#include "daemon/broker/drain.h"
#include "daemon/broker/grant.h"
#include "daemon/broker/resume.h"
#include "daemon/broker/stop.h"
#include "daemon/broker/tether.h"
#include "daemon/broker/waiting.h"

int claims_make_id(char id[static CLAIM_ID_MAX]) {
    static uint64_t numbers[32]; /* fetched in one go, which saves a system call in almost every Acquire */
    static size_t n_left;

    if (n_left == 0) {
        if (getrandom(numbers, sizeof(numbers), 0) != (ssize_t) sizeof(numbers))
            return -EIO;
        n_left = ELEMENTSOF(numbers);
    }
    (void) put_hex(id, numbers[--n_left], CLAIM_ID_MAX - 1);
    return 0;
}

ClaimRun *claim_run_new(Broker *e) {
    ClaimRun *j = calloc(1, sizeof(*j));

    if (!j)
        return NULL;
    j->claim = CLAIM_NULL;
    j->broker = e;
    j->next = e->claims;
    e->claims = j;
    return j;
}

/* Only free entries and our own are changed: a refused request also has a plan, over devices of others. */
static void point_to(ClaimRun *j, Claim *claim) {
    Inventory *inventory = j->broker->inventory;
    const Plan *plan = &j->claim.plan;

    for (size_t i = 0; i < plan->n_members; i++) {
        const PlanMember *m = &plan->members[i];
        Device *d = inventory_find_device(inventory, &m->name);

        if (!d || !plan_member_is_moved(m))
            continue;
        if (d->claim && d->claim != &j->claim)
            continue;
        d->claim = claim;
        d->quarantined = claim && claim->state == CLAIM_QUARANTINED;
    }
    for (size_t i = 0; i < plan->n_groups; i++) {
        Group *g = inventory_find_group(inventory, plan->groups[i]);

        if (g && (!g->claim || g->claim == &j->claim))
            g->claim = claim;
    }
}

void claim_run_drop_keeper(ClaimRun *j) {
    if (j->keeper)
        worker_task_drop(j->keeper);
    for (size_t i = 0; i < ELEMENTSOF(j->joined_keepers); i++)
        if (j->joined_keepers[i])
            worker_task_drop(j->joined_keepers[i]);
}

void claim_run_take_keeper(ClaimRun *j, ClaimRun *part) {
    if (!part->keeper)
        return;
    for (size_t i = 0; i < ELEMENTSOF(j->joined_keepers); i++)
        if (!j->joined_keepers[i]) {
            worker_task_move(&part->keeper, &j->joined_keepers[i]);
            return;
        }
}

void claim_run_keep_bad(ClaimRun *j) {
    point_to(j, NULL);
    plan_keep_bad(&j->claim.plan);
    j->dirty = true;
    waiting_wake(j->broker);
}

static bool plan_makes(const Plan *plan) {
    for (size_t i = 0; i < plan->n_members; i++)
        if (plan_member_is_made(&plan->members[i]))
            return true;
    return false;
}

static void attach(ClaimRun *j, bool attached) {
    point_to(j, attached ? &j->claim : NULL);
    j->broker->n_makers -= j->makes;
    j->attached = attached;
    j->makes = attached && plan_makes(&j->claim.plan);
    j->broker->n_makers += j->makes;
}

void claim_run_detach(ClaimRun *j) {
    if (!j->attached)
        return;
    attach(j, false);
    waiting_wake(j->broker);
}

ClaimRun *claim_run_free(ClaimRun *j) {
    Broker *e = j ? j->broker : NULL;

    if (!j)
        return NULL;
    for (ClaimRun **i = &j->broker->claims; *i; i = &(*i)->next)
        if (*i == j) {
            *i = j->next;
            break;
        }
    e->n_announced -= j->announced;
    claim_run_detach(j);
    j->waiting = waiting_free(j->waiting);
    j->charge = usage_discharge(j->charge);
    if (j->task)
        worker_task_abandon(j->task);
    sd_event_source_disable_unref(j->work.retry);
    (void) unit_job_free(j->work.unit);
    (void) unit_job_free(j->loading);
    sd_event_source_disable_unref(j->expiry);
    sd_event_source_disable_unref(j->eviction);
    sd_event_source_disable_unref(j->pause);
    stop_end(j);
    resume_end(j);
    j->question = claim_question_free(j->question);
    drain_unwatch(j);
    grant_drop(j);
    group_files_free(j);
    j->node_acls = node_acl_watch_free(j->node_acls);
    j->removals = node_acl_watch_free(j->removals);
    claim_run_drop_keeper(j);
    claim_run_tether(j)->free(j);
    if (j->charged)
        budget_end_claim(j->broker->config.budget, j->claim.uid);
    claim_done(&j->claim);
    free(j);
    if (TAKE_GENERIC(e->vf_waits, false))
        broker_make_declared_functions(e);
    return NULL;
}

void claim_run_attach(ClaimRun *j) {
    if (!j->charged) /* it was recovered at the start */
        budget_adopt_claim(j->broker->config.budget, j->claim.uid);
    j->charged = true;
    attach(j, true);
}

/* The policy judged the device of the plan. Another device at the same place is not meant. */
Device *claim_run_find_device(const ClaimRun *j, const PlanMember *m) {
    Device *d = inventory_find_device(j->broker->inventory, &m->name);

    return d && plan_member_is(m, d) ? d : NULL;
}

ClaimRun *claims_find(Broker *e, const char *id) {
    for (ClaimRun *j = e->claims; j; j = j->next)
        if (streq(j->claim.id, id))
            return j;
    return NULL;
}

ClaimRun *claims_find_cookie(Broker *e, uid_t uid, const char *cookie) {
    for (ClaimRun *j = e->claims; j && *cookie; j = j->next)
        if (j->claim.uid == uid && j->claim.state != CLAIM_QUARANTINED && streq(j->claim.cookie, cookie))
            return j;
    return NULL;
}

ClaimRun *claims_find_named(Broker *e, const char *name, const Subject *subject) {
    const char *cookie = startswith(name, "cookie:");

    return cookie ? claims_find_cookie(e, subject->uid, cookie) : claims_find(e, name);
}

ClaimRun *claims_find_naming(Broker *e, const DeviceName *name) {
    for (ClaimRun *j = e->claims; j; j = j->next)
        for (size_t i = 0; j->attached && i < j->claim.plan.n_members; i++)
            if (device_name_compare(&j->claim.plan.members[i].name, name) == 0)
                return j;
    return NULL;
}

static bool plan_moves(const Plan *p, const DeviceName *name) {
    for (size_t i = 0; i < p->n_members && name->kind != DEVICE_KIND_TEMPLATE; i++) {
        if (plan_member_is_moved(&p->members[i]) && device_name_compare(&p->members[i].name, name) == 0)
            return true;
    }
    return false;
}

const ClaimRun *claims_find_rival(const Broker *e, const Plan *plan) {
    for (const ClaimRun *j = e->claims; j; j = j->next)
        for (size_t i = 0; i < j->claim.plan.n_members; i++)
            if (plan_moves(&j->claim.plan, &j->claim.plan.members[i].name) &&
                    plan_moves(plan, &j->claim.plan.members[i].name))
                return j;
    return NULL;
}

const Subject *claim_run_judged(const ClaimRun *j) {
    return j->for_other ? &j->claim.subject : j->subject;
}

/* A random UUID identifies the device as ours, also after a crash, since it is on record before the device is
 * made. */
static int name_made(PlanMember *m) {
    if (getrandom(m->name.uuid, sizeof(m->name.uuid), 0) != (ssize_t) sizeof(m->name.uuid))
        return -EIO;
    m->name.kind = DEVICE_KIND_MDEV;
    m->name.uuid[6] = (uint8_t) (0x40 | (m->name.uuid[6] & 0x0f));
    m->name.uuid[8] = (uint8_t) (0x80 | (m->name.uuid[8] & 0x3f));
    return 0;
}

static int name_all_made(Plan *plan) {
    int r = 0;

    for (size_t i = 0; i < plan->n_claimed && r >= 0; i++)
        if (plan_member_is_made(&plan->members[i]))
            r = name_made(&plan->members[i]);
    return r;
}

const Claim *claims_find_maker(void *userdata, const DeviceName *parent) {
    const Broker *e = userdata;

    for (const ClaimRun *j = e->n_makers > 0 ? e->claims : NULL; j; j = j->next)
        for (size_t i = 0; j->makes && i < j->claim.plan.n_members; i++)
            if (plan_member_is_made_of(&j->claim.plan.members[i], parent))
                return &j->claim;
    return NULL;
}

static bool is_there(const MdevType *type, const DeviceName *name) {
    for (size_t i = 0; i < type->n_devices; i++)
        if (device_name_compare(&type->devices[i], name) == 0)
            return true;
    return false;
}

/* Counts reservations of a template, and claims whose device the driver has not made yet. */
unsigned claims_count_promised(void *userdata, const MdevType *type, const Claim **ret_first) {
    const Broker *e = userdata;
    unsigned n = 0;

    for (const ClaimRun *j = e->claims; j; j = j->next) {
        if (!j->attached || (j->claim.state != CLAIM_RESERVED && j->claim.state != CLAIM_BINDING))
            continue;
        for (size_t i = 0; i < j->claim.plan.n_claimed; i++) {
            const PlanMember *m = &j->claim.plan.members[i];

            if (!streq(m->made.parent, type->parent) || !streq(m->made.type, type->id) ||
                    is_there(type, &m->name))
                continue;
            if (n++ == 0)
                *ret_first = &j->claim;
        }
    }
    return n;
}

int claim_run_allow(ClaimRun *j) {
    const TetherType *tether = claim_run_tether(j);
    const ClaimQuestion *q = j->question;
    const TetherHolder holder = {.subject = j->subject,
            .bus_name = q->bus_name,
            .socket = q->socket,
            .pid = q->request.pid,
            .pidfd_id = q->request.pidfd_id};
    const ClaimRun *whole = j->claim.of[0] ? claims_find(j->broker, j->claim.of) : NULL;

    /* The device of a reservation is made later, for the claim that brings the ticket. */
    if (!j->claim.ticket[0] && name_all_made(&j->claim.plan) < 0)
        return refuse(&j->claim.refusal, VFIOD_ERROR_INTERNAL, NULL, "no random numbers");
    if (usage_charge(j->broker->usage, &j->claim.plan, j->claim.uid, j->subject, whole ? whole->charge : NULL,
                &j->charge) < 0)
        return refuse(&j->claim.refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
    return tether->find ? tether->find(j, &holder, &j->claim.refusal) : 0;
}
