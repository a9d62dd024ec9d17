/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uids and gids are the kernel's, whatever a user namespace shows to the peer. The pid is 0 when the peer is
 * in a pid namespace that we cannot see.
 *
 * Linux 6.5 and later keep a reference to the process (SO_PEERPIDFD). Before, there is only its pid, which
 * may have been reused: the process must then have started before the connection was accepted, as on a bus
 * that does not provide a pidfd. */

#include "daemon/kernel/socket-peer.h"

#include <sys/socket.h>

#include "base/fd.h"
#include "base/str.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* include/uapi/asm-generic/socket.h */
#endif

/* In bytes. The kernel allows 65536 groups; labels are short. */
#define GROUPS_SIZE_MAX (65536U * sizeof(gid_t))
#define LABEL_SIZE_MAX 4096U

/* Reads an option of unknown size: the kernel reports the size when the buffer is too small. The value does
 * not change, so the second try fits. */
static int get_option(int fd, int option, size_t size_max, void **ret, size_t *ret_size) {
    _cleanup_free_ void *data = NULL;
    socklen_t size = 256;

    for (unsigned n_tries = 0; n_tries < 2; n_tries++) {
        free(data);
        data = malloc(size);
        if (!data)
            return -ENOMEM;
        if (getsockopt(fd, SOL_SOCKET, option, data, &size) >= 0) {
            *ret = TAKE_PTR(data);
            *ret_size = size;
            return 0;
        }
        if (errno != ERANGE)
            return -errno;
        if (size > size_max)
            return -E2BIG;
    }
    return -ERANGE;
}

/* The primary group comes first; the kernel may or may not have it among the others. */
static int take_groups(int fd, gid_t primary, Subject *s) {
    _cleanup_free_ void *groups = NULL;
    size_t size = 0;
    int r;

    r = get_option(fd, SO_PEERGROUPS, GROUPS_SIZE_MAX, &groups, &size);
    if (r < 0)
        return r;
    s->gids = malloc(sizeof(gid_t) + size);
    if (!s->gids)
        return -ENOMEM;
    s->gids[0] = primary;
    memcpy(s->gids + 1, groups, size);
    s->n_gids = 1 + size / sizeof(gid_t);
    return 0;
}

/* There is no label without a security module that labels sockets. */
static int take_label(int fd, Subject *s) {
    _cleanup_free_ void *label = NULL;
    size_t size = 0;
    int r;

    r = get_option(fd, SO_PEERSEC, LABEL_SIZE_MAX, &label, &size);
    if (r < 0)
        return r == -ENOMEM ? r : 0;
    s->label = strndup(label, size);
    return s->label ? 0 : -ENOMEM;
}

/* False when the process no longer exists. */
static bool pin_process(int fd, Subject *s) {
    int pidfd = -EBADF;
    socklen_t size = sizeof(pidfd);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) < 0)
        return errno == ENOPROTOOPT; /* kernels before 6.5 do not support it */
    s->pidfd = pidfd;
    return true;
}

int socket_peer_credentials(int fd, struct ucred *ret) {
    struct ucred peer;
    socklen_t size = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return -errno;
    if (peer.uid == (uid_t) -1)
        return -ENODATA;
    *ret = peer;
    return 0;
}

int peer_subject_from_socket(ProcessReader *reader, int fd, const struct ucred *peer, uint64_t accepted_usec,
        const char *scope, Subject *ret) {
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    int r;

    s.uid = peer->uid;
    s.face = FACE_VARLINK;
    r = take_groups(fd, peer->gid, &s);
    if (r >= 0)
        r = take_label(fd, &s);
    if (r >= 0)
        r = free_and_strdup(&s.scope, scope);
    if (r < 0)
        return r;
    if (peer->pid > 0 && pin_process(fd, &s)) {
        s.pid = peer->pid;
        process_reader_read(reader, &s, accepted_usec);
    }
    s.serial = process_reader_next_serial();
    *ret = TAKE_GENERIC(s, SUBJECT_NULL);
    return 0;
}
