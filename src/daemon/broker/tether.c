/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/tether.h"

#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/str.h"
#include "daemon/kernel/cgroup-watch.h"
#include "daemon/kernel/process.h"

const TetherType *claim_run_tether(const ClaimRun *j) {
    static const TetherType *const types[_TETHER_KIND_MAX] = {
            [TETHER_LIFELINE] = &tether_lifeline,
            [TETHER_PROCESS] = &tether_process,
            [TETHER_CONNECTION] = &tether_connection,
            [TETHER_UNIT] = &tether_unit,
            [TETHER_EXPLICIT] = &tether_explicit,
    };

    return j->claim.of[0] || j->claim.ticket[0] ? &tether_none : types[j->claim.plan.tether];
}

const char *tether_store_name(const char *id, char buf[static TETHER_STORE_NAME_MAX]) {
    (void) snprintf(buf, TETHER_STORE_NAME_MAX, LIFELINE_STORE_PREFIX "%s", id);
    return buf;
}

static bool hung_up(int fd) {
    struct pollfd p = {.fd = fd};

    return poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR | POLLNVAL);
}

/* fd is a pipe, a socket, the directory of a control group, or a pidfd. */
bool tether_fd_is_over(int fd) {
    struct stat st;

    if (fstat(fd, &st) < 0)
        return true;
    if (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode))
        return hung_up(fd);
    if (S_ISDIR(st.st_mode))
        return cgroup_is_populated(fd) == 0;
    return process_has_ended(fd);
}

bool tether_is_alive(TetherKind kind, const char *connection, int fd) {
    if (kind == TETHER_EXPLICIT || (kind == TETHER_CONNECTION && connection[0]))
        return true; /* unknown here: the bus reports the end of a connection */
    return fd >= 0 && !tether_fd_is_over(fd);
}

void tether_set_lifeline(Claim *c, const char *id) {
    put_text(c->lifeline, sizeof(c->lifeline), streq(id, c->id) ? "" : id);
}

void tether_move_back(Claim *c) {
    c->plan.tether = c->previous_tether;
    memcpy(c->connection, c->previous_connection, sizeof(c->connection));
    tether_set_lifeline(c, c->previous_lifeline);
    c->moving = false;
}
