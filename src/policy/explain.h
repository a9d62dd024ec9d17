/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Why a policy said what it said, told so that it teaches: every rule that was considered, each predicate
 * that did not hold with what was wanted and what was seen, the rule that decided, and the smallest change
 * that would turn a no into a yes. It uses the evaluator's own predicates, so it cannot tell another story
 * than the verdict.
 *
 * Who may hear what: a stranger learns that the default denied it. A rule is shown to those whom its WHO
 * predicates all fit, and every rule to the operator. */

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
 *     "rule": "alice-edu",         // that decided; null: none matched, the default denied
 *     "file": "/etc/…", "line": 7, // of that rule; null, 0
 *     "origin": "alice-edu (/etc/…:7)", // both; null
 *     "considered": [              // in the order in which they were tried, up to the one that decided
 *       { "rule": "…", "file": "…", "line": 3, "effect": "allow", "origin": "…",
 *         "matches": false,        // and "holds", its older name
 *         "predicates": [ { "key": "who.user", "holds": "no",  // "yes", "no", "unknown", "changed"
 *                           "wanted": "alice", "seen": "mallory (1001)" } ] } ],
 *     "leftOut": 0,                // considered, but not listed because there were too many
 *     "hidden": 12,                // rules of the policy that this audience may not see
 *     "change": "Add …"            // one or two sentences: what would make it a yes; null when it is one
 *   }
 * NULL on ENOMEM. user: how to call the subject, "alice"; NULL: by its uid. */
struct json_object *policy_explain(
        const Policy *policy, const PolicyQuestion *question, Audience audience, const char *user);

/* Puts the rule, its place, the predicate that failed and the change into a refusal that was made because of
 * the verdict, as far as the audience may know. Without memory the refusal stays as it was: still a refusal.
 */
void policy_explain_refusal(
        const Policy *policy, const PolicyQuestion *question, Audience audience, Refusal *refusal);
