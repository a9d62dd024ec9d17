/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A vDPA device is opened through /dev/vhost-vdpa-N by one program at a time: the next one gets EBUSY. The
 * kernel resets it at each open and close, so vfiod does not. The reset may take time, so a worker opens the
 * node. The worker keeps a copy of the file until the claim ends, as for a device without an IOMMU: if nobody
 * takes the reply, the last close would happen in the bus or in the daemon.
 *
 * The kernel does not ask users to give up such a device. Whoever unbinds or removes it waits until it is
 * closed, and blocks vdpa commands of the whole host meanwhile (vdpa dev del). */

#include "daemon/broker/backend.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "core/device-kind.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/claim-work.h"
#include "daemon/broker/drain.h"
#include "daemon/broker/grant.h"
#include "daemon/kernel/node-acl.h"
#include "host/sysfs.h"

/* The client opens the node itself, so it is not opened here, which would prevent that. It is only
 * checked. */
static int look_at_node(const char *path, dev_t rdev, int *ret_fd) {
    _cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISCHR(st.st_mode) || st.st_rdev != rdev)
        return -ESTALE;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static int keep_node(ClaimRun *j, size_t index, int *opened) {
    const PlanMember *m = &j->claim.plan.members[index];
    Device *d = claim_run_find_device(j, m);
    const char *path = node_entry_path(j->nodes[index]);
    _cleanup_close_ int node = -EBADF;
    char name[DEVICE_NAME_MAX];
    int r = 0;

    if (!d)
        return backend_refuse_open(j, -ENODEV, &m->name, path);
    if (*opened < 0) {
        r = look_at_node(path, d->vfio_rdev, &node);
        opened = &node;
    }
    if (r >= 0)
        r = sysfs_check_device(d);
    if (r < 0)
        return backend_refuse_open(j, r, &m->name, path);
    drain_settle(j, index);
    return grant_add(j, opened, "device:", device_name_format(&m->name, name));
}

static int keep_nodes(ClaimRun *j, const WorkerResult *result, int *fds) {
    const size_t index = MIN(result->index, j->claim.plan.n_claimed - 1);
    int r = 0;

    if (result->error < 0)
        return backend_refuse_open(
                j, result->error, &j->claim.plan.members[index].name, node_entry_path(j->nodes[index]));
    for (size_t i = 0; r >= 0 && i < j->claim.plan.n_claimed; i++)
        r = keep_node(j, i, &fds[i]);
    return r < 0 ? r : backend_complete(j);
}

static void on_opened(void *userdata, const WorkerResult *result, int *fds) {
    ClaimRun *j = userdata;
    const size_t index = MIN(result->index, j->claim.plan.n_claimed - 1);

    if (result->error == -EBUSY)
        backend_refuse_busy(j, &j->claim.plan.members[index].name, node_entry_path(j->nodes[index]));
    else
        backend_finish(j, result, fds, keep_nodes);
}

static int watch_node(ClaimRun *j, const PlanMember *m, WorkerOrder *order) {
    const Device *d = claim_run_find_device(j, m);
    char path[VFIO_NODE_MAX];
    int r;

    if (!d || d->vfio_index < 0 || d->vfio_rdev == 0)
        return refuse(&j->claim.refusal, VFIOD_ERROR_DEVICE_GONE, &m->name, "it was taken from its driver %s",
                m->target_driver);
    r = drain_watch(j, device_node_path(d->name.kind, d->vfio_index, path));
    if (r < 0)
        return backend_refuse_open(j, r, &m->name, path);
    order->groups[order->n_groups] = d->vfio_index;
    order->rdevs[order->n_groups++] = (uint64_t) d->vfio_rdev;
    return 0;
}

static int open_vhost_vdpa(ClaimRun *j) {
    const Plan *plan = &j->claim.plan;
    WorkerOrder order = {.operation = WORKER_OPEN_NODES, .keep = plan->grant == GRANT_FD};
    int r = 0;

    claim_work_fill_item(&order.item, &plan->members[0]);
    for (size_t i = 0; r >= 0 && i < plan->n_claimed; i++)
        r = watch_node(j, &plan->members[i], &order);
    return r < 0 ? r : backend_submit(j, &order, on_opened);
}

static int find_vhost_vdpa_node(const ClaimRun *j, size_t index, char path[static VFIO_NODE_MAX]) {
    const Device *d;

    if (index >= j->claim.plan.n_claimed)
        return -ERANGE;
    d = claim_run_find_device(j, &j->claim.plan.members[index]);
    if (!d || d->vfio_index < 0)
        return -ENOENT;
    (void) device_node_path(d->name.kind, d->vfio_index, path);
    return 0;
}

/* At the last close the kernel first reports it and then resets the device. Until that is done, the device is
 * open. */
static int ask_nodes_closed(ClaimRun *j, size_t index, WorkerOrder *order) {
    const Plan *plan = &j->claim.plan;

    *order = (WorkerOrder){.operation = WORKER_PROBE_NODES};
    claim_work_fill_item(&order->item, &plan->members[0]);
    for (size_t i = 0; i < plan->n_claimed; i++) {
        const Device *d = claim_run_find_device(j, &plan->members[i]);

        if (d && d->vfio_index >= 0)
            order->groups[order->n_groups++] = d->vfio_index;
    }
    return index > 0 || order->n_groups == 0 ? -ERANGE : 0;
}

/* ---- Removal ---- */

static bool is_removed(const ClaimRun *j, size_t index) {
    char path[VFIO_NODE_MAX];

    return find_vhost_vdpa_node(j, index, path) >= 0 && access(path, F_OK) < 0 && errno == ENOENT;
}

/* The kind of change does not matter. The claim may be freed after the first of its devices. */
static void on_nodes_changed(void *userdata) {
    ClaimRun *j = userdata;
    Broker *e = j->broker;
    DeviceName removed[REQUEST_DEVICES_MAX];
    size_t n = 0;

    for (size_t i = 0; i < j->claim.plan.n_claimed; i++)
        if (is_removed(j, i))
            removed[n++] = j->claim.plan.members[i].name;
    for (size_t i = 0; i < n; i++) {
        j = claims_find_naming(e, &removed[i]);
        if (j && j->claim.state == CLAIM_HELD)
            (void) broker_feed_gone(j, &removed[i], "it was removed or left its driver while it was held");
    }
}

/* The node disappears at once. The kernel continues, and announces the removal, only when its file is
 * closed. */
static void watch_vdpa_removals(ClaimRun *j) {
    ClaimNode nodes[REQUEST_DEVICES_MAX] = {};
    size_t n = 0;
    int r;

    for (size_t i = 0; i < j->claim.plan.n_claimed; i++)
        n += find_vhost_vdpa_node(j, i, nodes[n].path) >= 0;
    j->removals = node_acl_watch_free(j->removals);
    r = node_acl_watch(j->broker->event, nodes, n, on_nodes_changed, j, &j->removals);
    if (r < 0)
        log_warning_errno(r, "Claim %s: that its devices are removed will be noticed late", j->claim.id);
}

const BackendType backend_vhost_vdpa = {
        .open = open_vhost_vdpa,
        .find_node = find_vhost_vdpa_node,
        .ask_closed = ask_nodes_closed,
        .watch_removals = watch_vdpa_removals,
        .close_is_silent = true,
};
