/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/backend.h"

#include "base/str.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/claim-work.h"
#include "daemon/broker/drain.h"
#include "daemon/broker/grant.h"
#include "daemon/broker/tether.h"
#include "host/sysfs.h"

static const BackendType *const types[_BACKEND_MAX] = {
        [BACKEND_IOMMUFD] = &backend_iommufd,
        [BACKEND_GROUP] = &backend_group,
        [BACKEND_NOIOMMU] = &backend_noiommu,
        [BACKEND_VHOST_VDPA] = &backend_vhost_vdpa,
        [BACKEND_COMPAT] = &backend_compat,
};

const BackendType *backend_type(const ClaimRun *j) {
    return types[j->claim.plan.backend];
}

int backend_prepare(ClaimRun *j) {
    return backend_type(j)->prepare ? backend_type(j)->prepare(j) : 0;
}

/* A count that an earlier driver left behind is known only after that driver is gone, and must be read before
 * a client adds to it. */
static void note_enable_baseline(ClaimRun *j) {
    for (size_t i = 0; i < j->claim.plan.n_claimed; i++) {
        PlanMember *m = &j->claim.plan.members[i];

        if (m->bind)
            m->enable_baseline = MAX(sysfs_read_enable_count(&m->name), 0L);
    }
}

int backend_open(ClaimRun *j) {
    note_enable_baseline(j);
    return backend_type(j)->open(j);
}

bool backend_has_node(const ClaimRun *j, const char *node, bool *ret_missing) {
    char path[VFIO_NODE_MAX];
    int r = 0;

    for (size_t i = 0; r != -ERANGE; i++) {
        r = backend_type(j)->find_node(j, i, path);
        if (r >= 0 && streq(path, node))
            return true;
        if (r < 0 && r != -ERANGE && ret_missing)
            *ret_missing = true;
    }
    return false;
}

void backend_watch_removals(ClaimRun *j) {
    if (backend_type(j)->watch_removals)
        backend_type(j)->watch_removals(j);
}

int backend_complete(ClaimRun *j) {
    int r = grant_take(j);

    backend_watch_removals(j);
    return r < 0 ? r : claim_run_tether(j)->tie(j);
}

void backend_watch_recovered(ClaimRun *j) {
    char path[VFIO_NODE_MAX];
    int r = 0;

    for (size_t i = 0; r != -ERANGE; i++) {
        r = backend_type(j)->find_node(j, i, path);
        if (r >= 0)
            drain_watch_recovered(j, path);
        else if (r == -EAGAIN)
            j->doubt = true;
    }
    backend_watch_removals(j);
}

/* systemd looks up the device numbers of VFIO and vDPA when it starts the unit. They change when the module
 * is loaded again. */
static int refuse_not_permitted(Refusal *refusal, const DeviceName *name, const char *path) {
    int r = refuse(refusal, VFIOD_ERROR_OPEN_FAILED, name,
            "the device policy of vfiod's own unit (DeviceAllow=) does not let it open %s: the module of its "
            "driver was probably loaded after vfiod was started",
            path);

    refusal->remedy = strdup("Restart vfiod ('systemctl restart vfiod'). Claims are kept.");
    return r;
}

int backend_refuse_open(ClaimRun *j, int error, const DeviceName *name, const char *path) {
    Refusal *refusal = &j->claim.refusal;

    switch (error) {
    case -ENOENT:
        return refuse(refusal, VFIOD_ERROR_NODE_MISSING, name,
                "the kernel announced %s, but it does not exist", path);
    case -ESTALE:
        return refuse(refusal, VFIOD_ERROR_NODE_MISSING, name, "%s is the node of another device", path);
    case -EBUSY:
        return refuse(refusal, VFIOD_ERROR_GROUP_IN_USE, name,
                "a program has %s open that did not get it from vfiod", path);
    case -EPERM:
        return refuse(refusal, VFIOD_ERROR_GROUP_NOT_VIABLE, name,
                "the kernel reports that its group is not viable (%s)", path);
    case -EACCES:
        return refuse_not_permitted(refusal, name, path);
    case -EOPNOTSUPP:
        return refuse(refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, name,
                "this kernel's /dev/vfio/vfio is an iommufd, which does not limit a group to one owner");
    case -ENODEV:
    case -ENXIO:
        return refuse(refusal, VFIOD_ERROR_DEVICE_GONE, name, "it disappeared while %s was opened", path);
    default:
        return refuse(refusal, VFIOD_ERROR_OPEN_FAILED, name, "cannot open %s: %s", path, strerror(-error));
    }
}

/* Numbers of groups are reused, and the device may have disappeared while a worker opened the group. */
int backend_check_groups(ClaimRun *j) {
    char path[VFIO_NODE_MAX];

    for (size_t i = 0; i < j->claim.plan.n_claimed; i++) {
        const PlanMember *m = &j->claim.plan.members[i];
        Device *d = claim_run_find_device(j, m);
        int r = d && d->group && d->group->id == m->group ? sysfs_check_device(d) : -ENODEV;

        if (r < 0)
            return backend_refuse_open(j, r, &m->name, vfio_group_path(m->group, path));
    }
    return 0;
}

static const HolderEntry *find_holder(const ClaimRun *j, const HolderAnswer *answer) {
    for (size_t i = 0; i < answer->n; i++)
        if (holder_entry_is_of(&answer->entries[i], &j->claim))
            return &answer->entries[i];
    return NULL;
}

static void on_holders_found(void *userdata, const HolderAnswer *answer) {
    ClaimRun *j = userdata;
    const HolderEntry *e = answer->error >= 0 ? find_holder(j, answer) : NULL;
    _cleanup_free_ char *command = e ? sanitize(e->command, sizeof(e->command)) : NULL;
    char path[VFIO_NODE_MAX], pid[16];

    j->query = NULL;
    if (e) {
        free(j->claim.refusal.reason);
        j->claim.refusal.reason = format_string("process %d (%s) has %s open, and did not get it from vfiod",
                (int) e->pid, command ?: "?", e->group >= 0 ? vfio_group_path(e->group, path) : e->device);
        (void) snprintf(pid, sizeof(pid), "%d", (int) e->pid);
        refusal_add_blocker(&j->claim.refusal, BLOCKER_PROCESS, pid, "%s", e->command);
    }
    claim_run_feed(j, CLAIM_EVENT_OPEN_FAILED);
}

void backend_refuse_busy(ClaimRun *j, const DeviceName *name, const char *path) {
    (void) backend_refuse_open(j, -EBUSY, name, path);
    if (holder_search_ask(j->broker->holders, on_holders_found, j, &j->query) < 0)
        claim_run_feed(j, CLAIM_EVENT_OPEN_FAILED);
}

int backend_submit(ClaimRun *j, const WorkerOrder *order, worker_done_t done) {
    int r;

    r = claim_run_flush(j);
    if (r >= 0)
        r = claim_work_submit(j, order, done, NULL);
    if (r < 0)
        return refuse(&j->claim.refusal, VFIOD_ERROR_INTERNAL, &j->claim.plan.members[0].name,
                "cannot start a worker: %s", strerror(-r));
    return 0;
}

void backend_finish(ClaimRun *j, const WorkerResult *result, int *fds,
        int (*keep)(ClaimRun *j, const WorkerResult *result, int *fds)) {
    char path[VFIO_NODE_MAX];

    if (result->error == -ETIMEDOUT)
        claim_work_stuck(j);
    else if (result->error == -EBUSY && j->claim.plan.n_groups > 0)
        backend_refuse_busy(j, &j->claim.plan.members[0].name,
                vfio_group_path(j->claim.plan.groups[MIN(result->index, j->claim.plan.n_groups - 1)], path));
    else
        claim_run_feed(j, keep(j, result, fds) < 0 ? CLAIM_EVENT_OPEN_FAILED : CLAIM_EVENT_OPENED);
}
