/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Finds and reads the policy files: NAME.json in policy.d under /etc/vfiod, /run/vfiod and /usr/lib/vfiod. A
 * name in an earlier directory hides the same name in a later one, and /dev/null masks it. All files are
 * applied in the order of their names. A file that users other than root may write is an error, and so is an
 * unreadable file.
 *
 * A service has its systemd credentials in a directory of its own. There vfiod.policy.NAME is the file
 * NAME.json. */

#include "policy/parse.h"

#define POLICY_DIRECTORIES "/etc/vfiod/policy.d", "/run/vfiod/policy.d", "/usr/lib/vfiod/policy.d"

/* Credentials override files of packages, and files of the operator override credentials. systemd passes the
 * directory to the service. While the service runs, root finds the directory under this path. */
#define POLICY_CREDENTIALS "/run/credentials/vfiod.service"
#define POLICY_DIRECTORIES_WITH(credentials)                                                                 \
    "/etc/vfiod/policy.d", "/run/vfiod/policy.d", credentials, "/usr/lib/vfiod/policy.d"

/* The policy that is compared with the real one and never decides. */
#define POLICY_SHADOW_DIRECTORIES                                                                            \
    "/etc/vfiod/policy-shadow.d", "/run/vfiod/policy-shadow.d", "/usr/lib/vfiod/policy-shadow.d"

#define POLICY_FILES_MAX 1024U
#define POLICY_BYTES_MAX (16U * 1024 * 1024) /* of all files together */

typedef struct PolicyLoad {
    Policy *policy; /* owned; NULL after any error */
    char **errors;  /* owned; "FILE:LINE:COL: error: …" */
    size_t n_errors;
    char **warnings; /* owned; "FILE:LINE:COL: warning: …"; the policy is loaded all the same */
    size_t n_warnings;
    size_t n_files;
    size_t n_directories; /* the number of directories that exist, even if empty */
    uint64_t digest;      /* of the names and texts of all files: shows whether they changed */
    uint64_t generation;  /* set by the daemon: changes with each policy that it loads */
    uint64_t loaded_usec; /* CLOCK_REALTIME */
} PolicyLoad;

/* What happened to a file that was found. */
typedef enum PolicyFileFate {
    POLICY_FILE_READ,
    POLICY_FILE_OVERRIDDEN, /* one of the same name in an earlier directory hides it */
    POLICY_FILE_MASKED,     /* it is /dev/null or a link to it: no file of this name is read */
    _POLICY_FILE_FATE_MAX,
    _POLICY_FILE_FATE_INVALID = -EINVAL,
} PolicyFileFate;
DECLARE_STRING_TABLE(policy_file_fate, PolicyFileFate); /* "read", "overridden", "masked" */

typedef struct PolicyFileInfo {
    const char *path;
    PolicyFileFate fate;
    const char *hidden_by; /* the path of the file that overrides it */
    const char *text;      /* the text that was read; no NUL follows it */
    size_t size;
} PolicyFileInfo;

/* A text that replaces a file, which may not exist yet. It is loaded as if it were the file. */
typedef struct PolicyStandIn {
    const char *directory; /* one of the directories that are read; it may not exist */
    const char *name;      /* the file's name */
    const char *text;
    size_t size;
} PolicyStandIn;

/* Where a policy comes from if it is not for the daemon. */
typedef struct PolicySource {
    const char *const *directories; /* in order of precedence; NULL ends the list */
    const char *credentials;        /* the one with systemd credentials; NULL: none */
    const char *const *names; /* instead of directories: named files and directories (their *.json), in this
                               * order. They may belong to anybody, for a trial */
    const PolicyStandIn *stand_in; /* NULL: none */
    resolve_name_t resolve;        /* NULL: the accounts of this host */
    void *resolve_userdata;
    uint64_t now_usec; /* for warnings about time; 0: the clock of this host */
    /* Called for every file; may be NULL. A negative errno ends the load. */
    int (*visit)(void *userdata, const PolicyFileInfo *info);
    void *visit_userdata;
} PolicySource;

/* A policy whose files are read, but whose accounts are not looked up yet. The lookup may ask a server on the
 * network and hang, so the daemon runs it in another process. */
typedef struct PolicyLoading PolicyLoading;
PolicyLoading *policy_loading_free(PolicyLoading *l);
DEFINE_TRIVIAL_CLEANUP_FUNC(PolicyLoading *, policy_loading_free);
/* source is borrowed until the load is finished or freed. Returns 0 or -ENOMEM. */
int policy_files_begin(const PolicySource *source, PolicyLoading **ret);
int policy_loading_foreach_account(const PolicyLoading *l, visit_account_name_t visit, void *userdata);
/* Asks source->resolve for these accounts. Call it once. */
int policy_files_finish(PolicyLoading *l, PolicyLoad *ret);

/* Asks the name service of this host and waits for it. A resolve_name_t; userdata is unused. */
int policy_resolve_account(void *userdata, bool is_group, const char *name, uint32_t *ret);

void policy_load_done(PolicyLoad *l);
/* directories: in order of precedence; NULL ends the list. Returns 0 (see policy and errors) or -ENOMEM. */
int policy_files_load(const char *const *directories, PolicyLoad *ret);
/* Does the same with a source that the caller chooses. */
int policy_files_load_from(const PolicySource *source, PolicyLoad *ret);
/* The refusal for the caller of a load with errors: PolicyBroken, with the first error. */
int policy_load_refuse(const PolicyLoad *l, Refusal *refusal);
