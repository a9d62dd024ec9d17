/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Asks who has VFIO files open (daemon/kernel/holders.h). A worker walks; whoever asks meanwhile shares the
 * next walk, so there is never more than one. Anybody may ask, and anybody can make the walk long: it has a
 * deadline, and after it the next one waits for as long as the last one took. */

#include "daemon/kernel/holders.h"
#include "daemon/kernel/worker.h"

typedef struct HolderSearch HolderSearch;
typedef struct HolderQuery HolderQuery;

typedef struct HolderAnswer {
    int error; /* 0, or a negative errno: unknown, which is not nobody */
    const HolderEntry *entries;
    size_t n;
    uint64_t cost_usec; /* what the walk took */
} HolderAnswer;

/* The query is gone when this is called. */
typedef void (*holders_found_t)(void *userdata, const HolderAnswer *answer);

int holder_search_new(sd_event *event, WorkerPool *workers, HolderSearch **ret);
HolderSearch *holder_search_free(HolderSearch *s); /* nobody asks any more */
DEFINE_TRIVIAL_CLEANUP_FUNC(HolderSearch *, holder_search_free);

/* found is called once, from the event loop, for a walk that begins after this call. ret is borrowed. 0 or
 * negative errno. */
int holder_search_ask(HolderSearch *s, holders_found_t found, void *userdata, HolderQuery **ret);
/* found will not be called. Returns NULL. */
HolderQuery *holder_query_cancel(HolderQuery *q);
