/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A feature is something that a question has or has not, known for sure: the uid 1000, the driver e1000e, the
 * address 0000:06:0d.0. A rule that asks for "one of these users" matches only questions that have one of
 * these features, so it is enough to look at it then. Each rule is put under the features of ONE of its
 * predicates: that whose features the fewest rules share. Rules without such a predicate are candidates
 * always.
 *
 * Of a glob no more is sure than the letters in it: what matches "vm-17*.service" has "m-17" somewhere. So
 * four letters in a row are a feature, too, and a glob is put under those of its own that are the rarest.
 *
 * A feature is known by 64 bits of hash. When two of them meet, there is a candidate too many, never one too
 * few.
 *
 * Inside of the index, between policy-feature.c, which knows the features of rules, policy-index.c, which
 * puts the rules under them, and policy-candidates.c, which looks them up. */

#include "policy/index.h"

#define RULE_FEATURES_MAX 32U
#define ID_MASKS_MAX 8U
#define PROPERTY_KEYS_MAX 16U
#define WINDOW 4U /* letters in a row */
#define WINDOW_BITS 16384U
#define NO_WINDOW UINT32_MAX

typedef enum FeatureKind {
    FEATURE_USER,
    FEATURE_GROUP,
    FEATURE_UNIT,
    FEATURE_SLICE,
    FEATURE_CGROUP,
    FEATURE_LABEL,
    FEATURE_DRIVER,
    FEATURE_DEVICE, /* the address, or domain and bus of it */
    FEATURE_ID,
    FEATURE_CLASS,
    FEATURE_FINGERPRINT,
    FEATURE_NUMA,
    FEATURE_PROPERTY, /* its key, or its key and letters of its value */
    FEATURE_TAG,      /* addresses and ids of its entries */
    _FEATURE_MAX,
} FeatureKind;

typedef struct FeatureList {
    uint64_t items[RULE_FEATURES_MAX];
    uint32_t windows[RULE_FEATURES_MAX]; /* of those that are letters of a glob: window_bit(); else NO_WINDOW
                                          */
    size_t n;
    bool whole; /* nothing was left out */
} FeatureList;

typedef struct Slot {
    uint64_t feature;
    uint32_t begin, end; /* in PolicyIndex.entries; equal: the slot is free */
} Slot;

struct PolicyIndex {
    uint32_t n_rules;
    bool none;      /* too short */
    unsigned kinds; /* mask of 1 << FeatureKind that are used */
    uint64_t id_masks[ID_MASKS_MAX];
    size_t n_id_masks;
    uint64_t property_keys[PROPERTY_KEYS_MAX]; /* hashes of those whose values have features */
    size_t n_property_keys;
    uint64_t key_lengths; /* of all properties that rules ask for: 1 << length, the longest together */
    uint64_t windows[WINDOW_BITS /
            64];       /* a bit for each window that a rule stands under, and others by chance */
    uint32_t *entries; /* owned; numbers of rules: the lists of all features, and then the others */
    uint32_t others, n_entries;
    Slot *slots; /* owned */
    size_t slot_mask;
};

/* --- the table --- */

static inline Slot *find_slot(const PolicyIndex *index, uint64_t f) {
    size_t i = f & index->slot_mask;

    while (index->slots[i].begin != index->slots[i].end && index->slots[i].feature != f)
        i = (i + 1) & index->slot_mask;
    return index->slots + i;
}

/* How many rules stand under it. */
static inline size_t count_entries(const PolicyIndex *index, uint64_t f) {
    const Slot *slot = find_slot(index, f);

    return slot->end - slot->begin;
}

static inline bool knows_id_mask(const PolicyIndex *index, uint64_t mask) {
    for (size_t i = 0; i < index->n_id_masks; i++)
        if (index->id_masks[i] == mask)
            return true;
    return false;
}

static inline bool knows_property_key(const PolicyIndex *index, uint64_t key) {
    for (size_t i = 0; i < index->n_property_keys; i++)
        if (index->property_keys[i] == key)
            return true;
    return false;
}

/* --- the hashes of features --- */

/* The finalizer of splitmix64: every bit of the input reaches every bit of the output. */
static inline uint64_t mix(uint64_t v) {
    v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    v = (v ^ v >> 27) * UINT64_C(0x94d049bb133111eb);
    return v ^ v >> 31;
}

static inline uint64_t feature(FeatureKind kind, uint64_t a, uint64_t b) {
    return mix(mix(a + kind * UINT64_C(0x9e3779b97f4a7c15)) ^ b);
}

static inline uint64_t hash(const char *s, size_t n) {
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char) s[i]) * UINT64_C(0x100000001b3);
    return h;
}

static inline uint64_t feature_of_string(FeatureKind kind, const char *s) {
    return feature(kind, hash(s, strlen(s)), 0);
}

/* Of the value of a property, or with key 0 of a text that is alone of its kind. */
static inline uint64_t feature_of_text(FeatureKind kind, uint64_t key, const char *s) {
    return feature(kind, key ^ hash(s, strlen(s)), 1);
}

static inline uint32_t letters_of(const char *s) {
    uint32_t letters;

    static_assert(sizeof(letters) == WINDOW, "letters in a row");
    memcpy(&letters, s, WINDOW);
    return letters;
}

static inline uint64_t feature_of_window(FeatureKind kind, uint64_t key, const char *s) {
    return feature(kind, key + letters_of(s), 2);
}

/* Most windows of a question are under no rule: one bit tells. */
static inline uint32_t window_bit(const char *s) {
    return letters_of(s) * UINT32_C(0x9e3779b1) >> 18;
}
static_assert(WINDOW_BITS == 1U << (32 - 18), "what window_bit() yields");

static inline uint64_t key_length_bit(size_t n) {
    return UINT64_C(1) << MIN(n, (size_t) 63);
}

static inline uint64_t feature_of_key(uint64_t key) {
    return feature(FEATURE_PROPERTY, key, 3);
}

static inline uint64_t pack_bus(const DeviceName *name) {
    return (uint64_t) name->domain << 8 | name->pci_bus;
}

static inline uint64_t feature_of_name(const DeviceName *name) {
    return feature(FEATURE_DEVICE, pack_bus(name), 1U | (uint64_t) name->slot << 8 | name->function << 1);
}

static inline uint64_t feature_of_bus(uint64_t domain, uint64_t bus) {
    return feature(FEATURE_DEVICE, domain << 8 | bus, 0);
}

/* --- the features of rules --- */

/* NULL: a rule has no globs of this kind. */
const StringList *feature_globs(const Rule *r, FeatureKind kind);
/* Of one pattern, one tag. */
void feature_list_add_device(FeatureList *l, const DevicePattern *d);
void feature_list_add_tag(FeatureList *l, const PolicyIndex *index, const Tag *tag);
/* What a question must have for this predicate of the rule not to be a sure no. False: that cannot be told by
 * features. While the index has no table yet, those of globs are all that could be chosen. */
bool rule_features(const PolicyIndex *index, const Rule *r, FeatureKind kind, FeatureList *ret);
/* How many rules would be looked at because of these. */
size_t feature_list_count_rules(const PolicyIndex *index, const FeatureList *l);
