/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The keys of "who". Names of accounts are looked up here, once: an evaluator that asks a server on the
 * network is no evaluator. */

#include <search.h>

#include "core/capability.h"
#include "policy/parser.h"

/* Looking a name up may ask a server on the network, and policies name the same few people again. */
typedef struct Resolved {
    bool is_group;
    char *name; /* owned */
    int result;
    uint32_t id;
} Resolved;

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

/* "alice*" is nobody's name, and "%wheel" is how sudo calls a group. */
static bool check_account_name(PolicyParser *p, bool is_group, const JsonNode *value) {
    _cleanup_free_ char *shown = NULL;

    if (!parser_refuse_glob(p, value, is_group ? "the name of a group" : "the name of a user",
                is_group ? "list the groups, or leave \"group\" out"
                         : "list the users, or leave \"user\" out"))
        return false;
    if (value->string[0] == '\0' || !strchr("%@+", value->string[0]))
        return true;
    shown = show(p, value->string + 1);
    report_value(p, value, "\"%c%s\" is not the name of a %s, did you mean \"group\": \"%s\"?",
            value->string[0], shown, is_group ? "group" : "user", shown);
    return false;
}

static int take_account(PolicyParser *p, bool is_group, const JsonNode *value, uint32_t *ret) {
    const char *kind = is_group ? "group" : "user";
    _cleanup_free_ char *shown = NULL;
    uint64_t number = 0;
    int r;

    if (value->type == JSON_INTEGER)
        return take_account_number(p, is_group, value, value->integer >= 0, (uint64_t) value->integer, ret);
    if (!check_account_name(p, is_group, value))
        return -EINVAL;
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

static void take_unit(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    if (parser_take_glob(p, value, &p->rule.units))
        parser_check_unit(p, value);
}

static void take_slice(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    if (parser_take_glob(p, value, &p->rule.slices))
        parser_check_slice(p, value);
}

static void take_cgroup(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    if (parser_take_glob(p, value, &p->rule.cgroups))
        parser_check_cgroup(p, value);
}

static void take_label(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    (void) parser_take_glob(p, value, &p->rule.labels);
}

static void take_capability(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    _cleanup_free_ char *shown = NULL;
    const char *meant;
    int capability = capability_from_name(value->string);

    if (capability >= 0) {
        p->rule.capabilities |= UINT64_C(1) << capability;
        return;
    }
    shown = show(p, value->string);
    meant = nearest(value->string, capability_names());
    if (meant)
        report_value(p, value, "unknown capability \"%s\", did you mean \"%s\"?", shown, meant);
    else
        report_value(p, value, "unknown capability \"%s\", expected a name like \"CAP_SYS_RAWIO\"", shown);
}

static void take_namespace(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    const char *const words[] = {
            namespace_kind_to_string(NAMESPACE_HOST), namespace_kind_to_string(NAMESPACE_OTHER), NULL};
    int i = parser_take_word(p, value, "namespace", words);

    if (i >= 0)
        p->rule.namespaces |= 1U << (i + NAMESPACE_HOST);
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
        {.name = "unit",
                .types = TYPE(STRING),
                .expected = "a glob over names of units",
                .list = true,
                .take = take_unit},
        {.name = "slice",
                .types = TYPE(STRING),
                .expected = "a glob over names of slices",
                .list = true,
                .take = take_slice},
        {.name = "cgroup",
                .types = TYPE(STRING),
                .expected = "a glob over paths of cgroups",
                .list = true,
                .take = take_cgroup},
        {.name = "label",
                .types = TYPE(STRING),
                .expected = "a glob over security labels",
                .list = true,
                .take = take_label},
        {.name = "capability",
                .types = TYPE(STRING),
                .expected = "the name of a capability like \"CAP_SYS_RAWIO\"",
                .list = true,
                .take = take_capability},
        {.name = "namespace",
                .types = TYPE(STRING),
                .expected = "\"host\" or \"other\"",
                .list = true,
                .take = take_namespace},
};

void take_who(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    schema_take_keys(&p->problems, value, "\"who\"", who_keys, ELEMENTSOF(who_keys), p);
    parser_note_predicates(p, "who", value);
}

void parser_forget_accounts(PolicyParser *p) {
    tdestroy(p->resolved, resolved_free);
}
