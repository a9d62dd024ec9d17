/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/drain.h"

#include "base/log.h"
#include "base/str.h"
#include "core/device-kind.h"
#include "daemon/broker/backend.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/claim-work.h"
#include "daemon/broker/grant.h"
#include "host/sysfs.h"

#define LOOK_FIRST_USEC (5 * UINT64_C(1000))
#define LOOK_LAST_USEC (1000 * UINT64_C(1000))    /* if a look costs one read */
#define SEARCH_LAST_USEC (10 * UINT64_C(1000000)) /* if a look costs a worker */
#define OVERDUE_USEC (5 * UINT64_C(1000000))

void drain_look(ClaimRun *j) {
    if (j->claim.state == CLAIM_DRAINING && drain_is_closed(j))
        claim_run_feed(j, CLAIM_EVENT_CLOSED);
}

/* While the claim is held, its owner may open and close the node. */
static void on_node_changed(void *userdata) {
    drain_look(userdata);
}

int drain_watch(ClaimRun *j, const char *path) {
    int r;

    assert(j->n_nodes < ELEMENTSOF(j->nodes));
    r = node_watch_add(j->broker->nodes, path, on_node_changed, j, &j->nodes[j->n_nodes]);
    if (r >= 0)
        j->n_nodes++;
    return r;
}

void drain_settle(ClaimRun *j, size_t index) {
    node_watch_settle(j->broker->nodes, j->nodes[index]);
}

void drain_watch_recovered(ClaimRun *j, const char *path) {
    int r;

    assert(j->n_nodes < ELEMENTSOF(j->nodes));
    r = node_watch_resume(j->broker->nodes, path, on_node_changed, j, &j->nodes[j->n_nodes]);
    if (r >= 0)
        j->n_nodes++;
    else
        j->doubt = true;
}

void drain_unwatch(ClaimRun *j) {
    for (size_t i = 0; i < j->n_nodes; i++)
        j->nodes[i] = node_entry_free(j->nodes[i]);
    j->n_nodes = 0;
    j->recheck = sd_event_source_disable_unref(j->recheck);
    j->query = holder_query_cancel(j->query);
}

/* A device that is gone has no node by which it could be found. */
static bool is_node_of(const char *node, const ClaimRun *from, const ClaimRun *to) {
    bool missing = false;

    return backend_has_node(to, node, &missing) || (missing && !backend_has_node(from, node, NULL));
}

void drain_give(ClaimRun *from, ClaimRun *to) {
    size_t n = 0;

    for (size_t i = 0; i < from->n_nodes; i++) {
        NodeEntry *e = from->nodes[i];

        if (to->n_nodes == ELEMENTSOF(to->nodes) || !is_node_of(node_entry_path(e), from, to)) {
            from->nodes[n++] = e;
            continue;
        }
        node_entry_give(e, to);
        to->nodes[to->n_nodes++] = e;
    }
    from->n_nodes = n;
    to->doubt = to->doubt || from->doubt;
    to->resumed = to->resumed || from->resumed;
}

/* ---- Looking again ---- */

static NodeState nodes_state(const ClaimRun *j) {
    NodeState state = j->doubt ? NODE_DOUBT : NODE_CLOSED;

    for (size_t i = 0; i < j->n_nodes; i++) {
        NodeState s = node_entry_state(j->nodes[i]);

        if (s == NODE_OPEN)
            return NODE_OPEN;
        if (s == NODE_DOUBT)
            state = NODE_DOUBT;
    }
    return state;
}

bool drain_is_sure(const ClaimRun *j) {
    return nodes_state(j) == NODE_CLOSED;
}

static int on_recheck(sd_event_source *s, uint64_t usec, void *userdata) {
    ClaimRun *j = userdata;

    j->overdue = j->overdue || nodes_state(j) == NODE_OPEN;
    drain_look(j);
    return 0;
}

static void look_at(ClaimRun *j, uint64_t usec) {
    int r;

    if (j->recheck) {
        r = sd_event_source_set_time_relative(j->recheck, usec);
        if (r >= 0)
            r = sd_event_source_set_enabled(j->recheck, SD_EVENT_ONESHOT);
    } else
        r = sd_event_add_time_relative(
                j->broker->event, &j->recheck, CLOCK_MONOTONIC, usec, 0, on_recheck, j);
    if (r < 0)
        log_warning_errno(r, "Claim %s: cannot watch for the end of its devices' close", j->claim.id);
}

/* At growing intervals. */
static void look_again(ClaimRun *j, uint64_t last_usec) {
    j->recheck_usec = MIN(MAX(j->recheck_usec * 2, LOOK_FIRST_USEC), last_usec);
    look_at(j, j->recheck_usec);
}

/* After the last close the kernel resets the device in the closing process, and does not announce the end.
 * Then `enable` falls to its baseline, so it must be polled. */
static bool still_enabled(const ClaimRun *j) {
    for (size_t i = 0; i < j->claim.plan.n_claimed; i++) {
        const PlanMember *m = &j->claim.plan.members[i];
        const Device *d = inventory_find_device(j->broker->inventory, &m->name);
        long count;

        /* A host driver has enabled it: either the claim was recovered before its device was bound, or an
         * administrator bound it. */
        if (!d || (d->driver && d->vfio_index < 0) || !plan_member_counts_opens(m))
            continue;
        count = sysfs_read_enable_count(&m->name);
        if (count > m->enable_baseline || (count < 0 && count != -ENODEV))
            return true; /* an unknown count does not prove a close */
    }
    return false;
}

/* Does nothing report the end of the last close? Then the kernel is asked each time. */
static bool close_is_silent(const ClaimRun *j) {
    for (size_t i = 0; i < j->claim.plan.n_claimed; i++)
        if (!plan_member_counts_opens(&j->claim.plan.members[i]))
            return true;
    return backend_type(j)->close_is_silent;
}

/* ---- Asking the kernel ---- */

static void refresh(ClaimRun *j) {
    for (size_t i = 0; j->broker->refresh && i < j->claim.plan.n_claimed; i++)
        (void) j->broker->refresh(j->broker->refresh_userdata, &j->claim.plan.members[i].name);
    /* The refresh may have replaced entries of the inventory. */
    claim_run_attach(j);
}

static void ask_next(ClaimRun *j);

/* No answer: the device may be open. */
static void on_no_answer(ClaimRun *j, const WorkerResult *result) {
    j->stuck = result->error == -ETIMEDOUT;
    if (!j->stuck && result->error != -EBUSY)
        log_warning_errno(result->error, "Claim %s: cannot find out whether its devices are closed (%s)",
                j->claim.id, driver_step_to_string(result->step));
    look_again(j, SEARCH_LAST_USEC);
}

/* Its driver has released it and did not bind again: it is closed, but not usable. */
static bool is_lost(const ClaimRun *j, const WorkerResult *result) {
    return j->recycling && result->step == DRIVER_STEP_VERIFY && result->error != -ETIMEDOUT &&
            result->error != -ECONNRESET;
}

static void note_lost(ClaimRun *j, const WorkerResult *result) {
    PlanMember *m = &j->claim.plan.members[j->n_asked];

    m->progress = MEMBER_BAD;
    m->failure = MEMBER_FAILURE_RESTORE;
    j->dirty = true;
    (void) refuse(&j->claim.refusal, VFIOD_ERROR_DEVICE_QUARANTINED, &m->name,
            "its driver %s did not take it back after the claim: %s", m->target_driver,
            strerror(-result->error));
}

static void on_asked(void *userdata, const WorkerResult *result, int *fds) {
    ClaimRun *j = userdata;

    if (j->recycling)
        refresh(j);
    if (result->error < 0 && !is_lost(j, result)) {
        on_no_answer(j, result);
        return;
    }
    if (result->error < 0)
        note_lost(j, result);
    j->n_asked++;
    ask_next(j);
}

static void ask_next(ClaimRun *j) {
    WorkerOrder order;
    int r;

    while ((r = backend_type(j)->ask_closed(j, j->n_asked, &order)) > 0)
        j->n_asked++;
    if (r == -ERANGE) {
        j->recycling = false;
        if (!j->stopper) /* a stopper that is searching looks again at its end */
            claim_run_feed(j, CLAIM_EVENT_CLOSED);
        return;
    }
    if (r >= 0)
        r = claim_run_flush(j);
    if (r >= 0)
        r = claim_work_submit(j, &order, on_asked, NULL);
    if (r >= 0) {
        group_files_drop(j); /* the worker has the last copies, and closes them first */
        j->recycling = j->recycling || order.operation == WORKER_RECYCLE;
        return;
    }
    if (r != -ENOTRECOVERABLE)
        log_warning_errno(r, "Claim %s: cannot check whether its devices are closed", j->claim.id);
    else if (!j->doubt_told)
        log_warning("Claim %s: whether its devices are closed cannot be found out any more. It ends when its "
                    "devices are removed.",
                j->claim.id);
    j->doubt_told = j->doubt_told || r == -ENOTRECOVERABLE;
    look_again(j, SEARCH_LAST_USEC);
}

static void ask_kernel(ClaimRun *j) {
    j->searched = j->stuck = false;
    j->n_asked = 0;
    ask_next(j);
}

static void on_found(void *userdata, const HolderAnswer *answer) {
    ClaimRun *j = userdata;

    j->query = NULL;
    for (size_t i = 0; i < answer->n; i++)
        if (holder_entry_is_of(&answer->entries[i], &j->claim)) {
            look_again(j, SEARCH_LAST_USEC);
            return;
        }
    /* None was found, or unknown: ask the kernel. */
    j->searched = true;
    drain_look(j);
}

static void ask(ClaimRun *j) {
    if (!backend_type(j)->asking_disturbs || drain_is_sure(j) || j->searched || j->recycling)
        ask_kernel(j);
    else if (holder_search_ask(j->broker->holders, on_found, j, &j->query) < 0)
        look_again(j, SEARCH_LAST_USEC);
}

bool drain_is_closed(ClaimRun *j) {
    NodeState state;

    /* First, prevent new opens. */
    if (grant_retract(j) < 0) {
        look_again(j, SEARCH_LAST_USEC);
        return false;
    }
    /* A client that opens nodes itself may just have done so. */
    if (j->claim.plan.grant != GRANT_FD)
        node_watch_catch_up(j->broker->nodes);
    state = nodes_state(j);
    if (j->task || j->query || j->stopper)
        return false; /* the answer will come */
    if (state == NODE_OPEN && !j->overdue) {
        if (j->resumed)
            look_at(j, OVERDUE_USEC);
        return false; /* its close will be reported */
    }
    if (still_enabled(j)) {
        look_again(j, LOOK_LAST_USEC);
        return false;
    }
    if (state == NODE_CLOSED && !j->recycling && !close_is_silent(j))
        return true;
    if (!backend_type(j)->ask_closed) {
        if (state == NODE_CLOSED || !close_is_silent(j))
            return true;
        look_again(j, SEARCH_LAST_USEC); /* it may be open, and only its removal would show */
        return false;
    }
    /* A worker is still in the kernel, unbinding the device from its driver. The node is gone then. When the
     * last file is closed, the watch of the node and the worker end too. */
    if (j->stuck && (state != NODE_CLOSED || close_is_silent(j)) &&
            worker_pool_n_stuck(j->broker->workers) > 0)
        look_again(j, SEARCH_LAST_USEC);
    else
        ask(j);
    return false;
}
