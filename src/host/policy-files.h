/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Finds and reads the policy files: NAME.json in policy.d under /etc/vfiod, /run/vfiod and /usr/lib/vfiod; a
 * name in an earlier directory hides the same name in a later one, /dev/null masks it; all are applied in the
 * order of their names. A file that others than root may write is an error, as an unreadable one is.
 *
 * A service has credentials of systemd in a directory of its own. There vfiod.policy.NAME is the file
 * NAME.json. */

#include "policy/parse.h"

#define POLICY_DIRECTORIES "/etc/vfiod/policy.d", "/run/vfiod/policy.d", "/usr/lib/vfiod/policy.d"

/* Credentials override what packages bring, and files of the operator override them. The service is told
 * where it has them; there others may find them while it runs, if they are root. */
#define POLICY_CREDENTIALS "/run/credentials/vfiod.service"
#define POLICY_DIRECTORIES_WITH(credentials)                                                                 \
    "/etc/vfiod/policy.d", "/run/vfiod/policy.d", credentials, "/usr/lib/vfiod/policy.d"

/* Tried out beside the policy, and never deciding. */
#define POLICY_SHADOW_DIRECTORIES                                                                            \
    "/etc/vfiod/policy-shadow.d", "/run/vfiod/policy-shadow.d", "/usr/lib/vfiod/policy-shadow.d"

#define POLICY_FILES_MAX 1024U
#define POLICY_BYTES_MAX (16U * 1024 * 1024) /* of all files together */

typedef struct PolicyLoad {
    Policy *policy; /* owned; NULL when there was any error */
    char **errors;  /* owned; "FILE:LINE:COL: error: …" */
    size_t n_errors;
    char **warnings; /* owned; "FILE:LINE:COL: warning: …"; they keep nothing from loading */
    size_t n_warnings;
    size_t n_files;
    size_t n_directories; /* that are there, whatever is in them */
    uint64_t digest;      /* of the names and texts of all files: tells whether these have changed since */
    uint64_t generation;  /* the daemon's: counts the policies that it has loaded, and when it did */
    uint64_t loaded_usec; /* CLOCK_REALTIME */
} PolicyLoad;

/* What became of a file that was found. */
typedef enum PolicyFileFate {
    POLICY_FILE_READ,
    POLICY_FILE_OVERRIDDEN, /* one of the same name in an earlier directory hides it */
    POLICY_FILE_MASKED,     /* it is /dev/null: there is no file of this name */
    _POLICY_FILE_FATE_MAX,
    _POLICY_FILE_FATE_INVALID = -EINVAL,
} PolicyFileFate;
DECLARE_STRING_TABLE(policy_file_fate, PolicyFileFate); /* "read", "overridden", "masked" */

typedef struct PolicyFileInfo {
    const char *path;
    PolicyFileFate fate;
    const char *hidden_by; /* path of the file that overrides it */
    const char *text;      /* that was read; not ended by NUL within size */
    size_t size;
} PolicyFileInfo;

/* The text of a file that is not there yet, or not with this text: it is loaded as if it were. */
typedef struct PolicyStandIn {
    const char *directory; /* one of those that are read; it need not be there */
    const char *name;      /* of the file in it */
    const char *text;
    size_t size;
} PolicyStandIn;

/* Where a policy comes from when it is not for the daemon. */
typedef struct PolicySource {
    const char *const *directories; /* in order of precedence, ended by NULL */
    const char *credentials;        /* which of them has credentials of systemd; NULL: none */
    const char *const *names; /* instead: files and directories (then their *.json) that somebody named, in
                               * this order. They may belong to anybody, for a trial */
    const PolicyStandIn *stand_in; /* NULL: none */
    resolve_name_t resolve;        /* NULL: the accounts of this host */
    void *resolve_userdata;
    uint64_t now_usec; /* for warnings about time; 0: the clock of this host */
    /* Told of every file, NULL: nobody is. A negative errno ends the load. */
    int (*visit)(void *userdata, const PolicyFileInfo *info);
    void *visit_userdata;
} PolicySource;

/* A policy whose files are read, and whose accounts are still to be looked up: that may ask a server on the
 * network and hang, so the daemon does it elsewhere meanwhile. */
typedef struct PolicyLoading PolicyLoading;
PolicyLoading *policy_loading_free(PolicyLoading *l);
DEFINE_TRIVIAL_CLEANUP_FUNC(PolicyLoading *, policy_loading_free);
/* source is borrowed until the load is finished or freed. 0 or -ENOMEM. */
int policy_files_begin(const PolicySource *source, PolicyLoading **ret);
int policy_loading_foreach_account(const PolicyLoading *l, visit_account_name_t visit, void *userdata);
/* Asks source->resolve for these accounts. Once. */
int policy_files_finish(PolicyLoading *l, PolicyLoad *ret);

/* Asks the name service of this host, and waits for it. As resolve_name_t; userdata is not looked at. */
int policy_resolve_account(void *userdata, bool is_group, const char *name, uint32_t *ret);

void policy_load_done(PolicyLoad *l);
/* directories: a NULL-terminated list in order of precedence. 0 (look at policy and errors) or -ENOMEM. */
int policy_files_load(const char *const *directories, PolicyLoad *ret);
/* The same from anywhere, in an order and with accounts that the caller says. */
int policy_files_load_from(const PolicySource *source, PolicyLoad *ret);
/* What whoever asked for a load is told that found errors: PolicyBroken, with the first of them. */
int policy_load_refuse(const PolicyLoad *l, Refusal *refusal);
