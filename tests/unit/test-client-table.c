/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/table.h"

static const char *const headers[] = {"NAME", "STATE", "A HEADER"};

/* cells: rows of three, ended by NULL in the first column. */
static void shows(const char *const cells[][3], TableStyle style, const char *expected) {
    _cleanup_(table_freep) Table *t = table_new(headers, ELEMENTSOF(headers));
    _cleanup_free_ char *text = NULL;

    assert_non_null(t);
    for (size_t r = 0; cells[r][0]; r++) {
        table_add_row(t);
        for (size_t c = 0; c < 3; c++)
            table_set(t, c, cells[r][c], COLOUR_NONE);
    }
    text = table_format(t, &style);
    assert_non_null(text);
    assert_string_equal(text, expected);
}

static const char *const two_rows[][3] = {
        {"pci:0000:06:0d.0", "free", NULL},
        {"x", "quarantined", "last"},
        {NULL},
};

static void test_alignment(void **state) {
    shows(two_rows, (TableStyle){.legend = true},
            "NAME              STATE        A HEADER\n"
            "pci:0000:06:0d.0  free         -\n"
            "x                 quarantined  last\n");
    shows(two_rows, (TableStyle){},
            "pci:0000:06:0d.0  free         -\n"
            "x                 quarantined  last\n");
}

static void test_empty(void **state) {
    const char *const none[][3] = {{NULL}};

    shows(none, (TableStyle){.legend = true}, "NAME  STATE  A HEADER\n");
    shows(none, (TableStyle){}, "");
}

static void test_narrow(void **state) {
    /* The widest column gives first, then both; none below its header or eight. */
    shows(two_rows, (TableStyle){.legend = true, .width = 36},
            "NAME           STATE        A HEADER\n"
            "pci:0000:06:…  free         -\n"
            "x              quarantined  last\n");
    shows(two_rows, (TableStyle){.legend = true, .width = 1},
            "NAME      STATE     A HEADER\n"
            "pci:000…  free      -\n"
            "x         quarant…  last\n");
}

static void test_wide_enough(void **state) {
    shows(two_rows, (TableStyle){.width = 35},
            "pci:0000:06:0d.0  free         -\n"
            "x                 quarantined  last\n");
}

static void test_utf8(void **state) {
    const char *const rows[][3] = {{"äöü", "b", "ß"}, {"abcd", "b", "s"}, {NULL}};

    assert_int_equal(text_width(""), 0);
    assert_int_equal(text_width("├─äß…"), 5);
    shows(rows, (TableStyle){},
            "äöü   b  ß\n"
            "abcd  b  s\n");
    const char *const long_rows[][3] = {{"ääääääääääää", "b", "c"}, {NULL}};
    shows(long_rows, (TableStyle){.width = 14}, "äääääää…  b  c\n");
}

static void test_hostile(void **state) {
    const char *const rows[][3] = {{"a\x1b[2J\nb", "\xff", "\x7f"}, {NULL}};

    shows(rows, (TableStyle){}, "a\\x1b[2J\\x0ab  \\xff  \\x7f\n");
}

static void test_colours(void **state) {
    _cleanup_(table_freep) Table *t = table_new(headers, 2);
    _cleanup_free_ char *with = NULL, *without = NULL;

    table_add_row(t);
    table_set(t, 0, "a", COLOUR_RED);
    table_set(t, 1, "b", COLOUR_NONE);
    table_add_row(t);
    table_set(t, 0, "long", COLOUR_NONE);
    with = table_format(t, &(TableStyle){.colours = true, .legend = true});
    without = table_format(t, &(TableStyle){.legend = true});
    assert_string_equal(without, "NAME  STATE\na     b\nlong  -\n");
    assert_string_equal(with, "\x1b[1mNAME\x1b[0m  \x1b[1mSTATE\x1b[0m\n\x1b[1;31ma\x1b[0m     b\nlong  -\n");
}

static void test_last_set_counts(void **state) {
    _cleanup_(table_freep) Table *t = table_new(headers, 1);
    _cleanup_free_ char *text = NULL;

    table_add_row(t);
    table_set(t, 0, "first", COLOUR_NONE);
    table_set(t, 0, "", COLOUR_NONE);
    text = table_format(t, &(TableStyle){});
    assert_string_equal(text, "-\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_alignment),
            cmocka_unit_test(test_empty),
            cmocka_unit_test(test_narrow),
            cmocka_unit_test(test_wide_enough),
            cmocka_unit_test(test_utf8),
            cmocka_unit_test(test_hostile),
            cmocka_unit_test(test_colours),
            cmocka_unit_test(test_last_set_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
