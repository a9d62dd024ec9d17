/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include "base/str.h"
#include "core/policy-parse.h"

/* The input is the text of a policy file; a NUL in front of more text begins another file. What loads is
 * asked about a few subjects and devices. */

static int resolve(_unused_ void *userdata, bool is_group, const char *name, uint32_t *ret) {
    if (streq(name, "alice")) {
        *ret = is_group ? 2000 : 1000;
        return 0;
    }
    return streq(name, "ldap") ? -EIO : -ENOENT;
}

static void expect_verdict(const Policy *policy, const Subject *s, const Device *d) {
    Verdict v = policy_evaluate(policy, &(const PolicyQuestion){.subject = s, .device = d});

    EXPECT(v.effect >= 0 && v.effect < _EFFECT_MAX);
    EXPECT(v.rule || v.effect == EFFECT_DENY);
    if (v.effect != EFFECT_DENY) {
        EXPECT(s->uid != (uid_t) -1);
        EXPECT(v.terms->backends != 0 && v.terms->backends < 1U << _BACKEND_MAX);
    } else
        EXPECT(!v.terms);
    if (v.rule) {
        EXPECT(rule_name(v.rule)[0] && is_printable(rule_name(v.rule)));
        EXPECT(startswith(rule_origin(v.rule), rule_name(v.rule)));
    }
}

static void ask(const Policy *policy) {
    gid_t gids[] = {1000, 2000};
    Subject subjects[] = {SUBJECT_NULL, SUBJECT_NULL, SUBJECT_NULL};
    Device devices[] = {
            {.vendor = 0x1234,
                    .device = 0x11e8,
                    .class_code = 0x00ff00,
                    .name = {.bus = BUS_PCI, .pci_bus = 6, .slot = 0x0d}},
            {.vendor = 0x8086,
                    .device = 0x10d3,
                    .class_code = 0x020000,
                    .driver = "e1000e",
                    .name = {.bus = BUS_PCI, .domain = 0x10000, .pci_bus = 1}},
    };

    subjects[1].uid = 1000;
    subjects[2].uid = 0;
    subjects[2].gids = gids;
    subjects[2].n_gids = ELEMENTSOF(gids);
    for (size_t i = 0; i < ELEMENTSOF(subjects); i++)
        for (size_t k = 0; k < ELEMENTSOF(devices); k++)
            expect_verdict(policy, subjects + i, devices + k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
    _cleanup_(policy_freep) Policy *policy = NULL;
    const uint8_t *end = data + size;
    char file[] = "a.json";
    size_t n_errors;
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
    n_errors = policy_parser_n_errors(p);
    EXPECT(n_errors <= POLICY_ERRORS_MAX + 1);
    for (size_t i = 0; i < n_errors; i++)
        EXPECT(is_printable(policy_parser_error(p, i)) && utf8_is_valid(policy_parser_error(p, i)));
    EXPECT(r == (n_errors == 0 ? 0 : -EINVAL));
    EXPECT((policy != NULL) == (n_errors == 0));
    ask(policy);
    return 0;
}
