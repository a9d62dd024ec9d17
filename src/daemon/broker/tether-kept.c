/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tethers besides a lifeline: a process, a control group, a connection. The kernel reports the end of each
 * through a file, which is in systemd's fd store like a lifeline: a pidfd, the directory of the group, the
 * socket. Only bus connections have none: see bus-names.h.
 *
 * From a message only the number of a process is used, and it is checked. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/user-name.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/fd-store.h"
#include "daemon/broker/tether.h"
#include "daemon/kernel/process.h"

#define STORE_RETRY_USEC (10 * UINT64_C(1000))

struct Kept {
    ClaimRun *claim;
    int fd; /* owned */
    sd_event_source *source;
    CgroupEntry *group;
    bool stored;
    sd_event_source *store_timer; /* enabled while systemd is too busy to take it */
};

static void free_kept(ClaimRun *j) {
    Kept *k = TAKE_PTR(j->kept);

    if (!k)
        return;
    k->store_timer = sd_event_source_disable_unref(k->store_timer);
    sd_event_source_disable_unref(k->source);
    k->group = cgroup_entry_free(k->group);
    (void) safe_close(k->fd);
    free(k);
}

/* Takes ownership of fd on success. */
static int make_kept(ClaimRun *j, int fd) {
    assert(!j->kept);
    j->kept = malloc(sizeof(*j->kept));
    if (!j->kept)
        return -ENOMEM;
    *j->kept = (Kept){.claim = j, .fd = fd};
    return 0;
}

/* ---- The end ---- */

/* The claim may continue until its devices are closed. The socket is closed now: whoever has it last would
 * have to close the files that were sent over it. */
static int on_end(sd_event_source *s, int fd, uint32_t events, void *userdata) {
    Kept *k = userdata;

    k->source = sd_event_source_disable_unref(k->source);
    k->fd = safe_close(k->fd);
    claim_run_feed(k->claim, CLAIM_EVENT_RELEASE);
    return 0;
}

static void on_emptied(void *userdata) {
    Kept *k = userdata;

    claim_run_feed(k->claim, CLAIM_EVENT_RELEASE);
}

/* The hang-up of a socket is reported without being requested. */
static int watch_file(ClaimRun *j, uint32_t events) {
    Kept *k = j->kept;
    int r;

    r = sd_event_add_io(j->broker->event, &k->source, k->fd, events, on_end, k);
    if (r >= 0) /* before any request, like a lifeline */
        r = sd_event_source_set_priority(k->source, SD_EVENT_PRIORITY_IMPORTANT);
    return r;
}

static int watch(ClaimRun *j) {
    Kept *k = j->kept;

    if (j->claim.plan.tether == TETHER_UNIT)
        return cgroup_watch_add(j->broker->groups_of_processes, k->fd, on_emptied, k, &k->group);
    return watch_file(j, j->claim.plan.tether == TETHER_PROCESS ? EPOLLIN : 0);
}

/* Takes ownership of *fd in any case. */
static int begin(ClaimRun *j, int *fd, Refusal *refusal) {
    int r;

    r = make_kept(j, *fd);
    if (r >= 0) {
        (void) TAKE_FD(*fd);
        r = watch(j);
    }
    if (r >= 0)
        return 0;
    free_kept(j);
    return refuse(
            refusal, VFIOD_ERROR_INTERNAL, NULL, "cannot watch what the claim is tied to: %s", strerror(-r));
}

/* ---- In the fd store ---- */

/* Claims with the same socket have it in the store once, because systemd does not keep the same file twice. A
 * claim whose socket is not there yet, because systemd was busy, does not count: it may end before its next
 * try. */
static bool is_shared(const ClaimRun *j) {
    for (const ClaimRun *other = j->broker->claims; other; other = other->next)
        if (other != j && other->kept && other->kept->stored && !other->kept->store_timer &&
                streq(claim_lifeline(&other->claim), claim_lifeline(&j->claim)))
            return true;
    return false;
}

static int on_store_timer(sd_event_source *s, uint64_t usec, void *userdata);

static int keep(ClaimRun *j) {
    char name[TETHER_STORE_NAME_MAX];
    Kept *k = j->kept;

    k->store_timer = sd_event_source_disable_unref(k->store_timer);
    if (k->fd < 0) /* it has ended */
        return 0;
    if (is_shared(j)) {
        k->stored = true;
        return 0;
    }
    k->stored = true;
    if (fd_store_add(tether_store_name(claim_lifeline(&j->claim), name), k->fd) >= 0)
        return 0;
    if (sd_event_add_time_relative(j->broker->event, &k->store_timer, CLOCK_MONOTONIC, STORE_RETRY_USEC, 0,
                on_store_timer, k) < 0)
        log_warning("Claim %s: systemd does not keep what it is tied to", j->claim.id);
    return -EAGAIN;
}

static int on_store_timer(sd_event_source *s, uint64_t usec, void *userdata) {
    Kept *k = userdata;

    (void) keep(k->claim);
    return 0;
}

static void forget(ClaimRun *j) {
    char name[TETHER_STORE_NAME_MAX];
    Kept *k = j->kept;

    if (!k)
        return;
    k->store_timer = sd_event_source_disable_unref(k->store_timer);
    if (k->stored && !is_shared(j))
        fd_store_remove(tether_store_name(claim_lifeline(&j->claim), name));
    k->stored = false;
}

static void end(ClaimRun *j, bool record_left) {
}

static int adopt(ClaimRun *j, int fd) {
    int r;

    if (fd < 0)
        return -EBADF;
    r = make_kept(j, fd);
    if (r < 0)
        return r;
    r = watch(j);
    if (r < 0) {
        j->kept->fd = -EBADF; /* the caller's */
        free_kept(j);
        return r;
    }
    j->kept->stored = true;
    return 0;
}

static int tie(ClaimRun *j) {
    return 0;
}

/* ---- A process ---- */

static int refuse_tether(Refusal *refusal, const char *remedy, const char *reason) {
    int r = refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "%s", reason);

    refusal->remedy = strdup(remedy);
    return r;
}

/* Suggests another tether that this caller can have, by the rule and by what is known of the caller. */
static char *advise_another(const ClaimRun *j, const TetherHolder *h) {
    unsigned others = j->claim.plan.tethers & ~(1U << j->claim.plan.tether);
    _cleanup_free_ char *advice = NULL;

    if (h->subject->pidfd < 0)
        others &= ~(1U << TETHER_PROCESS | 1U << TETHER_UNIT);
    if (!h->subject->cgroup)
        others &= ~(1U << TETHER_UNIT);
    if (!h->bus_name && h->socket < 0)
        others &= ~(1U << TETHER_CONNECTION);
    advice = tether_advice(others, subject_is_operator(h->subject), "");
    return advice && *advice ? TAKE_PTR(advice) : strdup("The rule allows no other tether that would work.");
}

static int refuse_for_another(
        const ClaimRun *j, const TetherHolder *h, Refusal *refusal, const char *reason) {
    _cleanup_free_ char *advice = advise_another(j, h);

    return refuse_tether(refusal, advice ?: "Request another tether.", reason);
}

static int refuse_process(const ClaimRun *j, const TetherHolder *h, int error, uid_t uid, Refusal *refusal) {
    int r;

    if (error == -EOPNOTSUPP)
        return refuse_tether(refusal, "Leave \"pidfdId\" out.", "pidfds have no ids on this kernel");
    if (h->pid == 0)
        return refuse_for_another(j, h, refusal,
                error == -EACCES ? "the caller's process also runs as another user"
                                 : "the caller's process is unknown");
    if (error == -EACCES)
        r = refuse(refusal, VFIOD_ERROR_ACCESS_DENIED, NULL, "process %d does not run as %s alone",
                (int) h->pid, USER_TEXT(uid));
    else
        r = refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "there is no process %d%s", (int) h->pid,
                h->pidfd_id != 0 ? " with that pidfdId" : "");
    refusal->remedy = strdup("Name a running process of the claim's user.");
    return r;
}

/* In another pid namespace a pid means another process. */
static int check_number(const TetherHolder *h, Refusal *refusal) {
    if (h->pid == 0 || h->subject->pid_namespace == NAMESPACE_HOST)
        return 0;
    return refuse_tether(refusal, "Let the process itself ask.",
            "the option \"pid\" is for callers in the pid namespace of vfiod");
}

/* Root can make a claim depend on any process: libvirt of the system runs QEMU as another user. */
static int find_process(ClaimRun *j, const TetherHolder *h, Refusal *refusal) {
    _cleanup_close_ int fd = -EBADF;
    uid_t uid = h->pid == 0 ? h->subject->uid : j->claim.uid;
    int r;

    r = check_number(h, refusal);
    if (r < 0)
        return r;
    if (h->pid != 0)
        r = process_open(h->pid, h->pidfd_id, &fd);
    else
        r = h->subject->pidfd >= 0 ? process_open_again(h->subject->pidfd, &fd) : -ESRCH;
    if (r >= 0 && (h->pid == 0 || uid != 0))
        r = process_check_user(fd, uid);
    return r < 0 ? refuse_process(j, h, r, uid, refusal) : begin(j, &fd, refusal);
}

int tether_control_group(const ClaimRun *j, char **ret) {
    if (j->claim.plan.tether != TETHER_PROCESS || !j->kept || j->kept->fd < 0)
        return -ENODATA;
    return process_control_group(j->kept->fd, ret);
}

const TetherType tether_process = {
        .find = find_process,
        .tie = tie,
        .keep = keep,
        .adopt = adopt,
        .forget = forget,
        .end = end,
        .free = free_kept,
};

/* ---- A control group ---- */

/* If the caller is in the group of this path while the opened directory is that of a living group, both are
 * the same group: a removed group never has processes again. */
static int open_group(const Subject *s, int *ret) {
    _cleanup_free_ char *path = NULL;
    _cleanup_close_ int fd = -EBADF;
    int r;

    if (!s->cgroup || s->pidfd < 0)
        return -ENODATA;
    r = cgroup_open(s->cgroup, &fd);
    if (r >= 0)
        r = process_control_group(s->pidfd, &path);
    if (r < 0)
        return r;
    if (!streq(path, s->cgroup) || cgroup_is_populated(fd) != 1)
        return -ESTALE;
    *ret = TAKE_FD(fd);
    return 0;
}

static int find_group(ClaimRun *j, const TetherHolder *h, Refusal *refusal) {
    _cleanup_close_ int fd = -EBADF;
    int r = open_group(h->subject, &fd);

    if (r >= 0)
        return begin(j, &fd, refusal);
    return refuse_for_another(j, h, refusal,
            r == -EOPNOTSUPP       ? "the kernel reports no end of the caller's control group"
                    : r == -ESTALE ? "the caller has left its control group since it connected"
                                   : "the caller's control group is unknown");
}

const TetherType tether_unit = {
        .find = find_group,
        .tie = tie,
        .keep = keep,
        .adopt = adopt,
        .forget = forget,
        .end = end,
        .free = free_kept,
};

/* ---- A connection ---- */

bool tether_is_on_socket(const ClaimRun *j, int fd) {
    struct stat ours, other;

    return j->kept && j->claim.plan.tether == TETHER_CONNECTION && fd >= 0 && fstat(fd, &ours) >= 0 &&
            fstat(j->kept->fd, &other) >= 0 && ours.st_dev == other.st_dev && ours.st_ino == other.st_ino;
}

static const char *find_same_socket(ClaimRun *j, int fd) {
    for (ClaimRun *other = j->broker->claims; other; other = other->next)
        if (other != j && tether_is_on_socket(other, fd))
            return claim_lifeline(&other->claim);
    return NULL;
}

static int find_socket(ClaimRun *j, const TetherHolder *h, Refusal *refusal) {
    _cleanup_close_ int fd = fcntl(h->socket, F_DUPFD_CLOEXEC, 3);
    const char *shared;

    if (fd < 0)
        return refuse(refusal, VFIOD_ERROR_INTERNAL, NULL, "cannot keep the connection: %s", strerror(errno));
    shared = find_same_socket(j, fd);
    if (shared)
        (void) snprintf(j->claim.lifeline, sizeof(j->claim.lifeline), "%s", shared);
    return begin(j, &fd, refusal);
}

static int find_connection(ClaimRun *j, const TetherHolder *h, Refusal *refusal) {
    if (h->bus_name)
        return bus_names_watch(j->broker->names, h->bus_name, j->claim.uid, j->claim.connection, refusal);
    if (h->socket >= 0)
        return find_socket(j, h, refusal);
    return refuse_for_another(j, h, refusal, "the caller has no connection that could end");
}

static int keep_connection(ClaimRun *j) {
    return j->kept ? keep(j) : 0;
}

/* Nobody serves the connection any more: what was read of it was lost with the last process. The client is
 * told when it calls again, and the claim lives until the client closes the connection. */
static int adopt_socket(ClaimRun *j, int fd) {
    int r = adopt(j, fd);

    if (r >= 0)
        (void) shutdown(fd, SHUT_RD);
    return r;
}

static int adopt_connection(ClaimRun *j, int fd) {
    if (!j->claim.connection[0])
        return adopt_socket(j, fd);
    return bus_names_resume(j->broker->names, j->claim.connection, j->claim.uid);
}

static void free_connection(ClaimRun *j) {
    free_kept(j);
    if (j->claim.connection[0])
        bus_names_unwatch(j->broker->names, j->claim.connection);
    j->claim.connection[0] = '\0';
}

const TetherType tether_connection = {
        .find = find_connection,
        .tie = tie,
        .keep = keep_connection,
        .adopt = adopt_connection,
        .forget = forget,
        .end = end,
        .free = free_connection,
};

/* Each claim is fed once: it does not match again, and its state changes. */
void tether_connection_gone(Broker *e, const char *connection) {
    ClaimRun *j = e->claims;

    while (j) {
        if (j->connection_gone || !streq(j->claim.connection, connection)) {
            j = j->next;
            continue;
        }
        j->connection_gone = true;
        claim_run_feed(j, CLAIM_EVENT_RELEASE);
        j = e->claims; /* from the beginning, because claims may have been freed */
    }
}
