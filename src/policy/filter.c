/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/filter.h"

/* Bits that several values have in common: begin with common_none(), then add each value. */
typedef struct Common {
    uint64_t value, mask;
    bool any;
} Common;

static void common_add(Common *c, uint64_t value, uint64_t mask) {
    if (!c->any)
        *c = (Common){.value = value, .mask = mask, .any = true};
    c->mask &= mask & ~(c->value ^ value);
    c->value &= c->mask;
}

#define KIND_SHIFT 48U

/* The kind and the fields of a PCI address; of other kinds, a hash of the name. */
static uint64_t pack_name(const DeviceName *name) {
    return (uint64_t) name->kind << KIND_SHIFT | (device_name_hash(name) & ((UINT64_C(1) << KIND_SHIFT) - 1));
}

/* Reads the hex number before the separator. Returns the position after it, NULL when the text ends first. */
static const char *take_field(const char *s, const char *end, char separator, uint64_t *ret) {
    char digits[9] = {};
    const char *stop = memchr(s, separator, (size_t) (end - s));

    if (!stop || (size_t) (stop - s) >= sizeof(digits))
        return NULL;
    memcpy(digits, s, (size_t) (stop - s));
    return parse_unsigned(digits, 16, UINT32_MAX, ret) < 0 ? NULL : stop + 1;
}

/* The kind, and for PCI the address fields that are complete before the first wildcard: domain and bus of
 * "0000:06:*". */
static void add_glob(Common *c, DeviceKind kind, const char *glob) {
    const char *end = glob + strcspn(glob, "*?["), *s;
    uint64_t v, value = (uint64_t) kind << KIND_SHIFT, mask = UINT64_MAX << KIND_SHIFT;

    s = kind == DEVICE_KIND_PCI ? take_field(glob, end, ':', &v) : NULL;
    if (s) {
        value |= v << 16;
        mask |= (uint64_t) UINT32_MAX << 16;
        s = take_field(s, end, ':', &v);
    }
    if (s && v <= UINT8_MAX) {
        value |= v << 8;
        mask |= UINT64_C(0xff) << 8;
        s = take_field(s, end, '.', &v);
        if (s && v <= 0x1f) {
            value |= v << 3;
            mask |= UINT64_C(0x1f) << 3;
        }
    }
    common_add(c, value, mask);
}

/* Fibonacci hashing spreads neighbouring values. */
static uint64_t bit_of(uint64_t v) {
    return UINT64_C(1) << (v * UINT64_C(0x9e3779b97f4a7c15) >> 58);
}

/* The bit of a key of n bytes. Property keys differ in their length, and then mostly at their end. */
static uint64_t bit_of_key(const char *key, size_t n) {
    uint64_t end = 0;

    memcpy(&end, key + n - MIN(n, sizeof(end)), MIN(n, sizeof(end)));
    return bit_of(end + n);
}

static uint64_t bits_of_properties(char *const *properties) {
    uint64_t bits = 0;

    for (; properties && *properties; properties++)
        bits |= bit_of_key(*properties, strcspn(*properties, "="));
    return bits;
}

void rule_filter_init(RuleFilter *f, const Rule *r) {
    Common ids = {}, devices = {}, classes = {};
    bool all_users, all_groups;

    for (size_t i = 0; i < r->n_ids; i++)
        common_add(&ids, r->ids[i].value, r->ids[i].mask);
    for (size_t i = 0; i < r->n_classes; i++)
        common_add(&classes, r->classes[i].value, r->classes[i].mask);
    for (size_t i = 0; i < r->n_devices; i++) {
        if (r->devices[i].exact)
            common_add(&devices, pack_name(&r->devices[i].name), UINT64_MAX);
        else
            add_glob(&devices, r->devices[i].kind, r->devices[i].glob);
    }
    all_users = r->n_uids == 0 || rule_names_unknown(r, /* is_group= */ false);
    all_groups = r->n_gids == 0 || rule_names_unknown(r, /* is_group= */ true);
    *f = (RuleFilter){
            .id = ids.value,
            .id_mask = ids.mask,
            .device = devices.value,
            .device_mask = devices.mask,
            .gids = all_groups ? UINT64_MAX : 0,
            .uid_min = all_users ? 0 : r->uids[0],
            .uid_max = all_users ? UINT32_MAX : r->uids[r->n_uids - 1],
            .class = (uint32_t) classes.value,
            .class_mask = (uint32_t) classes.mask,
    };
    for (size_t i = 0; i < r->n_gids; i++)
        f->gids |= bit_of(r->gids[i]);
    for (size_t i = 0; i < r->n_properties; i++)
        f->properties |= bit_of_key(r->properties[i].key, strlen(r->properties[i].key));
}

void question_filter_init(QuestionFilter *f, const Question *q, uint32_t predicates) {
    const Subject *s = q->subject;
    bool known = s->uid != (uid_t) -1;

    *f = (QuestionFilter){
            .id = q->id,
            .device = pack_name(&q->device->name),
            /* an empty list could not be read */
            .gids = s->n_gids > 0 ? 0 : UINT64_MAX,
            .properties = UINT64_MAX,
            .uid_low = known ? s->uid : 0,
            .uid_high = known ? s->uid : UINT32_MAX,
            .class = q->device->class_code,
    };
    for (size_t i = 0; i < s->n_gids; i++)
        f->gids |= bit_of(s->gids[i]);
    if (predicates & 1U << PREDICATE_WHAT_PROPERTY && q->facts &&
            (q->facts->known & DEVICE_FACT_PROPERTIES) != 0)
        f->properties = bits_of_properties(q->facts->properties);
}
