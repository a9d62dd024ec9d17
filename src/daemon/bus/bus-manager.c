/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.vfiod1.Manager: the verbs, and what concerns the whole host. */

#include "base/str.h"
#include "core/record.h"
#include "daemon/bus/bus-internal.h"

/* How much of the errors of a policy set goes into the one text that ReloadPolicy fails with. */
#define SHOWN_ERRORS_MAX 8U

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

static int append_result(sd_bus_message *reply, const Plan *plan) {
    _cleanup_free_ char *rule = sanitize(plan->rule, sizeof plan->rule);
    int r;

    if (!rule)
        return -ENOMEM;
    r = sd_bus_message_open_container(reply, 'a', "{sv}");
    if (r < 0)
        return r;
    r = sd_bus_message_append(
            reply, "{sv}{sv}", "backend", "s", backend_to_string(plan->backend), "rule", "s", rule);
    if (r >= 0 && plan->memlock > 0)
        r = sd_bus_message_append(reply, "{sv}", "memlock", "t", plan->memlock);
    if (r < 0)
        return r;
    r = sd_bus_message_open_container(reply, 'e', "sv");
    if (r < 0)
        return r;
    r = sd_bus_message_append(reply, "s", "devices");
    if (r < 0)
        return r;
    r = sd_bus_message_open_container(reply, 'v', "as");
    if (r < 0)
        return r;
    r = sd_bus_message_open_container(reply, 'a', "s");
    if (r < 0)
        return r;
    for (size_t i = 0; i < plan->n_claimed; i++) {
        char name[DEVICE_NAME_MAX];

        r = sd_bus_message_append(reply, "s", device_name_format(&plan->members[i].name, name));
        if (r < 0)
            return r;
    }
    for (unsigned level = 0; level < 4; level++) { /* as, v, e, a{sv} */
        r = sd_bus_message_close_container(reply);
        if (r < 0)
            return r;
    }
    return 0;
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

/* Sending is the last line. If it fails nobody has the fds, the lifeline among them, and the claim ends. */
static int send_grant(sd_bus_message *call, const Grant *grant) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    char path[BUS_OBJECT_PATH_MAX];
    int r;

    r = sd_bus_message_new_method_return(call, &reply);
    if (r < 0)
        return r;
    r = sd_bus_message_append(reply, "o", bus_claim_path(grant->claim->id, path));
    if (r < 0)
        return r;
    r = append_result(reply, &grant->claim->plan);
    if (r < 0)
        return r;
    r = append_fds(reply, grant->fds, grant->n_fds);
    if (r < 0)
        return r;
    return sd_bus_message_send(reply);
}

static void on_acquired(void *userdata, const Grant *grant, const Refusal *refusal) {
    BusCall *call = userdata;
    int r;

    call->with_engine = false; /* it has called back */
    if (grant) {
        r = send_grant(call->message, grant);
        if (r < 0)
            bus_call_refuse(call, r, NULL);
    } else
        bus_call_refuse(call, -EIO, refusal);
    bus_call_free(call);
}

static int run_acquire(BusCall *call, const Subject *subject, Refusal *refusal) {
    const Asker asker = {
            .bus_name = sd_bus_message_get_sender(call->message),
            .interactive = sd_bus_message_get_allow_interactive_authorization(call->message) > 0,
    };
    Request request = REQUEST_NULL;
    int r;

    if (call->face->stopping)
        return refuse(refusal, VFIOD_ERROR_SHUTTING_DOWN, NULL, "vfiod is about to stop");
    r = read_request(call->message, &request, refusal);
    if (r < 0)
        return r;
    call->with_engine = true;
    broker_acquire(call->face->context.broker, &request, subject, &asker, on_acquired, call);
    return BUS_CALL_PENDING;
}

static int method_acquire(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_begin(userdata, m, NULL, run_acquire, error);
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
    r = broker_plan(call->face->context.broker, &call->inquiry, &request, subject, &plan, refusal);
    if (r < 0)
        return r;
    text = plan_to_text(&plan);
    if (!text)
        return -ENOMEM;
    r = sd_bus_reply_method_return(call->message, "s", text);
    return r < 0 ? r : BUS_CALL_ANSWERED;
}

static int method_plan(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_begin(userdata, m, NULL, run_plan, error);
}

static int method_explain(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_begin(userdata, m, NULL, bus_call_run_explain, error);
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
    r = broker_release(call->face->context.broker, id, subject, refusal);
    if (r < 0)
        return r;
    r = sd_bus_reply_method_return(call->message, NULL);
    return r < 0 ? r : BUS_CALL_ANSWERED;
}

static int method_release(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    return bus_call_begin(userdata, m, NULL, bus_call_run_release, error);
}

static int refuse_broken_policy(const PolicyLoad *policy, Refusal *refusal) {
    _cleanup_strbuf_ StrBuf text = {};
    _cleanup_free_ char *sane = NULL;

    strbuf_addf(&text, "the policy has errors, nothing was changed: ");
    for (size_t i = 0; i < MIN(policy->n_errors, SHOWN_ERRORS_MAX); i++)
        strbuf_addf(&text, "%s%s", i > 0 ? "; " : "", policy->errors[i]);
    if (policy->n_errors > SHOWN_ERRORS_MAX)
        strbuf_addf(&text, "; and %zu more", policy->n_errors - SHOWN_ERRORS_MAX);
    sane = text.error == 0 ? sanitize(text.text, 4096) : NULL;
    return refuse(refusal, VFIOD_ERROR_POLICY_BROKEN, NULL, "%s", sane ?: "the policy has errors");
}

static int run_reload_policy(BusCall *call, const Subject *subject, Refusal *refusal) {
    const BusContext *context = &call->face->context;
    int r;

    r = bus_read_options(call->message, NULL, refusal);
    if (r < 0)
        return r;
    if (!subject_is_operator(subject)) {
        r = refuse(refusal, VFIOD_ERROR_ACCESS_DENIED, NULL, "only root reloads the policy");
        refusal->remedy = strdup("Ask as root: no rule can allow it.");
        return r;
    }
    call->waits_for_policy = true;
    context->reload_policy(context->userdata, subject);
    return BUS_CALL_PENDING;
}

static void answer_reload(BusCall *call, int r) {
    const PolicyLoad *policy = call->face->context.policy;
    Refusal refusal = REFUSAL_NULL;

    if (r >= 0 && policy->n_errors > 0)
        r = refuse_broken_policy(policy, &refusal);
    if (r >= 0)
        r = sd_bus_reply_method_return(call->message, NULL);
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
    return bus_call_begin(userdata, m, NULL, run_reload_policy, error);
}

/* ---- Looking objects up: asks for nothing, so it does not matter who asks ---- */

static int find_device_path(BusFace *b, const char *spelling, char *buf, Refusal *refusal) {
    Request request = REQUEST_NULL;
    int r;

    r = request_add_device(&request, spelling, refusal); /* the one reader of spellings */
    if (r < 0)
        return r;
    if (!inventory_find_device(b->context.inventory, &request.devices[0]))
        return refuse(refusal, VFIOD_ERROR_NO_SUCH_DEVICE, &request.devices[0], "there is no such device");
    bus_device_path(&request.devices[0], buf);
    return 0;
}

static int method_get_device(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    char path[BUS_OBJECT_PATH_MAX];
    Refusal refusal = REFUSAL_NULL;
    const char *spelling;
    int r;

    r = sd_bus_message_read(m, "s", &spelling);
    if (r < 0)
        return r;
    r = find_device_path(userdata, spelling, path, &refusal);
    if (r < 0)
        r = bus_error_from_refusal(error, r, &refusal);
    else
        r = sd_bus_reply_method_return(m, "o", path);
    refusal_done(&refusal);
    return r;
}

static int method_get_group(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    BusFace *b = userdata;
    char path[BUS_OBJECT_PATH_MAX];
    Refusal refusal = REFUSAL_NULL;
    uint32_t id;
    int r;

    r = sd_bus_message_read(m, "u", &id);
    if (r < 0)
        return r;
    if (id <= INT32_MAX && inventory_find_group(b->context.inventory, (int) id))
        return sd_bus_reply_method_return(m, "o", bus_group_path((int) id, path));
    r = refuse(&refusal, VFIOD_ERROR_NO_SUCH_GROUP, NULL, "there is no IOMMU group %u", id);
    r = bus_error_from_refusal(error, r, &refusal);
    refusal_done(&refusal);
    return r;
}

/* ---- Properties ---- */

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    return sd_bus_message_append(reply, "s", VFIOD_VERSION);
}

/* A kernel that cannot be looked at offers nothing. */
static int get_kernel(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const FactSource *source = &((const BusFace *) userdata)->context.host->facts;
    KernelFacts k = {};

    if (source->read_kernel_facts(source->userdata, &k) < 0)
        k = (KernelFacts){};
    return sd_bus_message_append(reply, "a{sb}", 6, "iommu", k.iommu, "iommufd", k.iommufd, "deviceCdev",
            k.device_cdev, "container", k.container, "noiommuSupport", k.noiommu_support, "noiommuEnabled",
            k.noiommu_enabled);
}

static int get_policy_state(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const BusFace *b = userdata;
    const PolicyLoad *p = b->context.policy;

    return sd_bus_message_append(reply, "s", !p->policy ? "broken" : p->n_errors > 0 ? "stale" : "loaded");
}

static bool may_read_rules(sd_bus *bus) {
    const Subject *reader = bus_reader(bus);

    return reader && subject_is_operator(reader);
}

/* "FILE:LINE:COL: error: TEXT". TEXT quotes the operator's files, and so it is for root; others see that
 * there is an error, and where. */
static int append_errors(sd_bus *bus, sd_bus_message *reply, const PolicyLoad *p) {
    static const char kind[] = ": error";
    int r;

    r = sd_bus_message_open_container(reply, 'a', "s");
    for (size_t i = 0; i < p->n_errors && r >= 0; i++) {
        _cleanup_free_ char *text = strdup(p->errors[i]);
        char *end = text && !may_read_rules(bus) ? strstr(text, kind) : NULL;

        if (end)
            end[strlen(kind)] = '\0';
        r = text ? bus_append_text(reply, end || may_read_rules(bus) ? text : "error") : -ENOMEM;
    }
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_policy_errors(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const BusFace *b = userdata;

    return append_errors(bus, reply, b->context.policy);
}

/* They name rules: not for strangers, and not for signals, which all hear. */
static int get_policy_warnings(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const PolicyLoad *p = ((const BusFace *) userdata)->context.policy;
    size_t n = may_read_rules(bus) ? p->n_warnings : 0;
    int r;

    r = sd_bus_message_open_container(reply, 'a', "s");
    for (size_t i = 0; i < n && r >= 0; i++)
        r = bus_append_text(reply, p->warnings[i]);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* "none", or as PolicyState. */
static int get_shadow_state(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const BusFace *b = userdata;
    const PolicyLoad *p = b->context.shadow;
    const char *state = "loaded";

    if (p->n_errors > 0)
        state = p->policy ? "stale" : "broken";
    else if (!p->policy)
        state = "none";
    return sd_bus_message_append(reply, "s", state);
}

static int get_shadow_errors(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const BusFace *b = userdata;

    return append_errors(bus, reply, b->context.shadow);
}

static int get_shadow_rules(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const BusFace *b = userdata;

    return sd_bus_message_append(reply, "u", (uint32_t) policy_n_rules(b->context.shadow->policy));
}

static int get_shadow_differences(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const BusFace *b = userdata;

    return sd_bus_message_append(reply, "t", broker_shadow_differences(b->context.broker));
}

static int append_denied_claim(const Claim *c, void *userdata) {
    sd_bus_message *reply = userdata;

    return c->denied && c->state <= CLAIM_HELD ? MIN(bus_append_claim_path(reply, c), 0) : 0;
}

static int get_claims_denied(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const BusFace *b = userdata;
    int r;

    r = sd_bus_message_open_container(reply, 'a', "o");
    if (r >= 0)
        r = broker_foreach_claim(b->context.broker, append_denied_claim, reply);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_policy_rules(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const BusFace *b = userdata;
    const Policy *p = b->context.policy->policy;

    return sd_bus_message_append(reply, "u", p ? (uint32_t) policy_n_rules(p) : 0);
}

static int get_noiommu(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const BusContext *context = &((const BusFace *) userdata)->context;

    return sd_bus_message_append(reply, "s", context->noiommu_state(context->userdata));
}

static int append_text_field(sd_bus_message *reply, const char *key, const char *text) {
    _cleanup_free_ char *sane = NULL;

    if (*text == '\0')
        return 0;
    sane = sanitize(text, 1024);
    return sane ? sd_bus_message_append(reply, "{sv}", key, "s", sane) : -ENOMEM;
}

/* What the operator's policy says is for the user whom it concerns and for root, as with claims. */
static int append_taint(sd_bus_message *reply, const Taint *t, const Subject *reader) {
    bool all = reader && (subject_is_operator(reader) || (t->uid != (uid_t) -1 && reader->uid == t->uid));
    int r;

    r = sd_bus_message_open_container(reply, 'a', "{sv}");
    if (r >= 0)
        r = sd_bus_message_append(reply, "{sv}{sv}{sv}", "kind", "s", taint_kind_to_string(t->kind),
                "weakens", "b", (int) t->weakens, "since", "t", t->since_usec);
    if (r >= 0)
        r = append_text_field(reply, "what", t->what);
    if (r >= 0 && t->uid != (uid_t) -1)
        r = sd_bus_message_append(reply, "{sv}", "uid", "u", (uint32_t) t->uid);
    if (r >= 0)
        r = append_text_field(reply, "device", t->device);
    if (r >= 0 && all)
        r = append_text_field(reply, "rule", t->rule);
    if (r >= 0 && all)
        r = append_text_field(reply, "reason", t->reason);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_taints(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const BusContext *context = &((const BusFace *) userdata)->context;
    const TaintList *taints = context->read_taints(context->userdata);
    const Subject *reader = bus_reader(bus);
    int r;

    r = sd_bus_message_open_container(reply, 'a', "a{sv}");
    for (size_t i = 0; r >= 0 && i < taints->n; i++)
        r = append_taint(reply, &taints->entries[i], reader);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_count(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const BusFace *b = userdata;
    uint32_t n = streq(property, "Devices") ? inventory_n_devices(b->context.inventory)
            : streq(property, "Groups")     ? inventory_n_groups(b->context.inventory)
                                            : broker_n_claims(b->context.broker);

    return sd_bus_message_append(reply, "u", n);
}

const sd_bus_vtable bus_manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Acquire", SD_BUS_ARGS("as", devices, "a{sv}", options),
                SD_BUS_RESULT("o", claim, "a{sv}", result, "a(sh)", fds), method_acquire,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Plan", SD_BUS_ARGS("as", devices, "a{sv}", options),
                SD_BUS_RESULT("s", plan), method_plan, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Explain", SD_BUS_ARGS("as", devices, "a{sv}", options),
                SD_BUS_RESULT("s", explanation), method_explain, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Release", SD_BUS_ARGS("s", claim, "a{sv}", options), SD_BUS_NO_RESULT,
                method_release, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetDevice", SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", device),
                method_get_device, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetGroup", SD_BUS_ARGS("u", id), SD_BUS_RESULT("o", group), method_get_group,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ReloadPolicy", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT,
                method_reload_policy, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Kernel", "a{sb}", get_kernel, 0, 0),
        SD_BUS_PROPERTY("PolicyState", "s", get_policy_state, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY(
                "PolicyErrors", "as", get_policy_errors, 0, SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION),
        SD_BUS_PROPERTY(
                "PolicyWarnings", "as", get_policy_warnings, 0, SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION),
        SD_BUS_PROPERTY("PolicyRules", "u", get_policy_rules, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ClaimsDeniedByPolicy", "ao", get_claims_denied, 0,
                SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION),
        SD_BUS_PROPERTY("ShadowState", "s", get_shadow_state, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY(
                "ShadowErrors", "as", get_shadow_errors, 0, SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION),
        SD_BUS_PROPERTY("ShadowRules", "u", get_shadow_rules, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ShadowDifferences", "t", get_shadow_differences, 0, 0),
        SD_BUS_PROPERTY("Noiommu", "s", get_noiommu, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Taints", "aa{sv}", get_taints, 0, SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION),
        SD_BUS_PROPERTY("Devices", "u", get_count, 0, 0),
        SD_BUS_PROPERTY("Groups", "u", get_count, 0, 0),
        SD_BUS_PROPERTY("Claims", "u", get_count, 0, 0),
        SD_BUS_VTABLE_END,
};

int bus_manager_export(BusFace *b) {
    return sd_bus_add_object_vtable(
            b->bus, NULL, BUS_FACE_PATH, BUS_MANAGER_INTERFACE, bus_manager_vtable, b);
}
