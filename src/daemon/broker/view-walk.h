/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* All things of one kind, one after the other, with the loop free in between: what comes or goes meanwhile
 * may be in it or not, and everything else is in it once. */

#include "core/claim.h"
#include "daemon/broker/views.h"

typedef struct ViewWalk {
    ViewKind kind;
    bool any; /* the last one that was found is below */
    DeviceName device;
    int group;
    char (*claims)[CLAIM_ID_MAX]; /* owned; those that there were at the beginning */
    size_t n_claims, n_claims_found;
} ViewWalk;

void view_walk_begin(ViewWalk *w, ViewKind kind);
/* The next one, for this event only. 1; 0: that was the last; -ENOMEM. The manager's thing is NULL. */
int view_walk_next(ViewWalk *w, const ViewHost *host, const void **ret_thing, ViewReference *ret);
void view_walk_done(ViewWalk *w);
