/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How the kernel lets devices be opened. Each kind is a row of one table, by the plan's Backend. */

#include "daemon/broker/claims.h"
#include "daemon/kernel/vfio.h"

typedef struct BackendType {
    /* Before devices are bound, and again before they are opened: the host may have moved meanwhile. NULL:
     * nothing to see to. 0, or a negative errno with the claim's refusal filled. */
    int (*prepare)(ClaimRun *j);
    /* Opens what the client gets and adds it to the grant. 1; 0: a worker does it, whose end feeds
     * CLAIM_EVENT_OPENED, OPEN_FAILED or WORKER_STUCK; or a negative errno with the claim's refusal filled.
     */
    int (*open)(ClaimRun *j);
    /* The nodes through which the devices can be open: 0; -ENOENT: there is none for this index by now, and
     * so nobody has it open; -EAGAIN: the kernel is about to end it, or has; -ERANGE: no more. */
    int (*find_node)(const ClaimRun *j, size_t index, char path[static VFIO_NODE_MAX]);
    /* What a worker does to find out whether the devices are closed, where no event tells: 0; -ERANGE: no
     * more of that; 1: nothing to be done about this one; -ENOTRECOVERABLE: nothing can; or another negative
     * errno. NULL: `enable` tells, which counts every file that is handed
     * out. */
    int (*ask_closed)(ClaimRun *j, size_t index, WorkerOrder *order);
    /* From now on the claim ends when the kernel removes a node, of which no uevent tells. NULL: uevents
     * tell. */
    void (*watch_removals)(ClaimRun *j);
    /* Nothing shows when the kernel has done what it does at the last close: it is asked then, too. */
    bool close_is_silent;
    /* Whoever has a device open is asked by the kernel to give it up then, so look for them first. */
    bool asking_disturbs;
} BackendType;

extern const BackendType backend_iommufd, backend_group, backend_noiommu, backend_vhost_vdpa, backend_compat;

int backend_prepare(ClaimRun *j);
int backend_open(ClaimRun *j);
const BackendType *backend_type(const ClaimRun *j);
/* Is it a node of its devices? *ret_missing (may be NULL): a device has none, so it could be any. */
bool backend_has_node(const ClaimRun *j, const char *node, bool *ret_missing);
/* For recovery: watches the nodes again that were handed out. */
void backend_watch_recovered(ClaimRun *j);

/* It is held, or has other devices than before. */
void backend_watch_removals(ClaimRun *j);

/* For the rows, last of all: everything is open and in the grant. */
int backend_complete(ClaimRun *j);
/* For the rows that open groups: they are still those of the devices. 0, or refused. */
int backend_check_groups(ClaimRun *j);
/* For the rows: a node could not be opened. */
int backend_refuse_open(ClaimRun *j, int error, const DeviceName *name, const char *path);
/* For the rows: a program that did not come through vfiod has the node of a group or device open. Finds out
 * which, and feeds CLAIM_EVENT_OPEN_FAILED. */
void backend_refuse_busy(ClaimRun *j, const DeviceName *name, const char *path);

/* For the rows, when a worker opens: 0, or a negative errno with the claim's refusal filled; the callback of
 * the order calls backend_finish(), whose keep() takes the fds or refuses. */
int backend_submit(ClaimRun *j, const WorkerOrder *order, worker_done_t done);
void backend_finish(ClaimRun *j, const WorkerResult *result, int *fds,
        int (*keep)(ClaimRun *j, const WorkerResult *result, int *fds));
