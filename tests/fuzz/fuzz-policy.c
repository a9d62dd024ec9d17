/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include "base/str.h"
#include "policy/explain.h"
#include "policy/parse.h"

/* The input is the text of a policy file; a NUL in front of more text begins another file. What loads is
 * asked about a few subjects and devices. */

static int resolve(_unused_ void *userdata, bool is_group, const char *name, uint32_t *ret) {
    if (streq(name, "alice")) {
        *ret = is_group ? 2000 : 1000;
        return 0;
    }
    return streq(name, "ldap") ? -EIO : -ENOENT;
}

/* 2026-12-31T18:00:00Z */
#define NOW_USEC UINT64_C(1798740000000000)

static void expect_terms(const RuleTerms *t) {
    EXPECT(t->backends != 0 && t->backends < 1U << _BACKEND_MAX);
    EXPECT(t->grants != 0 && t->grants < 1U << _GRANT_KIND_MAX);
    EXPECT(t->tethers != 0 && t->tethers < 1U << _TETHER_KIND_MAX);
    EXPECT(((t->backends & 1U << BACKEND_NOIOMMU) != 0) == (t->noiommu_reason != NULL));
    EXPECT(!t->waive_sys_rawio || t->noiommu_reason);
    EXPECT(!t->noiommu_reason || (t->noiommu_reason[0] && is_printable(t->noiommu_reason)));
    EXPECT(t->limits.claims != 0 && t->limits.devices != 0);
    EXPECT(t->limits.claims_per_user != 0 && t->limits.devices_per_user != 0);
}

static Verdict expect_verdict(const Policy *policy, const PolicyQuestion *q) {
    Verdict v = policy_evaluate(policy, q);

    EXPECT(v.effect >= 0 && v.effect < _EFFECT_MAX);
    EXPECT(v.rule || v.effect == EFFECT_DENY);
    EXPECT(!v.changed || (v.rule && v.effect == EFFECT_DENY && rule_effect(v.rule) != EFFECT_DENY));
    EXPECT((v.terms != NULL) == (v.effect != EFFECT_DENY));
    if (v.effect != EFFECT_DENY) {
        EXPECT(q->subject->uid != (uid_t) -1);
        EXPECT(rule_effect(v.rule) == v.effect || v.effect == EFFECT_ASK);
        EXPECT(rule_effect(v.rule) != EFFECT_DENY && rule_concerns(v.rule, q->subject));
        expect_terms(v.terms);
    }
    if (v.rule) {
        EXPECT(rule_name(v.rule)[0] && is_printable(rule_name(v.rule)));
        EXPECT(startswith(rule_origin(v.rule), rule_name(v.rule)));
        EXPECT(rule_key(v.rule)[0] && rule_line(v.rule) > 0);
    }
    return v;
}

/* What is told is JSON and says the same as the verdict. */
static void expect_explanation(const Policy *policy, const PolicyQuestion *q, Audience audience) {
    Verdict v = policy_evaluate(policy, q);
    struct json_object *told = policy_explain(policy, q, audience, NULL);
    const bool may_know = v.rule && (audience == AUDIENCE_OPERATOR || rule_concerns(v.rule, q->subject));

    EXPECT(told);
    EXPECT(utf8_is_valid(json_object_to_json_string(told)));
    EXPECT(streq(json_object_get_string(json_object_object_get(told, "effect")), effect_to_string(v.effect)));
    EXPECT(streq(json_object_get_string(json_object_object_get(told, "rule")) ?: "",
            may_know ? rule_name(v.rule) : ""));
    json_object_put(told);
}

static bool is_no_more(Effect now, Effect before) {
    return now == before || now == EFFECT_DENY || before == EFFECT_ALLOW;
}

/* Whoever is denied is denied as well when less is known, and who is asked about is not allowed. What a tag
 * refused because it CHANGED is left out: its rule only does not match when that cannot be seen. */
static void expect_less_is_not_more(const Policy *policy, const PolicyQuestion *full) {
    Verdict v = expect_verdict(policy, full);
    const Effect most = v.changed ? EFFECT_ALLOW : v.effect;
    DeviceFacts facts = *full->facts;
    Subject s = *full->subject;
    PolicyQuestion q = {.subject = &s, .device = full->device, .facts = &facts, .now_usec = full->now_usec};

    for (unsigned bit = 1; bit < DEVICE_FACT_ALL; bit <<= 1) {
        facts.known = full->facts->known & ~bit;
        EXPECT(is_no_more(expect_verdict(policy, &q).effect, most));
    }
    facts.known = full->facts->known & policy_needed_facts(policy);
    EXPECT(expect_verdict(policy, &q).rule == v.rule);
    q.facts = NULL;
    EXPECT(is_no_more(expect_verdict(policy, &q).effect, most));
    q.now_usec = 0;
    EXPECT(is_no_more(expect_verdict(policy, &q).effect, most));
    s.cgroup = s.unit = s.label = NULL;
    EXPECT(is_no_more(expect_verdict(policy, &q).effect, most));
    s.capabilities_known = false;
    s.user_namespace = s.pid_namespace = NAMESPACE_UNKNOWN;
    EXPECT(is_no_more(expect_verdict(policy, &q).effect, most));
    s.n_gids = 0;
    EXPECT(is_no_more(expect_verdict(policy, &q).effect, most));
    s.uid = (uid_t) -1;
    EXPECT(expect_verdict(policy, &q).effect == EFFECT_DENY);
}

static char *properties[] = {(char[]){"ID_PATH=pci-0000:06:0d.0"}, (char[]){"POOL=lab"}, NULL};

static const DeviceFacts facts_of_devices[] = {
        {.known = DEVICE_FACT_ALL,
                .reset_methods = 1U << RESET_METHOD_FLR,
                .numa_node = 1,
                .removable = REMOVABLE_FIXED,
                .enable_count = -1,
                .acs = ACS_COMPLETE,
                .slot_path = "0000:00:1c.0/00.0",
                .serial = "00-1b-21-ff-ff-a1-b2-c3",
                .properties = properties},
        {.known = DEVICE_FACT_ALL,
                .numa_node = -1,
                .removable = REMOVABLE_REMOVABLE,
                .enable_count = -1,
                .acs = ACS_INCOMPLETE,
                .slot_path = "10000:01:00.0",
                .properties = properties + 2},
};

static void ask(const Policy *policy) {
    gid_t gids[] = {1000, 2000};
    Subject subjects[] = {SUBJECT_NULL, SUBJECT_NULL, SUBJECT_NULL, SUBJECT_NULL};
    Group group = {.id = 3, .n_members = 1};
    Device devices[] = {
            {.vendor = 0x1234,
                    .device = 0x11e8,
                    .class_code = 0x00ff00,
                    .group = &group,
                    .name = {.kind = DEVICE_KIND_PCI, .pci_bus = 6, .slot = 0x0d}},
            {.vendor = 0x8086,
                    .device = 0x10d3,
                    .class_code = 0x020000,
                    .driver = "e1000e",
                    .name = {.kind = DEVICE_KIND_PCI, .domain = 0x10000, .pci_bus = 1}},
    };

    group.members = devices;
    subjects[1].uid = 1000;
    subjects[1].cgroup = (char[]){"/machine.slice/vm-1.service"};
    subjects[1].unit = (char[]){"vm-1.service"};
    subjects[1].label = (char[]){"system_u:system_r:svirt_t:s0"};
    subjects[1].gids = gids;
    subjects[1].n_gids = 1;
    subjects[1].user_namespace = subjects[1].pid_namespace = NAMESPACE_HOST;
    subjects[1].capabilities_known = true;
    subjects[2].uid = 0;
    subjects[2].gids = gids;
    subjects[2].n_gids = ELEMENTSOF(gids);
    subjects[2].cgroup = (char[]){"/"};
    subjects[2].user_namespace = NAMESPACE_HOST;
    subjects[2].pid_namespace = NAMESPACE_OTHER;
    subjects[2].capabilities = UINT64_MAX;
    subjects[2].capabilities_known = true;
    subjects[3] = subjects[1];
    subjects[3].scope = (char[]){"ci"};
    for (size_t i = 0; i < ELEMENTSOF(subjects); i++)
        for (size_t k = 0; k < ELEMENTSOF(devices); k++) {
            const PolicyQuestion q = {
                    .subject = subjects + i,
                    .device = devices + k,
                    .facts = facts_of_devices + k,
                    .now_usec = NOW_USEC - 1 + k,
            };

            expect_less_is_not_more(policy, &q);
            expect_explanation(policy, &q, i == k ? AUDIENCE_OPERATOR : AUDIENCE_SUBJECT);
        }
}

static void expect_messages(const PolicyParser *p) {
    for (size_t i = 0; i < policy_parser_n_errors(p); i++)
        EXPECT(is_printable(policy_parser_error(p, i)) && utf8_is_valid(policy_parser_error(p, i)));
    for (size_t i = 0; i < policy_parser_n_warnings(p); i++)
        EXPECT(is_printable(policy_parser_warning(p, i)) && utf8_is_valid(policy_parser_warning(p, i)));
    EXPECT(policy_parser_n_errors(p) <= POLICY_ERRORS_MAX + 1);
    EXPECT(policy_parser_n_warnings(p) <= POLICY_ERRORS_MAX + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
    _cleanup_(policy_freep) Policy *policy = NULL;
    const uint8_t *end = data + size;
    char file[] = "a.json";
    int r;

    EXPECT(p);
    for (const uint8_t *next; data; data = next) {
        next = memchr(data, 0, (size_t) (end - data));
        r = policy_parser_add(p, file, (const char *) data, (size_t) ((next ?: end) - data));
        EXPECT(r == 0);
        if (next)
            next++;
        file[0] = file[0] == 'z' ? 'a' : (char) (file[0] + 1);
    }
    r = policy_parser_finish(p, &policy);
    expect_messages(p);
    EXPECT(r == (policy_parser_n_errors(p) == 0 ? 0 : -EINVAL));
    EXPECT((policy != NULL) == (r == 0));
    ask(policy);
    return 0;
}
