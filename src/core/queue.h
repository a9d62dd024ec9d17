/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who is next. Requests wait here for devices that others hold. An entry names the things that it must have:
 * devices and groups, as numbers that the owner of the queue gives them. Two entries rival when they share a
 * thing that at least one of them must have for itself. An entry waits for its rivals that are before it, and
 * for nobody else: a queue for each device, and one entry can stand in several.
 *
 * Before it are those of a higher priority, and those of its own that came earlier. So an entry over many
 * devices is not starved by entries over a few of them: all that came later wait for it.
 *
 * Pure and small, so that all of its states can be walked: the queue knows neither claims nor time. What it
 * keeps true is in queue_is_sound(). */

#include "base/macro.h"

#define QUEUE_PRIORITY_MIN (-100)
#define QUEUE_PRIORITY_MAX 100

typedef struct QueueThing {
    uint64_t id;
    bool shared; /* several can have it at a time */
} QueueThing;

typedef struct QueueEntry QueueEntry;
struct QueueEntry {
    int priority;
    const QueueThing *things; /* borrowed; must not change while it is in the queue */
    size_t n_things;
    /* The queue's. */
    uint64_t arrival; /* 0: it has never been in the queue. Kept when it leaves, for when it comes back */
    size_t n_before;  /* rivals before it: 0 means that it is its turn */
    bool queued;
    QueueEntry *next;
};

/* {} is an empty one. */
typedef struct Queue {
    QueueEntry *first; /* in order; borrowed */
    size_t n;
    uint64_t n_arrived;
} Queue;

bool queue_rivals(const QueueEntry *a, const QueueEntry *b);
/* It comes last among those of its priority; one that was in the queue before gets its place back. */
void queue_add(Queue *q, QueueEntry *e);
/* Also one that is not in the queue: nothing happens then. */
void queue_remove(Queue *q, QueueEntry *e);
/* How many rivals would be before the entry, which is not in the queue, if it came now, or came back. */
size_t queue_count_before(const Queue *q, const QueueEntry *e);
/* Does everything hold that the queue promises? For tests: counts everything anew. */
bool queue_is_sound(const Queue *q);
