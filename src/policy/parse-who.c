/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The keys of "who". Account names are resolved when the set is complete, never by the evaluator: the lookup
 * may ask a server on the network. */

#include <search.h>

#include "core/capability.h"
#include "policy/parser.h"

#define ACCOUNT_NAME_MAX 256U

/* The result of one lookup, which may ask a server on the network. Policies name the same few accounts
 * repeatedly. */
typedef struct Resolved {
    bool is_group;
    char *name; /* owned */
    bool done;
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

static void note_account(PolicyParser *p, bool is_group, const char *name) {
    Resolved *fresh = calloc(1, sizeof(*fresh)), **found = NULL;

    if (fresh) {
        fresh->is_group = is_group;
        fresh->name = strdup(name);
        found = fresh->name && parser_grow(p, (void **) &p->accounts, p->n_accounts, sizeof(*p->accounts))
                ? tsearch(fresh, &p->resolved, compare_resolved)
                : NULL;
    }
    if (found && *found == fresh) {
        p->accounts[p->n_accounts++] = fresh;
        return;
    }
    if (!found)
        p->problems.out_of_memory = true;
    if (fresh)
        resolved_free(fresh);
}

int policy_parser_foreach_account(const PolicyParser *p, visit_account_name_t visit, void *userdata) {
    int r = 0;

    for (size_t i = 0; i < p->n_accounts && r >= 0; i++)
        r = visit(userdata, p->accounts[i]->is_group, p->accounts[i]->name);
    return r;
}

/* Looks each name up once. */
static int resolve_once(void *userdata, bool is_group, const char *name, uint32_t *ret) {
    PolicyParser *p = userdata;
    Resolved **found = tfind(
            &(const Resolved){.is_group = is_group, .name = (char *) name}, &p->resolved, compare_resolved);
    Resolved *r = *found;

    if (!r->done)
        r->result = p->resolve(p->userdata, is_group, name, &r->id);
    r->done = true;
    *ret = r->id;
    return r->result;
}

/* How the rule treats an unknown name. */
static const char *effect_of_unknown(const Rule *rule) {
    return rule->effect == EFFECT_DENY ? "until it is known, this rule denies everybody"
                                       : "it matches nobody until it is known";
}

static void warn_of_account(PolicyParser *p, const Rule *rule, const AccountUse *use, int r, uint32_t id) {
    const char *kind = use->is_group ? "group" : "user";
    _cleanup_free_ char *shown = problems_show(&p->warnings, use->name);

    if (r == -ENOENT)
        problems_report(&p->warnings, use->line, use->column, "unknown %s \"%s\": %s", kind, shown,
                effect_of_unknown(rule));
    else if (r < 0)
        problems_report(&p->warnings, use->line, use->column, "cannot look up the %s \"%s\": %s; %s", kind,
                shown, strerrordesc_np(-r) ?: "error", effect_of_unknown(rule));
    else
        problems_report(&p->warnings, use->line, use->column,
                "\"%s\" is taken for the name of the %s with %s %u; write a %s without quotes", shown, kind,
                use->is_group ? "gid" : "uid", (unsigned) id, use->is_group ? "gid" : "uid");
}

static void resolve_account(PolicyParser *p, Rule *rule, AccountUse *use) {
    uint64_t number = 0;
    uint32_t id = 0;
    bool digits;
    int r;

    r = account_resolve(use, resolve_once, p, &id);
    p->problems.file = p->warnings.file = rule->file;
    digits = parse_unsigned(use->name, 10, UINT32_MAX, &number) != -EINVAL;
    if (r == -ENOMEM || (r >= 0 && rule_set_account(rule, use, id) < 0))
        p->problems.out_of_memory = true;
    else if (r == -ERANGE && digits)
        problems_report(&p->problems, use->line, use->column, "a %s must be a number from 0 to %u",
                use->is_group ? "gid" : "uid", (unsigned) ACCOUNT_ID_MAX);
    else if (r < 0 || (digits && number != id))
        warn_of_account(p, rule, use, r, id);
    p->problems.file = p->warnings.file = NULL;
}

void parser_resolve_accounts(PolicyParser *p) {
    uint32_t id;

    /* Accounts of rules with errors count too: a snapshot records every account that a policy names. */
    for (size_t i = 0; i < p->n_accounts; i++)
        (void) resolve_once(p, p->accounts[i]->is_group, p->accounts[i]->name, &id);
    for (size_t i = 0; i < p->n_rules; i++) {
        Rule *rule = p->rules + i;

        for (size_t k = 0; k < rule->n_accounts; k++)
            resolve_account(p, rule, rule->accounts + k);
        rule_sort_accounts(rule);
    }
}

/* Account names have no wildcards, and "%wheel" is how sudo names a group. */
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

static void take_account_number(PolicyParser *p, bool is_group, const JsonNode *value) {
    Rule *r = &p->rule;
    uint32_t **list = is_group ? &r->gids : &r->uids;
    size_t *n = is_group ? &r->n_gids : &r->n_uids;

    if (value->integer < 0 || value->integer > ACCOUNT_ID_MAX)
        report_value(p, value, "a %s must be a number from 0 to %u", is_group ? "gid" : "uid",
                (unsigned) ACCOUNT_ID_MAX);
    else if (parser_grow(p, (void **) list, *n, sizeof(**list)))
        (*list)[(*n)++] = (uint32_t) value->integer;
}

static void take_account(PolicyParser *p, bool is_group, const JsonNode *value) {
    Rule *r = &p->rule;
    _cleanup_free_ char *name = NULL;
    size_t n;

    if (value->type == JSON_INTEGER) {
        take_account_number(p, is_group, value);
        return;
    }
    n = strlen(value->string);
    if (n == 0 || n > ACCOUNT_NAME_MAX) {
        report_value(p, value, "the name of a %s must have 1 to %u bytes", is_group ? "group" : "user",
                ACCOUNT_NAME_MAX);
        return;
    }
    if (!check_account_name(p, is_group, value))
        return;
    note_account(p, is_group, value->string);
    name = strdup(value->string);
    if (!name)
        p->problems.out_of_memory = true;
    else if (parser_grow(p, (void **) &r->accounts, r->n_accounts, sizeof(*r->accounts)))
        r->accounts[r->n_accounts++] = (AccountUse){
                .name = TAKE_PTR(name), .is_group = is_group, .line = value->line, .column = value->column};
}

static void take_user(void *userdata, const JsonNode *value) {
    take_account(userdata, false, value);
}

static void take_group(void *userdata, const JsonNode *value) {
    take_account(userdata, true, value);
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

static void take_scope(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    _cleanup_free_ char *shown = NULL;

    if (!parser_refuse_glob(p, value, "the name of a scope", "list the scopes"))
        return;
    if (scope_name_is_valid(value->string)) {
        p->has_scopes = true;
        parser_add_string(p, &p->rule.scopes, value->string);
        return;
    }
    shown = show(p, value->string);
    report_value(p, value,
            "\"%s\" is not the name of a scope: 1 to %u letters, digits, '.', '_' and '-', not beginning "
            "with '.' or "
            "'-'",
            shown, SCOPE_NAME_MAX);
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
        {.name = "scope",
                .types = TYPE(STRING),
                .expected = "the name of a scope",
                .list = true,
                .take = take_scope},
};

void take_who(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    schema_take_keys(&p->problems, value, "\"who\"", who_keys, ELEMENTSOF(who_keys), p);
    parser_note_predicates(p, "who", value);
}

void parser_forget_accounts(PolicyParser *p) {
    tdestroy(p->resolved, resolved_free);
    free(p->accounts);
}
