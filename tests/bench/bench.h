/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Samples in microseconds, and what is said of them. */

#include <stdio.h>
#include <time.h>

#include "base/macro.h"

typedef struct Series {
    double *values; /* owned; microseconds */
    size_t n;
} Series;

static inline void series_done(Series *s) {
    free(s->values);
}
#define _cleanup_series_ _cleanup_(series_done)

static inline int series_init(Series *s, size_t n) {
    s->values = calloc(n, sizeof(*s->values));
    return s->values ? 0 : -ENOMEM;
}

static inline int series_compare(const void *a, const void *b) {
    double x = *(const double *) a, y = *(const double *) b;

    return x < y ? -1 : x > y;
}

static inline double series_percentile(Series *s, unsigned percent) {
    qsort(s->values, s->n, sizeof(*s->values), series_compare);
    return s->values[MIN(s->n * percent / 100, s->n - 1)];
}

static inline void series_print(const char *name, unsigned percent, Series *values, Series *floor) {
    (void) printf("%s-p%u %.1f ", name, percent, series_percentile(values, percent));
    if (floor)
        (void) printf("%.1f\n", series_percentile(floor, percent));
    else
        (void) printf("-\n");
}

static inline double now_usec(void) {
    struct timespec t;

    (void) clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec * 1e6 + (double) t.tv_nsec / 1e3;
}
