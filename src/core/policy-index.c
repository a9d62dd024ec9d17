/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/policy-index.h"

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
 * few. */

#define SHORT_POLICY 8U /* rules; looking at each is as fast */
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

static const uint32_t class_masks[] = {0xff0000, 0xffff00, 0xffffff};

/* --- the table --- */

static Slot *find_slot(const PolicyIndex *index, uint64_t f) {
    size_t i = f & index->slot_mask;

    while (index->slots[i].begin != index->slots[i].end && index->slots[i].feature != f)
        i = (i + 1) & index->slot_mask;
    return index->slots + i;
}

/* How many rules stand under it. */
static size_t count_entries(const PolicyIndex *index, uint64_t f) {
    const Slot *slot = find_slot(index, f);

    return slot->end - slot->begin;
}

/* --- features --- */

/* The finalizer of splitmix64: every bit of the input reaches every bit of the output. */
static uint64_t mix(uint64_t v) {
    v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    v = (v ^ v >> 27) * UINT64_C(0x94d049bb133111eb);
    return v ^ v >> 31;
}

static uint64_t feature(FeatureKind kind, uint64_t a, uint64_t b) {
    return mix(mix(a + kind * UINT64_C(0x9e3779b97f4a7c15)) ^ b);
}

static uint64_t hash(const char *s, size_t n) {
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char) s[i]) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t feature_of_string(FeatureKind kind, const char *s) {
    return feature(kind, hash(s, strlen(s)), 0);
}

/* Of the value of a property, or with key 0 of a text that is alone of its kind. */
static uint64_t feature_of_text(FeatureKind kind, uint64_t key, const char *s) {
    return feature(kind, key ^ hash(s, strlen(s)), 1);
}

static uint32_t letters_of(const char *s) {
    uint32_t letters;

    static_assert(sizeof(letters) == WINDOW, "letters in a row");
    memcpy(&letters, s, WINDOW);
    return letters;
}

static uint64_t feature_of_window(FeatureKind kind, uint64_t key, const char *s) {
    return feature(kind, key + letters_of(s), 2);
}

/* Most windows of a question are under no rule: one bit tells. */
static uint32_t window_bit(const char *s) {
    return letters_of(s) * UINT32_C(0x9e3779b1) >> 18;
}
static_assert(WINDOW_BITS == 1U << (32 - 18), "what window_bit() yields");

static uint64_t key_length_bit(size_t n) {
    return UINT64_C(1) << MIN(n, (size_t) 63);
}

static uint64_t feature_of_key(uint64_t key) {
    return feature(FEATURE_PROPERTY, key, 3);
}

static uint64_t pack_bus(const DeviceName *name) {
    return (uint64_t) name->domain << 8 | name->pci_bus;
}

static uint64_t feature_of_name(const DeviceName *name) {
    return feature(FEATURE_DEVICE, pack_bus(name), 1U | (uint64_t) name->slot << 8 | name->function << 1);
}

static uint64_t feature_of_bus(uint64_t domain, uint64_t bus) {
    return feature(FEATURE_DEVICE, domain << 8 | bus, 0);
}

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

/* NULL: it has none of this kind. */
static const StringList *globs_of(const Rule *r, FeatureKind kind) {
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

static void add_device(FeatureList *l, const DevicePattern *d) {
    uint64_t domain, bus;

    if (d->exact)
        add(l, feature_of_name(&d->name));
    else if (take_bus(d->glob, &domain, &bus))
        add(l, feature_of_bus(domain, bus));
    else
        l->whole = false;
}

static bool knows_id_mask(const PolicyIndex *index, uint64_t mask) {
    for (size_t i = 0; i < index->n_id_masks; i++)
        if (index->id_masks[i] == mask)
            return true;
    return false;
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
static void add_tag(FeatureList *l, const PolicyIndex *index, const Tag *tag) {
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

static bool knows_property_key(const PolicyIndex *index, uint64_t key) {
    for (size_t i = 0; i < index->n_property_keys; i++)
        if (index->property_keys[i] == key)
            return true;
    return false;
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

/* How many rules would be looked at because of these. */
static size_t count_rules(const PolicyIndex *index, const FeatureList *l) {
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
        n = count_rules(index, &one);
        if (n < least) {
            least = n;
            *l = one;
        }
    }
}

/* What a question must have for this predicate of the rule not to be a sure no. False: that cannot be told by
 * features. */
static bool rule_features(const PolicyIndex *index, const Rule *r, FeatureKind kind, FeatureList *ret) {
    *ret = (FeatureList){.whole = true};
    for (size_t i = 0; kind == FEATURE_USER && i < r->n_uids && ret->whole; i++)
        add(ret, feature(kind, r->uids[i], 0));
    for (size_t i = 0; kind == FEATURE_GROUP && i < r->n_gids && ret->whole; i++)
        add(ret, feature(kind, r->gids[i], 0));
    for (size_t i = 0; kind == FEATURE_DEVICE && i < r->n_devices && ret->whole; i++)
        add_device(ret, r->devices + i);
    for (size_t i = 0; kind == FEATURE_ID && i < r->n_ids && ret->whole; i++)
        add_id(ret, index, r->ids + i);
    for (size_t i = 0; kind == FEATURE_CLASS && i < r->n_classes && ret->whole; i++)
        add_class(ret, r->classes + i);
    for (size_t i = 0; kind == FEATURE_TAG && i < r->n_tags && ret->whole; i++)
        add_tag(ret, index, r->tags[i].tag);
    for (size_t i = 0; kind == FEATURE_FINGERPRINT && i < r->n_groups && ret->whole; i++)
        add(ret, feature(kind, r->groups[i], 0));
    for (size_t i = 0; kind == FEATURE_NUMA && i < r->n_numa_nodes && ret->whole; i++)
        add(ret, feature(kind, r->numa_nodes[i], 0));
    for (size_t i = 0; kind == FEATURE_DRIVER && i < r->drivers.n && ret->whole; i++)
        add(ret, feature_of_string(kind, r->drivers.items[i]));
    if (globs_of(r, kind))
        add_globs(ret, index, kind, globs_of(r, kind));
    if (kind == FEATURE_PROPERTY)
        add_properties(ret, index, r);
    return ret->whole && ret->n > 0;
}

/* --- building --- */

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
        n = count_rules(index, &l);
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

/* First with all features of every rule, to see how many rules share each; then with the chosen ones. */
static bool index_build(PolicyIndex *index, const Rule *rules) {
    _cleanup_(entry_list_done) EntryList every = {}, chosen = {};
    _cleanup_free_ uint32_t *others = calloc(index->n_rules, sizeof(*others));
    size_t n_others = 0;
    FeatureList l;

    if (!others)
        return false;
    for (uint32_t i = 0; i < index->n_rules; i++)
        note_masks_and_keys(index, rules + i);
    for (uint32_t i = 0; i < index->n_rules; i++)
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

/* --- asking --- */

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

/* Of every component, whether it is a slice or not. */
static void add_candidates_of_slices(Candidates *c, const PolicyIndex *index, const char *cgroup) {
    char name[256]; /* NAME_MAX of a directory and NUL */

    for (const char *p = cgroup; *(p += strspn(p, "/")); p += strcspn(p, "/")) {
        size_t n = strcspn(p, "/");

        if (n >= sizeof(name))
            continue;
        memcpy(name, p, n);
        name[n] = '\0';
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
        if (globs_of(r, kind) && globs_of(r, kind)->n > 0)
            add_candidates_of_text(c, index, kind, 0, globs_of(r, kind)->items[0]);
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
        add_device(&l, r->devices);
    if (r->n_tags > 0)
        add_tag(&l, index, r->tags[0].tag);
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
