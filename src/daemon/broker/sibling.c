/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/sibling.h"

#include "base/log.h"
#include "base/str.h"
#include "core/device-kind.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/claim-work.h"

/* One worker with one sibling. The claim may end meanwhile. */
struct SiblingJob {
    SiblingJob *next; /* broker.siblings */
    Broker *broker;
    char claim[CLAIM_ID_MAX]; /* "": it belongs to none */
    WorkerOrder order;
    WorkerTask *task;
};

static SiblingJob *job_free(SiblingJob *job) {
    for (SiblingJob **i = &job->broker->siblings; *i; i = &(*i)->next)
        if (*i == job) {
            *i = job->next;
            break;
        }
    free(job);
    return NULL;
}

void sibling_free_jobs(Broker *e) {
    while (e->siblings) {
        if (e->siblings->task)
            worker_task_abandon(e->siblings->task);
        (void) job_free(e->siblings);
    }
}

static void on_done(void *userdata, const WorkerResult *result, int *fds);
static void submit_waiting(Broker *e);

static int submit(SiblingJob *job) {
    return worker_submit(job->broker->workers, &job->order, job->broker->config.worker_timeout_usec,
            &(WorkerCaller){.done = on_done, .userdata = job, .task = &job->task});
}

static PlanMember *find_member(ClaimRun *j, const DeviceName *name) {
    for (size_t i = 0; j && i < j->claim.plan.n_members; i++)
        if (device_name_compare(&j->claim.plan.members[i].name, name) == 0)
            return &j->claim.plan.members[i];
    return NULL;
}

/* The claim has ended, or has undone its part before the override was set. */
static bool is_too_late(const SiblingJob *job, const PlanMember *m) {
    return job->order.operation == WORKER_BIND && (!m || !m->kept || m->progress == MEMBER_RESTORED);
}

static void on_done(void *userdata, const WorkerResult *result, int *fds) {
    SiblingJob *job = userdata;
    Broker *e = job->broker;
    PlanMember *m =
            job->claim[0] ? find_member(claims_find(job->broker, job->claim), &job->order.item.name) : NULL;
    char name[DEVICE_NAME_MAX];

    if (result->error < 0 && result->error != -ENODEV && result->error != -ESTALE)
        log_warning_errno(result->error, "%s appeared in a group with a claim, and driver_override (%s)",
                device_name_format(&job->order.item.name, name), driver_step_to_string(result->step));
    if (is_too_late(job, m) && result->error >= 0) {
        job->order.operation = WORKER_RESTORE;
        job->order.item.progress = MEMBER_OVERRIDE;
        if (submit(job) >= 0)
            return;
    }
    (void) job_free(job);
    submit_waiting(e);
}

/* Many functions may come at once: what was left behind is looked for with one worker at a time. */
static bool has_to_wait(const SiblingJob *job) {
    for (const SiblingJob *i = job->broker->siblings; i && !job->claim[0]; i = i->next)
        if (i->task && !i->claim[0])
            return true;
    return false;
}

static void submit_waiting(Broker *e) {
    for (SiblingJob *i = e->siblings; i; i = i->next)
        if (!i->task && !has_to_wait(i)) {
            if (submit(i) < 0)
                (void) job_free(i);
            return;
        }
}

static void begin(Broker *e, WorkerOperation operation, const char *claim, const PlanMember *m) {
    SiblingJob *job = calloc(1, sizeof(*job));
    char name[DEVICE_NAME_MAX];
    int r = -ENOMEM;

    if (job) {
        job->broker = e;
        job->next = e->siblings;
        e->siblings = job;
        job->order.operation = operation;
        put_text(job->claim, sizeof(job->claim), claim);
        claim_work_fill_item(&job->order.item, m);
        r = has_to_wait(job) ? 0 : submit(job);
    }
    if (r >= 0)
        return;
    log_warning_errno(r, "%s appeared in a group with a claim, and no worker can be started",
            device_name_format(&m->name, name));
    if (job)
        (void) job_free(job);
}

/* On record first: the end of the claim, also after a crash, undoes it. */
static void keep_without_driver(ClaimRun *j, const Device *d) {
    PlanMember *m = plan_add_late_sibling(&j->claim.plan, d);
    int r;

    if (m)
        m->progress = MEMBER_OVERRIDE;
    j->dirty = true;
    r = m ? claim_run_flush(j) : -E2BIG;
    if (r < 0) {
        char name[DEVICE_NAME_MAX];

        log_warning_errno(r, "Claim %s: %s appeared in its group, and cannot be recorded", j->claim.id,
                device_name_format(&d->name, name));
        if (m)
            j->claim.plan.n_members--;
        return;
    }
    audit_sibling(&j->claim, &d->name, d->group->id, NULL);
    begin(j->broker, WORKER_BIND, j->claim.id, m);
}

bool sibling_blocks(const Plan *plan, const Device *d) {
    const PlanMember *m = plan_find_member(plan, &d->name);

    return d->driver && !device_leaves_group_viable(d) && (!m || m->disposition != DISPOSITION_CLAIM);
}

/* udev's program had set the override for a claim that has ended since. Nothing happens unless it did. */
static void clear_leftover(Broker *e, const Device *d) {
    _cleanup_(plan_done) Plan plan = PLAN_NULL;
    PlanMember *m = plan_add_late_sibling(&plan, d);

    if (m)
        begin(e, WORKER_RESTORE, "", m);
}

static bool may_get_driver(const Device *d) {
    return !d->driver && !device_is_bridge(d) && device_kind_info(d->name.kind)->driver;
}

static void note(ClaimRun *j, const Device *d) {
    const PlanMember *m = find_member(j, &d->name);

    if (sibling_blocks(&j->claim.plan, d))
        audit_sibling(&j->claim, &d->name, d->group->id, d->driver);
    else if (may_get_driver(d) && (!m || !plan_member_is(m, d)))
        keep_without_driver(j, d);
    else
        return;
    claim_run_announce(j, CLAIM_WARNED);
}

void sibling_note(Broker *e, Device *d) {
    ClaimRun *j = d->group && d->group->claim ? container_of(d->group->claim, ClaimRun, claim) : NULL;

    if (j && (j->claim.state == CLAIM_HELD || j->claim.state == CLAIM_DRAINING))
        note(j, d);
    else if (d->group && !j && d->group->n_members > 1 && may_get_driver(d))
        clear_leftover(e, d);
}

void sibling_note_all(ClaimRun *j) {
    for (size_t i = 0; i < j->claim.plan.n_groups; i++) {
        const Group *g = inventory_find_group(j->broker->inventory, j->claim.plan.groups[i]);

        if (!g)
            continue;
        FOREACH_MEMBER(d, g)
            if (!plan_find_member(&j->claim.plan, &d->name) || sibling_blocks(&j->claim.plan, d))
                note(j, d);
    }
}

void sibling_forget(ClaimRun *j) {
    for (size_t i = 0; i < j->claim.plan.n_groups; i++) {
        const Group *g = inventory_find_group(j->broker->inventory, j->claim.plan.groups[i]);

        if (!g)
            continue;
        FOREACH_MEMBER(d, g)
            if (may_get_driver(d) && !plan_find_member(&j->claim.plan, &d->name))
                clear_leftover(j->broker, d);
    }
}
