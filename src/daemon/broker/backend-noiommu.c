/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/backend.h"

#include "base/fd.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/claim-work.h"
#include "daemon/broker/drain.h"
#include "daemon/broker/grant.h"
#include "host/sysfs.h"

static int refuse_open_noiommu(ClaimRun *j, int error) {
    const PlanMember *m = &j->claim.plan.members[0];
    char path[VFIO_NODE_MAX];

    if (error == -EPERM)
        return refuse(&j->claim.refusal, VFIOD_ERROR_OPEN_FAILED, &m->name,
                "cannot open it without an IOMMU: vfiod itself lacks CAP_SYS_RAWIO");
    return backend_refuse_open(j, error, &m->name, vfio_noiommu_path(m->group, path));
}

static int keep_noiommu(ClaimRun *j, const WorkerResult *result, int *fds) {
    const PlanMember *m = &j->claim.plan.members[0];
    char name[DEVICE_NAME_MAX];
    Device *d;
    int r;

    if (result->error < 0)
        return refuse_open_noiommu(j, result->error);
    d = claim_run_find_device(j, m);
    r = d ? sysfs_check_device(d) : -ENODEV;
    if (r < 0)
        return refuse_open_noiommu(j, r);
    drain_settle(j, 0);
    r = grant_add(j, &fds[0], "device:", device_name_format(&m->name, name));
    return r < 0 ? r : backend_complete(j);
}

static void on_noiommu_opened(void *userdata, const WorkerResult *result, int *fds) {
    backend_finish(userdata, result, fds, keep_noiommu);
}

/* Before it is bound, and again before it is opened: the kernel checks its switch both times, and the
 * operator may have changed the setting meanwhile. */
static int prepare_noiommu(ClaimRun *j) {
    const Plan *plan = &j->claim.plan;

    return noiommu_switch_require(j->broker->noiommu, policy_host_settings(j->broker->policy).noiommu,
            &plan->members[0].name, &j->claim.refusal);
}

/* Only after the bind is the number of the group known that the kernel has made for the device. It goes into
 * the record, so that the node can be found after a restart. */
static int open_noiommu(ClaimRun *j) {
    PlanMember *m = &j->claim.plan.members[0];
    char path[VFIO_NODE_MAX];
    WorkerOrder order;
    dev_t rdev = 0;
    int r;

    r = prepare_noiommu(j);
    if (r < 0)
        return r;
    r = sysfs_read_noiommu_node(&m->name, &m->group, &rdev);
    if (r < 0)
        return refuse(&j->claim.refusal, VFIOD_ERROR_NODE_MISSING, &m->name,
                "the kernel provides no /dev/vfio/noiommu- node for it: %s", strerror(-r));
    j->dirty = true;
    r = drain_watch(j, vfio_noiommu_path(m->group, path));
    if (r < 0)
        return refuse_open_noiommu(j, r);
    order = (WorkerOrder){.operation = WORKER_OPEN_NOIOMMU, .n_groups = 1, .keep = true};
    order.groups[0] = m->group;
    order.rdevs[0] = (uint64_t) rdev;
    claim_work_fill_item(&order.item, m);
    return backend_submit(j, &order, on_noiommu_opened);
}

static int find_noiommu_node(const ClaimRun *j, size_t index, char path[static VFIO_NODE_MAX]) {
    if (index > 0)
        return -ERANGE;
    if (j->claim.plan.members[0].group < 0)
        return -ENOENT;
    (void) vfio_noiommu_path(j->claim.plan.members[0].group, path);
    return 0;
}

const BackendType backend_noiommu = {
        .prepare = prepare_noiommu,
        .open = open_noiommu,
        .find_node = find_noiommu_node,
};
