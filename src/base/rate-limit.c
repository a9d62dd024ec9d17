/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/rate-limit.h"

static RateLimitEntry *find_entry(RateLimit *l, uint32_t key) {
    for (size_t i = 0; i < l->n_entries; i++)
        if (l->entries[i].key == key)
            return &l->entries[i];
    if (l->n_entries == RATE_LIMIT_KEYS)
        return NULL;
    l->entries[l->n_entries] = (RateLimitEntry){.key = key};
    return &l->entries[l->n_entries++];
}

bool rate_limit_admit(RateLimit *l, uint32_t key) {
    RateLimitEntry *e = find_entry(l, key);

    if (!e) {
        l->others++;
        return false;
    }
    if (e->admitted >= l->per_key || l->admitted >= l->in_all) {
        e->suppressed++;
        return false;
    }
    e->admitted++;
    l->admitted++;
    return true;
}

RateLimitEntry *rate_limit_worst(RateLimit *l) {
    RateLimitEntry *worst = NULL;

    for (size_t i = 0; i < l->n_entries; i++)
        if (l->entries[i].suppressed > (worst ? worst->suppressed : 0))
            worst = &l->entries[i];
    return worst;
}

uint64_t rate_limit_rest(const RateLimit *l, unsigned *ret_keys) {
    uint64_t n = l->others;
    unsigned keys = l->others > 0;

    for (size_t i = 0; i < l->n_entries; i++) {
        n += l->entries[i].suppressed;
        keys += l->entries[i].suppressed > 0;
    }
    *ret_keys = keys;
    return n;
}

void rate_limit_restart(RateLimit *l) {
    l->admitted = 0;
    l->others = 0;
    l->n_entries = 0;
}
