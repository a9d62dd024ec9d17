/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/slot.h"

static const char magic[8] = "vfiodre2", old_magic[8] = "vfiodrec";

/* FNV-1a by words of 8 bytes. It detects incomplete writes and flipped bytes; it need not resist attacks. By
 * single bytes it took as long as the write of the record. A product moves bits up only, so after each word
 * the high bits are mixed down. */
static uint64_t hash_bytes(uint64_t h, const void *data, size_t size) {
    const uint8_t *bytes = data;

    for (size_t i = 0; i < size; i++)
        h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t hash_words(uint64_t h, const char *data, size_t size) {
    uint64_t word;
    size_t i;

    for (i = 0; i + sizeof(word) <= size; i += sizeof(word)) {
        memcpy(&word, data + i, sizeof(word));
        h = (h ^ word) * UINT64_C(0x100000001b3);
        h ^= h >> 32;
    }
    return hash_bytes(h, data + i, size - i);
}

static uint64_t checksum(const SlotHeader *h, const char *text) {
    uint64_t c = UINT64_C(0xcbf29ce484222325);

    c = hash_bytes(c, &h->generation, sizeof(h->generation));
    c = hash_bytes(c, &h->length, sizeof(h->length));
    /* Slots of an earlier version have the hash by bytes. */
    return memcmp(h->magic, old_magic, sizeof(h->magic)) == 0 ? hash_bytes(c, text, (size_t) h->length)
                                                              : hash_words(c, text, (size_t) h->length);
}

size_t slot_fill(char half[static SLOT_HALF_SIZE], uint64_t generation, const char *text, size_t length) {
    SlotHeader h = {.generation = generation, .length = length};

    assert(length <= SLOT_TEXT_MAX);
    memcpy(h.magic, magic, sizeof(h.magic));
    h.checksum = checksum(&h, text);
    memcpy(half, &h, sizeof(h));
    memcpy(half + sizeof(h), text, length);
    return sizeof(h) + length;
}

static bool is_valid(const char *half, SlotHeader *ret) {
    memcpy(ret, half, sizeof(*ret));
    return (memcmp(ret->magic, magic, sizeof(ret->magic)) == 0 ||
                   memcmp(ret->magic, old_magic, sizeof(ret->magic)) == 0) &&
            ret->length <= SLOT_TEXT_MAX && ret->checksum == checksum(ret, half + sizeof(*ret));
}

static bool is_blank(const char *half) {
    for (size_t i = 0; i < SLOT_HALF_SIZE; i++)
        if (half[i] != '\0')
            return false;
    return true;
}

/* An incomplete write was either the first of a claim or a later one. If a later one, the other half is of
 * the same claim and still true, because what the new half describes was not done yet. If the first, the
 * other half says that the slot is free. The same is found when a live record was damaged, so the slot counts
 * as damaged. */
void slot_view(const char slot[static SLOT_SIZE], SlotView *ret) {
    SlotHeader h[2] = {};
    bool valid[2], blank[2];
    unsigned best;

    for (unsigned i = 0; i < 2; i++) {
        valid[i] = is_valid(slot + i * SLOT_HALF_SIZE, &h[i]);
        blank[i] = !valid[i] && is_blank(slot + i * SLOT_HALF_SIZE);
    }
    best = valid[1] && (!valid[0] || h[1].generation > h[0].generation);
    *ret = (SlotView){.half = best};
    if (valid[best]) {
        ret->generation = h[best].generation;
        ret->text = slot + best * SLOT_HALF_SIZE + sizeof(h[best]);
        ret->length = (size_t) h[best].length;
        ret->state = ret->length > 0 ? SLOT_TAKEN : SLOT_FREE;
    }
    if (ret->state == SLOT_FREE && ((!valid[0] && !blank[0]) || (!valid[1] && !blank[1])))
        *ret = (SlotView){.state = SLOT_DAMAGED,
                .generation = ret->generation,
                .half = best,
                .text = slot,
                .length = SLOT_SIZE};
}
