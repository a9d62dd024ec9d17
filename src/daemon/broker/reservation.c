/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/reservation.h"

#include <stdio.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/user-name.h"
#include "core/device-kind.h"

#define SHOWN_MAX 64U  /* of the caller's text */
#define REASONS_MAX 8U /* in the sentence of a refusal */
#define USEC_PER_SEC UINT64_C(1000000)
#define SLICE_USEC UINT64_C(2000) /* of the loop, at a time */

/* ---- The request ---- */

Reserving *reserving_free(Reserving *r) {
    if (!r)
        return NULL;
    sd_event_source_disable_unref(r->pause);
    broker_inquiry_done(&r->look);
    free(r->text);
    refusal_done(&r->found);
    free(r);
    return NULL;
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Reserving *, reserving_free);

static int parse_wish(const ReserveWish *wish, Reserving **ret, Refusal *refusal) {
    _cleanup_(reserving_freep) Reserving *r = calloc(1, sizeof(*r));
    char problem[DEVICE_PATTERN_PROBLEM_MAX];

    if (r)
        r->text = sanitize(wish->device, SHOWN_MAX);
    if (!r || !r->text)
        return refuse(refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
    r->found = REFUSAL_NULL;
    if (device_selector_parse(wish->device, &r->selector, problem, sizeof(problem)) < 0)
        return refuse(refusal, VFIOD_ERROR_INVALID_NAME, NULL, "\"%s\" %s", r->text, problem);
    if (r->selector.kind == SELECT_DEVICE && !r->selector.device.exact &&
            r->selector.device.kind == DEVICE_KIND_TEMPLATE)
        return refuse(refusal, VFIOD_ERROR_INVALID_NAME, NULL,
                "\"%s\" is a pattern, and a template is reserved by its name", r->text);
    *ret = TAKE_PTR(r);
    return 0;
}

static int check_owner(const ReserveWish *wish, const Subject *subject, Refusal *refusal) {
    int r;

    if (!wish->owner)
        return 0;
    if (subject_is_operator(subject) && wish->owner->uid == (uid_t) -1)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "the options describe a caller without a \"uid\"");
    if (subject_is_operator(subject))
        return 0;
    r = refuse(refusal, VFIOD_ERROR_ACCESS_DENIED, NULL, "only root can reserve a device for another user");
    refusal->remedy = strdup("Do it as root, or leave out the options that describe a caller.");
    return r;
}

/* *ret: how long the ticket is valid. */
static int check_ttl(
        const Broker *e, const ReserveWish *wish, const Subject *subject, uint64_t *ret, Refusal *refusal) {
    HostSettings host = policy_host_settings(e->policy);
    bool limited = host.reservations_limited && !subject_is_operator(subject);
    unsigned most = limited ? host.reservation_ttl_sec : RESERVATION_TTL_MAX_SEC;
    int r;

    if (most == 0) {
        r = refuse(refusal, VFIOD_ERROR_ACCESS_DENIED, NULL, "only root can reserve devices of this host");
        refusal->remedy =
                strdup("Claim the device now, or ask root to reserve it for you. To loosen the policy, the "
                       "operator can change \"reservation-ttl\" of \"host\".");
        return r;
    }
    *ret = wish->ttl_sec ?: MIN(RESERVATION_TTL_DEFAULT_SEC, most);
    if (*ret <= most)
        return 0;
    r = refuse(refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL,
            "a ticket is valid for %u seconds at most; %" PRIu64 " were requested", most, wish->ttl_sec);
    refusal->remedy = format_string("Request \"ttl\" of %u seconds or less.", most);
    return r;
}

static int make_secret(char secret[static TICKET_SECRET_MAX]) {
    uint64_t random[2];

    if (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random))
        return -EIO;
    (void) put_hex(secret, random[0], 16);
    (void) put_hex(secret + 16, random[1], 16);
    return 0;
}

int reservation_begin(ClaimRun *j, const ReserveWish *wish, const Subject *subject, Refusal *refusal) {
    Reserving *reserving;
    uint64_t ttl_sec = 0;
    int r;

    r = check_owner(wish, subject, refusal);
    if (r >= 0)
        r = check_ttl(j->broker, wish, subject, &ttl_sec, refusal);
    if (r >= 0)
        r = parse_wish(wish, &reserving, refusal);
    if (r < 0)
        return r;
    j->question->reserving = reserving;
    j->ttl_usec = ttl_sec * USEC_PER_SEC;
    j->for_other = wish->owner != NULL;
    if (make_secret(j->claim.ticket) < 0)
        return refuse(refusal, VFIOD_ERROR_INTERNAL, NULL, "out of random numbers");
    return 0;
}

/* ---- Which device ---- */

static bool is_held(const Device *d) {
    return d->claim || d->quarantined || (d->group && d->group->claim);
}

static void on_looked(void *userdata) {
    broker_decide(userdata);
}

/* Facts of one device are of no use for the next. 1, 0 or -EAGAIN. */
static int matches(ClaimRun *j, const Device *d) {
    Reserving *w = j->question->reserving;
    const DeviceFacts *facts = NULL;
    unsigned needed;
    int r;

    r = device_selector_match(&w->selector, j->broker->policy, d, NULL, &needed);
    if (r != -ENODATA)
        return r;
    w->look.ready = on_looked;
    w->look.userdata = j;
    r = broker_look_at(j->broker, &w->look, &d->name, needed);
    if (r == -EAGAIN)
        return r;
    if (r >= 0)
        r = survey_get(&w->look.survey, &d->name, needed, &facts);
    r = r >= 0 && device_selector_match(&w->selector, j->broker->policy, d, facts, &needed) > 0;
    broker_inquiry_done(&w->look);
    w->look = (BrokerInquiry){};
    return r;
}

static int on_paused(sd_event_source *s, uint64_t usec, void *userdata) {
    ClaimRun *j = userdata;
    BudgetAccount *account = budget_account(j->broker->config.budget, j->subject->uid);
    uint64_t begin_usec = budget_now();

    if (account)
        account->n_users++;
    broker_decide(j); /* it may free j */
    if (!account)
        return 0;
    account->n_users--;
    budget_spend(account, PURSE_LOOP, begin_usec, budget_now() - begin_usec);
    return 0;
}

/* The caller's user has used its share of this turn: continues when there is credit and others were
 * served. */
static int pause_search(ClaimRun *j) {
    Reserving *w = j->question->reserving;
    BudgetAccount *account = budget_account(j->broker->config.budget, j->subject->uid);
    uint64_t when_usec = account ? budget_credit_at(account, PURSE_LOOP) : 0;
    int r;

    w->pause = sd_event_source_disable_unref(w->pause);
    r = sd_event_add_time(
            j->broker->event, &w->pause, CLOCK_MONOTONIC, MAX(when_usec, budget_now()), 1, on_paused, j);
    return r < 0 ? refuse(&j->claim.refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory") : -EAGAIN;
}

/* A template is not a device of the host, so it is the only candidate. */
static int find_template(ClaimRun *j) {
    Reserving *w = j->question->reserving;

    if (w->begun)
        return 0;
    w->begun = true;
    w->last = j->question->request.devices[0] = w->selector.device.name;
    j->question->request.n_devices = 1;
    return 1;
}

/* Puts the next device that is worth a plan into the request. 1; 0: there are no more; -EAGAIN. */
static int find_next(ClaimRun *j, uint64_t end_usec) {
    Reserving *w = j->question->reserving;
    bool several = w->selector.kind != SELECT_DEVICE || !w->selector.device.exact;
    const Device *d;

    if (!several && w->selector.device.name.kind == DEVICE_KIND_TEMPLATE)
        return find_template(j);
    while ((d = inventory_next_device(j->broker->inventory, w->begun ? &w->last : NULL))) {
        int r = budget_now() > end_usec ? pause_search(j) : matches(j, d);

        if (r < 0)
            return r;
        w->last = d->name;
        w->begun = true;
        if (r == 0 || (several && (device_is_bridge(d) || !device_kind_info(d->name.kind)->claimable)))
            continue;
        if (several && is_held(d)) {
            w->n_held++;
            continue;
        }
        j->question->request.devices[0] = d->name;
        j->question->request.n_devices = 1;
        return 1;
    }
    return 0;
}

/* One explanation is enough: each costs as much as many refusals. */
static void note(ClaimRun *j, Refusal *refusal) {
    Reserving *w = j->question->reserving;

    j->question->inquiry.brief = true;
    if (!refusal_add_obstacle(&w->found, refusal))
        refusal_done(refusal);
    w->n_tried++;
}

static int refuse_all(ClaimRun *j, bool more) {
    Reserving *w = j->question->reserving;
    Refusal *refusal = &j->claim.refusal;
    size_t n = w->found.n_obstacles;
    _cleanup_strbuf_ StrBuf b = {};
    int r;

    if (w->n_tried + w->n_held == 0)
        return refuse(
                refusal, VFIOD_ERROR_NO_SUCH_DEVICE, NULL, "no device of this host matches \"%s\"", w->text);
    if (w->n_tried == 1 && w->n_held == 0 && n == 1) {
        *refusal = TAKE_GENERIC(w->found.obstacles[0], REFUSAL_NULL);
        return -error_info(refusal->code)->error;
    }
    if (w->n_held > 0)
        strbuf_addf(&b, "; %u held by claims, reserved or quarantined", w->n_held);
    for (size_t i = 0; i < MIN(n, REASONS_MAX); i++)
        strbuf_addf(&b, "; %s: %s", w->found.obstacles[i].device, w->found.obstacles[i].reason ?: "refused");
    if (n > REASONS_MAX || more)
        strbuf_addf(&b, "; %s", more ? "the others were not looked at" : "and others");
    r = refuse(refusal, VFIOD_ERROR_NO_DEVICE_AVAILABLE, NULL, "no device that matches \"%s\" can be had%s",
            w->text, b.length > 0 ? b.text : "");
    refusal->obstacles = TAKE_PTR(w->found.obstacles);
    refusal->n_obstacles = TAKE_GENERIC(w->found.n_obstacles, 0);
    return r;
}

/* Chooses the next candidate. 1; 0: there are no more; -EAGAIN; or refused. */
static int choose_next(ClaimRun *j, uint64_t end_usec) {
    Reserving *w = j->question->reserving;
    int r;

    if (w->trying)
        return 1;
    if (!device_selector_concerns(&w->selector, j->broker->policy, claim_run_judged(j)) &&
            !subject_is_operator(j->subject))
        return refuse_all(j, /* more= */ false);
    r = find_next(j, end_usec);
    if (r < 0)
        return r;
    if (r == 0 || w->n_tried == RESERVATION_TRIES_MAX)
        return refuse_all(j, r > 0);
    w->trying = true;
    return 1;
}

int reservation_plan(ClaimRun *j) {
    uint64_t end_usec = budget_now() + SLICE_USEC;
    ClaimQuestion *q = j->question;

    for (;;) {
        _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
        int r;

        r = choose_next(j, end_usec);
        if (r < 0)
            return r;
        r = broker_make_plan(
                j->broker, &q->inquiry, &q->request, claim_run_judged(j), &j->claim.plan, &refusal);
        if (r >= 0 || r == -EAGAIN)
            return r;
        q->reserving->trying = false;
        note(j, &refusal);
    }
}

/* ---- The ticket ---- */

static int on_expired(sd_event_source *s, uint64_t usec, void *userdata) {
    ClaimRun *j = userdata;

    (void) refuse(&j->claim.refusal, VFIOD_ERROR_TIMED_OUT, NULL, "the reservation has expired");
    claim_run_feed(j, CLAIM_EVENT_RELEASE);
    return 0;
}

int reservation_watch(ClaimRun *j) {
    return sd_event_add_time(
            j->broker->event, &j->expiry, CLOCK_BOOTTIME, j->claim.deadline_usec, 1, on_expired, j);
}

void reservation_give_ticket(ClaimRun *j) {
    const Grant grant = {.claim = &j->claim, .plan = &j->claim.plan};
    Claim *c = &j->claim;
    int r;

    c->deadline_usec = clock_usec(CLOCK_BOOTTIME) + j->ttl_usec;
    c->until_usec = broker_now_usec() + j->ttl_usec;
    r = claim_run_flush(j);
    if (r >= 0)
        r = reservation_watch(j);
    if (r < 0)
        (void) refuse(&c->refusal, VFIOD_ERROR_INTERNAL, &c->plan.members[0].name,
                "cannot record the reservation: %s", strerror(-r));
    else
        j->granted = claim_run_answer(j, &grant, NULL);
    if (!j->granted) {
        claim_run_push(j, CLAIM_EVENT_RELEASE); /* nobody has the ticket */
        return;
    }
    audit_reserved(j->broker->audit, c, j->subject);
    j->broker->figures.reservations++;
}

/* ---- Redeeming it ---- */

int reservation_find(
        Broker *e, const Request *request, const Subject *subject, ClaimRun **ret, Refusal *refusal) {
    char id[CLAIM_ID_MAX] = "";
    ClaimRun *j;

    memcpy(id, request->ticket, sizeof(id) - 1);
    j = claims_find(e, id);
    if (!j || j->claim.state != CLAIM_RESERVED || !claim_has_ticket(&j->claim, request->ticket) ||
            j->claim.deadline_usec <= clock_usec(CLOCK_BOOTTIME))
        return refuse(refusal, VFIOD_ERROR_TICKET_INVALID, NULL,
                "the ticket is not valid: it was redeemed or cancelled, it has expired, its device has gone, "
                "or "
                "there never was one");
    if (j->claim.uid != subject->uid)
        return refuse(
                refusal, VFIOD_ERROR_TICKET_INVALID, NULL, "the ticket is for %s", USER_TEXT(j->claim.uid));
    *ret = j;
    return 0;
}

int reservation_resolve(Broker *e, Request *request, const Subject *subject, Refusal *refusal) {
    ClaimRun *j;
    int r;

    if (!request->ticket[0])
        return 0;
    if (request->n_devices > 0)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, &request->devices[0],
                "a ticket stands for its device, and the request names one, too");
    r = reservation_find(e, request, subject, &j, refusal);
    if (r < 0)
        return r;
    for (size_t i = 0; i < j->claim.plan.n_claimed; i++)
        request->devices[request->n_devices++] = plan_member_asked(&j->claim.plan.members[i]);
    return 0;
}

/* The person was asked about this rule, this card and these siblings: the permission counts for nothing
 * else. */
static int check_asked(const Plan *reserved, const Plan *plan, Refusal *refusal) {
    bool same = reserved->ask && streq(reserved->rule, plan->rule) && reserved->backend == plan->backend &&
            reserved->n_members == plan->n_members;

    for (size_t i = 0; same && i < plan->n_members; i++) {
        const PlanMember *a = &reserved->members[i], *b = &plan->members[i];

        same = device_name_compare(&a->name, &b->name) == 0 && a->identity == b->identity &&
                a->disposition == b->disposition && vf_network_equal(&a->network, &b->network) &&
                streq(a->made.parent, b->made.parent) && streq(a->made.type, b->made.type);
    }
    if (same || !plan->ask)
        return 0;
    return refuse(refusal, VFIOD_ERROR_NOT_AUTHORIZED, &plan->members[0].name,
            "the rule requires authentication, and the authentication of the reservation was for something "
            "else");
}

int reservation_begin_redeeming(const ClaimRun *j, const Subject *subject, Refusal *refusal) {
    const Request *request = &j->question->request;

    for (const ClaimRun *other = j->broker->claims; other; other = other->next)
        if (other != j && other->question && streq(other->question->request.ticket, request->ticket))
            return refuse(refusal, VFIOD_ERROR_CLAIM_BUSY, NULL, "the ticket is just being redeemed");
    return reservation_resolve(j->broker, &j->question->request, subject, refusal);
}

/* The reservation counts for all limits until here, and the claim from here on. */
int reservation_redeem(ClaimRun *j) {
    ClaimRun *reservation;
    int r;

    r = reservation_find(j->broker, &j->question->request, j->subject, &reservation, &j->claim.refusal);
    if (r >= 0)
        r = check_asked(&reservation->claim.plan, &j->claim.plan, &j->claim.refusal);
    if (r < 0)
        return r;
    memcpy(j->claim.id, reservation->claim.id, sizeof(j->claim.id));
    r = claim_run_allow(j);
    if (r < 0)
        return r;
    j->stored = reservation->stored;
    claim_run_announce(reservation, CLAIM_REMOVED);
    /* Moves the devices directly, so that requests which wait for the end of a claim find no free device. */
    claim_run_detach(reservation);
    claim_run_attach(j);
    claim_run_feed(reservation, CLAIM_EVENT_REDEEMED);
    return 0;
}
