/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files: they leave with the reply, and the daemon closes its copies at once. It could not revoke them, and a
 * copy would defeat release detection, the reset at last close, and unbind. */

#include "daemon/broker/grant.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/fd.h"
#include "daemon/broker/claim-run.h"

int grant_add(ClaimRun *j, int *fd, const char *format, ...) {
    GrantedFd *g;
    va_list ap;

    if (j->n_fds == CLAIM_RUN_FDS_MAX)
        return -E2BIG;
    g = &j->fds[j->n_fds++];
    va_start(ap, format);
    (void) vsnprintf(g->name, sizeof(g->name), format, ap);
    va_end(ap);
    g->fd = TAKE_FD(*fd);
    return 0;
}

static void drop_fds(ClaimRun *j) {
    for (size_t i = 0; i < j->n_fds; i++)
        j->fds[i].fd = safe_close(j->fds[i].fd);
    j->n_fds = 0;
}

static void give_fds(ClaimRun *j) {
    const ClaimRun *whole = j->claim.of[0] ? claims_find(j->broker, j->claim.of) : j;
    const Grant grant = {.claim = &whole->claim, .plan = &j->claim.plan, .fds = j->fds, .n_fds = j->n_fds};

    j->granted = claim_run_answer(j, &grant, NULL);
    drop_fds(j);
    spare_prepare(j->broker->spare);
}

const GrantType grant_fd = {
        .give = give_fds,
        .drop = drop_fds,
};

const GrantType *claim_run_grant(const ClaimRun *j) {
    return &grant_fd;
}
