/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/sockets.h"

#include <systemd/sd-daemon.h>

#include "base/log.h"
#include "base/str.h"
#include "core/subject.h"

#define NAME "varlink"
#define NAME_READ_ONLY "varlink-read-only"
#define NAME_SCOPE "varlink-scope-"

void passed_sockets_done(PassedSockets *s) {
    for (int i = 0; i < s->n_names; i++)
        free(s->names[i]);
    free(s->names);
    free(s->sockets);
    *s = (PassedSockets){};
}

/* An unknown name must not be taken for a socket with more rights than its unit intended. */
static bool take_name(const char *name, PassedSocket *s) {
    s->scope = startswith(name, NAME_SCOPE);
    s->read_only = streq(name, NAME_READ_ONLY);
    return s->scope ? scope_name_is_valid(s->scope) : s->read_only || streq(name, NAME);
}

/* Other sockets do not identify their peers. */
static bool is_local_listener(int fd) {
    return sd_is_socket_unix(fd, SOCK_STREAM, /* listening= */ 1, NULL, 0) > 0;
}

/* Is it a file that a claim is tied to (broker/tether.h)? That is connected and does not listen. */
static bool is_kept(const char *name, int fd) {
    return startswith(name, "claim-") && sd_is_socket(fd, AF_UNIX, SOCK_STREAM, /* listening= */ 0) > 0;
}

/* The socket stays open, because its fd is one of those that systemd keeps. */
static void refuse_socket(const char *name, const char *why) {
    _cleanup_free_ char *shown = sanitize(name, 80);

    log_error("Not listening on the socket \"%s\", which %s: see SOCKETS in vfiod(8)", shown ?: "?", why);
}

int passed_sockets_find(PassedSockets *ret) {
    _cleanup_(passed_sockets_done) PassedSockets s = {};

    s.n_names = sd_listen_fds_with_names(/* unset_environment= */ 0, &s.names);
    if (s.n_names <= 0)
        return s.n_names;
    s.sockets = calloc((size_t) s.n_names, sizeof(*s.sockets));
    if (!s.sockets)
        return -ENOMEM;
    for (int i = 0; i < s.n_names; i++) {
        PassedSocket socket = {.fd = SD_LISTEN_FDS_START + i};

        if (sd_is_socket(socket.fd, AF_UNSPEC, 0, -1) <= 0 || is_kept(s.names[i], socket.fd))
            continue; /* a kept file, not a listener */
        if (!take_name(s.names[i], &socket))
            refuse_socket(s.names[i], "has an unknown FileDescriptorName=");
        else if (!is_local_listener(socket.fd))
            refuse_socket(s.names[i], "is not a local stream socket that accepts connections");
        else
            s.sockets[s.n++] = socket;
    }
    *ret = TAKE_GENERIC(s, (PassedSockets){});
    return 0;
}
