/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A claim that waits for a person's answer. It holds nothing meanwhile: neither devices nor a share of the
 * rule's limits, because the answer may take minutes or never come. So after the answer everything is planned
 * again. The permission counts only for the same rule, card and backend that the person was asked about. */

#include <fcntl.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/broker/polkit.h"
#include "daemon/broker/reservation.h"
#include "daemon/broker/waiting.h"

ClaimQuestion *claim_question_free(ClaimQuestion *q) {
    if (!q)
        return NULL;
    (void) auth_question_free(q->auth);
    broker_inquiry_done(&q->inquiry);
    q->reserving = reserving_free(q->reserving);
    free(q->rule);
    free(q->parked);
    free(q->bus_name);
    (void) safe_close(q->socket);
    free(q);
    return NULL;
}

/* The siblings that lose their drivers during the claim. */
static char *describe_parked(const Plan *p) {
    _cleanup_strbuf_ StrBuf b = {};
    char name[DEVICE_NAME_MAX];

    strbuf_add(&b, "");
    for (size_t i = 0; i < p->n_members; i++)
        if (p->members[i].disposition == DISPOSITION_PARK)
            strbuf_addf(&b, "%s%s (%s)", b.length > 0 ? ", " : "",
                    device_name_format(&p->members[i].name, name), p->members[i].original_driver);
    return strbuf_steal(&b);
}

ClaimQuestion *claim_question_new(
        const Request *request, const Asker *asker, void (*ready)(void *userdata), void *userdata) {
    _cleanup_(claim_question_freep) ClaimQuestion *q = malloc(sizeof(*q));

    if (!q)
        return NULL;
    *q = (ClaimQuestion){.request = *request,
            .interactive = asker->interactive,
            .socket = -EBADF,
            .inquiry = {.ready = ready, .userdata = userdata}};
    if (free_and_strdup(&q->bus_name, asker->bus_name) < 0)
        return NULL;
    if (asker->socket && request->tether == TETHER_CONNECTION)
        q->socket = fcntl(*asker->socket, F_DUPFD_CLOEXEC, 3);
    return TAKE_PTR(q);
}

int claim_question_prepare(ClaimQuestion *q, const Plan *plan) {
    q->backend = plan->backend;
    for (size_t i = 0; i < plan->n_claimed; i++) {
        q->cards[i] = plan->members[i].identity;
    }
    free(q->parked);
    q->parked = describe_parked(plan);
    return q->parked ? free_and_strdup(&q->rule, plan->rule) : -ENOMEM;
}

static int check_parked(const Plan *plan, const ClaimQuestion *q, Refusal *refusal) {
    _cleanup_free_ char *parked = describe_parked(plan);

    if (!parked)
        return refuse(refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
    if (streq(parked, q->parked))
        return 0;
    return refuse(refusal, VFIOD_ERROR_NOT_AUTHORIZED, &plan->members[0].name,
            "the siblings that would be parked have changed since the authentication, now: %s",
            parked[0] ? parked : "none");
}

/* The request is unchanged, so its devices are in the same places. */
static int check_cards(const Plan *plan, const ClaimQuestion *q, Refusal *refusal) {
    for (size_t i = 0; i < plan->n_claimed; i++) {
        const PlanMember *m = &plan->members[i];

        if (m->identity != q->cards[i])
            return refuse(refusal, VFIOD_ERROR_NOT_AUTHORIZED, &m->name,
                    "another card took its place while polkit was asking");
    }
    if (plan->backend != q->backend)
        return refuse(refusal, VFIOD_ERROR_NOT_AUTHORIZED, &plan->members[0].name,
                "the backend was %s when polkit asked, and would now be %s", backend_to_string(q->backend),
                backend_to_string(plan->backend));
    return check_parked(plan, q, refusal);
}

static int plan_again(ClaimRun *j, ClaimQuestion *q) {
    _cleanup_(plan_done) Plan plan = PLAN_NULL;
    int r;

    r = broker_make_plan(j->broker, &q->inquiry, &q->request, claim_run_judged(j), &plan, &j->claim.refusal);
    if (r < 0)
        return r;
    if (plan.ask && !streq(plan.rule, q->rule))
        return refuse(&j->claim.refusal, VFIOD_ERROR_NOT_AUTHORIZED, NULL,
                "the policy was reloaded while polkit was asking, and another rule decides now");
    r = plan.ask ? check_cards(&plan, q, &j->claim.refusal) : 0;
    if (r < 0)
        return r;
    plan_done(&j->claim.plan);
    j->claim.plan = TAKE_GENERIC(plan, PLAN_NULL);
    return 0;
}

static void deny(ClaimRun *j, const ClaimQuestion *q) {
    broker_note_refusal(j->broker, &q->request, j->subject, &j->claim.refusal);
}

static void finish(ClaimRun *j, int r) {
    if (r >= 0)
        r = claim_run_allow(j);
    if (r < 0)
        deny(j, j->question);
    j->question = claim_question_free(j->question);
    claim_run_feed(j,
            r < 0                        ? CLAIM_EVENT_DENIED
                    : j->claim.ticket[0] ? CLAIM_EVENT_RESERVED
                                         : CLAIM_EVENT_ALLOWED);
}

static void decide_again(void *userdata) {
    ClaimRun *j = userdata;
    int r = plan_again(j, j->question);

    if (r == -EAGAIN)
        return;
    if (r >= 0 || !waiting_begin(j))
        finish(j, r);
    else if (j->claim.state != CLAIM_WAITING)
        claim_run_feed(j, CLAIM_EVENT_QUEUED);
}

static void on_answered(void *userdata, Refusal *refusal) {
    ClaimRun *j = userdata;
    ClaimQuestion *q = j->question;

    q->auth = NULL;
    if (refusal) {
        j->claim.refusal = TAKE_GENERIC(*refusal, REFUSAL_NULL);
        finish(j, -EACCES);
        return;
    }
    broker_inquiry_done(&q->inquiry);
    q->inquiry = (BrokerInquiry){.ready = decide_again, .userdata = j, .place = q->inquiry.place};
    decide_again(j);
}

static char *describe_devices(const Plan *p) {
    _cleanup_strbuf_ StrBuf b = {};
    char name[DEVICE_NAME_MAX];

    for (size_t i = 0; i < p->n_claimed; i++)
        strbuf_addf(&b, "%s%s", i > 0 ? ", " : "", device_name_format(&p->members[i].name, name));
    return strbuf_steal(&b);
}

/* "uid 1000 (vfioctl, process 4242, session-3.scope)" */
static char *describe_caller(const ClaimRun *j) {
    _cleanup_free_ char *command = sanitize(j->claim.command ?: "?", 64);
    const char *unit = j->subject->unit;
    char who[SUBJECT_DESCRIPTION_MAX];

    if (!command)
        return NULL;
    return format_string("%s (%s, process %d%s%s)", subject_describe(j->subject, who), command,
            (int) j->claim.pid, unit ? ", " : "", unit ?: "");
}

int claim_run_ask(ClaimRun *j) {
    char network[VF_NETWORK_TEXT_MAX];
    ClaimQuestion *q = j->question;
    _cleanup_free_ char *devices = describe_devices(&j->claim.plan), *rule = sanitize(q->rule, 512),
                        *caller = describe_caller(j);
    const AuthAbout about = {
            .action = AUTH_ACTION_ACQUIRE,
            .bus_name = q->bus_name,
            .pid = j->subject->pid,
            .pidfd = j->subject->pidfd,
            .uid = j->subject->uid, /* of the process; a reservation may be for another user */
            .interactive = q->interactive,
            .caller = caller,
            .devices = devices,
            .parked = q->parked[0] ? q->parked : "no other device",
            .rule = rule,
            .reason = q->request.reason,
            .network = vf_network_format(&q->request.network, network),
    };
    int r;

    if (!devices || !rule || !caller)
        r = refuse(&j->claim.refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
    else
        r = auth_ask(j->broker->auth, &about, on_answered, j, &q->auth, &j->claim.refusal);
    if (r < 0)
        deny(j, q);
    return r;
}
