/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>
#include <time.h>

/* Microseconds of a clock that every kernel has (CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME). */
static inline uint64_t clock_usec(clockid_t clock) {
    struct timespec t;

    (void) clock_gettime(clock, &t);
    return (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000;
}
