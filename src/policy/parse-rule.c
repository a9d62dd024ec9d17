/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A rule as one object. */

#include <search.h>

#include "base/timestamp.h"
#include "policy/parser.h"

typedef struct RuleName {
    char *name;  /* owned */
    char *place; /* owned; FILE:LINE:COL */
} RuleName;

static int compare_rule_names(const void *a, const void *b) {
    return strcmp(((const RuleName *) a)->name, ((const RuleName *) b)->name);
}

static void rule_name_free(void *p) {
    RuleName *n = p;

    free(n->name);
    free(n->place);
    free(n);
}

/* Verdicts and audit records name the rule, so its name must be unique. */
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
        report_value(p, value, "rule \"%s\" already exists at %s", value->string, (*found)->place);
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
    /* Text that had to be cut or escaped cannot be a name. */
    if (value->string[0] == '\0' || !streq(sane, value->string)) {
        report_value(p, value, "the name of a rule must have 1 to %u bytes, all printable", RULE_NAME_MAX);
        return;
    }
    check_name_is_new(p, value);
}

static void take_effect(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    const char *const words[] = {effect_to_string(EFFECT_ALLOW), effect_to_string(EFFECT_DENY),
            effect_to_string(EFFECT_ASK), NULL};
    Effect effect = effect_from_string(value->string);

    if ((int) effect >= 0)
        p->rule.effect = effect;
    else
        problems_report_unknown_word(&p->problems, value, "effect", words);
}

static void warn_of_past(PolicyParser *p, const JsonNode *value) {
    if (p->now_usec == 0 || p->now_usec < p->rule.until_usec)
        return;
    p->warnings.file = p->problems.file;
    problems_report_value(&p->warnings, value, "this rule has expired and has no effect");
    p->warnings.file = NULL;
}

static void take_until(void *userdata, const JsonNode *value) {
    PolicyParser *p = userdata;
    _cleanup_free_ char *shown = NULL;

    if (timestamp_parse(value->string, &p->rule.until_usec) >= 0) {
        parser_note_predicate(p, PREDICATE_UNTIL, value);
        warn_of_past(p, value);
        return;
    }
    shown = show(p, value->string);
    report_value(
            p, value, "\"%s\" is not a time, expected one with a zone, like \"2026-12-31T18:00:00Z\"", shown);
}

static const Key rule_keys[] = {
        {.name = "name", .types = TYPE(STRING), .expected = "a string", .take = take_name},
        {.name = "effect",
                .types = TYPE(STRING),
                .expected = "\"allow\", \"deny\" or \"ask\"",
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
        {.name = "until",
                .types = TYPE(STRING),
                .expected = "a point in time like \"2026-12-31T18:00:00Z\"",
                .take = take_until},
        {.name = "backend",
                .types = TYPE(STRING),
                .expected = "\"iommufd\", \"group\", \"compat\" or \"vhost-vdpa\"",
                .list = true,
                .take = take_backend},
        {.name = "grant",
                .types = TYPE(STRING),
                .expected = "\"fd\", \"node\" or \"none\"",
                .list = true,
                .take = take_grant},
        {.name = "tether",
                .types = TYPE(STRING),
                .expected = "\"lifeline\", \"process\", \"connection\", \"unit\" or \"explicit\"",
                .list = true,
                .take = take_tether},
        {.name = "reset",
                .types = TYPE(STRING),
                .expected = "\"required\" or \"optional\"",
                .take = take_reset},
        {.name = "siblings",
                .types = TYPE(STRING),
                .expected = "\"refuse\" or \"park\"",
                .take = take_siblings},
        {.name = "host-critical",
                .types = TYPE(STRING),
                .expected = "\"refuse\" or \"allow\"",
                .take = take_host_critical},
        {.name = "memlock",
                .types = TYPE(INTEGER) | TYPE(STRING),
                .expected = "a number of bytes or a size like \"16G\"",
                .take = take_memlock},
        {.name = "untainted", .types = TYPE(BOOLEAN), .expected = "true or false", .take = take_untainted},
        {.name = "reason",
                .types = TYPE(STRING),
                .expected = "\"optional\" or \"required\"",
                .take = take_reason},
        {.name = "limits",
                .types = TYPE(OBJECT),
                .expected = "an object like {\"claims\": 4}",
                .take = take_limits},
        {.name = "noiommu",
                .types = TYPE(OBJECT),
                .expected = "an object with a \"reason\"",
                .take = take_noiommu},
        {.name = "network",
                .types = TYPE(OBJECT),
                .expected = "an object like {\"mac\": \"52:54:00:*:*:*\"}",
                .take = take_network},
        {.name = "priority",
                .types = TYPE(INTEGER),
                .expected = "a number, more for who goes first",
                .take = take_priority},
        {.name = "eviction-delay",
                .types = TYPE(INTEGER),
                .expected = "a number of seconds",
                .take = take_eviction_delay},
        {.name = "max-duration",
                .types = TYPE(INTEGER),
                .expected = "a number of seconds",
                .take = take_max_duration},
        {.name = "preemptible",
                .types = TYPE(BOOLEAN),
                .expected = "true or false",
                .take = take_preemptible},
        {.name = "scrub",
                .types = TYPE(STRING),
                .expected = "a template unit like \"vfiod-scrub@.service\"",
                .take = take_scrub},
        {.name = "stop-after",
                .types = TYPE(INTEGER),
                .expected = "a number of seconds",
                .take = take_stop_after},
        {.name = "drain-timeout",
                .types = TYPE(INTEGER),
                .expected = "a number of seconds",
                .take = take_drain_timeout},
        {.name = "sleep-delay",
                .types = TYPE(INTEGER),
                .expected = "a number of seconds",
                .take = take_sleep_delay},
        {.name = "driver",
                .types = TYPE(STRING),
                .expected = "the name of a vfio driver like \"mlx5_vfio_pci\"",
                .take = take_vfio_driver},
        {.name = "d3cold", .types = TYPE(BOOLEAN), .expected = "true or false", .take = take_d3cold},
};

/* In a deny rule, "backend" would read as if other backends were not denied. */
static void check_deny_rule(PolicyParser *p, const JsonNode *rule) {
    for (const JsonNode *m = rule->children; m; m = m->next)
        for (size_t i = 0; rule_terms_keys[i]; i++)
            if (streq(rule_terms_keys[i], m->key))
                report_key(p, m, "\"%s\" describes what a rule allows; it has no meaning in a deny rule",
                        m->key);
}

/* Nothing protects the memory of the host from such a device, so the rule must name its devices narrowly. */
static void check_noiommu_rule(PolicyParser *p, const JsonNode *rule) {
    const Rule *r = &p->rule;
    const JsonNode *noiommu = schema_find_member(rule, "noiommu");
    bool named = r->n_devices > 0;

    for (size_t i = 0; i < r->n_devices; i++)
        named = named && r->devices[i].exact;
    if (!named && r->n_tags == 0)
        report_key(p, noiommu,
                "a rule with \"noiommu\" must name its devices: \"device\" without any glob, or \"tag\"");
}

static void finish_terms(PolicyParser *p, const JsonNode *value) {
    RuleTerms *t = &p->rule.terms;

    t->backends = t->backends ?: rule_terms_default.backends;
    t->grants = t->grants ?: rule_terms_default.grants;
    t->tethers = t->tethers ?: rule_terms_default.tethers;
    if (!schema_find_member(value, "noiommu"))
        return;
    t->backends |= 1U << BACKEND_NOIOMMU;
    check_noiommu_rule(p, value);
}

static int compare_numbers(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

    return x < y ? -1 : x > y;
}

static void finish_rule(PolicyParser *p, const JsonNode *value) {
    Rule *r = &p->rule;

    if (r->effect == EFFECT_DENY)
        check_deny_rule(p, value);
    else
        finish_terms(p, value);
    if (r->n_numa_nodes > 0)
        qsort(r->numa_nodes, r->n_numa_nodes, sizeof(*r->numa_nodes), compare_numbers);
    r->line = value->line;
    r->column = value->column;
    r->file = strdup(p->problems.file);
    r->key = r->name ? strdup(r->name) : format_string("rule %u (%s)", p->rule_number, p->problems.file);
    if (!r->name)
        r->name = format_string("#%u", p->rule_number); /* texts put the word "rule" before it */
    if (r->name && r->file && r->key)
        r->origin = format_string("%s (%s:%u)", r->name, p->problems.file, value->line);
    if (!r->origin)
        p->problems.out_of_memory = true;
}

void take_rule(PolicyParser *p, const JsonNode *value) {
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

void parser_forget_names(PolicyParser *p) {
    tdestroy(p->names, rule_name_free);
}
