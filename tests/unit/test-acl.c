/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/acl.h"

static Acl parse(const char *text) {
    Acl a;

    assert_int_equal(acl_parse(text, &a), 0);
    return a;
}

static void expect_text(const Acl *a, const char *text) {
    char buf[ACL_TEXT_MAX];

    assert_string_equal(acl_format(a, buf), text);
}

static void test_mode(void **state) {
    Acl a = acl_from_mode(0100640);

    expect_text(&a, "user::rw-,group::r--,other::---");
}

/* The bytes of setfacl -m u:1000:rw on a file of mode 0600. */
static void test_kernel_form(void **state) {
    static const uint8_t bytes[] = {2, 0, 0, 0, 1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 6, 0, 0xe8, 3, 0, 0,
            4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x10, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 0x20, 0, 0, 0, 0xff,
            0xff, 0xff, 0xff};
    uint8_t again[ACL_SIZE_MAX];
    Acl a;

    assert_int_equal(acl_decode(bytes, sizeof(bytes), &a), 0);
    expect_text(&a, "user::rw-,user:1000:rw-,group::---,mask::rw-,other::---");
    assert_int_equal(acl_encode(&a, again), sizeof(bytes));
    assert_memory_equal(again, bytes, sizeof(bytes));
}

static void test_bad_bytes(void **state) {
    static const struct {
        size_t at;
        uint8_t value;
    } changes[] = {{0, 1}, {4, 3}, {4, 4}, {6, 8}, {12, 1}, {20, 1}, {28, 2}, {36, 0x10}, {37, 1}};
    uint8_t bytes[ACL_SIZE_MAX + 8], wrong[ACL_SIZE_MAX];
    Acl a = parse("user::rw-,user:5:r--,group::---,mask::r--,other::---"), b;
    size_t n = acl_encode(&a, bytes);

    for (size_t size = 0; size < n; size++) /* cut anywhere: an entry is missing or incomplete */
        assert_int_equal(acl_decode(bytes, size, &b), -EBADMSG);
    for (size_t k = 0; k < sizeof(changes) / sizeof(changes[0]); k++) {
        memcpy(wrong, bytes, n);
        wrong[changes[k].at] = changes[k].value;
        assert_int_equal(acl_decode(wrong, n, &b), -EBADMSG);
    }
    memset(bytes + 16, 0xff, 4); /* a user without an id */
    assert_int_equal(acl_decode(bytes, n, &b), -EBADMSG);
}

static void test_too_many(void **state) {
    uint8_t bytes[ACL_SIZE_MAX + 8];
    Acl a = acl_from_mode(0600), b;
    size_t n;

    for (uid_t uid = 1; a.n < ACL_ENTRIES_MAX; uid++)
        assert_int_equal(acl_add_user(&a, uid), 0);
    b = a;
    assert_int_equal(acl_add_user(&a, 1), 0); /* there already */
    assert_true(acl_is_equal(&a, &b));
    assert_int_equal(acl_add_user(&a, 1000), -E2BIG);
    assert_true(acl_is_equal(&a, &b)); /* unchanged */
    n = acl_encode(&a, bytes);
    assert_int_equal(n, ACL_SIZE_MAX);
    memcpy(bytes + n, bytes + n - 8, 8);
    assert_int_equal(acl_decode(bytes, n + 8, &b), -E2BIG);
}

static void test_text(void **state) {
    static const char *const good[] = {
            "user::rw-,group::---,other::---",
            "user::rwx,user:0:r-x,user:4294967294:---,group::-w-,group:7:rw-,mask::r--,other::r--",
            "user::rw-,group::r--,mask::r--,other::---",
    };
    static const char *const bad[] = {
            "",
            "user::rw-",
            "user::rw-,group::---,other::---,",
            "user::rw-,group::---,other::--",
            "user::rw-,group::---,other::-rw",
            "user::rw-,user:1000:rw-,group::---,other::---", /* no mask */
            "user::rw-,user::rw-,group::---,other::---",
            "user::rw-,user:5:rw-,user:5:r--,group::---,mask::rw-,other::---",
            "user::rw-,user:4294967295:rw-,group::---,mask::rw-,other::---",
            "user::rw-,user:alice:rw-,group::---,mask::rw-,other::---",
            "user::rw-,group::---,mask:5:rw-,other::---",
            "owner::rw-,group::---,other::---",
            "user:rw-,group::---,other::---",
    };
    char longer[ACL_TEXT_MAX + 64];
    Acl a;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        a = parse(good[i]);
        expect_text(&a, good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (acl_parse(bad[i], &a) != -EBADMSG)
            fail_msg("taken: %s", bad[i]);
    memset(longer, ',', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(acl_parse(longer, &a), -E2BIG);
}

static void test_add_and_remove(void **state) {
    static const struct {
        const char *before, *with, *removed; /* NULL: as `before` */
    } cases[] = {
            {"user::rw-,group::---,other::---", "user::rw-,user:1000:rw-,group::---,mask::rw-,other::---"},
            {"user::rw-,group::r--,other::---", "user::rw-,user:1000:rw-,group::r--,mask::rw-,other::---"},
            /* Permissions that the mask kept from another user must not come from us. */
            {"user::rw-,user:5:rw-,group::rw-,mask::r--,other::---",
                    "user::rw-,user:5:r--,user:1000:rw-,group::r--,mask::rw-,other::---",
                    "user::rw-,user:5:r--,group::r--,mask::r--,other::---"},
            {"user::rw-,group::rw-,mask::---,other::---",
                    "user::rw-,user:1000:rw-,group::---,mask::rw-,other::---",
                    "user::rw-,group::---,other::---"},
            /* The administrator's entry for the same user is restored. */
            {"user::rw-,user:1000:r--,group::---,mask::r--,other::---",
                    "user::rw-,user:1000:rw-,group::---,mask::rw-,other::---"},
            {"user::rw-,user:1000:rwx,group::---,mask::r--,other::---",
                    "user::rw-,user:1000:rw-,group::---,mask::rw-,other::---",
                    "user::rw-,user:1000:r--,group::---,mask::r--,other::---"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Acl before = parse(cases[i].before), a = before;

        assert_int_equal(acl_add_user(&a, 1000), 0);
        expect_text(&a, cases[i].with);
        assert_true(acl_allows_user(&a, 0, 1000));
        assert_int_equal(acl_add_user(&a, 1000), 0);
        expect_text(&a, cases[i].with);
        acl_remove_user(&a, 1000, &before);
        expect_text(&a, cases[i].removed ?: cases[i].before);
        acl_remove_user(&a, 77, &before);
        expect_text(&a, cases[i].removed ?: cases[i].before);
    }
}

static void test_all_users(void **state) {
    static const struct {
        const char *before, *after;
    } cases[] = {
            {"user::rw-,group::rw-,other::---", NULL},
            {"user::rw-,user:7:rw-,user:8:r--,group::r--,mask::rw-,other::---",
                    "user::rw-,group::r--,other::---"},
            {"user::rw-,user:7:rw-,group::rw-,group:9:rw-,mask::r--,other::---",
                    "user::rw-,group::r--,group:9:r--,mask::r--,other::---"},
            {"user::rw-,group::rw-,group:9:rw-,mask::r--,other::---", NULL},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Acl a = parse(cases[i].before);

        assert_int_equal(acl_remove_users(&a), cases[i].after != NULL);
        if (cases[i].after)
            expect_text(&a, cases[i].after);
    }
}

/* Two claims on one node may end in either order. */
static void test_two_users(void **state) {
    Acl before = acl_from_mode(0660), a = before, b = before;

    assert_int_equal(acl_add_user(&a, 1000) | acl_add_user(&a, 999), 0);
    assert_int_equal(acl_add_user(&b, 999) | acl_add_user(&b, 1000), 0);
    assert_true(acl_is_equal(&a, &b));
    acl_remove_user(&a, 1000, &before);
    expect_text(&a, "user::rw-,user:999:rw-,group::rw-,mask::rw-,other::---");
    acl_remove_user(&a, 999, &before);
    assert_true(acl_is_equal(&a, &before));
}

static void test_allows(void **state) {
    static const struct {
        const char *acl;
        uid_t owner;
        bool allowed;
    } cases[] = {
            {"user::rw-,group::---,other::---", 0, false},
            {"user::rw-,group::rw-,other::rw-", 0, true},
            {"user::rw-,group::---,other::rw-", 0, false}, /* the user may be in the group */
            {"user::rw-,group::rw-,other::r--", 0, false},
            {"user::rw-,group::---,other::---", 1000, true},
            {"user::r--,group::rw-,other::rw-", 1000, false}, /* others do not apply to the owner */
            {"user::rw-,user:1000:rw-,group::---,mask::rw-,other::---", 0, true},
            {"user::rw-,user:1000:rw-,group::---,mask::r--,other::---", 0, false},
            {"user::rw-,user:1000:r--,group::rw-,mask::rw-,other::rw-", 0, false},
            {"user::rw-,user:5:---,group::rw-,mask::rw-,other::rw-", 0, true},
            {"user::rw-,group::rw-,group:5:r--,mask::rw-,other::rw-", 0, false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Acl a = parse(cases[i].acl);

        if (acl_allows_user(&a, cases[i].owner, 1000) != cases[i].allowed)
            fail_msg("%s", cases[i].acl);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_mode),
            cmocka_unit_test(test_kernel_form),
            cmocka_unit_test(test_bad_bytes),
            cmocka_unit_test(test_too_many),
            cmocka_unit_test(test_text),
            cmocka_unit_test(test_add_and_remove),
            cmocka_unit_test(test_two_users),
            cmocka_unit_test(test_all_users),
            cmocka_unit_test(test_allows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
