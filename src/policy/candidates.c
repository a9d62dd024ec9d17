/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cgroup.h"
#include "policy/feature.h"

/* Looking up: every feature of the question has a list of rules. Where a fact is not known, its features are
 * not, and rules that stand under them may match all the same: then all rules are candidates. */

static const uint32_t class_masks[] = {0xff0000, 0xffff00, 0xffffff};

static bool uses(const PolicyIndex *index, FeatureKind kind) {
    return index->kinds & 1U << kind;
}

static void add_list(Candidates *c, const PolicyIndex *index, uint32_t begin, uint32_t end) {
    if (begin == end)
        return;
    if (c->n == CANDIDATE_LISTS_MAX) {
        c->all = true;
        return;
    }
    c->lists[c->n].next = index->entries + begin;
    c->lists[c->n++].end = index->entries + end;
}

static void add_candidates(Candidates *c, const PolicyIndex *index, uint64_t f) {
    const Slot *slot = find_slot(index, f);

    add_list(c, index, slot->begin, slot->end);
}

static void add_candidates_of_id(Candidates *c, const PolicyIndex *index, uint64_t id, uint64_t mask) {
    for (size_t i = 0; i < index->n_id_masks; i++) {
        uint64_t m = index->id_masks[i];

        if ((m & ~mask) == 0)
            add_candidates(c, index, feature(FEATURE_ID, m, id & m));
    }
}

static void add_candidates_of_class(Candidates *c, const PolicyIndex *index, uint32_t class, uint32_t mask) {
    for (size_t i = 0; i < ELEMENTSOF(class_masks); i++)
        if ((class_masks[i] & ~mask) == 0)
            add_candidates(c, index, feature(FEATURE_CLASS, class_masks[i], class & class_masks[i]));
}

static void add_candidates_of_name(Candidates *c, const PolicyIndex *index, const DeviceName *name) {
    add_candidates(c, index, feature_of_name(name));
    add_candidates(c, index, feature_of_bus(name->domain, name->pci_bus));
}

static void add_candidates_of_text(
        Candidates *c, const PolicyIndex *index, FeatureKind kind, uint64_t key, const char *s) {
    size_t n = strlen(s);

    add_candidates(c, index, feature_of_text(kind, key, s));
    for (size_t i = 0; i + WINDOW <= n; i++) {
        uint32_t bit = window_bit(s + i);

        if (index->windows[bit / 64] >> bit % 64 & 1)
            add_candidates(c, index, feature_of_window(kind, key, s + i));
    }
}

static void add_candidates_of_property(
        Candidates *c, const PolicyIndex *index, const char *key, size_t key_length, const char *value) {
    uint64_t h;

    if ((index->key_lengths & key_length_bit(key_length)) == 0)
        return;
    h = hash(key, key_length);
    add_candidates(c, index, feature_of_key(h));
    if (knows_property_key(index, h))
        add_candidates_of_text(c, index, FEATURE_PROPERTY, h, value);
}

static void add_candidates_of_properties(Candidates *c, const PolicyIndex *index, char *const *properties) {
    for (; properties && *properties; properties++) {
        const char *end = strchr(*properties, '=');

        if (end)
            add_candidates_of_property(c, index, *properties, (size_t) (end - *properties), end + 1);
    }
}

/* False: something is not known that rules were put under. */
static bool subject_is_known(const PolicyIndex *index, const Subject *s) {
    if (uses(index, FEATURE_USER) && s->uid == (uid_t) -1)
        return false;
    if (uses(index, FEATURE_GROUP) && (s->n_gids == 0 || s->n_gids > CANDIDATE_LISTS_MAX))
        return false;
    if ((uses(index, FEATURE_UNIT) || uses(index, FEATURE_SLICE) || uses(index, FEATURE_CGROUP)) &&
            !s->cgroup)
        return false;
    return !uses(index, FEATURE_LABEL) || s->label;
}

static bool device_is_known(const PolicyIndex *index, const Question *q) {
    unsigned known = q->facts ? q->facts->known : 0;

    if (uses(index, FEATURE_NUMA) && (known & DEVICE_FACT_NUMA_NODE) == 0)
        return false;
    return !uses(index, FEATURE_PROPERTY) || (known & DEVICE_FACT_PROPERTIES) != 0;
}

static void add_candidates_of_slices(Candidates *c, const PolicyIndex *index, const char *cgroup) {
    char name[UNIT_NAME_SIZE];

    for (const char *p = cgroup; *(p += strspn(p, "/")); p += strcspn(p, "/")) {
        size_t n = strcspn(p, "/");

        if (cgroup_is_slice(p, n, name))
            add_candidates_of_text(c, index, FEATURE_SLICE, 0, name);
    }
}

static void add_candidates_of_subject(Candidates *c, const PolicyIndex *index, const Subject *s) {
    if (uses(index, FEATURE_USER))
        add_candidates(c, index, feature(FEATURE_USER, s->uid, 0));
    for (size_t i = 0; uses(index, FEATURE_GROUP) && i < s->n_gids; i++)
        add_candidates(c, index, feature(FEATURE_GROUP, s->gids[i], 0));
    if (uses(index, FEATURE_UNIT) && s->unit)
        add_candidates_of_text(c, index, FEATURE_UNIT, 0, s->unit);
    if (uses(index, FEATURE_SLICE))
        add_candidates_of_slices(c, index, s->cgroup);
    if (uses(index, FEATURE_CGROUP))
        add_candidates_of_text(c, index, FEATURE_CGROUP, 0, s->cgroup);
    if (uses(index, FEATURE_LABEL))
        add_candidates_of_text(c, index, FEATURE_LABEL, 0, s->label);
}

static void add_candidates_of_facts(Candidates *c, const PolicyIndex *index, const Question *q) {
    if (uses(index, FEATURE_FINGERPRINT) && q->device->group)
        add_candidates(c, index, feature(FEATURE_FINGERPRINT, q->group, 0));
    if (uses(index, FEATURE_NUMA) && q->facts->numa_node >= 0)
        add_candidates(c, index, feature(FEATURE_NUMA, (uint64_t) q->facts->numa_node, 0));
    if (uses(index, FEATURE_PROPERTY))
        add_candidates_of_properties(c, index, q->facts->properties);
}

static void candidates_start(Candidates *c, const PolicyIndex *index) {
    c->n = 0;
    c->next = 0;
    c->n_rules = index->n_rules;
    c->all = index->none;
    if (!c->all)
        add_list(c, index, index->others, index->n_entries);
}

void candidates_init(Candidates *c, const PolicyIndex *index, const Question *q) {
    candidates_start(c, index);
    if (c->all)
        return;
    if (!subject_is_known(index, q->subject) || !device_is_known(index, q)) {
        c->all = true;
        return;
    }
    add_candidates_of_subject(c, index, q->subject);
    add_candidates_of_facts(c, index, q);
    if (uses(index, FEATURE_DRIVER) && q->device->driver)
        add_candidates(c, index, feature_of_string(FEATURE_DRIVER, q->device->driver));
    if (uses(index, FEATURE_DEVICE) || uses(index, FEATURE_TAG))
        add_candidates_of_name(c, index, &q->device->name);
    if (uses(index, FEATURE_ID) || uses(index, FEATURE_TAG))
        add_candidates_of_id(c, index, q->id, UINT64_MAX);
    if (uses(index, FEATURE_CLASS))
        add_candidates_of_class(c, index, q->device->class_code, 0xffffff);
}

/* A glob covers another only where all its letters are in the other as well. */
static void add_candidates_covering_globs(Candidates *c, const PolicyIndex *index, const Rule *r) {
    for (FeatureKind kind = 0; kind < _FEATURE_MAX; kind++)
        if (feature_globs(r, kind) && feature_globs(r, kind)->n > 0)
            add_candidates_of_text(c, index, kind, 0, feature_globs(r, kind)->items[0]);
    for (size_t i = 0; i < r->n_properties; i++)
        if (r->properties[i].globs.n > 0)
            add_candidates_of_property(c, index, r->properties[i].key, strlen(r->properties[i].key),
                    r->properties[i].globs.items[0]);
}

/* A rule that covers this one covers the first that each of its lists names, so it stands under a feature of
 * that. */
void candidates_init_covering(Candidates *c, const PolicyIndex *index, const Rule *r) {
    FeatureList l = {.whole = true};

    candidates_start(c, index);
    if (c->all)
        return;
    if (r->n_uids > 0)
        add_candidates(c, index, feature(FEATURE_USER, r->uids[0], 0));
    if (r->n_gids > 0)
        add_candidates(c, index, feature(FEATURE_GROUP, r->gids[0], 0));
    add_candidates_covering_globs(c, index, r);
    if (r->n_groups > 0)
        add_candidates(c, index, feature(FEATURE_FINGERPRINT, r->groups[0], 0));
    if (r->n_numa_nodes > 0)
        add_candidates(c, index, feature(FEATURE_NUMA, r->numa_nodes[0], 0));
    if (r->drivers.n > 0)
        add_candidates(c, index, feature_of_string(FEATURE_DRIVER, r->drivers.items[0]));
    if (r->n_devices > 0 && r->devices[0].exact)
        add_candidates_of_name(c, index, &r->devices[0].name);
    else if (r->n_devices > 0)
        feature_list_add_device(&l, r->devices);
    if (r->n_tags > 0)
        feature_list_add_tag(&l, index, r->tags[0].tag);
    for (size_t i = 0; i < l.n; i++)
        add_candidates(c, index, l.items[i]);
    if (r->n_ids > 0)
        add_candidates_of_id(c, index, r->ids[0].value, r->ids[0].mask);
    if (r->n_classes > 0)
        add_candidates_of_class(c, index, r->classes[0].value, r->classes[0].mask);
}

bool candidates_next(Candidates *c, uint32_t *ret) {
    uint32_t least = UINT32_MAX;

    if (c->all) {
        if (c->next == c->n_rules)
            return false;
        *ret = c->next++;
        return true;
    }
    for (size_t i = 0; i < c->n; i++)
        least = MIN(least, *c->lists[i].next);
    if (least == UINT32_MAX)
        return false;
    /* A rule stands under several features, and a question may have several of them. */
    for (size_t i = 0; i < c->n; i++) {
        if (*c->lists[i].next == least && ++c->lists[i].next == c->lists[i].end)
            c->lists[i--] = c->lists[--c->n];
    }
    *ret = least;
    return true;
}
