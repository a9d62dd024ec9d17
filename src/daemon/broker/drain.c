/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/drain.h"

#include "base/log.h"
#include "daemon/broker/claim-run.h"
#include "daemon/kernel/holders.h"
#include "host/sysfs.h"

#define RECHECK_FIRST_USEC (5 * UINT64_C(1000))
#define RECHECK_LAST_USEC (1000 * UINT64_C(1000))

static void on_node_changed(void *userdata) {
    ClaimRun *j = userdata;

    /* Before that, a holder of the claim may open and close as it likes. */
    if (j->claim.state == CLAIM_DRAINING && drain_is_closed(j))
        claim_run_feed(j, CLAIM_EVENT_CLOSED);
}

int drain_watch(ClaimRun *j, const char *path, bool uncertain) {
    int r;

    assert(j->n_nodes < ELEMENTSOF(j->nodes));
    r = node_watch_add(j->broker->nodes, path, uncertain, on_node_changed, j, &j->nodes[j->n_nodes]);
    if (r >= 0)
        j->n_nodes++;
    return r;
}

void drain_settle(ClaimRun *j, size_t index) {
    node_watch_settle(j->broker->nodes, j->nodes[index]);
}

void drain_unwatch(ClaimRun *j) {
    for (size_t i = 0; i < j->n_nodes; i++)
        j->nodes[i] = node_entry_free(j->nodes[i]);
    j->n_nodes = 0;
    j->recheck = sd_event_source_disable_unref(j->recheck);
}

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
        long count;

        /* A host driver has enabled it: a claim that was recovered before its device was moved, or an admin.
         */
        if (!d || (d->driver && d->vfio_index < 0))
            continue;
        count = sysfs_read_enable_count(&m->name);
        if (count > m->enable_baseline || (count < 0 && count != -ENODEV))
            return true; /* an unknown count is no proof of a close */
    }
    return false;
}

bool drain_is_closed(ClaimRun *j) {
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
void drain_watch_recovered(ClaimRun *j, const char *path) {
    int r = drain_watch(j, path, /* uncertain= */ true);

    if (r < 0 && r != -ENOENT)
        j->blind = true;
}
