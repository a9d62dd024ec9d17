/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Visits all things of one kind, one at a time, with the loop free in between. Things that appear or
 * disappear meanwhile may be visited or not; all others are visited once. */

#include "core/claim.h"
#include "daemon/broker/views.h"

typedef struct ViewWalk {
    ViewKind kind;
    bool any; /* the last found one is below */
    DeviceName device;
    int group;
    char (*claims)[CLAIM_ID_MAX]; /* owned; those that existed at the beginning */
    size_t n_claims, n_claims_found;
} ViewWalk;

void view_walk_begin(ViewWalk *w, ViewKind kind);
/* The next one, valid during this event. 1; 0: there are no more; -ENOMEM. For the manager *ret_thing is
 * NULL. */
int view_walk_next(ViewWalk *w, const ViewHost *host, const void **ret_thing, ViewReference *ret);
void view_walk_done(ViewWalk *w);
