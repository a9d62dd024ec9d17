/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The fields of the whole host. */

#include <stdio.h>

#include "base/str.h"
#include "daemon/broker/views.h"

static uid_t owner_of_claim(const void *thing) {
    return ((const Claim *) thing)->uid;
}

const ViewTable view_tables[_VIEW_KIND_MAX] = {
        [VIEW_MANAGER] = {VIEW_MANAGER, view_manager_fields, NULL},
        [VIEW_DEVICE] = {VIEW_DEVICE, view_device_fields, NULL},
        [VIEW_GROUP] = {VIEW_GROUP, view_group_fields, NULL},
        [VIEW_CLAIM] = {VIEW_CLAIM, view_claim_fields, owner_of_claim},
};

const char *view_state_of(const Claim *claim, bool quarantined) {
    if (quarantined)
        return "quarantined";
    if (!claim)
        return "free";
    return claim->state == CLAIM_HELD ? "claimed" : claim_state_to_string(claim->state);
}

static int put_version(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, VFIOD_VERSION);
}

static int put_simulated(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 'b', q->host->simulated);
}

/* If the kernel's features cannot be read, none is supported. */
static int put_kernel(const ViewQuery *q, const ViewSink *out) {
    const FactSource *source = &q->host->source->facts;
    KernelFacts k = {};
    int r;

    if (source->read_kernel_facts(source->userdata, &k) < 0)
        k = (KernelFacts){};
    const struct {
        const char *name;
        bool value;
    } facts[] = {
            {"iommu", k.iommu},
            {"iommufd", k.iommufd},
            {"deviceCdev", k.device_cdev},
            {"container", k.container},
            {"compat", k.compat},
            {"noiommuSupport", k.noiommu_support},
            {"noiommuEnabled", k.noiommu_enabled},
            {"vhostVdpa", k.vhost_vdpa},
    };

    r = view_open(out, 'a', "{sb}");
    for (size_t i = 0; r >= 0 && i < ELEMENTSOF(facts); i++) {
        r = view_open(out, 'e', "sb");
        if (r >= 0)
            r = view_text(out, facts[i].name);
        if (r >= 0)
            r = view_number(out, 'b', facts[i].value);
        if (r >= 0)
            r = view_close(out);
    }
    return r < 0 ? r : view_close(out);
}

const char *view_policy_state(const PolicyLoad *p) {
    return !p->policy ? "broken" : p->n_errors > 0 ? "stale" : "loaded";
}

static int put_policy_state(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, view_policy_state(q->host->policy));
}

/* "FILE:LINE:COL: error: TEXT". TEXT quotes the operator's files, so only root sees it; others see that there
 * is an error, and where. */
static int put_error(const ViewQuery *q, const ViewSink *out, const char *error) {
    static const char kind[] = ": error";
    _cleanup_free_ char *text = NULL;
    const char *end;

    if (view_reader_is_operator(q))
        return view_text(out, error);
    end = strstr(error, kind);
    text = end ? strndup(error, (size_t) (end - error) + strlen(kind)) : strdup("error");
    return text ? view_text(out, text) : -ENOMEM;
}

static int put_errors(const ViewQuery *q, const ViewSink *out, const PolicyLoad *p) {
    int r;

    r = view_open(out, 'a', "s");
    for (size_t i = 0; i < p->n_errors && r >= 0; i++)
        r = put_error(q, out, p->errors[i]);
    return r < 0 ? r : view_close(out);
}

static int put_policy_errors(const ViewQuery *q, const ViewSink *out) {
    return put_errors(q, out, q->host->policy);
}

static int put_policy_warnings(const ViewQuery *q, const ViewSink *out) {
    const PolicyLoad *p = q->host->policy;
    int r;

    r = view_open(out, 'a', "s");
    for (size_t i = 0; i < p->n_warnings && r >= 0; i++)
        r = view_text(out, p->warnings[i]);
    return r < 0 ? r : view_close(out);
}

static int put_policy_rules(const ViewQuery *q, const ViewSink *out) {
    const Policy *p = q->host->policy->policy;

    return view_number(out, 'u', p ? policy_n_rules(p) : 0);
}

static bool is_denied(const Claim *c) {
    return c->denied && c->state <= CLAIM_HELD;
}

static int count_denied(const Claim *c, void *userdata) {
    *(unsigned *) userdata += is_denied(c);
    return 0;
}

unsigned view_n_claims_denied(const ViewHost *host) {
    unsigned n = 0;

    (void) broker_foreach_claim(host->broker, count_denied, &n);
    return n;
}

static int put_policy_generation(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 't', q->host->policy->generation);
}

static int put_policy_loaded(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 't', q->host->policy->loaded_usec);
}

static int put_policy_digest(const ViewQuery *q, const ViewSink *out) {
    char text[17] = "";

    if (q->host->policy->policy)
        (void) snprintf(text, sizeof(text), "%016" PRIx64, q->host->policy->digest);
    return view_text(out, text);
}

static int put_predicate(void *userdata, const char *key, const char *wanted) {
    const ViewSink *out = userdata;
    int r;

    r = view_open(out, 'e', "ss");
    if (r >= 0)
        r = view_text(out, key);
    if (r >= 0)
        r = view_text(out, wanted);
    return r < 0 ? r : view_close(out);
}

static int put_rule(const Rule *rule, const ViewSink *out) {
    int r;

    r = view_open(out, 'r', "sssua{ss}");
    if (r >= 0)
        r = view_text(out, rule_name(rule));
    if (r >= 0)
        r = view_text(out, effect_to_string(rule_effect(rule)));
    if (r >= 0)
        r = view_text(out, rule_file(rule));
    if (r >= 0)
        r = view_number(out, 'u', rule_line(rule));
    if (r >= 0)
        r = view_open(out, 'a', "{ss}");
    if (r >= 0)
        r = rule_foreach_predicate(rule, put_predicate, (void *) out);
    if (r >= 0)
        r = view_close(out);
    return r < 0 ? r : view_close(out);
}

/* As in explanations: a rule is shown to those whom it concerns, and the cost is limited. */
#define RULES_FOR_OPERATOR_MAX 4096U
#define RULES_FOR_OTHERS_MAX 64U

static int put_rules(const ViewQuery *q, const ViewSink *out) {
    const Policy *p = q->host->policy->policy;
    size_t n = p ? policy_n_rules(p) : 0, left = RULES_FOR_OTHERS_MAX;
    bool all = view_reader_is_operator(q);
    int r;

    if (all)
        left = RULES_FOR_OPERATOR_MAX;
    r = view_open(out, 'a', "(sssua{ss})");
    for (size_t i = 0; r >= 0 && i < n && left > 0; i++) {
        const Rule *rule = policy_rule(p, i);

        if (!all && !(q->reader && rule_concerns(rule, q->reader)))
            continue;
        r = put_rule(rule, out);
        left--;
    }
    return r < 0 ? r : view_close(out);
}

static int put_denied_claim(const Claim *c, void *userdata) {
    return is_denied(c) ? view_refer_claim(userdata, c->id) : 0;
}

static int put_claims_denied(const ViewQuery *q, const ViewSink *out) {
    int r;

    r = view_open(out, 'a', "o");
    if (r >= 0)
        r = broker_foreach_claim(q->host->broker, put_denied_claim, (void *) out);
    return r < 0 ? r : view_close(out);
}

/* "none", or like PolicyState. */
static int put_shadow_state(const ViewQuery *q, const ViewSink *out) {
    const PolicyLoad *p = q->host->shadow;
    const char *state = "loaded";

    if (p->n_errors > 0)
        state = p->policy ? "stale" : "broken";
    else if (!p->policy)
        state = "none";
    return view_text(out, state);
}

static int put_shadow_errors(const ViewQuery *q, const ViewSink *out) {
    return put_errors(q, out, q->host->shadow);
}

static int put_shadow_rules(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 'u', policy_n_rules(q->host->shadow->policy));
}

static int put_shadow_differences(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 't', broker_shadow_differences(q->host->broker));
}

static int put_noiommu(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, q->host->noiommu_state(q->host->userdata));
}

static int put_known(const ViewSink *out, const char *key, const char *text) {
    return text[0] ? view_text_entry(out, key, text) : 0;
}

/* The rule is shown to the user whom it concerns and to root, as with claims. */
static int put_taint(const ViewQuery *q, const ViewSink *out, const Taint *t) {
    bool all = view_reader_is(q, t->uid);
    int r;

    r = view_open(out, 'a', "{sv}");
    if (r >= 0)
        r = view_text_entry(out, "kind", taint_kind_to_string(t->kind));
    if (r >= 0)
        r = view_number_entry(out, "weakens", 'b', t->weakens);
    if (r >= 0)
        r = view_number_entry(out, "since", 't', t->since_usec);
    if (r >= 0)
        r = put_known(out, "what", t->what);
    if (r >= 0 && t->uid != (uid_t) -1)
        r = view_number_entry(out, "uid", 'u', t->uid);
    if (r >= 0)
        r = put_known(out, "device", t->device);
    if (r >= 0 && all)
        r = put_known(out, "rule", t->rule);
    if (r >= 0 && all)
        r = put_known(out, "reason", t->reason);
    return r < 0 ? r : view_close(out);
}

static int put_taints(const ViewQuery *q, const ViewSink *out) {
    const TaintList *taints = q->host->read_taints(q->host->userdata);
    int r;

    r = view_open(out, 'a', "a{sv}");
    for (size_t i = 0; r >= 0 && i < taints->n; i++)
        r = put_taint(q, out, &taints->entries[i]);
    return r < 0 ? r : view_close(out);
}

static int put_warning(void *userdata, const char *line) {
    int r = view_text(userdata, line);

    return MIN(r, 0);
}

static int put_functions_warnings(const ViewQuery *q, const ViewSink *out) {
    int r;

    r = view_open(out, 'a', "s");
    if (r >= 0)
        r = broker_foreach_functions_warning(q->host->broker, put_warning, (void *) out);
    return r < 0 ? r : view_close(out);
}

static int put_stuck_worker(void *userdata, const WorkerStuck *stuck) {
    const ViewSink *out = userdata;
    char device[DEVICE_NAME_MAX] = "";
    int r;

    if (stuck->has_device)
        device_name_format(&stuck->device, device);
    r = view_open(out, 'r', "ussstas");
    if (r >= 0)
        r = view_number(out, 'u', (uint64_t) stuck->pid);
    if (r >= 0)
        r = view_text(out, device);
    if (r >= 0)
        r = view_text(out, worker_operation_to_string(stuck->operation));
    if (r >= 0)
        r = view_text(out, stuck->step < 0 ? "" : driver_step_to_string(stuck->step));
    if (r >= 0)
        r = view_number(out, 't', stuck->since_usec);
    if (r >= 0)
        r = view_open(out, 'a', "s");
    for (size_t i = 0; r >= 0 && i < stuck->stack.n; i++)
        r = view_text(out, stuck->stack.frames[i]);
    if (r >= 0)
        r = view_close(out);
    if (r >= 0)
        r = view_close(out);
    return MIN(r, 0);
}

static int put_stuck_workers(const ViewQuery *q, const ViewSink *out) {
    int r;

    r = view_open(out, 'a', "(ussstas)");
    if (r >= 0)
        r = broker_foreach_stuck(q->host->broker, put_stuck_worker, (void *) out);
    return r < 0 ? r : view_close(out);
}

static int put_mediated_type(const MdevType *t, const ViewSink *out) {
    int r;

    r = view_open(out, 'r', "ssssiao");
    if (r >= 0)
        r = view_text(out, t->parent);
    if (r >= 0)
        r = view_text(out, t->id);
    if (r >= 0)
        r = view_text(out, t->name);
    if (r >= 0)
        r = view_text(out, t->api);
    if (r >= 0)
        r = view_number(out, 'i', (uint64_t) t->available);
    if (r >= 0)
        r = view_open(out, 'a', "o");
    for (size_t i = 0; i < t->n_devices && r >= 0; i++)
        r = view_refer_device(out, &t->devices[i]);
    if (r >= 0)
        r = view_close(out);
    return r < 0 ? r : view_close(out);
}

static int put_mediated_types(const ViewQuery *q, const ViewSink *out) {
    const MdevTypes *types;
    int r;

    r = q->survey ? survey_get_mdev_types(q->survey, &types) : -ENODATA;
    if (r >= 0)
        r = view_open(out, 'a', "(ssssiao)");
    for (size_t i = 0; r >= 0 && i < types->n; i++)
        r = put_mediated_type(&types->types[i], out);
    return r < 0 ? r : view_close(out);
}

static int put_devices(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 'u', inventory_n_devices(q->host->inventory));
}

static int put_groups(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 'u', inventory_n_groups(q->host->inventory));
}

static int put_claims(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 'u', broker_n_claims(q->host->broker));
}

const ViewField view_manager_fields[] = {
        {"Version", "s", VIEW_CONSTANT, VIEW_FOR_ALL, put_version},
        {"Simulated", "b", VIEW_CONSTANT, VIEW_FOR_ALL, put_simulated},
        {"Kernel", "a{sb}", VIEW_SILENT, VIEW_FOR_ALL, put_kernel},
        {"PolicyState", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_policy_state},
        {"PolicyErrors", "as", VIEW_INVALIDATED, VIEW_FOR_ALL, put_policy_errors},
        {"PolicyWarnings", "as", VIEW_INVALIDATED, VIEW_FOR_OPERATOR, put_policy_warnings},
        {"PolicyRules", "u", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_policy_rules},
        {"PolicyGeneration", "t", VIEW_SILENT, VIEW_FOR_ALL, put_policy_generation},
        {"PolicyLoaded", "t", VIEW_SILENT, VIEW_FOR_ALL, put_policy_loaded},
        {"PolicyDigest", "s", VIEW_SILENT, VIEW_FOR_OPERATOR, put_policy_digest},
        {"Rules", "a(sssua{ss})", VIEW_COSTLY, VIEW_FOR_ALL, put_rules,
                .members = "rule effect file line predicates"},
        {"ClaimsDeniedByPolicy", "ao", VIEW_INVALIDATED, VIEW_FOR_ALL, put_claims_denied},
        {"ShadowState", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_shadow_state},
        {"ShadowErrors", "as", VIEW_INVALIDATED, VIEW_FOR_ALL, put_shadow_errors},
        {"ShadowRules", "u", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_shadow_rules},
        {"ShadowDifferences", "t", VIEW_SILENT, VIEW_FOR_ALL, put_shadow_differences},
        {"Noiommu", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_noiommu},
        {"Taints", "aa{sv}", VIEW_INVALIDATED, VIEW_FOR_ALL, put_taints},
        {"VirtualFunctionsWarnings", "as", VIEW_SILENT, VIEW_FOR_OPERATOR, put_functions_warnings},
        {"StuckWorkers", "a(ussstas)", VIEW_SILENT, VIEW_FOR_OPERATOR, put_stuck_workers, 0,
                "pid device operation step since stack"},
        {"MediatedTypes", "a(ssssiao)", VIEW_COSTLY, VIEW_FOR_ALL, put_mediated_types, DEVICE_FACT_MDEV_TYPES,
                "parent type name deviceApi available devices"},
        {"Figures", "a(sa{ss}t)", VIEW_COSTLY, VIEW_FOR_ALL, view_put_figures,
                .members = "name labels value"},
        {"Devices", "u", VIEW_SILENT, VIEW_FOR_ALL, put_devices},
        {"Groups", "u", VIEW_SILENT, VIEW_FOR_ALL, put_groups},
        {"Claims", "u", VIEW_SILENT, VIEW_FOR_ALL, put_claims},
        {},
};
