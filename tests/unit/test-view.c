/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Tests who may read what, for every table: a field that the reader may not read has its empty value, its own
 * getter is not called, and each value has the type that the table declares. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/str.h"
#include "daemon/broker/views.h"

/* A sink that writes text. Containers become the brackets of their type. */
static int text_text(void *to, const char *text) {
    strbuf_addf(to, "'%s' ", text);
    return 0;
}

static int text_number(void *to, char type, uint64_t value) {
    strbuf_addf(to, "%c%llu ", type, (unsigned long long) value);
    return 0;
}

static int text_refer(void *to, const ViewReference *reference) {
    strbuf_addf(to, "%s ", (int) reference->kind < 0 ? "none" : "reference");
    return 0;
}

static int text_open(void *to, char container, const char *contents) {
    strbuf_addf(to, "%c( ", container);
    return 0;
}

static int text_close(void *to) {
    strbuf_addf(to, ") ");
    return 0;
}

static void assert_shows(const ViewTable *table, const ViewField *field, const void *thing,
        const Subject *reader, const char *expected) {
    _cleanup_strbuf_ StrBuf text = {};
    const ViewSink sink = {text_text, text_number, text_refer, text_open, text_close, &text};
    const ViewQuery query = {.thing = thing, .reader = reader};

    assert_int_equal(view_put(table, field, &query, &sink), 0);
    assert_string_equal(text.text, expected);
}

static int put_secret(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, "secret");
}

static int put_never(const ViewQuery *q, const ViewSink *out) {
    fail();
    return 0;
}

static uid_t owner(const void *thing) {
    return *(const uid_t *) thing;
}

static const ViewField fields[] = {
        {"All", "s", VIEW_CONSTANT, VIEW_FOR_ALL, put_secret},
        {"Owner", "s", VIEW_CONSTANT, VIEW_FOR_OWNER, put_secret},
        {"Operator", "s", VIEW_CONSTANT, VIEW_FOR_OPERATOR, put_secret},
        {},
};
static const ViewTable with_owner = {VIEW_CLAIM, fields, owner}, without_owner = {VIEW_MANAGER, fields, NULL};

static void test_who_may_read(void **state) {
    const Subject root = {.uid = 0}, user = {.uid = 1000}, stranger = {.uid = 1001},
                  unknown = {.uid = (uid_t) -1};
    const uid_t thing = 1000, nobodys = (uid_t) -1;
    const struct {
        const Subject *reader;
        const char *owner, *operator_only;
    } readers[] = {
            {&root, "'secret' ", "'secret' "}, {&user, "'secret' ", "'' "}, {&stranger, "'' ", "'' "},
            {&unknown, "'' ", "'' "}, {NULL, "'' ", "'' "}, /* a signal */
    };

    for (size_t i = 0; i < ELEMENTSOF(readers); i++) {
        assert_shows(&with_owner, &fields[0], &thing, readers[i].reader, "'secret' ");
        assert_shows(&with_owner, &fields[1], &thing, readers[i].reader, readers[i].owner);
        assert_shows(&with_owner, &fields[2], &thing, readers[i].reader, readers[i].operator_only);
    }
    assert_shows(&with_owner, &fields[1], &nobodys, &unknown, "'' ");
    assert_shows(&without_owner, &fields[1], &thing, &user, "'' ");
    assert_shows(&without_owner, &fields[1], &thing, &root, "'secret' ");
}

static void test_empty_values(void **state) {
    static const struct {
        const char *type, *empty;
    } types[] = {
            {"s", "'' "}, {"as", "a( ) "}, {"aa{sv}", "a( ) "}, {"o", "none "}, {"u", "u0 "}, {"b", "b0 "}};

    for (size_t i = 0; i < ELEMENTSOF(types); i++) {
        const ViewField field = {"X", types[i].type, VIEW_CONSTANT, VIEW_FOR_OPERATOR, put_never};

        assert_shows(&without_owner, &field, NULL, NULL, types[i].empty);
    }
}

/* Fields that reveal the content of rules are only for some readers. */
static void test_secrets_of_the_tables(void **state) {
    static const struct {
        ViewKind kind;
        const char *name;
        ViewAudience audience;
    } secrets[] = {
            {VIEW_CLAIM, "Rule", VIEW_FOR_OWNER},
            {VIEW_MANAGER, "PolicyWarnings", VIEW_FOR_OPERATOR},
    };

    for (size_t i = 0; i < ELEMENTSOF(secrets); i++) {
        const ViewField *field = view_find_field(&view_tables[secrets[i].kind], secrets[i].name);

        assert_non_null(field);
        assert_int_equal(field->audience, secrets[i].audience);
    }
    assert_null(view_find_field(&view_tables[VIEW_CLAIM], "Rules"));
}

/* A value that depends on the reader must not be sent to all readers. */
static void test_tables_are_sane(void **state) {
    for (ViewKind kind = 0; kind < _VIEW_KIND_MAX; kind++) {
        assert_int_equal(view_tables[kind].kind, kind);
        for (const ViewField *f = view_tables[kind].fields; f->name; f++) {
            assert_non_null(f->put);
            assert_ptr_equal(view_find_field(&view_tables[kind], f->name), f);
            assert_false(f->audience != VIEW_FOR_ALL && f->change == VIEW_ANNOUNCED);
            assert_false(f->facts != 0 &&
                    (f->change != VIEW_COSTLY ||
                            kind != ((f->facts & DEVICE_FACT_MDEV_TYPES) ? VIEW_MANAGER : VIEW_DEVICE)));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_who_may_read),
            cmocka_unit_test(test_empty_values),
            cmocka_unit_test(test_secrets_of_the_tables),
            cmocka_unit_test(test_tables_are_sane),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
