/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Limits how often something is logged in a window of time, for each of many keys (users) and in all. It
 * reads no clock: the owner restarts it at the end of a window and reports what was suppressed. Memory is
 * bounded: keys that do not fit into the table are counted together. */

#include "base/macro.h"

#define RATE_LIMIT_KEYS 64U

typedef struct RateLimitEntry {
    uint32_t key;
    unsigned admitted;
    uint64_t suppressed;
} RateLimitEntry;

typedef struct RateLimit {
    unsigned per_key, in_all; /* of one window */
    unsigned admitted;        /* in this window, of all keys */
    uint64_t others;          /* suppressed, of keys that did not fit into the table */
    RateLimitEntry entries[RATE_LIMIT_KEYS];
    size_t n_entries;
} RateLimit;

/* May it be logged? If not, it is counted as suppressed. */
bool rate_limit_admit(RateLimit *l, uint32_t key);
/* The key with most suppressed lines, or NULL if there is none. The owner reports it and takes it out, then
 * asks for the next one. */
RateLimitEntry *rate_limit_worst(RateLimit *l);
/* How many lines are suppressed and not taken out. *ret_keys: of at least how many keys. */
uint64_t rate_limit_rest(const RateLimit *l, unsigned *ret_keys);
/* Begins a new window. */
void rate_limit_restart(RateLimit *l);
