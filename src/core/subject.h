/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The caller. Captured ONCE per connection from the kernel and the bus (daemon/bus/credentials.c,
 * daemon/kernel/socket-peer.c), never from what the client says, and immutable afterwards. Policy looks only
 * at this. */

#include <sys/types.h>

#include "base/macro.h"

/* A process in another user namespace has its capabilities there, and they say nothing here. One in another
 * pid namespace shows other pids to its own people than we see. */
typedef enum NamespaceKind {
    NAMESPACE_UNKNOWN,
    NAMESPACE_HOST,  /* the one that the daemon itself is in */
    NAMESPACE_OTHER, /* a container, or a sandbox */
    _NAMESPACE_KIND_MAX,
    _NAMESPACE_KIND_INVALID = -EINVAL,
} NamespaceKind;
DECLARE_STRING_TABLE(namespace_kind, NamespaceKind); /* "unknown", "host", "other" */

/* Through which of our faces it came. */
typedef enum SubjectFace {
    FACE_UNKNOWN,
    FACE_DBUS,
    FACE_VARLINK,
    _SUBJECT_FACE_MAX,
    _SUBJECT_FACE_INVALID = -EINVAL,
} SubjectFace;
DECLARE_STRING_TABLE(subject_face, SubjectFace); /* "unknown", "dbus", "varlink" */

typedef struct Subject {
    uint64_t serial; /* of this capture: what has the same is the same in all that follows; 0: has none */
    uid_t uid;       /* (uid_t) -1: unknown; matches nothing that allows */
    gid_t *gids;     /* owned; primary group first */
    size_t n_gids;
    pid_t pid;             /* 0: unknown. For display only: pids are recycled */
    int pidfd;             /* owned, -EBADF when the bus could not give one */
    char *command;         /* owned; /proc/PID/comm, hostile text, for display only; NULL: unknown */
    char *unit;            /* owned; systemd unit of the cgroup, NULL: none or unknown */
    char *cgroup;          /* owned; NULL: unknown */
    char *label;           /* owned; LSM label, NULL: none or unknown */
    uint64_t capabilities; /* effective, 1 << CAP_…; in its own user namespace */
    /* Effective, but perhaps only lent by a program that the process has executed: unknown. */
    uint64_t capabilities_unsure;
    bool capabilities_known;
    NamespaceKind user_namespace, pid_namespace;
    SubjectFace face; /* for display only */
    /* owned; of the socket that it came through, NULL: none. Known of everybody: it is what the daemon itself
     * has opened.
     */
    char *scope;
} Subject;

#define SUBJECT_NULL                                                                                         \
    (Subject) {                                                                                              \
        .uid = (uid_t) -1, .pidfd = -EBADF                                                                   \
    }

void subject_done(Subject *s);
/* Names of scopes are part of the names of sockets: 1 to 64 of [A-Za-z0-9._-], the first no dot or dash. */
#define SCOPE_NAME_MAX 64U
bool scope_name_is_valid(const char *name);
/* What policy looks at, for keeping: without pidfd and command. More groups than this are not kept, and count
 * as unknown then. 0 or -ENOMEM; *dst is untouched on failure. */
#define SUBJECT_COPY_GROUPS_MAX 4096U
int subject_copy(const Subject *s, Subject *ret);
bool subject_in_group(const Subject *s, gid_t gid);
/* Has it this capability (CAP_SYS_RAWIO) where the kernel asks for it, in the host's user namespace? 1 yes, 0
 * no, -ENODATA when that is unknown. */
int subject_has_capability(const Subject *s, unsigned capability);
/* root, the operator: may see and end every claim */
bool subject_is_operator(const Subject *s);

/* A service that offers the sockets of this host on the network (systemd's varlink-http-bridge). */
bool subject_is_bridge(const Subject *s);

#define SUBJECT_DESCRIPTION_MAX 192U
/* "alice (1000)", "uid 1000 in another user namespace", "alice (1000) through the scope ci": how errors and
 * the journal call it. Returns buf. */
const char *subject_describe(const Subject *s, char buf[static SUBJECT_DESCRIPTION_MAX]);
