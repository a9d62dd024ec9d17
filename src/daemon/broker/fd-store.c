/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/fd-store.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "base/failpoint.h"
#include "base/macro.h"
#include "base/str.h"

static int notify_socket = -EBADF;

/* -EAFNOSUPPORT: not a Unix socket, which sd_notify() handles. */
static int notify_address(struct sockaddr_un *address, socklen_t *ret_size) {
    const char *path = getenv("NOTIFY_SOCKET");
    size_t n = path ? strlen(path) : 0;

    if (n == 0)
        return -ENOENT;
    if ((path[0] != '/' && path[0] != '@') || n >= sizeof(address->sun_path))
        return -EAFNOSUPPORT;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, n);
    if (path[0] == '@')
        address->sun_path[0] = '\0';
    *ret_size = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + n + (path[0] == '/'));
    return 0;
}

static int send_now(const char *text, int fd) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {};
    struct iovec data = {.iov_base = (char *) text, .iov_len = strlen(text)};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    struct sockaddr_un address;
    int r;

    r = failpoint("file", fd >= 0 ? "fd-store-add" : "fd-store-remove", "before");
    if (r >= 0)
        r = notify_address(&address, &message.msg_namelen);
    if (r < 0)
        return r;
    message.msg_name = &address;
    if (fd >= 0) {
        control.header = (struct cmsghdr){
                .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
    }
    if (notify_socket < 0)
        notify_socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (notify_socket < 0)
        return -errno;
    r = sendmsg(notify_socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
    (void) failpoint("file", fd >= 0 ? "fd-store-add" : "fd-store-remove", "after");
    return r;
}

/* These errors are temporary. All others mean that there is no systemd. */
static bool is_passing(int r) {
    return r == -EAGAIN || r == -ENOBUFS || r == -ENOMEM || r == -EMFILE || r == -ENFILE ||
            r == -ETOOMANYREFS;
}

int fd_store_add(const char *name, int fd) {
    char text[96];
    int r;

    (void) snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
    r = send_now(text, fd);
    if (is_passing(r))
        return -EAGAIN;
    if (r == -EAFNOSUPPORT)
        (void) sd_pid_notify_with_fds(0, /* unset_environment= */ 0, text, &fd, 1);
    return 0;
}

uint64_t fd_store_size(void) {
    const char *text = getenv("FDSTORE");
    uint64_t n;

    if (!text)
        return UINT64_MAX;
    return parse_unsigned(text, 10, UINT64_MAX, &n) < 0 ? 0 : n;
}

/* If systemd is busy, this waits: it happens at the end of a claim, when there is time. */
void fd_store_remove(const char *name) {
    char text[96];

    (void) snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
    if (send_now(text, -EBADF) < 0)
        (void) sd_notify(/* unset_environment= */ 0, text);
}
