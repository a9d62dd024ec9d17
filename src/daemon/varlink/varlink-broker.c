/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The methods of org.vfiod.Broker that act or decide. A method reads its parameters, whose types were checked
 * before, calls the broker and replies. It decides nothing. */

#include <stdio.h>

#include "core/record.h"
#include "daemon/broker/explain-question.h"
#include "daemon/varlink/varlink-internal.h"

static Broker *broker_of(const VarlinkCall *call) {
    return call->peer->face->context.host.broker;
}

/* ---- Requests ---- */

static int read_devices(const VarlinkCall *call, Request *request, Refusal *refusal) {
    const JsonNode *devices = varlink_call_parameter(call, "devices");

    FOREACH_ITEM(n, devices) {
        int r = request_add_device(request, n->string, refusal);

        if (r < 0)
            return r;
    }
    return 0;
}

static int set_option(Request *request, const JsonNode *value, Refusal *refusal) {
    char number[24];

    if (value->type == JSON_STRING)
        return request_set_option(request, value->key, value->string, refusal);
    if (value->type == JSON_BOOLEAN)
        return request_set_option(request, value->key, value->boolean ? "yes" : "no", refusal);
    (void) snprintf(number, sizeof(number), "%lld", (long long) value->integer);
    return request_set_option(request, value->key, number, refusal);
}

int varlink_read_request(const VarlinkCall *call, Request *request, Refusal *refusal) {
    const JsonNode *parameters = call->message.parameters;
    int r;

    r = read_devices(call, request, refusal);
    for (const JsonNode *n = parameters ? parameters->children : NULL; n && r >= 0; n = n->next)
        if (n->type != JSON_NULL && request_option_type(n->key))
            r = set_option(request, n, refusal);
    return r;
}

static int read_valid_request(const VarlinkCall *call, Request *request, Refusal *refusal) {
    int r;

    r = varlink_read_request(call, request, refusal);
    return r < 0 ? r : request_validate(request, refusal);
}

/* ---- Acquire ---- */

static void write_plan(JsonWriter *w, const Grant *grant) {
    const Plan *plan = grant->plan;
    _cleanup_free_ char *rule = sanitize(plan->rule, sizeof(plan->rule));
    char name[DEVICE_NAME_MAX];

    json_write_key(w, "backend");
    json_write_text(w, backend_to_string(plan->backend));
    json_write_key(w, "grant");
    json_write_text(w, grant_kind_to_string(plan->grant));
    json_write_key(w, "tether");
    json_write_text(w, tether_kind_to_string(plan->tether));
    json_write_key(w, "rule");
    json_write_text(w, rule ?: "");
    json_write_open(w, "devices", '[');
    for (size_t i = 0; i < plan->n_claimed; i++)
        json_write_text(w, device_name_format(&plan->members[i].name, name));
    json_write_close(w, ']');
    if (plan->grant == GRANT_NODE) {
        json_write_open(w, "nodes", '[');
        for (size_t i = 0; i < grant->n_nodes; i++)
            json_write_text(w, grant->nodes[i].path);
        json_write_close(w, ']');
    }
    if (plan_has_vf_token(plan)) {
        json_write_open(w, "vfTokens", '[');
        for (size_t i = 0; i < plan->n_claimed; i++)
            json_write_text(w, plan->members[i].vf_token);
        json_write_close(w, ']');
    }
    if (plan->memlock > 0) {
        json_write_key(w, "memlock");
        json_write_unsigned(w, plan->memlock);
    }
}

static void write_fds(JsonWriter *w, const Grant *grant, int *ret_fds) {
    json_write_open(w, "fds", '[');
    for (size_t i = 0; i < grant->n_fds; i++) {
        json_write_open(w, NULL, '{');
        json_write_key(w, "name");
        json_write_text(w, grant->fds[i].name);
        json_write_key(w, "fileDescriptorIndex");
        json_write_number(w, (int64_t) i);
        json_write_close(w, '}');
        ret_fds[i] = grant->fds[i].fd;
    }
    json_write_close(w, ']');
}

/* Sending is the last step. If it fails, nobody has the fds, including the lifeline, so the claim ends. */
static int send_grant(VarlinkCall *call, const Grant *grant) {
    int fds[REQUEST_DEVICES_MAX + 2];
    JsonWriter w;

    assert(grant->n_fds <= ELEMENTSOF(fds));
    varlink_reply_begin(&w);
    json_write_key(&w, "claim");
    json_write_text(&w, grant->claim->id);
    write_plan(&w, grant);
    write_fds(&w, grant, fds);
    return varlink_reply_send(call, &w, fds, grant->n_fds);
}

static int on_acquired(void *userdata, const Grant *grant, const Refusal *refusal) {
    VarlinkCall *call = userdata;
    int r;

    call->with_broker = false; /* the broker has called back */
    r = grant ? send_grant(call, grant) : -EIO;
    if (r < 0)
        varlink_call_refuse(call, r, refusal);
    varlink_call_done(call);
    return r;
}

static Asker asker_of(const VarlinkCall *call) {
    const JsonNode *interactive = varlink_call_parameter(call, "allowInteractiveAuthentication");

    return (Asker){.interactive = interactive && interactive->boolean, .socket = &call->peer->fd};
}

static int read_claim_request(const VarlinkCall *call, Request *request, Refusal *refusal) {
    if (call->peer->face->stopping)
        return refuse(refusal, VFIOD_ERROR_SHUTTING_DOWN, NULL, "vfiod is stopping");
    return read_valid_request(call, request, refusal);
}

static int run_acquire(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    const Asker asker = asker_of(call);
    Request request = REQUEST_NULL;
    int r;

    r = read_claim_request(call, &request, refusal);
    if (r < 0)
        return r;
    call->with_broker = true;
    broker_acquire(broker_of(call), &request, subject, &asker, on_acquired, call);
    return VARLINK_PENDING;
}

static int run_add_devices(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    const Asker asker = asker_of(call);
    Request request = REQUEST_NULL;
    int r;

    r = read_claim_request(call, &request, refusal);
    if (r < 0)
        return r;
    call->with_broker = true;
    broker_add_devices(
            broker_of(call), varlink_call_text(call, "claim"), &request, subject, &asker, on_acquired, call);
    return VARLINK_PENDING;
}

/* ---- Reserve ---- */

static int read_other(const VarlinkCall *call, ExplainQuestion *q, Refusal *refusal);

static int send_ticket(VarlinkCall *call, const Claim *c) {
    char device[DEVICE_NAME_MAX], ticket[REQUEST_TICKET_MAX];
    JsonWriter w;

    varlink_reply_begin(&w);
    json_write_key(&w, "claim");
    json_write_text(&w, c->id);
    json_write_key(&w, "ticket");
    json_write_text(&w, claim_format_ticket(c, ticket));
    json_write_key(&w, "device");
    json_write_text(&w, device_name_format(&c->plan.members[0].name, device));
    json_write_key(&w, "uid");
    json_write_unsigned(&w, c->uid);
    json_write_key(&w, "until");
    json_write_unsigned(&w, c->until_usec);
    return varlink_reply_send(call, &w, NULL, 0);
}

static int on_reserved(void *userdata, const Grant *grant, const Refusal *refusal) {
    VarlinkCall *call = userdata;
    int r;

    call->with_broker = false; /* the broker has called back */
    r = grant ? send_ticket(call, grant->claim) : -EIO;
    if (r < 0)
        varlink_call_refuse(call, r, refusal);
    varlink_call_done(call);
    return r;
}

static int read_wish(
        VarlinkCall *call, ExplainQuestion *described, ReserveWish *ret, Request *request, Refusal *refusal) {
    const JsonNode *ttl = varlink_call_parameter(call, "ttl");
    int r;

    if (call->peer->face->stopping)
        return refuse(refusal, VFIOD_ERROR_SHUTTING_DOWN, NULL, "vfiod is stopping");
    if (ttl && ttl->integer < 0)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "the parameter \"ttl\" has a number out of range");
    r = varlink_read_request(call, request, refusal);
    if (r >= 0)
        r = read_other(call, described, refusal);
    *ret = (ReserveWish){.device = varlink_call_text(call, "device"),
            .ttl_sec = ttl ? (uint64_t) ttl->integer : 0,
            .owner = described->about_other ? &described->other : NULL};
    return r;
}

static int run_reserve(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    _cleanup_(explain_question_done) ExplainQuestion described = EXPLAIN_QUESTION_NULL;
    const Asker asker = asker_of(call);
    Request request = REQUEST_NULL;
    ReserveWish wish;
    int r;

    r = read_wish(call, &described, &wish, &request, refusal);
    if (r < 0)
        return r;
    call->with_broker = true;
    broker_reserve(broker_of(call), &wish, &request, subject, &asker, on_reserved, call);
    return VARLINK_PENDING;
}

/* ---- Transfer ---- */

static int run_transfer(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    const Asker asker = {.socket = &call->peer->fd};
    Request wish = REQUEST_NULL;
    int r;

    if (call->peer->face->stopping)
        return refuse(refusal, VFIOD_ERROR_SHUTTING_DOWN, NULL, "vfiod is stopping");
    wish.tether = _TETHER_KIND_INVALID;
    r = varlink_read_request(call, &wish, refusal);
    if (r >= 0)
        r = broker_transfer(broker_of(call), varlink_call_text(call, "claim"), &wish, subject, &asker,
                on_acquired, call, refusal);
    return r < 0 ? r : VARLINK_PENDING; /* the call was answered and freed */
}

/* ---- The other verbs ---- */

static int run_release(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    int r;

    r = broker_release(broker_of(call), varlink_call_text(call, "claim"), subject, refusal);
    return r < 0 ? r : varlink_reply_empty(call);
}

static int run_release_devices(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    Request request = REQUEST_NULL;
    int r;

    r = varlink_read_request(call, &request, refusal);
    if (r >= 0)
        r = broker_release_devices(
                broker_of(call), varlink_call_text(call, "claim"), &request, subject, refusal);
    return r < 0 ? r : varlink_reply_empty(call);
}

/* A missing parameter keeps its value. The parser has checked the types. */
static int read_seconds(const VarlinkCall *call, const char *name, uint64_t *ret, Refusal *refusal) {
    const JsonNode *value = varlink_call_parameter(call, name);

    if (!value)
        return 0;
    if (value->integer < 0)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "\"%s\" is negative", name);
    *ret = (uint64_t) value->integer;
    return 0;
}

static int run_evict(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    const JsonNode *cancel = varlink_call_parameter(call, "cancel");
    EvictionWish wish = {.in_sec = EVICTION_IN_DEFAULT_SEC,
            .cancel = cancel && cancel->boolean,
            .reason = varlink_call_text(call, "reason")};
    int r;

    r = read_seconds(call, "in", &wish.in_sec, refusal);
    if (r >= 0)
        r = broker_evict(broker_of(call), varlink_call_text(call, "claim"), &wish, subject, refusal);
    return r < 0 ? r : varlink_reply_empty(call);
}

static int run_answer_eviction(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    uint64_t more_sec = 0;
    int r;

    r = read_seconds(call, "more", &more_sec, refusal);
    if (r >= 0)
        r = broker_answer_eviction(
                broker_of(call), varlink_call_text(call, "claim"), more_sec, subject, refusal);
    return r < 0 ? r : varlink_reply_empty(call);
}

static int run_retry_quarantine(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    Request request = REQUEST_NULL;
    int r;

    r = varlink_read_request(call, &request, refusal);
    if (r >= 0)
        r = broker_retry_quarantine(broker_of(call), &request, subject, refusal);
    return r < 0 ? r : varlink_reply_empty(call);
}

static int run_clear_quarantine(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    Request request = REQUEST_NULL;
    int r;

    r = varlink_read_request(call, &request, refusal);
    if (r >= 0)
        r = broker_clear_quarantine(
                broker_of(call), &request, varlink_call_text(call, "reason"), subject, refusal);
    return r < 0 ? r : varlink_reply_empty(call);
}

static int run_ready_to_sleep(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    int r = broker_ready_to_sleep(broker_of(call), varlink_call_text(call, "claim"), subject, refusal);

    return r < 0 ? r : varlink_reply_empty(call);
}

static int run_reload_policy(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    int r = broker_check_reload(subject, refusal);

    return r < 0 ? r : varlink_reload(call, subject);
}

static int reply_json(VarlinkCall *call, const char *key, const char *json) {
    JsonWriter w;

    varlink_reply_begin(&w);
    json_write_key(&w, key);
    json_write_raw(&w, json);
    return varlink_reply_send(call, &w, NULL, 0);
}

static int run_plan(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    _cleanup_(plan_done) Plan plan = PLAN_NULL;
    _cleanup_free_ char *text = NULL;
    Request request = REQUEST_NULL;
    int r;

    r = read_valid_request(call, &request, refusal);
    if (r < 0)
        return r;
    call->inquiry.all_obstacles = true;
    call->inquiry.beyond_policy = subject_is_operator(subject);
    r = broker_plan(broker_of(call), &call->inquiry, &request, subject, &plan, refusal);
    if (r < 0)
        return r;
    text = plan_to_text(&plan);
    return text ? reply_json(call, "plan", text) : -ENOMEM;
}

/* ---- SetVirtualFunctions ---- */

static void on_vf_count_set(void *userdata, const Refusal *refusal) {
    VarlinkCall *call = userdata;
    int r = 0;

    call->with_broker = false; /* the broker has called back */
    if (!refusal)
        r = varlink_reply_empty(call);
    if (refusal || r < 0)
        varlink_call_refuse(call, refusal ? -error_info(refusal->code)->error : r, refusal);
    varlink_call_done(call);
}

static int run_set_virtual_functions(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    const JsonNode *autoprobe = varlink_call_parameter(call, "autoprobe");
    int64_t count = varlink_call_parameter(call, "count")->integer;
    Request request = REQUEST_NULL;
    VfWish wish = {};
    int r;

    if (call->peer->face->stopping)
        return refuse(refusal, VFIOD_ERROR_SHUTTING_DOWN, NULL, "vfiod is stopping");
    r = request_add_device(&request, varlink_call_text(call, "device"), refusal);
    if (r < 0)
        return r;
    if (count < 0 || count > UINT32_MAX)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "the parameter \"count\" has a number out of range");
    wish = (VfWish){.device = request.devices[0], .count = (uint32_t) count};
    if (autoprobe)
        wish.autoprobe = autoprobe->boolean ? SRIOV_AUTOPROBE_ON : SRIOV_AUTOPROBE_OFF;
    call->with_broker = true;
    r = broker_set_vf_count(broker_of(call), &wish, subject, on_vf_count_set, call, refusal);
    if (r == 0)
        return VARLINK_PENDING;
    call->with_broker = false;
    return r < 0 ? r : varlink_reply_empty(call);
}

static int run_probe_capabilities(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    Request request = REQUEST_NULL;
    int r;

    r = request_add_device(&request, varlink_call_text(call, "device"), refusal);
    if (r >= 0)
        r = broker_learn_caps(broker_of(call), &call->inquiry, &request.devices[0], subject, refusal);
    return r < 0 ? r : varlink_reply_empty(call);
}

/* ---- Explain ---- */

static int read_capabilities(const VarlinkCall *call, ExplainQuestion *q, Refusal *refusal) {
    const JsonNode *names = varlink_call_parameter(call, "capabilities");

    FOREACH_ITEM(n, names) {
        int r = explain_question_add_capability(q, n->string, refusal);

        if (r < 0)
            return r;
    }
    return 0;
}

static bool is_id(const JsonNode *value) {
    return value->integer >= 0 && value->integer < UINT32_MAX;
}

static int refuse_id(const char *parameter, Refusal *refusal) {
    return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
            "the parameter \"%s\" has a number out of range", parameter);
}

static int read_ids(const VarlinkCall *call, ExplainQuestion *q, Refusal *refusal) {
    const JsonNode *uid = varlink_call_parameter(call, "uid"), *gids = varlink_call_parameter(call, "gids");
    gid_t list[SUBJECT_COPY_GROUPS_MAX + 1]; /* one more than allowed is refused */
    size_t n = 0;

    if (uid && !is_id(uid))
        return refuse_id("uid", refusal);
    if (uid)
        q->other.uid = (uid_t) uid->integer;
    for (const JsonNode *g = gids ? gids->children : NULL; g && n < ELEMENTSOF(list); g = g->next) {
        if (!is_id(g))
            return refuse_id("gids", refusal);
        list[n++] = (gid_t) g->integer;
    }
    return explain_question_set_gids(q, list, n, refusal);
}

/* A Subject owns its pointers, so they are not const. This one only borrows. */
static int read_other(const VarlinkCall *call, ExplainQuestion *q, Refusal *refusal) {
    static const char *const parts[] = {
            "uid", "user", "gids", "unit", "cgroup", "label", "capabilities", "namespace", "scope"};
    const char *namespace = varlink_call_text(call, "namespace"), *scope = varlink_call_text(call, "scope");
    int r;

    for (size_t i = 0; i < ELEMENTSOF(parts); i++)
        q->about_other = q->about_other || varlink_call_parameter(call, parts[i]);
    q->user = varlink_call_text(call, "user");
    q->other.unit = (char *) varlink_call_text(call, "unit");
    q->other.cgroup = (char *) varlink_call_text(call, "cgroup");
    q->other.label = (char *) varlink_call_text(call, "label");
    r = read_ids(call, q, refusal);
    if (r >= 0)
        r = read_capabilities(call, q, refusal);
    if (r >= 0 && namespace)
        r = explain_question_set_namespace(q, namespace, refusal);
    if (r >= 0 && scope)
        r = explain_question_set_scope(q, scope, refusal);
    return r;
}

static int run_explain(VarlinkCall *call, const Subject *subject, Refusal *refusal) {
    _cleanup_(explain_question_done) ExplainQuestion q = EXPLAIN_QUESTION_NULL;
    const JsonNode *last = varlink_call_parameter(call, "lastRefusal");
    BudgetAccount *account = call->task.account;
    _cleanup_free_ char *text = NULL;
    int r;

    q.claim = varlink_call_text(call, "claim");
    q.last_refusal = last && last->boolean;
    r = explain_check_paid(account, refusal);
    if (r >= 0)
        r = varlink_read_request(call, &q.request, refusal);
    if (r >= 0)
        r = read_other(call, &q, refusal);
    if (r >= 0)
        r = explain_question_answer(broker_of(call), &q, &call->inquiry, subject, account, &text, refusal);
    return r < 0 ? r : reply_json(call, "explanation", text);
}

/* The user and process of a question or a ticket; by default the caller's. */
/* clang-format off */
#define ANOTHER_CALLER \
    {"uid", "i"}, {"user", "s"}, {"gids", "ai"}, {"unit", "s"}, {"cgroup", "s"}, {"label", "s"}, \
    {"capabilities", "as"}, {"namespace", "s"}, {"scope", "s"}
/* clang-format on */

static const VarlinkParameter explain_parameters[] = {
        {"devices", "as"},
        {"claim", "s"},
        {"lastRefusal", "b"},
        ANOTHER_CALLER,
        {},
};

static const VarlinkParameter list_parameters[] = {
        {"kinds", "as"},
        {"device", "s"},
        {"group", "i"},
        {"claim", "s"},
        {"host", "b"},
        {"fields", "as"},
        {},
};

static const VarlinkParameter add_parameters[] = {
        {"claim", "s", true},
        {"devices", "as", true},
        {"reason", "s"},
        {"memlock", "i"},
        {"untainted", "b"},
        {"require", "s"},
        {"network", "s"},
        {"allowInteractiveAuthentication", "b"},
        {},
};

static const VarlinkParameter acquire_parameters[] = {
        {"devices", "as", true},
        {"allowInteractiveAuthentication", "b"},
        {},
};

static const VarlinkParameter reserve_parameters[] = {
        {"device", "s", true},
        {"ttl", "i"},
        {"backend", "s"},
        {"grant", "s"},
        {"tether", "s"},
        {"reason", "s"},
        {"untainted", "b"},
        {"require", "s"},
        ANOTHER_CALLER,
        {"allowInteractiveAuthentication", "b"},
        {},
};

static const VarlinkParameter transfer_parameters[] = {
        {"claim", "s", true},
        {"tether", "s"},
        {"pid", "i"},
        {"pidfdId", "i"},
        {},
};

const VarlinkMethod varlink_broker_methods[] = {
        {"Acquire", run_acquire, VARLINK_ACTS | VARLINK_REQUEST, acquire_parameters},
        {"Reserve", run_reserve, VARLINK_ACTS, reserve_parameters},
        {"SetVirtualFunctions", run_set_virtual_functions, VARLINK_ACTS | VARLINK_EFFECT,
                (const VarlinkParameter[]){
                        {"device", "s", true}, {"count", "i", true}, {"autoprobe", "b"}, {}}},
        {"Transfer", run_transfer, VARLINK_ACTS, transfer_parameters},
        {"ReleaseDevices", run_release_devices, VARLINK_ACTS | VARLINK_EFFECT,
                (const VarlinkParameter[]){{"claim", "s", true}, {"devices", "as", true}, {}}},
        {"Release", run_release, VARLINK_ACTS | VARLINK_EFFECT,
                (const VarlinkParameter[]){{"claim", "s", true}, {}}},
        {"Evict", run_evict, VARLINK_ACTS | VARLINK_EFFECT,
                (const VarlinkParameter[]){
                        {"claim", "s", true}, {"in", "i"}, {"reason", "s"}, {"cancel", "b"}, {}}},
        {"AnswerEviction", run_answer_eviction, VARLINK_ACTS | VARLINK_EFFECT,
                (const VarlinkParameter[]){{"claim", "s", true}, {"more", "i"}, {}}},
        {"RetryQuarantine", run_retry_quarantine, VARLINK_ACTS | VARLINK_EFFECT,
                (const VarlinkParameter[]){{"devices", "as", true}, {}}},
        {"ClearQuarantine", run_clear_quarantine, VARLINK_ACTS | VARLINK_EFFECT,
                (const VarlinkParameter[]){{"devices", "as", true}, {"reason", "s", true}, {}}},
        {"ReadyToSleep", run_ready_to_sleep, VARLINK_ACTS | VARLINK_EFFECT,
                (const VarlinkParameter[]){{"claim", "s", true}, {}}},
        {"AddDevices", run_add_devices, VARLINK_ACTS, add_parameters},
        {"Explain", run_explain, VARLINK_REQUEST, explain_parameters},
        {"List", varlink_run_list, VARLINK_LONG, list_parameters},
        {"Monitor", varlink_run_monitor, VARLINK_LONG | VARLINK_NEEDS_MORE,
                (const VarlinkParameter[]){{"kinds", "as"}, {}}},
        {"ReloadPolicy", run_reload_policy, VARLINK_ACTS | VARLINK_EFFECT, varlink_no_parameters},
        {"Plan", run_plan, VARLINK_REQUEST, (const VarlinkParameter[]){{"devices", "as", true}, {}}},
        {"ProbeCapabilities", run_probe_capabilities, VARLINK_ACTS,
                (const VarlinkParameter[]){{"device", "s", true}, {}}},
        {},
};
