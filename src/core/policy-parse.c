/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/policy-parse.h"

#include <inttypes.h>
#include <search.h>
#include <stdio.h>

#include "base/str.h"
#include "core/policy-parser.h"

/* The keys of a policy and what each of them does to a rule. What is the same for all keys is in schema.c.
 *
 * Nothing stops at an error but a file that is not JSON: an operator wants all of them at once. They are
 * collected, and a set with one of them is never finished. */

typedef struct RuleName {
    char *name;  /* owned */
    char *place; /* owned; FILE:LINE:COL */
} RuleName;

/* Looking a name up may ask a server on the network, and policies name the same few people again. */
typedef struct Resolved {
    bool is_group;
    char *name; /* owned */
    int result;
    uint32_t id;
} Resolved;

#define WANTED_MAX 256U

static_assert(POLICY_ERRORS_MAX == PROBLEMS_MAX, "what policy-parse.h promises");

/* --- what the parts of the parser share --- */

bool parser_grow(PolicyParser *p, void **list, size_t n, size_t size) {
    void *grown;

    if ((n & (n - 1)) != 0)
        return true;
    grown = reallocarray(*list, n == 0 ? 1 : 2 * n, size);
    if (!grown) {
        p->problems.out_of_memory = true;
        return false;
    }
    *list = grown;
    return true;
}

void parser_add_string(PolicyParser *p, StringList *list, const char *s) {
    _cleanup_free_ char *copy = strdup(s);

    if (!copy)
        p->problems.out_of_memory = true;
    else if (parser_grow(p, (void **) &list->items, list->n, sizeof(*list->items)))
        list->items[list->n++] = TAKE_PTR(copy);
}

/* "alice, bob", "ID_BUS=usb, pci": people read it, nobody parses it. */
static void describe_value(StrBuf *b, const JsonNode *value) {
    _cleanup_free_ char *shown = NULL;

    switch (value->type) {
    case JSON_STRING:
        shown = sanitize(value->string, WANTED_MAX);
        strbuf_add(b, shown ?: "");
        break;
    case JSON_INTEGER:
        strbuf_addf(b, "%" PRIi64, value->integer);
        break;
    case JSON_BOOLEAN:
        strbuf_add(b, value->boolean ? "true" : "false");
        break;
    default:
        for (const JsonNode *e = value->children; e && b->length < WANTED_MAX; e = e->next) {
            _cleanup_free_ char *key = e->key ? sanitize(e->key, WANTED_MAX) : NULL;

            strbuf_addf(b, "%s%s%s", e == value->children ? "" : ", ", key ?: "", key ? "=" : "");
            describe_value(b, e);
        }
        break;
    }
}

static void note_predicate(PolicyParser *p, PredicateKind kind, const JsonNode *value) {
    _cleanup_strbuf_ StrBuf b = {};
    Rule *r = &p->rule;
    char *text;

    strbuf_add(&b, "");
    describe_value(&b, value);
    if (!parser_grow(p, (void **) &r->wanted, r->n_wanted, sizeof(*r->wanted)))
        return;
    text = strbuf_steal(&b);
    if (!text) {
        p->problems.out_of_memory = true;
        return;
    }
    r->wanted[r->n_wanted++] = (Wanted){.kind = kind, .text = text};
    r->predicates |= 1U << kind;
}

void parser_note_predicates(PolicyParser *p, const char *prefix, const JsonNode *object) {
    for (const JsonNode *m = object->children; m; m = m->next)
        for (PredicateKind kind = 0; kind < _PREDICATE_MAX; kind++) {
            const char *rest = startswith(predicate_key(kind), prefix);

            if (rest && rest[0] == '.' && streq(rest + 1, m->key))
                note_predicate(p, kind, m);
        }
}

/* --- who --- */

static int compare_resolved(const void *a, const void *b) {
    const Resolved *x = a, *y = b;

    if (x->is_group != y->is_group)
        return x->is_group ? 1 : -1;
    return strcmp(x->name, y->name);
}

static void resolved_free(void *p) {
    Resolved *r = p;

    free(r->name);
    free(r);
}

static int resolve_name(PolicyParser *p, bool is_group, const char *name, uint32_t *ret) {
    Resolved *fresh, **found;

    fresh = calloc(1, sizeof(*fresh));
    if (!fresh)
        return -ENOMEM;
    fresh->is_group = is_group;
    fresh->name = strdup(name);
    found = fresh->name ? tsearch(fresh, &p->resolved, compare_resolved) : NULL;
    if (!found) {
        resolved_free(fresh);
        return -ENOMEM;
    }
    if (*found == fresh)
        fresh->result = p->resolve(p->userdata, is_group, name, &fresh->id);
    else
        resolved_free(fresh);
    *ret = (*found)->id;
    return (*found)->result;
}

/* The highest id is -1, which the kernel reads as "unchanged". */
#define ID_MAX (UINT32_MAX - 1)
#define ACCOUNT_NAME_MAX 256U

static int take_account_number(PolicyParser *p, bool is_group, const JsonNode *value, bool in_range,
        uint64_t number, uint32_t *ret) {
    if (!in_range || number > ID_MAX) {
        report_value(
                p, value, "a %s must be a number from 0 to %u", is_group ? "gid" : "uid", (unsigned) ID_MAX);
        return -ERANGE;
    }
    *ret = (uint32_t) number;
    return 0;
}

static int take_account(PolicyParser *p, bool is_group, const JsonNode *value, uint32_t *ret) {
    const char *kind = is_group ? "group" : "user";
    _cleanup_free_ char *shown = NULL;
    uint64_t number = 0;
    int r;

    if (value->type == JSON_INTEGER)
        return take_account_number(p, is_group, value, value->integer >= 0, (uint64_t) value->integer, ret);
    r = parse_unsigned(value->string, 10, ID_MAX, &number);
    if (r != -EINVAL)
        return take_account_number(p, is_group, value, r >= 0, number, ret);

    r = strlen(value->string) > ACCOUNT_NAME_MAX ? -ENOENT : resolve_name(p, is_group, value->string, ret);
    if (r >= 0)
        return 0;
    if (r == -ENOMEM) {
        p->problems.out_of_memory = true;
        return r;
    }
    shown = show(p, value->string);
    if (r == -ENOENT)
        report_value(p, value, "unknown %s \"%s\"", kind, shown);
    else
        report_value(
                p, value, "cannot look up the %s \"%s\": %s", kind, shown, strerrordesc_np(-r) ?: "error");
    return r;
}

static void take_user(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Rule *r = &p->rule;
    uint32_t id;

    if (take_account(p, false, value, &id) >= 0 &&
            parser_grow(p, (void **) &r->uids, r->n_uids, sizeof(*r->uids)))
        r->uids[r->n_uids++] = id;
}

static void take_group(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Rule *r = &p->rule;
    uint32_t id;

    if (take_account(p, true, value, &id) >= 0 &&
            parser_grow(p, (void **) &r->gids, r->n_gids, sizeof(*r->gids)))
        r->gids[r->n_gids++] = id;
}

static const Key who_keys[] = {
        {.name = "user",
                .types = TYPE(STRING) | TYPE(INTEGER),
                .expected = "a user name or a uid",
                .list = true,
                .take = take_user},
        {.name = "group",
                .types = TYPE(STRING) | TYPE(INTEGER),
                .expected = "a group name or a gid",
                .list = true,
                .take = take_group},
};

void take_who(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    schema_take_keys(&p->problems, value, "\"who\"", who_keys, ELEMENTSOF(who_keys), p);
    parser_note_predicates(p, "who", value);
}

/* --- what --- */

static void take_device(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Rule *r = &p->rule;
    _cleanup_free_ char *shown = NULL;
    DevicePattern pattern;
    char problem[160];

    if (device_pattern_parse(value->string, &pattern, problem, sizeof(problem)) < 0) {
        shown = show(p, value->string);
        report_value(p, value, "\"%s\" %s", shown, problem);
        return;
    }
    if (parser_grow(p, (void **) &r->devices, r->n_devices, sizeof(*r->devices)))
        r->devices[r->n_devices++] = pattern;
}

/* Takes four hex digits or "*" up to ':' or the end, and shifts them in. */
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

static void take_id(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Rule *r = &p->rule;
    _cleanup_free_ char *shown = NULL;
    IdPattern id;

    if (!parse_id(value->string, &id)) {
        shown = show(p, value->string);
        report_value(p, value,
                "\"%s\" is not an id, expected VENDOR:DEVICE or VENDOR:DEVICE:VENDOR:DEVICE of the "
                "subsystem, each four hex digits or *, like \"1234:11e8\"",
                shown);
        return;
    }
    if (parser_grow(p, (void **) &r->ids, r->n_ids, sizeof(*r->ids)))
        r->ids[r->n_ids++] = id;
}

static void take_class(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Rule *r = &p->rule;
    _cleanup_free_ char *shown = NULL;
    size_t n = strlen(value->string);
    ClassPattern class;
    unsigned shift;
    uint64_t v;

    if ((n != 2 && n != 4 && n != 6) || parse_unsigned(value->string, 16, 0xffffff, &v) < 0) {
        shown = show(p, value->string);
        report_value(p, value, "\"%s\" is not a class, expected 2, 4 or 6 hex digits, like \"0200\"", shown);
        return;
    }
    shift = (unsigned) (24 - 4 * n);
    class = (ClassPattern){.value = (uint32_t) v << shift, .mask = (0xffffffU << shift) & 0xffffff};
    if (parser_grow(p, (void **) &r->classes, r->n_classes, sizeof(*r->classes)))
        r->classes[r->n_classes++] = class;
}

/* A name that the kernel could use: it becomes a directory in sysfs. */
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

    if (!is_driver_name(value->string)) {
        shown = show(p, value->string);
        report_value(p, value, "\"%s\" is not the name of a driver, like \"e1000e\"", shown);
        return;
    }
    parser_add_string(p, &r->drivers, value->string);
}

static const Key what_keys[] = {
        {.name = "device",
                .types = TYPE(STRING),
                .expected = "the name of a device or a glob",
                .list = true,
                .take = take_device},
        {.name = "id",
                .types = TYPE(STRING),
                .expected = "a string like \"1234:11e8\"",
                .list = true,
                .take = take_id},
        {.name = "class",
                .types = TYPE(STRING),
                .expected = "a string of hex digits like \"0200\"",
                .list = true,
                .take = take_class},
        {.name = "driver",
                .types = TYPE(STRING),
                .expected = "the name of a driver",
                .list = true,
                .take = take_driver},
};

void take_what(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    schema_take_keys(&p->problems, value, "\"what\"", what_keys, ELEMENTSOF(what_keys), p);
    parser_note_predicates(p, "what", value);
}

/* --- the rule --- */

static int compare_rule_names(const void *a, const void *b) {
    return strcmp(((const RuleName *) a)->name, ((const RuleName *) b)->name);
}

static void rule_name_free(void *p) {
    RuleName *n = p;

    free(n->name);
    free(n->place);
    free(n);
}

/* Verdicts and audit records name a rule: two of the same name would make them ambiguous. */
static void check_name_is_new(PolicyParser *p, const JsonNode *value) {
    RuleName *fresh, **found;

    fresh = calloc(1, sizeof(*fresh));
    if (!fresh) {
        p->problems.out_of_memory = true;
        return;
    }
    fresh->name = strdup(value->string);
    fresh->place = format_string("%s:%u:%u", p->problems.file, value->line, value->column);
    found = fresh->name && fresh->place ? tsearch(fresh, &p->names, compare_rule_names) : NULL;
    if (found && *found == fresh)
        return;
    if (found)
        report_value(p, value, "a rule \"%s\" exists already, at %s", value->string, (*found)->place);
    else
        p->problems.out_of_memory = true;
    rule_name_free(fresh);
}

static void take_name(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Rule *r = &p->rule;
    _cleanup_free_ char *sane = sanitize(value->string, RULE_NAME_MAX);

    if (!sane || free_and_strdup(&r->name, value->string) < 0) {
        p->problems.out_of_memory = true;
        return;
    }
    /* What was cut or escaped is not the same any more. */
    if (value->string[0] == '\0' || !streq(sane, value->string)) {
        report_value(p, value, "the name of a rule must have 1 to %u bytes, all printable", RULE_NAME_MAX);
        return;
    }
    check_name_is_new(p, value);
}

static void take_effect(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Rule *r = &p->rule;
    const char *const words[] = {effect_to_string(EFFECT_ALLOW), effect_to_string(EFFECT_DENY), NULL};
    Effect effect = effect_from_string(value->string);

    if ((int) effect >= 0)
        r->effect = effect;
    else
        problems_report_unknown_word(&p->problems, value, "effect", words);
}

static void take_backend(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Rule *r = &p->rule;
    const char *const words[] = {backend_to_string(BACKEND_IOMMUFD), backend_to_string(BACKEND_GROUP), NULL};
    Backend backend = backend_from_string(value->string);

    if ((int) backend >= 0 && backend != BACKEND_NOIOMMU)
        r->terms.backends |= 1U << backend;
    else
        problems_report_unknown_word(&p->problems, value, "backend", words);
}

static void take_reset(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Rule *r = &p->rule;
    const char *const words[] = {
            reset_demand_to_string(RESET_REQUIRED), reset_demand_to_string(RESET_OPTIONAL), NULL};
    ResetDemand reset = reset_demand_from_string(value->string);

    if ((int) reset >= 0)
        r->terms.reset = reset;
    else
        problems_report_unknown_word(&p->problems, value, "value of \"reset\":", words);
}

static void take_siblings(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    Rule *r = &p->rule;
    const char *const words[] = {
            sibling_demand_to_string(SIBLINGS_REFUSE), sibling_demand_to_string(SIBLINGS_PARK), NULL};
    SiblingDemand siblings = sibling_demand_from_string(value->string);

    if ((int) siblings >= 0)
        r->terms.siblings = siblings;
    else
        problems_report_unknown_word(&p->problems, value, "value of \"siblings\":", words);
}

static const Key rule_keys[] = {
        {.name = "name", .types = TYPE(STRING), .expected = "a string", .take = take_name},
        {.name = "effect",
                .types = TYPE(STRING),
                .expected = "\"allow\" or \"deny\"",
                .required = true,
                .take = take_effect},
        {.name = "who",
                .types = TYPE(OBJECT),
                .expected = "an object ({} is anybody)",
                .required = true,
                .take = take_who},
        {.name = "what",
                .types = TYPE(OBJECT),
                .expected = "an object ({} is any device)",
                .required = true,
                .take = take_what},
        {.name = "backend",
                .types = TYPE(STRING),
                .expected = "\"iommufd\" or \"group\"",
                .list = true,
                .take = take_backend},
        {.name = "reset",
                .types = TYPE(STRING),
                .expected = "\"required\" or \"optional\"",
                .take = take_reset},
        {.name = "siblings",
                .types = TYPE(STRING),
                .expected = "\"refuse\" or \"park\"",
                .take = take_siblings},
};

/* These say what is allowed. "backend" in a deny rule would read as if the others were not denied. */
static const char *const allow_only_keys[] = {"backend", "reset", "siblings"};

static void check_deny_rule(PolicyParser *p, const JsonNode *rule) {
    for (const JsonNode *m = rule->children; m; m = m->next)
        for (size_t i = 0; i < ELEMENTSOF(allow_only_keys); i++)
            if (streq(allow_only_keys[i], m->key))
                problems_report(&p->problems, m->key_line, m->key_column,
                        "\"%s\" says what a rule allows, it has no meaning in a deny rule", m->key);
}

static int compare_ids(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

    return x < y ? -1 : x > y;
}

static void finish_rule(PolicyParser *p, const JsonNode *value) {
    Rule *r = &p->rule;

    if (r->effect == EFFECT_DENY)
        check_deny_rule(p, value);
    if (r->n_uids > 0)
        qsort(r->uids, r->n_uids, sizeof(*r->uids), compare_ids);
    if (r->n_gids > 0)
        qsort(r->gids, r->n_gids, sizeof(*r->gids), compare_ids);
    if (r->terms.backends == 0)
        r->terms.backends = 1U << BACKEND_IOMMUFD | 1U << BACKEND_GROUP;
    r->line = value->line;
    r->file = strdup(p->problems.file);
    r->key = r->name ? strdup(r->name) : format_string("rule %u (%s)", p->rule_number, p->problems.file);
    if (!r->name)
        r->name = format_string("rule %u", p->rule_number);
    if (r->name && r->file && r->key)
        r->origin = format_string("%s (%s:%u)", r->name, p->problems.file, value->line);
    if (!r->origin)
        p->problems.out_of_memory = true;
}

static void take_rule(PolicyParser *p, const JsonNode *value) {
    size_t n_problems = p->problems.n;

    p->rule_number++;
    if (value->type != JSON_OBJECT) {
        report_value(p, value, "a rule must be an object, found %s", schema_describe_type(value->type));
        return;
    }
    p->rule = (Rule){.effect = _EFFECT_INVALID, .terms.limits = RULE_LIMITS_NONE};
    schema_take_keys(&p->problems, value, "a rule", rule_keys, ELEMENTSOF(rule_keys), p);
    finish_rule(p, value);
    if (p->problems.n == n_problems && !p->problems.out_of_memory &&
            parser_grow(p, (void **) &p->rules, p->n_rules, sizeof(*p->rules)))
        p->rules[p->n_rules++] = p->rule;
    else
        rule_done(&p->rule);
}

/* --- the file --- */

static void take_rules(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    for (const JsonNode *e = value->children; e; e = e->next) {
        if (p->n_rules >= POLICY_RULES_MAX) {
            report_value(p, e, "the policy has more than %u rules", POLICY_RULES_MAX);
            return;
        }
        take_rule(p, e);
    }
}

static const Key file_keys[] = {
        /* for people only */
        {.name = "description", .types = TYPE(STRING), .expected = "a string"},
        {.name = "rules",
                .types = TYPE(ARRAY),
                .expected = "an array of rules",
                .required = true,
                .take = take_rules},
};

int policy_parser_add(PolicyParser *p, const char *file, const char *text, size_t size) {
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    _cleanup_free_ char *shown = NULL;
    const JsonNode *root;
    JsonError error;
    int r;

    shown = sanitize(file, SIZE_MAX);
    if (!shown)
        return -ENOMEM;
    p->problems.file = shown;
    p->rule_number = 0;
    r = json_document_parse(text, size, &document, &error);
    if (r == -EBADMSG)
        problems_report(&p->problems, error.line, error.column, "%s", error.message);
    else if (r < 0)
        p->problems.out_of_memory = true;
    else {
        root = json_document_root(document);
        if (root->type == JSON_OBJECT)
            schema_take_keys(&p->problems, root, "a policy file", file_keys, ELEMENTSOF(file_keys), p);
        else
            report_value(
                    p, root, "a policy file must be an object, found %s", schema_describe_type(root->type));
    }
    p->problems.file = NULL;
    return p->problems.out_of_memory ? -ENOMEM : 0;
}

int policy_parser_add_error(PolicyParser *p, const char *file, const char *message) {
    _cleanup_free_ char *shown = sanitize(file, SIZE_MAX), *text = sanitize(message, SIZE_MAX);

    problems_add(&p->problems, shown && text ? format_string("%s: error: %s", shown, text) : NULL);
    return p->problems.out_of_memory ? -ENOMEM : 0;
}

size_t policy_parser_n_errors(const PolicyParser *p) {
    return problems_count(&p->problems);
}

const char *policy_parser_error(const PolicyParser *p, size_t i) {
    return problems_get(&p->problems, i);
}

PolicyParser *policy_parser_new(resolve_name_t resolve, void *userdata) {
    PolicyParser *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->resolve = resolve;
    p->userdata = userdata;
    return p;
}

PolicyParser *policy_parser_free(PolicyParser *p) {
    if (!p)
        return NULL;
    problems_done(&p->problems);
    for (size_t i = 0; i < p->n_rules; i++)
        rule_done(p->rules + i);
    free(p->rules);
    tdestroy(p->names, rule_name_free);
    tdestroy(p->resolved, resolved_free);
    free(p);
    return NULL;
}

int policy_parser_finish(PolicyParser *p, Policy **ret) {
    Policy *policy;

    if (p->problems.out_of_memory)
        return -ENOMEM;
    if (p->problems.n > 0)
        return -EINVAL;
    policy = calloc(1, sizeof(*policy));
    if (!policy)
        return -ENOMEM;
    policy->rules = TAKE_PTR(p->rules);
    policy->n_rules = TAKE_GENERIC(p->n_rules, 0);
    for (size_t i = 0; i < policy->n_rules; i++)
        policy->predicates |= policy->rules[i].predicates;
    *ret = policy;
    return 0;
}
