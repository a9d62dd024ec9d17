/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two answers: the policy's verdict for each device with its reasons, and the answer of Acquire to the
 * request as a whole on this host. Other obstacles (a sibling in use, no reset) come after those of the
 * policy. */

#include "base/str.h"
#include "core/explanation.h"
#include "rehearsal/rehearsal-internal.h"

static int fail_with(char **ret_problem, Refusal *refusal) {
    int r = -error_info(refusal->code)->error;

    r = problem(ret_problem, r, "%s%s%s", refusal->device, refusal->device[0] ? ": " : "",
            refusal->reason ?: error_info(refusal->code)->name);
    refusal_done(refusal);
    return r;
}

int make_request(const RehearsalRequest *from, Request *ret, char **ret_problem) {
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
    if (r >= 0 && from->grant)
        r = request_set_option(ret, "grant", from->grant, &refusal);
    if (r >= 0 && from->tether)
        r = request_set_option(ret, "tether", from->tether, &refusal);
    if (r >= 0 && from->require)
        r = request_set_option(ret, "require", from->require, &refusal);
    if (r >= 0 && from->network)
        r = request_set_option(ret, "network", from->network, &refusal);
    if (r >= 0 && from->untainted)
        r = request_set_option(ret, "untainted", "yes", &refusal);
    if (r >= 0)
        r = request_validate(ret, &refusal);
    return r < 0 ? fail_with(ret_problem, &refusal) : 0;
}

static int explain_device(HostView *host, Survey *survey, Explanation *explanation, const DeviceName *name,
        char **ret_problem) {
    Decision decision;
    Device *device;
    int r;

    r = find_device(host, name, &device, ret_problem);
    if (r >= 0)
        r = decide_device(
                host, survey, explanation->policy, explanation->subject, device, 0, &decision, ret_problem);
    return r < 0 ? r : explanation_add_device(explanation, &decision.question);
}

int explain_request(HostView *host, const Policy *policy, const Subject *subject, const char *user,
        const Request *request, struct json_object **ret, char **ret_problem) {
    _cleanup_(answer_freep) Answer *answer = NULL;
    _cleanup_(survey_done) Survey survey = {};
    _cleanup_(explanation_done) Explanation explanation = {
            .policy = policy,
            .audience = AUDIENCE_OPERATOR,
            .subject = subject,
            .user = user,
            .effect = EFFECT_DENY,
    };
    int r = 0;

    for (size_t i = 0; r >= 0 && i < request->n_devices; i++)
        r = explain_device(host, &survey, &explanation, request->devices + i, ret_problem);
    if (r >= 0)
        r = decide_request(host, &survey, policy, subject, request, 0, &answer, ret_problem);
    if (r < 0)
        return r;
    explanation.plan = answer->granted ? &answer->plan : NULL;
    explanation.refusal = answer->granted ? NULL : &answer->refusal;
    *ret = explanation_to_json(&explanation);
    return *ret ? 0 : -ENOMEM;
}

int rehearsal_explain(Rehearsal *r, const RehearsalSubject *persona, const RehearsalRequest *from,
        struct json_object **ret, char **ret_problem) {
    _cleanup_(subject_done) Subject subject = SUBJECT_NULL;
    const Accounts accounts = {.host = &r->host};
    _cleanup_free_ char *user = NULL;
    const Policy *policy;
    Request request;
    int k;

    *ret_problem = NULL;
    k = rehearsal_get_policy(r, &policy, ret_problem);
    if (k >= 0)
        k = persona_to_subject(&accounts, persona, &subject, &user, ret_problem);
    if (k >= 0)
        k = accounts_name_groups(&accounts, &subject);
    if (k >= 0)
        k = make_request(from, &request, ret_problem);
    return k < 0 ? k : explain_request(&r->host, policy, &subject, user, &request, ret, ret_problem);
}
