/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Finds device names in a damaged record. Its claim may still use the devices, so they must not be handed
 * out. Everything that looks like a device name is taken. */

#include "core/claim.h"

/* The devices that a text names, each once, in order. complete: the text is a whole JSON document that lists
 * its members, so there are no others. */
typedef struct SalvagedNames {
    DeviceName *names; /* owned */
    size_t n;
    bool complete;
    char id[CLAIM_ID_MAX]; /* of the claim; "" when unknown */
} SalvagedNames;

/* text can be any bytes. 0 or -ENOMEM. */
int salvage_names(const char *text, size_t size, SalvagedNames *ret);
void salvaged_names_done(SalvagedNames *names);
