/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/claim-run.h"

#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/kernel/holders.h"
#include "daemon/kernel/memlock.h"
#include "daemon/kernel/vfio.h"
#include "host/sysfs.h"

#define RECHECK_FIRST_USEC (5 * UINT64_C(1000))
#define RECHECK_LAST_USEC (1000 * UINT64_C(1000))

/* ---- life ---- */

ClaimRun *claim_run_new(Broker *e) {
    ClaimRun *j = calloc(1, sizeof(*j));

    if (!j)
        return NULL;
    j->claim = CLAIM_NULL;
    j->broker = e;
    j->next = e->jobs;
    e->jobs = j;
    e->n_jobs++;
    return j;
}

static void close_fds(ClaimRun *j) {
    for (size_t i = 0; i < j->n_fds; i++)
        j->fds[i].fd = safe_close(j->fds[i].fd);
    j->n_fds = 0;
}

static void unwatch(ClaimRun *j) {
    for (size_t i = 0; i < j->n_nodes; i++)
        j->nodes[i] = node_entry_free(j->nodes[i]);
    j->n_nodes = 0;
    j->recheck = sd_event_source_disable_unref(j->recheck);
}

/* An entry is changed only when it is free or ours: a refused request has a plan too, over devices of others.
 */
static void point_to(ClaimRun *j, Claim *claim) {
    Inventory *inventory = j->broker->inventory;
    const Plan *plan = &j->claim.plan;

    for (size_t i = 0; i < plan->n_members; i++) {
        const PlanMember *m = &plan->members[i];
        Device *d = inventory_find_device(inventory, &m->name);

        if (!d || (m->disposition != DISPOSITION_CLAIM && m->disposition != DISPOSITION_PARK))
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

static void detach(ClaimRun *j) {
    if (j->attached)
        point_to(j, NULL);
    j->attached = false;
}

ClaimRun *claim_run_free(ClaimRun *j) {
    if (!j)
        return NULL;
    for (ClaimRun **i = &j->broker->jobs; *i; i = &(*i)->next)
        if (*i == j) {
            *i = j->next;
            j->broker->n_jobs--;
            break;
        }
    detach(j);
    if (j->task)
        worker_task_abandon(j->task);
    j->question = claim_question_free(j->question);
    unwatch(j);
    close_fds(j);
    j->lifeline = lifeline_free(j->lifeline);
    claim_done(&j->claim);
    free(j);
    return NULL;
}

void claim_run_attach(ClaimRun *j) {
    j->attached = true;
    point_to(j, &j->claim);
}

static void announce(ClaimRun *j, ClaimChange change) {
    if (j->broker->changed)
        j->broker->changed(j->broker->changed_userdata, &j->claim, change);
}

/* ---- effects ---- */

static void push(ClaimRun *j, ClaimEvent event) {
    assert(j->n_events < CLAIM_RUN_EVENTS_MAX);
    j->events[(j->first_event + j->n_events++) % CLAIM_RUN_EVENTS_MAX] = event;
}

/* The record is written lazily: always before a worker starts or fds leave, and otherwise when nothing else
 * is left to do. A claim that passes through five states in one go is not written five times. */
static int flush(ClaimRun *j) {
    int r;

    if (!j->dirty)
        return 0;
    r = store_save(j->broker->store, &j->claim);
    if (r < 0)
        return r;
    j->dirty = false;
    j->stored = true;
    return 0;
}

static void answer(ClaimRun *j, const Grant *grant, const Refusal *refusal) {
    acquire_done_t done = TAKE_PTR(j->done);

    if (done)
        done(j->userdata, grant, refusal);
}

static void fill_item(DriverItem *item, const PlanMember *m) {
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

static bool finish_worker(ClaimRun *j, const WorkerResult *result, WorkerOperation operation) {
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
    bool fine = finish_worker(j, result, WORKER_BIND);

    if (!fine && result->error != -ETIMEDOUT)
        note_bind_failure(j, result);
    claim_run_feed(j,
            fine                                  ? CLAIM_EVENT_BOUND
                    : result->error == -ETIMEDOUT ? CLAIM_EVENT_WORKER_STUCK
                                                  : CLAIM_EVENT_BIND_FAILED);
}

static void on_reset(void *userdata, const WorkerResult *result, int *fds) {
    ClaimRun *j = userdata;
    bool fine = finish_worker(j, result, WORKER_RESET);

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
    bool fine = finish_worker(j, result, WORKER_RESTORE);

    if (!fine && result->error != -ETIMEDOUT)
        note_failure(j, VFIOD_ERROR_DEVICE_QUARANTINED, item_name(j, WORKER_RESTORE, result->index), result,
                "its original driver could not be put back");
    claim_run_feed(j,
            fine                                  ? CLAIM_EVENT_RESTORED
                    : result->error == -ETIMEDOUT ? CLAIM_EVENT_WORKER_STUCK
                                                  : CLAIM_EVENT_RESTORE_FAILED);
}

static int submit(ClaimRun *j, WorkerJob *job, worker_done_t done) {
    return worker_submit(j->broker->workers, job, j->broker->config.worker_timeout_usec, done, j, &j->task);
}

/* Intent must be on disk before a device is touched. Undoing does not wait for that: the older record is
 * there and leads to the same, and a full disk must not keep devices from their owners. */
static int record_before(ClaimRun *j, WorkerOperation operation) {
    int r = flush(j);

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
    static WorkerJob job; /* large, and the loop has one thread */
    const Plan *plan = &j->claim.plan;
    int r;

    if (!has_work(j, operation)) {
        push(j, done_event);
        return;
    }
    job = (WorkerJob){.operation = operation};
    for (size_t i = 0; i < plan->n_members; i++)
        if (member_is_in(&plan->members[i], operation))
            fill_item(&job.items[job.n_items++], &plan->members[i]);
    r = record_before(j, operation);
    if (r >= 0)
        r = submit(j, &job, done);
    if (r >= 0) {
        j->touched = true;
        return;
    }
    (void) refuse(&j->claim.refusal, VFIOD_ERROR_INTERNAL, &plan->members[0].name,
            "cannot record the claim or start a worker: %s", strerror(-r));
    push(j, failed_event);
}

static int keep_fd(ClaimRun *j, int *fd, const char *format, ...) _printf_(3, 4);
static int keep_fd(ClaimRun *j, int *fd, const char *format, ...) {
    GrantedFd *g;
    va_list ap;

    if (j->n_fds == CLAIM_RUN_FDS_MAX)
        return -E2BIG;
    g = &j->fds[j->n_fds++];
    va_start(ap, format);
    (void) vsnprintf(g->name, sizeof(g->name), format, ap);
    va_end(ap);
    g->fd = TAKE_FD(*fd);
    return 0;
}

static bool is_closed(ClaimRun *j);

static void on_node_changed(void *userdata) {
    ClaimRun *j = userdata;

    /* Before that, a holder of the claim may open and close as it likes. */
    if (j->claim.state == CLAIM_DRAINING && is_closed(j))
        claim_run_feed(j, CLAIM_EVENT_CLOSED);
}

static int watch_node(ClaimRun *j, const char *path, bool uncertain) {
    int r;

    assert(j->n_nodes < ELEMENTSOF(j->nodes));
    r = node_watch_add(j->broker->nodes, path, uncertain, on_node_changed, j, &j->nodes[j->n_nodes]);
    if (r >= 0)
        j->n_nodes++;
    return r;
}

static int refuse_open(ClaimRun *j, int error, const DeviceName *name, const char *path) {
    Refusal *refusal = &j->claim.refusal;

    switch (error) {
    case -ENOENT:
        return refuse(refusal, VFIOD_ERROR_NODE_MISSING, name, "the kernel announces %s, but it is not there",
                path);
    case -ESTALE:
        return refuse(refusal, VFIOD_ERROR_NODE_MISSING, name, "%s is the node of another device", path);
    case -EBUSY:
        return refuse(refusal, VFIOD_ERROR_GROUP_IN_USE, name,
                "a program that did not come through vfiod has %s open", path);
    case -EPERM:
        return refuse(refusal, VFIOD_ERROR_GROUP_NOT_VIABLE, name,
                "the kernel says that its group is not viable (%s)", path);
    case -EOPNOTSUPP:
        return refuse(refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, name,
                "this kernel's /dev/vfio/vfio is an iommufd, which does not keep a group to one owner");
    case -ENODEV:
    case -ENXIO:
        return refuse(refusal, VFIOD_ERROR_DEVICE_GONE, name, "it went while %s was opened", path);
    default:
        return refuse(refusal, VFIOD_ERROR_OPEN_FAILED, name, "cannot open %s: %s", path, strerror(-error));
    }
}

/* Policy has judged the device of the plan: another one that sits at its place by now is not meant. */
static Device *find_planned(const ClaimRun *j, const PlanMember *m) {
    Device *d = inventory_find_device(j->broker->inventory, &m->name);

    return d && d->vendor == m->vendor && d->device == m->device ? d : NULL;
}

static int open_cdev(ClaimRun *j, PlanMember *m) {
    Device *d = find_planned(j, m);
    char path[VFIO_NODE_MAX], name[DEVICE_NAME_MAX];
    _cleanup_close_ int fd = -EBADF;
    int r;

    if (!d || d->vfio_index < 0)
        return refuse(
                &j->claim.refusal, VFIOD_ERROR_DEVICE_GONE, &m->name, "it left its vfio driver meanwhile");
    if (d->vfio_rdev == 0)
        return refuse(&j->claim.refusal, VFIOD_ERROR_NODE_MISSING, &m->name,
                "this kernel makes no /dev/vfio/devices node for it");
    (void) vfio_cdev_path(d->vfio_index, path);
    r = watch_node(j, path, /* uncertain= */ false);
    if (r >= 0)
        r = vfio_open_cdev(d->vfio_index, d->vfio_rdev, &fd);
    if (r >= 0)
        r = sysfs_check_device(d);
    if (r < 0)
        return refuse_open(j, r, &m->name, path);
    node_watch_settle(j->broker->nodes, j->nodes[j->n_nodes - 1]);
    if (m->bind)
        m->enable_baseline = MAX(sysfs_read_enable_count(&m->name), 0L);
    return keep_fd(j, &fd, "device:%s", device_name_format(&m->name, name));
}

static int add_lifeline(ClaimRun *j);

static int open_iommufd_backend(ClaimRun *j) {
    Plan *plan = &j->claim.plan;
    _cleanup_close_ int fd = -EBADF;
    int r;

    r = vfio_open_iommufd(&fd);
    if (r < 0)
        return refuse(&j->claim.refusal,
                r == -ENOENT || r == -ENODEV ? VFIOD_ERROR_BACKEND_UNAVAILABLE : VFIOD_ERROR_OPEN_FAILED,
                &plan->members[0].name, "cannot open /dev/iommu: %s", strerror(-r));
    r = keep_fd(j, &fd, "iommufd");
    for (size_t i = 0; r >= 0 && i < plan->n_claimed; i++)
        r = open_cdev(j, &plan->members[i]);
    return r < 0 ? r : add_lifeline(j);
}

/* The number of a group is given out anew, too, and while a worker opened it the device may have gone. */
static int check_groups(ClaimRun *j) {
    char path[VFIO_NODE_MAX];

    for (size_t i = 0; i < j->claim.plan.n_claimed; i++) {
        const PlanMember *m = &j->claim.plan.members[i];
        Device *d = find_planned(j, m);
        int r = d && d->group && d->group->id == m->group ? sysfs_check_device(d) : -ENODEV;

        if (r < 0)
            return refuse_open(j, r, &m->name, vfio_group_path(m->group, path));
    }
    return 0;
}

static int keep_groups(ClaimRun *j, const WorkerResult *result, int *fds) {
    Plan *plan = &j->claim.plan;
    _cleanup_close_ int container = -EBADF;
    char path[VFIO_NODE_MAX];
    int r;

    if (result->error < 0)
        return refuse_open(j, result->error, &plan->members[0].name,
                vfio_group_path(plan->groups[MIN(result->index, plan->n_groups - 1)], path));
    r = check_groups(j);
    if (r < 0)
        return r;
    r = vfio_open_container(&container);
    if (r < 0)
        return refuse_open(j, r, &plan->members[0].name, "/dev/vfio/vfio");
    r = keep_fd(j, &container, "container");
    for (size_t i = 0; r >= 0 && i < plan->n_groups; i++) {
        node_watch_settle(j->broker->nodes, j->nodes[i]);
        r = keep_fd(j, &fds[i], "group:%d", plan->groups[i]);
    }
    return r < 0 ? r : add_lifeline(j);
}

static void on_groups_opened(void *userdata, const WorkerResult *result, int *fds) {
    ClaimRun *j = userdata;
    bool fine = finish_worker(j, result, WORKER_OPEN_GROUPS);

    if (!fine && result->error == -ETIMEDOUT)
        claim_run_feed(j, CLAIM_EVENT_WORKER_STUCK);
    else
        claim_run_feed(j, keep_groups(j, result, fds) < 0 ? CLAIM_EVENT_OPEN_FAILED : CLAIM_EVENT_OPENED);
}

static int start_group_backend(ClaimRun *j) {
    const Plan *plan = &j->claim.plan;
    static WorkerJob job;
    char path[VFIO_NODE_MAX];
    int r = 0;

    job = (WorkerJob){.operation = WORKER_OPEN_GROUPS, .n_groups = (uint32_t) plan->n_groups};
    for (size_t i = 0; i < plan->n_groups; i++) {
        job.groups[i] = plan->groups[i];
        r = watch_node(j, vfio_group_path(plan->groups[i], path), /* uncertain= */ false);
        if (r < 0)
            return refuse_open(j, r, &plan->members[0].name, path);
    }
    r = flush(j);
    if (r >= 0)
        r = submit(j, &job, on_groups_opened);
    if (r < 0)
        return refuse(&j->claim.refusal, VFIOD_ERROR_INTERNAL, &plan->members[0].name,
                "cannot start a worker: %s", strerror(-r));
    return 0;
}

static int refuse_open_noiommu(ClaimRun *j, int error) {
    const PlanMember *m = &j->claim.plan.members[0];
    char path[VFIO_NODE_MAX];

    if (error == -EPERM)
        return refuse(&j->claim.refusal, VFIOD_ERROR_OPEN_FAILED, &m->name,
                "cannot open it without an IOMMU: vfiod itself lacks CAP_SYS_RAWIO");
    return refuse_open(j, error, &m->name, vfio_noiommu_path(m->group, path));
}

static int keep_noiommu(ClaimRun *j, const WorkerResult *result, int *fds) {
    const PlanMember *m = &j->claim.plan.members[0];
    char name[DEVICE_NAME_MAX];
    Device *d;
    int r;

    if (result->error < 0)
        return refuse_open_noiommu(j, result->error);
    d = find_planned(j, m);
    r = d ? sysfs_check_device(d) : -ENODEV;
    if (r < 0)
        return refuse_open_noiommu(j, r);
    node_watch_settle(j->broker->nodes, j->nodes[0]);
    r = keep_fd(j, &fds[0], "device:%s", device_name_format(&m->name, name));
    return r < 0 ? r : add_lifeline(j);
}

static void on_noiommu_opened(void *userdata, const WorkerResult *result, int *fds) {
    ClaimRun *j = userdata;
    bool fine = finish_worker(j, result, WORKER_OPEN_NOIOMMU);

    if (!fine && result->error == -ETIMEDOUT)
        claim_run_feed(j, CLAIM_EVENT_WORKER_STUCK);
    else
        claim_run_feed(j, keep_noiommu(j, result, fds) < 0 ? CLAIM_EVENT_OPEN_FAILED : CLAIM_EVENT_OPENED);
}

/* Before it is bound, and again before it is opened: the kernel looks at its switch both times, and meanwhile
 * the operator may have changed his mind. */
static int prepare_host(ClaimRun *j) {
    const Plan *plan = &j->claim.plan;

    if (plan->backend != BACKEND_NOIOMMU)
        return 0;
    return noiommu_switch_require(j->broker->noiommu, policy_host_settings(j->broker->policy).noiommu,
            &plan->members[0].name, &j->claim.refusal);
}

/* Which number the kernel has made up for the device's group is known only now that it is bound. The record
 * takes it down: after a restart it leads to the node again. */
static int start_noiommu_backend(ClaimRun *j) {
    PlanMember *m = &j->claim.plan.members[0];
    char path[VFIO_NODE_MAX];
    static WorkerJob job;
    dev_t rdev = 0;
    int r;

    r = prepare_host(j);
    if (r < 0)
        return r;
    r = sysfs_read_noiommu_node(&m->name, &m->group, &rdev);
    if (r < 0)
        return refuse(&j->claim.refusal, VFIOD_ERROR_NODE_MISSING, &m->name,
                "the kernel made no /dev/vfio/noiommu- node for it: %s", strerror(-r));
    j->dirty = true;
    if (m->bind)
        m->enable_baseline = MAX(sysfs_read_enable_count(&m->name), 0L);
    r = watch_node(j, vfio_noiommu_path(m->group, path), /* uncertain= */ false);
    if (r < 0)
        return refuse_open_noiommu(j, r);
    job = (WorkerJob){
            .operation = WORKER_OPEN_NOIOMMU, .n_items = 1, .n_groups = 1, .group_rdev = (uint64_t) rdev};
    job.groups[0] = m->group;
    fill_item(&job.items[0], m);
    r = flush(j);
    if (r >= 0)
        r = submit(j, &job, on_noiommu_opened);
    if (r < 0)
        return refuse(
                &j->claim.refusal, VFIOD_ERROR_INTERNAL, &m->name, "cannot start a worker: %s", strerror(-r));
    return 0;
}

static void run_open(ClaimRun *j) {
    int r = 0;

    switch (j->claim.plan.backend) {
    case BACKEND_IOMMUFD:
        push(j, open_iommufd_backend(j) < 0 ? CLAIM_EVENT_OPEN_FAILED : CLAIM_EVENT_OPENED);
        return;
    case BACKEND_GROUP:
        r = start_group_backend(j);
        break;
    default:
        r = start_noiommu_backend(j);
    }
    if (r < 0)
        push(j, CLAIM_EVENT_OPEN_FAILED);
}

static void run_bind(ClaimRun *j) {
    if (prepare_host(j) < 0)
        push(j, CLAIM_EVENT_BIND_FAILED);
    else
        run_worker(j, WORKER_BIND, on_bound, CLAIM_EVENT_BOUND, CLAIM_EVENT_BIND_FAILED);
}

static void on_lifeline_closed(void *userdata) {
    claim_run_feed(userdata, CLAIM_EVENT_RELEASE);
}

static int add_lifeline(ClaimRun *j) {
    _cleanup_close_ int fd = -EBADF;
    int r;

    r = lifeline_new(j->broker->event, on_lifeline_closed, j, &j->lifeline, &fd);
    if (r < 0)
        return refuse(
                &j->claim.refusal, VFIOD_ERROR_INTERNAL, NULL, "cannot make a lifeline: %s", strerror(-r));
    return keep_fd(j, &fd, "lifeline");
}

static char *fd_store_name(const ClaimRun *j) {
    return format_string("claim-%s", j->claim.id);
}

int claim_run_adopt_lifeline(ClaimRun *j, int fd) {
    _cleanup_free_ char *name = fd_store_name(j);
    int r;

    if (!name)
        return -ENOMEM;
    r = lifeline_new_from_fd(j->broker->event, fd, on_lifeline_closed, j, &j->lifeline);
    if (r < 0)
        return r;
    lifeline_set_stored(j->lifeline, name);
    return 0;
}

/* Last of all: what is raised is not taken back. */
static int raise_memlock(ClaimRun *j) {
    const Plan *plan = &j->claim.plan;
    int r;

    if (plan->memlock == 0 || !j->done)
        return 0;
    r = memlock_raise(j->subject, plan->memlock);
    if (r >= 0)
        return 0;
    r = refuse(&j->claim.refusal, VFIOD_ERROR_INTERNAL, &plan->members[0].name,
            "cannot raise the caller's limit of locked memory: %s",
            r == -ESRCH            ? "which process it is cannot be told"
                    : r == -EACCES ? "it runs as another user as well"
                    : r == -EPERM  ? "vfiod lacks CAP_SYS_RESOURCE"
                                   : strerror(-r));
    j->claim.refusal.remedy = strdup("Ask without it (--memlock), and set the limit in another way.");
    return r;
}

/* The fds leave here. Should the record not get written, nobody gets anything: a claim without a record would
 * be forgotten at the next start, with the device in a stranger's hands. */
static void run_reply(ClaimRun *j) {
    _cleanup_free_ char *name = fd_store_name(j);
    Grant grant = {.claim = &j->claim, .fds = j->fds, .n_fds = j->n_fds};
    int r;

    r = name ? flush(j) : -ENOMEM;
    if (r < 0)
        r = refuse(&j->claim.refusal, VFIOD_ERROR_INTERNAL, &j->claim.plan.members[0].name,
                "cannot record the claim: %s", strerror(-r));
    else
        r = raise_memlock(j);
    if (r < 0) {
        close_fds(j);
        push(j, CLAIM_EVENT_RELEASE);
        return;
    }
    j->granted = j->done != NULL;
    answer(j, &grant, NULL);
    /* When nobody waits any more, this closes the lifeline, and the claim ends by itself. */
    close_fds(j);
    if (!j->granted)
        return;
    lifeline_store(j->lifeline, name);
    audit_granted(j->broker->audit, &j->claim);
}

/* Also the end of every claim that was given: nobody waits then, and there is nothing to refuse. */
static void run_refuse(ClaimRun *j) {
    if (j->granted || j->claim.refusal.code == _VFIOD_ERROR_INVALID)
        return;
    if (j->attached) {
        audit_failed(j->broker->audit, &j->claim);
        broker_note_failure(j->broker, &j->claim);
    }
    answer(j, NULL, &j->claim.refusal);
}

static void run_forget(ClaimRun *j) {
    j->dirty = false;
    if (j->stored)
        store_remove(j->broker->store, j->claim.id);
    if (j->lifeline)
        lifeline_unstore(j->lifeline);
    if (j->granted)
        audit_ended(j->broker->audit, &j->claim);
    if (j->announced)
        announce(j, CLAIM_REMOVED);
}

/* ---- is it closed? ---- */

static int on_recheck(sd_event_source *s, uint64_t usec, void *userdata) {
    on_node_changed(userdata);
    return 0;
}

/* After the last close the kernel resets the device in the closer's context and announces nothing when it is
 * done: `enable` falls to its baseline then, and has to be looked at. */
static void recheck_later(ClaimRun *j) {
    int r;

    j->recheck_usec = MIN(MAX(j->recheck_usec * 2, RECHECK_FIRST_USEC), RECHECK_LAST_USEC);
    if (j->recheck) {
        r = sd_event_source_set_time_relative(j->recheck, j->recheck_usec);
        if (r >= 0)
            r = sd_event_source_set_enabled(j->recheck, SD_EVENT_ONESHOT);
    } else
        r = sd_event_add_time_relative(
                j->broker->event, &j->recheck, CLOCK_MONOTONIC, j->recheck_usec, 0, on_recheck, j);
    if (r < 0)
        log_warning_errno(r, "Claim %s: cannot watch the end of its devices' close", j->claim.id);
}

static bool still_enabled(const ClaimRun *j) {
    for (size_t i = 0; i < j->claim.plan.n_claimed; i++) {
        const PlanMember *m = &j->claim.plan.members[i];
        const Device *d = inventory_find_device(j->broker->inventory, &m->name);

        /* A host driver has enabled it: a claim that was recovered before its device was moved, or an admin.
         */
        if (!d || (d->driver && d->vfio_index < 0))
            continue;
        if (sysfs_read_enable_count(&m->name) > m->enable_baseline)
            return true;
    }
    return false;
}

static bool is_closed(ClaimRun *j) {
    bool uncertain = j->blind;
    Holder holder;
    ssize_t found;

    for (size_t i = 0; i < j->n_nodes; i++) {
        NodeState s = node_entry_state(j->nodes[i]);

        if (s == NODE_OPEN)
            return false; /* its IN_CLOSE will come */
        uncertain |= s == NODE_UNCERTAIN;
    }
    if (still_enabled(j)) {
        recheck_later(j);
        return false;
    }
    if (!uncertain)
        return true;
    /* Somebody else opened the node too: /proc knows whether a file is left. Unreadable counts as yes, for
     * now. */
    found = holders_find(&j->claim, &holder, 1);
    if (found < 0 || (found > 0 && j->blind))
        recheck_later(j);
    return found == 0;
}

/* No node: then nobody has it open who could not be seen otherwise. Any other failure leaves us without
 * events. */
static void watch_again(ClaimRun *j, const char *path) {
    int r = watch_node(j, path, /* uncertain= */ true);

    if (r < 0 && r != -ENOENT)
        j->blind = true;
}

void claim_run_watch_recovered(ClaimRun *j) {
    const Plan *plan = &j->claim.plan;
    char path[VFIO_NODE_MAX];

    if (plan->backend == BACKEND_GROUP) {
        for (size_t i = 0; i < plan->n_groups; i++)
            watch_again(j, vfio_group_path(plan->groups[i], path));
        return;
    }
    if (plan->backend == BACKEND_NOIOMMU) {
        if (plan->members[0].group >= 0)
            watch_again(j, vfio_noiommu_path(plan->members[0].group, path));
        return;
    }
    for (size_t i = 0; i < plan->n_claimed; i++) {
        const Device *d = inventory_find_device(j->broker->inventory, &plan->members[i].name);

        if (d && d->vfio_index >= 0)
            watch_again(j, vfio_cdev_path(d->vfio_index, path));
    }
}

/* ---- the only place where states change ---- */

static void set_state(ClaimRun *j, ClaimState state) {
    if (j->claim.state == state)
        return;
    j->claim.state = state;
    /* Before anybody hears of it: then everything is back. */
    if (state == CLAIM_GONE || state == CLAIM_QUARANTINED)
        broker_settle(j->broker);
    if (state == CLAIM_GONE)
        return;
    if (state != CLAIM_AUTHORIZING) /* it has no right to its devices yet */
        claim_run_attach(j);
    if (state == CLAIM_QUARANTINED)
        audit_quarantined(j->broker->audit, &j->claim);
    announce(j, j->announced ? CLAIM_CHANGED : CLAIM_ADDED);
    j->announced = true;
}

static void run_effects(ClaimRun *j, unsigned effects) {
    if (effects & CLAIM_EFFECT_SAVE)
        j->dirty = true;
    if ((effects & CLAIM_EFFECT_AUTHORIZE) && claim_run_ask(j) < 0)
        push(j, CLAIM_EVENT_DENIED);
    if (effects & CLAIM_EFFECT_BIND)
        run_bind(j);
    if (effects & CLAIM_EFFECT_OPEN)
        run_open(j);
    if (effects & CLAIM_EFFECT_REPLY)
        run_reply(j);
    if (effects & CLAIM_EFFECT_REFUSE)
        run_refuse(j);
    if ((effects & CLAIM_EFFECT_WATCH_CLOSE) && is_closed(j))
        push(j, CLAIM_EVENT_CLOSED);
    if (effects & CLAIM_EFFECT_RESET) {
        unwatch(j);
        run_worker(j, WORKER_RESET, on_reset, CLAIM_EVENT_RESET_DONE, CLAIM_EVENT_RESET_FAILED);
    }
    if (effects & CLAIM_EFFECT_RESTORE) {
        close_fds(j);
        unwatch(j);
        run_worker(j, WORKER_RESTORE, on_restored, CLAIM_EVENT_RESTORED, CLAIM_EVENT_RESTORE_FAILED);
    }
    if (effects & CLAIM_EFFECT_FORGET)
        run_forget(j);
}

static void step(ClaimRun *j, ClaimEvent event) {
    Transition t = machine_step(j->claim.state, event);
    unsigned deferred;

    if (t.effects & CLAIM_EFFECT_IMPOSSIBLE) {
        log_warning("Claim %s: event %s cannot happen in state %s, ignored", j->claim.id,
                claim_event_to_string(event), claim_state_to_string(j->claim.state));
        return;
    }
    if (t.effects & CLAIM_EFFECT_DEFER) {
        j->deferred |= 1U << event;
        return;
    }
    deferred = t.next != j->claim.state ? j->deferred : 0;
    set_state(j, t.next);
    run_effects(j, t.effects);
    if (deferred == 0)
        return;
    j->deferred &= ~deferred;
    for (ClaimEvent e = 0; e < _CLAIM_EVENT_MAX; e++)
        if (deferred & (1U << e))
            push(j, e);
}

bool claim_run_needs_noiommu(const ClaimRun *j) {
    switch (j->claim.state) {
    case CLAIM_REQUESTED:
    case CLAIM_AUTHORIZING:
    case CLAIM_QUARANTINED:
    case CLAIM_GONE:
        return false;
    default:
        return j->claim.plan.backend == BACKEND_NOIOMMU;
    }
}

void claim_run_feed(ClaimRun *j, ClaimEvent event) {
    int r;

    push(j, event);
    if (j->feeding)
        return;
    j->feeding = true;
    while (j->n_events > 0 && j->claim.state != CLAIM_GONE) {
        ClaimEvent next = j->events[j->first_event];

        j->first_event = (j->first_event + 1) % CLAIM_RUN_EVENTS_MAX;
        j->n_events--;
        step(j, next);
    }
    j->feeding = false;
    if (j->claim.state == CLAIM_GONE) {
        (void) claim_run_free(j);
        return;
    }
    r = flush(j);
    if (r < 0 && !j->save_failed)
        log_error_errno(
                r, "Claim %s: cannot write its record; a restart now would take an older one", j->claim.id);
    j->save_failed = r < 0; /* said once: an owner may call Release as often as he likes */
}
