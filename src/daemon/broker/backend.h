/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How devices are opened. Each kind is a row of one table, indexed by the plan's Backend. */

#include "daemon/broker/claims.h"
#include "daemon/kernel/vfio.h"

typedef struct BackendType {
    /* Called before devices are bound, and again before they are opened, because the host may have changed.
     * NULL: nothing to do. 0, or a negative errno with the claim's refusal set. */
    int (*prepare)(ClaimRun *j);
    /* Opens what the client gets and adds it to the grant. 1; 0: a worker does it, and then
     * CLAIM_EVENT_OPENED, OPEN_FAILED or WORKER_STUCK is fed; or a negative errno with the claim's refusal
     * set. */
    int (*open)(ClaimRun *j);
    /* The nodes through which the devices can be open: 0; -ENOENT: the node for this index is gone, so nobody
     * has it open; -EAGAIN: the kernel is removing it; -ERANGE: there are no more. */
    int (*find_node)(const ClaimRun *j, size_t index, char path[static VFIO_NODE_MAX]);
    /* The order for a worker that finds out whether the devices are closed, if no event reports it: 0;
     * -ERANGE: there are no more; 1: nothing to do for this one; -ENOTRECOVERABLE: there is no way; or
     * another negative errno. NULL: `enable` shows it, because it counts every file that is handed out. */
    int (*ask_closed)(ClaimRun *j, size_t index, WorkerOrder *order);
    /* From now on the claim ends when the kernel removes a node, for backends where no uevent reports that.
     * NULL: uevents do. */
    void (*watch_removals)(ClaimRun *j);
    /* Nothing shows that the kernel has finished the last close, so it is asked then, too. */
    bool close_is_silent;
    /* If a device is still open, ask_closed makes the kernel request it back from the user, so search for
     * users first. */
    bool asking_disturbs;
} BackendType;

extern const BackendType backend_iommufd, backend_group, backend_noiommu, backend_vhost_vdpa, backend_compat;

int backend_prepare(ClaimRun *j);
int backend_open(ClaimRun *j);
const BackendType *backend_type(const ClaimRun *j);
/* Is this a node of its devices? *ret_missing (may be NULL): a device has none, so it could be any. */
bool backend_has_node(const ClaimRun *j, const char *node, bool *ret_missing);
/* For recovery: resumes watching the nodes that were handed out. */
void backend_watch_recovered(ClaimRun *j);

/* The claim is held, or its devices have changed. */
void backend_watch_removals(ClaimRun *j);

/* For the rows, as the last step: everything is open and in the grant. */
int backend_complete(ClaimRun *j);
/* For rows that open groups: do the devices still belong to them? 0, or refused. */
int backend_check_groups(ClaimRun *j);
/* For the rows: refuses because a node could not be opened. Returns negative errno. */
int backend_refuse_open(ClaimRun *j, int error, const DeviceName *name, const char *path);
/* For the rows: a program has opened the node of a group or device without vfiod. Finds out which one, and
 * feeds CLAIM_EVENT_OPEN_FAILED. */
void backend_refuse_busy(ClaimRun *j, const DeviceName *name, const char *path);

/* For the rows, when a worker opens: 0, or a negative errno with the claim's refusal set. The callback of the
 * order calls backend_finish(), whose keep() takes the fds or refuses. */
int backend_submit(ClaimRun *j, const WorkerOrder *order, worker_done_t done);
void backend_finish(ClaimRun *j, const WorkerResult *result, int *fds,
        int (*keep)(ClaimRun *j, const WorkerResult *result, int *fds));
