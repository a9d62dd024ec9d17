/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The keys of a rule that set what it allows and what it requires in return. */

#include "core/eviction.h"
#include "core/queue.h"
#include "core/scrub-unit.h"
#include "core/variant.h"
#include "policy/parser.h"

#define LIMIT_MAX ((1U << 31) - 1)
#define NOIOMMU_REASON_MAX 200U

const char *const rule_terms_keys[] = {"backend", "grant", "tether", "reset", "siblings", "host-critical",
        "memlock", "untainted", "reason", "limits", "noiommu", "network", "priority", "eviction-delay",
        "max-duration", "preemptible", "scrub", "stop-after", "drain-timeout", "sleep-delay", "driver",
        "d3cold", NULL};

void take_backend(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    static const Backend choices[] = {BACKEND_IOMMUFD, BACKEND_GROUP, BACKEND_COMPAT, BACKEND_VHOST_VDPA};
    const char *words[ELEMENTSOF(choices) + 1] = {};
    int i;

    for (size_t n = 0; n < ELEMENTSOF(choices); n++)
        words[n] = backend_to_string(choices[n]);

    if (streq(value->string, backend_to_string(BACKEND_NOIOMMU))) {
        report_value(p, value,
                "\"noiommu\" is no backend to choose, it needs a key of its own: \"noiommu\": {\"reason\": "
                "\"…\"}");
        return;
    }
    i = parser_take_word(p, value, "backend", words);
    if (i >= 0)
        p->rule.terms.backends |= 1U << choices[i];
}

void take_grant(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    const char *words[_GRANT_KIND_MAX + 1] = {};
    int i;

    for (GrantKind g = 0; g < _GRANT_KIND_MAX; g++)
        words[g] = grant_kind_to_string(g);
    i = parser_take_word(p, value, "grant", words);

    if (i >= 0)
        p->rule.terms.grants |= 1U << i;
}

void take_tether(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    const char *words[_TETHER_KIND_MAX + 1] = {};
    int i;

    for (TetherKind t = 0; t < _TETHER_KIND_MAX; t++)
        words[t] = tether_kind_to_string(t);
    i = parser_take_word(p, value, "tether", words);
    if (i >= 0)
        p->rule.terms.tethers |= 1U << i;
}

void take_reset(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    const char *const words[] = {
            reset_demand_to_string(RESET_REQUIRED), reset_demand_to_string(RESET_OPTIONAL), NULL};
    int i = parser_take_word(p, value, "value of \"reset\":", words);

    if (i >= 0)
        p->rule.terms.reset = (ResetDemand) i;
}

void take_siblings(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    const char *const words[] = {
            sibling_demand_to_string(SIBLINGS_REFUSE), sibling_demand_to_string(SIBLINGS_PARK), NULL};
    int i = parser_take_word(p, value, "value of \"siblings\":", words);

    if (i >= 0)
        p->rule.terms.siblings = (SiblingDemand) i;
}

void take_host_critical(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    const char *const words[] = {host_critical_demand_to_string(HOST_CRITICAL_REFUSE),
            host_critical_demand_to_string(HOST_CRITICAL_ALLOW), NULL};
    int i = parser_take_word(p, value, "value of \"host-critical\":", words);

    if (i >= 0)
        p->rule.terms.host_critical = (HostCriticalDemand) i;
}

void take_memlock(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    (void) parser_take_size(p, value, &p->rule.terms.memlock_max);
}

void take_untainted(void *userdata, const JsonNode *value) {
    ((PolicyParser *) userdata)->rule.terms.untainted = value->boolean;
}

void take_reason(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    const char *const words[] = {"optional", "required", NULL};
    int i = parser_take_word(p, value, "value of \"reason\":", words);

    if (i >= 0)
        p->rule.terms.reason_required = i == 1;
}

void take_priority(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    if (value->integer < QUEUE_PRIORITY_MIN || value->integer > QUEUE_PRIORITY_MAX)
        report_value(p, value, "this must be a number from %d to %d", QUEUE_PRIORITY_MIN, QUEUE_PRIORITY_MAX);
    else
        p->rule.terms.priority = (int) value->integer;
}

void take_eviction_delay(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    uint64_t seconds;

    if (parser_take_number(p, value, 0, EVICTION_SEC_MAX, &seconds))
        p->rule.terms.hold.eviction_delay_sec = (uint32_t) seconds;
}

void take_max_duration(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    uint64_t seconds;

    if (parser_take_number(p, value, 1, DURATION_MAX_SEC, &seconds))
        p->rule.terms.hold.max_duration_sec = (uint32_t) seconds;
}

static void take_delay(PolicyParser *p, const JsonNode *value, uint32_t *ret) {
    uint64_t seconds;

    if (parser_take_number(p, value, 1, EVICTION_SEC_MAX, &seconds))
        *ret = (uint32_t) seconds;
}

void take_stop_after(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    take_delay(p, value, &p->rule.terms.hold.stop_after_sec);
}

void take_drain_timeout(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    take_delay(p, value, &p->rule.terms.hold.drain_timeout_sec);
}

void take_preemptible(void *userdata, const JsonNode *value) {
    ((PolicyParser *) userdata)->rule.terms.hold.preemptible = value->boolean;
}

void take_d3cold(void *userdata, const JsonNode *value) {
    ((PolicyParser *) userdata)->rule.terms.hold.d3cold = value->boolean;
}

void take_scrub(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    if (!scrub_template_is_valid(value->string))
        report_value(p, value,
                "this must be the name of a template unit, at most %u letters, digits and \"-_.:\", like "
                "\"vfiod-scrub@.service\"",
                SCRUB_TEMPLATE_MAX - 1);
    else if (free_and_strdup(&p->rule.terms.scrub, value->string) < 0)
        p->problems.out_of_memory = true;
}

void take_vfio_driver(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    if (!driver_name_is_valid(value->string))
        report_value(p, value,
                "this must be the name of a vfio driver, at most %u letters, digits, \"-\" and \"_\", like "
                "\"mlx5_vfio_pci\"",
                VARIANT_NAME_MAX - 1);
    else if (free_and_strdup(&p->rule.terms.driver, value->string) < 0)
        p->problems.out_of_memory = true;
}

void take_sleep_delay(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    uint64_t seconds;

    if (parser_take_number(p, value, 0, SLEEP_DELAY_MAX_SEC, &seconds))
        p->rule.terms.hold.sleep_delay_sec = (uint32_t) seconds;
}

/* --- limits --- */

static void take_limit_of_claims(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    (void) parser_take_number(p, value, 1, LIMIT_MAX, &p->rule.terms.limits.claims);
}

static void take_limit_of_devices(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    (void) parser_take_number(p, value, 1, LIMIT_MAX, &p->rule.terms.limits.devices);
}

static void take_limit_of_claims_per_user(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    (void) parser_take_number(p, value, 1, LIMIT_MAX, &p->rule.terms.limits.claims_per_user);
}

static void take_limit_of_devices_per_user(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    (void) parser_take_number(p, value, 1, LIMIT_MAX, &p->rule.terms.limits.devices_per_user);
}

static void take_limit_of_pinned(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    (void) parser_take_size(p, value, &p->rule.terms.limits.pinned);
}

static const Key limits_keys[] = {
        {.name = "claims",
                .types = TYPE(INTEGER),
                .expected = "a number of claims",
                .take = take_limit_of_claims},
        {.name = "devices",
                .types = TYPE(INTEGER),
                .expected = "a number of devices",
                .take = take_limit_of_devices},
        {.name = "claims-per-user",
                .types = TYPE(INTEGER),
                .expected = "a number of claims",
                .take = take_limit_of_claims_per_user},
        {.name = "devices-per-user",
                .types = TYPE(INTEGER),
                .expected = "a number of devices",
                .take = take_limit_of_devices_per_user},
        {.name = "pinned",
                .types = TYPE(INTEGER) | TYPE(STRING),
                .expected = "a number of bytes or a size like \"16G\"",
                .take = take_limit_of_pinned},
};

void take_limits(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    if (parser_check_not_empty(p, value))
        schema_take_keys(&p->problems, value, "\"limits\"", limits_keys, ELEMENTSOF(limits_keys), p);
}

/* --- without an IOMMU --- */

static void take_noiommu_reason(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    _cleanup_free_ char *sane = sanitize(value->string, NOIOMMU_REASON_MAX);

    if (!sane || free_and_strdup(&p->rule.terms.noiommu_reason, value->string) < 0) {
        p->problems.out_of_memory = true;
        return;
    }
    /* Text that had to be cut or escaped is refused. */
    if (value->string[0] == '\0' || !streq(sane, value->string))
        report_value(p, value, "the reason must have 1 to %u bytes, all printable", NOIOMMU_REASON_MAX);
}

static void take_waiver(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    p->rule.terms.waive_sys_rawio = value->boolean;
    if (!value->boolean)
        report_value(
                p, value, "\"waive-cap-sys-rawio\" can only be true; leave it out to require the capability");
}

static const Key noiommu_keys[] = {
        {.name = "reason",
                .types = TYPE(STRING),
                .expected = "a string: why this device may be used without an IOMMU",
                .required = true,
                .take = take_noiommu_reason},
        {.name = "waive-cap-sys-rawio", .types = TYPE(BOOLEAN), .expected = "true", .take = take_waiver},
};

void take_noiommu(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    schema_take_keys(&p->problems, value, "\"noiommu\"", noiommu_keys, ELEMENTSOF(noiommu_keys), p);
}

/* --- the network of a virtual function --- */

static void take_mac(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    VfBounds *b = &p->rule.terms.network;
    _cleanup_free_ char *shown = NULL;
    MacPattern pattern;
    const char *why;

    if (mac_pattern_parse(value->string, &pattern, &why) < 0) {
        shown = show(p, value->string);
        report_value(p, value, "\"%s\" %s", shown, why);
        return;
    }
    if (parser_grow(p, (void **) &b->macs, b->n_macs, sizeof(*b->macs)))
        b->macs[b->n_macs++] = pattern;
}

static int read_vlans(const JsonNode *value, VlanRange *ret) {
    if (value->type == JSON_STRING)
        return vlan_range_parse(value->string, ret);
    if (value->integer < 0 || value->integer > VLAN_MAX)
        return -ERANGE;
    *ret = (VlanRange){.low = (uint16_t) value->integer, .high = (uint16_t) value->integer};
    return 0;
}

static void take_vlan(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    VfBounds *b = &p->rule.terms.network;
    VlanRange range;

    if (read_vlans(value, &range) < 0) {
        report_value(p, value,
                "this is not a VLAN, expected a number from 0 (none) to %u, or two of them like \"100-199\"",
                VLAN_MAX);
        return;
    }
    if (parser_grow(p, (void **) &b->vlans, b->n_vlans, sizeof(*b->vlans)))
        b->vlans[b->n_vlans++] = range;
}

static void take_switch(PolicyParser *p, const JsonNode *value, const char *what, unsigned *ret) {
    const char *const words[] = {"off", "on", NULL};
    int i = parser_take_word(p, value, what, words);

    if (i >= 0)
        *ret |= 1U << i;
}

static void take_spoofchk(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    take_switch(p, value, "value of \"spoofchk\":", &p->rule.terms.network.spoofchk);
}

static void take_trust(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    take_switch(p, value, "value of \"trust\":", &p->rule.terms.network.trust);
}

static const Key network_keys[] = {
        {.name = "mac",
                .types = TYPE(STRING),
                .expected = "a MAC address like \"52:54:00:*:*:*\"",
                .list = true,
                .take = take_mac},
        {.name = "vlan",
                .types = TYPE(INTEGER) | TYPE(STRING),
                .expected = "a VLAN, or a range like \"100-199\"",
                .list = true,
                .take = take_vlan},
        {.name = "spoofchk",
                .types = TYPE(STRING),
                .expected = "\"on\" or \"off\"",
                .list = true,
                .take = take_spoofchk},
        {.name = "trust",
                .types = TYPE(STRING),
                .expected = "\"on\" or \"off\"",
                .list = true,
                .take = take_trust},
};

void take_network(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    if (parser_check_not_empty(p, value))
        schema_take_keys(&p->problems, value, "\"network\"", network_keys, ELEMENTSOF(network_keys), p);
}
