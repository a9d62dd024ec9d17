/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/backend.h"

#include "base/fd.h"
#include "daemon/broker/drain.h"
#include "daemon/broker/grant.h"
#include "daemon/broker/tether.h"
#include "host/sysfs.h"

static int open_cdev(ClaimRun *j, const PlanMember *m) {
    Device *d = claim_run_find_device(j, m);
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
    r = drain_watch(j, path, /* uncertain= */ false);
    if (r >= 0)
        r = vfio_open_cdev(d->vfio_index, d->vfio_rdev, &fd);
    if (r >= 0)
        r = sysfs_check_device(d);
    if (r < 0)
        return backend_refuse_open(j, r, &m->name, path);
    drain_settle(j, j->n_nodes - 1);
    return grant_add(j, &fd, "device:%s", device_name_format(&m->name, name));
}

static int open_iommufd(ClaimRun *j) {
    const Plan *plan = &j->claim.plan;
    _cleanup_close_ int fd = -EBADF;
    int r;

    r = spare_take_iommufd(j->broker->spare, &fd);
    if (r < 0)
        return refuse(&j->claim.refusal,
                r == -ENOENT || r == -ENODEV ? VFIOD_ERROR_BACKEND_UNAVAILABLE : VFIOD_ERROR_OPEN_FAILED,
                &plan->members[0].name, "cannot open /dev/iommu: %s", strerror(-r));
    r = grant_add(j, &fd, "iommufd");
    for (size_t i = 0; r >= 0 && i < plan->n_claimed; i++)
        r = open_cdev(j, &plan->members[i]);
    if (r >= 0)
        r = claim_run_tether(j)->tie(j);
    return r < 0 ? r : 1;
}

static int find_iommufd_node(const ClaimRun *j, size_t index, char path[static VFIO_NODE_MAX]) {
    const Device *d;

    if (index >= j->claim.plan.n_claimed)
        return -ERANGE;
    d = inventory_find_device(j->broker->inventory, &j->claim.plan.members[index].name);
    if (!d || d->vfio_index < 0)
        return -ENOENT;
    (void) vfio_cdev_path(d->vfio_index, path);
    return 0;
}

const BackendType backend_iommufd = {
        .open = open_iommufd,
        .find_node = find_iommufd_node,
};
