/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/spawner.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

#define SPAWNER_FD 3

/* A message of one byte with one fd. */
typedef struct Letter {
    struct msghdr header;
    struct iovec data;
    char byte;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
} Letter;

static void letter_init(Letter *l) {
    *l = (Letter){.data = {.iov_len = 1}};
    l->data.iov_base = &l->byte;
    l->header = (struct msghdr){.msg_iov = &l->data,
            .msg_iovlen = 1,
            .msg_control = l->control.bytes,
            .msg_controllen = sizeof(l->control.bytes)};
}

static int send_fd(int socket, int fd) {
    struct cmsghdr *c;
    Letter l;

    letter_init(&l);
    c = CMSG_FIRSTHDR(&l.header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(int));
    return sendmsg(socket, &l.header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int spawner_request(int spawner, int socket) {
    return send_fd(spawner, socket);
}

void spawner_execute(const char *option, int socket, pid_t parent) {
    (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* the parent may have died before the line above */
    if (getppid() != parent)
        _exit(EXIT_FAILURE);
    if (socket == SPAWNER_FD) {
        if (fcntl(SPAWNER_FD, F_SETFD, 0) < 0)
            _exit(EXIT_FAILURE);
    } else if (dup2(socket, SPAWNER_FD) < 0)
        _exit(EXIT_FAILURE);
    if (close_range(SPAWNER_FD + 1, UINT_MAX, 0) < 0)
        _exit(EXIT_FAILURE);
    (void) unsetenv("NOTIFY_SOCKET");
    (void) execl("/proc/self/exe", "vfiod", option, NULL);
    _exit(EXIT_FAILURE);
}

int spawner_start(int *ret_process) {
    pid_t parent = getpid(), pid;
    int pair[2], r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    pid = fork();
    if (pid == 0)
        spawner_execute("--spawner", pair[1], parent);
    *ret_process = pid < 0 ? -1 : pidfd_open(pid, 0);
    r = *ret_process < 0 ? -errno : pair[0];
    (void) close(pair[1]);
    if (r < 0)
        (void) close(pair[0]); /* closing it ends a child */
    return r;
}

/* ---- the spawner's side ---- */

/* Receives the socket of the next worker; -EPIPE when the daemon has ended. */
static int receive_socket(void) {
    struct cmsghdr *c;
    ssize_t n;
    Letter l;
    int fd;

    letter_init(&l);
    n = recvmsg(SPAWNER_FD, &l.header, MSG_CMSG_CLOEXEC);
    if (n < 0)
        return -errno;
    c = n > 0 ? CMSG_FIRSTHDR(&l.header) : NULL;
    if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int)))
        return -EPIPE;
    memcpy(&fd, CMSG_DATA(c), sizeof(int));
    return fd;
}

/* On any failure the socket is closed, which tells the daemon. */
static int serve_one(pid_t self) {
    _cleanup_close_ int socket = receive_socket(), pidfd = -EBADF;
    pid_t pid;

    if (socket < 0)
        return socket == -EINTR ? 0 : socket;
    pid = fork();
    if (pid == 0)
        spawner_execute("--worker", socket, self);
    if (pid > 0)
        pidfd = pidfd_open(pid, 0);
    if (pidfd >= 0)
        (void) send_fd(socket, pidfd);
    return 0;
}

int spawner_main(void) {
    (void) signal(SIGINT, SIG_IGN);
    (void) signal(SIGCHLD, SIG_IGN); /* the kernel reaps workers; the daemon watches them */
    (void) prctl(PR_SET_NAME, "vfiod-spawner");
    while (serve_one(getpid()) >= 0)
        ;
    return EXIT_SUCCESS;
}
