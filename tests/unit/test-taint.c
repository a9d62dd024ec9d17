/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <json-c/json.h>

#include "core/taint.h"

static TaintList list;

static int setup(void **state) {
    list = (TaintList){};
    return 0;
}

/* Returns everything found in text, with "+" before what weakens the host. */
static const char *findings(const char *text) {
    static char buf[4096];

    list = (TaintList){};
    buf[0] = '\0';
    taint_list_add_command_line(&list, text);
    for (size_t i = 0; i < list.n; i++) {
        size_t n = strlen(buf);

        assert_int_equal(list.entries[i].kind, TAINT_COMMAND_LINE);
        assert_true(list.entries[i].uid == (uid_t) -1);
        snprintf(buf + n, sizeof(buf) - n, "%s%s%s", n > 0 ? " " : "", list.entries[i].weakens ? "+" : "",
                list.entries[i].what);
    }
    return buf;
}

static void test_parameters(void **state) {
    static const char *const table[][2] = {
            {"", ""},
            {"quiet root=/dev/sda1 ro intel_iommu=on iommu.strict=1 pci=nocrs,noaer", ""},
            {"pcie_acs_override=downstream,multifunction", "+pcie_acs_override=downstream,multifunction"},
            {"pcie_acs_override", "+pcie_acs_override"},
            {"pci=noats,disable_acs_redir=pci:0:0;8086:1,nocrs", "+pci=disable_acs_redir=pci:0:0;8086:1"},
            {"pci=config_acs=10x@pci:0:0", "+pci=config_acs=10x@pci:0:0"},
            {"pci=disable_acs_redir", ""},
            {"iommu=off", "+iommu=off"},
            {"iommu=force,pt iommu=soft", "iommu=pt iommu=soft"},
            {"iommu=offline iommu=pto", ""},
            {"intel_iommu=off", "+intel_iommu=off"},
            {"intel_iommu=on,igfx_off", "+intel_iommu=igfx_off"},
            {"intel-iommu=off", "+intel-iommu=off"}, /* the kernel treats both alike */
            {"amd_iommu=off", "+amd_iommu=off"},
            {"amd_iommu=pgtbl_v2", ""},
            {"iommu.passthrough=1 iommu.passthrough", "iommu.passthrough=1 iommu.passthrough"},
            {"iommu.passthrough=0 iommu.passthrough= iommu.passthrough=maybe iommu.strict", ""},
            {"iommu.strict=0", "iommu.strict=0"},
            {"iommu.strict=off iommu.strict=on", "iommu.strict=off"},
            {"intremap=off intremap=no_x2apic_optout,nosid nointremap",
                    "+intremap=off +intremap=nosid +nointremap"},
            {"arm-smmu.disable_bypass=n", "+arm-smmu.disable_bypass=n"},
            /* a duplicate counts once */
            {"iommu=off iommu=off", "+iommu=off"},
            /* after "--" nothing is for the kernel */
            {"quiet -- iommu=off", ""},
            {"--=x iommu=off", "+iommu=off"},
    };

    for (size_t i = 0; i < ELEMENTSOF(table); i++)
        assert_string_equal(findings(table[i][0]), table[i][1]);
}

static void test_quotes(void **state) {
    static const char *const table[][2] = {
            {"\"iommu=off\"", "+iommu=off"},
            {"iommu=\"off\"", "+iommu=off"},
            {"dyndbg=\"file a.c +p; iommu=off\" quiet", ""},
            {"\"dyndbg=a iommu=off\"", ""},
            {"a\"b iommu=off\"", ""},
            {"dyndbg=\"not closed iommu=off", ""},
            {"iommu=\"off", "+iommu=off"},
            {"=iommu=off \t iommu=off\n", "+iommu=off"},
            {"\"", ""},
            {"iommu=\"", ""},
            {"\"\" iommu=off", "+iommu=off"},
    };

    for (size_t i = 0; i < ELEMENTSOF(table); i++)
        assert_string_equal(findings(table[i][0]), table[i][1]);
}

static void test_hostile_text(void **state) {
    char text[1024] = "pcie_acs_override=\x1b[31m\xff";

    assert_string_equal(findings(text), "+pcie_acs_override=?[31m?");
    memset(text + 18, 'x', sizeof(text) - 19);
    assert_int_equal(strlen(findings(text)), 1 + sizeof(list.entries[0].what) - 1);
}

static void test_kernel_bits(void **state) {
    taint_list_add_kernel(&list, 0);
    assert_int_equal(list.n, 0);
    taint_list_add_kernel(&list, 1 << 0 | 1 << 6 | 1 << 12 | 1ULL << 63);
    assert_int_equal(list.n, 4);
    assert_string_equal(list.entries[0].what, "TAINT_PROPRIETARY_MODULE");
    assert_false(list.entries[0].weakens);
    assert_string_equal(list.entries[1].what, "TAINT_USER");
    assert_true(list.entries[1].weakens);
    assert_string_equal(list.entries[2].what, "TAINT_OOT_MODULE");
    assert_false(list.entries[2].weakens);
    assert_string_equal(list.entries[3].what, "unknown taint 63");
    assert_true(list.entries[3].weakens);
}

static void test_weakness(void **state) {
    char what[16];
    int error = 1;
    char *text;
    Taint *t;

    taint_list_add_command_line(&list, "iommu=pt");
    assert_null(taint_list_describe_weakness(&list, &error));
    assert_int_equal(error, 0);

    taint_list_add_command_line(&list, "pcie_acs_override=downstream");
    t = taint_list_add(&list, TAINT_NOIOMMU_CLAIM, true, "claim without an IOMMU");
    strcpy(t->device, "pci:0000:06:0d.0");
    text = taint_list_describe_weakness(&list, &error);
    assert_string_equal(text, "pcie_acs_override=downstream, claim without an IOMMU (pci:0000:06:0d.0)");
    free(text);

    /* the same kind for another device is another taint */
    assert_ptr_not_equal(taint_list_add(&list, TAINT_NOIOMMU_CLAIM, true, "claim without an IOMMU"), t);

    /* a taint that does not fit may be of any kind */
    list = (TaintList){};
    for (unsigned i = 0; i < TAINTS_MAX + 3; i++) {
        snprintf(what, sizeof(what), "%u", i);
        assert_true((taint_list_add(&list, TAINT_KERNEL, false, what) != NULL) == (i < TAINTS_MAX));
    }
    text = taint_list_describe_weakness(&list, &error);
    assert_string_equal(text, "3 more");
    free(text);
}

static void test_json(void **state) {
    struct json_object *array, *first;
    Taint *t;

    t = taint_list_add(&list, TAINT_NOIOMMU_CLAIM, true, "what");
    t->uid = 1000;
    t->since_usec = 5;
    (void) taint_list_add(&list, TAINT_KERNEL, false, "TAINT_WARN");
    array = taint_list_to_json(&list);
    assert_int_equal(json_object_array_length(array), 2);
    first = json_object_array_get_idx(array, 0);
    assert_string_equal(json_object_to_json_string_ext(first, JSON_C_TO_STRING_PLAIN),
            "{\"kind\":\"noiommu-claim\",\"weakens\":true,\"what\":\"what\",\"since\":5,\"device\":\"\","
            "\"rule\":\"\",\"reason\":\"\",\"uid\":1000}");
    assert_false(json_object_object_get_ex(json_object_array_get_idx(array, 1), "uid", NULL));
    json_object_put(array);

    list.more = 7;
    array = taint_list_to_json(&list);
    assert_int_equal(json_object_array_length(array), 3);
    json_object_put(array);
}

static int read_back(const char *text, TaintList *ret) {
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    FieldReader reader = {.name = "the list"};
    JsonError error;
    int r;

    assert_int_equal(json_document_parse(text, strlen(text), &document, &error), 0);
    r = taint_list_read(&reader, json_document_root(document), ret);
    free(reader.problem);
    return r;
}

static void test_json_and_back(void **state) {
    static TaintList again;
    struct json_object *array;
    Taint *t;

    taint_list_add_command_line(&list, "pcie_acs_override=downstream iommu=off");
    assert_true(list.n > 0);
    t = &list.entries[list.n++];
    *t = (Taint){.kind = TAINT_NOIOMMU_CLAIM, .weakens = true, .since_usec = 17, .uid = 0};
    snprintf(t->device, sizeof(t->device), "pci:0000:00:04.0");
    snprintf(t->rule, sizeof(t->rule), "lab (/x.json:1)");
    snprintf(t->reason, sizeof(t->reason), "a lab");
    array = taint_list_to_json(&list);
    assert_int_equal(read_back(json_object_to_json_string(array), &again), 0);
    assert_int_equal(again.n, list.n);
    for (size_t i = 0; i < list.n; i++) {
        assert_string_equal(again.entries[i].what, list.entries[i].what);
        assert_int_equal(again.entries[i].uid, list.entries[i].uid);
    }
    t = &again.entries[again.n - 1];
    assert_true(t->kind == TAINT_NOIOMMU_CLAIM && t->weakens && t->since_usec == 17);
    assert_string_equal(t->device, "pci:0000:00:04.0");
    assert_string_equal(t->rule, "lab (/x.json:1)");
    assert_string_equal(t->reason, "a lab");

    /* If one entry is invalid, none is used. */
    json_object_object_add(
            json_object_array_get_idx(array, again.n - 1), "kind", json_object_new_string("nothing"));
    assert_int_equal(read_back(json_object_to_json_string(array), &again), -EBADMSG);
    assert_int_equal(again.n, 0);
    json_object_put(array);
    assert_int_equal(read_back("null", &again), -EBADMSG);
}

static void test_kinds(void **state) {
    for (TaintKind k = 0; k < _TAINT_KIND_MAX; k++)
        assert_int_equal(taint_kind_from_string(taint_kind_to_string(k)), k);
    assert_true(taint_kind_from_string("x") < 0);
}

#define TEST(function) cmocka_unit_test_setup(function, setup)

int main(void) {
    static const struct CMUnitTest tests[] = {
            TEST(test_parameters),
            TEST(test_quotes),
            TEST(test_hostile_text),
            TEST(test_kernel_bits),
            TEST(test_weakness),
            TEST(test_json),
            TEST(test_json_and_back),
            TEST(test_kinds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
