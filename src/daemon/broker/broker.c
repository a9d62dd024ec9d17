/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/broker.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/kernel/holders.h"
#include "daemon/broker/backend.h"
#include "daemon/broker/cdi-files.h"
#include "daemon/broker/caps-store.h"
#include "daemon/broker/claim-module.h"
#include "daemon/broker/claim-part.h"
#include "daemon/broker/recover-kept.h"
#include "daemon/broker/reservation.h"
#include "daemon/broker/sibling.h"
#include "daemon/broker/sleep.h"
#include "daemon/broker/stuck.h"
#include "daemon/broker/tether.h"
#include "daemon/broker/vf-count.h"
#include "daemon/broker/vf-declared.h"
#include "daemon/broker/waiting.h"
#include "host/seen-caps.h"

/* Limits within this time. Calls that are allowed count too, which does not matter to them. */
#define EXPLANATIONS_USEC UINT64_C(1000000)
#define EXPLANATIONS_PER_USER 20U
#define EXPLANATIONS_MAX 100U
#define CLAIM_NAME_SHOWN_MAX 80U /* an id, or a cookie */
#define WORKER_TIMEOUT_DEFAULT_USEC (60 * UINT64_C(1000000))
#define ASK_TIMEOUT_DEFAULT_USEC (120 * UINT64_C(1000000))

static void on_connection_gone(void *userdata, const char *connection) {
    tether_connection_gone(userdata, connection);
}

int broker_new(sd_event *event, Inventory *inventory, const BrokerConfig *config, Broker **ret) {
    _cleanup_(broker_freep) Broker *e = NULL;
    int r;

    e = malloc(sizeof(*e));
    if (!e)
        return -ENOMEM;
    *e = (Broker){.event = sd_event_ref(event),
            .inventory = inventory,
            .allowed_uid = (uid_t) -1,
            .config = *config,
            .cdi_directory = cdi_open_directory(config->simulated ? NULL : config->cdi_directory)};
    e->explanations.per_key = EXPLANATIONS_PER_USER;
    e->explanations.in_all = EXPLANATIONS_MAX;
    e->figures.started_usec = broker_now_usec();
    if (e->config.worker_timeout_usec == 0)
        e->config.worker_timeout_usec = WORKER_TIMEOUT_DEFAULT_USEC;
    if (e->config.ask_timeout_usec == 0)
        e->config.ask_timeout_usec = ASK_TIMEOUT_DEFAULT_USEC;

    r = config->simulated ? 0 : store_new(event, config->state_directory, &e->store);
    if (r == -EBUSY)
        log_error("Another vfiod is running: it has locked the state directory %s", config->state_directory);
    else if (r < 0)
        log_error_errno(r, "Cannot use the state directory %s", config->state_directory);
    if (r < 0)
        return r;
    if (!config->simulated)
        r = noiommu_switch_new(config->state_directory, &e->noiommu);
    if (r >= 0)
        r = worker_pool_new(event, -EBADF, &e->workers);
    if (r >= 0)
        r = worker_pool_new(event, config->spawner, &e->lookers);
    if (r >= 0)
        r = worker_pool_new(event, config->spawner, &e->setters);
    if (r >= 0)
        stuck_watch(e);
    if (r >= 0)
        r = surveyor_new(event, inventory, e->lookers, config->simulated ? NULL : config->state_directory,
                e->config.worker_timeout_usec, &e->surveyor);
    if (r >= 0)
        r = node_watch_new(event, &e->nodes);
    if (r >= 0)
        r = usage_new(event, &e->usage);
    if (r >= 0)
        r = group_watch_new(event, &e->groups);
    if (r >= 0)
        r = holder_search_new(event, e->workers, &e->holders);
    if (r >= 0)
        r = lifelines_new(event, &e->lifelines);
    if (r >= 0)
        r = spare_new(event, e->lifelines, &e->spare);
    if (r >= 0)
        r = cgroup_watch_new(event, &e->groups_of_processes);
    if (r >= 0)
        r = bus_names_new(event, on_connection_gone, e, &e->names);
    if (r >= 0)
        r = audit_new(event, AUDIT_WINDOW_USEC, &e->audit);
    if (r >= 0)
        r = auth_new(e->config.ask_timeout_usec, &e->auth);
    if (r >= 0)
        r = sleep_watch(e);
    if (r >= 0)
        r = unit_jobs_new(event, &e->unit_jobs);
    if (r < 0)
        return log_error_errno(r, "Cannot set the broker up");
    *ret = TAKE_PTR(e);
    return 0;
}

Broker *broker_free(Broker *e) {
    if (!e)
        return NULL;
    if (e->nodes)
        node_watch_leave(e->nodes);
    e->vf_waits = false;
    e->changed = NULL; /* the next daemon takes over what goes now, or it was announced already */
    while (e->claims)
        (void) claim_run_free(e->claims);
    sd_event_source_disable_unref(e->turn);
    sd_event_source_disable_unref(e->sleep_timer);
    e->logind = logind_free(e->logind);
    sd_event_source_disable_unref(e->review);
    vf_changes_done(e);
    sibling_free_jobs(e);
    stuck_unwatch(e);
    vf_declared_done(e);
    kept_claims_done(&e->kept);
    e->unit_jobs = unit_jobs_free(e->unit_jobs);
    e->auth = auth_free(e->auth);
    refusal_memory_done(&e->refusals);
    e->audit = audit_free(e->audit);
    figures_done(&e->figures);
    e->spare = spare_free(e->spare);
    e->lifelines = lifelines_free(e->lifelines);
    e->names = bus_names_free(e->names);
    e->groups_of_processes = cgroup_watch_free(e->groups_of_processes);
    e->groups = group_watch_free(e->groups);
    e->cdi_directory = safe_close(e->cdi_directory);
    e->nodes = node_watch_free(e->nodes);
    e->usage = usage_free(e->usage);
    excerpts_done(&e->excerpts);
    e->surveyor = surveyor_free(e->surveyor);
    e->holders = holder_search_free(e->holders);
    e->lookers = worker_pool_free(e->lookers);
    e->setters = worker_pool_free(e->setters);
    e->workers = worker_pool_free(e->workers);
    e->noiommu = noiommu_switch_free(e->noiommu);
    e->store = store_free(e->store);
    sd_event_unref(e->event);
    free(e);
    return NULL;
}

void broker_set_policy(Broker *e, const Policy *policy) {
    if (policy == e->policy)
        return;
    e->policy_generation++;
    e->policy = policy;
    waiting_judge_all(e);
}

void broker_set_observer(Broker *e, claim_changed_t changed, void *userdata) {
    e->changed = changed;
    e->changed_userdata = userdata;
}

void broker_set_refresh(Broker *e, int (*refresh)(void *userdata, const DeviceName *name), void *userdata) {
    e->refresh = refresh;
    e->refresh_userdata = userdata;
}

void broker_set_bus(Broker *e, sd_bus *bus) {
    auth_set_bus(e->auth, bus);
    unit_jobs_set_bus(e->unit_jobs, bus);
    if (!bus)
        claim_module_lose_bus(e);
    bus_names_set_bus(e->names, bus);
    logind_set_bus(e->logind, bus);
}

void broker_set_weakness(Broker *e, int (*read)(void *userdata, char **ret), void *userdata) {
    e->read_weakness = read;
    e->weakness_userdata = userdata;
}

void broker_set_raw_io(Broker *e, bool permitted) {
    if (e->raw_io && !permitted)
        worker_pool_renew(e->workers);
    e->raw_io = permitted;
}

void broker_note_policy_load(Broker *e, bool loaded) {
    figures_note_policy(&e->figures, broker_now_usec(), loaded);
}

const Figures *broker_figures(const Broker *e) {
    return &e->figures;
}

void broker_get_memory(const Broker *e, uint64_t *ret_allowed, uint64_t *ret_locked) {
    usage_get_memory(e->usage, ret_allowed, ret_locked);
}

HolderSearch *broker_holders(Broker *e) {
    return e->holders;
}

void broker_settle(Broker *e) {
    if (!noiommu_switch_is_ours(e->noiommu))
        return;
    for (const ClaimRun *j = e->claims; j; j = j->next)
        if (claim_run_needs_noiommu(j))
            return;
    noiommu_switch_release(e->noiommu);
}

/* ---- the door ---- */

uint64_t broker_now_usec(void) {
    return clock_usec(CLOCK_REALTIME);
}

const Device *broker_find_asked(Broker *e, const DeviceName *name, Device *template) {
    if (name->kind != DEVICE_KIND_TEMPLATE)
        return inventory_find_device(e->inventory, name);
    template_as_device(name, template);
    return template;
}

static Device as_before_claim(const Device *d, const Plan *plan) {
    Device before = *d;

    for (size_t i = 0; plan && i < plan->n_members; i++)
        if (device_name_compare(&plan->members[i].name, &d->name) == 0)
            before.driver = plan->members[i].original_driver[0] ? plan->members[i].original_driver : NULL;
    return before;
}

void broker_question_init(BrokerQuestion *q, Survey *survey, unsigned facts, const Subject *subject,
        const Device *d, const Plan *plan) {
    *q = (BrokerQuestion){.device = as_before_claim(d, plan)};
    q->question = (PolicyQuestion){.subject = subject, .device = &q->device, .now_usec = broker_now_usec()};
    if (facts != 0)
        (void) survey_get(survey, &d->name, facts, &q->question.facts);
}

/* ---- facts ---- */

static int read_facts(void *userdata, const Device *device, unsigned what, DeviceFacts *ret) {
    const Broker *e = userdata;
    const FactSource *source = &e->config.host->facts;

    return source->read_facts(source->userdata, device, what, ret);
}

static int read_kernel_facts(void *userdata, KernelFacts *ret) {
    const Broker *e = userdata;
    const FactSource *source = &e->config.host->facts;

    return source->read_kernel_facts(source->userdata, ret);
}

static int read_weakness(void *userdata, char **ret) {
    const Broker *e = userdata;

    return e->read_weakness ? e->read_weakness(e->weakness_userdata, ret) : -EOPNOTSUPP;
}

static int read_mdev_types(void *userdata, MdevTypes *ret) {
    const Broker *e = userdata;
    const FactSource *source = &e->config.host->facts;

    return source->read_mdev_types ? source->read_mdev_types(source->userdata, ret) : -EOPNOTSUPP;
}

static FactSource source_of(Broker *e) {
    return (FactSource){.read_facts = read_facts,
            .read_kernel_facts = read_kernel_facts,
            .read_weakness = read_weakness,
            .read_mdev_types = read_mdev_types,
            .userdata = e};
}

void broker_inquiry_done(BrokerInquiry *q) {
    q->task = survey_task_free(q->task);
    survey_done(&q->survey);
}

int broker_inquire(Broker *e, BrokerInquiry *q) {
    const FactSource source = source_of(e);

    for (size_t i = 0; i < q->survey.n_devices; i++)
        if (q->survey.devices[i].wanted & DEVICE_FACT_SEEN_CAPS)
            seen_caps_check(e->inventory, &q->survey.devices[i].name);
    q->task = survey_task_free(q->task);
    return surveyor_take(
            e->surveyor, &q->survey, &source, e->config.host->sleeps, q->ready, q->userdata, &q->task);
}

void broker_take_now(Broker *e, Survey *survey) {
    const FactSource source = source_of(e);

    surveyor_take_now(e->surveyor, survey, &source, e->config.host->sleeps);
}

int broker_look_at(Broker *e, BrokerInquiry *q, const DeviceName *name, unsigned what) {
    int r = name ? survey_want(&q->survey, name, what) : 0;

    if (!name && (what & DEVICE_FACT_MDEV_TYPES))
        q->survey.mdev_types_wanted = true;
    return r < 0 ? r : broker_inquire(e, q);
}

int broker_inquire_for_policy(Broker *e, BrokerInquiry *q, unsigned facts, const Request *request) {
    int r = 0;

    for (size_t i = 0; facts != 0 && r >= 0 && i < request->n_devices; i++)
        if (inventory_find_device(e->inventory, &request->devices[i]))
            r = survey_want(&q->survey, &request->devices[i], facts);
    return r < 0 ? r : broker_inquire(e, q);
}

/* What a request is planned against. */
typedef struct Rivals {
    const Broker *broker;
    const Claim *whole;    /* the claim that the devices shall join; NULL: none */
    ClaimRun *reservation; /* that the request redeems, so it does not block the request; NULL: none */
} Rivals;

static void count_usage(void *userdata, const char *rule_key, const Subject *subject, RuleUsage *ret) {
    const Rivals *rivals = userdata;

    usage_count(rivals->broker->usage, rule_key, subject,
            rivals->reservation ? rivals->reservation->charge : NULL, ret);
}

/* Neither the policy nor the kernel knows whether this process can do it. */
static int check_raw_io(const Broker *e, const Plan *plan, Refusal *refusal) {
    int r;

    if (plan->backend != BACKEND_NOIOMMU || e->raw_io)
        return 0;
    r = refuse(refusal, VFIOD_ERROR_NOIOMMU_DISABLED, &plan->members[0].name,
            "vfiod has no CAP_SYS_RAWIO, or gave it up under an earlier policy");
    refusal->remedy = strdup("The operator must give it the capability, see vfiod(8), and then restart it "
                             "('systemctl restart vfiod'). Claims are kept.");
    return r;
}

/* Looking for the nearest rule costs as much as a hundred refusals. A caller that repeats a request is
 * refused each time, but does not get the explanation each time. */
static bool was_told_often(Broker *e, const Subject *subject, uint64_t now) {
    if (now - e->explanations_since_usec > EXPLANATIONS_USEC) {
        rate_limit_restart(&e->explanations);
        e->explanations_since_usec = now;
    }
    return !rate_limit_admit(&e->explanations, subject->uid);
}

/* Counts each question once, however often it is resumed. */
static bool begin_inquiry(Broker *e, BrokerInquiry *q, const Subject *subject) {
    if (q->begun)
        return false;
    q->begun = true;
    q->brief = was_told_often(e, subject, broker_now_usec());
    return true;
}

/* The claim that the devices shall join is looked up each time: it may have ended meanwhile. */
static int find_whole(Broker *e, const Request *request, const Claim **ret, Refusal *refusal) {
    ClaimRun *j = request->claim[0] ? claims_find(e, request->claim) : NULL;

    if (request->claim[0] && (!j || j->claim.state != CLAIM_HELD))
        return refuse(refusal, VFIOD_ERROR_NO_SUCH_CLAIM, NULL, "claim %s has ended", request->claim);
    *ret = j ? &j->claim : NULL;
    return 0;
}

/* The reservation steps aside while the planner looks. Nothing else runs meanwhile. */
static int build_plan(const PlanContext *context, const Rivals *rivals, const Request *request,
        const Subject *subject, Plan *ret, Refusal *refusal) {
    int r;

    if (rivals->reservation)
        claim_run_detach(rivals->reservation);
    r = plan_build(context, request, subject, ret, refusal);
    if (rivals->reservation)
        claim_run_attach(rivals->reservation);
    return r;
}

static int try_plan(Broker *e, BrokerInquiry *q, const Request *request, const Subject *subject,
        Rivals *rivals, Plan *ret, Refusal *refusal) {
    bool first = begin_inquiry(e, q, subject);
    const PlanContext context = {
            .inventory = e->inventory,
            .policy = e->policy,
            .excerpt = excerpts_get(&e->excerpts, e->policy, e->policy_generation, subject),
            .survey = &q->survey,
            .now_usec = broker_now_usec(),
            .count_usage = count_usage,
            .usage_userdata = rivals,
            .claim = rivals->whole,
            .find_maker = claims_find_maker,
            .count_promised = claims_count_promised,
            .maker_userdata = e,
            .all_obstacles = q->all_obstacles,
            .beyond_policy = q->beyond_policy,
            .describe = q->all_obstacles,
            .ret_priority = &q->priority,
            .ret_asks = &q->asks,
            .brief = q->brief,
    };
    /* A caller that is refused again and again is refused before anything is read. */
    int r = first && (!q->brief || e->allowed_uid == subject->uid) ? plan_need(&context, request) : 0;

    for (;;) {
        if (r >= 0)
            r = broker_inquire(e, q);
        if (r == -ENOMEM)
            return refuse(refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
        if (r < 0)
            return r;
        r = build_plan(&context, rivals, request, subject, ret, refusal);
        if (r != -EAGAIN)
            return r;
        r = 0;
    }
}

int broker_make_plan(Broker *e, BrokerInquiry *q, const Request *request, const Subject *subject, Plan *ret,
        Refusal *refusal) {
    _cleanup_(plan_done) Plan plan = PLAN_NULL;
    Rivals rivals = {.broker = e};
    int r;

    r = request_validate(request, refusal);
    if (r >= 0)
        r = find_whole(e, request, &rivals.whole, refusal);
    if (r >= 0 && request->ticket[0])
        r = reservation_find(e, request, subject, &rivals.reservation, refusal);
    for (size_t i = 0; i < request->n_devices && request->needs.caps != 0; i++)
        seen_caps_check(e->inventory, &request->devices[i]);
    if (r >= 0)
        r = waiting_check(e, q, request, rivals.whole,
                try_plan(e, q, request, subject, &rivals, &plan, refusal), refusal);
    if (r >= 0)
        r = check_raw_io(e, &plan, refusal);
    if (r < 0)
        return r;
    *ret = TAKE_GENERIC(plan, PLAN_NULL);
    return 0;
}

static int check_cookie(Broker *e, const Request *request, const Subject *subject, Refusal *refusal) {
    const ClaimRun *j = claims_find_cookie(e, subject->uid, request->cookie);
    int r;

    if (!j)
        return 0;
    r = refuse(refusal, VFIOD_ERROR_COOKIE_IN_USE, NULL, "your claim %s has the cookie %s", j->claim.id,
            request->cookie);
    refusal_add_blocker(refusal, BLOCKER_CLAIM, j->claim.id, "%s", claim_state_to_string(j->claim.state));
    return r;
}

int broker_plan(Broker *e, BrokerInquiry *q, const Request *request, const Subject *subject, Plan *ret,
        Refusal *refusal) {
    Request resolved = *request;
    int r;

    r = check_cookie(e, request, subject, refusal);
    if (r >= 0)
        r = reservation_resolve(e, &resolved, subject, refusal);
    return r < 0 ? r : broker_make_plan(e, q, &resolved, subject, ret, refusal);
}

static int describe(Claim *c, const Request *request, const Subject *subject, const Subject *owner) {
    c->pid = subject->pid;
    c->since_usec = broker_now_usec();
    strcpy(c->cookie, request->cookie);
    memcpy(c->of, request->claim, sizeof(c->of));
    if (claims_make_id(c->id) < 0 || subject_copy(owner, &c->subject) < 0 ||
            free_and_strdup(&c->command, subject->command) < 0 ||
            free_and_strdup(&c->unit, subject->unit) < 0 ||
            free_and_strdup(&c->reason, request->reason[0] ? request->reason : NULL) < 0)
        return refuse(&c->refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory or of random numbers");
    return 0;
}

void broker_note_refusal(Broker *e, const Request *request, const Subject *subject, const Refusal *refusal) {
    audit_refused(e->audit, subject, request, refusal);
    figures_note_refusal(&e->figures, refusal);
    refusal_memory_keep(&e->refusals, subject, request, refusal, broker_now_usec(), e->policy_generation);
}

void broker_note_cut_off(Broker *e, uid_t uid, const char *why) {
    audit_cut_off(e->audit, uid, why);
}

/* Each user may take only so many devices from their drivers in a given time. */
static int charge_rebinding(Broker *e, const Plan *plan, const Subject *subject, Refusal *refusal) {
    int r = 0;

    for (size_t i = 0; i < plan->n_members && r >= 0; i++) {
        const PlanMember *m = &plan->members[i];

        if (plan_member_is_changed(m) && !m->kept)
            r = budget_rebind(e->config.budget, subject->uid, &m->name, budget_now(), refusal);
    }
    return r;
}

static int make_plan(ClaimRun *j) {
    ClaimQuestion *q = j->question;
    Claim *c = &j->claim;
    Plan plan = PLAN_NULL;
    int r;

    if (q->reserving)
        return reservation_plan(j);
    r = broker_make_plan(j->broker, &q->inquiry, &q->request, j->subject, &plan, &c->refusal);
    if (r < 0)
        return r;
    plan_done(&c->plan); /* the plan of a claim that has waited */
    c->plan = plan;
    return charge_rebinding(j->broker, &c->plan, j->subject, &c->refusal);
}

/* The request is allowed. The next event is to ask a person, to reserve, or to allow.
 *
 * Returns 0 with the event in *ret_event, or refuses. */
static int go_ahead(ClaimRun *j, ClaimEvent *ret_event) {
    ClaimQuestion *q = j->question;
    Claim *c = &j->claim;

    *ret_event = q->reserving ? CLAIM_EVENT_RESERVED : CLAIM_EVENT_ALLOWED;
    if (q->request.ticket[0])
        return reservation_redeem(j);
    if (!c->plan.ask)
        return claim_run_allow(j);
    *ret_event = CLAIM_EVENT_ASK;
    return claim_question_prepare(q, &c->plan) < 0
            ? refuse(&c->refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory")
            : 0;
}

/* Some facts may arrive later. Until then the claim stays as it is, holds nothing, and is shown to nobody. */
void broker_decide(ClaimRun *j) {
    ClaimQuestion *q = j->question;
    Broker *e = j->broker;
    Claim *c = &j->claim;
    ClaimEvent event = CLAIM_EVENT_DENIED;
    int r;

    r = broker_inquire_for_policy(e, &q->inquiry, broker_shadow_facts(e), &q->request);
    if (r >= 0)
        r = make_plan(j);
    else if (r != -EAGAIN)
        r = refuse(&c->refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
    if (r == -EAGAIN)
        return;
    if (r < 0 && waiting_begin(j)) {
        if (c->state != CLAIM_WAITING)
            claim_run_feed(j, CLAIM_EVENT_QUEUED);
        return;
    }
    if (!q->reserving) /* a reservation is compared when it is redeemed */
        broker_compare_shadow(e, &q->inquiry.survey, &q->request, j->subject);
    if (r >= 0)
        r = go_ahead(j, &event);
    e->allowed_uid = r < 0 ? (uid_t) -1 : c->uid;
    if (r < 0) {
        event = CLAIM_EVENT_DENIED;
        broker_note_refusal(e, &q->request, j->subject, &c->refusal);
    }
    if (event != CLAIM_EVENT_ASK)
        j->question = claim_question_free(q);
    claim_run_feed(j, event);
}

static void on_facts(void *userdata) {
    ClaimRun *j = userdata;
    BudgetAccount *account = budget_account(j->broker->config.budget, j->claim.uid);

    if (account)
        budget_spend_look(account, budget_now());
    broker_decide(j);
}

/* On a recorded host an ordinary refusal stays as it is. A request that would be allowed is refused too,
 * because there is no device. */
static void refuse_simulated(
        Broker *e, const Request *request, const Subject *subject, acquire_done_t done, void *userdata) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(broker_inquiry_done) BrokerInquiry q = {}; /* nothing on a recorded host has to be waited for */
    _cleanup_(plan_done) Plan plan = PLAN_NULL;
    int r;

    r = broker_inquire_for_policy(e, &q, broker_shadow_facts(e), request);
    if (r >= 0)
        r = broker_plan(e, &q, request, subject, &plan, &refusal);
    if (r >= 0)
        (void) refuse(&refusal, VFIOD_ERROR_SIMULATION, &request->devices[0],
                "%s, but this is a recorded host",
                plan.ask ? "authentication would be required" : "the request would be granted");
    broker_compare_shadow(e, &q.survey, request, subject);
    broker_note_refusal(e, request, subject, &refusal);
    (void) done(userdata, NULL, &refusal);
}

static const Subject *owner_of(const ReserveWish *wish, const Subject *subject) {
    return wish && wish->owner ? wish->owner : subject;
}

/* Refuses what needs no fact, and charges the caller. */
static int check_in(ClaimRun *j, const ReserveWish *wish, const Subject *subject, Refusal *refusal) {
    const Request *request = &j->question->request;
    int r;

    r = check_cookie(j->broker, request, subject, refusal);
    if (r >= 0 && wish)
        r = reservation_begin(j, wish, subject, refusal);
    if (r < 0 || request->ticket[0])
        return r < 0 ? r : reservation_begin_redeeming(j, subject, refusal);
    j->claim.uid = owner_of(wish, subject)->uid;
    r = budget_begin_claim(j->broker->config.budget, j->claim.uid, refusal);
    j->charged = r >= 0;
    return r;
}

void broker_begin(Broker *e, const Request *request, const ReserveWish *wish, const Subject *subject,
        const Asker *asker, acquire_done_t done, void *userdata) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    ClaimRun *j;
    int r;

    j = claim_run_new(e);
    if (j)
        j->question = claim_question_new(request, asker, on_facts, j);
    r = j && j->question ? check_in(j, wish, subject, &refusal)
                         : refuse(&refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
    if (r < 0) {
        broker_note_refusal(e, request, subject, &refusal);
        (void) done(userdata, NULL, &refusal);
        (void) claim_run_free(j);
        return;
    }
    j->claim.uid = owner_of(wish, subject)->uid;
    j->done = done;
    j->userdata = userdata;
    j->subject = subject;
    if (describe(&j->claim, request, subject, owner_of(wish, subject)) >= 0) {
        broker_decide(j);
        return;
    }
    broker_note_refusal(e, request, subject, &j->claim.refusal);
    claim_run_feed(j, CLAIM_EVENT_DENIED);
}

void broker_acquire(Broker *e, const Request *request, const Subject *subject, const Asker *asker,
        acquire_done_t done, void *userdata) {
    if (e->config.simulated)
        refuse_simulated(e, request, subject, done, userdata);
    else
        broker_begin(e, request, /* wish= */ NULL, subject, asker, done, userdata);
}

void broker_reserve(Broker *e, const ReserveWish *wish, const Request *request, const Subject *subject,
        const Asker *asker, acquire_done_t done, void *userdata) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;

    if (!e->config.simulated) {
        broker_begin(e, request, wish, subject, asker, done, userdata);
        return;
    }
    (void) refuse(&refusal, VFIOD_ERROR_SIMULATION, NULL, "a recorded host has no device to reserve");
    (void) done(userdata, NULL, &refusal);
}

void broker_forget_caller(Broker *e, void *userdata) {
    vf_changes_forget_caller(e, userdata);
    for (ClaimRun *j = e->claims; j; j = j->next)
        if (j->done && j->userdata == userdata) {
            j->done = NULL;
            claim_run_feed(j, CLAIM_EVENT_RELEASE);
            return;
        }
}

static int refuse_unknown(const char *name, Refusal *refusal) {
    _cleanup_free_ char *shown = sanitize(name, CLAIM_NAME_SHOWN_MAX);

    return refuse(refusal, VFIOD_ERROR_NO_SUCH_CLAIM, NULL, "there is no claim %s", shown ?: "of that name");
}

/* Another user only learns that the claim is not theirs. */
int broker_find_own(Broker *e, const char *name, const Subject *subject, ClaimRun **ret, Refusal *refusal) {
    ClaimRun *j = claims_find_named(e, name, subject);

    if (!j || j->claim.state == CLAIM_REQUESTED)
        return refuse_unknown(name, refusal);
    if (!subject_is_operator(subject) && subject->uid != j->claim.uid)
        return refuse(refusal, VFIOD_ERROR_NOT_OWNER, NULL, "claim %s is not yours", j->claim.id);
    *ret = j;
    return 0;
}

int broker_release(Broker *e, const char *name, const Subject *subject, Refusal *refusal) {
    ClaimRun *j = NULL;
    int r;

    r = broker_find_own(e, name, subject, &j, refusal);
    if (r < 0)
        return r;
    if (j->claim.state != CLAIM_QUARANTINED || subject_is_operator(subject))
        audit_released(&j->claim, subject);
    if (j->claim.state != CLAIM_QUARANTINED) {
        if (j->claim.state == CLAIM_AUTHORIZING)
            (void) refuse(&j->claim.refusal, VFIOD_ERROR_NOT_AUTHORIZED, NULL,
                    "the claim was released while polkit was asking");
        if (j->claim.state == CLAIM_WAITING) {
            (void) refuse(&j->claim.refusal, VFIOD_ERROR_DEVICE_CLAIMED, &j->claim.plan.members[0].name,
                    "the claim was released while it waited in the queue");
            j->claim.refusal.remedy = strdup("Request it again.");
        }
        j->end = subject->uid == j->claim.uid ? CLAIM_END_RELEASED : CLAIM_END_OPERATOR;
        claim_run_feed(j, CLAIM_EVENT_RELEASE);
        return 0;
    }
    if (!subject_is_operator(subject))
        return refuse(refusal, VFIOD_ERROR_NOT_OWNER, NULL,
                "claim %s is quarantined: only root can lift the quarantine", j->claim.id);
    refusal_done(&j->claim.refusal);
    claim_run_feed(j, CLAIM_EVENT_FORGET);
    return 0;
}

/* ---- looking ---- */

const Claim *broker_find_claim(Broker *e, const char *id) {
    ClaimRun *j = claims_find(e, id);

    return j && j->announced ? &j->claim : NULL;
}

int broker_find_named_claim(
        Broker *e, const char *name, const Subject *subject, const Claim **ret, Refusal *refusal) {
    ClaimRun *j = claims_find_named(e, name, subject);

    if (!j || !j->announced)
        return refuse_unknown(name, refusal);
    *ret = &j->claim;
    return 0;
}

int broker_check_reload(const Subject *subject, Refusal *refusal) {
    int r;

    if (subject_is_operator(subject))
        return 0;
    r = refuse(refusal, VFIOD_ERROR_ACCESS_DENIED, NULL, "only root can reload the policy");
    refusal->remedy = strdup("Do it as root. No rule can allow it.");
    return r;
}

int broker_foreach_claim(Broker *e, int (*visit)(const Claim *c, void *userdata), void *userdata) {
    for (ClaimRun *j = e->claims; j; j = j->next) {
        int r = j->announced ? visit(&j->claim, userdata) : 0;

        if (r != 0)
            return r;
    }
    return 0;
}

unsigned broker_n_claims(const Broker *e) {
    return e->n_announced;
}

bool broker_is_idle(const Broker *e) {
    return !e->claims && !e->vf_changes && !e->siblings && !e->leftovers;
}

bool broker_is_at_rest(const Broker *e) {
    for (const ClaimRun *j = e->claims; j; j = j->next)
        if ((j->done && j->claim.state != CLAIM_WAITING) || j->task || j->work.unit)
            return false;
    return !e->vf_changes && !e->siblings && !e->leftovers;
}

/* ---- the world moves ---- */

static ClaimRun *claim_run_of(const Device *d) {
    return d->claim ? container_of(d->claim, ClaimRun, claim) : NULL;
}

/* A quarantine ends when all its devices have been pulled out. */
static bool others_remain(const ClaimRun *j, const Device *gone) {
    for (size_t i = 0; i < j->claim.plan.n_members; i++) {
        const PlanMember *m = &j->claim.plan.members[i];

        if (plan_member_is_moved(m) && device_name_compare(&m->name, &gone->name) != 0 &&
                claim_run_find_device(j, m))
            return true;
    }
    return false;
}

static bool is_claimed(const ClaimRun *j, const DeviceName *name) {
    const PlanMember *m = plan_find_member(&j->claim.plan, name);

    if (!m || m->disposition != DISPOSITION_CLAIM)
        return false;
    return !m->leaving || j->claim.state != CLAIM_HELD; /* nobody has it, as with a parked one */
}

bool broker_feed_gone(ClaimRun *j, const DeviceName *name, const char *why) {
    ClaimRun *part = j->claim.state == CLAIM_HELD ? claim_part_lose(j, name) : NULL, *gone = part ?: j;

    if (gone->claim.state == CLAIM_HELD || gone->claim.state == CLAIM_RESERVED)
        (void) refuse(&gone->claim.refusal, VFIOD_ERROR_DEVICE_GONE, name, "%s", why);
    claim_run_feed(gone, CLAIM_EVENT_DEVICE_GONE);
    return part;
}

void broker_device_removed(Broker *e, Device *device) {
    ClaimRun *j = claim_run_of(device);

    node_watch_drop_idle(e->nodes);
    waiting_wake(e);
    caps_store_forget(e->config.simulated ? NULL : e->config.state_directory, &device->name);
    if (!j || (j->claim.state == CLAIM_QUARANTINED && others_remain(j, device)))
        return;
    /* Nobody has a parked sibling, and the claim goes on without it. */
    if (j->claim.state != CLAIM_QUARANTINED && !is_claimed(j, &device->name))
        return;
    (void) broker_feed_gone(j, &device->name, "it was unplugged while it was held");
}

void broker_device_changed(Broker *e, Device *device, int changes) {
    ClaimRun *j;

    node_watch_drop_idle(e->nodes);
    sibling_note(e, device, changes);
    if (changes & DEVICE_ADDED) {
        vf_changes_note_device(e, device);
        kept_claims_note_device(e, device);
    }
    if ((changes & (DEVICE_ADDED | DEVICE_DRIVER_CHANGED)) && policy_n_functions(e->policy) > 0)
        vf_declared_try(e, device);
    /* A device may be plugged in again before the old claim on this place is over. It stays with that claim.
     */
    if (changes & (DEVICE_ADDED | DEVICE_GROUP_CHANGED)) {
        j = claims_find_naming(e, &device->name);
        if (j)
            claim_run_attach(j);
    }
    /* Somebody takes the driver away under a held device. The node goes first, and nothing else announces it.
     */
    j = claim_run_of(device);
    if (j && j->claim.state == CLAIM_HELD && is_claimed(j, &device->name) && device->vfio_index < 0 &&
            (changes & DEVICE_NODE_CHANGED))
        (void) broker_feed_gone(j, &device->name, "it left its vfio driver while it was held");
}
