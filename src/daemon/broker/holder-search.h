/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Finds out who has VFIO files open (daemon/kernel/holders.h). A worker walks over all processes. Queries
 * during a walk share the next one, so there is never more than one. Anybody can ask, and anybody can make
 * the walk long: it has a deadline, and the next one waits as long as the last one took. */

#include "daemon/kernel/holders.h"
#include "daemon/kernel/worker.h"

typedef struct HolderSearch HolderSearch;
typedef struct HolderQuery HolderQuery;

typedef struct HolderAnswer {
    int error; /* 0, or a negative errno: unknown, which does not mean nobody */
    const HolderEntry *entries;
    size_t n;
    uint64_t cost_usec; /* duration of the walk */
} HolderAnswer;

/* The query is freed before this is called. */
typedef void (*holders_found_t)(void *userdata, const HolderAnswer *answer);

int holder_search_new(sd_event *event, WorkerPool *workers, HolderSearch **ret);
HolderSearch *holder_search_free(HolderSearch *s); /* queries are dropped */
DEFINE_TRIVIAL_CLEANUP_FUNC(HolderSearch *, holder_search_free);

/* found is called once from the event loop, for a walk that begins after this call. *ret is borrowed. 0 or
 * negative errno. */
int holder_search_ask(HolderSearch *s, holders_found_t found, void *userdata, HolderQuery **ret);
/* found will not be called. Returns NULL. */
HolderQuery *holder_query_cancel(HolderQuery *q);
