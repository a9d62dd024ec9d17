/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/mdev-types.h"

#define UUID "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"

static MdevType *add(MdevTypes *t, const char *parent, const char *id, int64_t available) {
    MdevType *type = mdev_types_add(t);

    assert_non_null(type);
    strcpy(type->parent, parent);
    strcpy(type->id, id);
    type->available = available;
    return type;
}

static void test_there_and_back(void **state) {
    _cleanup_(mdev_types_done) MdevTypes types = {}, again = {}, copy = {};
    _cleanup_free_ char *text = NULL;
    DeviceName name;

    add(&types, "mtty", "mtty-2", -1);
    assert_int_equal(device_name_parse(UUID, &name), 0);
    assert_int_equal(mdev_type_add_device(add(&types, "0000:06:00.0", "nvidia-474", 3), &name), 0);
    types.types[1].name = strdup("GRID \"P40\"\n");
    strcpy(types.types[1].api, "vfio-pci");
    mdev_types_sort(&types);
    types.incomplete = true;
    text = mdev_types_to_text(&types);
    assert_non_null(text);
    assert_int_equal(mdev_types_from_text(text, strlen(text), &again), 0);
    assert_int_equal(mdev_types_copy(&again, &copy), 0);
    assert_int_equal(copy.n, 2);
    assert_true(copy.incomplete);
    assert_string_equal(copy.types[0].parent, "0000:06:00.0");
    assert_string_equal(copy.types[0].name, "GRID \"P40\"\n");
    assert_string_equal(copy.types[0].api, "vfio-pci");
    assert_int_equal(copy.types[0].available, 3);
    assert_int_equal(copy.types[0].n_devices, 1);
    assert_int_equal(device_name_compare(&copy.types[0].devices[0], &name), 0);
    assert_int_equal(copy.types[1].available, -1);
    assert_null(copy.types[1].name);
}

static void test_what_is_no_list(void **state) {
    static const char *const texts[] = {
            "",
            "[]",
            "{}",
            "{\"mediatedTypes\":[{\"parent\":\"a\",\"type\":\"b\"}]}",
            "{\"mediatedTypes\":[{\"parent\":\"a/b\",\"type\":\"b\",\"available\":1}]}",
            "{\"mediatedTypes\":[{\"parent\":\"a\",\"type\":\"..\",\"available\":1}]}",
            "{\"mediatedTypes\":[{\"parent\":\"a\",\"type\":\"\",\"available\":1}]}",
            "{\"mediatedTypes\":[{\"parent\":\"a\",\"type\":\"b\",\"available\":-2}]}",
            "{\"mediatedTypes\":[{\"parent\":\"a\",\"type\":\"b\",\"available\":1,\"devices\":[\"83b8\"]}]}",
    };

    for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
        MdevTypes types = {};

        assert_true(mdev_types_from_text(texts[i], strlen(texts[i]), &types) < 0);
        assert_null(types.types);
    }
}

static void test_one_list_for_many(void **state) {
    MdevTypes types = {};
    SharedMdevTypes *s;

    add(&types, "mtty", "mtty-1", 1);
    s = mdev_types_share(&types);
    assert_non_null(s);
    assert_null(types.types);
    assert_ptr_equal(mdev_types_ref(s), s);
    assert_null(mdev_types_unref(s));
    assert_int_equal(s->list.n, 1);
    assert_null(mdev_types_unref(s));
    assert_null(mdev_types_unref(NULL));
}

static void test_names(void **state) {
    assert_true(mdev_name_is_safe("i915-GVTg_V5_4"));
    assert_true(mdev_name_is_safe("0000:06:00.0"));
    assert_false(mdev_name_is_safe(""));
    assert_false(mdev_name_is_safe("."));
    assert_false(mdev_name_is_safe("../x"));
    assert_false(mdev_name_is_safe("a/b"));
    assert_false(mdev_name_is_safe("a b"));
    assert_false(mdev_name_is_safe("a\x7f"));
    assert_false(mdev_name_is_safe("\xc3\xa4"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_there_and_back),
            cmocka_unit_test(test_what_is_no_list),
            cmocka_unit_test(test_one_list_for_many),
            cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
