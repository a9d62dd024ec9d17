/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one answer to "why": what the policy says of each device, and what Acquire would say of the request as
 * a whole. The daemon and the rehearsal fill it alike, so that both have the same shape:
 *
 *   {
 *     "effect": "deny",             // of the policy, the strictest of all devices
 *     "subject": { "user": null, "uid": 1000 },
 *     "error": "AccessDenied",      // that Acquire would give as a whole; null: it would not refuse
 *     "message": "…",               // with it, or null
 *     "obstacles": [                // the error, and what else stands in the way: all that there is
 *       { "error", "device", "message", "rule", "blockers": [ { "kind", "name", "why" } ] } ],
 *     "plan": null,                 // what Acquire would do, where it would not refuse
 *     "devices": [ … ],             // as policy/explain.h has them
 *     "claim": { "id", "state", "since", "rule" },              // of a claim: the rule that was recorded
 *     "refused": { "since", "error", "message", "policyReloaded" } // of a refusal: what was said then
 *   }
 *
 * Of a claim "error", "message" and "plan" are null: that its devices are claimed is no news. */

#include "core/claim.h"
#include "policy/explain.h"

/* A refusal of before. */
typedef struct PastRefusal {
    VfiodError code;
    const char *message;
    uint64_t when_usec;
    bool policy_reloaded;
} PastRefusal;

typedef struct Explanation {
    const Policy *policy;
    Audience audience;
    const Subject *subject;
    const char *user; /* how to call the subject; NULL: by its uid */
    Effect effect;
    struct json_object *devices; /* owned */
    const Plan *plan;            /* NULL: it is refused, or not asked */
    const Refusal *refusal;      /* NULL: it is granted, or not asked */
    const Claim *claim;          /* NULL: not about one */
    const PastRefusal *refused;  /* likewise */
} Explanation;

void explanation_done(Explanation *e);
/* question: about one more device of the request. -ENOMEM. */
int explanation_add_device(Explanation *e, const PolicyQuestion *question);
/* Of a request with several devices: deny wins over ask, and ask over allow. */
Effect effect_of_both(Effect a, Effect b);
/* NULL on ENOMEM. */
struct json_object *explanation_to_json(Explanation *e);
