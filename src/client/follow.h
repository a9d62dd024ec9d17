/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Follows the daemon's announcements by either transport, across restarts of the daemon. */

#include "client/calls.h"

typedef struct Follower {
    /* event: "connected", "added", "changed", "removed", "disconnected". kind may be invalid, name and
     * properties NULL. */
    int (*report)(void *userdata, const char *event, ObjectKind kind, const char *name,
            struct json_object *properties);
    /* Called when everything announced so far was reported; may be NULL, and may be called without news. When
     * it fails, it sets the error that was passed to follow(). */
    int (*idle)(void *userdata);
    void *userdata;
} Follower;

/* Returns when the connection fails permanently, or a function returns a negative errno, with *error set. */
int follow(const Follower *f, VfiodErrorText *error);
