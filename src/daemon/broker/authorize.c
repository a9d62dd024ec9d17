/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A claim that waits for a person's yes. It holds nothing meanwhile: neither its devices nor its share of a
 * rule's limits, for the answer may take minutes, or never come. So after the yes everything is planned
 * again, as if it had been asked just now; and a yes to one rule is not one to another that took its place,
 * nor one to a card or to a backend one to another. */

#include "base/log.h"
#include "base/str.h"
#include "daemon/broker/polkit.h"
#include "daemon/broker/claim-run.h"

struct ClaimQuestion {
    Request request;
    char *bus_name; /* owned; NULL when the caller has none */
    bool interactive;
    char *rule; /* owned; what the person was told */
    Backend backend;
    struct {
        uint16_t vendor, device;
    } cards[REQUEST_DEVICES_MAX]; /* in the order of the request */
    AuthQuestion *auth;           /* owned; NULL before it is asked and once it is answered */
};

ClaimQuestion *claim_question_free(ClaimQuestion *q) {
    if (!q)
        return NULL;
    (void) auth_question_free(q->auth);
    free(q->rule);
    free(q->bus_name);
    free(q);
    return NULL;
}

int claim_run_prepare_question(ClaimRun *j, const Request *request, const Asker *asker) {
    _cleanup_(claim_question_freep) ClaimQuestion *q = malloc(sizeof(*q));

    if (!q)
        return -ENOMEM;
    *q = (ClaimQuestion){
            .request = *request, .interactive = asker->interactive, .backend = j->claim.plan.backend};
    for (size_t i = 0; i < j->claim.plan.n_claimed; i++) {
        q->cards[i].vendor = j->claim.plan.members[i].vendor;
        q->cards[i].device = j->claim.plan.members[i].device;
    }
    if (free_and_strdup(&q->rule, j->claim.plan.rule) < 0 ||
            free_and_strdup(&q->bus_name, asker->bus_name) < 0)
        return -ENOMEM;
    j->question = TAKE_PTR(q);
    return 0;
}

/* The request is the same, so the devices are at the same places. */
static int check_cards(const Plan *plan, const ClaimQuestion *q, Refusal *refusal) {
    for (size_t i = 0; i < plan->n_claimed; i++) {
        const PlanMember *m = &plan->members[i];

        if (m->vendor != q->cards[i].vendor || m->device != q->cards[i].device)
            return refuse(refusal, VFIOD_ERROR_NOT_AUTHORIZED, &m->name,
                    "another card took its place while somebody was asked");
    }
    if (plan->backend != q->backend)
        return refuse(refusal, VFIOD_ERROR_NOT_AUTHORIZED, &plan->members[0].name,
                "the backend was %s when somebody was asked, and would be %s now",
                backend_to_string(q->backend), backend_to_string(plan->backend));
    return 0;
}

static int plan_again(ClaimRun *j, const ClaimQuestion *q) {
    _cleanup_(plan_done) Plan before = TAKE_GENERIC(j->claim.plan, PLAN_NULL);
    const Plan *plan = &j->claim.plan;
    int r;

    r = broker_plan(j->broker, &q->request, j->subject, &j->claim.plan, &j->claim.refusal);
    if (r < 0 || !plan->ask)
        return r;
    if (streq(plan->rule, q->rule))
        return check_cards(plan, q, &j->claim.refusal);
    return refuse(&j->claim.refusal, VFIOD_ERROR_NOT_AUTHORIZED, NULL,
            "the policy changed while somebody was asked, and another rule asks now");
}

static void deny(ClaimRun *j, const ClaimQuestion *q) {
    broker_note_refusal(j->broker, &q->request, j->subject, &j->claim.refusal);
}

static void on_answered(void *userdata, Refusal *refusal) {
    ClaimRun *j = userdata;
    _cleanup_(claim_question_freep) ClaimQuestion *q = TAKE_PTR(j->question);
    int r = -EACCES;

    q->auth = NULL;
    if (refusal)
        j->claim.refusal = TAKE_GENERIC(*refusal, REFUSAL_NULL);
    else
        r = plan_again(j, q);
    if (r < 0)
        deny(j, q);
    claim_run_feed(j, r < 0 ? CLAIM_EVENT_DENIED : CLAIM_EVENT_ALLOWED);
}

static char *describe_devices(const Plan *p) {
    _cleanup_strbuf_ StrBuf b = {};
    char name[DEVICE_NAME_MAX];

    for (size_t i = 0; i < p->n_claimed; i++)
        strbuf_addf(&b, "%s%s", i > 0 ? ", " : "", device_name_format(&p->members[i].name, name));
    return strbuf_steal(&b);
}

int claim_run_ask(ClaimRun *j) {
    ClaimQuestion *q = j->question;
    _cleanup_free_ char *devices = describe_devices(&j->claim.plan), *rule = sanitize(q->rule, 512);
    const AuthAbout about = {
            .action = AUTH_ACTION_ACQUIRE,
            .bus_name = q->bus_name,
            .uid = j->claim.uid,
            .interactive = q->interactive,
            .devices = devices,
            .rule = rule,
            .reason = q->request.reason,
    };
    int r;

    if (!devices || !rule)
        r = refuse(&j->claim.refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
    else
        r = auth_ask(j->broker->auth, &about, on_answered, j, &q->auth, &j->claim.refusal);
    if (r < 0)
        deny(j, q);
    return r;
}
