/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/table.h"

static const TableColumn columns[] = {{"NAME", .cut = 8}, {"STATE", .cut = 8}, {"A HEADER"}};

/* cells: rows of three, ended by NULL in the first column. */
static void shows(const char *const cells[][3], TableStyle style, const char *expected) {
    _cleanup_(table_freep) Table *t = table_new(columns, ELEMENTSOF(columns));
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
    /* The widest column shrinks first, then both. None becomes narrower than its header or its minimum. */
    shows(two_rows, (TableStyle){.legend = true, .width = 36},
            "NAME           STATE        A HEADER\n"
            "pci:0000:06:…  free         -\n"
            "x              quarantined  last\n");
    shows(two_rows, (TableStyle){.legend = true, .width = 36, .ascii = true},
            "NAME           STATE        A HEADER\n"
            "pci:0000:0...  free         -\n"
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

static char *format(const TableColumn *c, size_t n, const char *const *cells, TableStyle style) {
    _cleanup_(table_freep) Table *t = table_new(c, n);
    char *text;

    assert_non_null(t);
    for (size_t i = 0; cells[i]; i++) {
        if (i % n == 0)
            table_add_row(t);
        table_set(t, i % n, cells[i], COLOUR_NONE);
    }
    text = table_format(t, &style);
    assert_non_null(text);
    return text;
}

/* Columns are removed before a more important one is cut. The least important column with content stays
 * longer than an empty one. Required columns stay whole. */
static void test_columns_are_dropped(void **state) {
    static const TableColumn some[] = {{"PLACE"}, {"NODE", .drop = 2}, {"WHY", .cut = 6, .drop = 1},
            {"EMPTY", .drop = 1}, {"ALL", .wide = true}};
    static const char *const cells[] = {"/etc/x.json:12", "vfio0", "a long reason", "", "1", NULL};
    static const struct {
        size_t width;
        const char *expected;
    } cases[] = {
            {43, "/etc/x.json:12  vfio0  a long reason  -\n"},
            {39, "/etc/x.json:12  vfio0  a long reason  -\n"},
            {38, "/etc/x.json:12  vfio0  a long reason\n"},
            {36, "/etc/x.json:12  vfio0  a long reason\n"},
            {35, "/etc/x.json:12  a long reason\n"},
            {28, "/etc/x.json:12  a long reas…\n"},
            {22, "/etc/x.json:12  a lon…\n"},
            {21, "/etc/x.json:12\n"},
            {3, "/etc/x.json:12\n"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *text = format(some, 5, cells, (TableStyle){.width = cases[i].width});

        assert_string_equal(text, cases[i].expected);
    }
}

/* Of two columns that can be cut, the less important one is cut as far as it can be, and dropped, before the
 * other one loses a character. A header is never cut. */
static void test_what_is_cut_first(void **state) {
    static const TableColumn some[] = {
            {"NAME"}, {"A MODEL", .cut = 3, .drop = 1}, {"REASON", .cut = 4, .drop = 2}};
    static const char *const cells[] = {"vfio0", "a long model", "a long reason", NULL};
    static const struct {
        size_t width;
        const char *expected;
    } cases[] = {
            {34, "NAME   A MODEL       REASON\nvfio0  a long model  a long reason\n"},
            {33, "NAME   A MODEL       REASON\nvfio0  a long model  a long reas…\n"},
            {27, "NAME   A MODEL       REASON\nvfio0  a long model  a lon…\n"},
            {26, "NAME   A MODEL\nvfio0  a long model\n"},
            {18, "NAME   A MODEL\nvfio0  a long mod…\n"},
            {14, "NAME   A MODEL\nvfio0  a long…\n"},
            {13, "NAME\nvfio0\n"},
            {1, "NAME\nvfio0\n"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *text =
                format(some, 3, cells, (TableStyle){.width = cases[i].width, .legend = true});

        assert_string_equal(text, cases[i].expected);
    }
}

static void test_below(void **state) {
    static const TableColumn some[] = {{"RULE"}, {"WHO", .drop = 1, .below = true},
            {"ALL TERMS", .drop = 2, .below = true}, {"PLACE", .cut = 5}};
    static const char *const cells[][4] = {
            {"one", "user alice", "memlock 64G, limits claims 1 devices 4 pinned 16G", "/etc/a.json:3"},
            {"two", "anybody", NULL, "/etc/a.json:9"}};
    const struct {
        size_t width;
        const char *expected;
    } cases[] = {
            {0,
                    "RULE  WHO         ALL TERMS                                          PLACE\n"
                    "one   user alice  memlock 64G, limits claims 1 devices 4 pinned 16G  /etc/a.json:3\n"
                    "two   anybody     -                                                  /etc/a.json:9\n"},
            {40,
                    "RULE  WHO         PLACE\n"
                    "one   user alice  /etc/a.json:3\n"
                    "    all terms: memlock 64G, limits\n"
                    "        claims 1 devices 4 pinned 16G\n"
                    "two   anybody     /etc/a.json:9\n"},
            /* No text is cut before all optional columns were moved below the row. */
            {22,
                    "RULE  PLACE\n"
                    "one   /etc/a.json:3\n"
                    "    who: user alice\n"
                    "    all terms: memlock\n"
                    "        64G, limits\n"
                    "        claims 1\n"
                    "        devices 4\n"
                    "        pinned 16G\n"
                    "two   /etc/a.json:9\n"
                    "    who: anybody\n"},
            {14,
                    "RULE  PLACE\n"
                    "one   /etc/a.…\n"
                    "    who: user\n"
                    "        alice\n"
                    "    all terms:\n"
                    "        memlock\n"
                    "        64G,\n"
                    "        limits\n"
                    "        claims\n"
                    "        1\n"
                    "        devices\n"
                    "        4\n"
                    "        pinned\n"
                    "        16G\n"
                    "two   /etc/a.…\n"
                    "    who: anybody\n"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_(table_freep) Table *t = table_new(some, ELEMENTSOF(some));
        const TableStyle style = {.legend = true, .width = cases[i].width};
        _cleanup_free_ char *text = NULL;

        for (size_t r = 0; r < ELEMENTSOF(cells); r++) {
            table_add_row(t);
            for (size_t c = 0; c < ELEMENTSOF(some); c++)
                table_set(t, c, cells[r][c], COLOUR_NONE);
        }
        text = table_format(t, &style);
        assert_non_null(text);
        assert_string_equal(text, cases[i].expected);
    }
}

static void test_height(void **state) {
    static const TableColumn some[] = {{"N"}};
    static const char *const cells[] = {"1", "2", "3", NULL};
    static const struct {
        size_t height;
        bool legend;
        const char *expected;
    } cases[] = {
            {0, true, "N\n1\n2\n3\n"},
            {4, true, "N\n1\n2\n3\n"},
            {3, false, "1\n2\n3\n"},
            {3, true, "N\n1\n(2 more)\n"},
            {2, false, "1\n(2 more)\n"},
            {2, true, "N\n(3 more)\n"},
            {1, true, "N\n(3 more)\n"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *text =
                format(some, 1, cells, (TableStyle){.legend = cases[i].legend, .height = cases[i].height});

        assert_string_equal(text, cases[i].expected);
    }
}

static void test_wide_and_name(void **state) {
    static const TableColumn some[] = {{"NAME"}, {"ALL", .wide = true}};
    static const char *const cells[] = {"a", "1", "b\n", "", NULL};
    _cleanup_free_ char *narrow = format(some, 2, cells, (TableStyle){.legend = true}),
                        *wide = format(some, 2, cells, (TableStyle){.legend = true, .wide = true}),
                        *name = format(
                                some, 2, cells, (TableStyle){.legend = true, .wide = true, .name = true}),
                        *none = format(some, 2, cells + 4, (TableStyle){.name = true});

    assert_string_equal(narrow, "NAME\na\nb\\x0a\n");
    assert_string_equal(wide, "NAME   ALL\na      1\nb\\x0a  -\n");
    assert_string_equal(name, "a\nb\\x0a\n");
    assert_string_equal(none, "");
}

static void test_sort(void **state) {
    static const TableColumn some[] = {{"NAME"}, {"HOW MANY"}};
    static const char *const rows[][2] = {{"a", "10"}, {"b", ""}, {"c", "9"}, {"d", "10"}, {"e", "x"}};
    _cleanup_(table_freep) Table *t = table_new(some, 2), *empty = table_new(some, 2);
    _cleanup_free_ char *text = NULL;

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        table_add_row(t);
        table_set(t, 0, rows[i][0], COLOUR_NONE);
        table_set(t, 1, rows[i][1], COLOUR_NONE);
    }
    assert_int_equal(table_sort(t, "how"), -ENOENT);
    assert_int_equal(table_sort(t, ""), -ENOENT);
    assert_int_equal(table_sort(t, "How-Many"), 0);
    text = table_format(t, &(TableStyle){});
    assert_string_equal(text, "c  9\na  10\nd  10\ne  x\nb  -\n");
    /* More can still be added. */
    table_add_row(t);
    table_set(t, 0, "0", COLOUR_NONE);
    assert_int_equal(table_sort(t, "name"), 0);
    free(text);
    text = table_format(t, &(TableStyle){.name = true});
    assert_string_equal(text, "0\na\nb\nc\nd\ne\n");
    assert_int_equal(table_sort(empty, "name"), 0);
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
    _cleanup_(table_freep) Table *t = table_new(columns, 2);
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
    _cleanup_(table_freep) Table *t = table_new(columns, 1);
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
            cmocka_unit_test(test_columns_are_dropped),
            cmocka_unit_test(test_what_is_cut_first),
            cmocka_unit_test(test_below),
            cmocka_unit_test(test_height),
            cmocka_unit_test(test_wide_and_name),
            cmocka_unit_test(test_sort),
            cmocka_unit_test(test_utf8),
            cmocka_unit_test(test_hostile),
            cmocka_unit_test(test_colours),
            cmocka_unit_test(test_last_set_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
