/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/broker-explain.h"

#include <stdio.h>

#include "base/str.h"
#include "core/explanation.h"
#include "daemon/broker/claim-run.h"

static Audience audience_of(const Subject *asker) {
    return subject_is_operator(asker) ? AUDIENCE_OPERATOR : AUDIENCE_SUBJECT;
}

static unsigned policy_facts(const Broker *e) {
    return e->policy ? policy_needed_facts(e->policy) : 0;
}

static Explanation explanation_of(const Broker *e, const ExplainQuery *query) {
    return (Explanation){
            .policy = e->policy,
            .audience = query->audience,
            .subject = query->subject,
            .user = query->user,
            .effect = EFFECT_DENY,
    };
}

/* plan: that of the claim that has the devices, or NULL. Devices that have disappeared are left out: the
 * refusal of the request names them. */
static int add_devices(Broker *e, const ExplainQuery *query, const Plan *plan, Explanation *ret) {
    bool gone = false;
    int r = 0;

    for (size_t i = 0; i < query->request->n_devices && r >= 0; i++) {
        Device template;
        const Device *d = broker_find_asked(e, &query->request->devices[i], &template);
        BrokerQuestion q;

        gone = gone || !d;
        if (!d)
            continue;
        broker_question_init(&q, &query->inquiry->survey, policy_facts(e), query->subject, d, plan);
        r = explanation_add_device(ret, &q.question);
    }
    if (gone)
        ret->effect = EFFECT_DENY;
    return r;
}

/* past: an earlier refusal that is explained, or NULL. */
static int explain(Broker *e, const ExplainQuery *query, const PastRefusal *past, struct json_object **ret) {
    _cleanup_(explanation_done) Explanation explanation = explanation_of(e, query);
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan plan = PLAN_NULL;
    struct json_object *o;
    int r;

    r = broker_inquire_for_policy(e, query->inquiry, policy_facts(e), query->request);
    if (r < 0)
        return r;
    query->inquiry->all_obstacles = true;
    query->inquiry->beyond_policy = query->audience == AUDIENCE_OPERATOR;
    r = broker_plan(e, query->inquiry, query->request, query->subject, &plan, &refusal);
    if (r == -EAGAIN)
        return r;
    if (r < 0 && (int) refusal.code < 0)
        return -ENOMEM;
    explanation.plan = r < 0 ? NULL : &plan;
    explanation.refusal = r < 0 ? &refusal : NULL;
    explanation.refused = past;
    r = add_devices(e, query, /* plan= */ NULL, &explanation);
    o = r < 0 ? NULL : explanation_to_json(&explanation);
    if (!o)
        return -ENOMEM;
    *ret = o;
    return 0;
}

int broker_explain(Broker *e, const ExplainQuery *query, struct json_object **ret, Refusal *refusal) {
    int r = request_validate(query->request, refusal);

    Device template;

    for (size_t i = 0; r >= 0 && i < query->request->n_devices; i++)
        if (!broker_find_asked(e, &query->request->devices[i], &template))
            r = refuse(refusal, VFIOD_ERROR_NO_SUCH_DEVICE, &query->request->devices[i],
                    "there is no such device on this host");
    return r < 0 ? r : explain(e, query, NULL, ret);
}

/* ---- a claim ---- */

static Request request_of(const Claim *c) {
    Request request = REQUEST_NULL;

    for (; request.n_devices < c->plan.n_claimed; request.n_devices++)
        request.devices[request.n_devices] = plan_member_asked(&c->plan.members[request.n_devices]);
    return request;
}

int broker_explain_claim(Broker *e, BrokerInquiry *inquiry, const char *name, const Subject *asker,
        struct json_object **ret, Refusal *refusal) {
    _cleanup_(explanation_done) Explanation explanation = {};
    const Claim *c;
    ExplainQuery query = {.audience = audience_of(asker), .inquiry = inquiry};
    Request request;
    ClaimRun *j;
    int r;

    r = broker_find_own(e, name, asker, &j, refusal);
    if (r < 0)
        return r;
    c = &j->claim;
    request = request_of(c);
    query.request = &request;
    query.subject = &c->subject;
    r = broker_inquire_for_policy(e, inquiry, policy_facts(e), &request);
    if (r < 0)
        return r;
    explanation = explanation_of(e, &query);
    explanation.claim = c;
    if (add_devices(e, &query, &c->plan, &explanation) < 0)
        return -ENOMEM;
    *ret = explanation_to_json(&explanation);
    return *ret ? 0 : -ENOMEM;
}

/* ---- a refusal ---- */

void broker_note_failure(Broker *e, const Claim *c) {
    Request request = request_of(c);

    request.backend = c->plan.backend;
    (void) snprintf(request.reason, sizeof(request.reason), "%s", c->reason ?: "");
    refusal_memory_keep(
            &e->refusals, &c->subject, &request, &c->refusal, c->since_usec, e->policy_generation);
}

int broker_explain_last_refusal(Broker *e, BrokerInquiry *inquiry, uid_t uid, const Subject *asker,
        struct json_object **ret, Refusal *refusal) {
    ExplainQuery query = {.audience = audience_of(asker), .inquiry = inquiry};
    const RefusalNote *note;
    PastRefusal past;
    int r;

    if (!subject_is_operator(asker))
        uid = asker->uid;
    note = uid == (uid_t) -1 ? refusal_memory_latest(&e->refusals) : refusal_memory_find(&e->refusals, uid);
    if (!note) {
        r = refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "vfiod remembers no refusal: none has happened since it started, or later ones have replaced "
                "it");
        refusal->remedy = strdup("The journal of vfiod.service has all refusals.");
        return r;
    }
    query.subject = &note->subject;
    query.request = &note->request;
    past = (PastRefusal){
            .code = note->code,
            .message = note->message,
            .when_usec = note->when_usec,
            .policy_reloaded = note->policy_generation != e->policy_generation,
    };
    return explain(e, &query, &past, ret);
}
