/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Devices that are made for a claim: "templates" of "host". The lists of all files are joined. A name that is
 * used twice is an error. */

#include "core/device-kind.h"
#include "core/mdev-types.h"
#include "policy/parser.h"

static void take_name(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    _cleanup_free_ char *shown = NULL;

    if (device_kind_text_parse(DEVICE_KIND_TEMPLATE, value->string, &p->template.name) >= 0)
        return;
    shown = show(p, value->string);
    report_value(p, value,
            "\"%s\" is not the name of a template: at most %u of the characters A-Za-z0-9._:@,+-, and the "
            "first "
            "is a letter or a digit",
            shown, DEVICE_TEXT_MAX - 1);
}

/* The kernel's name has no kind in front, vfiod's name of the same device has one. */
static void take_parent(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    const char *name = startswith(value->string, "pci:") ?: value->string;
    _cleanup_free_ char *shown = NULL;

    if (mdev_name_is_safe(name) && strlen(name) < DEVICE_TEXT_MAX) {
        p->template.parent = strdup(name);
        p->problems.out_of_memory |= !p->template.parent;
        return;
    }
    shown = show(p, value->string);
    report_value(p, value,
            "\"%s\" is not the name of a parent as in /sys/class/mdev_bus, like \"0000:06:00.0\", nor a glob "
            "over such names",
            shown);
}

static bool is_type(const char *s) {
    for (const char *c = s; *c; c++)
        if ((unsigned char) *c < ' ' || *c == 0x7f)
            return false;
    return *s && !strchr(s, '/') && strlen(s) < MDEV_TYPE_NAME_MAX;
}

static void take_type(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    _cleanup_free_ char *shown = NULL;

    if (is_type(value->string)) {
        p->template.type = strdup(value->string);
        p->problems.out_of_memory |= !p->template.type;
        return;
    }
    shown = show(p, value->string);
    report_value(p, value,
            "\"%s\" is not a type of mediated devices as 'vfioctl types' shows them, like \"nvidia-474\"",
            shown);
}

static const Key template_keys[] = {
        {.name = "name",
                .types = TYPE(STRING),
                .expected = "the name of the template",
                .required = true,
                .take = take_name},
        {.name = "parent",
                .types = TYPE(STRING),
                .expected = "the name of a parent, or a glob",
                .required = true,
                .take = take_parent},
        {.name = "type",
                .types = TYPE(STRING),
                .expected = "a type of mediated devices",
                .required = true,
                .take = take_type},
};

static void free_template(DeviceTemplate *t) {
    free(t->parent);
    free(t->type);
    free(t->place);
    *t = (DeviceTemplate){};
}

static const DeviceTemplate *find(const DeviceTemplate *list, size_t n, const DeviceName *name) {
    for (size_t i = 0; i < n; i++)
        if (device_name_compare(&list[i].name, name) == 0)
            return list + i;
    return NULL;
}

static void add(PolicyParser *p, const JsonNode *value) {
    const DeviceTemplate *same;

    if (p->template.name.kind != DEVICE_KIND_TEMPLATE || !p->template.parent || !p->template.type)
        return; /* reported already */
    same = find(p->templates, p->n_templates, &p->template.name);
    if (same) {
        report_value(p, value, "there is a template of this name at %s already", same->place);
        return;
    }
    p->template.place = format_string("%s:%u:%u", p->problems.file, value->line, value->column);
    if (!p->template.place)
        p->problems.out_of_memory = true;
    else if (parser_grow(p, (void **) &p->templates, p->n_templates, sizeof(*p->templates)))
        p->templates[p->n_templates++] = TAKE_GENERIC(p->template, (DeviceTemplate){});
}

void take_templates(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    for (const JsonNode *e = value->children; e; e = e->next) {
        if (e->type != JSON_OBJECT) {
            report_value(p, e, "expected an object like " TEMPLATE_EXAMPLE ", found %s",
                    schema_describe_type(e->type));
            continue;
        }
        if (p->n_templates >= DEVICE_TEMPLATES_MAX) {
            report_value(p, e, "the policy has more than %u templates", DEVICE_TEMPLATES_MAX);
            return;
        }
        schema_take_keys(
                &p->problems, e, "an element of \"templates\"", template_keys, ELEMENTSOF(template_keys), p);
        add(p, e);
        free_template(&p->template);
    }
}

void device_templates_done(DeviceTemplate *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        free_template(list + i);
    free(list);
}

/* A warning and not an error: the template may be in a file that is installed later. */
void parser_warn_of_unknown_templates(PolicyParser *p) {
    for (size_t i = 0; i < p->n_rules; i++)
        for (size_t k = 0; k < p->rules[i].n_devices; k++) {
            const DevicePattern *pattern = &p->rules[i].devices[k];
            char name[DEVICE_NAME_MAX];

            if (!pattern->exact || pattern->name.kind != DEVICE_KIND_TEMPLATE ||
                    find(p->templates, p->n_templates, &pattern->name))
                continue;
            p->warnings.file = p->rules[i].file;
            problems_report(&p->warnings, p->rules[i].line, p->rules[i].column,
                    "this rule names %s, and \"templates\" of \"host\" has no such template",
                    device_name_format(&pattern->name, name));
            p->warnings.file = NULL;
        }
}

const DeviceTemplate *policy_find_template(const Policy *policy, const DeviceName *name) {
    return policy ? find(policy->templates, policy->n_templates, name) : NULL;
}
