/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/stop.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/drain.h"
#include "daemon/broker/tether.h"

#define SHOWN_MAX 16U /* processes in the journal, for one signal */
#define WALK_TIMEOUT_USEC (10 * UINT64_C(1000000))

static void watch_stop(ClaimRun *j);

/* If the record cannot be written now, it is written later; until then a crash begins the stop anew. */
static void keep_stop(ClaimRun *j) {
    int r;

    j->dirty = true;
    r = claim_run_flush(j);
    if (r < 0)
        log_error_errno(r, "Claim %s: cannot write its record while its devices are open", j->claim.id);
    claim_run_announce(j, CLAIM_STOPPING);
}

/* A program can have any number of children: beyond the limit they are only counted. */
static size_t audit_entries(ClaimRun *j, const HolderEntry *entries, size_t n) {
    size_t n_stopped = 0, n_spared = 0;

    for (size_t i = 0; i < n; i++) {
        if (entries[i].signal != 0 && n_stopped++ < SHOWN_MAX)
            audit_stopped(&j->claim, &entries[i]);
        if (entries[i].signal == 0 && n_spared++ < SHOWN_MAX && !j->spared_told)
            audit_spared(&j->claim, &entries[i]);
    }
    if (n_stopped > SHOWN_MAX)
        log_warning("Claim %s: %zu%s processes in all that keep its devices open were sent a signal",
                j->claim.id, n_stopped, n == HOLDER_ENTRIES_MAX ? " or more" : "");
    j->spared_told = j->spared_told || n_spared > 0;
    return n_stopped;
}

/* Finding nobody proves nothing, so the same signal is sent at the next time. A failed walk may have sent the
 * signal to many, and the next walk may fail too; so the next signal follows. */
static void on_signalled(void *userdata, const WorkerResult *result, int *fds) {
    _cleanup_free_ HolderEntry *entries = NULL;
    ClaimRun *j = userdata;
    size_t n = 0, n_stopped;
    int r = result->error;

    if (r >= 0)
        r = holders_read(fds[0], &entries, &n);
    if (r < 0)
        log_warning_errno(r, "Claim %s: cannot stop the processes that have its devices open", j->claim.id);
    n_stopped = audit_entries(j, entries, n);
    stop_note_sent(&j->claim.stop, r < 0 || n_stopped > 0, broker_now_usec(), clock_usec(CLOCK_BOOTTIME));
    keep_stop(j);
    watch_stop(j);
    drain_look(j); /* it was delayed until all of them were in the journal */
}

/* For claims of root: the control group of its holder, or of the caller. */
static void put_cgroup(const ClaimRun *j, char ret[static WORKER_CGROUP_MAX]) {
    _cleanup_free_ char *path = NULL;
    const char *cgroup = tether_control_group(j, &path) >= 0 ? path : j->claim.subject.cgroup;

    if (cgroup && strlen(cgroup) < WORKER_CGROUP_MAX)
        (void) snprintf(ret, WORKER_CGROUP_MAX, "%s", cgroup);
}

static int submit(ClaimRun *j) {
    const Plan *plan = &j->claim.plan;
    WorkerOrder order = {.operation = WORKER_STOP_HOLDERS,
            .stop_signal = stop_signal(&j->claim.stop),
            .stop_uid = j->claim.uid,
            .n_groups = (uint32_t) MIN(plan->n_groups, ELEMENTSOF(order.groups)),
            .n_devices = (uint32_t) MIN(plan->n_claimed, ELEMENTSOF(order.devices))};

    for (size_t i = 0; i < order.n_groups; i++)
        order.groups[i] = plan->groups[i];
    for (size_t i = 0; i < order.n_devices; i++)
        order.devices[i] = plan->members[i].name;
    put_cgroup(j, order.stop_cgroup);
    return worker_submit(j->broker->workers, &order, WALK_TIMEOUT_USEC,
            &(WorkerCaller){.done = on_signalled, .userdata = j, .task = &j->stopper});
}

static int on_stop(sd_event_source *s, uint64_t usec, void *userdata) {
    ClaimRun *j = userdata;
    int r;

    j->stop = sd_event_source_disable_unref(j->stop);
    r = submit(j);
    if (r >= 0)
        return 0;
    log_warning_errno(r, "Claim %s: cannot look for the processes that have its devices open", j->claim.id);
    j->claim.stop.deadline_usec = clock_usec(CLOCK_BOOTTIME) + WALK_TIMEOUT_USEC;
    watch_stop(j);
    return 0;
}

static void watch_stop(ClaimRun *j) {
    int r;

    j->stop = sd_event_source_disable_unref(j->stop);
    r = sd_event_add_time(
            j->broker->event, &j->stop, CLOCK_BOOTTIME, j->claim.stop.deadline_usec, 1, on_stop, j);
    if (r < 0)
        log_error_errno(r, "Claim %s: cannot watch how long its devices are open", j->claim.id);
}

void stop_begin_drain(ClaimRun *j) {
    uint32_t timeout_sec = j->claim.plan.hold.drain_timeout_sec;

    if (timeout_sec > 0)
        stop_limit(&j->claim.stop, timeout_sec, broker_now_usec(), clock_usec(CLOCK_BOOTTIME));
    if (j->claim.stop.state != STOP_NONE)
        watch_stop(j);
}

void stop_end(ClaimRun *j) {
    j->stop = sd_event_source_disable_unref(j->stop);
    if (j->stopper) /* its user may get the devices again, and must not be stopped then */
        worker_task_drop(j->stopper);
    j->claim.stop = (Stop){};
}
