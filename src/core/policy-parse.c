/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/policy-parse.h"

#include <search.h>
#include <stdio.h>

#include "base/json-text.h"
#include "base/str.h"
#include "core/policy-rule.h"

/* Tables of keys drive the parser: what a key is called, which types it takes, whether it is required,
 * whether a list may stand for one value. Everything that is the same for all keys (unknown, missing, wrong
 * type, empty list, the same element twice) is said once, in take_keys() and take_value(); a function of a
 * key only sees values of the right type.
 *
 * Nothing stops at an error but a file that is not JSON: an operator wants all of them at once. Errors are
 * collected, and a set with one of them is never finished. An allocation that failed sticks in the parser,
 * so that nothing is ever loaded in part. */

typedef struct RuleName {
    char *name;  /* owned */
    char *place; /* owned; FILE:LINE:COL */
} RuleName;

/* Looking a name up may ask a server on the network, and policies name the same few people again and again.
 */
typedef struct Resolved {
    bool is_group;
    char *name; /* owned */
    int result;
    uint32_t id;
} Resolved;

struct PolicyParser {
    resolve_name_t resolve;
    void *userdata;
    Rule *rules; /* owned */
    size_t n_rules;
    void *names;    /* tree of RuleName */
    void *resolved; /* tree of Resolved */
    bool out_of_memory;

    char *errors[POLICY_ERRORS_MAX]; /* owned */
    size_t n_errors;                 /* also those that are only counted */
    char more[48];                   /* the count */

    /* of the file that is being parsed */
    const char *file; /* sanitized; borrowed from policy_parser_add() */
    unsigned rule_number;
};

typedef struct Key Key;
struct Key {
    const char *name;
    unsigned types;       /* mask of TYPE() */
    const char *expected; /* these types in words */
    bool required;
    bool list;       /* or a list of values of these types */
    bool allow_only; /* says what is allowed: has no meaning in a deny rule */
    void (*take)(PolicyParser *p, Rule *r, const JsonNode *value);
};

#define TYPE(t) (1U << JSON_##t)
#define SHOWN_MAX 64U

static void report_text(PolicyParser *p, char *text) {
    if (!text) {
        p->out_of_memory = true;
        return;
    }
    if (p->n_errors < POLICY_ERRORS_MAX)
        p->errors[p->n_errors] = text;
    else
        free(text);
    p->n_errors++;
    if (p->n_errors > POLICY_ERRORS_MAX)
        (void) snprintf(p->more, sizeof(p->more), "and %zu more errors", p->n_errors - POLICY_ERRORS_MAX);
}

/* Hostile text for a message: sanitized and cut. Owned; NULL only when report() will not look at it. */
static char *show(PolicyParser *p, const char *s) {
    char *shown = sanitize(s, SHOWN_MAX);

    if (!shown)
        p->out_of_memory = true;
    return shown;
}

/* What comes from the file and is quoted in a message must have gone through show(). */
static void report(PolicyParser *p, unsigned line, unsigned column, const char *format, ...) _printf_(4, 5);
static void report(PolicyParser *p, unsigned line, unsigned column, const char *format, ...) {
    _cleanup_free_ char *message = NULL;
    va_list ap;
    int r;

    if (p->out_of_memory)
        return;
    va_start(ap, format);
    r = vasprintf(&message, format, ap);
    va_end(ap);
    if (r < 0)
        message = NULL;
    report_text(p, message ? format_string("%s:%u:%u: error: %s", p->file, line, column, message) : NULL);
}
#define report_value(p, value, ...) report(p, (value)->line, (value)->column, __VA_ARGS__)

/* Room for one element more behind n; lists double. */
static bool grow(PolicyParser *p, void **list, size_t n, size_t size) {
    void *grown;

    if ((n & (n - 1)) != 0)
        return true;
    grown = reallocarray(*list, n == 0 ? 1 : 2 * n, size);
    if (!grown) {
        p->out_of_memory = true;
        return false;
    }
    *list = grown;
    return true;
}

/* words: what the enumeration knows, ended by NULL. what: "effect". */
static void report_unknown_word(
        PolicyParser *p, const JsonNode *value, const char *what, const char *const *words) {
    _cleanup_free_ char *shown = show(p, value->string);
    _cleanup_strbuf_ StrBuf known = {};
    const char *meant = nearest(value->string, words);

    if (meant) {
        report_value(p, value, "unknown %s \"%s\", did you mean \"%s\"?", what, shown, meant);
        return;
    }
    for (size_t i = 0; words[i]; i++)
        strbuf_addf(&known, "%s\"%s\"", i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
    report_value(p, value, "unknown %s \"%s\", expected %s", what, shown, known.text ?: "");
}

static const char *describe_type(JsonType type) {
    static const char *const names[_JSON_TYPE_MAX] = {
            [JSON_NULL] = "null",
            [JSON_BOOLEAN] = "a boolean",
            [JSON_INTEGER] = "an integer",
            [JSON_REAL] = "a number that is not a 64-bit integer",
            [JSON_STRING] = "a string",
            [JSON_ARRAY] = "an array",
            [JSON_OBJECT] = "an object",
    };

    return names[type];
}

static int compare_elements(const void *a, const void *b) {
    const JsonNode *x = *(const JsonNode *const *) a, *y = *(const JsonNode *const *) b;
    int r = 0;

    if (x->type != y->type)
        return x->type < y->type ? -1 : 1;
    if (x->type == JSON_STRING)
        r = strcmp(x->string, y->string);
    else if (x->type == JSON_INTEGER && x->integer != y->integer)
        r = x->integer < y->integer ? -1 : 1;
    if (r != 0)
        return r;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    return x->column < y->column ? -1 : x->column > y->column;
}

static bool same_element(const JsonNode *x, const JsonNode *y) {
    if (x->type != y->type)
        return false;
    if (x->type == JSON_STRING)
        return streq(x->string, y->string);
    return x->type == JSON_INTEGER && x->integer == y->integer;
}

/* An element that is there twice is one that was meant to be something else. */
static void check_repeated(PolicyParser *p, const JsonNode *list) {
    _cleanup_free_ const JsonNode **elements = NULL;
    size_t n = 0;

    for (const JsonNode *e = list->children; e; e = e->next) {
        if (!grow(p, (void **) &elements, n, sizeof(*elements)))
            return;
        elements[n++] = e;
    }
    qsort(elements, n, sizeof(*elements), compare_elements);
    for (size_t i = 1; i < n; i++)
        if (same_element(elements[i - 1], elements[i]))
            report_value(p, elements[i], "this is in the list twice, first at %u:%u", elements[i - 1]->line,
                    elements[i - 1]->column);
}

static void take_list(PolicyParser *p, Rule *r, const Key *key, const JsonNode *list) {
    if (!list->children) {
        report_value(p, list, "\"%s\" is an empty list, which nothing can match", key->name);
        return;
    }
    check_repeated(p, list);
    for (const JsonNode *e = list->children; e; e = e->next) {
        if (key->types & 1U << e->type)
            key->take(p, r, e);
        else
            report_value(p, e, "an element of \"%s\" must be %s, found %s", key->name, key->expected,
                    describe_type(e->type));
    }
}

static void take_value(PolicyParser *p, Rule *r, const Key *key, const JsonNode *value) {
    if (key->types & 1U << value->type)
        key->take(p, r, value);
    else if (key->list && value->type == JSON_ARRAY)
        take_list(p, r, key, value);
    else
        report_value(p, value, "\"%s\" must be %s%s, found %s", key->name, key->expected,
                key->list ? ", or a list of these" : "", describe_type(value->type));
}

#define KEYS_MAX 16U

static void report_unknown_key(
        PolicyParser *p, const JsonNode *member, const char *where, const Key *keys, size_t n_keys) {
    _cleanup_free_ char *shown = show(p, member->key);
    const char *names[KEYS_MAX + 1] = {}, *meant;
    _cleanup_strbuf_ StrBuf known = {};

    assert(n_keys <= KEYS_MAX);

    for (size_t i = 0; i < n_keys; i++) {
        names[i] = keys[i].name;
        strbuf_addf(&known, "%s\"%s\"", i == 0 ? "" : ", ", keys[i].name);
    }
    meant = nearest(member->key, names);
    if (meant)
        report(p, member->key_line, member->key_column, "unknown key \"%s\" in %s, did you mean \"%s\"?",
                shown, where, meant);
    else
        report(p, member->key_line, member->key_column, "unknown key \"%s\" in %s, known are %s", shown,
                where, known.text ?: "");
}

static const JsonNode *find_member(const JsonNode *object, const char *key) {
    for (const JsonNode *m = object->children; m; m = m->next)
        if (streq(m->key, key))
            return m;
    return NULL;
}

/* where: "a rule". */
static void take_keys(
        PolicyParser *p, Rule *r, const JsonNode *object, const char *where, const Key *keys, size_t n_keys) {
    for (const JsonNode *m = object->children; m; m = m->next) {
        const Key *key = NULL;

        for (size_t i = 0; i < n_keys && !key; i++)
            if (streq(keys[i].name, m->key))
                key = keys + i;
        if (key)
            take_value(p, r, key, m);
        else
            report_unknown_key(p, m, where, keys, n_keys);
    }
    for (size_t i = 0; i < n_keys; i++) {
        if (keys[i].required && !find_member(object, keys[i].name))
            report_value(p, object, "%s needs the key \"%s\"", where, keys[i].name);
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
        p->out_of_memory = true;
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

static void take_user(PolicyParser *p, Rule *r, const JsonNode *value) {
    uint32_t id;

    if (take_account(p, false, value, &id) >= 0 && grow(p, (void **) &r->uids, r->n_uids, sizeof(*r->uids)))
        r->uids[r->n_uids++] = id;
}

static void take_group(PolicyParser *p, Rule *r, const JsonNode *value) {
    uint32_t id;

    if (take_account(p, true, value, &id) >= 0 && grow(p, (void **) &r->gids, r->n_gids, sizeof(*r->gids)))
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

static void take_who(PolicyParser *p, Rule *r, const JsonNode *value) {
    take_keys(p, r, value, "\"who\"", who_keys, ELEMENTSOF(who_keys));
}

/* --- what --- */

static void take_device(PolicyParser *p, Rule *r, const JsonNode *value) {
    _cleanup_free_ char *shown = NULL;
    DevicePattern pattern;
    char problem[160];

    if (device_pattern_parse(value->string, &pattern, problem, sizeof(problem)) < 0) {
        shown = show(p, value->string);
        report_value(p, value, "\"%s\" %s", shown, problem);
        return;
    }
    if (grow(p, (void **) &r->devices, r->n_devices, sizeof(*r->devices)))
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

static bool parse_id(const char *s, IdPattern *ret) {
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

static void take_id(PolicyParser *p, Rule *r, const JsonNode *value) {
    _cleanup_free_ char *shown = NULL;
    IdPattern id;

    if (!parse_id(value->string, &id)) {
        shown = show(p, value->string);
        report_value(p, value,
                "\"%s\" is not an id, expected VENDOR:DEVICE or VENDOR:DEVICE:VENDOR:DEVICE of the "
                "subsystem, "
                "each four hex digits or *, like \"1234:11e8\"",
                shown);
        return;
    }
    if (grow(p, (void **) &r->ids, r->n_ids, sizeof(*r->ids)))
        r->ids[r->n_ids++] = id;
}

static void take_class(PolicyParser *p, Rule *r, const JsonNode *value) {
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
    if (grow(p, (void **) &r->classes, r->n_classes, sizeof(*r->classes)))
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

static void take_driver(PolicyParser *p, Rule *r, const JsonNode *value) {
    _cleanup_free_ char *shown = NULL, *copy = NULL;

    if (!is_driver_name(value->string)) {
        shown = show(p, value->string);
        report_value(p, value, "\"%s\" is not the name of a driver, like \"e1000e\"", shown);
        return;
    }
    copy = strdup(value->string);
    if (!copy) {
        p->out_of_memory = true;
        return;
    }
    if (grow(p, (void **) &r->drivers, r->n_drivers, sizeof(*r->drivers)))
        r->drivers[r->n_drivers++] = TAKE_PTR(copy);
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

static void take_what(PolicyParser *p, Rule *r, const JsonNode *value) {
    take_keys(p, r, value, "\"what\"", what_keys, ELEMENTSOF(what_keys));
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
        p->out_of_memory = true;
        return;
    }
    fresh->name = strdup(value->string);
    fresh->place = format_string("%s:%u:%u", p->file, value->line, value->column);
    found = fresh->name && fresh->place ? tsearch(fresh, &p->names, compare_rule_names) : NULL;
    if (found && *found == fresh)
        return;
    if (found)
        report_value(p, value, "a rule \"%s\" exists already, at %s", value->string, (*found)->place);
    else
        p->out_of_memory = true;
    rule_name_free(fresh);
}

static void take_name(PolicyParser *p, Rule *r, const JsonNode *value) {
    _cleanup_free_ char *sane = sanitize(value->string, RULE_NAME_MAX);

    if (!sane || free_and_strdup(&r->name, value->string) < 0) {
        p->out_of_memory = true;
        return;
    }
    /* What was cut or escaped is not the same any more. */
    if (value->string[0] == '\0' || !streq(sane, value->string)) {
        report_value(p, value, "the name of a rule must have 1 to %u bytes, all printable", RULE_NAME_MAX);
        return;
    }
    check_name_is_new(p, value);
}

static void take_effect(PolicyParser *p, Rule *r, const JsonNode *value) {
    const char *const words[] = {effect_to_string(EFFECT_ALLOW), effect_to_string(EFFECT_DENY), NULL};
    Effect effect = effect_from_string(value->string);

    if ((int) effect >= 0)
        r->effect = effect;
    else
        report_unknown_word(p, value, "effect", words);
}

static void take_backend(PolicyParser *p, Rule *r, const JsonNode *value) {
    const char *const words[] = {backend_to_string(BACKEND_IOMMUFD), backend_to_string(BACKEND_GROUP), NULL};
    Backend backend = backend_from_string(value->string);

    if ((int) backend >= 0)
        r->backends |= 1U << backend;
    else
        report_unknown_word(p, value, "backend", words);
}

static void take_reset(PolicyParser *p, Rule *r, const JsonNode *value) {
    const char *const words[] = {
            reset_demand_to_string(RESET_REQUIRED), reset_demand_to_string(RESET_OPTIONAL), NULL};
    ResetDemand reset = reset_demand_from_string(value->string);

    if ((int) reset >= 0)
        r->reset = reset;
    else
        report_unknown_word(p, value, "value of \"reset\":", words);
}

static void take_siblings(PolicyParser *p, Rule *r, const JsonNode *value) {
    const char *const words[] = {
            sibling_demand_to_string(SIBLINGS_REFUSE), sibling_demand_to_string(SIBLINGS_PARK), NULL};
    SiblingDemand siblings = sibling_demand_from_string(value->string);

    if ((int) siblings >= 0)
        r->siblings = siblings;
    else
        report_unknown_word(p, value, "value of \"siblings\":", words);
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
                .allow_only = true,
                .take = take_backend},
        {.name = "reset",
                .types = TYPE(STRING),
                .expected = "\"required\" or \"optional\"",
                .allow_only = true,
                .take = take_reset},
        {.name = "siblings",
                .types = TYPE(STRING),
                .expected = "\"refuse\" or \"park\"",
                .allow_only = true,
                .take = take_siblings},
};

/* "backend" in a deny rule would read as if the others were allowed. */
static void check_deny_rule(PolicyParser *p, const JsonNode *rule) {
    for (const JsonNode *m = rule->children; m; m = m->next)
        for (size_t i = 0; i < ELEMENTSOF(rule_keys); i++)
            if (rule_keys[i].allow_only && streq(rule_keys[i].name, m->key))
                report(p, m->key_line, m->key_column,
                        "\"%s\" says what a rule allows, it has no meaning in a deny rule", m->key);
}

static int compare_ids(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

    return x < y ? -1 : x > y;
}

static void finish_rule(PolicyParser *p, Rule *r, const JsonNode *value) {
    if (r->n_uids > 0)
        qsort(r->uids, r->n_uids, sizeof(*r->uids), compare_ids);
    if (r->n_gids > 0)
        qsort(r->gids, r->n_gids, sizeof(*r->gids), compare_ids);
    if (r->backends == 0)
        r->backends = (1U << _BACKEND_MAX) - 1;
    if (!r->name)
        r->name = format_string("rule %u", p->rule_number);
    if (r->name)
        r->origin = format_string("%s (%s:%u)", r->name, p->file, value->line);
    if (!r->origin)
        p->out_of_memory = true;
}

static void take_rule(PolicyParser *p, const JsonNode *value) {
    size_t n_errors = p->n_errors;
    const JsonNode *effect;
    Rule r = {};

    p->rule_number++;
    if (value->type != JSON_OBJECT) {
        report_value(p, value, "a rule must be an object, found %s", describe_type(value->type));
        return;
    }
    take_keys(p, &r, value, "a rule", rule_keys, ELEMENTSOF(rule_keys));
    effect = find_member(value, "effect");
    if (effect && effect->type == JSON_STRING && streq(effect->string, effect_to_string(EFFECT_DENY)))
        check_deny_rule(p, value);
    finish_rule(p, &r, value);
    if (p->n_errors == n_errors && !p->out_of_memory &&
            grow(p, (void **) &p->rules, p->n_rules, sizeof(*p->rules)))
        p->rules[p->n_rules++] = r;
    else
        rule_done(&r);
}

/* --- the file --- */

static void take_rules(PolicyParser *p, _unused_ Rule *r, const JsonNode *value) {
    for (const JsonNode *e = value->children; e; e = e->next) {
        if (p->n_rules >= POLICY_RULES_MAX) {
            report_value(p, e, "the policy has more than %u rules", POLICY_RULES_MAX);
            return;
        }
        take_rule(p, e);
    }
}

/* For people only. */
static void take_description(_unused_ PolicyParser *p, _unused_ Rule *r, _unused_ const JsonNode *value) {
}

static const Key file_keys[] = {
        {.name = "description", .types = TYPE(STRING), .expected = "a string", .take = take_description},
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
    p->file = shown;
    p->rule_number = 0;
    r = json_document_parse(text, size, &document, &error);
    if (r == -EBADMSG)
        report(p, error.line, error.column, "%s", error.message);
    else if (r < 0)
        p->out_of_memory = true;
    else {
        root = json_document_root(document);
        if (root->type == JSON_OBJECT)
            take_keys(p, NULL, root, "a policy file", file_keys, ELEMENTSOF(file_keys));
        else
            report_value(p, root, "a policy file must be an object, found %s", describe_type(root->type));
    }
    p->file = NULL;
    return p->out_of_memory ? -ENOMEM : 0;
}

int policy_parser_add_error(PolicyParser *p, const char *file, const char *message) {
    _cleanup_free_ char *shown = sanitize(file, SIZE_MAX), *text = sanitize(message, SIZE_MAX);

    report_text(p, shown && text ? format_string("%s: error: %s", shown, text) : NULL);
    return p->out_of_memory ? -ENOMEM : 0;
}

size_t policy_parser_n_errors(const PolicyParser *p) {
    return MIN(p->n_errors, (size_t) POLICY_ERRORS_MAX + 1);
}

const char *policy_parser_error(const PolicyParser *p, size_t i) {
    assert(i < policy_parser_n_errors(p));

    return i < POLICY_ERRORS_MAX ? p->errors[i] : p->more;
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
    for (size_t i = 0; i < MIN(p->n_errors, (size_t) POLICY_ERRORS_MAX); i++)
        free(p->errors[i]);
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

    if (p->out_of_memory)
        return -ENOMEM;
    if (p->n_errors > 0)
        return -EINVAL;
    policy = calloc(1, sizeof(*policy));
    if (!policy)
        return -ENOMEM;
    policy->rules = TAKE_PTR(p->rules);
    policy->n_rules = TAKE_GENERIC(p->n_rules, 0);
    *ret = policy;
    return 0;
}
