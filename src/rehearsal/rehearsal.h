/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tries a policy out, on this host or a recorded one, without a daemon and without changing anything: the
 * implementation of `vfioctl policy …`. The interface is JSON and text, so that the caller need not know the
 * types inside. It prints nothing.
 *
 * Functions return 0, or a negative errno with *ret_problem: one sentence for a person, owned by the caller
 * (NULL means out of memory). Returned JSON belongs to the caller. */

#include <json-c/json.h>

#include "base/macro.h"

typedef struct Rehearsal Rehearsal;

/* A policy file that may be installed. */
typedef struct RehearsalFile {
    const char *directory; /* one of those that are read; it need not exist */
    const char *name, *text;
    size_t size;
} RehearsalFile;

typedef struct RehearsalConfig {
    const char *host;          /* a snapshot's file, "-": standard input, NULL: this host */
    const char *const *policy; /* files and directories (their *.json) in order, ended by NULL; NULL: where
                                * vfiod reads */
    const RehearsalFile *file; /* read as if it were installed; NULL: none. Borrowed until rehearsal_free() */
} RehearsalConfig;

/* The directories where vfiod reads the policy, in order of precedence, ended by NULL. */
const char *const *rehearsal_directories(void);

/* Reads host and policy. Errors in the policy are not a failure here: see rehearsal_check(). */
int rehearsal_new(const RehearsalConfig *config, Rehearsal **ret, char **ret_problem);
Rehearsal *rehearsal_free(Rehearsal *r);
DEFINE_TRIVIAL_CLEANUP_FUNC(Rehearsal *, rehearsal_free);

/* {"files": N, "rules": N, "digest": of the files, as the property PolicyDigest, "errors": ["FILE:LINE:COL:
 * error: …"], "warnings": ["FILE:LINE:COL: warning: …"]} */
int rehearsal_check(Rehearsal *r, struct json_object **ret, char **ret_problem);
/* {"host": {…}, "tags": [{"tag", "file", "line", "devices"}], "rules": [{"rule", "file", "line", "effect",
 * "who", "what", …as written}], "files": [{"file", "state": "read", "overridden" or "masked", "hiddenBy"}]}
 */
int rehearsal_show(Rehearsal *r, struct json_object **ret, char **ret_problem);

/* A description of the caller. A NULL member is unknown to the rules, and the explanation shows that. */
typedef struct RehearsalSubject {
    const char *user;          /* name or number; required */
    const char *const *groups; /* instead of those in the host's accounts; NULL: use those */
    const char *unit, *cgroup, *label;
    const char *const *capabilities; /* "CAP_SYS_RAWIO" or "17"; NULL: none */
    bool foreign_namespace;
    const char *scope; /* NULL: none */
} RehearsalSubject;

/* The control group of this process, as the daemon would find it, owned by the caller. 0 or negative
 * errno. */
int rehearsal_own_cgroup(char **ret);

typedef struct RehearsalRequest {
    const char *const *devices;                              /* any spelling; ended by NULL */
    const char *backend, *reason, *memlock, *grant, *tether; /* NULL: not given */
    const char *require, *network;                           /* likewise */
    bool untainted;
} RehearsalRequest;

/* {"effect", "subject": {"user", "uid"}, "error": null or the name of the refusal that Acquire would give,
 * "message", "devices": [explanations as policy/explain.h has them], "plan": … or null} */
int rehearsal_explain(Rehearsal *r, const RehearsalSubject *subject, const RehearsalRequest *request,
        struct json_object **ret, char **ret_problem);
/* Runs the cases of a test file, see vfiod-policy-test(5). {"passed", "failed", "errors": of the file or of
 * the policy (no case has run then), "cases": [{"name", "line", "passed", "expected": {"effect", "rule",
 * "error"}, "got": the same or null, "rule": origin, "message"}]}; rule and error only where the case asks
 * for them. */
int rehearsal_test(Rehearsal *r, const char *file, struct json_object **ret, char **ret_problem);
/* Which decisions change from old to new: for all devices of the host, and for all subjects that either
 * policy, the accounts or the test files (ended by NULL; may be NULL) name. {"decisions", "subjects",
 * "subjectsLeftOut", "changed": [{"subject", "device", "old": {"effect", "rule"}, "new": {…}, "terms":
 * ["reset: required -> optional"]}]}. for_people: "subject" has users and groups by name with the number. */
int rehearsal_diff(Rehearsal *old, Rehearsal *new, const char *const *tests, bool for_people,
        struct json_object **ret, char **ret_problem);
/* A first policy for this host: text with comments, owned by the caller. claims: an array of {"uid",
 * "devices": [names]} from the daemon, or NULL. */
int rehearsal_generate(Rehearsal *r, struct json_object *claims, char **ret, char **ret_problem);
/* A rule to write: this user gets these devices. */
typedef struct RehearsalSetup {
    const char *user;           /* required */
    const char *const *devices; /* any spelling; ended by NULL */
    const char *grant;          /* the grant that the client needs; NULL: "fd" */
    bool needs_iommufd;         /* it takes only fds of an iommufd; without iommufd it opens the group's node
                                 * itself */
    bool has_iommufd;           /* the kernel can load iommufd, although it is not visible yet */
    const char *memlock;        /* that the client needs; NULL: none */
    const char *const *units;   /* the rule matches these units only, ended by NULL; NULL: any */
} RehearsalSetup;
/* {"file": its name in the policy's directory, "policy": text with a comment for each optional key,
 * "devices": [names: those of the request, and functions of the same card in the same IOMMU group], "added":
 * [those of them that were not requested], "dangers": [sentences], "grant": what the client requests,
 * "iommufd": whether the kernel has it, "claimable": whether a rule can help, "explanation": that of a claim
 * of the devices with this file added to the policy of the host, as from rehearsal_explain()}. It never
 * proposes what weakens the host: a device that the host needs, or without an IOMMU, stays refused, and the
 * refusal says why. */
int rehearsal_setup(Rehearsal *r, const RehearsalSetup *setup, struct json_object **ret, char **ret_problem);
/* The devices of a host, as the daemon lists them: {"devices": [{"name", "vendor", …, "group": number or
 * null, "slotPath", "parent", "numaNode", "iommuUnit", "acsPath": {"path", "blocker"}, "hostCritical"}],
 * "selected": [names of the devices in words]}. words: devices in any spelling, ended by NULL. */
int rehearsal_list(const char *host, const char *const *words, struct json_object **ret, char **ret_problem);
/* Records the host. policy: the users and groups that it names are recorded; as in RehearsalConfig. */
int rehearsal_snapshot(
        const char *const *policy, bool with_serials, struct json_object **ret, char **ret_problem);
