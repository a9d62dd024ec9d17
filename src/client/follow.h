/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Follows what the daemon announces, by whichever transport there is, and the next daemon when it ends. */

#include "client/calls.h"

typedef struct Follower {
    /* event: "connected", "added", "changed", "removed", "disconnected". kind may be invalid, name and
     * properties NULL. */
    int (*report)(void *userdata, const char *event, ObjectKind kind, const char *name,
            struct json_object *properties);
    /* All that has been announced so far was reported. May be NULL, and called without anything new. Fills
     * the error that follow() was given when it fails. */
    int (*idle)(void *userdata);
    void *userdata;
} Follower;

/* Until the connection fails permanently, or a function returns a negative errno; *error is filled then. */
int follow(const Follower *f, VfiodErrorText *error);
