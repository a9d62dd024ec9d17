/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/backend.h"

#include <stdio.h>

#include "base/fd.h"
#include "core/device-kind.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/claim-work.h"
#include "daemon/broker/drain.h"
#include "daemon/broker/grant.h"
#include "host/sysfs.h"

static int open_cdev(ClaimRun *j, const PlanMember *m) {
    Device *d = claim_run_find_device(j, m);
    char path[VFIO_NODE_MAX], name[DEVICE_NAME_MAX];
    _cleanup_close_ int fd = -EBADF;
    int r;

    if (!d || d->vfio_index < 0)
        return refuse(
                &j->claim.refusal, VFIOD_ERROR_DEVICE_GONE, &m->name, "it was unbound from its vfio driver");
    if (d->vfio_rdev == 0)
        return refuse(&j->claim.refusal, VFIOD_ERROR_NODE_MISSING, &m->name,
                "the kernel provides no /dev/vfio/devices node for it");
    (void) device_node_path(d->name.kind, d->vfio_index, path);
    r = drain_watch(j, path);
    if (r >= 0)
        r = vfio_open_cdev(path, d->vfio_rdev, &fd);
    if (r >= 0)
        r = sysfs_check_device(d);
    if (r < 0)
        return backend_refuse_open(j, r, &m->name, path);
    drain_settle(j, j->n_nodes - 1);
    return grant_add(j, &fd, "device:", device_name_format(&m->name, name));
}

static int open_all(ClaimRun *j) {
    const Plan *plan = &j->claim.plan;
    _cleanup_close_ int fd = -EBADF;
    int r;

    r = j->claim.of[0] ? 0 : spare_take_iommufd(j->broker->spare, &fd);
    if (r < 0)
        return refuse(&j->claim.refusal,
                r == -ENOENT || r == -ENODEV ? VFIOD_ERROR_BACKEND_UNAVAILABLE : VFIOD_ERROR_OPEN_FAILED,
                &plan->members[0].name, "cannot open /dev/iommu: %s", strerror(-r));
    if (fd >= 0) /* a client whose claim the devices join has one already */
        r = grant_add(j, &fd, "iommufd", "");
    for (size_t i = 0; r >= 0 && i < plan->n_claimed; i++)
        r = open_cdev(j, &plan->members[i]);
    if (r >= 0)
        r = backend_complete(j);
    return r < 0 ? r : 1;
}

/* -EBUSY, -ETIMEDOUT or any other error: refused now, because the client could not bind. */
static void on_probed(void *userdata, const WorkerResult *result, int *fds) {
    ClaimRun *j = userdata;
    const Plan *plan = &j->claim.plan;
    char path[VFIO_NODE_MAX];

    for (size_t i = 0; i < plan->n_groups; i++)
        group_watch_end_probe(j->broker->groups, plan->groups[i], result->error >= 0);
    if (result->error >= 0) {
        claim_run_feed(j, open_all(j) < 0 ? CLAIM_EVENT_OPEN_FAILED : CLAIM_EVENT_OPENED);
        return;
    }
    (void) vfio_group_path(plan->groups[MIN(result->index, plan->n_groups - 1)], path);
    if (result->error == -EBUSY) {
        backend_refuse_busy(j, &plan->members[0].name, path);
        return;
    }
    (void) backend_refuse_open(j, result->error, &plan->members[0].name, path);
    claim_run_feed(j, CLAIM_EVENT_OPEN_FAILED);
}

/* For some devices `enable` does not show whether a program that opened the node itself has bound them. */
static bool is_counted(const Plan *plan, int group) {
    for (size_t i = 0; i < plan->n_members; i++)
        if (plan->members[i].group == group && !plan_member_counts_opens(&plan->members[i]))
            return false;
    return true;
}

/* A program that has a group's file open prevents the client from binding its device, and nothing else shows
 * that. */
static int open_iommufd(ClaimRun *j) {
    const Plan *plan = &j->claim.plan;
    WorkerOrder order = {.operation = WORKER_PROBE_GROUPS, .item.name = plan->members[0].name};
    GroupWatch *groups = j->broker->groups;
    char path[VFIO_NODE_MAX];
    int r;

    for (size_t i = 0; i < plan->n_groups; i++)
        if (!group_watch_is_clear(groups, plan->groups[i], vfio_group_path(plan->groups[i], path)) ||
                !is_counted(plan, plan->groups[i]))
            order.groups[order.n_groups++] = plan->groups[i];
    if (order.n_groups == 0)
        return open_all(j);
    for (uint32_t i = 0; i < order.n_groups; i++)
        group_watch_begin_probe(groups, order.groups[i]);
    r = backend_submit(j, &order, on_probed);
    for (uint32_t i = 0; r < 0 && i < order.n_groups; i++)
        group_watch_end_probe(groups, order.groups[i], /* clear= */ false);
    return r;
}

static int find_iommufd_node(const ClaimRun *j, size_t index, char path[static VFIO_NODE_MAX]) {
    const PlanMember *m;
    const Device *d;

    if (index >= j->claim.plan.n_claimed)
        return -ERANGE;
    m = &j->claim.plan.members[index];
    d = claim_run_find_device(j, m);
    if (!d || (d->driver && !streq(d->driver, m->target_driver)))
        return -ENOENT; /* its vfio driver has released it, which it does after the last close */
    if (d->vfio_index < 0)
        return -EAGAIN;
    (void) device_node_path(d->name.kind, d->vfio_index, path);
    return 0;
}

/* A device that was on its vfio driver before the claim is unbound from it now, so it must be restored like
 * any other. */
static int prepare_recycling(PlanMember *m, const Device *d) {
    _cleanup_(device_facts_done) DeviceFacts facts = DEVICE_FACTS_NULL;
    int r;

    if (m->bind || !d)
        return 0;
    r = sysfs_read_facts(NULL, d, DEVICE_FACT_DRIVER_OVERRIDE, &facts);
    if (r < 0)
        return r == -ENODEV ? 0 : r;
    (void) snprintf(m->original_override, sizeof(m->original_override), "%s", facts.driver_override);
    m->bind = true;
    m->progress = MEMBER_BOUND;
    return 0;
}

/* Some devices cannot be recycled: a mediated device cannot be given back to a driver that has released it,
 * and a device that a driver of the host registers with VFIO is not unbound from it. But while such a device
 * is bound, nobody can open its group's file. A file that was never bound remains: if the watch of the node
 * has missed events, only its removal would show that. */
static int ask_group_of(const ClaimRun *j, const PlanMember *m, WorkerOrder *order) {
    if (m->group < 0) /* it was still being made, so nobody has it */
        return 1;
    if (!claim_run_find_device(j, m)) /* the kernel removes it after the last close */
        return 1;
    if (!drain_is_sure(j))
        return -ENOTRECOVERABLE;
    *order = (WorkerOrder){.operation = WORKER_PROBE_GROUPS, .item.name = m->name, .n_groups = 1};
    order->groups[0] = m->group;
    return 0;
}

/* A file that is not bound to an iommufd is counted only by the driver, which waits for it before it releases
 * the device. */
static int ask_device_closed(ClaimRun *j, size_t index, WorkerOrder *order) {
    PlanMember *m;
    int r;

    if (index >= j->claim.plan.n_claimed)
        return -ERANGE;
    m = &j->claim.plan.members[index];
    if (!plan_member_counts_opens(m))
        return ask_group_of(j, m, order);
    if (drain_is_sure(j)) /* `enable` was checked before */
        return 1;
    r = prepare_recycling(m, claim_run_find_device(j, m));
    if (r < 0)
        return r;
    j->dirty = true;
    *order = (WorkerOrder){.operation = WORKER_RECYCLE};
    claim_work_fill_item(&order->item, m);
    return 0;
}

const BackendType backend_iommufd = {
        .open = open_iommufd,
        .find_node = find_iommufd_node,
        .ask_closed = ask_device_closed,
        .asking_disturbs = true,
};
