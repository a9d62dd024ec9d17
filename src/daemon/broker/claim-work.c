/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/claim-work.h"

#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/broker/backend.h"
#include "daemon/broker/claim-run.h"

void claim_work_fill_item(DriverItem *item, const PlanMember *m) {
    *item = (DriverItem){.name = m->name, .vendor = m->vendor, .device = m->device};
    (void) snprintf(item->target_driver, sizeof(item->target_driver), "%s", m->target_driver);
    (void) snprintf(item->original_driver, sizeof(item->original_driver), "%s", m->original_driver);
    (void) snprintf(item->original_override, sizeof(item->original_override), "%s", m->original_override);
}

static bool member_is_in(const PlanMember *m, WorkerOperation operation) {
    return operation == WORKER_RESET ? m->reset : m->bind;
}

/* The index-th member that operation works on. */
static const PlanMember *item_member(const ClaimRun *j, WorkerOperation operation, uint32_t index) {
    const Plan *plan = &j->claim.plan;

    for (size_t i = 0; i < plan->n_members; i++)
        if (member_is_in(&plan->members[i], operation) && index-- == 0)
            return &plan->members[i];
    return &plan->members[0];
}

static const DeviceName *item_name(const ClaimRun *j, WorkerOperation operation, uint32_t index) {
    return &item_member(j, operation, index)->name;
}

static bool opens(WorkerOperation operation) {
    return operation == WORKER_OPEN_GROUPS || operation == WORKER_OPEN_NOIOMMU;
}

bool claim_work_finish(ClaimRun *j, const WorkerResult *result, WorkerOperation operation) {
    const Plan *plan = &j->claim.plan;

    j->task = NULL;
    if (!opens(operation) && j->broker->refresh)
        for (size_t i = 0; i < plan->n_members; i++)
            if (member_is_in(&plan->members[i], operation))
                (void) j->broker->refresh(j->broker->refresh_userdata, &plan->members[i].name);
    /* The refresh may have replaced the inventory's entries. */
    claim_run_attach(j);
    if (result->error != -ETIMEDOUT)
        return result->error >= 0;
    /* A worker that does not come back cannot say at which of its devices it is. */
    (void) refuse(&j->claim.refusal, VFIOD_ERROR_TIMED_OUT,
            plan->n_claimed == 1 ? &plan->members[0].name : NULL,
            "the kernel did not come back within %u s (%s)",
            (unsigned) (j->broker->config.worker_timeout_usec / 1000000),
            claim_state_to_string(j->claim.state));
    return false;
}

/* The first reason stays: what went wrong while undoing decides only when nothing else did. But it must be
 * told then, too: the remedy of the first may say that everything was put back. */
static void note_failure(
        ClaimRun *j, VfiodError code, const DeviceName *name, const WorkerResult *result, const char *what) {
    if (j->claim.refusal.code != _VFIOD_ERROR_INVALID) {
        log_warning("Claim %s: %s (%s): %s", j->claim.id, what, driver_step_to_string(result->step),
                strerror(-result->error));
        free(j->claim.refusal.remedy);
        j->claim.refusal.remedy =
                format_string("Then %s (%s: %s), so it is in quarantine until root releases it.", what,
                        driver_step_to_string(result->step), strerror(-result->error));
        return;
    }
    (void) refuse(&j->claim.refusal, code, name, "%s (%s: %s)", what, driver_step_to_string(result->step),
            strerror(-result->error));
}

static void note_bind_failure(ClaimRun *j, const WorkerResult *result) {
    const PlanMember *m = item_member(j, WORKER_BIND, result->index);
    _cleanup_free_ char *what = NULL;
    bool missing = result->step == DRIVER_STEP_BIND && result->error == -ENOENT;

    what = format_string("it could not be moved to the driver %s%s", m->target_driver,
            missing ? ", which is not loaded" : "");
    note_failure(j, result->error == -ENODEV ? VFIOD_ERROR_DEVICE_GONE : VFIOD_ERROR_BIND_FAILED, &m->name,
            result, what ?: "it could not be moved to its vfio driver");
}

static void on_bound(void *userdata, const WorkerResult *result, int *fds) {
    ClaimRun *j = userdata;
    bool fine = claim_work_finish(j, result, WORKER_BIND);

    if (!fine && result->error != -ETIMEDOUT)
        note_bind_failure(j, result);
    claim_run_feed(j,
            fine                                  ? CLAIM_EVENT_BOUND
                    : result->error == -ETIMEDOUT ? CLAIM_EVENT_WORKER_STUCK
                                                  : CLAIM_EVENT_BIND_FAILED);
}

static void on_reset(void *userdata, const WorkerResult *result, int *fds) {
    ClaimRun *j = userdata;
    bool fine = claim_work_finish(j, result, WORKER_RESET);

    if (!fine && result->error != -ETIMEDOUT)
        note_failure(j, VFIOD_ERROR_DEVICE_QUARANTINED, item_name(j, WORKER_RESET, result->index), result,
                "it could not be reset after its owner");
    claim_run_feed(j,
            fine                                  ? CLAIM_EVENT_RESET_DONE
                    : result->error == -ETIMEDOUT ? CLAIM_EVENT_WORKER_STUCK
                                                  : CLAIM_EVENT_RESET_FAILED);
}

static void on_restored(void *userdata, const WorkerResult *result, int *fds) {
    ClaimRun *j = userdata;
    bool fine = claim_work_finish(j, result, WORKER_RESTORE);

    if (!fine && result->error != -ETIMEDOUT)
        note_failure(j, VFIOD_ERROR_DEVICE_QUARANTINED, item_name(j, WORKER_RESTORE, result->index), result,
                "its original driver could not be put back");
    claim_run_feed(j,
            fine                                  ? CLAIM_EVENT_RESTORED
                    : result->error == -ETIMEDOUT ? CLAIM_EVENT_WORKER_STUCK
                                                  : CLAIM_EVENT_RESTORE_FAILED);
}

int claim_work_submit(ClaimRun *j, WorkerOrder *order, worker_done_t done) {
    return worker_submit(j->broker->workers, order, j->broker->config.worker_timeout_usec, done, j, &j->task);
}

/* Intent must be on disk before a device is touched. Undoing does not wait for that: the older record is
 * there and leads to the same, and a full disk must not keep devices from their owners. */
static int record_before(ClaimRun *j, WorkerOperation operation) {
    int r = claim_run_flush(j);

    if (r >= 0 || operation == WORKER_BIND)
        return r;
    log_warning_errno(r, "Claim %s: cannot write its record, going on with an older one", j->claim.id);
    return 0;
}

static bool has_work(const ClaimRun *j, WorkerOperation operation) {
    const Plan *plan = &j->claim.plan;

    if (operation == WORKER_RESTORE && !j->touched)
        return false;
    for (size_t i = 0; i < plan->n_members; i++)
        if (member_is_in(&plan->members[i], operation))
            return true;
    return false;
}

/* Runs operation for the members that it concerns; when there are none, or nothing was ever done to them that
 * it would undo, done_event follows at once. */
static void run_worker(ClaimRun *j, WorkerOperation operation, worker_done_t done, ClaimEvent done_event,
        ClaimEvent failed_event) {
    static WorkerOrder order; /* large, and the loop has one thread */
    const Plan *plan = &j->claim.plan;
    int r;

    if (!has_work(j, operation)) {
        claim_run_push(j, done_event);
        return;
    }
    order = (WorkerOrder){.operation = operation};
    for (size_t i = 0; i < plan->n_members; i++)
        if (member_is_in(&plan->members[i], operation))
            claim_work_fill_item(&order.items[order.n_items++], &plan->members[i]);
    r = record_before(j, operation);
    if (r >= 0)
        r = claim_work_submit(j, &order, done);
    if (r >= 0) {
        j->touched = true;
        return;
    }
    (void) refuse(&j->claim.refusal, VFIOD_ERROR_INTERNAL, &plan->members[0].name,
            "cannot record the claim or start a worker: %s", strerror(-r));
    claim_run_push(j, failed_event);
}

void claim_work_bind(ClaimRun *j) {
    if (backend_prepare(j) < 0)
        claim_run_push(j, CLAIM_EVENT_BIND_FAILED);
    else
        run_worker(j, WORKER_BIND, on_bound, CLAIM_EVENT_BOUND, CLAIM_EVENT_BIND_FAILED);
}

void claim_work_reset(ClaimRun *j) {
    run_worker(j, WORKER_RESET, on_reset, CLAIM_EVENT_RESET_DONE, CLAIM_EVENT_RESET_FAILED);
}

void claim_work_restore(ClaimRun *j) {
    run_worker(j, WORKER_RESTORE, on_restored, CLAIM_EVENT_RESTORED, CLAIM_EVENT_RESTORE_FAILED);
}
