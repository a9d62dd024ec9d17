/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/parse.h"

#include <stdalign.h>

#include "core/request.h"
#include "policy/filter.h"
#include "policy/parser.h"

/* One file, and the set of all files. What is the same for all keys is in schema.c.
 *
 * Only a file that is not JSON ends the parse, because the operator needs all errors at once. The errors are
 * collected, and a set with an error is never finished. */

static_assert(POLICY_ERRORS_MAX == PROBLEMS_MAX, "what policy-parse.h promises");

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

/* A setting of the host may be made only once. Otherwise the names of the files would decide which one
 * counts. */
static bool note_place(PolicyParser *p, const JsonNode *value, char **place) {
    if (*place) {
        report_key(p, value, "\"%s\" of \"host\" is already set at %s", value->key, *place);
        return false;
    }
    *place = format_string("%s:%u:%u", p->problems.file, value->key_line, value->key_column);
    if (!*place)
        p->problems.out_of_memory = true;
    return true;
}

static void take_reservation_ttl(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    uint64_t seconds;

    if (!note_place(p, value, &p->reservation_ttl_place) ||
            !parser_take_number(p, value, 0, RESERVATION_TTL_MAX_SEC, &seconds))
        return;
    p->host.reservations_limited = true;
    p->host.reservation_ttl_sec = (unsigned) seconds;
}

static void take_host_noiommu(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    const char *const words[] = {noiommu_mode_to_string(NOIOMMU_OFF), noiommu_mode_to_string(NOIOMMU_ON),
            noiommu_mode_to_string(NOIOMMU_MANAGED), NULL};
    int i = parser_take_word(p, value, "value of \"noiommu\":", words);

    if (note_place(p, value, &p->noiommu_place) && i >= 0)
        p->host.noiommu = (NoiommuMode) i;
}

static const Key host_keys[] = {
        {.name = "noiommu",
                .types = TYPE(STRING),
                .expected = "\"off\", \"on\" or \"managed\"",
                .take = take_host_noiommu},
        {.name = "reservation-ttl",
                .types = TYPE(INTEGER),
                .expected = "a number of seconds",
                .take = take_reservation_ttl},
        {.name = "virtual-functions",
                .types = TYPE(ARRAY),
                .expected = "a list of objects like {\"device\": \"0000:3b:00.0\", \"count\": 8}",
                .take = take_virtual_functions},
        {.name = "templates",
                .types = TYPE(ARRAY),
                .expected = "a list of objects like " TEMPLATE_EXAMPLE,
                .take = take_templates},
};

static void take_host(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;

    schema_take_keys(&p->problems, value, "\"host\"", host_keys, ELEMENTSOF(host_keys), p);
}

static const Key file_keys[] = {
        /* for editors */
        {.name = "$schema", .types = TYPE(STRING), .expected = "a string"},
        {.name = "description", .types = TYPE(STRING), .expected = "a string"},
        {.name = "host",
                .types = TYPE(OBJECT),
                .expected = "an object like {\"noiommu\": \"off\"}",
                .take = take_host},
        {.name = "tags", .types = TYPE(OBJECT), .expected = "an object of tags", .take = take_tags},
        {.name = "rules", .types = TYPE(ARRAY), .expected = "an array of rules", .take = take_rules},
};

static void take_file(PolicyParser *p, const JsonNode *root) {
    if (root->type != JSON_OBJECT) {
        report_value(p, root, "a policy file must be an object, found %s", schema_describe_type(root->type));
        return;
    }
    schema_take_keys(&p->problems, root, "a policy file", file_keys, ELEMENTSOF(file_keys), p);
    if (!schema_find_member(root, "host") && !schema_find_member(root, "tags") &&
            !schema_find_member(root, "rules"))
        report_value(p, root, "a policy file requires one of the keys \"host\", \"tags\", \"rules\"");
}

void policy_parser_set_now(PolicyParser *p, uint64_t now_usec) {
    p->now_usec = now_usec;
}

int policy_parser_add(PolicyParser *p, const char *file, const char *text, size_t size) {
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    _cleanup_free_ char *shown = NULL;
    JsonError error;
    int r;

    shown = sanitize(file, SIZE_MAX);
    if (!shown) {
        p->problems.out_of_memory = true;
        return -ENOMEM;
    }
    p->problems.file = shown;
    p->rule_number = 0;
    r = json_document_parse(text, size, &document, &error);
    if (r == -EBADMSG)
        problems_report(&p->problems, error.line, error.column, "%s", error.message);
    else if (r < 0)
        p->problems.out_of_memory = true;
    else
        take_file(p, json_document_root(document));
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

size_t policy_parser_n_warnings(const PolicyParser *p) {
    return problems_count(&p->warnings);
}

const char *policy_parser_warning(const PolicyParser *p, size_t i) {
    return problems_get(&p->warnings, i);
}

PolicyParser *policy_parser_new(resolve_name_t resolve, void *userdata) {
    PolicyParser *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->resolve = resolve;
    p->userdata = userdata;
    p->warnings.kind = "warning";
    return p;
}

PolicyParser *policy_parser_free(PolicyParser *p) {
    if (!p)
        return NULL;
    problems_done(&p->problems);
    problems_done(&p->warnings);
    for (size_t i = 0; i < p->n_rules; i++)
        rule_done(p->rules + i);
    free(p->rules);
    free(p->filters);
    free(p->noiommu_place);
    free(p->reservation_ttl_place);
    declared_functions_done(p->declared, p->n_declared);
    device_templates_done(p->templates, p->n_templates);
    parser_forget_names(p);
    parser_forget_accounts(p);
    parser_forget_tags(p);
    free(p);
    return NULL;
}

/* The facts that the predicates of all rules need. */
static unsigned needed_facts(const Policy *policy) {
    unsigned facts = 0;

    for (uint32_t rest = policy->predicates; rest != 0; rest &= rest - 1)
        facts |= predicate_facts((PredicateKind) __builtin_ctz(rest));
    for (size_t i = 0; i < policy->n_tags; i++)
        for (size_t k = 0; policy->tags[i]->used && k < policy->tags[i]->n_entries; k++) {
            facts |= policy->tags[i]->entries[k].path ? DEVICE_FACT_SLOT_PATH : 0;
            facts |= policy->tags[i]->entries[k].serial ? DEVICE_FACT_SERIAL : 0;
        }
    return facts;
}

/* What makes a long policy fast. */
static void make_filters(PolicyParser *p) {
    p->filters = aligned_alloc(alignof(RuleFilter), MAX(p->n_rules, (size_t) 1) * sizeof(RuleFilter));
    if (!p->filters) {
        p->problems.out_of_memory = true;
        return;
    }
    for (size_t i = 0; i < p->n_rules; i++)
        rule_filter_init(p->filters + i, p->rules + i);
}

static void warn_of(PolicyParser *p, const Rule *rule, const char *text) {
    p->warnings.file = rule->file;
    problems_report(&p->warnings, rule->line, rule->column, "%s", text);
    p->warnings.file = NULL;
}

/* The rule allows no-IOMMU but the host setting does not, so every such claim is refused. */
static void warn_of_noiommu_rules(PolicyParser *p) {
    if (p->host.noiommu != NOIOMMU_OFF)
        return;
    for (size_t i = 0; i < p->n_rules; i++)
        if (p->rules[i].terms.noiommu_reason)
            warn_of(p, p->rules + i,
                    "\"noiommu\" has no effect: the setting \"noiommu\" of \"host\" must be \"on\" or "
                    "\"managed\"");
}

/* An unknown account may turn out to be another name of root. */
static bool may_be_root(const Rule *rule) {
    if (!(rule->predicates & 1U << PREDICATE_WHO_USER) || rule_names_unknown(rule, /* is_group= */ false))
        return true;
    for (size_t i = 0; i < rule->n_uids; i++)
        if (rule->uids[i] == 0)
            return true;
    return false;
}

/* Warns of a rule that matches, but whose own terms refuse every claim. */
static void warn_of_rules_for_nothing(PolicyParser *p) {
    for (size_t i = 0; i < p->n_rules; i++) {
        const Rule *rule = p->rules + i;

        if (rule->effect != EFFECT_DENY && rule->terms.tethers == 1U << TETHER_EXPLICIT && !may_be_root(rule))
            warn_of(p, rule,
                    "this rule allows nothing: its only tether is \"explicit\", which only root may have, "
                    "and "
                    "its \"user\" does not include root");
    }
}

/* Checks that need all files. */
static void check_set(PolicyParser *p) {
    if (p->checked)
        return;
    p->checked = true;
    parser_resolve_tags(p);
    parser_resolve_accounts(p);
    if (p->problems.n > 0 || p->problems.out_of_memory)
        return;
    make_filters(p);
    if (p->problems.out_of_memory)
        return;
    parser_warn_of_unused_tags(p);
    parser_warn_of_unknown_templates(p);
    warn_of_noiommu_rules(p);
    warn_of_rules_for_nothing(p);
    parser_warn_of_covered_rules(p);
}

int policy_parser_finish(PolicyParser *p, Policy **ret) {
    Policy *policy;

    check_set(p);
    if (p->problems.out_of_memory || p->warnings.out_of_memory)
        return -ENOMEM;
    if (p->problems.n > 0)
        return -EINVAL;
    policy = calloc(1, sizeof(*policy));
    if (!policy)
        return -ENOMEM;
    policy->host = p->host;
    policy->declared = TAKE_PTR(p->declared);
    policy->n_declared = TAKE_GENERIC(p->n_declared, 0);
    policy->templates = TAKE_PTR(p->templates);
    policy->n_templates = TAKE_GENERIC(p->n_templates, 0);
    policy->rules = TAKE_PTR(p->rules);
    policy->filters = TAKE_PTR(p->filters);
    policy->n_rules = TAKE_GENERIC(p->n_rules, 0);
    policy->tags = TAKE_PTR(p->tags);
    policy->n_tags = TAKE_GENERIC(p->n_tags, 0);
    for (size_t i = 0; i < policy->n_rules; i++)
        policy->predicates |= policy->rules[i].predicates;
    policy->needed_facts = needed_facts(policy);
    *ret = policy;
    return 0;
}
