/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/device-caps.h"

#include <stdio.h>

#include "base/str.h"

static const char *const device_cap_table[_DEVICE_CAP_MAX] = {
        [DEVICE_CAP_COHERENCY] = "coherency",
        [DEVICE_CAP_ENFORCED_COHERENCY] = "enforced-coherency",
        [DEVICE_CAP_INTERRUPT_REMAPPING] = "interrupt-remapping",
        [DEVICE_CAP_PASID] = "pasid",
        [DEVICE_CAP_DIRTY_TRACKING] = "dirty-tracking",
        [DEVICE_CAP_DMA_LOGGING] = "dma-logging",
        [DEVICE_CAP_MIGRATION] = "migration",
        [DEVICE_CAP_DMA_BUF] = "dma-buf",
        [DEVICE_CAP_PAGE_SIZES] = "page-sizes",
        [DEVICE_CAP_IOVA_RANGES] = "iova-ranges",
};
DEFINE_STRING_TABLE(device_cap, DeviceCap);

static const char *const migration_mode_table[_MIGRATION_MODE_MAX] = {
        [MIGRATION_STOP_COPY] = "stop-copy",
        [MIGRATION_P2P] = "p2p",
        [MIGRATION_PRE_COPY] = "pre-copy",
};
DEFINE_STRING_TABLE(migration_mode, MigrationMode);

static const char *const iommu_type_table[_IOMMU_TYPE_MAX] = {
        [IOMMU_TYPE_UNKNOWN] = "unknown",
        [IOMMU_TYPE_INTEL] = "intel-vtd",
        [IOMMU_TYPE_ARM_SMMUV3] = "arm-smmuv3",
        [IOMMU_TYPE_AMD] = "amd",
};
DEFINE_STRING_TABLE(iommu_type, IommuType);

/* ---- Known capabilities ---- */

void device_caps_set(DeviceCaps *c, DeviceCap cap, bool present) {
    c->known |= 1U << cap;
    c->present &= ~(1U << cap);
    c->present |= (uint32_t) present << cap;
}

static void keep_common_ranges(DeviceCaps *c, const DeviceCaps *other) {
    const DeviceCaps own = *c;

    c->n_iova = 0;
    c->iova_cut = own.iova_cut || other->iova_cut;
    for (size_t i = 0; i < own.n_iova; i++)
        for (size_t k = 0; k < other->n_iova; k++) {
            IovaRange common = {.start = MAX(own.iova[i].start, other->iova[k].start),
                    .end = MIN(own.iova[i].end, other->iova[k].end)};

            if (common.start > common.end)
                continue;
            if (c->n_iova < IOVA_RANGES_MAX)
                c->iova[c->n_iova++] = common;
            else
                c->iova_cut = true;
        }
}

void device_caps_keep_common(DeviceCaps *c, const DeviceCaps *other) {
    c->known &= other->known;
    c->present &= other->present & c->known;
    if (c->iommu != other->iommu)
        c->iommu = IOMMU_TYPE_UNKNOWN;
    c->pasid_bits = MIN(c->pasid_bits, other->pasid_bits);
    c->migration &= other->migration;
    c->page_sizes &= other->page_sizes;
    keep_common_ranges(c, other);
    if (!streq(c->driver, other->driver))
        c->driver[0] = '\0';
}

#define VTD_CAP_PAGES_2M (UINT64_C(1) << 34)
#define VTD_CAP_PAGES_1G (UINT64_C(1) << 35)

void device_caps_take_vtd(DeviceCaps *c, uint64_t cap) {
    c->iommu = IOMMU_TYPE_INTEL;
    c->page_sizes = UINT64_C(4096);
    if (cap & VTD_CAP_PAGES_2M)
        c->page_sizes |= UINT64_C(1) << 21;
    if (cap & VTD_CAP_PAGES_1G)
        c->page_sizes |= UINT64_C(1) << 30;
    c->known |= 1U << DEVICE_CAP_PAGE_SIZES;
}

static void add_word(char *buf, size_t size, const char *word) {
    size_t n = strlen(buf);

    (void) snprintf(buf + n, size - n, "%s%s", n > 0 ? " " : "", word);
}

static void add_modes(char *buf, size_t size, unsigned modes) {
    for (MigrationMode m = 0; m < _MIGRATION_MODE_MAX; m++)
        if (modes & (1U << m))
            add_word(buf, size, migration_mode_to_string(m));
}

static void add_sizes(char *buf, size_t size, uint64_t sizes) {
    char one[FORMAT_SIZE_MAX];

    for (unsigned i = 0; i < 63; i++)
        if (sizes & (UINT64_C(1) << i))
            add_word(buf, size, format_size(UINT64_C(1) << i, one));
}

static void add_ranges(char *buf, size_t size, const DeviceCaps *c) {
    char one[48];

    for (size_t i = 0; i < c->n_iova; i++) {
        (void) snprintf(one, sizeof(one), "0x%llx-0x%llx", (unsigned long long) c->iova[i].start,
                (unsigned long long) c->iova[i].end);
        add_word(buf, size, one);
    }
    if (c->iova_cut)
        add_word(buf, size, "…");
}

const char *device_caps_describe(const DeviceCaps *c, DeviceCap cap, char buf[static DEVICE_CAPS_TEXT_MAX]) {
    if (!device_caps_know(c, cap))
        return "unknown";
    buf[0] = '\0';
    if (cap == DEVICE_CAP_PASID) {
        if (c->pasid_bits > 0)
            (void) snprintf(buf, DEVICE_CAPS_TEXT_MAX, "%u bits", c->pasid_bits);
    } else if (cap == DEVICE_CAP_MIGRATION)
        add_modes(buf, DEVICE_CAPS_TEXT_MAX, c->migration);
    else if (cap == DEVICE_CAP_PAGE_SIZES)
        add_sizes(buf, DEVICE_CAPS_TEXT_MAX, c->page_sizes);
    else if (cap == DEVICE_CAP_IOVA_RANGES)
        add_ranges(buf, DEVICE_CAPS_TEXT_MAX, c);
    else if (c->present & (1U << cap))
        return "yes";
    return buf[0] ? buf : "no";
}

/* ---- Required capabilities ---- */

typedef struct Part {
    const char *word, *value; /* value: NULL without "=" */
    size_t word_size, value_size;
} Part;

static bool is(const char *text, size_t size, const char *word) {
    return size == strlen(word) && strncmp(text, word, size) == 0;
}

static int take_pasid(DeviceNeeds *n, const char *value) {
    uint64_t bits;

    if (!value)
        return 0;
    if (parse_unsigned(value, 10, 20, &bits) < 0 || bits == 0) /* PCI Express: 20 bits at most */
        return -EINVAL;
    n->pasid_bits = MAX(n->pasid_bits, (unsigned) bits);
    return 0;
}

/* Kernels since 5.18 have version 2 only. */
static int take_migration(DeviceNeeds *n, const char *value) {
    MigrationMode mode;

    if (!value || streq(value, "v2"))
        return 0;
    mode = migration_mode_from_string(value);
    if ((int) mode < 0)
        return -EINVAL;
    n->migration |= 1U << mode;
    return 0;
}

static int take_page_size(DeviceNeeds *n, const char *value) {
    uint64_t size;

    if (!value || parse_size(value, &size) < 0 || size == 0 || (size & (size - 1)) != 0)
        return -EINVAL;
    if (n->page_size != 0 && n->page_size != size)
        return -EINVAL;
    n->page_size = size;
    return 0;
}

static DeviceCap find_cap(const Part *p) {
    if (is(p->word, p->word_size, "page-size"))
        return DEVICE_CAP_PAGE_SIZES;
    for (DeviceCap c = 0; c < DEVICE_CAP_PAGE_SIZES; c++)
        if (is(p->word, p->word_size, device_cap_table[c]))
            return c;
    return _DEVICE_CAP_INVALID;
}

static int take_part(DeviceNeeds *n, const Part *p) {
    char value[24] = "";
    DeviceCap cap = find_cap(p);
    int r;

    if ((int) cap < 0 || p->value_size >= sizeof(value))
        return -EINVAL;
    if (p->value)
        memcpy(value, p->value, p->value_size);
    if (cap == DEVICE_CAP_PASID)
        r = take_pasid(n, p->value ? value : NULL);
    else if (cap == DEVICE_CAP_MIGRATION)
        r = take_migration(n, p->value ? value : NULL);
    else if (cap == DEVICE_CAP_PAGE_SIZES)
        r = take_page_size(n, p->value ? value : NULL);
    else
        r = p->value ? -EINVAL : 0;
    if (r >= 0)
        n->caps |= 1U << cap;
    return r;
}

int device_needs_parse(const char *text, DeviceNeeds *ret, const char **ret_bad, size_t *ret_size) {
    DeviceNeeds needs = {};

    for (const char *at = text;;) {
        size_t size = strcspn(at, ",");
        Part p = {.word = at, .word_size = MIN(strcspn(at, "="), size)};

        if (p.word_size < size) {
            p.value = at + p.word_size + 1;
            p.value_size = size - p.word_size - 1;
        }
        if (take_part(&needs, &p) < 0) {
            *ret_bad = at;
            *ret_size = size;
            return -EINVAL;
        }
        if (at[size] == '\0')
            break;
        at += size + 1;
    }
    *ret = needs;
    return 0;
}

static void add_part(char *buf, const char *format, const char *value) {
    size_t n = strlen(buf);

    if (n > 0)
        (void) snprintf(buf + n, DEVICE_NEEDS_TEXT_MAX - n, ",");
    n = strlen(buf);
    (void) snprintf(buf + n, DEVICE_NEEDS_TEXT_MAX - n, "%s%s%s", format, value ? "=" : "", value ?: "");
}

static void add_need(const DeviceNeeds *n, DeviceCap cap, char buf[static DEVICE_NEEDS_TEXT_MAX]) {
    char value[FORMAT_SIZE_MAX];

    if (cap == DEVICE_CAP_PAGE_SIZES)
        add_part(buf, "page-size", format_size(n->page_size, value));
    else if (cap == DEVICE_CAP_PASID && n->pasid_bits > 0) {
        (void) snprintf(value, sizeof(value), "%u", n->pasid_bits);
        add_part(buf, "pasid", value);
    } else if (cap == DEVICE_CAP_MIGRATION && n->migration != 0) {
        for (MigrationMode m = 0; m < _MIGRATION_MODE_MAX; m++)
            if (n->migration & (1U << m))
                add_part(buf, "migration", migration_mode_to_string(m));
    } else
        add_part(buf, device_cap_table[cap], NULL);
}

const char *device_needs_describe(
        const DeviceNeeds *n, DeviceCap cap, char buf[static DEVICE_NEEDS_TEXT_MAX]) {
    buf[0] = '\0';
    add_need(n, cap, buf);
    return buf;
}

const char *device_needs_format(const DeviceNeeds *n, char buf[static DEVICE_NEEDS_TEXT_MAX]) {
    buf[0] = '\0';
    for (DeviceCap c = 0; c < _DEVICE_CAP_MAX; c++)
        if (n->caps & (1U << c))
            add_need(n, c, buf);
    return buf;
}

/* For a capability that is known. */
static bool is_met(const DeviceNeeds *n, const DeviceCaps *c, DeviceCap cap) {
    switch (cap) {
    case DEVICE_CAP_PASID:
        return c->pasid_bits >= MAX(n->pasid_bits, 1U);
    case DEVICE_CAP_MIGRATION:
        return c->migration != 0 && (c->migration & n->migration) == n->migration;
    case DEVICE_CAP_PAGE_SIZES:
        return c->page_sizes & n->page_size;
    default:
        return c->present & (1U << cap);
    }
}

NeedsAnswer device_needs_check(const DeviceNeeds *n, const DeviceCaps *caps, DeviceCap *ret) {
    NeedsAnswer answer = NEEDS_MET;

    for (DeviceCap c = 0; c < _DEVICE_CAP_MAX; c++) {
        if (!(n->caps & (1U << c)))
            continue;
        if (device_caps_know(caps, c) && !is_met(n, caps, c)) {
            *ret = c;
            return NEEDS_NOT_MET;
        }
        if (device_caps_know(caps, c) || answer == NEEDS_UNKNOWN)
            continue;
        answer = NEEDS_UNKNOWN;
        *ret = c;
    }
    return answer;
}

bool device_needs_cover(const DeviceNeeds *a, const DeviceNeeds *b) {
    return (a->caps & ~b->caps) == 0 && a->pasid_bits <= b->pasid_bits &&
            (a->migration & ~b->migration) == 0 && (a->page_size == 0 || a->page_size == b->page_size);
}
