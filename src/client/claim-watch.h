/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Follows one claim until it is gone. Signals only say WHEN to look: the state is read anew each time, so a
 * lost, late or forged signal does no harm, and a claim that went between two looks is noticed by the next.
 */

#include <systemd/sd-event.h>

#include "client/bus-call.h"

typedef struct ClaimWatch {
    sd_bus *bus;     /* borrowed; attached to event */
    sd_event *event; /* borrowed */
    const char *id;  /* borrowed */
    char *path;      /* owned */
    char *state;     /* owned; last seen; NULL before the first look */
    /* Called when the state changed; claim is NULL once it is gone. A negative return ends the loop with it.
     */
    int (*changed)(void *userdata, const Object *claim);
    void *userdata;
    VfiodErrorText *error; /* borrowed; filled when the loop ends badly */
} ClaimWatch;

/* Starts listening, then looks for the first time (changed may be called). The watch must not move meanwhile.
 * 0 or a negative errno with w->error filled. */
int claim_watch_start(ClaimWatch *w);
/* Looks now. As above; calls changed when the state is not the one seen last. */
int claim_watch_look(ClaimWatch *w);
void claim_watch_done(ClaimWatch *w);
