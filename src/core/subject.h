/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The caller. It is captured once for each connection, from the kernel and the bus (daemon/bus/credentials.c,
 * daemon/kernel/socket-peer.c), never from what the client says, and does not change afterwards. The policy
 * uses nothing else. */

#include <sys/types.h>

#include "base/macro.h"

/* Capabilities of a process in another user namespace do not count on the host. A process in another pid
 * namespace has other pids there. */
typedef enum NamespaceKind {
    NAMESPACE_UNKNOWN,
    NAMESPACE_HOST,  /* the daemon's own */
    NAMESPACE_OTHER, /* of a container or a sandbox */
    _NAMESPACE_KIND_MAX,
    _NAMESPACE_KIND_INVALID = -EINVAL,
} NamespaceKind;
DECLARE_STRING_TABLE(namespace_kind, NamespaceKind); /* "unknown", "host", "other" */

/* The face through which the caller came. */
typedef enum SubjectFace {
    FACE_UNKNOWN,
    FACE_DBUS,
    FACE_VARLINK,
    _SUBJECT_FACE_MAX,
    _SUBJECT_FACE_INVALID = -EINVAL,
} SubjectFace;
DECLARE_STRING_TABLE(subject_face, SubjectFace); /* "unknown", "dbus", "varlink" */

typedef struct Subject {
    uint64_t serial; /* of this capture: subjects with the same serial are equal; 0: none */
    uid_t uid;       /* (uid_t) -1: unknown; matches nothing that allows */
    gid_t *gids;     /* owned; primary group first */
    size_t n_gids;
    pid_t pid;             /* 0: unknown. For display only: pids are recycled */
    int pidfd;             /* owned; -EBADF when the bus did not provide one */
    char *command;         /* owned; /proc/PID/comm, hostile text, for display only; NULL: unknown */
    char *unit;            /* owned; systemd unit of the cgroup, NULL: none or unknown */
    char *cgroup;          /* owned; NULL: unknown */
    char *label;           /* owned; LSM label, NULL: none or unknown */
    uint64_t capabilities; /* effective, 1 << CAP_…; in its own user namespace */
    /* Effective, but possibly those of a program that the process has executed since: unknown. */
    uint64_t capabilities_unsure;
    bool capabilities_known;
    NamespaceKind user_namespace, pid_namespace;
    SubjectFace face; /* for display only */
    /* owned; of the socket through which the caller came; NULL: none. It is always known, because the daemon
     * opened the socket. */
    char *scope;
} Subject;

#define SUBJECT_NULL                                                                                         \
    (Subject) {                                                                                              \
        .uid = (uid_t) -1, .pidfd = -EBADF                                                                   \
    }

void subject_done(Subject *s);
/* Scopes are part of socket names: 1 to 64 of [A-Za-z0-9._-], the first not a dot or dash. */
#define SCOPE_NAME_MAX 64U
bool scope_name_is_valid(const char *name);
/* Copies what the policy uses: no pidfd and no command. More groups than this are not copied, and are unknown
 * then. 0 or -ENOMEM; *dst is untouched on failure. */
#define SUBJECT_COPY_GROUPS_MAX 4096U
int subject_copy(const Subject *s, Subject *ret);
bool subject_in_group(const Subject *s, gid_t gid);
/* Does it have this capability in the host's user namespace, where the kernel requires it? 1, 0, or -ENODATA
 * when unknown. */
int subject_has_capability(const Subject *s, unsigned capability);
/* root: may see and end every claim */
bool subject_is_operator(const Subject *s);

/* A service that offers the sockets of this host on the network (systemd's varlink-http-bridge). */
bool subject_is_bridge(const Subject *s);

#define SUBJECT_DESCRIPTION_MAX 192U
/* "alice (1000)", "uid 1000 in another user namespace", "alice (1000) through the scope ci", for errors and
 * the journal. Returns buf. */
const char *subject_describe(const Subject *s, char buf[static SUBJECT_DESCRIPTION_MAX]);
