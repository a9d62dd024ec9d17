/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The keys of "what". A value that can never match is an error here: in a deny rule it would be a silent
 * mistake. */

#include "core/pci-class.h"
#include "policy/parser.h"

/* The kernel supports at most 1024 nodes. */
#define NUMA_NODE_MAX 65535U
#define PROPERTY_KEY_MAX 255U

static bool take_pattern(PolicyParser *p, const JsonNode *value, DevicePattern *ret) {
    char problem[DEVICE_PATTERN_PROBLEM_MAX];
    _cleanup_free_ char *shown = NULL;

    if (device_pattern_parse(value->string, ret, problem, sizeof(problem)) >= 0)
        return true;
    shown = show(p, value->string);
    report_value(p, value, "\"%s\" %s", shown, problem);
    return false;
}

bool parser_take_pci_pattern(PolicyParser *p, const JsonNode *value, DevicePattern *ret) {
    _cleanup_free_ char *shown = NULL;

    if (!take_pattern(p, value, ret))
        return false;
    if (device_pattern_kind(ret) == DEVICE_KIND_PCI)
        return true;
    shown = show(p, value->string);
    report_value(p, value, "\"%s\" is no PCI device, and only these have virtual functions", shown);
    return false;
}

static void take_device(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Rule *r = &p->rule;
    DevicePattern pattern;

    if (!take_pattern(p, value, &pattern))
        return;
    p->has_kinds |= device_pattern_kind(&pattern) != DEVICE_KIND_PCI;
    if (parser_grow(p, (void **) &r->devices, r->n_devices, sizeof(*r->devices)))
        r->devices[r->n_devices++] = pattern;
}

static void take_physical_function(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Rule *r = &p->rule;
    DevicePattern pattern;

    if (parser_take_pci_pattern(p, value, &pattern) &&
            parser_grow(p, (void **) &r->functions, r->n_functions, sizeof(*r->functions)))
        r->functions[r->n_functions++] = pattern;
}

/* Takes four hex digits or "*", up to ':' or the end, and shifts them in. */
static bool take_id_part(const char **s, IdPattern *id) {
    char digits[5] = {};
    uint64_t v = 0;
    size_t n = strcspn(*s, ":");
    bool any = n == 1 && **s == '*';

    if (!any) {
        if (n != 4)
            return false;
        memcpy(digits, *s, 4);
        if (parse_unsigned(digits, 16, 0xffff, &v) < 0)
            return false;
    }
    id->value = id->value << 16 | v;
    id->mask = id->mask << 16 | (any ? 0 : 0xffff);
    *s += n;
    return true;
}

bool parse_id(const char *s, IdPattern *ret) {
    IdPattern id = {};
    unsigned parts = 0;

    for (;;) {
        if (parts == 4 || !take_id_part(&s, &id))
            return false;
        parts++;
        if (*s == '\0')
            break;
        s++;
    }
    if (parts != 2 && parts != 4)
        return false;
    if (parts == 2) {
        id.value <<= 32;
        id.mask <<= 32;
    }
    *ret = id;
    return true;
}

static bool is_id(const char *s) {
    IdPattern id;

    return parse_id(s, &id);
}

static bool is_class(const char *s) {
    uint32_t value, mask;

    return pci_class_parse_number(s, &value, &mask) >= 0;
}

/* Appends s without the "0x" before numbers. */
static void add_plain_hex(StrBuf *b, const char *s) {
    for (; *s; s++) {
        if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
            s++;
        else
            strbuf_addf(b, "%c", *s);
    }
}

/* Reports "0x10de:0x1c03", "10de", "0x03" and "03*", as other programs write them. False when value is none
 * of these. */
static bool report_hexadecimal(
        PolicyParser *p, const JsonNode *value, const char *what, bool (*is_right)(const char *s)) {
    _cleanup_free_ char *shown = show(p, value->string), *plain = NULL, *meant = NULL;
    _cleanup_strbuf_ StrBuf b = {};
    size_t n;

    strbuf_add(&b, "");
    add_plain_hex(&b, value->string);
    plain = strbuf_steal(&b);
    if (!plain)
        return false;
    n = strlen(plain);
    if (!is_right(plain) && n > 0 && plain[n - 1] == '*')
        plain[n - 1] = '\0';
    meant = is_right(plain) ? strdup(plain) : format_string("%s:*", plain);
    if (!meant || !is_right(meant))
        return false;
    report_value(p, value, "\"%s\" is not %s, did you mean \"%s\"?", shown, what, meant);
    return true;
}

static void take_id(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Rule *r = &p->rule;
    _cleanup_free_ char *shown = NULL;
    IdPattern id;

    if (!parse_id(value->string, &id)) {
        shown = show(p, value->string);
        if (report_hexadecimal(p, value, "an id", is_id))
            return;
        report_value(p, value,
                "\"%s\" is not an id, expected VENDOR:DEVICE or VENDOR:DEVICE:VENDOR:DEVICE of the "
                "subsystem, each four hex digits or *, like \"1234:11e8\"",
                shown);
        return;
    }
    if (parser_grow(p, (void **) &r->ids, r->n_ids, sizeof(*r->ids)))
        r->ids[r->n_ids++] = id;
}

static void add_class(PolicyParser *p, uint32_t value, uint32_t mask) {
    Rule *r = &p->rule;

    if (parser_grow(p, (void **) &r->classes, r->n_classes, sizeof(*r->classes)))
        r->classes[r->n_classes++] = (ClassPattern){.value = value, .mask = mask};
}

/* "3d" is a class name, although it looks like a number: there is no class 3d. */
static bool take_class_name(PolicyParser *p, const char *name) {
    bool found = false;

    for (const PciClass *c = pci_classes; c->name; c++)
        if (streq(c->name, name)) {
            add_class(p, c->value, c->mask);
            found = true;
        }
    return found;
}

static void take_class(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    _cleanup_free_ char *shown = NULL;
    uint32_t number, mask;
    const char *meant;

    if (take_class_name(p, value->string))
        return;
    if (pci_class_parse_number(value->string, &number, &mask) >= 0) {
        add_class(p, number, mask);
        return;
    }
    if (report_hexadecimal(p, value, "a class", is_class))
        return;
    shown = show(p, value->string);
    meant = nearest(value->string, pci_class_names());
    if (meant)
        report_value(p, value, "\"%s\" is not a class, did you mean \"%s\"?", shown, meant);
    else
        report_value(p, value,
                "\"%s\" is not a class, expected 2, 4 or 6 hex digits like \"0200\", or a name like "
                "\"ethernet\"",
                shown);
}

/* Could the kernel use this name? It becomes a directory in sysfs. */
static bool is_driver_name(const char *s) {
    size_t n = strlen(s);

    if (n == 0 || n >= sizeof(((DeviceSnapshot *) NULL)->driver) || streq(s, ".") || streq(s, ".."))
        return false;
    for (; *s; s++)
        if (*s <= ' ' || *s >= 0x7f || *s == '/')
            return false;
    return true;
}

static void take_driver(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Rule *r = &p->rule;
    _cleanup_free_ char *shown = NULL;

    if (!parser_refuse_glob(p, value, "the name of a driver", "list the drivers"))
        return;
    if (!is_driver_name(value->string)) {
        shown = show(p, value->string);
        report_value(p, value, "\"%s\" is not the name of a driver, like \"e1000e\"", shown);
        return;
    }
    parser_check_driver(p, value);
    parser_add_string(p, &r->drivers, value->string);
}

static void take_bus(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    const char *words[_DEVICE_KIND_MAX + 1] = {};
    int i;

    for (DeviceKind k = 0; k < _DEVICE_KIND_MAX; k++)
        words[k] = device_kind_to_string(k);
    i = parser_take_word(p, value, "bus", words);
    if (i < 0)
        return;
    p->rule.buses |= 1U << i;
    p->has_kinds |= i != DEVICE_KIND_PCI;
}

static void take_fingerprint(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Rule *r = &p->rule;
    _cleanup_free_ char *shown = NULL;
    uint64_t v;

    if (strlen(value->string) != 16 || parse_unsigned(value->string, 16, UINT64_MAX, &v) < 0) {
        shown = show(p, value->string);
        report_value(p, value,
                "\"%s\" is not the fingerprint of a group, expected 16 hex digits as 'vfioctl status "
                "group:N' "
                "shows them; the number of a group changes from boot to boot",
                shown);
        return;
    }
    if (parser_grow(p, (void **) &r->groups, r->n_groups, sizeof(*r->groups)))
        r->groups[r->n_groups++] = v;
}

/* The name is resolved after all files were read, because the tag may be defined in a later one. */
static void take_tag_use(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Rule *r = &p->rule;
    _cleanup_free_ char *name = strdup(value->string);

    if (!name)
        p->problems.out_of_memory = true;
    else if (parser_grow(p, (void **) &r->tags, r->n_tags, sizeof(*r->tags)))
        r->tags[r->n_tags++] = (TagUse){.name = TAKE_PTR(name), .line = value->line, .column = value->column};
}

static void take_numa(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Rule *r = &p->rule;
    uint64_t v;

    if (parser_take_number(p, value, 0, NUMA_NODE_MAX, &v) &&
            parser_grow(p, (void **) &r->numa_nodes, r->n_numa_nodes, sizeof(*r->numa_nodes)))
        r->numa_nodes[r->n_numa_nodes++] = (uint32_t) v;
}

/* --- properties of the udev database --- */

static bool is_property_key(const char *s) {
    size_t n = strlen(s);

    if (n == 0 || n > PROPERTY_KEY_MAX)
        return false;
    for (; *s; s++)
        if (*s <= ' ' || *s >= 0x7f || strchr("=*?[", *s))
            return false;
    return true;
}

static void take_property_glob(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    if (parser_take_glob(p, value, &p->property.globs))
        parser_check_property(p, p->property.key, value);
}

static void take_one_property(PolicyParser *p, const JsonNode *member) {
    const Key key = {.name = member->key,
            .types = TYPE(STRING),
            .expected = "a glob over its values",
            .list = true,
            .take = take_property_glob};
    Rule *r = &p->rule;

    if (!is_property_key(member->key)) {
        report_key(p, member,
                "the name of a property must have 1 to %u bytes, all printable, none of them \"=\", \"*\", "
                "\"?\" or "
                "\"[\"",
                PROPERTY_KEY_MAX);
        return;
    }
    parser_check_property_key(p, member);
    p->property = (PropertyPattern){.key = strdup(member->key)};
    if (!p->property.key) {
        p->problems.out_of_memory = true;
        return;
    }
    schema_take_value(&p->problems, &key, member, p);
    if (parser_grow(p, (void **) &r->properties, r->n_properties, sizeof(*r->properties)))
        r->properties[r->n_properties++] = TAKE_GENERIC(p->property, (PropertyPattern){});
    else
        property_pattern_done(&p->property);
}

static void take_property(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    if (!parser_check_not_empty(p, value))
        return;
    for (const JsonNode *m = value->children; m; m = m->next)
        take_one_property(p, m);
}

/* --- isolation --- */

static void take_alone(void *userdata, const JsonNode *value) {
    ((PolicyParser *) userdata)->rule.alone = value->boolean;
}

static void take_acs(void *userdata, const JsonNode *value) {
    ((PolicyParser *) userdata)->rule.acs = value->boolean;
}

static void take_knows_reset(void *userdata, const JsonNode *value) {
    ((PolicyParser *) userdata)->rule.reset = value->boolean;
}

static void take_removable(void *userdata, const JsonNode *value) {
    ((PolicyParser *) userdata)->rule.removable = value->boolean;
}

static const Key isolation_keys[] = {
        {.name = "alone", .types = TYPE(BOOLEAN), .expected = "true or false", .take = take_alone},
        {.name = "acs", .types = TYPE(BOOLEAN), .expected = "true or false", .take = take_acs},
        {.name = "reset", .types = TYPE(BOOLEAN), .expected = "true or false", .take = take_knows_reset},
        {.name = "removable", .types = TYPE(BOOLEAN), .expected = "true or false", .take = take_removable},
};

static void take_isolation(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    if (!parser_check_not_empty(p, value))
        return;
    schema_take_keys(&p->problems, value, "\"isolation\"", isolation_keys, ELEMENTSOF(isolation_keys), p);
    parser_note_predicates(p, "what.isolation", value);
}

static void take_capabilities(void *userdata, const JsonNode *value) {
    _cleanup_free_ char *part = NULL, *shown = NULL;
    PolicyParser *p = userdata;
    const char *bad;
    size_t size;

    if (device_needs_parse(value->string, &p->rule.needs, &bad, &size) >= 0)
        return;
    part = strndup(bad, size);
    shown = part ? sanitize(part, 64) : NULL;
    report_value(p, value,
            "\"%s\" is not a capability, expected " DEVICE_NEEDS_WORDS ", with a comma in between",
            shown ?: "");
}

static const Key what_keys[] = {
        {.name = "device",
                .types = TYPE(STRING),
                .expected = "the name of a device or a glob",
                .list = true,
                .take = take_device},
        {.name = "physical-function",
                .types = TYPE(STRING),
                .expected = "the name of a device or a glob",
                .list = true,
                .take = take_physical_function},
        {.name = "id",
                .types = TYPE(STRING),
                .expected = "a string like \"1234:11e8\"",
                .list = true,
                .take = take_id},
        {.name = "class",
                .types = TYPE(STRING),
                .expected = "a string of hex digits like \"0200\", or a name like \"ethernet\"",
                .list = true,
                .take = take_class},
        {.name = "driver",
                .types = TYPE(STRING),
                .expected = "the name of a driver",
                .list = true,
                .take = take_driver},
        {.name = "bus",
                .types = TYPE(STRING),
                .expected = "the kind of a device like \"pci\"",
                .list = true,
                .take = take_bus},
        {.name = "group",
                .types = TYPE(STRING),
                .expected = "the fingerprint of a group, 16 hex digits in a string",
                .list = true,
                .take = take_fingerprint},
        {.name = "tag",
                .types = TYPE(STRING),
                .expected = "the name of a tag",
                .list = true,
                .take = take_tag_use},
        {.name = "property",
                .types = TYPE(OBJECT),
                .expected = "an object of properties and globs like {\"ID_BUS\": \"pci\"}",
                .take = take_property},
        {.name = "numa",
                .types = TYPE(INTEGER),
                .expected = "the number of a NUMA node",
                .list = true,
                .take = take_numa},
        {.name = "isolation",
                .types = TYPE(OBJECT),
                .expected = "an object like {\"alone\": true}",
                .take = take_isolation},
        {.name = "capabilities",
                .types = TYPE(STRING),
                .expected = "a string like \"pasid,migration\"",
                .take = take_capabilities},
};

void take_what(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    schema_take_keys(&p->problems, value, "\"what\"", what_keys, ELEMENTSOF(what_keys), p);
    parser_note_predicates(p, "what", value);
}
