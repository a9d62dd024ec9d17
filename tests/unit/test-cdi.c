/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

#include "core/cdi.h"

/* Engines refuse a version that is lower than the file's features need. Old engines refuse a version that
 * they do not know. */
static void test_describe(void **state) {
    static const char *const ids[] = {"0123456789abcdef", "f123456789abcdef"};
    ClaimNode nodes[] = {{.path = "/dev/vfio/vfio", .rdev = makedev(10, 196)},
            {.path = "/dev/vfio/8", .rdev = makedev(241, 8)}};
    PlanMember member = {};
    Claim c = CLAIM_NULL;

    assert_int_equal(device_name_parse("pci:0000:06:00.0", &member.name), 0);
    c.plan.backend = BACKEND_GROUP;
    c.plan.members = &member;
    c.plan.n_members = c.plan.n_claimed = 1;
    c.nodes = nodes;
    c.n_nodes = 2;
    for (size_t i = 0; i < 2; i++) {
        char expected[1024];
        char *text;

        (void) snprintf(c.id, sizeof(c.id), "%s", ids[i]);
        text = cdi_describe(&c);
        assert_non_null(text);
        (void) snprintf(expected, sizeof(expected),
                "{\"cdiVersion\":\"%s\",\"kind\":\"vfiod.org/claim\",\"devices\":[{\"name\":\"%s\","
                "\"containerEdits\":{\"deviceNodes\":["
                "{\"path\":\"/dev/vfio/"
                "vfio\",\"type\":\"c\",\"major\":10,\"minor\":196,\"permissions\":\"rw\"},"
                "{\"path\":\"/dev/vfio/8\",\"type\":\"c\",\"major\":241,\"minor\":8,\"permissions\":\"rw\"}],"
                "\"env\":[\"VFIOD_CLAIM=%s\",\"VFIOD_BACKEND=group\",\"VFIOD_DEVICES=pci:0000:06:00.0\"]}}]}"
                "\n",
                i == 0 ? "0.5.0" : "0.3.0", ids[i], ids[i]);
        assert_string_equal(text, expected);
        free(text);
    }
}

static void test_files(void **state) {
    static const char *const others[] = {"vendor.json", "vfiod-.json", "vfiod-0123456789abcde.json",
            "vfiod-0123456789abcdef0.json", "vfiod-0123456789ABCDEF.json", "vfiod-0123456789abcdef.yaml",
            "vfiod-0123456789abcdef.json~", "0123456789abcdef.json", "vfiod-../../../../../etc.json"};
    char id[CLAIM_ID_MAX];

    assert_true(cdi_claim_of_file("vfiod-0123456789abcdef.json", id));
    assert_string_equal(id, "0123456789abcdef");
    assert_true(cdi_claim_of_file("vfiod-fedcba9876543210", id)); /* it was not finished */
    assert_string_equal(id, "fedcba9876543210");
    for (size_t i = 0; i < ELEMENTSOF(others); i++)
        if (cdi_claim_of_file(others[i], id))
            fail_msg("%s", others[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_describe),
            cmocka_unit_test(test_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
