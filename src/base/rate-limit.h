/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How often something may be told within a window of time, to each of many keys (users) and in all. It knows
 * no clock: its owner restarts it when the window is over, and then reports what was left out. Bounded,
 * whatever happens: keys beyond the table are only counted, all together. */

#include "base/macro.h"

#define RATE_LIMIT_KEYS 64U

typedef struct RateLimitEntry {
    uint32_t key;
    unsigned admitted;
    uint64_t suppressed;
} RateLimitEntry;

typedef struct RateLimit {
    unsigned per_key, in_all; /* in one window */
    unsigned admitted;        /* of all keys */
    uint64_t others;          /* suppressed, of keys for which there was no room */
    RateLimitEntry entries[RATE_LIMIT_KEYS];
    size_t n_entries;
} RateLimit;

/* May it be told? When not, it is counted. */
bool rate_limit_admit(RateLimit *l, uint32_t key);
/* The key of which most was suppressed, or NULL when nothing was: a window is told from the top, by taking
 * out what was told. */
RateLimitEntry *rate_limit_worst(RateLimit *l);
/* All that is suppressed and not taken out, and how many keys that are at least. */
uint64_t rate_limit_rest(const RateLimit *l, unsigned *ret_keys);
/* The window is over. */
void rate_limit_restart(RateLimit *l);
