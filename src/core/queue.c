/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/queue.h"

bool queue_rivals(const QueueEntry *a, const QueueEntry *b) {
    for (size_t i = 0; i < a->n_things; i++)
        for (size_t j = 0; j < b->n_things; j++)
            if (a->things[i].id == b->things[j].id && !(a->things[i].shared && b->things[j].shared))
                return true;
    return false;
}

/* An entry that was never in the queue comes after all others of its priority. */
static bool is_before(const QueueEntry *a, const QueueEntry *b) {
    if (a->priority != b->priority)
        return a->priority > b->priority;
    return a->arrival != 0 && (b->arrival == 0 || a->arrival < b->arrival);
}

void queue_add(Queue *q, QueueEntry *e) {
    QueueEntry **place = &q->first;

    assert(!e->queued);
    if (e->arrival == 0)
        e->arrival = ++q->n_arrived;
    e->n_before = 0;
    for (; *place && is_before(*place, e); place = &(*place)->next)
        e->n_before += queue_rivals(*place, e);
    for (QueueEntry *later = *place; later; later = later->next)
        later->n_before += queue_rivals(e, later);
    e->next = *place;
    e->queued = true;
    *place = e;
    q->n++;
}

void queue_remove(Queue *q, QueueEntry *e) {
    QueueEntry **place = &q->first;

    if (!e->queued)
        return;
    while (*place != e)
        place = &(*place)->next;
    *place = e->next;
    for (QueueEntry *later = e->next; later; later = later->next)
        later->n_before -= queue_rivals(e, later);
    e->next = NULL;
    e->queued = false;
    q->n--;
}

size_t queue_count_before(const Queue *q, const QueueEntry *e) {
    size_t n = 0;

    for (const QueueEntry *other = q->first; other && is_before(other, e); other = other->next)
        n += queue_rivals(other, e);
    return n;
}

bool queue_is_sound(const Queue *q) {
    size_t n = 0;

    for (const QueueEntry *e = q->first; e; e = e->next, n++) {
        size_t n_before = 0;

        if (!e->queued || e->arrival == 0 || e->arrival > q->n_arrived)
            return false;
        if (e->next && !is_before(e, e->next))
            return false;
        for (const QueueEntry *other = q->first; other != e; other = other->next)
            n_before += queue_rivals(other, e);
        if (e->n_before != n_before)
            return false;
    }
    return n == q->n;
}
