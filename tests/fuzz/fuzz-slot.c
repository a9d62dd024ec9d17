/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A slot of the file of records, as a write that was cut short or a bad memory may leave it: it is never
 * taken for free while it holds anything, and what is taken from it is what was written. */

#include "core/salvage.h"
#include "core/slot.h"
#include "fuzz.h"

static bool is_blank(const char *slot) {
    for (size_t i = 0; i < SLOT_SIZE; i++)
        if (slot[i] != '\0')
            return false;
    return true;
}

/* As an earlier version wrote it: with a checksum by bytes. */
static bool is_old(const char *half) {
    return memcmp(half, "vfiodrec", 8) == 0;
}

static void check_taken(const char *slot) {
    char again[SLOT_HALF_SIZE] = {};
    const char *half;
    SlotView v;

    slot_view(slot, &v);
    half = slot + v.half * SLOT_HALF_SIZE;
    /* Free is one that is new, or says so. */
    EXPECT(v.state != SLOT_FREE || is_blank(slot) || is_old(half) || memcmp(half, "vfiodre2", 8) == 0);
    if (v.state != SLOT_TAKEN)
        return;
    EXPECT(v.length > 0 && v.length <= SLOT_TEXT_MAX);
    EXPECT(slot_fill(again, v.generation, v.text, v.length) == sizeof(SlotHeader) + v.length);
    if (is_old(half))
        EXPECT(memcmp(again + sizeof(SlotHeader), half + sizeof(SlotHeader), v.length) == 0);
    else
        EXPECT(memcmp(again, half, sizeof(SlotHeader) + v.length) == 0);
}

/* Whatever was there, the next write counts, and one that is cut short never hides it. */
static void check_next(char *slot, size_t cut) {
    static const char text[] = "{\"name\":\"pci:0000:06:00.0\"}";
    char half[SLOT_HALF_SIZE];
    SlotView before, after;
    size_t n;

    slot_view(slot, &before);
    if (before.generation == UINT64_MAX)
        return;
    n = slot_fill(half, before.generation + 1, text, strlen(text));
    memcpy(slot + !before.half * SLOT_HALF_SIZE, half, MIN(cut, n));
    slot_view(slot, &after);
    if (cut >= n)
        EXPECT(after.state == SLOT_TAKEN && after.length == strlen(text));
    else if (before.state != SLOT_FREE)
        EXPECT(after.state != SLOT_FREE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    _cleanup_(salvaged_names_done) SalvagedNames names = {};
    char slot[SLOT_SIZE] = {};

    /* The halves take turns, so that short inputs reach both. */
    for (size_t i = 0; i < MIN(size, (size_t) SLOT_SIZE); i++)
        slot[(i % 2) * SLOT_HALF_SIZE + i / 2] = (char) data[i];
    check_taken(slot);
    EXPECT(salvage_names(slot, sizeof(slot), &names) >= 0);
    check_next(slot, size > 0 ? data[size - 1] : 0);
    return 0;
}
