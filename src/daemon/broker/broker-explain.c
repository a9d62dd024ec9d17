/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/broker-explain.h"

#include <stdio.h>

#include "base/json-build.h"
#include "base/str.h"
#include "core/record.h"
#include "daemon/broker/claim-run.h"

static Audience audience_of(const Subject *asker) {
    return subject_is_operator(asker) ? AUDIENCE_OPERATOR : AUDIENCE_SUBJECT;
}

/* ---- the policy, device by device ---- */

static unsigned policy_facts(const Broker *e) {
    return e->policy ? policy_needed_facts(e->policy) : 0;
}

/* plan: of the claim that has the device, or NULL. */
static Effect explain_device(Broker *e, const ExplainQuery *query, const Device *d, const Plan *plan,
        struct json_object **ret_story) {
    BrokerQuestion q;

    broker_question_init(&q, &query->inquiry->survey, policy_facts(e), query->subject, d, plan);
    *ret_story = policy_explain(e->policy, &q.question, query->audience, query->user);
    return policy_evaluate(e->policy, &q.question).effect;
}

/* The strictest of what several devices get. */
static Effect stricter(Effect a, Effect b) {
    if (a == EFFECT_DENY || b == EFFECT_DENY)
        return EFFECT_DENY;
    return a == EFFECT_ASK || b == EFFECT_ASK ? EFFECT_ASK : EFFECT_ALLOW;
}

/* Devices that are gone are left out: the refusal of the whole names them. */
static int add_devices(Broker *e, const ExplainQuery *query, const Plan *plan, struct json_object *o) {
    _cleanup_json_ struct json_object *array = json_object_new_array();
    Effect effect = query->request->n_devices > 0 ? EFFECT_ALLOW : EFFECT_DENY;

    if (!array)
        return -ENOMEM;
    for (size_t i = 0; i < query->request->n_devices; i++) {
        const Device *d = inventory_find_device(e->inventory, &query->request->devices[i]);
        struct json_object *story = NULL;

        if (!d) {
            effect = EFFECT_DENY;
            continue;
        }
        effect = stricter(effect, explain_device(e, query, d, plan, &story));
        if (!story || json_object_array_add(array, story) < 0) {
            json_object_put(story);
            return -ENOMEM;
        }
    }
    if (json_add_string(o, "effect", effect_to_string(effect)) < 0)
        return -ENOMEM;
    return json_add(o, "devices", TAKE_PTR(array));
}

static int add_subject(struct json_object *o, const ExplainQuery *query) {
    _cleanup_json_ struct json_object *subject = json_object_new_object();

    if (!subject || json_add_string(subject, "user", query->user) < 0 ||
            json_add(subject, "uid", json_object_new_int64(query->subject->uid)) < 0)
        return -ENOMEM;
    return json_add(o, "subject", TAKE_PTR(subject));
}

/* ---- the request as a whole ---- */

/* plan: NULL when it is refused. */
static int add_answer(struct json_object *o, const Plan *plan, const Refusal *refusal) {
    _cleanup_free_ char *message = NULL;

    if (plan) {
        if (json_add_string(o, "error", NULL) < 0 || json_add_string(o, "message", NULL) < 0)
            return -ENOMEM;
        return json_add(o, "plan", plan_to_json(plan));
    }
    message = (int) refusal->code >= 0 ? refusal_format(refusal) : NULL;
    if (!message || json_add_string(o, "error", error_info(refusal->code)->name) < 0 ||
            json_add_string(o, "message", message) < 0)
        return -ENOMEM;
    return json_add_string(o, "plan", NULL);
}

static int explain(Broker *e, const ExplainQuery *query, struct json_object **ret) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan plan = PLAN_NULL;
    int r;

    r = broker_inquire_for_policy(e, query->inquiry, policy_facts(e), query->request);
    if (r < 0)
        return r;
    r = broker_plan(e, query->inquiry, query->request, query->subject, &plan, &refusal);
    if (r == -EAGAIN)
        return r;
    if (!o || add_devices(e, query, /* plan= */ NULL, o) < 0 || add_subject(o, query) < 0 ||
            add_answer(o, r < 0 ? NULL : &plan, &refusal) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(o);
    return 0;
}

int broker_explain(Broker *e, const ExplainQuery *query, struct json_object **ret, Refusal *refusal) {
    int r = request_validate(query->request, refusal);

    for (size_t i = 0; r >= 0 && i < query->request->n_devices; i++)
        if (!inventory_find_device(e->inventory, &query->request->devices[i]))
            r = refuse(refusal, VFIOD_ERROR_NO_SUCH_DEVICE, &query->request->devices[i],
                    "there is no such device on this host");
    return r < 0 ? r : explain(e, query, ret);
}

/* ---- a claim ---- */

static int add_claim(struct json_object *o, const Claim *c) {
    _cleanup_json_ struct json_object *claim = json_object_new_object();

    if (!claim || json_add_string(claim, "id", c->id) < 0 ||
            json_add_string(claim, "state", claim_state_to_string(c->state)) < 0 ||
            json_add(claim, "since", json_object_new_int64((int64_t) c->since_usec)) < 0 ||
            json_add_string(claim, "rule", c->plan.rule) < 0)
        return -ENOMEM;
    return json_add(o, "claim", TAKE_PTR(claim));
}

static Request request_of(const Claim *c) {
    Request request = REQUEST_NULL;

    for (; request.n_devices < c->plan.n_claimed; request.n_devices++)
        request.devices[request.n_devices] = c->plan.members[request.n_devices].name;
    return request;
}

int broker_explain_claim(Broker *e, BrokerInquiry *inquiry, const char *id, const Subject *asker,
        struct json_object **ret, Refusal *refusal) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    const Claim *c = broker_find_claim(e, id);
    ExplainQuery query = {.audience = audience_of(asker), .inquiry = inquiry};
    Request request;
    int r;

    if (!c) {
        _cleanup_free_ char *shown = sanitize(id, CLAIM_ID_MAX);

        return refuse(
                refusal, VFIOD_ERROR_NO_SUCH_CLAIM, NULL, "there is no claim %s", shown ?: "of that id");
    }
    if (!subject_is_operator(asker) && asker->uid != c->uid)
        return refuse(refusal, VFIOD_ERROR_NOT_OWNER, NULL, "claim %s is not yours", c->id);
    request = request_of(c);
    query.request = &request;
    query.subject = &c->subject;
    r = broker_inquire_for_policy(e, inquiry, policy_facts(e), &request);
    if (r < 0)
        return r;
    if (!o || add_devices(e, &query, &c->plan, o) < 0 || add_subject(o, &query) < 0 ||
            json_add_string(o, "error", NULL) < 0 || json_add_string(o, "message", NULL) < 0 ||
            json_add_string(o, "plan", NULL) < 0 || add_claim(o, c) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(o);
    return 0;
}

/* ---- a refusal ---- */

static int add_refused(struct json_object *o, const RefusalNote *note, uint64_t policy_generation) {
    _cleanup_json_ struct json_object *refused = json_object_new_object();
    bool reloaded = note->policy_generation != policy_generation;

    if (!refused || json_add(refused, "since", json_object_new_int64((int64_t) note->when_usec)) < 0 ||
            json_add_string(refused, "error", error_info(note->code)->name) < 0 ||
            json_add_string(refused, "message", note->message) < 0 ||
            json_add(refused, "policyReloaded", json_object_new_boolean(reloaded)) < 0)
        return -ENOMEM;
    return json_add(o, "refused", TAKE_PTR(refused));
}

void broker_note_failure(Broker *e, const Claim *c) {
    Request request = request_of(c);

    request.backend = c->plan.backend;
    (void) snprintf(request.reason, sizeof(request.reason), "%s", c->reason ?: "");
    refusal_memory_keep(
            &e->refusals, &c->subject, &request, &c->refusal, c->since_usec, e->policy_generation);
}

int broker_explain_last_refusal(Broker *e, BrokerInquiry *inquiry, uid_t uid, const Subject *asker,
        struct json_object **ret, Refusal *refusal) {
    _cleanup_json_ struct json_object *o = NULL;
    ExplainQuery query = {.audience = audience_of(asker), .inquiry = inquiry};
    const RefusalNote *note;
    int r;

    if (!subject_is_operator(asker))
        uid = asker->uid;
    note = uid == (uid_t) -1 ? refusal_memory_latest(&e->refusals) : refusal_memory_find(&e->refusals, uid);
    if (!note) {
        r = refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "no refusal is remembered: since vfiod was started none happened, or others came after it");
        refusal->remedy = strdup("The journal of vfiod.service has older ones.");
        return r;
    }
    query.subject = &note->subject;
    query.request = &note->request;
    r = explain(e, &query, &o);
    if (r >= 0)
        r = add_refused(o, note, e->policy_generation);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}
