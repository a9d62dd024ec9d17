/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/metrics.h"

#include <inttypes.h>
#include <string.h>

#include "client/calls.h"
#include "client/show.h"

const Metric metrics_table[] = {
        {"vfiod_build", METRIC_INFO, "build", "The version of vfiod."},
        {"vfiod_start_timestamp_seconds", METRIC_GAUGE, "started",
                "When vfiod started, and every counter with it.", .usec = true, .unit = "seconds"},
        {"vfiod_policy", METRIC_GAUGE, "policy", "1 for the state of the policy: loaded, stale or broken."},
        {"vfiod_policy_rules", METRIC_GAUGE, "policy-rules", "Rules in force."},
        {"vfiod_policy_errors", METRIC_GAUGE, "policy-errors", "Errors in the policy files."},
        {"vfiod_policy_warnings", METRIC_GAUGE, "policy-warnings", "Warnings about the policy files."},
        {"vfiod_policy_loads", METRIC_COUNTER, "policy-loads", "Times that the policy files were loaded."},
        {"vfiod_policy_loaded_timestamp_seconds", METRIC_GAUGE, "policy-loaded",
                "When the policy in force was loaded.", .usec = true, .unit = "seconds"},
        {"vfiod_claims_denied_by_policy", METRIC_GAUGE, "claims-denied-by-policy",
                "Claims that are kept although the policy no longer allows them."},
        {"vfiod_shadow_differences", METRIC_GAUGE, "shadow-differences",
                "Requests that the shadow policy would have decided otherwise."},
        {"vfiod_grants", METRIC_COUNTER, "grants", "Requests for devices that were granted."},
        {"vfiod_grants_by_rule", METRIC_COUNTER, "grants-by-rule",
                "The same by the rules that allowed them."},
        {"vfiod_refusals", METRIC_COUNTER, "refusals", "Requests for devices that were refused."},
        {"vfiod_refusals_by_rule", METRIC_COUNTER, "refusals-by-rule",
                "The same by the rule that decided, where one did."},
        {"vfiod_ended_claims", METRIC_COUNTER, "ended-claims", "Claims that have ended."},
        {"vfiod_reservations", METRIC_COUNTER, "reservations", "Devices that were reserved."},
        {"vfiod_authentications", METRIC_COUNTER, "authentications",
                "Requests that waited for a person to authenticate."},
        {"vfiod_waits", METRIC_COUNTER, "waits", "Requests that waited in the queue for a device."},
        {"vfiod_binds", METRIC_COUNTER, "binds", "Devices that were moved to a vfio driver."},
        {"vfiod_resets", METRIC_COUNTER, "resets", "Devices that were reset after a claim."},
        {"vfiod_restores", METRIC_COUNTER, "restores", "Devices that were given back to their drivers."},
        {"vfiod_quarantines", METRIC_COUNTER, "quarantines", "Devices that were quarantined."},
        {"vfiod_budget_refusals", METRIC_COUNTER, "budget-refusals",
                "Calls, connections, claims and driver changes that were more than one user may have."},
        {"vfiod_locked_memory_allowed_bytes", METRIC_GAUGE, "locked-memory-allowed",
                "Memory that claims may lock for which vfiod has raised the limit.", .unit = "bytes"},
        {"vfiod_locked_memory_bytes", METRIC_GAUGE, "locked-memory",
                "Memory that the processes of these claims have locked.", .unit = "bytes"},
        {"vfiod_devices", METRIC_GAUGE, "devices", "Devices of the host."},
        {"vfiod_quarantined_devices", METRIC_GAUGE, "quarantined-devices",
                "Devices that could not be reset or restored."},
        {"vfiod_groups", METRIC_GAUGE, "groups", "IOMMU groups of the host."},
        {"vfiod_claims", METRIC_GAUGE, "claims", "Claims."},
        {"vfiod_oldest_claim_timestamp_seconds", METRIC_GAUGE, "oldest-claim", "When the oldest claim began.",
                .usec = true, .unit = "seconds"},
        {"vfiod_taints", METRIC_GAUGE, "taints",
                "What weakens the isolation of devices, or was recorded about it."},
        {},
};

struct json_object *metrics_ask(VfiodErrorText *error) {
    _cleanup_connection_ VfiodConnection *c = NULL;
    _cleanup_object_ Object host = {.kind = OBJECT_MANAGER, .name = strdup("")};
    struct json_object *figures;
    int r;

    host.properties = json_object_new_object();
    if (!host.name || !host.properties)
        return NULL;
    r = vfiod_connection_new(&c, error);
    if (r >= 0)
        r = call_add_property(c, &host, "figures", error);
    figures = r >= 0 ? json_list(host.properties, "figures") : NULL;
    return figures ? json_object_get(figures) : NULL;
}

int metrics_next(const Metric *metric, struct json_object *figures, size_t *index, struct json_object **ret) {
    for (; *index < json_object_array_length(figures); (*index)++) {
        *ret = json_object_array_get_idx(figures, *index);
        if (streq(json_text(*ret, "name"), metric->figure)) {
            (*index)++;
            return 1;
        }
    }
    return 0;
}

uint64_t metrics_value(const Metric *metric, struct json_object *figure) {
    uint64_t value = json_object_get_uint64(json_member(figure, "value"));

    return metric->usec ? value / 1000000 : value;
}

/* ---- OpenMetrics ---- */

static const char *const type_names[_METRIC_TYPE_MAX] = {
        [METRIC_GAUGE] = "gauge",
        [METRIC_COUNTER] = "counter",
        [METRIC_INFO] = "info",
};

static void describe(StrBuf *out, const Metric *m) {
    strbuf_addf(out, "# TYPE %s %s\n", m->name, type_names[m->type]);
    if (m->unit)
        strbuf_addf(out, "# UNIT %s %s\n", m->name, m->unit);
    strbuf_addf(out, "# HELP %s %s\n", m->name, m->help);
}

static void add_escaped(StrBuf *out, const char *value) {
    for (; *value; value++)
        if (*value == '\n')
            strbuf_add(out, "\\n");
        else {
            if (*value == '\\' || *value == '"')
                strbuf_add_byte(out, '\\');
            strbuf_add_byte(out, *value);
        }
}

static void add_labels(StrBuf *out, struct json_object *labels) {
    bool first = true;

    if (!labels || json_object_object_length(labels) == 0)
        return;
    json_object_object_foreach(labels, name, value) {
        strbuf_addf(out, "%s%s=\"", first ? "{" : ",", name);
        add_escaped(out, json_object_get_string(value) ?: "");
        strbuf_add(out, "\"");
        first = false;
    }
    strbuf_add(out, "}");
}

static void add_sample(StrBuf *out, const Metric *m, struct json_object *figure, uint64_t started_usec) {
    struct json_object *labels = json_member(figure, "labels");

    strbuf_addf(out, "%s%s", m->name,
            m->type == METRIC_COUNTER        ? "_total"
                    : m->type == METRIC_INFO ? "_info"
                                             : "");
    add_labels(out, labels);
    strbuf_addf(out, " %" PRIu64 "\n", metrics_value(m, figure));
    if (m->type != METRIC_COUNTER || started_usec == 0)
        return;
    strbuf_addf(out, "%s_created", m->name);
    add_labels(out, labels);
    strbuf_addf(out, " %" PRIu64 ".%06" PRIu64 "\n", started_usec / 1000000, started_usec % 1000000);
}

static uint64_t find_start(struct json_object *figures) {
    static const Metric started = {.figure = "started"};
    struct json_object *figure;
    size_t i = 0;

    return metrics_next(&started, figures, &i, &figure) > 0 ? metrics_value(&started, figure) : 0;
}

char *metrics_format_text(struct json_object *figures) {
    uint64_t started_usec = figures ? find_start(figures) : 0;
    _cleanup_strbuf_ StrBuf out = {};

    strbuf_addf(&out, "# TYPE vfiod_up gauge\n# HELP vfiod_up Whether vfiod answered.\nvfiod_up %d\n",
            figures ? 1 : 0);
    for (const Metric *m = metrics_table; figures && m->name; m++) {
        struct json_object *figure;
        size_t i = 0;

        describe(&out, m);
        while (metrics_next(m, figures, &i, &figure) > 0)
            add_sample(&out, m, figure, started_usec);
    }
    strbuf_add(&out, "# EOF\n");
    return strbuf_steal(&out);
}
