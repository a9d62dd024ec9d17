/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/group-files.h"

#include <stdio.h>

#include "base/fd.h"
#include "base/log.h"
#include "daemon/broker/claims.h"
#include "daemon/broker/fd-store.h"

#define STORE_NAME_MAX 32U
#define STORE_RETRY_USEC (10 * UINT64_C(1000))

static const char *store_name(const ClaimRun *j, char buf[static STORE_NAME_MAX]) {
    (void) snprintf(buf, STORE_NAME_MAX, GROUP_FILES_STORE_PREFIX "%s", j->claim.id);
    return buf;
}

int group_files_charge(ClaimRun *j) {
    GroupFiles *g = &j->group_files;
    int r = 0;

    while (r >= 0 && g->n_charged < j->claim.plan.n_groups) {
        r = budget_begin_claim(j->broker->config.budget, j->claim.uid, &j->claim.refusal);
        g->n_charged += r >= 0;
    }
    return r;
}

void group_files_add(ClaimRun *j, int *fd) {
    GroupFiles *g = &j->group_files;

    assert(g->n < PLAN_GROUPS_MAX);
    g->fds[g->n++] = TAKE_FD(*fd);
}

void group_files_adopted(ClaimRun *j) {
    GroupFiles *g = &j->group_files;

    for (; g->n_charged < g->n; g->n_charged++)
        budget_adopt_claim(j->broker->config.budget, j->claim.uid);
}

bool group_files_are_complete(const ClaimRun *j) {
    return j->claim.plan.backend != BACKEND_COMPAT || j->group_files.n >= j->claim.plan.n_groups;
}

static int on_store_timer(sd_event_source *s, uint64_t usec, void *userdata) {
    group_files_keep(userdata);
    return 0;
}

/* Sends all of them again: systemd does not keep the same file twice. */
void group_files_keep(ClaimRun *j) {
    GroupFiles *g = &j->group_files;
    char name[STORE_NAME_MAX];
    int r = 0;

    g->store_timer = sd_event_source_disable_unref(g->store_timer);
    for (size_t i = 0; r >= 0 && i < g->n; i++)
        r = fd_store_add(store_name(j, name), g->fds[i]);
    if (r < 0 &&
            sd_event_add_time_relative(j->broker->event, &g->store_timer, CLOCK_MONOTONIC, STORE_RETRY_USEC,
                    0, on_store_timer, j) < 0)
        log_warning("Claim %s: systemd does not keep the files of its groups", j->claim.id);
}

void group_files_order(const ClaimRun *j, WorkerOrder *order) {
    const GroupFiles *g = &j->group_files;

    order->n_fds = (uint32_t) g->n;
    for (size_t i = 0; i < g->n; i++)
        order->fds[i] = g->fds[i];
}

static void close_ours(GroupFiles *g) {
    g->store_timer = sd_event_source_disable_unref(g->store_timer);
    while (g->n > 0)
        (void) safe_close(g->fds[--g->n]);
}

/* Ours first, so that systemd closes the last copy. */
void group_files_drop(ClaimRun *j) {
    char name[STORE_NAME_MAX];

    if (j->group_files.n == 0)
        return;
    close_ours(&j->group_files);
    fd_store_remove(store_name(j, name));
}

void group_files_free(ClaimRun *j) {
    GroupFiles *g = &j->group_files;

    close_ours(g);
    for (; g->n_charged > 0; g->n_charged--)
        budget_end_claim(j->broker->config.budget, j->claim.uid);
}
