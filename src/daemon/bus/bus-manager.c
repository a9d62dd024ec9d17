/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The methods of org.vfiod1.Manager. */

#include "base/failpoint.h"
#include "base/str.h"
#include "core/record.h"
#include "daemon/broker/explain-question.h"
#include "daemon/bus/bus-internal.h"

/* The size of a name in a message, roughly. */
#define GRANTED_FD_BYTES 32U

static int read_request(sd_bus_message *m, Request *request, Refusal *refusal) {
    int r;

    r = bus_read_devices(m, request, refusal);
    if (r >= 0)
        r = bus_read_options(m, request, refusal);
    if (r < 0)
        return r;
    return request_validate(request, refusal);
}

/* ---- Acquire ---- */

/* The string at index n of a list; NULL after the last. */
typedef const char *(*nth_string_t)(const Grant *grant, size_t n, char buf[static DEVICE_NAME_MAX]);

static const char *nth_device(const Grant *g, size_t n, char buf[static DEVICE_NAME_MAX]) {
    return n < g->plan->n_claimed ? device_name_format(&g->plan->members[n].name, buf) : NULL;
}

static const char *nth_node(const Grant *g, size_t n, char buf[static DEVICE_NAME_MAX]) {
    return n < g->n_nodes ? g->nodes[n].path : NULL;
}

static const char *nth_vf_token(const Grant *g, size_t n, char buf[static DEVICE_NAME_MAX]) {
    return n < g->plan->n_claimed ? g->plan->members[n].vf_token : NULL;
}

static int append_strings(sd_bus_message *reply, const char *key, const Grant *grant, nth_string_t nth) {
    char buf[DEVICE_NAME_MAX];
    const char *s;
    int r;

    r = sd_bus_message_open_container(reply, 'e', "sv");
    if (r >= 0)
        r = sd_bus_message_append(reply, "s", key);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'v', "as");
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "s");
    for (size_t i = 0; r >= 0 && (s = nth(grant, i, buf)); i++)
        r = sd_bus_message_append(reply, "s", s);
    for (unsigned level = 0; r >= 0 && level < 3; level++) /* as, v, e */
        r = sd_bus_message_close_container(reply);
    return r;
}

static int append_result(sd_bus_message *reply, const Grant *grant, bool joins) {
    const Plan *plan = grant->plan;
    _cleanup_free_ char *rule = sanitize(plan->rule, sizeof plan->rule);
    char path[BUS_OBJECT_PATH_MAX];
    int r;

    if (!rule)
        return -ENOMEM;
    r = sd_bus_message_open_container(reply, 'a', "{sv}");
    if (r < 0)
        return r;
    r = sd_bus_message_append(reply, "{sv}{sv}{sv}{sv}", "backend", "s", backend_to_string(plan->backend),
            "rule", "s", rule, "grant", "s", grant_kind_to_string(plan->grant), "tether", "s",
            tether_kind_to_string(plan->tether));
    if (r >= 0 && joins) /* the caller may have named it by its cookie */
        r = sd_bus_message_append(reply, "{sv}", "claim", "o", bus_claim_path(grant->claim->id, path));
    if (r >= 0 && plan->memlock > 0)
        r = sd_bus_message_append(reply, "{sv}", "memlock", "t", plan->memlock);
    if (r >= 0)
        r = append_strings(reply, "devices", grant, nth_device);
    if (r >= 0 && plan->grant == GRANT_NODE)
        r = append_strings(reply, "nodes", grant, nth_node);
    if (r >= 0 && plan_has_vf_token(plan))
        r = append_strings(reply, "vfTokens", grant, nth_vf_token);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_fds(sd_bus_message *reply, const GrantedFd *fds, size_t n_fds) {
    int r;

    r = sd_bus_message_open_container(reply, 'a', "(sh)");
    if (r < 0)
        return r;
    for (size_t i = 0; i < n_fds; i++) {
        r = sd_bus_message_append(reply, "(sh)", fds[i].name, fds[i].fd);
        if (r < 0)
            return r;
    }
    return sd_bus_message_close_container(reply);
}

/* Sending comes last. If it fails, nobody gets the fds. */
static int send_grant(BusCall *call, const Grant *grant, bool joins) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    char path[BUS_OBJECT_PATH_MAX];
    int r;

    r = sd_bus_message_new_method_return(call->message, &reply);
    if (r >= 0 && !joins)
        r = sd_bus_message_append(reply, "o", bus_claim_path(grant->claim->id, path));
    if (r < 0)
        return r;
    r = append_result(reply, grant, joins);
    if (r < 0)
        return r;
    r = append_fds(reply, grant->fds, grant->n_fds);
    if (r < 0)
        return r;
    bus_call_charge_fds(call, grant->n_fds);
    return bus_call_send(call, reply, grant->n_fds * GRANTED_FD_BYTES);
}

static int finish(BusCall *call, const Grant *grant, const Refusal *refusal, bool joins) {
    int r = grant ? send_grant(call, grant, joins) : -EIO;

    call->with_engine = false; /* it has called back */
    if (r < 0)
        bus_call_refuse(call, r, refusal);
    bus_call_free(call);
    return r;
}

static int on_acquired(void *userdata, const Grant *grant, const Refusal *refusal) {
    return finish(userdata, grant, refusal, /* joins= */ false);
}

static int on_added(void *userdata, const Grant *grant, const Refusal *refusal) {
    return finish(userdata, grant, refusal, /* joins= */ true);
}

static Asker asker_of(sd_bus_message *m) {
    return (Asker){
            .bus_name = sd_bus_message_get_sender(m),
            .interactive = sd_bus_message_get_allow_interactive_authorization(m) > 0,
    };
}

static int refuse_stopping(Refusal *refusal) {
    return refuse(refusal, VFIOD_ERROR_SHUTTING_DOWN, NULL, "vfiod is stopping");
}

static int run_acquire(BusCall *call, const Subject *subject, Refusal *refusal) {
    const Asker asker = asker_of(call->message);
    Request request = REQUEST_NULL;
    int r;

    if (call->face->stopping)
        return refuse_stopping(refusal);
    r = read_request(call->message, &request, refusal);
    if (r < 0)
        return r;
    call->with_engine = true;
    broker_acquire(call->face->context.host.broker, &request, subject, &asker, on_acquired, call);
    return BUS_CALL_PENDING;
}

static int method_acquire(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_ask(userdata, m, DOOR_SHORT, run_acquire, error);
}

/* ---- Reserve ---- */

/* No other message on the bus contains the ticket. */
static int send_ticket(BusCall *call, const Claim *c) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    char path[BUS_OBJECT_PATH_MAX], device[DEVICE_NAME_MAX], ticket[REQUEST_TICKET_MAX];
    int r;

    r = sd_bus_message_new_method_return(call->message, &reply);
    if (r >= 0)
        r = sd_bus_message_append(reply, "osa{sv}", bus_claim_path(c->id, path),
                claim_format_ticket(c, ticket), 3, "device", "s",
                device_name_format(&c->plan.members[0].name, device), "uid", "u", (uint32_t) c->uid, "until",
                "t", c->until_usec);
    return r < 0 ? r : bus_call_send(call, reply, 0);
}

static int on_reserved(void *userdata, const Grant *grant, const Refusal *refusal) {
    BusCall *call = userdata;
    int r = grant ? send_ticket(call, grant->claim) : -EIO;

    call->with_engine = false; /* it has called back */
    if (r < 0)
        bus_call_refuse(call, r, refusal);
    bus_call_free(call);
    return r;
}

typedef struct ReserveOptions {
    ReserveWish wish;
    ExplainQuestion described; /* who will redeem the ticket */
} ReserveOptions;

static int read_reserve_option(sd_bus_message *m, const char *name, void *userdata, Refusal *refusal) {
    ReserveOptions *o = userdata;
    const char *type;
    int r;

    if (!streq(name, "ttl")) {
        r = bus_read_caller_option(m, name, &o->described, refusal);
        return r != 0 ? r : request_check_reserve_option(name, refusal);
    }
    r = sd_bus_message_peek_type(m, NULL, &type);
    if (r >= 0 && !streq(type, "t"))
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the option \"ttl\" must have the type t");
    if (r >= 0)
        r = sd_bus_message_read(m, "v", "t", &o->wish.ttl_sec);
    return r < 0 ? r : 1;
}

static int read_wish(sd_bus_message *m, ReserveOptions *o, Request *request, Refusal *refusal) {
    int r;

    r = sd_bus_message_read(m, "s", &o->wish.device);
    if (r >= 0)
        r = bus_read_options_with(m, request, read_reserve_option, o, refusal);
    if (o->described.about_other)
        o->wish.owner = &o->described.other;
    return r;
}

static int run_reserve(BusCall *call, const Subject *subject, Refusal *refusal) {
    ReserveOptions o = {.described = EXPLAIN_QUESTION_NULL};
    const Asker asker = asker_of(call->message);
    Request request = REQUEST_NULL;
    int r;

    if (call->face->stopping)
        return refuse_stopping(refusal);
    r = read_wish(call->message, &o, &request, refusal);
    if (r >= 0) {
        call->with_engine = true;
        broker_reserve(
                call->face->context.host.broker, &o.wish, &request, subject, &asker, on_reserved, call);
    }
    explain_question_done(&o.described);
    return r < 0 ? r : BUS_CALL_PENDING;
}

static int method_reserve(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_ask(userdata, m, DOOR_SHORT, run_reserve, error);
}

/* ---- AddDevices, ReleaseDevices ---- */

static int run_add_devices(BusCall *call, const Subject *subject, Refusal *refusal) {
    const Asker asker = asker_of(call->message);
    Request request = REQUEST_NULL;
    const char *claim;
    int r;

    if (call->face->stopping)
        return refuse_stopping(refusal);
    r = sd_bus_message_read(call->message, "s", &claim);
    if (r >= 0)
        r = read_request(call->message, &request, refusal);
    if (r < 0)
        return r;
    call->with_engine = true;
    broker_add_devices(call->face->context.host.broker, claim, &request, subject, &asker, on_added, call);
    return BUS_CALL_PENDING;
}

static int method_add_devices(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_ask(userdata, m, DOOR_SHORT, run_add_devices, error);
}

static int run_release_devices(BusCall *call, const Subject *subject, Refusal *refusal) {
    Request request = REQUEST_NULL;
    const char *claim;
    int r;

    r = sd_bus_message_read(call->message, "s", &claim);
    if (r >= 0)
        r = bus_read_devices(call->message, &request, refusal);
    if (r >= 0)
        r = bus_read_options(call->message, NULL, refusal);
    if (r >= 0)
        r = broker_release_devices(call->face->context.host.broker, claim, &request, subject, refusal);
    if (r < 0)
        return r;
    return bus_call_reply(call, 0, NULL);
}

static int method_release_devices(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_begin(userdata, m, DOOR_SHORT, NULL, run_release_devices, error);
}

/* ---- Transfer ---- */

static int check_option(sd_bus_message *m, const char *name, void *userdata, Refusal *refusal) {
    return request_check_transfer_option(name, refusal);
}

static int run_transfer(BusCall *call, const Subject *subject, Refusal *refusal) {
    const Asker asker = asker_of(call->message);
    Request wish = REQUEST_NULL;
    const char *claim;
    int r;

    if (call->face->stopping)
        return refuse_stopping(refusal);
    wish.tether = _TETHER_KIND_INVALID;
    r = sd_bus_message_read(call->message, "s", &claim);
    if (r >= 0)
        r = bus_read_options_with(call->message, &wish, check_option, NULL, refusal);
    if (r >= 0)
        r = broker_transfer(
                call->face->context.host.broker, claim, &wish, subject, &asker, on_added, call, refusal);
    return r < 0 ? r : BUS_CALL_PENDING; /* it was answered and is freed */
}

static int method_transfer(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_ask(userdata, m, DOOR_SHORT, run_transfer, error);
}

/* ---- The other verbs ---- */

static int run_plan(BusCall *call, const Subject *subject, Refusal *refusal) {
    _cleanup_(plan_done) Plan plan = PLAN_NULL;
    Request request = REQUEST_NULL;
    _cleanup_free_ char *text = NULL;
    int r;

    r = read_request(call->message, &request, refusal);
    if (r < 0)
        return r;
    call->inquiry.all_obstacles = true;
    call->inquiry.beyond_policy = subject_is_operator(subject);
    r = broker_plan(call->face->context.host.broker, &call->inquiry, &request, subject, &plan, refusal);
    if (r < 0)
        return r;
    text = failpoint("file", "plan-text", "before") < 0 ? NULL : plan_to_text(&plan);
    if (!text)
        return -ENOMEM;
    return bus_call_reply(call, 's', text);
}

static int method_plan(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_ask(userdata, m, DOOR_SHORT, run_plan, error);
}

static int method_explain(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_ask(userdata, m, DOOR_SHORT, bus_call_run_explain, error);
}

int bus_call_run_release(BusCall *call, const Subject *subject, Refusal *refusal) {
    const char *id = call->claim;
    int r;

    if (id[0] == '\0') {
        r = sd_bus_message_read(call->message, "s", &id);
        if (r < 0)
            return r;
    }
    r = bus_read_options(call->message, NULL, refusal);
    if (r < 0)
        return r;
    r = broker_release(call->face->context.host.broker, id, subject, refusal);
    if (r < 0)
        return r;
    return bus_call_reply(call, 0, NULL);
}

static int method_release(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_begin(userdata, m, DOOR_SHORT, NULL, bus_call_run_release, error);
}

/* ---- Evict, AnswerEviction ---- */

static int read_seconds(sd_bus_message *m, const char *name, uint64_t *ret, Refusal *refusal) {
    const char *type;
    int r;

    r = sd_bus_message_peek_type(m, NULL, &type);
    if (r >= 0 && !streq(type, "t"))
        return refuse(
                refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the option \"%s\" must have the type t", name);
    if (r >= 0)
        r = sd_bus_message_read(m, "v", "t", ret);
    return r < 0 ? r : 1;
}

static int read_text(sd_bus_message *m, const char *name, const char **ret, Refusal *refusal) {
    const char *type;
    int r;

    r = sd_bus_message_peek_type(m, NULL, &type);
    if (r >= 0 && !streq(type, "s"))
        return refuse(
                refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the option \"%s\" must be a string", name);
    if (r >= 0)
        r = sd_bus_message_read(m, "v", "s", ret);
    return r < 0 ? r : 1;
}

static int read_evict_option(sd_bus_message *m, const char *name, void *userdata, Refusal *refusal) {
    EvictionWish *wish = userdata;
    const char *type;
    int r, cancel;

    if (streq(name, "in"))
        return read_seconds(m, name, &wish->in_sec, refusal);
    if (streq(name, "reason"))
        return read_text(m, name, &wish->reason, refusal);
    if (!streq(name, "cancel"))
        return 0;
    r = sd_bus_message_peek_type(m, NULL, &type);
    if (r >= 0 && !streq(type, "b"))
        return refuse(
                refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the option \"%s\" must be a boolean", name);
    if (r >= 0)
        r = sd_bus_message_read(m, "v", "b", &cancel);
    wish->cancel = r >= 0 && cancel;
    return r < 0 ? r : 1;
}

static int run_evict(BusCall *call, const Subject *subject, Refusal *refusal) {
    EvictionWish wish = {.in_sec = EVICTION_IN_DEFAULT_SEC};
    const char *claim;
    int r;

    r = sd_bus_message_read(call->message, "s", &claim);
    if (r >= 0)
        r = bus_read_options_with(call->message, NULL, read_evict_option, &wish, refusal);
    if (r >= 0)
        r = broker_evict(call->face->context.host.broker, claim, &wish, subject, refusal);
    return r < 0 ? r : bus_call_reply(call, 0, NULL);
}

static int method_evict(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_begin(userdata, m, DOOR_SHORT, NULL, run_evict, error);
}

static int read_answer_option(sd_bus_message *m, const char *name, void *userdata, Refusal *refusal) {
    return streq(name, "more") ? read_seconds(m, name, userdata, refusal) : 0;
}

static int run_answer_eviction(BusCall *call, const Subject *subject, Refusal *refusal) {
    uint64_t more_sec = 0;
    const char *claim;
    int r;

    r = sd_bus_message_read(call->message, "s", &claim);
    if (r >= 0)
        r = bus_read_options_with(call->message, NULL, read_answer_option, &more_sec, refusal);
    if (r >= 0)
        r = broker_answer_eviction(call->face->context.host.broker, claim, more_sec, subject, refusal);
    return r < 0 ? r : bus_call_reply(call, 0, NULL);
}

static int method_answer_eviction(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_begin(userdata, m, DOOR_SHORT, NULL, run_answer_eviction, error);
}

/* ---- RetryQuarantine, ClearQuarantine ---- */

static int run_retry_quarantine(BusCall *call, const Subject *subject, Refusal *refusal) {
    Request request = REQUEST_NULL;
    int r;

    r = bus_read_devices(call->message, &request, refusal);
    if (r >= 0)
        r = bus_read_options(call->message, NULL, refusal);
    if (r >= 0)
        r = broker_retry_quarantine(call->face->context.host.broker, &request, subject, refusal);
    return r < 0 ? r : bus_call_reply(call, 0, NULL);
}

static int method_retry_quarantine(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_begin(userdata, m, DOOR_SHORT, NULL, run_retry_quarantine, error);
}

static int read_clear_option(sd_bus_message *m, const char *name, void *userdata, Refusal *refusal) {
    return streq(name, "reason") ? read_text(m, name, userdata, refusal) : 0;
}

static int run_clear_quarantine(BusCall *call, const Subject *subject, Refusal *refusal) {
    Request request = REQUEST_NULL;
    const char *reason = NULL;
    int r;

    r = bus_read_devices(call->message, &request, refusal);
    if (r >= 0)
        r = bus_read_options_with(call->message, NULL, read_clear_option, &reason, refusal);
    if (r >= 0)
        r = broker_clear_quarantine(call->face->context.host.broker, &request, reason, subject, refusal);
    return r < 0 ? r : bus_call_reply(call, 0, NULL);
}

static int method_clear_quarantine(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_begin(userdata, m, DOOR_SHORT, NULL, run_clear_quarantine, error);
}

static int run_ready_to_sleep(BusCall *call, const Subject *subject, Refusal *refusal) {
    const char *claim;
    int r;

    r = sd_bus_message_read(call->message, "s", &claim);
    if (r >= 0)
        r = bus_read_options(call->message, NULL, refusal);
    if (r >= 0)
        r = broker_ready_to_sleep(call->face->context.host.broker, claim, subject, refusal);
    return r < 0 ? r : bus_call_reply(call, 0, NULL);
}

static int method_ready_to_sleep(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_begin(userdata, m, DOOR_SHORT, NULL, run_ready_to_sleep, error);
}

static int run_reload_policy(BusCall *call, const Subject *subject, Refusal *refusal) {
    const BusContext *context = &call->face->context;
    int r;

    r = bus_read_options(call->message, NULL, refusal);
    if (r < 0)
        return r;
    r = broker_check_reload(subject, refusal);
    if (r < 0)
        return r;
    call->waits_for_policy = true;
    context->reload_policy(context->userdata, subject);
    return BUS_CALL_PENDING;
}

static void answer_reload(BusCall *call, int r) {
    const PolicyLoad *policy = call->face->context.host.policy;
    Refusal refusal = REFUSAL_NULL;

    if (r >= 0 && policy->n_errors > 0)
        r = policy_load_refuse(policy, &refusal);
    if (r >= 0)
        r = bus_call_reply(call, 0, NULL);
    if (r < 0)
        bus_call_refuse(call, r, &refusal);
    refusal_done(&refusal);
    bus_call_free(call);
}

void bus_face_policy_loaded(BusFace *b, int r) {
    for (BusCall *call = b->calls, *next; call; call = next) {
        next = call->next;
        if (call->waits_for_policy)
            answer_reload(call, r);
    }
}

static int method_reload_policy(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_begin(userdata, m, DOOR_SHORT, NULL, run_reload_policy, error);
}

/* ---- SetVirtualFunctions ---- */

static void on_vf_count_set(void *userdata, const Refusal *refusal) {
    BusCall *call = userdata;
    int r = 0;

    call->with_engine = false; /* it has called back */
    if (!refusal)
        r = bus_call_reply(call, 0, NULL);
    if (refusal || r < 0)
        bus_call_refuse(call, refusal ? -error_info(refusal->code)->error : r, refusal);
    bus_call_free(call);
}

static int read_vf_option(sd_bus_message *m, const char *name, void *userdata, Refusal *refusal) {
    VfWish *wish = userdata;
    const char *type;
    int value, r;

    if (!streq(name, "autoprobe"))
        return 0;
    r = sd_bus_message_peek_type(m, NULL, &type);
    if (r >= 0 && !streq(type, "b"))
        return refuse(
                refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the option \"autoprobe\" must be a boolean");
    if (r >= 0)
        r = sd_bus_message_read(m, "v", "b", &value);
    if (r < 0)
        return r;
    wish->autoprobe = value ? SRIOV_AUTOPROBE_ON : SRIOV_AUTOPROBE_OFF;
    return 1;
}

static int run_set_virtual_functions(BusCall *call, const Subject *subject, Refusal *refusal) {
    Request request = REQUEST_NULL;
    const char *spelling;
    VfWish wish = {};
    int r;

    if (call->face->stopping)
        return refuse_stopping(refusal);
    r = sd_bus_message_read(call->message, "su", &spelling, &wish.count);
    if (r >= 0)
        r = request_add_device(&request, spelling, refusal);
    if (r >= 0)
        r = bus_read_options_with(call->message, NULL, read_vf_option, &wish, refusal);
    if (r < 0)
        return r;
    wish.device = request.devices[0];
    call->with_engine = true;
    r = broker_set_vf_count(call->face->context.host.broker, &wish, subject, on_vf_count_set, call, refusal);
    if (r == 0)
        return BUS_CALL_PENDING;
    call->with_engine = false;
    return r < 0 ? r : bus_call_reply(call, 0, NULL);
}

static int method_set_virtual_functions(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_begin(userdata, m, DOOR_SHORT, NULL, run_set_virtual_functions, error);
}

/* ---- Looking objects up ---- */

static int run_get_device(BusCall *call, const Subject *subject, Refusal *refusal) {
    Request request = REQUEST_NULL;
    char path[BUS_OBJECT_PATH_MAX];
    const char *spelling;
    int r;

    r = sd_bus_message_read(call->message, "s", &spelling);
    if (r >= 0)
        r = request_add_device(&request, spelling, refusal); /* the one parser of spellings */
    if (r < 0)
        return r;
    if (!inventory_find_device(call->face->context.host.inventory, &request.devices[0]))
        return refuse(refusal, VFIOD_ERROR_NO_SUCH_DEVICE, &request.devices[0], "there is no such device");
    return bus_call_reply(call, 'o', bus_device_path(&request.devices[0], path));
}

/* Without a reply it would reset a device for nothing. */
static int run_probe_capabilities(BusCall *call, const Subject *subject, Refusal *refusal) {
    Request request = REQUEST_NULL;
    const char *spelling;
    int r;

    r = sd_bus_message_read(call->message, "s", &spelling);
    if (r >= 0)
        r = request_add_device(&request, spelling, refusal);
    if (r >= 0)
        r = bus_read_options(call->message, NULL, refusal);
    if (r >= 0)
        r = broker_learn_caps(
                call->face->context.host.broker, &call->inquiry, &request.devices[0], subject, refusal);
    return r < 0 ? r : bus_call_reply(call, 0, NULL);
}

static int method_probe_capabilities(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_ask(userdata, m, DOOR_SHORT, run_probe_capabilities, error);
}

static int method_get_device(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_ask(userdata, m, DOOR_SHORT, run_get_device, error);
}

static int run_get_group(BusCall *call, const Subject *subject, Refusal *refusal) {
    char path[BUS_OBJECT_PATH_MAX];
    uint32_t id;
    int r;

    r = sd_bus_message_read(call->message, "u", &id);
    if (r < 0)
        return r;
    if (id > INT32_MAX || !inventory_find_group(call->face->context.host.inventory, (int) id))
        return refuse(refusal, VFIOD_ERROR_NO_SUCH_GROUP, NULL, "there is no IOMMU group %u", id);
    return bus_call_reply(call, 'o', bus_group_path((int) id, path));
}

static int method_get_group(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_ask(userdata, m, DOOR_SHORT, run_get_group, error);
}

static int run_get_claim(BusCall *call, const Subject *subject, Refusal *refusal) {
    char path[BUS_OBJECT_PATH_MAX];
    const Claim *claim;
    const char *name;
    int r;

    r = sd_bus_message_read(call->message, "s", &name);
    if (r >= 0)
        r = broker_find_named_claim(call->face->context.host.broker, name, subject, &claim, refusal);
    return r < 0 ? r : bus_call_reply(call, 'o', bus_claim_path(claim->id, path));
}

static int method_get_claim(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_ask(userdata, m, DOOR_SHORT, run_get_claim, error);
}

static int method_list_devices(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_ask(userdata, m, DOOR_LONG, bus_list_devices, error);
}

const sd_bus_vtable bus_manager_methods[] = {
        SD_BUS_METHOD_WITH_ARGS("Acquire", SD_BUS_ARGS("as", devices, "a{sv}", options),
                SD_BUS_RESULT("o", claim, "a{sv}", result, "a(sh)", fds), method_acquire,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Reserve", SD_BUS_ARGS("s", device, "a{sv}", options),
                SD_BUS_RESULT("o", claim, "s", ticket, "a{sv}", result), method_reserve,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("AddDevices", SD_BUS_ARGS("s", claim, "as", devices, "a{sv}", options),
                SD_BUS_RESULT("a{sv}", result, "a(sh)", fds), method_add_devices, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ReleaseDevices", SD_BUS_ARGS("s", claim, "as", devices, "a{sv}", options),
                SD_BUS_NO_RESULT, method_release_devices, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Transfer", SD_BUS_ARGS("s", claim, "a{sv}", options),
                SD_BUS_RESULT("a{sv}", result, "a(sh)", fds), method_transfer, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Plan", SD_BUS_ARGS("as", devices, "a{sv}", options),
                SD_BUS_RESULT("s", plan), method_plan, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Explain", SD_BUS_ARGS("as", devices, "a{sv}", options),
                SD_BUS_RESULT("s", explanation), method_explain, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Release", SD_BUS_ARGS("s", claim, "a{sv}", options), SD_BUS_NO_RESULT,
                method_release, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Evict", SD_BUS_ARGS("s", claim, "a{sv}", options), SD_BUS_NO_RESULT,
                method_evict, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("AnswerEviction", SD_BUS_ARGS("s", claim, "a{sv}", options), SD_BUS_NO_RESULT,
                method_answer_eviction, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ReadyToSleep", SD_BUS_ARGS("s", claim, "a{sv}", options), SD_BUS_NO_RESULT,
                method_ready_to_sleep, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("RetryQuarantine", SD_BUS_ARGS("as", devices, "a{sv}", options),
                SD_BUS_NO_RESULT, method_retry_quarantine, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ClearQuarantine", SD_BUS_ARGS("as", devices, "a{sv}", options),
                SD_BUS_NO_RESULT, method_clear_quarantine, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ProbeCapabilities", SD_BUS_ARGS("s", device, "a{sv}", options),
                SD_BUS_NO_RESULT, method_probe_capabilities, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListDevices", SD_BUS_ARGS("as", properties),
                SD_BUS_RESULT("a{oa{sv}}", devices), method_list_devices, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetDevice", SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", device),
                method_get_device, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetGroup", SD_BUS_ARGS("u", id), SD_BUS_RESULT("o", group), method_get_group,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetClaim", SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", claim),
                method_get_claim, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ReloadPolicy", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT,
                method_reload_policy, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetVirtualFunctions", SD_BUS_ARGS("s", device, "u", count, "a{sv}", options),
                SD_BUS_NO_RESULT, method_set_virtual_functions, SD_BUS_VTABLE_UNPRIVILEGED),
        {},
};
