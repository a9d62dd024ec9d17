/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/backend.h"

#include "base/fd.h"
#include "base/str.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/claim-work.h"
#include "daemon/broker/drain.h"
#include "daemon/broker/grant.h"

static int keep_groups(ClaimRun *j, const WorkerResult *result, int *fds) {
    Plan *plan = &j->claim.plan;
    _cleanup_close_ int container = -EBADF;
    char path[VFIO_NODE_MAX], name[32];
    int r;

    if (result->error < 0)
        return backend_refuse_open(j, result->error, &plan->members[0].name,
                vfio_group_path(plan->groups[MIN(result->index, plan->n_groups - 1)], path));
    r = backend_check_groups(j);
    if (r < 0)
        return r;
    r = j->claim.of[0] ? 0 : vfio_open_container(&container);
    if (r < 0)
        return backend_refuse_open(j, r, &plan->members[0].name, "/dev/vfio/vfio");
    if (container >= 0) /* a client whose claim the devices join has one already */
        r = grant_add(j, &container, "container", "");
    for (size_t i = 0; r >= 0 && i < plan->n_groups; i++) {
        drain_settle(j, i);
        put_numbered(name, sizeof(name), "group:", plan->groups[i]);
        r = grant_add(j, &fds[i], name, "");
    }
    return r < 0 ? r : backend_complete(j);
}

static void on_groups_opened(void *userdata, const WorkerResult *result, int *fds) {
    backend_finish(userdata, result, fds, keep_groups);
}

static int open_groups(ClaimRun *j) {
    const Plan *plan = &j->claim.plan;
    WorkerOrder order;
    char path[VFIO_NODE_MAX];
    int r = 0;

    if (plan->n_groups == 0) /* the client has the files of all groups */
        return backend_check_groups(j) < 0 ? -ENODEV : 1;
    order = (WorkerOrder){.operation = WORKER_OPEN_GROUPS,
            .item.name = plan->members[0].name,
            .n_groups = (uint32_t) plan->n_groups};
    for (size_t i = 0; i < plan->n_groups; i++) {
        order.groups[i] = plan->groups[i];
        r = drain_watch(j, vfio_group_path(plan->groups[i], path));
        if (r < 0)
            return backend_refuse_open(j, r, &plan->members[0].name, path);
    }
    return backend_submit(j, &order, on_groups_opened);
}

static int find_group_node(const ClaimRun *j, size_t index, char path[static VFIO_NODE_MAX]) {
    if (index >= j->claim.plan.n_groups)
        return -ERANGE;
    (void) vfio_group_path(j->claim.plan.groups[index], path);
    return 0;
}

/* A client may have opened devices through the group's file. Each of them keeps that file open. */
static int ask_groups_closed(ClaimRun *j, size_t index, WorkerOrder *order) {
    const Plan *plan = &j->claim.plan;

    if (index > 0)
        return -ERANGE;
    *order = (WorkerOrder){.operation = WORKER_PROBE_GROUPS,
            .item.name = plan->members[0].name,
            .n_groups = (uint32_t) plan->n_groups};
    for (size_t i = 0; i < plan->n_groups; i++)
        order->groups[i] = plan->groups[i];
    return 0;
}

const BackendType backend_group = {
        .open = open_groups,
        .find_node = find_group_node,
        .ask_closed = ask_groups_closed,
};
