/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/sorted.h"
#include "base/str.h"
#include "core/error.h"

static void test_parse_unsigned(void **state) {
    uint64_t v = 7;

    assert_int_equal(parse_unsigned("0", 10, 9, &v), 0);
    assert_int_equal(v, 0);
    assert_int_equal(parse_unsigned("ffFF", 16, 0xffff, &v), 0);
    assert_int_equal(v, 0xffff);
    assert_int_equal(parse_unsigned("18446744073709551615", 10, UINT64_MAX, &v), 0);
    assert_true(v == UINT64_MAX);

    v = 7;
    assert_int_equal(parse_unsigned("18446744073709551616", 10, UINT64_MAX, &v), -ERANGE);
    assert_int_equal(parse_unsigned("10", 10, 9, &v), -ERANGE);
    static const char *const bad[] = {"", " 1", "1 ", "-1", "+1", "0x1", "1a", "٣"};
    for (size_t i = 0; i < ELEMENTSOF(bad); i++)
        assert_int_equal(parse_unsigned(bad[i], 10, UINT64_MAX, &v), -EINVAL);
    assert_int_equal(v, 7);
}

static void test_put_hex(void **state) {
    static const struct {
        uint64_t number;
        unsigned digits;
        const char *text;
    } cases[] = {
            {0, 1, "0"},
            {0xa, 4, "000a"},
            {0x12345, 4, "12345"},
            {0x10000000000, 1, "10000000000"},
            {UINT64_MAX, 16, "ffffffffffffffff"},
            {UINT64_MAX, 1, "ffffffffffffffff"},
            {1, 16, "0000000000000001"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        char text[17];

        assert_ptr_equal(put_hex(text, cases[i].number, cases[i].digits), text + strlen(cases[i].text));
        assert_string_equal(text, cases[i].text);
    }
}

static void test_copy_text(void **state) {
    char text[4] = "xxx";

    put_text(text, sizeof(text), "");
    assert_string_equal(text, "");
    put_text(text, sizeof(text), "abc");
    assert_string_equal(text, "abc");
    put_text(text, sizeof(text), "defg");
    assert_string_equal(text, "def");
    put_text(text, 1, "h");
    assert_string_equal(text, "");
}

static void test_sizes(void **state) {
    static const struct {
        const char *text, *again;
        uint64_t size;
    } good[] = {
            {"0", "0", 0},
            {"4097", "4097", 4097},
            {"4096", "4K", 4096},
            {"16G", "16G", UINT64_C(16) << 30},
            {"1024G", "1T", UINT64_C(1) << 40},
            {"16777215T", "16777215T", UINT64_C(16777215) << 40},
            {"18446744073709551615", "18446744073709551615", UINT64_MAX},
    };
    static const char *const bad[] = {"", "G", "1GG", "1g", "1 G", "-1", "1.5G", "0x10", "1P"};
    static const char *const large[] = {"16777216T", "18446744073709551616", "99999999999999999999999999"};
    char buf[FORMAT_SIZE_MAX];
    uint64_t v;

    for (size_t i = 0; i < ELEMENTSOF(good); i++) {
        assert_int_equal(parse_size(good[i].text, &v), 0);
        assert_true(v == good[i].size);
        assert_string_equal(format_size(v, buf), good[i].again);
    }
    v = 7;
    for (size_t i = 0; i < ELEMENTSOF(bad); i++)
        assert_int_equal(parse_size(bad[i], &v), -EINVAL);
    for (size_t i = 0; i < ELEMENTSOF(large); i++)
        assert_int_equal(parse_size(large[i], &v), -ERANGE);
    assert_int_equal(v, 7);
}

static void test_glob(void **state) {
    static const struct {
        const char *pattern, *text;
        bool match;
    } cases[] = {
            {"", "", true},
            {"*", "", true},
            {"?", "", false},
            {"pci:0000:06:*", "pci:0000:06:0d.0", true},
            {"pci:0000:06:*", "pci:0000:07:0d.0", false},
            {"*:0?.[0-3]", "06:0d.3", true},
            {"*:0?.[0-3]", "06:0d.4", false},
            {"[!a]", "b", true},
            {"[!a]", "a", false},
            {"[]x]", "]", true},
            {"[a", "[a", true}, /* a bracket that is never closed matches itself */
            {"a*b*c", "aXbYc", true},
            {"a*b*c", "aXbY", false},
            {"a*******************************b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++)
        if (glob_match(cases[i].pattern, cases[i].text) != cases[i].match)
            fail_msg("%s against %s", cases[i].pattern, cases[i].text);
}

/* Tries every length for every star. The table above covers brackets. */
static bool slow_match(const char *pattern, const char *s) {
    if (*pattern == '*')
        return slow_match(pattern + 1, s) || (*s && slow_match(pattern, s + 1));
    if (*pattern == '\0' || *s == '\0')
        return *pattern == *s;
    return (*pattern == '?' || *pattern == *s) && slow_match(pattern + 1, s + 1);
}

/* Tries every pattern and every text of up to five letters of a small alphabet. */
static void test_glob_against_slow(void **state) {
    static const char letters[] = "ab*?";
    unsigned n_matches = 0;

    for (unsigned i = 0; i < 5 * 5 * 5 * 5 * 5; i++) {
        char pattern[6] = {};

        for (unsigned k = 0, rest = i; k < 5 && rest % 5 != 0; k++, rest /= 5)
            pattern[k] = letters[rest % 5 - 1];
        for (unsigned t = 0; t < 3 * 3 * 3 * 3 * 3; t++) {
            char text[6] = {};
            bool expected;

            for (unsigned k = 0, rest = t; k < 5 && rest % 3 != 0; k++, rest /= 3)
                text[k] = letters[rest % 3 - 1];
            expected = slow_match(pattern, text);
            if (glob_match(pattern, text) != expected)
                fail_msg("\"%s\" %s \"%s\"", pattern, expected ? "matches" : "does not match", text);
            n_matches += expected;
        }
    }
    assert_true(n_matches > 10000);
}

static void test_sanitize(void **state) {
    static const struct {
        const char *in, *out;
        size_t max;
    } cases[] = {
            {"plain", "plain", 100},
            {"a\nb\x1b[31m\x7f", "a\\x0ab\\x1b[31m\\x7f", 100},
            {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", 100},
            {"\xc0\xaf\xed\xa0\x80\xff", "\\xc0\\xaf\\xed\\xa0\\x80\\xff", 100},
            {"\xc2\x9b", "\\xc2\\x9b", 100}, /* CSI in eight bits */
            {"a\xe2\x80\xae"
             "b",
                    "a\\xe2\\x80\\xaeb", 100}, /* U+202E overrides the direction */
            {"\xe2\x80\xa6\xe2\x82\xac", "\xe2\x80\xa6\xe2\x82\xac", 100}, /* ellipsis and euro stay */
            {"\xe2\x82", "\\xe2\\x82", 100},                               /* cut short by the NUL */
            {"abcdef", "abc…", 3},
            {"a\xc3\xbc", "a…", 2}, /* never half a character */
            {"", "", 0},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *s = sanitize(cases[i].in, cases[i].max);

        assert_non_null(s);
        assert_true(utf8_is_valid(s));
        assert_string_equal(s, cases[i].out);
    }
    assert_false(utf8_is_valid("\xf4\x90\x80\x80"));
    assert_false(utf8_is_valid("\xe0\x80\x80"));
    for (const char *const *s = (const char *const[]){"\xef\xbf\xbe", "\xef\xbf\xbf", "\xef\xb7\x90",
                 "\xef\xb7\xaf", "\xf4\x8f\xbf\xbf", NULL};
            *s; s++)
        assert_false(utf8_is_valid(*s)); /* noncharacters */
    for (const char *const *s = (const char *const[]){"\xef\xbf\xbd", "\xef\xb7\x8f", "\xef\xb7\xb0",
                 "\xf4\x8f\xbf\xbd", NULL};
            *s; s++)
        assert_true(utf8_is_valid(*s));
}

static void test_nearest(void **state) {
    static const char *const words[] = {"effect", "who", "what", "backend", NULL};

    assert_string_equal(nearest("efect", words), "effect");
    assert_string_equal(nearest("waht", words), "what");
    assert_null(nearest("password", words));
    assert_null(nearest("an-endless-word-that-somebody-pasted-here-by-mistake", words));
}

static void test_strbuf(void **state) {
    _cleanup_strbuf_ StrBuf b = {};
    _cleanup_free_ char *s = NULL, *empty = NULL;

    for (int i = 0; i < 1000; i++)
        strbuf_addf(&b, "%d,", i);
    assert_int_equal(b.length, 3890);
    s = strbuf_steal(&b);
    assert_non_null(s);
    assert_int_equal(strlen(s), 3890);
    empty = strbuf_steal(&b);
    assert_string_equal(empty, "");
}

static int make_directory(void **state) {
    static char path[] = "/tmp/vfiod-test-XXXXXX";
    int *fd = malloc(sizeof(*fd));

    if (!fd || !mkdtemp(path))
        return -1;
    *fd = open(path, O_DIRECTORY | O_CLOEXEC);
    *state = fd;
    return rmdir(path); /* the open fd keeps it, but it takes no new files */
}

static int drop_directory(void **state) {
    close(*(int *) *state);
    free(*state);
    return 0;
}

static void test_files(void **state) {
    char path[] = "/tmp/vfiod-test-XXXXXX", buf[8];
    _cleanup_free_ char *text = NULL;
    _cleanup_close_ int dir = -EBADF;
    struct stat st;
    size_t size;

    assert_non_null(mkdtemp(path));
    dir = open(path, O_DIRECTORY | O_CLOEXEC);
    assert_true(dir >= 0);

    assert_int_equal(write_file_atomic_at(dir, "a", "abc\n\n", 5, 0640), 0);
    assert_int_equal(fstatat(dir, "a", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(read_attribute_at(dir, "a", buf, sizeof(buf)), 3);
    assert_string_equal(buf, "abc");
    assert_int_equal(read_file_at(dir, "a", 5, &text, &size), 0);
    assert_int_equal(size, 5);
    assert_int_equal(read_file_at(dir, "a", 4, &text, &size), -E2BIG);
    assert_int_equal(read_file_at(AT_FDCWD, path, 4, &text, &size), -EISDIR);

    assert_int_equal(write_file_atomic_at(dir, "a", "12345678", 8, 0600), 0);
    assert_int_equal(read_attribute_at(dir, "a", buf, sizeof(buf)), -E2BIG);
    assert_int_equal(write_file_atomic_at(dir, "a", "1\0002", 3, 0600), 0);
    assert_int_equal(read_attribute_at(dir, "a", buf, sizeof(buf)), -EBADMSG);
    assert_int_equal(read_attribute_at(dir, "b", buf, sizeof(buf)), -ENOENT);

    assert_int_equal(symlinkat("../../drivers/vfio-pci", dir, "driver"), 0);
    assert_int_equal(read_link_basename_at(dir, "driver", buf, sizeof(buf)), -E2BIG);
    char longer[16];
    assert_int_equal(read_link_basename_at(dir, "driver", longer, sizeof(longer)), 8);
    assert_string_equal(longer, "vfio-pci");
    assert_int_equal(read_link_basename_at(dir, "none", longer, sizeof(longer)), -ENOENT);

    assert_int_equal(write_attribute_at(dir, "none", "1"), -ENOENT);
    assert_int_equal(unlinkat(dir, "a", 0), 0);
    assert_int_equal(unlinkat(dir, "driver", 0), 0);
    assert_int_equal(rmdir(path), 0);
}

/* On a full disk (here: a directory that takes no new files) there must be an error and no incomplete
 * file. */
static void test_atomic_failure(void **state) {
    assert_int_equal(write_file_atomic_at(*(int *) *state, "a", "x", 1, 0600), -ENOENT);
}

static void test_error_table(void **state) {
    for (VfiodError e = 0; e < _VFIOD_ERROR_MAX; e++) {
        _cleanup_free_ char *bus_name = NULL;
        const ErrorInfo *info = error_info(e);

        assert_non_null(info);
        assert_true(info->error > 0);
        assert_true(info->exit_status >= 10 && info->exit_status < 126);
        for (VfiodError f = 0; f < e; f++)
            assert_int_not_equal(error_info(f)->exit_status, info->exit_status);
        bus_name = format_string("%s%s", VFIOD_ERROR_PREFIX, info->name);
        assert_int_equal(error_from_bus_name(bus_name), e);
    }
    assert_null(error_info(_VFIOD_ERROR_MAX));
    assert_int_equal(error_from_bus_name("org.freedesktop.DBus.Error.Failed"), _VFIOD_ERROR_INVALID);
}

static void test_refusal(void **state) {
    _cleanup_(refusal_done) Refusal r = REFUSAL_NULL;
    _cleanup_free_ char *text = NULL, *with_rule = NULL;
    DeviceName name = {.kind = DEVICE_KIND_PCI, .pci_bus = 6, .slot = 13};

    assert_int_equal(refuse(&r, VFIOD_ERROR_DEVICE_GONE, &name, "unplugged while %s", "binding"), -ENODEV);
    text = refusal_format(&r);
    assert_string_equal(text,
            "pci:0000:06:0d.0: unplugged while binding. It was unplugged or unbound. 'vfioctl list' shows "
            "the devices that exist now.");

    assert_int_equal(refuse(&r, VFIOD_ERROR_ACCESS_DENIED, NULL, "no"), -EACCES);
    r.rule = strdup("r (f:1)");
    r.remedy = strdup("Ask.");
    with_rule = refusal_format(&r);
    assert_string_equal(with_rule, "no [rule r (f:1)]. Ask.");
}

static void test_least_and_most(void **state) {
    unsigned n = 0;

    assert_int_equal(MIN(n++, 10), 0);
    assert_int_equal(n, 1);
    assert_int_equal(MAX(MIN(n++, 10), n++), 2);
    assert_int_equal(n, 3);
}

/* Texts are examined eight bytes at a time. Each byte is tried in each place, among bytes that need no escape
 * and among the highest and lowest that do. */
static void test_every_byte(void **state) {
    static const char others[] = "a ~\"\\\x1f\x7f";
    char text[20];

    for (unsigned byte = 1; byte <= 0xff; byte++)
        for (size_t place = 0; place < sizeof(text) - 1; place++)
            for (size_t other = 0; other < strlen(others); other++) {
                _cleanup_strbuf_ StrBuf whole = {}, parts = {};
                _cleanup_free_ char *clean = NULL, *one = NULL;
                const char single[] = {(char) byte, '\0'}, around[] = {others[other], '\0'};
                size_t plain = 0, begins[sizeof(text)];

                memset(text, others[other], sizeof(text) - 1);
                text[sizeof(text) - 1] = '\0';
                text[place] = (char) byte;
                while (text[plain] >= ' ' && text[plain] <= '~' && !strchr("\"\\", text[plain]))
                    plain++;
                assert_int_equal(count_printable(text, sizeof(text) - 1), plain);
                assert_int_equal(count_printable(text, place), MIN(plain, place));

                strbuf_add_json(&whole, text);
                strbuf_add(&parts, "\"");
                for (size_t i = 0; i < sizeof(text) - 1; i++) {
                    _cleanup_strbuf_ StrBuf b = {};

                    begins[i] = parts.length;
                    strbuf_add_json(&b, i == place ? single : around);
                    strbuf_add_bytes(&parts, b.text + 1, b.length - 2);
                }
                strbuf_add(&parts, "\"");
                assert_string_equal(whole.text, parts.text);
                for (size_t i = 0; i < sizeof(text) - 1; i++) { /* every length, no byte before it */
                    _cleanup_strbuf_ StrBuf b = {};

                    strbuf_add_json(&b, text + i);
                    assert_string_equal(b.text + 1, whole.text + begins[i]);
                }

                clean = sanitize(text, sizeof(text));
                one = sanitize(single, 1);
                assert_non_null(strstr(clean, one));
                assert_int_equal(strlen(clean),
                        strlen(one) +
                                (sizeof(text) - 2) * (others[other] < ' ' || others[other] > '~' ? 4 : 1));
            }
}

static void test_put_numbered(void **state) {
    char to[12];

    put_numbered(to, sizeof(to), "/dev/", 0);
    assert_string_equal(to, "/dev/0");
    put_numbered(to, sizeof(to), "", INT64_MIN); /* cut if it does not fit */
    assert_string_equal(to, "-9223372036");
    put_numbered(to, sizeof(to), "longer than that", 7);
    assert_string_equal(to, "longer than");
}

#define SORTED_KEYS 1000

static int compare_ints(const void *a, const void *b) {
    int x = *(const int *) a, y = *(const int *) b;

    return x < y ? -1 : x > y;
}

typedef struct SortedWalk {
    const bool *present;
    int last, n, stop;
} SortedWalk;

static int visit_sorted(void *element, void *userdata) {
    SortedWalk *w = userdata;
    int key = *(int *) element;

    assert_true(key > w->last && w->present[key]);
    w->last = key;
    return ++w->n == w->stop ? key + 1 : 0;
}

/* Compares the results of all queries with a table of the present keys. */
static void check_sorted(const Sorted *s, int *keys, const bool *present, int n_present) {
    SortedWalk walk = {.present = present, .last = -1}, half = {.present = present, .last = -1};
    int next = -1;

    assert_int_equal(sorted_foreach(s, visit_sorted, &walk), 0);
    assert_int_equal(walk.n, n_present);
    for (int key = SORTED_KEYS - 1; key >= 0; key--) {
        assert_ptr_equal(sorted_find(s, &key, compare_ints), present[key] ? &keys[key] : NULL);
        assert_ptr_equal(sorted_next(s, &key, compare_ints), next >= 0 ? &keys[next] : NULL);
        if (present[key])
            next = key;
    }
    assert_ptr_equal(sorted_next(s, NULL, compare_ints), next >= 0 ? &keys[next] : NULL);
    half.stop = n_present / 2;
    next = sorted_foreach(s, visit_sorted, &half);
    assert_int_equal(next, half.stop > 0 ? half.last + 1 : 0);
    assert_int_equal(half.n, half.stop > 0 ? half.stop : n_present);
}

static void test_sorted(void **state) {
    static const int steps[] = {1, SORTED_KEYS - 1, 7, 389}; /* up, down, and in jumps over all keys */
    static const int begins[] = {0, SORTED_KEYS - 1, 500, 500};
    int keys[SORTED_KEYS];

    for (int i = 0; i < SORTED_KEYS; i++)
        keys[i] = i;
    for (size_t in = 0; in < ELEMENTSOF(steps); in++)
        for (size_t out = 0; out < ELEMENTSOF(steps); out++) {
            bool present[SORTED_KEYS] = {};
            Sorted s = {};

            for (int i = 0, key = begins[in]; i < SORTED_KEYS; i++, key = (key + steps[in]) % SORTED_KEYS) {
                assert_int_equal(sorted_insert(&s, &keys[key], compare_ints), 0);
                present[key] = true;
                if (i % 97 == 0)
                    check_sorted(&s, keys, present, i + 1);
            }
            check_sorted(&s, keys, present, SORTED_KEYS);
            assert_in_range(s.n_pages, 1, in < 2 ? 8 : 16); /* full, or at least half full */
            for (int i = 0, key = 333; i < SORTED_KEYS; i++, key = (key + steps[out]) % SORTED_KEYS) {
                sorted_remove(&s, &key, compare_ints);
                sorted_remove(&s, &key, compare_ints); /* it is not there any more */
                present[key] = false;
                if (i % 97 == 0)
                    check_sorted(&s, keys, present, SORTED_KEYS - 1 - i);
            }
            assert_int_equal(s.n_pages, 0);
            assert_int_equal(sorted_insert(&s, &keys[3], compare_ints), 0);
            sorted_done(&s, NULL);
            check_sorted(&s, keys, present, 0);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_sorted),
            cmocka_unit_test(test_every_byte),
            cmocka_unit_test(test_put_numbered),
            cmocka_unit_test(test_least_and_most),
            cmocka_unit_test(test_parse_unsigned),
            cmocka_unit_test(test_put_hex),
            cmocka_unit_test(test_copy_text),
            cmocka_unit_test(test_sizes),
            cmocka_unit_test(test_glob),
            cmocka_unit_test(test_glob_against_slow),
            cmocka_unit_test(test_sanitize),
            cmocka_unit_test(test_nearest),
            cmocka_unit_test(test_strbuf),
            cmocka_unit_test(test_files),
            cmocka_unit_test_setup_teardown(test_atomic_failure, make_directory, drop_directory),
            cmocka_unit_test(test_error_table),
            cmocka_unit_test(test_refusal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
