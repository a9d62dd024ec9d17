/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The sockets that the service manager listens on for us. They come together with the fds that it keeps (see
 * fd-store.h), and are known by their names (FileDescriptorName= in their units):
 *
 *   varlink              everything, decided by the policy
 *   varlink-scope-NAME   likewise, for callers that have this scope (who.scope)
 *   varlink-read-only    questions only */

#include "base/macro.h"

typedef struct PassedSocket {
    int fd;            /* owned by the process; taken over by who listens on it */
    const char *scope; /* borrowed from the names; NULL: none */
    bool read_only;
} PassedSocket;

typedef struct PassedSockets {
    PassedSocket *sockets; /* owned */
    size_t n;
    char **names; /* owned; of all fds */
    int n_names;
} PassedSockets;

/* Passes over sockets of other names or kinds, and reports them. To be called before the kept fds are taken
 * back. 0 or negative errno. */
int passed_sockets_find(PassedSockets *ret);
void passed_sockets_done(PassedSockets *s);
