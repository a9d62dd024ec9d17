/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The predicates. Each compares one requirement of a rule with one fact. None of them decides what a missing
 * fact means; they only report HOLDS_UNKNOWN. */

#include "core/device-kind.h"
#include "core/cgroup.h"
#include "policy/rule.h"

static const char *const holds_table[_HOLDS_MAX] = {
        [HOLDS_NO] = "no",
        [HOLDS_YES] = "yes",
        [HOLDS_UNKNOWN] = "unknown",
        [HOLDS_CHANGED] = "changed",
};
DEFINE_STRING_TABLE(holds, Holds);

static Holds yes_or_no(bool yes) {
    return yes ? HOLDS_YES : HOLDS_NO;
}

static bool is_known(const Question *q, unsigned fact) {
    return q->facts && (q->facts->known & fact) != 0;
}

static bool any_glob_matches(const StringList *globs, const char *s) {
    for (size_t i = 0; i < globs->n; i++)
        if (glob_match(globs->items[i], s))
            return true;
    return false;
}

static bool sorted_contains(const uint32_t *list, size_t n, uint32_t v) {
    size_t low = 0, high = n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (list[middle] == v)
            return true;
        if (list[middle] < v)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

/* --- who --- */

/* For a caller who matches none of the known accounts. An unknown name in a deny rule may be the caller's. In
 * an allow or ask rule it matches nobody; otherwise one deleted account would make every request ask. */
static Holds may_be_unknown(const Rule *r, bool is_group) {
    return r->effect == EFFECT_DENY && rule_names_unknown(r, is_group) ? HOLDS_UNKNOWN : HOLDS_NO;
}

static Holds user_holds(const Rule *r, const Question *q) {
    /* Also where the rule matches anybody: a caller without a known uid matches no account. */
    if (q->subject->uid == (uid_t) -1)
        return HOLDS_UNKNOWN;
    if ((r->predicates & 1U << PREDICATE_WHO_USER) == 0 ||
            sorted_contains(r->uids, r->n_uids, q->subject->uid))
        return HOLDS_YES;
    return may_be_unknown(r, /* is_group= */ false);
}

static Holds group_holds(const Rule *r, const Question *q) {
    /* Every process has a primary group, so an empty list could not be read. */
    if (q->subject->n_gids == 0)
        return HOLDS_UNKNOWN;
    for (size_t i = 0; i < q->subject->n_gids; i++)
        if (sorted_contains(r->gids, r->n_gids, q->subject->gids[i]))
            return HOLDS_YES;
    return may_be_unknown(r, /* is_group= */ true);
}

static Holds unit_holds(const Rule *r, const Question *q) {
    /* The unit follows from the cgroup. If that is unknown, a missing unit proves nothing. */
    if (!q->subject->cgroup)
        return HOLDS_UNKNOWN;
    return yes_or_no(q->subject->unit && any_glob_matches(&r->units, q->subject->unit));
}

/* Collects "user-1000.slice" of "/user.slice/user-1000.slice/session-3.scope". The system manager makes the
 * slices down to the first unit. Below that unit the cgroup is delegated: a user's manager or a container can
 * make a "machine.slice" there, so names below prove nothing. */
static void read_slices(const char *cgroup, QuestionMemo *m) {
    bool below_unit = false;

    m->slices_read = true;
    m->n_slices = 0;
    m->more_slices = false;
    for (const char *p = cgroup; *(p += strspn(p, "/")); p += strcspn(p, "/")) {
        if (m->n_slices == SLICES_MAX) {
            m->more_slices = true;
            return;
        }
        if (cgroup_is_slice(p, strcspn(p, "/"), m->slices[m->n_slices].name))
            m->slices[m->n_slices++].below_unit = below_unit;
        else
            below_unit = true;
    }
}

static Holds slice_holds(const Rule *r, const Question *q) {
    QuestionMemo own, *m = q->memo ?: &own;

    if (!q->subject->cgroup)
        return HOLDS_UNKNOWN;
    if (!q->memo || !m->slices_read)
        read_slices(q->subject->cgroup, m);
    for (size_t i = 0; i < m->n_slices; i++)
        if (any_glob_matches(&r->slices, m->slices[i].name))
            return m->slices[i].below_unit ? HOLDS_UNKNOWN : HOLDS_YES;
    return m->more_slices ? HOLDS_UNKNOWN : HOLDS_NO;
}

static Holds cgroup_holds(const Rule *r, const Question *q) {
    if (!q->subject->cgroup)
        return HOLDS_UNKNOWN;
    return yes_or_no(any_glob_matches(&r->cgroups, q->subject->cgroup));
}

static Holds label_holds(const Rule *r, const Question *q) {
    if (!q->subject->label)
        return HOLDS_UNKNOWN;
    return yes_or_no(any_glob_matches(&r->labels, q->subject->label));
}

static Holds capability_holds(const Rule *r, const Question *q) {
    Holds best = HOLDS_NO;

    for (unsigned i = 0; i < 64; i++) {
        int has;

        if ((r->capabilities >> i & 1) == 0)
            continue;
        has = subject_has_capability(q->subject, i);
        if (has > 0)
            return HOLDS_YES;
        if (has < 0)
            best = HOLDS_UNKNOWN;
    }
    return best;
}

static Holds namespace_holds(const Rule *r, const Question *q) {
    const NamespaceKind user = q->subject->user_namespace, pid = q->subject->pid_namespace;

    if (user == NAMESPACE_OTHER || pid == NAMESPACE_OTHER)
        return yes_or_no(r->namespaces & 1U << NAMESPACE_OTHER);
    if (user == NAMESPACE_HOST && pid == NAMESPACE_HOST)
        return yes_or_no(r->namespaces & 1U << NAMESPACE_HOST);
    return HOLDS_UNKNOWN;
}

/* A scope narrows what its callers get: allow and ask rules match them only if they name the scope. A deny
 * rule that names no scope matches everybody. */
static Holds scope_holds(const Rule *r, const Question *q) {
    const char *scope = q->subject->scope;

    if (r->scopes.n == 0)
        return yes_or_no(!scope || r->effect == EFFECT_DENY);
    for (size_t i = 0; scope && i < r->scopes.n; i++)
        if (streq(r->scopes.items[i], scope))
            return HOLDS_YES;
    return HOLDS_NO;
}

/* --- what --- */

static Holds device_holds(const Rule *r, const Question *q) {
    for (size_t i = 0; i < r->n_devices; i++)
        if (device_pattern_match(r->devices + i, &q->device->name, q->kernel_name))
            return HOLDS_YES;
    return HOLDS_NO;
}

/* Only a virtual function has a physical function. */
static Holds physical_function_holds(const Rule *r, const Question *q) {
    char kernel_name[DEVICE_NAME_MAX];
    const DeviceName *name;

    if (!device_is_virtual_function(q->device))
        return HOLDS_NO;
    name = device_parent_name(q->device);
    device_name_format_kernel(name, kernel_name);
    for (size_t i = 0; i < r->n_functions; i++)
        if (device_pattern_match(r->functions + i, name, kernel_name))
            return HOLDS_YES;
    return HOLDS_NO;
}

/* A device of a kind without ids has none that a rule could name. That is not an unknown fact: a rule that
 * denies the cards of a vendor does not deny every mediated device. */
static bool has_ids(const Question *q) {
    return device_kind_info(q->device->name.kind)->has_ids;
}

static Holds id_holds(const Rule *r, const Question *q) {
    if (!has_ids(q))
        return HOLDS_NO;
    for (size_t i = 0; i < r->n_ids; i++)
        if ((q->id & r->ids[i].mask) == r->ids[i].value)
            return HOLDS_YES;
    return HOLDS_NO;
}

static Holds class_holds(const Rule *r, const Question *q) {
    if (!has_ids(q))
        return HOLDS_NO;
    for (size_t i = 0; i < r->n_classes; i++)
        if ((q->device->class_code & r->classes[i].mask) == r->classes[i].value)
            return HOLDS_YES;
    return HOLDS_NO;
}

static Holds driver_holds(const Rule *r, const Question *q) {
    for (size_t i = 0; i < r->drivers.n; i++)
        if (q->device->driver && streq(r->drivers.items[i], q->device->driver))
            return HOLDS_YES;
    return HOLDS_NO;
}

unsigned rule_buses(const Rule *r) {
    if (r->buses != 0)
        return r->buses;
    return r->n_devices > 0 || r->effect == EFFECT_DENY ? UINT32_MAX : 1U << DEVICE_KIND_PCI;
}

static Holds bus_holds(const Rule *r, const Question *q) {
    return yes_or_no(rule_buses(r) & 1U << q->device->name.kind);
}

static Holds fingerprint_holds(const Rule *r, const Question *q) {
    for (size_t i = 0; q->device->group && i < r->n_groups; i++)
        if (r->groups[i] == q->group)
            return HOLDS_YES;
    return HOLDS_NO;
}

/* "KEY=VALUE" -> VALUE, NULL when the device has no such property. */
static const char *find_property(char *const *properties, const char *key) {
    for (; properties && *properties; properties++) {
        const char *rest = startswith(*properties, key);

        if (rest && *rest == '=')
            return rest + 1;
    }
    return NULL;
}

static const char *recall_property(const Question *q, const char *key) {
    if (!q->memo)
        return find_property(q->facts->properties, key);
    if (!streq_ptr(q->memo->key, key)) {
        q->memo->key = key;
        q->memo->value = find_property(q->facts->properties, key);
    }
    return q->memo->value;
}

static Holds property_holds(const Rule *r, const Question *q) {
    if (!is_known(q, DEVICE_FACT_PROPERTIES))
        return HOLDS_UNKNOWN;
    for (size_t i = 0; i < r->n_properties; i++) {
        const char *value = recall_property(q, r->properties[i].key);

        if (!value || !any_glob_matches(&r->properties[i].globs, value))
            return HOLDS_NO;
    }
    return HOLDS_YES;
}

static Holds numa_holds(const Rule *r, const Question *q) {
    if (!is_known(q, DEVICE_FACT_NUMA_NODE))
        return HOLDS_UNKNOWN;
    for (size_t i = 0; i < r->n_numa_nodes; i++)
        if (q->facts->numa_node >= 0 && r->numa_nodes[i] == (uint32_t) q->facts->numa_node)
            return HOLDS_YES;
    return HOLDS_NO;
}

static Holds alone_holds(const Rule *r, const Question *q) {
    if (!q->device->group)
        return HOLDS_UNKNOWN;
    return yes_or_no((q->device->group->n_members == 1) == r->alone);
}

static Holds acs_holds(const Rule *r, const Question *q) {
    bool whole;

    if (!is_known(q, DEVICE_FACT_ACS) || q->facts->acs == ACS_UNKNOWN)
        return HOLDS_UNKNOWN;
    whole = q->facts->acs == ACS_COMPLETE || q->facts->acs == ACS_NOT_NEEDED;
    return yes_or_no(whole == r->acs);
}

static Holds reset_holds(const Rule *r, const Question *q) {
    if (!is_known(q, DEVICE_FACT_RESET_METHODS))
        return HOLDS_UNKNOWN;
    return yes_or_no((q->facts->reset_methods != 0) == r->reset);
}

static Holds removable_holds(const Rule *r, const Question *q) {
    if (!is_known(q, DEVICE_FACT_REMOVABLE) || q->facts->removable == REMOVABLE_UNKNOWN)
        return HOLDS_UNKNOWN;
    return yes_or_no((q->facts->removable == REMOVABLE_REMOVABLE) == r->removable);
}

/* The capabilities that were found with the driver that a claim would use. Those of other drivers do not
 * matter. */
static const DeviceCaps *caps_for_claim(const Question *q) {
    const Device *d = q->device;
    const char *driver;

    if (!is_known(q, DEVICE_FACT_SEEN_CAPS) || !q->facts->caps)
        return NULL;
    driver = d->driver && d->vfio_index >= 0 ? d->driver : device_kind_info(d->name.kind)->driver;
    return driver && streq(q->facts->caps->driver, driver) ? q->facts->caps : NULL;
}

static Holds capabilities_hold(const Rule *r, const Question *q) {
    DeviceCap cap;

    switch (device_needs_check(&r->needs, caps_for_claim(q), &cap)) {
    case NEEDS_MET:
        return HOLDS_YES;
    case NEEDS_NOT_MET:
        return HOLDS_NO;
    default:
        return HOLDS_UNKNOWN;
    }
}

static Holds until_holds(const Rule *r, const Question *q) {
    if (q->now_usec == 0)
        return HOLDS_UNKNOWN;
    return yes_or_no(q->now_usec < r->until_usec);
}

static const Predicate predicate_table[_PREDICATE_MAX] = {
        [PREDICATE_WHO_USER] = {"who.user", user_holds, 0},
        [PREDICATE_WHO_GROUP] = {"who.group", group_holds, 0},
        [PREDICATE_WHO_UNIT] = {"who.unit", unit_holds, 0},
        [PREDICATE_WHO_SLICE] = {"who.slice", slice_holds, 0},
        [PREDICATE_WHO_CGROUP] = {"who.cgroup", cgroup_holds, 0},
        [PREDICATE_WHO_LABEL] = {"who.label", label_holds, 0},
        [PREDICATE_WHO_CAPABILITY] = {"who.capability", capability_holds, 0},
        [PREDICATE_WHO_NAMESPACE] = {"who.namespace", namespace_holds, 0},
        [PREDICATE_WHO_SCOPE] = {"who.scope", scope_holds, 0},
        [PREDICATE_WHAT_DEVICE] = {"what.device", device_holds, 0},
        [PREDICATE_WHAT_PHYSICAL_FUNCTION] = {"what.physical-function", physical_function_holds, 0},
        [PREDICATE_WHAT_ID] = {"what.id", id_holds, 0},
        [PREDICATE_WHAT_CLASS] = {"what.class", class_holds, 0},
        [PREDICATE_WHAT_DRIVER] = {"what.driver", driver_holds, 0},
        [PREDICATE_WHAT_BUS] = {"what.bus", bus_holds, 0},
        [PREDICATE_WHAT_GROUP] = {"what.group", fingerprint_holds, 0},
        [PREDICATE_WHAT_TAG] = {"what.tag", tags_hold, 0},
        [PREDICATE_WHAT_PROPERTY] = {"what.property", property_holds, DEVICE_FACT_PROPERTIES},
        [PREDICATE_WHAT_NUMA] = {"what.numa", numa_holds, DEVICE_FACT_NUMA_NODE},
        [PREDICATE_WHAT_ALONE] = {"what.isolation.alone", alone_holds, 0},
        [PREDICATE_WHAT_ACS] = {"what.isolation.acs", acs_holds, DEVICE_FACT_ACS},
        [PREDICATE_WHAT_RESET] = {"what.isolation.reset", reset_holds, DEVICE_FACT_RESET_METHODS},
        [PREDICATE_WHAT_REMOVABLE] = {"what.isolation.removable", removable_holds, DEVICE_FACT_REMOVABLE},
        [PREDICATE_WHAT_CAPABILITIES] = {"what.capabilities", capabilities_hold, DEVICE_FACT_SEEN_CAPS},
        [PREDICATE_UNTIL] = {"until", until_holds, 0},
};

const char *predicate_key(PredicateKind kind) {
    return predicate_table[kind].key;
}

unsigned predicate_facts(PredicateKind kind) {
    return predicate_table[kind].facts;
}

Holds rule_ask(const Rule *rule, PredicateKind kind, const Question *question) {
    return predicate_table[kind].evaluate(rule, question);
}

/* Rules that were written before other kinds than PCI existed do not match these. */
static bool is_of_another_kind(const Rule *rule, const Question *q) {
    return q->device && q->device->name.kind != DEVICE_KIND_PCI && rule_buses(rule) != UINT32_MAX;
}

uint32_t rule_predicates(const Rule *rule, const Question *question) {
    return rule->predicates | 1U << PREDICATE_WHO_USER |
            (question->subject->scope ? 1U << PREDICATE_WHO_SCOPE : 0) |
            (is_of_another_kind(rule, question) ? 1U << PREDICATE_WHAT_BUS : 0);
}

int rule_foreach_predicate(
        const Rule *rule, int (*visit)(void *userdata, const char *key, const char *wanted), void *userdata) {
    int r = 0;

    for (size_t i = 0; i < rule->n_wanted && r >= 0; i++)
        r = visit(userdata, predicate_key(rule->wanted[i].kind), rule->wanted[i].text);
    return MIN(r, 0);
}

const char *rule_wanted(const Rule *rule, PredicateKind kind) {
    for (size_t i = 0; i < rule->n_wanted; i++)
        if (rule->wanted[i].kind == kind)
            return rule->wanted[i].text;
    if (kind == PREDICATE_WHAT_BUS)
        return device_kind_to_string(DEVICE_KIND_PCI);
    return kind == PREDICATE_WHO_SCOPE && rule->effect != EFFECT_DENY ? "no scope" : "anybody";
}

void question_init(Question *q, const PolicyQuestion *question, uint32_t predicates) {
    const Device *device = question->device;

    *q = (Question){
            .subject = question->subject,
            .device = device,
            .facts = question->facts,
            .now_usec = question->now_usec,
    };
    if (!device)
        return;
    q->id = (uint64_t) device->vendor << 48 | (uint64_t) device->device << 32 |
            (uint64_t) device->subsystem_vendor << 16 | device->subsystem_device;
    if (predicates & 1U << PREDICATE_WHAT_DEVICE)
        (void) device_name_format_kernel(&device->name, q->kernel_name);
    if (predicates & 1U << PREDICATE_WHAT_GROUP && device->group)
        q->group = group_fingerprint(device->group);
}

/* A mismatch outweighs unknown facts, so all predicates are evaluated. */
RuleHolds rule_holds(const Rule *rule, const Question *question) {
    bool unknown = false, changed = false;

    for (uint32_t rest = rule_predicates(rule, question); rest != 0; rest &= rest - 1) {
        switch (rule_ask(rule, (PredicateKind) __builtin_ctz(rest), question)) {
        case HOLDS_YES:
            break;
        case HOLDS_UNKNOWN:
            unknown = true;
            break;
        case HOLDS_CHANGED:
            changed = true;
            break;
        default:
            return RULE_PASSES_BY;
        }
    }
    if (rule->effect == EFFECT_DENY)
        return RULE_DECIDES;
    if (changed)
        return RULE_CHANGED;
    if (unknown)
        return rule->effect == EFFECT_ASK ? RULE_MAY_ASK : RULE_PASSES_BY;
    return RULE_DECIDES;
}
