/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A policy tried out, on this host or on a recorded one, without a daemon and without touching anything: what
 * `vfioctl policy …` does. This header is the door: it speaks JSON and text, so that whoever shows the
 * results need not know the types inside. It prints nothing.
 *
 * Functions return 0, or a negative errno with *ret_problem: one sentence for a person, owned by the caller
 * (NULL stands for out of memory). JSON that is returned belongs to the caller. */

#include <json-c/json.h>

#include "base/macro.h"

typedef struct Rehearsal Rehearsal;

/* A file of the policy that is to be installed. */
typedef struct RehearsalFile {
    const char *directory; /* one of those that are read; it need not be there */
    const char *name, *text;
    size_t size;
} RehearsalFile;

typedef struct RehearsalConfig {
    const char *host;          /* a snapshot's file, "-": standard input, NULL: this host */
    const char *const *policy; /* files and directories (then its *.json), in order, ended by NULL; NULL: the
                                * places that vfiod reads */
    const RehearsalFile *file; /* read as if it were installed; NULL: none. Borrowed until rehearsal_free() */
} RehearsalConfig;

/* Where vfiod reads the policy, in order of precedence, ended by NULL. */
const char *const *rehearsal_directories(void);

/* Reads host and policy. A policy with errors is not a failure here: see rehearsal_check(). */
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

/* The caller, as a person describes them; what is NULL is unknown to the rules, which is shown. */
typedef struct RehearsalSubject {
    const char *user;          /* name or number; required */
    const char *const *groups; /* instead of those that the accounts of the host say; NULL: those */
    const char *unit, *cgroup, *label;
    const char *const *capabilities; /* "CAP_SYS_RAWIO" or "17"; NULL: none */
    bool foreign_namespace;
    const char *scope; /* NULL: none */
} RehearsalSubject;

/* The control group of this process, as the daemon would find it. 0, or negative errno: it is unknown. */
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
/* Which decisions change from old to new, over the devices of the host and the subjects that either policy,
 * the accounts or the test files (ended by NULL; may be NULL) name. {"decisions", "subjects",
 * "subjectsLeftOut", "changed": [{"subject", "device", "old": {"effect", "rule"}, "new": {…}, "terms":
 * ["reset: required -> optional"]}]} */
int rehearsal_diff(Rehearsal *old, Rehearsal *new, const char *const *tests, struct json_object **ret,
        char **ret_problem);
/* A starting policy for this host: text with comments, owned. claims: an array of {"uid", "devices": [names]}
 * that the daemon told of, or NULL. */
int rehearsal_generate(Rehearsal *r, struct json_object *claims, char **ret, char **ret_problem);
/* A rule to be written: this user shall have these devices. */
typedef struct RehearsalSetup {
    const char *user;           /* required */
    const char *const *devices; /* any spelling; ended by NULL */
    const char *grant;          /* that the client needs; NULL: "fd" */
    bool needs_iommufd;       /* it takes fds of an iommufd only, and opens the nodes of a group by itself */
    bool has_iommufd;         /* the kernel can load iommufd, although it does not show it yet */
    const char *memlock;      /* that the client needs; NULL: none */
    const char *const *units; /* to which the rule is narrowed, ended by NULL; NULL: it is not */
} RehearsalSetup;
/* {"file": its name in the policy's directory, "policy": text with a comment for each key that a rule can do
 * without, "devices": [names: those of the request, and functions of the same card in the same IOMMU group],
 * "added": [those of them that were not asked for], "dangers": [sentences], "grant": what the client asks
 * for, "iommufd": does the kernel have it, "claimable": can a rule help at all, "explanation": what would be
 * said of a claim of the devices with this file beside the policy of the host, as from rehearsal_explain()}.
 * Never proposes what weakens the host: a device that it needs, or without an IOMMU, is left to be refused,
 * and the refusal says why. */
int rehearsal_setup(Rehearsal *r, const RehearsalSetup *setup, struct json_object **ret, char **ret_problem);
/* The devices of a host, as the daemon lists them: {"devices": [{"name", "vendor", …, "group": number or
 * null, "slotPath", "parent", "numaNode", "iommuUnit", "acsPath": {"path", "blocker"}, "hostCritical"}],
 * "selected": [names of those that words mean]}. words: devices in any spelling, ended by NULL. */
int rehearsal_list(const char *host, const char *const *words, struct json_object **ret, char **ret_problem);
/* Records the host. policy: whose users and groups are recorded, as in RehearsalConfig. */
int rehearsal_snapshot(
        const char *const *policy, bool with_serials, struct json_object **ret, char **ret_problem);
