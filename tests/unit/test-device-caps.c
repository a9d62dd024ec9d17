/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/caps-record.h"
#include "core/device-caps.h"

static void assert_reads(const char *text, const char *expected) {
    char buf[DEVICE_NEEDS_TEXT_MAX];
    const char *bad;
    DeviceNeeds n;
    size_t size;

    assert_int_equal(device_needs_parse(text, &n, &bad, &size), 0);
    assert_string_equal(device_needs_format(&n, buf), expected);
}

static void test_needs_are_read(void **state) {
    assert_reads("pasid", "pasid");
    assert_reads("pasid=16", "pasid=16");
    assert_reads("pasid,pasid=20,pasid=4", "pasid=20");
    assert_reads("migration=v2", "migration");
    assert_reads("migration", "migration");
    assert_reads("migration=p2p,migration=pre-copy", "migration=p2p,migration=pre-copy");
    assert_reads("page-size=2M", "page-size=2M");
    assert_reads("dma-buf,coherency,enforced-coherency,interrupt-remapping,dirty-tracking,dma-logging",
            "coherency,enforced-coherency,interrupt-remapping,dirty-tracking,dma-logging,dma-buf");
}

static void assert_bad(const char *text, const char *part) {
    DeviceNeeds n = {.caps = 77};
    const char *bad = NULL;
    size_t size = 99;

    assert_int_equal(device_needs_parse(text, &n, &bad, &size), -EINVAL);
    assert_int_equal(size, strlen(part));
    assert_memory_equal(bad, part, size);
    assert_int_equal(n.caps, 77);
}

static void test_bad_needs(void **state) {
    assert_bad("", "");
    assert_bad(",", "");
    assert_bad("pasid,", "");
    assert_bad("pasid,,dma-buf", "");
    assert_bad("pasid ,dma-buf", "pasid ");
    assert_bad("Pasid", "Pasid");
    assert_bad("pasi", "pasi");
    assert_bad("pasid=", "pasid=");
    assert_bad("pasid=0", "pasid=0");
    assert_bad("pasid=21", "pasid=21");
    assert_bad("pasid=-1", "pasid=-1");
    assert_bad("dma-buf,migration=v1", "migration=v1");
    assert_bad("migration=", "migration=");
    assert_bad("page-size", "page-size");
    assert_bad("page-size=3", "page-size=3");
    assert_bad("page-size=0", "page-size=0");
    assert_bad("page-size=4K,page-size=2M", "page-size=2M");
    assert_bad("page-sizes=4K", "page-sizes=4K");
    assert_bad("iova-ranges", "iova-ranges");
    assert_bad("dma-buf=yes", "dma-buf=yes");
    assert_bad("=", "=");
    assert_bad("pasid=11111111111111111111111111111111", "pasid=11111111111111111111111111111111");
}

static DeviceCaps accelerator(void) {
    DeviceCaps c = {
            .pasid_bits = 16,
            .migration = 1U << MIGRATION_STOP_COPY | 1U << MIGRATION_P2P,
            .page_sizes = UINT64_C(1) << 12 | UINT64_C(1) << 21,
    };

    device_caps_set(&c, DEVICE_CAP_PASID, true);
    device_caps_set(&c, DEVICE_CAP_MIGRATION, true);
    device_caps_set(&c, DEVICE_CAP_PAGE_SIZES, true);
    device_caps_set(&c, DEVICE_CAP_COHERENCY, true);
    device_caps_set(&c, DEVICE_CAP_DMA_BUF, false);
    return c;
}

static void assert_answer(const DeviceCaps *c, const char *needs, NeedsAnswer expected, DeviceCap which) {
    DeviceCap found = _DEVICE_CAP_INVALID;
    const char *bad;
    DeviceNeeds n;
    size_t size;

    assert_int_equal(device_needs_parse(needs, &n, &bad, &size), 0);
    assert_int_equal(device_needs_check(&n, c, &found), expected);
    if (expected != NEEDS_MET)
        assert_int_equal(found, which);
}

static void test_needs_are_compared(void **state) {
    const DeviceCaps c = accelerator();

    assert_answer(&c, "pasid,migration,coherency,page-size=4K,page-size=4096", NEEDS_MET, 0);
    assert_answer(&c, "pasid=16,migration=p2p,migration=stop-copy,page-size=2M", NEEDS_MET, 0);
    assert_answer(&c, "pasid=17", NEEDS_NOT_MET, DEVICE_CAP_PASID);
    assert_answer(&c, "migration=pre-copy", NEEDS_NOT_MET, DEVICE_CAP_MIGRATION);
    assert_answer(&c, "migration=p2p,migration=pre-copy", NEEDS_NOT_MET, DEVICE_CAP_MIGRATION);
    assert_answer(&c, "page-size=1G", NEEDS_NOT_MET, DEVICE_CAP_PAGE_SIZES);
    assert_answer(&c, "dma-buf", NEEDS_NOT_MET, DEVICE_CAP_DMA_BUF);
    assert_answer(&c, "dirty-tracking", NEEDS_UNKNOWN, DEVICE_CAP_DIRTY_TRACKING);
    /* A capability that is known to be missing decides, whatever else is unknown. */
    assert_answer(&c, "enforced-coherency,dirty-tracking,dma-buf", NEEDS_NOT_MET, DEVICE_CAP_DMA_BUF);
    assert_answer(NULL, "pasid", NEEDS_UNKNOWN, DEVICE_CAP_PASID);
}

static bool covers(const char *a, const char *b) {
    DeviceNeeds x, y;
    const char *bad;
    size_t size;

    assert_int_equal(device_needs_parse(a, &x, &bad, &size), 0);
    assert_int_equal(device_needs_parse(b, &y, &bad, &size), 0);
    return device_needs_cover(&x, &y);
}

static void test_needs_that_others_include(void **state) {
    assert_true(covers("pasid", "pasid"));
    assert_true(covers("pasid", "pasid=8,dma-buf"));
    assert_false(covers("pasid=8", "pasid"));
    assert_false(covers("pasid,dma-buf", "pasid"));
    assert_true(covers("migration", "migration=p2p"));
    assert_false(covers("migration=p2p", "migration"));
    assert_false(covers("migration=p2p", "migration=pre-copy"));
    assert_true(covers("page-size=2M", "page-size=2M,coherency"));
    assert_false(covers("page-size=2M", "page-size=4K"));
}

static void test_what_is_shown(void **state) {
    char buf[DEVICE_CAPS_TEXT_MAX];
    DeviceCaps c = accelerator();

    assert_string_equal(device_caps_describe(&c, DEVICE_CAP_PASID, buf), "16 bits");
    assert_string_equal(device_caps_describe(&c, DEVICE_CAP_MIGRATION, buf), "stop-copy p2p");
    assert_string_equal(device_caps_describe(&c, DEVICE_CAP_PAGE_SIZES, buf), "4K 2M");
    assert_string_equal(device_caps_describe(&c, DEVICE_CAP_COHERENCY, buf), "yes");
    assert_string_equal(device_caps_describe(&c, DEVICE_CAP_DMA_BUF, buf), "no");
    assert_string_equal(device_caps_describe(&c, DEVICE_CAP_DIRTY_TRACKING, buf), "unknown");
    assert_string_equal(device_caps_describe(NULL, DEVICE_CAP_DMA_BUF, buf), "unknown");
    c.pasid_bits = 0;
    c.migration = 0;
    assert_string_equal(device_caps_describe(&c, DEVICE_CAP_PASID, buf), "no");
    assert_string_equal(device_caps_describe(&c, DEVICE_CAP_MIGRATION, buf), "no");
    /* The longest possible text still fits, with its end cut. */
    device_caps_set(&c, DEVICE_CAP_IOVA_RANGES, true);
    c.n_iova = IOVA_RANGES_MAX;
    c.iova_cut = true;
    for (size_t i = 0; i < IOVA_RANGES_MAX; i++)
        c.iova[i] = (IovaRange){UINT64_MAX, UINT64_MAX};
    assert_true(strlen(device_caps_describe(&c, DEVICE_CAP_IOVA_RANGES, buf)) < sizeof(buf));
}

static void test_what_two_have_in_common(void **state) {
    DeviceCaps a = accelerator(), b = accelerator();

    a.iommu = b.iommu = IOMMU_TYPE_INTEL;
    device_caps_set(&a, DEVICE_CAP_IOVA_RANGES, true);
    device_caps_set(&b, DEVICE_CAP_IOVA_RANGES, true);
    a.iova[0] = (IovaRange){0, 0xFFFF};
    a.iova[1] = (IovaRange){0x20000, 0x2FFFF};
    a.n_iova = 2;
    b.iova[0] = (IovaRange){0x8000, 0x27FFF};
    b.n_iova = 1;
    b.pasid_bits = 8;
    b.migration = 1U << MIGRATION_STOP_COPY;
    b.page_sizes = UINT64_C(1) << 12;
    b.known &= ~(1U << DEVICE_CAP_DMA_BUF);
    device_caps_set(&b, DEVICE_CAP_COHERENCY, false);
    device_caps_set(&b, DEVICE_CAP_DIRTY_TRACKING, true);
    (void) strcpy(b.driver, "vfio-pci");
    device_caps_keep_common(&a, &b);
    assert_answer(&a, "pasid=8,migration=stop-copy,page-size=4K", NEEDS_MET, 0);
    assert_answer(&a, "pasid=9", NEEDS_NOT_MET, DEVICE_CAP_PASID);
    assert_answer(&a, "migration=p2p", NEEDS_NOT_MET, DEVICE_CAP_MIGRATION);
    assert_answer(&a, "page-size=2M", NEEDS_NOT_MET, DEVICE_CAP_PAGE_SIZES);
    assert_answer(&a, "coherency", NEEDS_NOT_MET, DEVICE_CAP_COHERENCY);
    assert_answer(&a, "dma-buf", NEEDS_UNKNOWN, DEVICE_CAP_DMA_BUF);
    assert_answer(&a, "dirty-tracking", NEEDS_UNKNOWN, DEVICE_CAP_DIRTY_TRACKING);
    assert_int_equal(a.iommu, IOMMU_TYPE_INTEL);
    assert_string_equal(a.driver, "");
    assert_int_equal(a.n_iova, 2);
    assert_true(a.iova[0].start == 0x8000 && a.iova[0].end == 0xFFFF);
    assert_true(a.iova[1].start == 0x20000 && a.iova[1].end == 0x27FFF);
    assert_false(a.iova_cut);
    b.iommu = IOMMU_TYPE_AMD;
    b.n_iova = 0;
    device_caps_keep_common(&a, &b);
    assert_int_equal(a.iommu, IOMMU_TYPE_UNKNOWN);
    assert_int_equal(a.n_iova, 0);

    /* There are more ranges than fit. */
    a = b = accelerator();
    a.n_iova = b.n_iova = IOVA_RANGES_MAX;
    for (size_t i = 0; i < IOVA_RANGES_MAX; i++) {
        a.iova[i] = (IovaRange){i * 0x1000, i * 0x1000 + 0xFFF};
        b.iova[i] = (IovaRange){i * 0x1000 + 0x800, i * 0x1000 + 0x17FF};
    }
    device_caps_keep_common(&a, &b);
    assert_int_equal(a.n_iova, IOVA_RANGES_MAX);
    assert_true(a.iova_cut);
}

static void test_registers_of_intel(void **state) {
    DeviceCaps c = {};

    device_caps_take_vtd(&c, 0);
    assert_int_equal(c.iommu, IOMMU_TYPE_INTEL);
    assert_int_equal(c.page_sizes, 4096);
    device_caps_take_vtd(&c, UINT64_C(1) << 34);
    assert_int_equal(c.page_sizes, 4096 | 1 << 21);
    device_caps_take_vtd(&c, UINT64_MAX);
    assert_int_equal(c.page_sizes, 4096 | 1 << 21 | 1 << 30);
    assert_true(device_caps_know(&c, DEVICE_CAP_PAGE_SIZES));
}

/* ---- on disk ---- */

static const CapsRecord record = {
        .device = {.kind = DEVICE_KIND_PCI, .pci_bus = 6, .slot = 13},
        .identity = 12345,
        .caps = {.known = (1U << _DEVICE_CAP_MAX) - 1,
                .present = 1U << DEVICE_CAP_PASID | 1U << DEVICE_CAP_DMA_BUF,
                .iommu = IOMMU_TYPE_INTEL,
                .pasid_bits = 20,
                .migration = 1U << MIGRATION_STOP_COPY | 1U << MIGRATION_PRE_COPY,
                .page_sizes = UINT64_C(0xfffffffffffff000),
                .iova = {{0, 0xfedfffff}, {0xfef00000, UINT64_MAX}},
                .n_iova = 2,
                .iova_cut = true,
                .driver = "vfio-pci"},
};

static void test_record_comes_back(void **state) {
    static CapsRecord least = {
            .identity = 1, .caps.driver = "mlx5_vfio_pci"}; /* static: with padding of zeros */
    _cleanup_free_ char *text = caps_record_to_text(&record), *short_text = NULL;
    CapsRecord read = {};

    least.device = record.device;
    short_text = caps_record_to_text(&least);
    assert_int_equal(caps_record_parse(text, strlen(text), &read), 0);
    assert_int_equal(device_name_compare(&read.device, &record.device), 0);
    assert_true(read.identity == record.identity);
    assert_memory_equal(&read.caps, &record.caps, sizeof(read.caps));
    assert_int_equal(caps_record_parse(short_text, strlen(short_text), &read), 0);
    assert_memory_equal(&read.caps, &least.caps, sizeof(read.caps));
}

static void test_identity(void **state) {
    const Device d = {.name = {.kind = DEVICE_KIND_PCI}, .vendor = 0x8086, .device = 0x10d3};
    Device other = d;
    uint64_t identity = caps_record_identity(&d, 7, 9);

    assert_true(identity == caps_record_identity(&other, 7, 9));
    assert_true(identity != caps_record_identity(&d, 8, 9));
    assert_true(identity != caps_record_identity(&d, 7, 10)); /* its driver was loaded again */
    assert_true(identity != caps_record_identity(&d, 9, 7));
    other.device++;
    assert_true(identity != caps_record_identity(&other, 7, 9));
    other = d;
    other.revision++; /* its firmware is different */
    assert_true(identity != caps_record_identity(&other, 7, 9));
}

#define RECORD(identity, members)                                                                            \
    "{\"device\":\"pci:0000:06:0d.0\",\"identity\":" identity                                                \
    ",\"capabilities\":{\"driver\":\"vfio-pci\"," members "}}"

static void test_bad_records(void **state) {
    static const char *const bad[] = {
            "",
            "{}",
            "[]",
            RECORD("0", "\"known\":[]"),
            RECORD("\"7\"", "\"known\":[]"),
            RECORD("7", "\"known\":[\"levitation\"]"),
            RECORD("7", "\"known\":[\"pasid\"],\"present\":[\"dma-buf\"]"),
            RECORD("7", "\"known\":[],\"pasidBits\":33"),
            RECORD("7", "\"known\":[],\"pageSizes\":4096"),
            RECORD("7", "\"known\":[],\"pageSizes\":\"4096\""),
            RECORD("7", "\"known\":[],\"iova\":[{\"start\":\"0x2\",\"end\":\"0x1\"}]"),
            RECORD("7", "\"known\":[],\"iova\":[{},{},{},{},{},{},{},{},{}]"),
            RECORD("7", "\"known\":[],\"more\":1"),
            RECORD("7", "\"present\":[]"),
            RECORD("7", "\"known\":[]") "x",
            "{\"device\":\"../../etc\",\"identity\":7,\"capabilities\":{\"driver\":\"\",\"known\":[]}}",
    };
    const char *good = RECORD("7", "\"known\":[]");
    CapsRecord read = {.identity = 99};

    for (size_t i = 0; i < ELEMENTSOF(bad); i++)
        assert_int_equal(caps_record_parse(bad[i], strlen(bad[i]), &read), -EBADMSG);
    for (size_t n = 0; n < strlen(good); n++)
        assert_int_equal(caps_record_parse(good, n, &read), -EBADMSG);
    assert_true(read.identity == 99);
    assert_int_equal(caps_record_parse(good, strlen(good), &read), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_needs_are_read),
            cmocka_unit_test(test_bad_needs),
            cmocka_unit_test(test_needs_are_compared),
            cmocka_unit_test(test_needs_that_others_include),
            cmocka_unit_test(test_what_is_shown),
            cmocka_unit_test(test_what_two_have_in_common),
            cmocka_unit_test(test_registers_of_intel),
            cmocka_unit_test(test_record_comes_back),
            cmocka_unit_test(test_identity),
            cmocka_unit_test(test_bad_records),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
