/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/feature.h"

/* Building: first every rule is put under all features that it has, to see how many rules share each, and
 * then under those that were chosen. */

#define SHORT_POLICY 8U /* rules; looking at each is as fast */
/* Features, for which memory is spent while a policy is loaded. The rules behind these are not counted. */
#define COUNTED_MAX (512U * 1024)

/* The most frequent masks would be better, but nobody writes more than a few. */
static void note_id_mask(PolicyIndex *index, uint64_t mask) {
    if (index->n_id_masks < ID_MASKS_MAX && !knows_id_mask(index, mask))
        index->id_masks[index->n_id_masks++] = mask;
}

static void note_id_masks(PolicyIndex *index, const Rule *r) {
    for (size_t i = 0; i < r->n_ids; i++)
        note_id_mask(index, r->ids[i].mask);
    for (size_t i = 0; i < r->n_tags; i++)
        for (size_t k = 0; k < r->tags[i].tag->n_entries; k++)
            note_id_mask(index, r->tags[i].tag->entries[k].id.mask);
}

static void note_masks_and_keys(PolicyIndex *index, const Rule *r) {
    note_id_masks(index, r);

    for (size_t i = 0; i < r->n_properties; i++) {
        size_t n = strlen(r->properties[i].key);
        uint64_t key = hash(r->properties[i].key, n);

        index->key_lengths |= key_length_bit(n);
        if (!knows_property_key(index, key) && index->n_property_keys < PROPERTY_KEYS_MAX)
            index->property_keys[index->n_property_keys++] = key;
    }
}

typedef struct Entry {
    uint64_t feature;
    uint32_t rule;
} Entry;

typedef struct EntryList {
    Entry *items; /* owned */
    size_t n, allocated;
} EntryList;

static void entry_list_done(EntryList *l) {
    free(l->items);
}

static bool entry_list_add(EntryList *l, const FeatureList *features, uint32_t rule) {
    if (l->n + features->n > l->allocated) {
        size_t allocated = 2 * (l->allocated + RULE_FEATURES_MAX);
        Entry *grown = reallocarray(l->items, allocated, sizeof(*grown));

        if (!grown)
            return false;
        l->items = grown;
        l->allocated = allocated;
    }
    for (size_t i = 0; i < features->n; i++)
        l->items[l->n++] = (Entry){.feature = features->items[i], .rule = rule};
    return true;
}

static int compare_entries(const void *a, const void *b) {
    const Entry *x = a, *y = b;

    if (x->feature != y->feature)
        return x->feature < y->feature ? -1 : 1;
    return x->rule < y->rule ? -1 : x->rule > y->rule;
}

/* Makes the lists of entries; those without a feature come from others. */
static bool index_fill(PolicyIndex *index, EntryList *l) {
    size_t n_slots = 16;

    while (n_slots < 2 * l->n)
        n_slots *= 2;
    free(index->slots);
    free(index->entries);
    index->slot_mask = n_slots - 1;
    index->slots = calloc(n_slots, sizeof(*index->slots));
    index->entries = calloc(l->n + index->n_rules, sizeof(*index->entries));
    if (!index->slots || !index->entries)
        return false;
    if (l->n > 0)
        qsort(l->items, l->n, sizeof(*l->items), compare_entries);
    for (size_t begin = 0, end; begin < l->n; begin = end) {
        Slot *slot = find_slot(index, l->items[begin].feature);

        for (end = begin; end < l->n && l->items[end].feature == l->items[begin].feature; end++)
            index->entries[end] = l->items[end].rule;
        *slot = (Slot){.feature = l->items[begin].feature, .begin = (uint32_t) begin, .end = (uint32_t) end};
    }
    index->others = index->n_entries = (uint32_t) l->n;
    return true;
}

static bool choose_features(
        const PolicyIndex *index, const Rule *r, FeatureList *ret, FeatureKind *ret_kind) {
    size_t best = SIZE_MAX;

    for (FeatureKind kind = 0; kind < _FEATURE_MAX; kind++) {
        FeatureList l;
        size_t n;

        if (!rule_features(index, r, kind, &l))
            continue;
        n = feature_list_count_rules(index, &l);
        if (n < best) {
            best = n;
            *ret = l;
            *ret_kind = kind;
        }
    }
    return best != SIZE_MAX;
}

static void note_choice(PolicyIndex *index, FeatureKind kind, const FeatureList *l) {
    index->kinds |= 1U << kind;
    for (size_t i = 0; i < l->n; i++)
        if (l->windows[i] != NO_WINDOW)
            index->windows[l->windows[i] / 64] |= UINT64_C(1) << l->windows[i] % 64;
}

static bool index_build(PolicyIndex *index, const Rule *rules) {
    _cleanup_(entry_list_done) EntryList every = {}, chosen = {};
    _cleanup_free_ uint32_t *others = calloc(index->n_rules, sizeof(*others));
    size_t n_others = 0;
    FeatureList l;

    if (!others)
        return false;
    for (uint32_t i = 0; i < index->n_rules; i++)
        note_masks_and_keys(index, rules + i);
    for (uint32_t i = 0; i < index->n_rules && every.n < COUNTED_MAX; i++)
        for (FeatureKind kind = 0; kind < _FEATURE_MAX; kind++)
            if (rule_features(index, rules + i, kind, &l) && !entry_list_add(&every, &l, i))
                return false;
    if (!index_fill(index, &every))
        return false;
    for (uint32_t i = 0; i < index->n_rules; i++) {
        FeatureKind kind;

        if (!choose_features(index, rules + i, &l, &kind))
            others[n_others++] = i;
        else if (!entry_list_add(&chosen, &l, i))
            return false;
        else
            note_choice(index, kind, &l);
    }
    if (!index_fill(index, &chosen))
        return false;
    memcpy(index->entries + index->others, others, n_others * sizeof(*others));
    index->n_entries += (uint32_t) n_others;
    return true;
}

PolicyIndex *policy_index_free(PolicyIndex *index) {
    if (!index)
        return NULL;
    free(index->slots);
    free(index->entries);
    free(index);
    return NULL;
}

PolicyIndex *policy_index_new(const Rule *rules, size_t n_rules) {
    PolicyIndex *index = calloc(1, sizeof(*index));

    if (!index)
        return NULL;
    index->n_rules = (uint32_t) n_rules;
    index->none = n_rules <= SHORT_POLICY;
    if (!index->none && !index_build(index, rules))
        return policy_index_free(index);
    return index;
}
