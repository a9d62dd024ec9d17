/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/feature.h"

static void add(FeatureList *l, uint64_t f) {
    if (l->n == RULE_FEATURES_MAX) {
        l->whole = false;
        return;
    }
    l->windows[l->n] = NO_WINDOW;
    l->items[l->n++] = f;
}

/* Those of a glob, of which the rarest is taken; all of them while they are counted. What is behind a bracket
 * is left alone. */
static void add_glob(
        FeatureList *l, const PolicyIndex *index, FeatureKind kind, uint64_t key, const char *glob) {
    const char *best = NULL;
    size_t least = SIZE_MAX;

    if (!strpbrk(glob, "*?[")) {
        add(l, feature_of_text(kind, key, glob));
        return;
    }
    for (const char *p = glob; *p && *p != '['; p += *p == '*' || *p == '?') {
        for (size_t n = strcspn(p, "*?["); n >= WINDOW; n--, p++) {
            uint64_t f = feature_of_window(kind, key, p);
            size_t count = index->slots ? count_entries(index, f) : 0;

            if (!index->slots && l->n < RULE_FEATURES_MAX)
                add(l, f);
            if (count < least) {
                least = count;
                best = p;
            }
        }
        p += strcspn(p, "*?[");
    }
    if (!best)
        l->whole = false;
    else if (index->slots) {
        add(l, feature_of_window(kind, key, best));
        if (l->whole)
            l->windows[l->n - 1] = window_bit(best);
    }
}

const StringList *feature_globs(const Rule *r, FeatureKind kind) {
    switch (kind) {
    case FEATURE_UNIT:
        return &r->units;
    case FEATURE_SLICE:
        return &r->slices;
    case FEATURE_CGROUP:
        return &r->cgroups;
    case FEATURE_LABEL:
        return &r->labels;
    default:
        return NULL;
    }
}

static void add_globs(FeatureList *l, const PolicyIndex *index, FeatureKind kind, const StringList *globs) {
    for (size_t i = 0; i < globs->n && l->whole; i++)
        add_glob(l, index, kind, 0, globs->items[i]);
}

/* "0000:06:…" with nothing in it that stands for several things. */
static bool take_bus(const char *glob, uint64_t *ret_domain, uint64_t *ret_bus) {
    size_t n = strspn(glob, "0123456789abcdef");
    char digits[9] = {};

    if (n < 4 || n >= sizeof(digits) || glob[n] != ':')
        return false;
    memcpy(digits, glob, n);
    if (parse_unsigned(digits, 16, UINT32_MAX, ret_domain) < 0)
        return false;
    glob += n + 1;
    if (strspn(glob, "0123456789abcdef") != 2 || glob[2] != ':')
        return false;
    return parse_unsigned((const char[]){glob[0], glob[1], '\0'}, 16, UINT8_MAX, ret_bus) >= 0;
}

void feature_list_add_device(FeatureList *l, const DevicePattern *d) {
    uint64_t domain, bus;

    if (d->exact)
        add(l, feature_of_name(&d->name));
    else if (take_bus(d->glob, &domain, &bus))
        add(l, feature_of_bus(domain, bus));
    else
        l->whole = false;
}

static void add_id(FeatureList *l, const PolicyIndex *index, const IdPattern *id) {
    if (knows_id_mask(index, id->mask))
        add(l, feature(FEATURE_ID, id->mask, id->value));
    else
        l->whole = false;
}

static void add_class(FeatureList *l, const ClassPattern *c) {
    add(l, feature(FEATURE_CLASS, c->mask, c->value));
}

/* An entry speaks of a device at its place, whatever card that is; and elsewhere only of one that may have
 * its serial number, so it has its id. A place that is only a path may not be known. */
void feature_list_add_tag(FeatureList *l, const PolicyIndex *index, const Tag *tag) {
    for (size_t i = 0; i < tag->n_entries; i++) {
        const TagEntry *e = tag->entries + i;

        if (!e->has_slot) {
            l->whole = false;
            return;
        }
        add(l, feature_of_name(&e->slot));
        if (e->serial)
            add_id(l, index, &e->id);
    }
}

/* By its value where that says something, else by its being there. */
static void add_property(FeatureList *l, const PolicyIndex *index, const PropertyPattern *p) {
    uint64_t key = hash(p->key, strlen(p->key));

    if (knows_property_key(index, key)) {
        for (size_t i = 0; i < p->globs.n && l->whole; i++)
            add_glob(l, index, FEATURE_PROPERTY, key, p->globs.items[i]);
        if (l->whole && l->n > 0)
            return;
    }
    *l = (FeatureList){.whole = true};
    add(l, feature_of_key(key));
}

size_t feature_list_count_rules(const PolicyIndex *index, const FeatureList *l) {
    size_t n = 0;

    for (size_t i = 0; i < l->n; i++)
        n += count_entries(index, l->items[i]);
    return n;
}

/* A rule asks for all of its properties, so one of them is enough: the rarest. */
static void add_properties(FeatureList *l, const PolicyIndex *index, const Rule *r) {
    size_t least = SIZE_MAX;

    for (size_t i = 0; i < r->n_properties; i++) {
        FeatureList one = {.whole = true};
        size_t n;

        add_property(&one, index, r->properties + i);
        if (!index->slots) {
            for (size_t k = 0; k < one.n && l->n < RULE_FEATURES_MAX; k++)
                add(l, one.items[k]);
            continue;
        }
        n = feature_list_count_rules(index, &one);
        if (n < least) {
            least = n;
            *l = one;
        }
    }
}

bool rule_features(const PolicyIndex *index, const Rule *r, FeatureKind kind, FeatureList *ret) {
    *ret = (FeatureList){.whole = true};
    for (size_t i = 0; kind == FEATURE_USER && i < r->n_uids && ret->whole; i++)
        add(ret, feature(kind, r->uids[i], 0));
    for (size_t i = 0; kind == FEATURE_GROUP && i < r->n_gids && ret->whole; i++)
        add(ret, feature(kind, r->gids[i], 0));
    for (size_t i = 0; kind == FEATURE_DEVICE && i < r->n_devices && ret->whole; i++)
        feature_list_add_device(ret, r->devices + i);
    for (size_t i = 0; kind == FEATURE_ID && i < r->n_ids && ret->whole; i++)
        add_id(ret, index, r->ids + i);
    for (size_t i = 0; kind == FEATURE_CLASS && i < r->n_classes && ret->whole; i++)
        add_class(ret, r->classes + i);
    for (size_t i = 0; kind == FEATURE_TAG && i < r->n_tags && ret->whole; i++)
        feature_list_add_tag(ret, index, r->tags[i].tag);
    for (size_t i = 0; kind == FEATURE_FINGERPRINT && i < r->n_groups && ret->whole; i++)
        add(ret, feature(kind, r->groups[i], 0));
    for (size_t i = 0; kind == FEATURE_NUMA && i < r->n_numa_nodes && ret->whole; i++)
        add(ret, feature(kind, r->numa_nodes[i], 0));
    for (size_t i = 0; kind == FEATURE_DRIVER && i < r->drivers.n && ret->whole; i++)
        add(ret, feature_of_string(kind, r->drivers.items[i]));
    if (feature_globs(r, kind))
        add_globs(ret, index, kind, feature_globs(r, kind));
    if (kind == FEATURE_PROPERTY)
        add_properties(ret, index, r);
    return ret->whole && ret->n > 0;
}
