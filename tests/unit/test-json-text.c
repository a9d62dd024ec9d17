/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "base/json-text.h"
#include "base/str.h"

/* What is refused, at which place, and with which message: operators read the messages, so they are
 * tested. */
static const struct {
    const char *text;
    size_t size; /* 0: strlen(text) */
    unsigned line, column;
    const char *message;
} refused[] = {
        /* nothing there */
        {.text = "", .line = 1, .column = 1, .message = "expected a value, found the end of the file"},
        {.text = " \n\t", .line = 2, .column = 2, .message = "expected a value, found the end of the file"},
        {.text = "// only this",
                .line = 1,
                .column = 13,
                .message = "expected a value, found the end of the file"},
        /* encodings */
        {.text = "\xef\xbb\xbf{}",
                .line = 1,
                .column = 1,
                .message = "begins with a byte order mark: save the file without one"},
        {.text = "\xff\xfe{\0}\0",
                .size = 6,
                .line = 1,
                .column = 1,
                .message = "is UTF-16: save the file as UTF-8"},
        {.text = "\xfe\xff\0{\0}",
                .size = 6,
                .line = 1,
                .column = 1,
                .message = "is UTF-16: save the file as UTF-8"},
        {.text = "[\"\xc3\x28\"]", .line = 1, .column = 3, .message = "invalid UTF-8: byte 0xc3"},
        {.text = "[\"\xc0\xaf\"]", .line = 1, .column = 3, .message = "invalid UTF-8: byte 0xc0"},
        {.text = "[\"\xed\xa0\x80\"]", .line = 1, .column = 3, .message = "invalid UTF-8: byte 0xed"},
        {.text = "[\"\xf4\x90\x80\x80\"]", .line = 1, .column = 3, .message = "invalid UTF-8: byte 0xf4"},
        {.text = "[\"\xf8\x88\x80\x80\x80\"]", .line = 1, .column = 3, .message = "invalid UTF-8: byte 0xf8"},
        {.text = "[\"\x80\"]", .line = 1, .column = 3, .message = "invalid UTF-8: byte 0x80"},
        {.text = "[\"\xe2\x82", .line = 1, .column = 3, .message = "invalid UTF-8: byte 0xe2"},
        {.text = "// caf\xe9\n{}", .line = 1, .column = 7, .message = "invalid UTF-8: byte 0xe9"},
        {.text = "/* \xff */{}", .line = 1, .column = 4, .message = "invalid UTF-8: byte 0xff"},
        {.text = "[\"a\0b\"]",
                .size = 7,
                .line = 1,
                .column = 4,
                .message = "control character 0x00 in a string: write it as an escape"},
        {.text = "//\0\n1", .size = 5, .line = 1, .column = 3, .message = "NUL byte"},
        {.text = "1\0",
                .size = 2,
                .line = 1,
                .column = 2,
                .message = "expected the end of the file after the value, found byte 0x00"},
        {.text = "\xc3\xa9", .line = 1, .column = 1, .message = "expected a value, found byte 0xc3"},
        /* comments */
        {.text = "{ /* no end", .line = 1, .column = 3, .message = "the comment that begins here has no end"},
        {.text = "{}\n /*/", .line = 2, .column = 2, .message = "the comment that begins here has no end"},
        {.text = "/ 1", .line = 1, .column = 1, .message = "expected a value, found '/'"},
        {.text = "{}\n# no",
                .line = 2,
                .column = 1,
                .message = "expected the end of the file after the value, found '#': comments begin with "
                           "//"},
        /* structure */
        {.text = "{}{}",
                .line = 1,
                .column = 3,
                .message = "expected the end of the file after the value, found '{'"},
        {.text = "[1 2]",
                .line = 1,
                .column = 4,
                .message = "expected ',' or ']' after the value, found '2'"},
        {.text = "[1,]",
                .line = 1,
                .column = 4,
                .message = "expected a value after ',', found ']': trailing comma"},
        {.text = "# a policy\n{}",
                .line = 1,
                .column = 1,
                .message = "expected a value, found '#': comments begin with //"},
        {.text = "[,1]", .line = 1, .column = 2, .message = "expected a value or ']', found ','"},
        {.text = "[",
                .line = 1,
                .column = 2,
                .message = "expected a value or ']', found the end of the file"},
        {.text = "[1",
                .line = 1,
                .column = 3,
                .message = "expected ',' or ']' after the value, found the end of the file"},
        {.text = "[1}", .line = 1, .column = 3, .message = "expected ',' or ']' after the value, found '}'"},
        {.text = "{",
                .line = 1,
                .column = 2,
                .message = "expected a key in double quotes or '}', found the end of the file"},
        {.text = "{\n  effect: 1}",
                .line = 2,
                .column = 3,
                .message = "expected a key in double quotes or '}', found 'effect'"},
        {.text = "{'a': 1}",
                .line = 1,
                .column = 2,
                .message = "expected a key in double quotes or '}', found '''"},
        {.text = "{\"a\" 1}", .line = 1, .column = 6, .message = "expected ':' after the key, found '1'"},
        {.text = "{\"a\"=1}", .line = 1, .column = 5, .message = "expected ':' after the key, found '='"},
        {.text = "{\"a\":}", .line = 1, .column = 6, .message = "expected a value after ':', found '}'"},
        {.text = "{\"a\": 1 \"b\": 2}",
                .line = 1,
                .column = 9,
                .message = "expected ',' or '}' after the value, found a string"},
        {.text = "{\"a\": 1,}",
                .line = 1,
                .column = 9,
                .message = "expected a key in double quotes after ',', found '}': trailing comma"},
        {.text = "{\"a\":1,\n \"b\":2,\n \"a\":3}",
                .line = 3,
                .column = 2,
                .message = "duplicate key \"a\", first at 1:2"},
        {.text = "{\"z\":1,\"a\":1,\"z\":2,\"a\":2}",
                .line = 1,
                .column = 14,
                .message = "duplicate key \"z\", first at 1:2"},
        {.text = "{\"a\":1,\"\\u0061\":2}",
                .line = 1,
                .column = 8,
                .message = "duplicate key \"a\", first at 1:2"},
        {.text = "{\"\\u001b\":1,\"\\u001b\":2}",
                .line = 1,
                .column = 13,
                .message = "duplicate key \"\\x1b\", first at 1:2"},
        /* words */
        {.text = "True", .line = 1, .column = 1, .message = "expected a value, found 'True'"},
        {.text = "nul", .line = 1, .column = 1, .message = "expected a value, found 'nul'"},
        {.text = "nulls", .line = 1, .column = 1, .message = "expected a value, found 'nulls'"},
        {.text = "[NaN]", .line = 1, .column = 2, .message = "expected a value or ']', found 'NaN'"},
        {.text = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                .line = 1,
                .column = 1,
                .message = "expected a value, found 'aaaaaaaaaaaaaaaaaaaa...'"},
        {.text = "\x1b[31m", .line = 1, .column = 1, .message = "expected a value, found byte 0x1b"},
        /* numbers */
        {.text = "01", .line = 1, .column = 1, .message = "a number must not begin with 0"},
        {.text = "[-01]", .line = 1, .column = 2, .message = "a number must not begin with 0"},
        {.text = "0x10",
                .line = 1,
                .column = 2,
                .message = "expected the end of the file after the value, found 'x10'"},
        {.text = "-",
                .line = 1,
                .column = 2,
                .message = "expected a digit after '-', found the end of the file"},
        {.text = "+1", .line = 1, .column = 1, .message = "expected a value, found '+1'"},
        {.text = ".5", .line = 1, .column = 1, .message = "expected a value, found '.5'"},
        {.text = "1.",
                .line = 1,
                .column = 3,
                .message = "expected a digit after '.', found the end of the file"},
        {.text = "1.e1", .line = 1, .column = 3, .message = "expected a digit after '.', found 'e1'"},
        {.text = "1e+",
                .line = 1,
                .column = 4,
                .message = "expected a digit in the exponent, found the end of the file"},
        {.text = "1e999", .line = 1, .column = 1, .message = "the number is out of range"},
        {.text = "[-1e999]", .line = 1, .column = 2, .message = "the number is out of range"},
        {.text = "11111111112222222222333333333344444444445555555555666666666677777",
                .line = 1,
                .column = 1,
                .message = "the number has more than 64 characters"},
        /* strings */
        {.text = "[\"a",
                .line = 1,
                .column = 2,
                .message = "the string that begins here has no end on its line"},
        {.text = "[\"a\n\"]",
                .line = 1,
                .column = 2,
                .message = "the string that begins here has no end on its line"},
        {.text = "[\"a\\",
                .line = 1,
                .column = 5,
                .message = "expected one of \" \\ / b f n r t u after '\\', found the end of the file"},
        {.text = "[\"a\tb\"]",
                .line = 1,
                .column = 4,
                .message = "control character 0x09 in a string: write it as an escape"},
        {.text = "[\"\\x41\"]",
                .line = 1,
                .column = 4,
                .message = "expected one of \" \\ / b f n r t u after '\\', found 'x41'"},
        {.text = "[\"\\u12",
                .line = 1,
                .column = 7,
                .message = "expected four hex digits after '\\u', found the end of the file"},
        {.text = "[\"\\u12g4\"]",
                .line = 1,
                .column = 7,
                .message = "expected four hex digits after '\\u', found 'g4'"},
        {.text = "[\"a\\u0000\"]", .line = 1, .column = 4, .message = "'\\u0000' is not allowed"},
        {.text = "[\"\\ud834\"]",
                .line = 1,
                .column = 3,
                .message = "the first half of a surrogate pair has no second half"},
        {.text = "[\"\\ud834\\u0041\"]",
                .line = 1,
                .column = 3,
                .message = "the first half of a surrogate pair has no second half"},
        {.text = "[\"\\udd1e\"]",
                .line = 1,
                .column = 3,
                .message = "the second half of a surrogate pair has no first half"},
};

static void test_refused(void **state) {
    for (size_t i = 0; i < ELEMENTSOF(refused); i++) {
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        size_t size = refused[i].size ?: strlen(refused[i].text);
        JsonError e = {};

        /* A copy of the exact size, so that a sanitizer detects a read beyond the end. */
        char *copy = malloc(size ?: 1);

        assert_non_null(copy);
        memcpy(copy, refused[i].text, size);
        assert_int_equal(json_document_parse(copy, size, &d, &e), -EBADMSG);
        free(copy);
        assert_null(d);
        if (!streq(e.message, refused[i].message) || e.line != refused[i].line ||
                e.column != refused[i].column)
            fail_msg("%s: got %u:%u: %s, not %u:%u: %s", refused[i].text, e.line, e.column, e.message,
                    refused[i].line, refused[i].column, refused[i].message);
    }
}

static JsonDocument *parse(const char *text) {
    JsonDocument *d = NULL;
    JsonError e = {};
    int r = json_document_parse(text, strlen(text), &d, &e);

    if (r < 0)
        fail_msg("%.60s: %d, %u:%u: %s", text, r, e.line, e.column, e.message);
    return d;
}

static void test_values(void **state) {
    static const struct {
        const char *text;
        JsonType type;
        int64_t integer;
        double real;
        const char *string;
    } accepted[] = {
            {.text = "null", .type = JSON_NULL},
            {.text = "true", .type = JSON_BOOLEAN, .integer = 1},
            {.text = "false", .type = JSON_BOOLEAN, .integer = 0},
            {.text = "0", .type = JSON_INTEGER, .integer = 0},
            {.text = "-0", .type = JSON_INTEGER, .integer = 0},
            {.text = "9223372036854775807", .type = JSON_INTEGER, .integer = INT64_MAX},
            {.text = "-9223372036854775808", .type = JSON_INTEGER, .integer = INT64_MIN},
            {.text = "9223372036854775808", .type = JSON_REAL, .real = 9223372036854775808.0},
            {.text = "-9223372036854775809", .type = JSON_REAL, .real = -9223372036854775809.0},
            {.text = "1.5", .type = JSON_REAL, .real = 1.5},
            {.text = "-1.25E+2", .type = JSON_REAL, .real = -125},
            {.text = "1e3", .type = JSON_REAL, .real = 1000},
            {.text = "1e-999", .type = JSON_REAL, .real = 0},
            {.text = "\"\"", .type = JSON_STRING, .string = ""},
            {.text = "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", .type = JSON_STRING, .string = "\"\\/\b\f\n\r\t"},
            {.text = "\"\\u0041\\u00e9\\u20ac\\ud834\\uDD1E\"",
                    .type = JSON_STRING,
                    .string = "A\xc3\xa9\xe2\x82\xac\xf0\x9d\x84\x9e"},
            {.text = "\"\xc3\xa9\xe2\x82\xac\xf0\x9d\x84\x9e\x7f\"",
                    .type = JSON_STRING,
                    .string = "\xc3\xa9\xe2\x82\xac\xf0\x9d\x84\x9e\x7f"},
            {.text = "\"// no /* comment */\"", .type = JSON_STRING, .string = "// no /* comment */"},
            {.text = "[]", .type = JSON_ARRAY},
            {.text = "{}", .type = JSON_OBJECT},
            {.text = "/**/ [ /***/ ] // end", .type = JSON_ARRAY},
            {.text = "\r\n\t {\r\n} \n", .type = JSON_OBJECT},
    };

    for (size_t i = 0; i < ELEMENTSOF(accepted); i++) {
        _cleanup_(json_document_freep) JsonDocument *d = parse(accepted[i].text);
        const JsonNode *n = json_document_root(d);

        assert_int_equal(n->type, accepted[i].type);
        assert_null(n->key);
        assert_null(n->next);
        assert_null(n->children);
        if (n->type == JSON_BOOLEAN)
            assert_int_equal(n->boolean, accepted[i].integer);
        if (n->type == JSON_INTEGER)
            assert_true(n->integer == accepted[i].integer);
        if (n->type == JSON_REAL)
            assert_true(n->real == accepted[i].real);
        if (n->type == JSON_STRING)
            assert_string_equal(n->string, accepted[i].string);
    }
}

static void expect_place(const JsonNode *n, JsonType type, unsigned line, unsigned column) {
    assert_non_null(n);
    assert_int_equal(n->type, type);
    assert_int_equal(n->line, line);
    assert_int_equal(n->column, column);
}

static void expect_key(const JsonNode *n, const char *key, unsigned line, unsigned column) {
    assert_string_equal(n->key, key);
    assert_int_equal(n->key_line, line);
    assert_int_equal(n->key_column, column);
}

static void test_places(void **state) {
    _cleanup_(json_document_freep) JsonDocument *d = parse("// é\n"
                                                           "{ \"a\" : [ 1,\n"
                                                           "    \"\xc3\xa9\", {} ], /* two\n"
                                                           "lines */ \"\xe2\x82\xac\":\n"
                                                           "\tnull }");
    const JsonNode *root = json_document_root(d), *a, *b;

    expect_place(root, JSON_OBJECT, 2, 1);
    a = root->children;
    expect_key(a, "a", 2, 3);
    expect_place(a, JSON_ARRAY, 2, 9);
    expect_place(a->children, JSON_INTEGER, 2, 11);
    expect_place(a->children->next, JSON_STRING, 3, 5);
    expect_place(a->children->next->next, JSON_OBJECT, 3, 11);
    assert_null(a->children->next->next->next);
    assert_null(a->children->key);
    b = a->next;
    expect_key(b, "\xe2\x82\xac", 4, 10);
    expect_place(b, JSON_NULL, 5, 2);
    assert_null(b->next);
}

static void test_depth(void **state) {
    char text[2 * JSON_DEPTH_MAX + 3] = {};
    _cleanup_(json_document_freep) JsonDocument *d = NULL, *none = NULL;
    const JsonNode *n;
    JsonError e = {};
    unsigned depth = 0;

    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    d = parse(text);
    for (n = json_document_root(d); n; n = n->children)
        depth++;
    assert_int_equal(depth, JSON_DEPTH_MAX);

    memset(text, '[', sizeof(text) - 1);
    assert_int_equal(json_document_parse(text, sizeof(text) - 1, &none, &e), -EBADMSG);
    assert_string_equal(e.message, "nested more than 32 deep");
    assert_int_equal(e.column, JSON_DEPTH_MAX + 1);
}

static void test_size(void **state) {
    _cleanup_(json_document_freep) JsonDocument *d = NULL;
    _cleanup_free_ char *text = malloc(JSON_SIZE_MAX + 1);
    JsonError e = {};

    assert_non_null(text);
    memset(text, ' ', JSON_SIZE_MAX + 1);
    text[0] = '1';
    assert_int_equal(json_document_parse(text, JSON_SIZE_MAX + 1, &d, &e), -EBADMSG);
    assert_string_equal(e.message, "larger than 4194304 bytes");
    assert_int_equal(json_document_parse(text, JSON_SIZE_MAX, &d, &e), 0);
}

static void test_number_of_values(void **state) {
    _cleanup_free_ char *text = malloc(2 * JSON_NODES_MAX + 2);
    _cleanup_(json_document_freep) JsonDocument *d = NULL, *none = NULL;
    JsonError e = {};
    size_t n = 0;

    assert_non_null(text);
    text[n++] = '[';
    for (unsigned i = 1; i < JSON_NODES_MAX; i++) {
        text[n++] = '0';
        text[n++] = ',';
    }
    text[n - 1] = ']';
    assert_int_equal(json_document_parse(text, n, &d, &e), 0);
    memcpy(text + n - 1, ",0]", 3);
    assert_int_equal(json_document_parse(text, n + 2, &none, &e), -EBADMSG);
    assert_string_equal(e.message, "more than 262144 values");
}

static char *object_of(unsigned n_keys, const char *last) {
    StrBuf b = {};
    char *text;

    strbuf_add(&b, "{");
    for (unsigned i = 0; i < n_keys; i++)
        strbuf_addf(&b, "\"key-%u\":%u,\n", i, i);
    strbuf_addf(&b, "\"%s\":0}", last);
    text = strbuf_steal(&b);
    assert_non_null(text);
    return text;
}

/* The search for duplicates must not be quadratic: 200,000 keys would then take minutes. The bound is far
 * above the normal time (tens of milliseconds), so that load does not matter. */
static void test_many_keys(void **state) {
    _cleanup_free_ char *good = object_of(200000, "last"), *bad = object_of(10000, "key-17");
    _cleanup_(json_document_freep) JsonDocument *d = NULL, *none = NULL;
    clock_t begin = clock();
    JsonError e = {};
    unsigned n = 0;

    d = parse(good);
    for (const JsonNode *m = json_document_root(d)->children; m; m = m->next)
        n++;
    assert_int_equal(n, 200001);
    assert_int_equal(json_document_parse(bad, strlen(bad), &none, &e), -EBADMSG);
    assert_string_equal(e.message, "duplicate key \"key-17\", first at 18:1");
    assert_int_equal(e.line, 10001);
    assert_int_equal(e.column, 1);
    assert_true(clock() - begin < 20 * CLOCKS_PER_SEC);
}

/* Every prefix of a rich text is parsed or refused, without a read beyond its end. */
static void test_prefixes(void **state) {
    static const char text[] =
            "{\"a\":[1,-2.5e3,true,null,\"\\ud834\\udd1e\xe2\x82\xac\"],//x\n\"b\":{/*y*/}}";

    for (size_t size = 0; size < sizeof(text) - 1; size++) {
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        char *copy = malloc(size ?: 1);
        JsonError e = {};

        assert_non_null(copy);
        memcpy(copy, text, size);
        assert_int_equal(json_document_parse(copy, size, &d, &e), -EBADMSG);
        assert_true(e.line > 0 && e.column > 0 && e.message[0] != '\0');
        free(copy);
    }
    json_document_free(parse(text));
}

/* What a program sends must be strict JSON. */
static void test_plain(void **state) {
    static const JsonBounds bounds = {.size = 100, .nodes = 100, .plain = true};
    static const char *const texts[] = {"//x\n{}", "{/*x*/}", "{} //x", "[1,/**/2]"};
    _cleanup_(json_document_freep) JsonDocument *plain = NULL;
    JsonError e;

    for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
        JsonDocument *d = NULL;

        assert_int_equal(json_document_parse_bounded(texts[i], strlen(texts[i]), &bounds, &d, &e), -EBADMSG);
        assert_null(d);
    }
    assert_int_equal(json_document_parse_bounded(" {\"//\": \"/*\"} ", 14, &bounds, &plain, &e), 0);
}

static void test_types(void **state) {
    for (JsonType t = 0; t < _JSON_TYPE_MAX; t++)
        assert_int_equal(json_type_from_string(json_type_to_string(t)), t);
    assert_null(json_type_to_string(_JSON_TYPE_MAX));
    assert_int_equal(json_type_from_string("thing"), _JSON_TYPE_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_refused),
            cmocka_unit_test(test_values),
            cmocka_unit_test(test_places),
            cmocka_unit_test(test_depth),
            cmocka_unit_test(test_size),
            cmocka_unit_test(test_number_of_values),
            cmocka_unit_test(test_many_keys),
            cmocka_unit_test(test_prefixes),
            cmocka_unit_test(test_plain),
            cmocka_unit_test(test_types),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
