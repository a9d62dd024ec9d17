/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two answers: what the policy says of each device and why, and what Acquire would say of the request as a
 * whole on this host, whose other reasons (a sibling in use, no reset) come after the policy's. */

#include "base/str.h"
#include "policy/explain.h"
#include "core/record.h"
#include "rehearsal/rehearsal-internal.h"

static int fail_with(char **ret_problem, Refusal *refusal) {
    int r = -error_info(refusal->code)->error;

    r = problem(ret_problem, r, "%s", refusal->reason ?: error_info(refusal->code)->name);
    refusal_done(refusal);
    return r;
}

static int make_request(const RehearsalRequest *from, Request *ret, char **ret_problem) {
    Refusal refusal = REFUSAL_NULL;
    int r = 0;

    *ret = REQUEST_NULL;
    for (size_t i = 0; from->devices[i] && r >= 0; i++)
        r = request_add_device(ret, from->devices[i], &refusal);
    if (r >= 0 && from->backend)
        r = request_set_option(ret, "backend", from->backend, &refusal);
    if (r >= 0 && from->reason)
        r = request_set_option(ret, "reason", from->reason, &refusal);
    if (r >= 0 && from->memlock)
        r = request_set_option(ret, "memlock", from->memlock, &refusal);
    if (r >= 0 && from->untainted)
        r = request_set_option(ret, "untainted", "yes", &refusal);
    if (r >= 0)
        r = request_validate(ret, &refusal);
    return r < 0 ? fail_with(ret_problem, &refusal) : 0;
}

static int explain_device(HostView *host, const Policy *policy, const Subject *subject, const char *user,
        const DeviceName *name, struct json_object *list, Effect *effect, char **ret_problem) {
    _cleanup_(decision_done) Decision decision = DECISION_NULL;
    Device *device;
    int r;

    r = find_device(host, name, &device, ret_problem);
    if (r >= 0)
        r = decide_device(host, policy, subject, device, 0, &decision);
    if (r < 0)
        return r;
    *effect = effect_of_both(*effect, decision.verdict.effect);
    return json_append(list, policy_explain(policy, &decision.question, AUDIENCE_OPERATOR, user));
}

static int add_answer(struct json_object *o, const Answer *answer) {
    _cleanup_free_ char *message = NULL;
    int r;

    if (answer->granted) {
        r = json_add_string(o, "error", NULL);
        if (r >= 0)
            r = json_add_string(o, "message", NULL);
        return r < 0 ? r : json_add(o, "plan", plan_to_json(&answer->plan));
    }
    message = refusal_format(&answer->refusal);
    if (!message || json_add_string(o, "error", error_info(answer->refusal.code)->name) < 0 ||
            json_add_string(o, "message", message) < 0 || json_add_string(o, "plan", NULL) < 0)
        return -ENOMEM;
    return 0;
}

static int add_subject(struct json_object *o, const Subject *s, const char *name) {
    _cleanup_json_ struct json_object *subject = json_object_new_object();

    if (!subject || json_add_string(subject, "user", name) < 0 ||
            json_add(subject, "uid", json_object_new_int64(s->uid)) < 0)
        return -ENOMEM;
    return json_add(o, "subject", TAKE_PTR(subject));
}

int rehearsal_explain(Rehearsal *r, const RehearsalSubject *persona, const RehearsalRequest *from,
        struct json_object **ret, char **ret_problem) {
    _cleanup_json_ struct json_object *o = json_object_new_object(), *devices = json_object_new_array();
    _cleanup_(answer_freep) Answer *answer = NULL;
    _cleanup_(subject_done) Subject subject = SUBJECT_NULL;
    const Accounts accounts = {.host = &r->host};
    _cleanup_free_ char *user = NULL;
    Effect effect = EFFECT_ALLOW;
    const Policy *policy;
    Request request;
    int k;

    *ret_problem = NULL;
    if (!o || !devices)
        return -ENOMEM;
    k = rehearsal_get_policy(r, &policy, ret_problem);
    if (k >= 0)
        k = persona_to_subject(&accounts, persona, &subject, &user, ret_problem);
    if (k >= 0)
        k = make_request(from, &request, ret_problem);
    for (size_t i = 0; k >= 0 && i < request.n_devices; i++)
        k = explain_device(
                &r->host, policy, &subject, user, request.devices + i, devices, &effect, ret_problem);
    if (k >= 0)
        k = decide_request(&r->host, policy, &subject, &request, 0, &answer, ret_problem);
    if (k < 0)
        return k;
    if (json_add_string(o, "effect", effect_to_string(effect)) < 0 || add_subject(o, &subject, user) < 0 ||
            add_answer(o, answer) < 0 || json_add(o, "devices", TAKE_PTR(devices)) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(o);
    return 0;
}
