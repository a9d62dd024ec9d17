/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/sibling.h"

#include "base/log.h"
#include "base/str.h"
#include "core/device-kind.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/claim-work.h"
#include "host/sysfs.h"

/* A host may have thousands of devices: neither the start nor a client should wait for them. */
#define LOOKS_AT_ONCE 32U

#define RETRY_USEC UINT64_C(1000000)
#define ATTEMPTS_MAX 20U

/* One worker for one sibling. The claim may end meanwhile. */
struct SiblingJob {
    SiblingJob *next; /* broker.siblings */
    Broker *broker;
    char claim[CLAIM_ID_MAX]; /* "": of no claim */
    WorkerOrder order;
    WorkerTask *task; /* NULL: it has not begun */
    unsigned attempts;
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
    e->leftovers = sd_event_source_disable_unref(e->leftovers);
    e->sibling_retry = sd_event_source_disable_unref(e->sibling_retry);
    while (e->siblings) {
        if (e->siblings->task)
            worker_task_abandon(e->siblings->task);
        (void) job_free(e->siblings);
    }
}

static void on_done(void *userdata, const WorkerResult *result, int *fds);
static void submit_waiting(Broker *e);
static void submit_or_retry(SiblingJob *job);

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
static bool is_too_late(const SiblingJob *job) {
    const PlanMember *m = find_member(claims_find(job->broker, job->claim), &job->order.item.name);

    return job->order.operation == WORKER_BIND && (!m || !m->kept || m->progress == MEMBER_RESTORED);
}

bool sibling_is_busy(const Broker *e, const DeviceName *name) {
    for (const SiblingJob *i = e->siblings; i; i = i->next)
        if (i->task && !i->claim[0] && device_name_compare(&i->order.item.name, name) == 0)
            return true;
    return false;
}

/* Many functions may appear at once: leftovers are searched with one worker at a time. */
static bool has_to_wait(const SiblingJob *job) {
    for (const SiblingJob *i = job->broker->siblings; i && !job->claim[0]; i = i->next)
        if (i->task && !i->claim[0])
            return true;
    return sibling_is_busy(job->broker, &job->order.item.name);
}

static void wake_claims(Broker *e) {
    for (ClaimRun *j = e->claims, *next; j; j = next) {
        next = j->next;
        claim_work_wake(j);
    }
}

static void on_done(void *userdata, const WorkerResult *result, int *fds) {
    SiblingJob *job = userdata;
    Broker *e = job->broker;
    char name[DEVICE_NAME_MAX];

    if (result->error < 0 && result->error != -ENODEV && result->error != -ESTALE)
        log_warning_errno(result->error,
                "%s appeared in a claimed group, and cannot be kept without a driver (%s)",
                device_name_format(&job->order.item.name, name), driver_step_to_string(result->step));
    if (is_too_late(job) && result->error >= 0) { /* what it has set is a leftover now */
        job->claim[0] = '\0';
        job->order.operation = WORKER_RESTORE;
        job->order.item.progress = MEMBER_OVERRIDE;
    } else
        (void) job_free(job);
    submit_waiting(e);
    wake_claims(e);
}

/* A leftover in a group that is claimed again belongs to the new claim, whose end removes it. */
static bool is_void(const SiblingJob *job) {
    const Device *d = inventory_find_device(job->broker->inventory, &job->order.item.name);

    return job->claim[0] ? is_too_late(job) : d && d->group && d->group->claim;
}

static void submit_waiting(Broker *e) {
    for (SiblingJob *i = e->siblings, *next; i; i = next) {
        next = i->next;
        if (i->task || has_to_wait(i))
            continue;
        if (is_void(i))
            (void) job_free(i);
        else
            submit_or_retry(i);
    }
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata) {
    submit_waiting(userdata);
    return 0;
}

static int retry_later(Broker *e) {
    int r = 0;

    if (!e->sibling_retry)
        r = sd_event_add_time_relative(
                e->event, &e->sibling_retry, CLOCK_MONOTONIC, RETRY_USEC, 0, on_retry, e);
    else if (sd_event_source_get_enabled(e->sibling_retry, NULL) == 0)
        r = sd_event_source_set_time_relative(e->sibling_retry, RETRY_USEC);
    return r < 0 ? r : sd_event_source_set_enabled(e->sibling_retry, SD_EVENT_ONESHOT);
}

/* No memory or no processes: a temporary problem. */
static void submit_or_retry(SiblingJob *job) {
    char name[DEVICE_NAME_MAX];
    int r = submit(job);

    if (r >= 0 || (++job->attempts < ATTEMPTS_MAX && retry_later(job->broker) >= 0))
        return;
    log_warning_errno(r, "%s appeared in a claimed group, and no worker can be started",
            device_name_format(&job->order.item.name, name));
    (void) job_free(job);
}

static void begin(Broker *e, WorkerOperation operation, const char *claim, const PlanMember *m) {
    SiblingJob *job = calloc(1, sizeof(*job));
    char name[DEVICE_NAME_MAX];

    if (!job) {
        log_warning_errno(-ENOMEM, "%s appeared in a claimed group, and no worker can be started",
                device_name_format(&m->name, name));
        return;
    }
    job->broker = e;
    job->next = e->siblings;
    e->siblings = job;
    job->order.operation = operation;
    put_text(job->claim, sizeof(job->claim), claim);
    claim_work_fill_item(&job->order.item, m);
    if (!has_to_wait(job))
        submit_or_retry(job);
}

/* True also when it was plugged in again: nothing that was done before applies to it. */
static bool is_new(const PlanMember *m, const Device *d, int changes) {
    return !m || !plan_member_is(m, d) || (changes & DEVICE_ADDED);
}

static PlanMember *put_on_record(Plan *plan, PlanMember *m, const Device *d, int changes) {
    if (is_new(m, d, changes))
        m = plan_add_late_sibling(plan, d);
    if (!m)
        return NULL;
    m->group = d->group->id;
    m->progress = MEMBER_OVERRIDE;
    return m;
}

/* Recorded first, so that the end of the claim undoes it, also after a crash. */
static void keep_without_driver(ClaimRun *j, PlanMember *m, const Device *d, int changes) {
    Plan *plan = &j->claim.plan;
    const PlanMember before = m ? *m : (PlanMember){};
    const size_t n_before = plan->n_members;
    int r;

    m = put_on_record(plan, m, d, changes);
    j->dirty = true;
    r = m ? claim_run_flush(j) : -E2BIG;
    if (r < 0) {
        char name[DEVICE_NAME_MAX];

        log_warning_errno(r, "Claim %s: %s appeared in its group, and cannot be recorded", j->claim.id,
                device_name_format(&d->name, name));
        if (m && plan->n_members == n_before)
            *m = before;
        plan->n_members = n_before;
        return;
    }
    audit_sibling(&j->claim, &d->name, d->group->id, NULL);
    begin(j->broker, WORKER_BIND, j->claim.id, m);
}

bool sibling_blocks(const Plan *plan, const Device *d) {
    const PlanMember *m = plan_find_member(plan, &d->name);

    return d->driver && !device_leaves_group_viable(d) && (!m || m->disposition != DISPOSITION_CLAIM);
}

/* udev's program may have set the override for a claim that has ended since. Otherwise nothing is done. */
static void clear_leftover(Broker *e, const Device *d, bool came) {
    _cleanup_(plan_done) Plan plan = PLAN_NULL;
    PlanMember *m = plan_add_late_sibling(&plan, d);

    if (!m)
        return;
    m->came = came;
    begin(e, WORKER_RESTORE, "", m);
}

static bool may_get_driver(const Device *d) {
    return !d->driver && !device_is_bridge(d) && device_kind_info(d->name.kind)->driver;
}

/* A recorded sibling is kept already, unless something has happened to it since. */
static bool has_to_be_kept(const PlanMember *m, const Device *d, int changes) {
    if (!may_get_driver(d) || (m && plan_member_is_moved(m)))
        return false;
    return is_new(m, d, changes) || (m->kept && changes != 0);
}

static void note(ClaimRun *j, const Device *d, int changes) {
    PlanMember *m = find_member(j, &d->name);

    if (sibling_blocks(&j->claim.plan, d))
        audit_sibling(&j->claim, &d->name, d->group->id, d->driver);
    else if (has_to_be_kept(m, d, changes))
        keep_without_driver(j, m, d, changes);
    else
        return;
    claim_run_announce(j, CLAIM_WARNED);
}

void sibling_note(Broker *e, Device *d, int changes) {
    ClaimRun *j = d->group && d->group->claim ? container_of(d->group->claim, ClaimRun, claim) : NULL;

    if (!(changes & (DEVICE_ADDED | DEVICE_GROUP_CHANGED | DEVICE_DRIVER_CHANGED)))
        return;
    if (j && (j->claim.state == CLAIM_HELD || j->claim.state == CLAIM_DRAINING))
        note(j, d, changes);
    else if (d->group && !j && d->group->n_members > 1 && may_get_driver(d))
        clear_leftover(e, d, /* came= */ true);
}

void sibling_note_all(ClaimRun *j) {
    for (size_t i = 0; i < j->claim.plan.n_groups; i++) {
        const Group *g = inventory_find_group(j->broker->inventory, j->claim.plan.groups[i]);

        if (!g)
            continue;
        FOREACH_MEMBER(d, g)
            note(j, d, 0);
    }
}

/* ---- leftovers of the last run ---- */

/* Also for a device that has its driver: a delayed write of the kernel may have come later. */
static void look_for_leftover(Broker *e, const Device *d) {
    _cleanup_(device_facts_done) DeviceFacts facts = DEVICE_FACTS_NULL;

    if (device_is_bridge(d) || !device_kind_info(d->name.kind)->driver)
        return;
    if (!d->group || d->group->claim || d->claim || d->quarantined)
        return;
    if (sysfs_read_facts(NULL, d, DEVICE_FACT_DRIVER_OVERRIDE, &facts) >= 0 &&
            streq(facts.driver_override, OVERRIDE_PARKED))
        clear_leftover(e, d, /* came= */ true);
}

static int on_look(sd_event_source *s, void *userdata) {
    Broker *e = userdata;
    Device *d = NULL;

    for (unsigned i = 0; i < LOOKS_AT_ONCE; i++) {
        d = inventory_next_device(e->inventory, e->has_looked ? &e->looked_at : NULL);
        if (!d)
            break;
        e->looked_at = d->name;
        e->has_looked = true;
        look_for_leftover(e, d);
    }
    if (!d)
        e->leftovers = sd_event_source_disable_unref(e->leftovers);
    return 0;
}

int sibling_recover(Broker *e) {
    int r = sd_event_add_defer(e->event, &e->leftovers, on_look, e);

    if (r >= 0)
        r = sd_event_source_set_priority(e->leftovers, SD_EVENT_PRIORITY_IDLE);
    if (r >= 0)
        r = sd_event_source_set_enabled(e->leftovers, SD_EVENT_ON);
    return r < 0 ? log_error_errno(r, "Cannot look for what siblings of claims were left with") : 0;
}

/* True for a device that had no driver before the claim, and was restored to that. */
static bool was_left_alone(const PlanMember *m) {
    return !m || (m->kept && (m->came || m->progress == MEMBER_NOT_BEGUN));
}

void sibling_forget(ClaimRun *j) {
    for (size_t i = 0; i < j->claim.plan.n_groups; i++) {
        const Group *g = inventory_find_group(j->broker->inventory, j->claim.plan.groups[i]);

        if (!g)
            continue;
        FOREACH_MEMBER(d, g) {
            const PlanMember *m = find_member(j, &d->name);

            if (may_get_driver(d) && was_left_alone(m))
                clear_leftover(j->broker, d, !m || m->came);
        }
    }
}
