/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How a connection is closed. Unread data of a peer may contain files. The kernel closes them with the
 * socket, in the last process that closes it. That takes as long as the peer likes: a TCP socket lingers, a
 * device is reset. So these sockets are collected and passed to another process, and nobody waits for its
 * end. They count as open until then, so that no peer can make many of them.
 *
 * Since Linux 6.16 files can be refused (SO_PASSRIGHTS), but the peer may have sent some before that was set.
 */

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "daemon/varlink/varlink-internal.h"

#define BURY_USEC (1 * UINT64_C(1000000))

/* Nothing arrives after the shutdown, and the peer sees the end now. */
static bool has_unread(int fd) {
    char byte;

    (void) shutdown(fd, SHUT_RDWR);
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static int compare_fds(const void *a, const void *b) {
    int x = *(const int *) a, y = *(const int *) b;

    return (x > y) - (x < y);
}

/* Keeps only these fds, and ends when the daemon has closed its own: then the end of a process does not
 * linger. */
_Noreturn static void wait_and_end(int barrier, const int *fds, size_t n) {
    int keep[VARLINK_GRAVES_MAX + 1], next = 0;
    char byte;

    memcpy(keep, fds, n * sizeof(*fds));
    keep[n] = barrier;
    qsort(keep, n + 1, sizeof(*keep), compare_fds);
    for (size_t i = 0; i <= n; next = keep[i++] + 1)
        if (keep[i] > next)
            (void) close_range((unsigned) next, (unsigned) keep[i] - 1, 0);
    (void) close_range((unsigned) next, ~0U, 0);
    (void) !read(barrier, &byte, 1);
    _exit(EXIT_SUCCESS);
}

/* Its parent ends at once, so nobody has to wait for the closer. */
static int start_closer(int barrier, const int *fds, size_t n) {
    pid_t pid = fork();

    if (pid < 0)
        return -errno;
    if (pid == 0) {
        pid = fork();
        if (pid == 0)
            wait_and_end(barrier, fds, n);
        _exit(pid < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return 0;
}

static int bury(VarlinkFace *v) {
    _cleanup_close_ int barrier = -EBADF, end = -EBADF;
    int pair[2], r;

    if (pipe2(pair, O_CLOEXEC) < 0)
        return -errno;
    barrier = pair[0];
    end = pair[1];
    r = start_closer(barrier, v->graves, v->n_graves);
    if (r < 0)
        return r;
    while (v->n_graves > 0)
        (void) safe_close(v->graves[--v->n_graves]);
    return 0;
}

static void bury_later(VarlinkFace *v) {
    if (sd_event_source_set_time_relative(v->burial, BURY_USEC) < 0 ||
            sd_event_source_set_enabled(v->burial, SD_EVENT_ONESHOT) < 0)
        (void) sd_event_exit(v->context.event, -ENOMEM);
}

static int on_burial(sd_event_source *source, uint64_t usec, void *userdata) {
    VarlinkFace *v = userdata;
    int r = bury(v);

    if (r < 0)
        log_warning_errno(r, "Cannot start a process that closes connections, trying again");
    if (v->n_graves > 0)
        bury_later(v);
    return 0;
}

void varlink_face_close(VarlinkFace *v, int fd) {
    if (!has_unread(fd)) {
        (void) safe_close(fd);
        return;
    }
    if (v->n_graves == VARLINK_GRAVES_MAX && bury(v) < 0) {
        /* A moment of waiting is better than no fds for anybody. */
        (void) safe_close(fd);
        return;
    }
    if (v->n_graves == 0)
        bury_later(v);
    v->graves[v->n_graves++] = fd;
}

int varlink_face_init_closing(VarlinkFace *v) {
    int r = sd_event_add_time(v->context.event, &v->burial, CLOCK_MONOTONIC, 0, 0, on_burial, v);

    return r < 0 ? r : sd_event_source_set_enabled(v->burial, SD_EVENT_OFF);
}

/* The sockets that are left are closed when the daemon ends. */
void varlink_face_done_closing(VarlinkFace *v) {
    v->burial = sd_event_source_disable_unref(v->burial);
}
