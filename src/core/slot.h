/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The bytes of a slot: two halves, each a header and a text. Pure. */

#include "base/macro.h"

#define SLOT_HALF_SIZE 4096U
#define SLOT_SIZE (2 * SLOT_HALF_SIZE)

typedef struct SlotHeader {
    char magic[8];
    uint64_t generation; /* the half with the higher generation counts, if valid */
    uint64_t length;     /* of the text after it; 0: the slot is free */
    uint64_t checksum;   /* over generation, length and text */
} SlotHeader;

#define SLOT_TEXT_MAX (SLOT_HALF_SIZE - sizeof(SlotHeader))

/* What a slot contains. */
typedef enum SlotState {
    SLOT_FREE,
    SLOT_TAKEN,
    SLOT_DAMAGED, /* something was there, but no half is valid */
} SlotState;

typedef struct SlotView {
    SlotState state;
    uint64_t generation;
    unsigned half;    /* the half that counts, if the slot is taken; otherwise the one to overwrite last */
    const char *text; /* borrowed; for a damaged slot all of its bytes */
    size_t length;
} SlotView;

/* Fills one half. text has at most SLOT_TEXT_MAX bytes; with length 0 the slot is free. Returns the number of
 * bytes to write. */
size_t slot_fill(char half[static SLOT_HALF_SIZE], uint64_t generation, const char *text, size_t length);
void slot_view(const char slot[static SLOT_SIZE], SlotView *ret);
