/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Explains a verdict: every rule that was considered, each predicate that did not hold with what it requires
 * and what was found, the rule that decided, and the smallest change of the policy that would allow the
 * request. It uses the evaluator's own predicates, so it cannot disagree with the verdict.
 *
 * Who learns what: a stranger learns that no rule allows the request. A rule is shown to callers for whom all
 * its WHO predicates hold, and to the operator. */

#include <json-c/json.h>

#include "core/error.h"
#include "policy/policy.h"

typedef enum Audience {
    AUDIENCE_SUBJECT,  /* only rules that concern the subject of the question */
    AUDIENCE_OPERATOR, /* everything */
} Audience;

/* The one JSON shape of an explanation (Manager.Explain, vfioctl policy explain --json):
 *   {
 *     "device": "pci:0000:06:0d.0",
 *     "effect": "deny",            // of the verdict: "allow", "deny", "ask"
 *     "rule": "alice-edu",         // that decided; null: no rule matched
 *     "file": "/etc/…", "line": 7, // of that rule; null, 0
 *     "origin": "alice-edu (/etc/…:7)", // both; null
 *     "considered": [              // in their order, up to the one that decided
 *       { "rule": "…", "file": "…", "line": 3, "effect": "allow", "origin": "…",
 *         "matches": false,        // and "holds", its older name
 *         "predicates": [ { "key": "who.user", "holds": "no",  // "yes", "no", "unknown", "changed"
 *                           "wanted": "alice", "seen": "mallory (1001)" } ] } ],
 *     "leftOut": 0,                // considered, but not listed because there were too many
 *     "hidden": 12,                // rules of the policy that this audience may not see
 *     "change": "Add …"            // what would allow it, in one or two sentences; null when it is allowed
 *   }
 * NULL on ENOMEM, otherwise owned by the caller. user: the subject's name, "alice"; NULL: it is called by its
 * uid. */
struct json_object *policy_explain(
        const Policy *policy, const PolicyQuestion *question, Audience audience, const char *user);

/* Adds the rule, its place, the failed predicate and the proposed change to a refusal that follows from the
 * verdict, as far as the audience may know them. Without memory the refusal stays as it was. */
void policy_explain_refusal(
        const Policy *policy, const PolicyQuestion *question, Audience audience, Refusal *refusal);
