/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The sockets on which systemd listens for us. They are passed together with the fds that it keeps (see
 * fd-store.h), and are identified by name (FileDescriptorName= in their units):
 *
 *    varlink              everything that the policy allows
 *    varlink-scope-NAME   the same, for callers with this scope (who.scope)
 *    varlink-read-only    questions only */

#include "base/macro.h"

typedef struct PassedSocket {
    int fd;            /* owned by the process until a listener takes it over */
    const char *scope; /* borrowed from names; NULL: none */
    bool read_only;
} PassedSocket;

typedef struct PassedSockets {
    PassedSocket *sockets; /* owned */
    size_t n;
    char **names; /* owned; of all fds */
    int n_names;
} PassedSockets;

/* Finds our sockets, and reports those with other names or types. Call it before the kept fds are taken. 0 or
 * negative errno. */
int passed_sockets_find(PassedSockets *ret);
void passed_sockets_done(PassedSockets *s);
