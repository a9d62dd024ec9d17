/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Pure, unlike mktime() and its family, which read the time zone from the environment. The days are counted
 * by the rules of the Gregorian calendar. */

#include <inttypes.h>
#include <stdio.h>

#include "base/timestamp.h"

#define USEC_PER_SEC UINT64_C(1000000)

typedef struct Fields {
    unsigned year, month, day, hour, minute, second;
} Fields;

static bool take_number(const char **s, unsigned digits, unsigned min, unsigned max, unsigned *ret) {
    unsigned v = 0;

    for (unsigned i = 0; i < digits; i++) {
        char c = (*s)[i];

        if (c < '0' || c > '9')
            return false;
        v = 10 * v + (unsigned) (c - '0');
    }
    if (v < min || v > max)
        return false;
    *s += digits;
    *ret = v;
    return true;
}

static bool take_char(const char **s, char c) {
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

static bool is_leap_year(unsigned year) {
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static unsigned days_of_month(unsigned year, unsigned month) {
    static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && is_leap_year(year));
}

/* Days from the year 1 to the beginning of this year. */
static uint64_t days_before_year(unsigned year) {
    uint64_t y = year - 1;

    return 365 * y + y / 4 - y / 100 + y / 400;
}

static uint64_t days_since_1970(const Fields *f) {
    uint64_t days = days_before_year(f->year) - days_before_year(1970) + f->day - 1;

    for (unsigned month = 1; month < f->month; month++)
        days += days_of_month(f->year, month);
    return days;
}

/* Takes the fraction of a second. Digits below a microsecond are dropped. */
static bool take_fraction(const char **s, uint64_t *ret_usec) {
    uint64_t usec = 0, unit = USEC_PER_SEC / 10;
    const char *p = *s;

    if (!take_char(&p, '.')) {
        *ret_usec = 0;
        return true;
    }
    if (*p < '0' || *p > '9')
        return false;
    for (; *p >= '0' && *p <= '9'; p++, unit /= 10)
        usec += unit * (uint64_t) (*p - '0');
    *s = p;
    *ret_usec = usec;
    return true;
}

/* Takes "Z" or "+01:00". *ret_seconds is the offset east of UTC. */
static bool take_zone(const char **s, int64_t *ret_seconds) {
    unsigned hours, minutes;
    bool west;

    if (take_char(s, 'Z') || take_char(s, 'z')) {
        *ret_seconds = 0;
        return true;
    }
    west = **s == '-';
    if (!take_char(s, west ? '-' : '+') || !take_number(s, 2, 0, 23, &hours) || !take_char(s, ':') ||
            !take_number(s, 2, 0, 59, &minutes))
        return false;
    *ret_seconds = (int64_t) (hours * 3600 + minutes * 60) * (west ? -1 : 1);
    return true;
}

int timestamp_parse(const char *s, uint64_t *ret_usec) {
    uint64_t usec, seconds;
    int64_t east;
    Fields f;

    if (!take_number(&s, 4, 1970, 9999, &f.year) || !take_char(&s, '-') ||
            !take_number(&s, 2, 1, 12, &f.month) || !take_char(&s, '-') ||
            !take_number(&s, 2, 1, days_of_month(f.year, f.month), &f.day))
        return -EINVAL;
    if (!take_char(&s, 'T') && !take_char(&s, 't'))
        return -EINVAL;
    /* A leap second counts as the first moment of the next minute. */
    if (!take_number(&s, 2, 0, 23, &f.hour) || !take_char(&s, ':') || !take_number(&s, 2, 0, 59, &f.minute) ||
            !take_char(&s, ':') || !take_number(&s, 2, 0, 60, &f.second) || !take_fraction(&s, &usec) ||
            !take_zone(&s, &east) || *s != '\0')
        return -EINVAL;
    seconds = days_since_1970(&f) * 86400 + f.hour * 3600 + f.minute * 60 + f.second;
    if (east > 0 && seconds < (uint64_t) east)
        return -EINVAL;
    *ret_usec = (seconds - (uint64_t) east) * USEC_PER_SEC + usec;
    return 0;
}

const char *timestamp_format(uint64_t usec, char buf[static TIMESTAMP_MAX]) {
    uint64_t seconds = usec / USEC_PER_SEC, days = seconds / 86400;
    unsigned year = 1970, month = 1;

    while (year < 9999 && days >= 365U + is_leap_year(year))
        days -= 365U + is_leap_year(year++);
    while (month < 12 && days >= days_of_month(year, month))
        days -= days_of_month(year, month++);
    seconds %= 86400;
    (void) snprintf(buf, TIMESTAMP_MAX, "%04u-%02u-%02uT%02u:%02u:%02uZ", year, month,
            (unsigned) (days % 31) + 1, (unsigned) (seconds / 3600), (unsigned) (seconds / 60 % 60),
            (unsigned) (seconds % 60));
    return buf;
}

const char *timestamp_format_exact(uint64_t usec, char buf[static TIMESTAMP_EXACT_MAX]) {
    size_t n = strlen(timestamp_format(usec, buf));

    (void) snprintf(buf + n - 1, TIMESTAMP_EXACT_MAX - n + 1, ".%06uZ", (unsigned) (usec % USEC_PER_SEC));
    return buf;
}
