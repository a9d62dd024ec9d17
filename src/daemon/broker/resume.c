/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/resume.h"

#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/claim-work.h"

/* Each is a process that the main loop starts. */
#define WORKERS_MAX 16U

static void look_at_next(ClaimRun *j);

static void note_lost(ClaimRun *j, PlanMember *m, MemberFailure failure, const char *seen) {
    char name[DEVICE_NAME_MAX];

    m->lost = failure;
    put_text(m->lost_seen, sizeof(m->lost_seen), seen);
    log_warning("Claim %s: %s did not come back when the host woke up: %s", j->claim.id,
            device_name_format(&m->name, name), seen);
}

static void note_unknown(ClaimRun *j, const PlanMember *m, int error) {
    char name[DEVICE_NAME_MAX];

    j->resume_unsure = true;
    log_warning_errno(error, "Claim %s: cannot check %s after the host woke up", j->claim.id,
            device_name_format(&m->name, name));
}

static void note_result(ClaimRun *j, PlanMember *m, const WorkerResult *result) {
    switch (result->error) {
    case 0:
        m->lost = MEMBER_FAILURE_NONE;
        m->lost_seen[0] = '\0';
        return;
    case -ETIMEDOUT:
        note_lost(
                j, m, MEMBER_FAILURE_TIMED_OUT, "the kernel did not come back from reading its config space");
        return;
    case -ENODEV:
        note_lost(j, m, MEMBER_FAILURE_NO_ANSWER, "it is gone");
        return;
    case -ESTALE:
        note_lost(j, m, MEMBER_FAILURE_IDENTITY, "another device is in its place");
        return;
    default:
        if (result->failure != MEMBER_FAILURE_NONE)
            note_lost(j, m, result->failure, result->seen);
        else
            note_unknown(j, m, result->error);
    }
}

/* Devices may have joined or left the claim meanwhile. */
static PlanMember *find_unchecked(ClaimRun *j) {
    Plan *plan = &j->claim.plan;

    for (size_t i = 0; i < plan->n_claimed; i++)
        if (plan->members[i].unchecked)
            return &plan->members[i];
    return NULL;
}

static void on_checked(void *userdata, const WorkerResult *result, int *fds) {
    ClaimRun *j = userdata;
    PlanMember *m = (PlanMember *) plan_find_member(&j->claim.plan, &j->resuming);
    Broker *broker = j->broker;

    if (m && m->unchecked) {
        m->unchecked = false;
        note_result(j, m, result);
    }
    look_at_next(j);
    resume_go_on(broker);
}

static bool has_lost(const Plan *plan) {
    for (size_t i = 0; i < plan->n_claimed; i++)
        if (plan->members[i].lost != MEMBER_FAILURE_NONE)
            return true;
    return false;
}

/* When the record cannot be written, a restart forgets what is lost: then the reset has to find out. */
static void end(ClaimRun *j) {
    int r;

    j->claim.resume = j->resume_unsure ? RESUME_UNKNOWN : RESUME_OK;
    if (j->claim.resume == RESUME_OK && !has_lost(&j->claim.plan))
        log_info("Claim %s: its devices are back since the host woke up", j->claim.id);
    j->dirty = true;
    r = claim_run_flush(j);
    if (r < 0)
        log_warning_errno(r, "Claim %s: cannot record the state of its devices", j->claim.id);
    claim_run_announce(j, CLAIM_SLEEPS);
}

static int send_worker(ClaimRun *j, const PlanMember *m) {
    WorkerOrder order = {.operation = WORKER_CHECK_RESUMED};

    claim_work_fill_item(&order.item, m);
    j->resuming = m->name;
    return worker_submit(j->broker->workers, &order, j->broker->config.worker_timeout_usec,
            &(WorkerCaller){.done = on_checked, .userdata = j, .task = &j->resumer});
}

static void look_at_next(ClaimRun *j) {
    PlanMember *m;

    while ((m = find_unchecked(j))) {
        int r = send_worker(j, m);

        if (r >= 0)
            return;
        m->unchecked = false;
        note_unknown(j, m, r);
    }
    end(j);
}

void resume_begin(ClaimRun *j) {
    Plan *plan = &j->claim.plan;

    resume_end(j);
    j->claim.resume = RESUME_CHECKING;
    j->resume_unsure = false;
    for (size_t i = 0; i < plan->n_claimed; i++)
        plan->members[i].unchecked = true;
}

void resume_go_on(Broker *b) {
    unsigned n = 0;

    for (const ClaimRun *j = b->claims; j; j = j->next)
        n += j->resumer != NULL;
    for (ClaimRun *j = b->claims; j && n < WORKERS_MAX; j = j->next) {
        if (j->claim.resume != RESUME_CHECKING || j->resumer)
            continue;
        look_at_next(j);
        n += j->resumer != NULL;
    }
}

void resume_end(ClaimRun *j) {
    if (j->resumer)
        worker_task_abandon(j->resumer);
    j->resumer = NULL;
    j->claim.resume = RESUME_NONE;
}
