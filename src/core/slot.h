/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The bytes of a slot: two halves, each a header and a text. Pure. */

#include "base/macro.h"

#define SLOT_HALF_SIZE 4096U
#define SLOT_SIZE (2 * SLOT_HALF_SIZE)

typedef struct SlotHeader {
    char magic[8];
    uint64_t generation; /* of two valid halves the higher one counts */
    uint64_t length;     /* of the text behind it; 0: the slot is free */
    uint64_t checksum;   /* of the two above and the text */
} SlotHeader;

#define SLOT_TEXT_MAX (SLOT_HALF_SIZE - sizeof(SlotHeader))

/* What one of them has. */
typedef enum SlotState {
    SLOT_FREE,
    SLOT_TAKEN,
    SLOT_DAMAGED, /* what it has cannot be told: something was there, and no half of it is valid */
} SlotState;

typedef struct SlotView {
    SlotState state;
    uint64_t generation;
    unsigned half;    /* the one that counts, of a slot that is taken; else the one to write over last */
    const char *text; /* borrowed; of a damaged slot all of its bytes */
    size_t length;
} SlotView;

/* Fills one half. text has at most SLOT_TEXT_MAX bytes. Returns the number of bytes to write. */
size_t slot_fill(char half[static SLOT_HALF_SIZE], uint64_t generation, const char *text, size_t length);
void slot_view(const char slot[static SLOT_SIZE], SlotView *ret);
