/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/backend.h"

#include "base/fd.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/claim-work.h"
#include "daemon/broker/grant.h"

/* The fds are the container, then groups, then devices. */
static int keep_compat(ClaimRun *j, const WorkerResult *result, int *fds) {
    const Plan *plan = &j->claim.plan;
    char path[VFIO_NODE_MAX], name[DEVICE_NAME_MAX];
    int *devices = fds + 1 + plan->n_groups;
    int r;

    if (result->error < 0)
        return backend_refuse_open(j, result->error, &plan->members[0].name,
                result->error == -ENOTTY
                        ? "/dev/vfio/vfio as an iommufd"
                        : vfio_group_path(plan->groups[MIN(result->index, plan->n_groups - 1)], path));
    r = backend_check_groups(j);
    if (r < 0)
        return r;
    for (size_t i = 0; i < plan->n_groups; i++)
        group_files_add(j, &fds[1 + i]);
    j->doubt = true; /* no event reports the close of a device */
    r = grant_add(j, &fds[0], "container", "");
    for (size_t i = 0; r >= 0 && i < plan->n_claimed; i++)
        r = grant_add(j, &devices[i], "device:", device_name_format(&plan->members[i].name, name));
    return r < 0 ? r : backend_complete(j);
}

static void on_compat_opened(void *userdata, const WorkerResult *result, int *fds) {
    backend_finish(userdata, result, fds, keep_compat);
}

static uint32_t group_index(const Plan *plan, const PlanMember *m) {
    uint32_t i = 0;

    while (i + 1 < plan->n_groups && plan->groups[i] != m->group)
        i++;
    return i;
}

static int open_compat(ClaimRun *j) {
    const Plan *plan = &j->claim.plan;
    WorkerOrder order = {.operation = WORKER_OPEN_COMPAT,
            .item.name = plan->members[0].name,
            .keep = true,
            .n_groups = (uint32_t) plan->n_groups,
            .n_devices = (uint32_t) plan->n_claimed};

    for (size_t i = 0; i < plan->n_groups; i++)
        order.groups[i] = plan->groups[i];
    for (size_t i = 0; i < plan->n_claimed; i++) {
        order.devices[i] = plan->members[i].name;
        order.device_groups[i] = group_index(plan, &plan->members[i]);
        put_text(order.vf_tokens[i], sizeof(order.vf_tokens[i]), plan->members[i].vf_token);
    }
    return backend_submit(j, &order, on_compat_opened);
}

/* The only nodes are those of the groups, which vfiod has open itself. */
static int find_no_node(const ClaimRun *j, size_t index, char path[static VFIO_NODE_MAX]) {
    return index == 0 ? -EAGAIN : -ERANGE;
}

/* `enable` has fallen, and nobody could raise it while we had the groups. Now they are given up. When a
 * worker can open them again, the last reset is over and nobody else has opened them. */
static int ask_compat_closed(ClaimRun *j, size_t index, WorkerOrder *order) {
    const Plan *plan = &j->claim.plan;

    if (index > 0)
        return -ERANGE;
    *order = (WorkerOrder){.operation = WORKER_PROBE_GROUPS,
            .item.name = plan->members[0].name,
            .n_groups = (uint32_t) plan->n_groups};
    for (size_t i = 0; i < plan->n_groups; i++)
        order->groups[i] = plan->groups[i];
    group_files_order(j, order);
    return 0;
}

const BackendType backend_compat = {
        .prepare = group_files_charge,
        .open = open_compat,
        .find_node = find_no_node,
        .ask_closed = ask_compat_closed,
};
