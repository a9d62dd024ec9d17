/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A tag names a device by the place where it is plugged in and by the card that is there. Neither is enough
 * alone. By place, another card would match; by card, the card would match in a slot that the operator never
 * meant, maybe one whose neighbours the host needs.
 *
 * So a device has the tag only when both agree. When only one agrees, the machine was changed, and that is
 * reported instead of a plain "no". In another place a card is recognised by its serial number only: its ids
 * are shared by every card of its kind. */

#include "policy/rule.h"

void tag_entry_done(TagEntry *e) {
    free(e->path);
    free(e->serial);
    *e = (TagEntry){};
}

Tag *tag_free(Tag *tag) {
    if (!tag)
        return NULL;
    for (size_t i = 0; i < tag->n_entries; i++)
        tag_entry_done(tag->entries + i);
    free(tag->entries);
    free(tag->file);
    free(tag->name);
    free(tag);
    return NULL;
}

static bool is_known(const Question *q, unsigned fact) {
    return q->facts && (q->facts->known & fact) != 0;
}

/* Both parts of an entry must hold: a mismatch of one outweighs an unknown fact of the other. */
static Holds both(Holds a, Holds b) {
    if (a == HOLDS_NO || b == HOLDS_NO)
        return HOLDS_NO;
    return a == HOLDS_YES ? b : a;
}

static Holds place_holds(const TagEntry *e, const Question *q) {
    Holds slot = HOLDS_YES, path = HOLDS_YES;

    if (e->has_slot && device_name_compare(&e->slot, &q->device->name) != 0)
        slot = HOLDS_NO;
    if (e->path && slot == HOLDS_YES) {
        if (!is_known(q, DEVICE_FACT_SLOT_PATH))
            path = HOLDS_UNKNOWN;
        else
            path = streq(e->path, q->facts->slot_path) ? HOLDS_YES : HOLDS_NO;
    }
    return both(slot, path);
}

static Holds card_holds(const TagEntry *e, const Question *q) {
    if ((q->id & e->id.mask) != e->id.value)
        return HOLDS_NO;
    if (!e->serial)
        return HOLDS_YES;
    if (!is_known(q, DEVICE_FACT_SERIAL))
        return HOLDS_UNKNOWN;
    return streq(e->serial, q->facts->serial) ? HOLDS_YES : HOLDS_NO;
}

static Holds entry_holds(const TagEntry *e, const Question *q) {
    Holds place = place_holds(e, q), card;

    /* The card is in another place and has no serial number to recognise it by. */
    if (place == HOLDS_NO && !e->serial)
        return HOLDS_NO;
    card = card_holds(e, q);
    if (place == HOLDS_NO && card == HOLDS_NO)
        return HOLDS_NO;
    if (place == HOLDS_UNKNOWN || card == HOLDS_UNKNOWN)
        return HOLDS_UNKNOWN;
    return place == card ? HOLDS_YES : HOLDS_CHANGED;
}

Holds tags_hold(const Rule *rule, const Question *q) {
    Holds best = HOLDS_NO;

    if (q->device->name.kind != DEVICE_KIND_PCI) /* tags are about cards */
        return HOLDS_NO;
    for (size_t i = 0; i < rule->n_tags; i++) {
        const Tag *tag = rule->tags[i].tag;

        for (size_t k = 0; k < tag->n_entries; k++) {
            Holds h = entry_holds(tag->entries + k, q);

            if (h == HOLDS_YES)
                return h;
            if (h == HOLDS_CHANGED || (h == HOLDS_UNKNOWN && best == HOLDS_NO))
                best = h;
        }
    }
    return best;
}

const TagEntry *tag_changed_entry(const Tag *tag, const Question *q) {
    for (size_t i = 0; i < tag->n_entries; i++)
        if (entry_holds(tag->entries + i, q) == HOLDS_CHANGED)
            return tag->entries + i;
    return NULL;
}
