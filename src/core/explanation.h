/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The answer to "why": the policy's verdict for each device, and the answer of Acquire to the request as a
 * whole. Daemon and rehearsal both make it here, so that they have the same format:
 *
 *   {
 *     "effect": "deny",             // of the policy, the strictest one
 *     "subject": { "user": null, "uid": 1000 },
 *     "error": "AccessDenied",      // of Acquire; null: it would not refuse
 *     "message": "…",               // of that error, or null
 *     "obstacles": [                // the error and all further causes
 *       { "error", "device", "message", "rule", "blockers": [ { "kind", "name", "why" } ] } ],
 *     "plan": null,                 // of Acquire, unless it would refuse
 *     "devices": [ … ],             // as in policy/explain.h
 *     "claim": { "id", "state", "since", "rule" },              // question about a claim
 *     "refused": { "since", "error", "message", "policyReloaded" } // about a refusal
 *   }
 *
 * For a question about a claim, "error", "message" and "plan" are null, because its devices are claimed. */

#include "core/claim.h"
#include "policy/explain.h"

/* An earlier refusal. */
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
    const char *user; /* the subject's name; NULL: the uid is used */
    Effect effect;
    struct json_object *devices; /* owned */
    const Plan *plan;            /* NULL: refused, or not planned */
    const Refusal *refusal;      /* NULL: granted, or not planned */
    const Claim *claim;          /* NULL: the question is not about a claim */
    const PastRefusal *refused;  /* likewise */
} Explanation;

void explanation_done(Explanation *e);
/* Adds a device of the request. 0 or -ENOMEM. */
int explanation_add_device(Explanation *e, const PolicyQuestion *question);
/* The effect of several devices: deny wins over ask, and ask over allow. */
Effect effect_of_both(Effect a, Effect b);
/* Owned by the caller; NULL on ENOMEM. */
struct json_object *explanation_to_json(Explanation *e);
