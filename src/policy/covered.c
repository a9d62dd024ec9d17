/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Finds rules that can never match because an earlier rule decides everything that they match. This is a
 * warning, so it must never be wrong. It is given only where each predicate of the earlier rule follows from
 * the same predicate of the later one. Rules that are dead for other reasons go unnoticed.
 *
 * Unknown facts matter here. A later `allow` matches only when all its facts are known, and then an earlier
 * rule that requires less matches too. A later `deny` also matches unknown facts, and an earlier `allow` does
 * not: such a deny rule is not quite dead, and the warning says so. A tag can also be "changed", which
 * denies. So a rule with a tag is dead only after a deny rule or a rule with the same tags. */

#include "policy/filter.h"
#include "policy/parser.h"

/* --- does what matches the later list always match the earlier one? --- */

static bool numbers_cover(const uint32_t *a, size_t n_a, const uint32_t *b, size_t n_b) {
    size_t i = 0;

    /* Both are sorted. */
    for (size_t k = 0; k < n_b; k++) {
        while (i < n_a && a[i] < b[k])
            i++;
        if (i == n_a || a[i] != b[k])
            return false;
    }
    return true;
}

static bool has_wildcard(const char *glob) {
    return strpbrk(glob, "*?[") != NULL;
}

/* "abc*" covers "abcd*". Of two globs, only those with a single star at the end are compared. */
static bool glob_covers(const char *a, const char *b) {
    size_t n = strcspn(a, "*?[");

    if (streq(a, b))
        return true;
    if (!has_wildcard(b))
        return glob_match(a, b);
    return streq(a + n, "*") && strncmp(a, b, n) == 0 && strcspn(b, "*?[") >= n;
}

static bool globs_cover(const StringList *a, const StringList *b) {
    for (size_t k = 0; k < b->n; k++) {
        bool covered = false;

        for (size_t i = 0; i < a->n && !covered; i++)
            covered = glob_covers(a->items[i], b->items[k]);
        if (!covered)
            return false;
    }
    return true;
}

static bool strings_cover(const StringList *a, const StringList *b) {
    for (size_t k = 0; k < b->n; k++) {
        bool covered = false;

        for (size_t i = 0; i < a->n && !covered; i++)
            covered = streq(a->items[i], b->items[k]);
        if (!covered)
            return false;
    }
    return true;
}

static bool device_covers(const DevicePattern *a, const DevicePattern *b) {
    char name[DEVICE_NAME_MAX];

    if (b->exact)
        return device_pattern_match(a, &b->name, device_name_format_kernel(&b->name, name));
    return !a->exact && a->kind == b->kind && glob_covers(a->glob, b->glob);
}

static bool devices_cover(const DevicePattern *a, size_t n_a, const DevicePattern *b, size_t n_b) {
    for (size_t k = 0; k < n_b; k++) {
        bool covered = false;

        for (size_t i = 0; i < n_a && !covered; i++)
            covered = device_covers(a + i, b + k);
        if (!covered)
            return false;
    }
    return true;
}

static bool bits_cover(uint64_t value, uint64_t mask, uint64_t other_value, uint64_t other_mask) {
    return (mask & (~other_mask | (value ^ other_value))) == 0;
}

static bool ids_cover(const Rule *a, const Rule *b) {
    for (size_t k = 0; k < b->n_ids; k++) {
        bool covered = false;

        for (size_t i = 0; i < a->n_ids && !covered; i++)
            covered = bits_cover(a->ids[i].value, a->ids[i].mask, b->ids[k].value, b->ids[k].mask);
        if (!covered)
            return false;
    }
    return true;
}

static bool classes_cover(const Rule *a, const Rule *b) {
    for (size_t k = 0; k < b->n_classes; k++) {
        bool covered = false;

        for (size_t i = 0; i < a->n_classes && !covered; i++)
            covered = bits_cover(
                    a->classes[i].value, a->classes[i].mask, b->classes[k].value, b->classes[k].mask);
        if (!covered)
            return false;
    }
    return true;
}

static bool fingerprints_cover(const Rule *a, const Rule *b) {
    for (size_t k = 0; k < b->n_groups; k++) {
        bool covered = false;

        for (size_t i = 0; i < a->n_groups && !covered; i++)
            covered = a->groups[i] == b->groups[k];
        if (!covered)
            return false;
    }
    return true;
}

static bool tags_cover(const Rule *a, const Rule *b) {
    for (size_t k = 0; k < b->n_tags; k++) {
        bool covered = false;

        for (size_t i = 0; i < a->n_tags && !covered; i++)
            covered = a->tags[i].tag == b->tags[k].tag;
        if (!covered)
            return false;
    }
    return true;
}

/* The later rule requires each property that the earlier one requires, at least as narrowly. */
static bool properties_cover(const Rule *a, const Rule *b) {
    for (size_t i = 0; i < a->n_properties; i++) {
        bool covered = false;

        for (size_t k = 0; k < b->n_properties && !covered; k++)
            covered = streq(a->properties[i].key, b->properties[k].key) &&
                    globs_cover(&a->properties[i].globs, &b->properties[k].globs);
        if (!covered)
            return false;
    }
    return true;
}

/* Both rules have this predicate. */
static bool predicate_covers(PredicateKind kind, const Rule *a, const Rule *b) {
    switch (kind) {
    case PREDICATE_WHO_USER:
        return !rule_names_unknown(b, false) && numbers_cover(a->uids, a->n_uids, b->uids, b->n_uids);
    case PREDICATE_WHO_GROUP:
        return !rule_names_unknown(b, true) && numbers_cover(a->gids, a->n_gids, b->gids, b->n_gids);
    case PREDICATE_WHO_UNIT:
        return globs_cover(&a->units, &b->units);
    case PREDICATE_WHO_SLICE:
        return globs_cover(&a->slices, &b->slices);
    case PREDICATE_WHO_CGROUP:
        return globs_cover(&a->cgroups, &b->cgroups);
    case PREDICATE_WHO_LABEL:
        return globs_cover(&a->labels, &b->labels);
    case PREDICATE_WHO_CAPABILITY:
        return (b->capabilities & ~a->capabilities) == 0;
    case PREDICATE_WHO_NAMESPACE:
        return (b->namespaces & ~a->namespaces) == 0;
    case PREDICATE_WHO_SCOPE:
        return strings_cover(&a->scopes, &b->scopes);
    case PREDICATE_WHAT_DEVICE:
        return devices_cover(a->devices, a->n_devices, b->devices, b->n_devices);
    case PREDICATE_WHAT_PHYSICAL_FUNCTION:
        return devices_cover(a->functions, a->n_functions, b->functions, b->n_functions);
    case PREDICATE_WHAT_ID:
        return ids_cover(a, b);
    case PREDICATE_WHAT_CLASS:
        return classes_cover(a, b);
    case PREDICATE_WHAT_DRIVER:
        return strings_cover(&a->drivers, &b->drivers);
    case PREDICATE_WHAT_BUS:
        return (b->buses & ~a->buses) == 0;
    case PREDICATE_WHAT_GROUP:
        return fingerprints_cover(a, b);
    case PREDICATE_WHAT_TAG:
        return tags_cover(a, b);
    case PREDICATE_WHAT_PROPERTY:
        return properties_cover(a, b);
    case PREDICATE_WHAT_NUMA:
        return numbers_cover(a->numa_nodes, a->n_numa_nodes, b->numa_nodes, b->n_numa_nodes);
    case PREDICATE_WHAT_ALONE:
        return a->alone == b->alone;
    case PREDICATE_WHAT_ACS:
        return a->acs == b->acs;
    case PREDICATE_WHAT_RESET:
        return a->reset == b->reset;
    case PREDICATE_WHAT_REMOVABLE:
        return a->removable == b->removable;
    case PREDICATE_WHAT_CAPABILITIES:
        return device_needs_cover(&a->needs, &b->needs);
    case PREDICATE_UNTIL:
        return a->until_usec >= b->until_usec;
    default:
        return false;
    }
}

static bool asks(const Rule *r, PredicateKind kind) {
    return r->predicates & 1U << kind;
}

/* Does the earlier rule also decide when a tag of b has changed? See the top of the file. */
static bool covers_changed(const Rule *a, const Rule *b) {
    if (!asks(b, PREDICATE_WHAT_TAG) || b->effect == EFFECT_DENY || a->effect == EFFECT_DENY)
        return true;
    return asks(a, PREDICATE_WHAT_TAG) && tags_cover(a, b) && tags_cover(b, a);
}

/* An allow or ask rule without scopes matches only callers without a scope. A later deny rule still stops
 * callers with a scope, if any rule admits these. */
static bool covers_scopes(const PolicyParser *p, const Rule *a, const Rule *b) {
    return !p->has_scopes || a->scopes.n > 0 || a->effect == EFFECT_DENY ||
            (b->scopes.n == 0 && b->effect != EFFECT_DENY);
}

/* The kinds of devices that the rule can match. */
static unsigned possible_buses(const Rule *r) {
    unsigned named = 0;

    for (size_t i = 0; i < r->n_devices; i++)
        named |= 1U << device_pattern_kind(r->devices + i);
    return rule_buses(r) & (named ?: UINT32_MAX);
}

/* An allow or ask rule that names no kind matches PCI devices only, see rule_buses(). A later deny rule still
 * stops other kinds, if any rule allows these. */
static bool covers_buses(const PolicyParser *p, const Rule *a, const Rule *b) {
    return !p->has_kinds || (possible_buses(b) & ~possible_buses(a)) == 0;
}

static bool rule_covers(const PolicyParser *p, const Rule *a, const Rule *b) {
    if ((a->predicates & ~b->predicates) != 0 || !covers_changed(a, b) || !covers_scopes(p, a, b) ||
            !covers_buses(p, a, b))
        return false;
    for (uint32_t rest = a->predicates; rest != 0; rest &= rest - 1)
        if (!predicate_covers((PredicateKind) __builtin_ctz(rest), a, b))
            return false;
    return true;
}

static void warn(PolicyParser *p, const Rule *by, const Rule *rule) {
    _cleanup_free_ char *name = problems_show(&p->warnings, by->name);

    p->warnings.file = rule->file;
    if (rule->effect == EFFECT_DENY && by->effect != EFFECT_DENY)
        problems_report(&p->warnings, rule->line, rule->column,
                "this rule denies only where a fact is unknown: \"%s\" (%s:%u) already covers the rest", name,
                by->file, by->line);
    else
        problems_report(&p->warnings, rule->line, rule->column,
                "this rule can never match: \"%s\" (%s:%u) already covers everything it matches", name,
                by->file, by->line);
    p->warnings.file = NULL;
}

/* Rules whose filters do not separate them are compared pair by pair. For a policy of thousands of such
 * rules, the warning is not worth the time. */
#define COMPARISONS_MAX (4U * 1024 * 1024)

/* So many later rules are checked in one pass over the earlier ones, which do not fit into a cache. */
#define BLOCK 64U

/* For each of n rules from first on, finds the first earlier rule that covers it. */
static void find_covering(const PolicyParser *p, size_t first, size_t n, const Rule *ret[static BLOCK],
        unsigned *n_comparisons) {
    for (size_t i = 0; i + 1 < first + n; i++)
        for (size_t k = i < first ? 0 : i + 1 - first; k < n; k++) {
            if (ret[k] || !rule_filter_may_cover(p->filters + i, p->filters + first + k))
                continue;
            if (++*n_comparisons >= COMPARISONS_MAX)
                return;
            if (rule_covers(p, p->rules + i, p->rules + first + k))
                ret[k] = p->rules + i;
        }
}

static void warn_of_too_many(PolicyParser *p, const Rule *rule) {
    p->warnings.file = rule->file;
    problems_report(&p->warnings, rule->line, rule->column,
            "rules that can never match were not looked for from here on: there are too many rules");
    p->warnings.file = NULL;
}

void parser_warn_of_covered_rules(PolicyParser *p) {
    unsigned n_comparisons = 0;

    for (size_t first = 0; first < p->n_rules; first += BLOCK) {
        const Rule *by[BLOCK] = {};
        size_t n = MIN(p->n_rules - first, (size_t) BLOCK);

        find_covering(p, first, n, by, &n_comparisons);
        if (n_comparisons >= COMPARISONS_MAX) {
            warn_of_too_many(p, p->rules + first);
            return;
        }
        for (size_t k = 0; k < n; k++)
            if (by[k])
                warn(p, by[k], p->rules + first + k);
    }
}
