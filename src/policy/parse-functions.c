/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The number of virtual functions of devices: "virtual-functions" of "host". The lists of all files are
 * joined. A device that is named twice without a glob is an error. */

#include "policy/parser.h"

static void take_pattern(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    (void) parser_take_pci_pattern(p, value, &p->functions.device);
    p->functions.text = show(p, value->string);
}

static void take_count(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    uint64_t count;

    if (parser_take_number(p, value, 1, UINT16_MAX, &count))
        p->functions.count = (unsigned) count;
}

static void take_autoprobe(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    p->functions.autoprobe = value->boolean;
}

static const Key functions_keys[] = {
        {.name = "device",
                .types = TYPE(STRING),
                .expected = "the name of a device, or a glob",
                .required = true,
                .take = take_pattern},
        {.name = "count",
                .types = TYPE(INTEGER),
                .expected = "a number",
                .required = true,
                .take = take_count},
        {.name = "autoprobe", .types = TYPE(BOOLEAN), .expected = "true or false", .take = take_autoprobe},
};

static void free_functions(DeclaredFunctions *f) {
    free(f->text);
    free(f->place);
    *f = (DeclaredFunctions){};
}

static const DeclaredFunctions *find_same(const PolicyParser *p) {
    for (size_t i = 0; i < p->n_declared; i++) {
        const DevicePattern *a = &p->declared[i].device, *b = &p->functions.device;

        if (a->exact && b->exact && device_name_compare(&a->name, &b->name) == 0)
            return p->declared + i;
    }
    return NULL;
}

static void add(PolicyParser *p, const JsonNode *value) {
    const DeclaredFunctions *same = p->functions.count > 0 ? find_same(p) : NULL;

    if (same) {
        report_value(
                p, value, "the virtual functions of this device are already declared at %s", same->place);
        return;
    }
    p->functions.place = format_string("%s:%u:%u", p->problems.file, value->line, value->column);
    if (!p->functions.place)
        p->problems.out_of_memory = true;
    else if (parser_grow(p, (void **) &p->declared, p->n_declared, sizeof(*p->declared)))
        p->declared[p->n_declared++] = TAKE_GENERIC(p->functions, (DeclaredFunctions){});
}

void take_virtual_functions(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    for (const JsonNode *e = value->children; e; e = e->next) {
        if (e->type != JSON_OBJECT) {
            report_value(p, e,
                    "expected an object like {\"device\": \"0000:3b:00.0\", \"count\": 8}, found %s",
                    schema_describe_type(e->type));
            continue;
        }
        if (p->n_declared >= DECLARED_FUNCTIONS_MAX) {
            report_value(
                    p, e, "the policy declares virtual functions more than %u times", DECLARED_FUNCTIONS_MAX);
            return;
        }
        p->functions = (DeclaredFunctions){.autoprobe = -1};
        schema_take_keys(&p->problems, e, "an element of \"virtual-functions\"", functions_keys,
                ELEMENTSOF(functions_keys), p);
        add(p, e);
        free_functions(&p->functions);
    }
}

void declared_functions_done(DeclaredFunctions *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        free_functions(list + i);
    free(list);
}

const DeclaredFunctions *policy_find_functions(const Policy *policy, const DeviceName *name) {
    char kernel[DEVICE_NAME_MAX];

    device_name_format_kernel(name, kernel);
    for (size_t i = 0; policy && i < policy->n_declared; i++)
        if (device_pattern_match(&policy->declared[i].device, name, kernel))
            return policy->declared + i;
    return NULL;
}

size_t policy_n_functions(const Policy *policy) {
    return policy ? policy->n_declared : 0;
}

const DeclaredFunctions *policy_functions(const Policy *policy, size_t i) {
    return policy->declared + i;
}
