/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a damaged record still tells. A record that cannot be read may be that of a claim whose devices are in
 * use, so they must not be handed out: whatever can be recognised as the name of a device is taken. */

#include "core/claim.h"

/* The devices that a text names, each once, in order. complete: the text is a whole JSON document that lists
 * its members, so there are no others. */
typedef struct SalvagedNames {
    DeviceName *names; /* owned */
    size_t n;
    bool complete;
    char id[CLAIM_ID_MAX]; /* of the claim; "" when it cannot be told */
} SalvagedNames;

/* Takes any bytes. 0 or -ENOMEM. */
int salvage_names(const char *text, size_t size, SalvagedNames *ret);
void salvaged_names_done(SalvagedNames *names);
