/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/local-time.h"
#include "base/timestamp.h"

static void test_parse(void **state) {
    static const struct {
        const char *text;
        uint64_t usec;
    } good[] = {
            {"1970-01-01T00:00:00Z", 0},
            {"1970-01-01T01:00:00+01:00", 0},
            {"1969-12-31T23:00:00-01:00", UINT64_MAX}, /* 1970 is the first year */
            {"1970-01-01T00:00:00.000001Z", 1},
            {"1970-01-01T00:00:00.0000019Z", 1},
            {"1970-01-01t00:00:01z", 1000000},
            {"2000-02-29T00:00:00Z", UINT64_C(951782400000000)},
            {"2026-12-31T18:00:00Z", UINT64_C(1798740000000000)},
            {"2026-12-31T18:00:00.5-05:30", UINT64_C(1798759800500000)},
            {"2016-12-31T23:59:60Z", UINT64_C(1483228800000000)},
            {"9999-12-31T23:59:59Z", UINT64_C(253402300799000000)},
    };

    for (size_t i = 0; i < ELEMENTSOF(good); i++) {
        uint64_t usec = 42;
        int r = timestamp_parse(good[i].text, &usec);

        if (r != (good[i].usec == UINT64_MAX ? -EINVAL : 0) ||
                usec != (good[i].usec == UINT64_MAX ? 42 : good[i].usec))
            fail_msg("%s: %d, %" PRIu64, good[i].text, r, usec);
    }
}

static void test_malformed(void **state) {
    static const char *const bad[] = {"", "2026", "2026-12-31", "2026-12-31T18:00:00", "2026-12-31 18:00:00Z",
            "2026-12-31T18:00Z", "2026-12-31T18:00:00Z ", " 2026-12-31T18:00:00Z", "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "2026-04-31T00:00:00Z",
            "2026-12-00T00:00:00Z", "2026-12-31T24:00:00Z", "2026-12-31T18:60:00Z", "2026-12-31T18:00:61Z",
            "2026-12-31T18:00:00.Z", "2026-12-31T18:00:00+1:00", "2026-12-31T18:00:00+24:00",
            "2026-12-31T18:00:00+01", "2026-12-31T18:00:00CET", "26-12-31T18:00:00Z", "+2026-12-31T18:00:00Z",
            "1970-01-01T00:00:00+00:01"};

    for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
        uint64_t usec = 42;

        if (timestamp_parse(bad[i], &usec) != -EINVAL || usec != 42)
            fail_msg("%s", bad[i]);
    }
}

/* Compares every day of four hundred years, after which the calendar repeats, with the C library's result. */
static void test_round_trip(void **state) {
    for (uint64_t day = 0; day < 400 * 365; day++) {
        uint64_t seconds = day * 86400 + day % 86400, usec = 0;
        char text[TIMESTAMP_MAX], expected[32];
        time_t t = (time_t) seconds;
        struct tm tm;

        assert_non_null(gmtime_r(&t, &tm));
        assert_true(strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%SZ", &tm) > 0);
        assert_string_equal(timestamp_format(seconds * 1000000, text), expected);
        assert_int_equal(timestamp_parse(text, &usec), 0);
        assert_true(usec == seconds * 1000000);
    }
}

static void test_exact(void **state) {
    static const struct {
        uint64_t usec;
        const char *text;
    } cases[] = {{0, "1970-01-01T00:00:00.000000Z"}, {1, "1970-01-01T00:00:00.000001Z"},
            {UINT64_C(1796057806123456), "2026-11-30T16:56:46.123456Z"},
            {UINT64_C(1796057806999999), "2026-11-30T16:56:46.999999Z"}};

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        char text[TIMESTAMP_EXACT_MAX];
        uint64_t usec = 0;

        assert_string_equal(timestamp_format_exact(cases[i].usec, text), cases[i].text);
        assert_int_equal(timestamp_parse(text, &usec), 0);
        assert_true(usec == cases[i].usec);
    }
    /* A value that is out of range must still fit into a text of that size. */
    {
        char text[TIMESTAMP_EXACT_MAX];

        assert_true(strlen(timestamp_format_exact(UINT64_MAX, text)) < sizeof(text));
    }
}

/* The text names the zone, by its offset if it has no name. */
static void test_local(void **state) {
    static const struct {
        const char *zone, *text;
    } cases[] = {{"UTC0", "2026-11-30 16:56:46 UTC"},
            {"CET-1CEST,M3.5.0,M10.5.0/3", "2026-11-30 17:56:46 CET"}, {"<-03>3", "2026-11-30 13:56:46 -03"},
            {"IST-5:30", "2026-11-30 22:26:46 IST"}};
    char text[LOCAL_TIME_MAX];

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        assert_int_equal(setenv("TZ", cases[i].zone, true), 0);
        local_time_read_zone();
        assert_string_equal(LOCAL_TIME(UINT64_C(1796057806999999)), cases[i].text);
    }
    assert_true(strlen(local_time_format(UINT64_MAX, text)) < sizeof(text));
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_parse),
            cmocka_unit_test(test_malformed),
            cmocka_unit_test(test_exact),
            cmocka_unit_test(test_round_trip),
            cmocka_unit_test(test_local),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
