/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Requests that wait for devices of others. An entry names the things that it needs: devices and groups, as
 * numbers from the owner of the queue. Two entries are rivals when they need the same thing and at least one
 * needs it for itself. An entry waits for its rivals before it, and for nobody else. In effect there is a
 * queue for each device, and one entry can be in several.
 *
 * Entries of a higher priority come before, and so do earlier entries of the same priority. So an entry with
 * many devices is not starved by later entries with few.
 *
 * Pure and small, so that all states can be tested: the queue knows neither claims nor time. queue_is_sound()
 * has its invariants. */

#include "base/macro.h"

#define QUEUE_PRIORITY_MIN (-100)
#define QUEUE_PRIORITY_MAX 100

typedef struct QueueThing {
    uint64_t id;
    bool shared; /* several entries can have it at the same time */
} QueueThing;

typedef struct QueueEntry QueueEntry;
struct QueueEntry {
    int priority;
    const QueueThing *things; /* borrowed; must not change while it is in the queue */
    size_t n_things;
    /* Set by the queue. */
    uint64_t arrival; /* 0: it was never in the queue. Kept when it leaves, for its return */
    size_t n_before;  /* rivals before it; 0: it is its turn */
    bool queued;
    QueueEntry *next;
};

/* {} is an empty queue. */
typedef struct Queue {
    QueueEntry *first; /* in order; borrowed */
    size_t n;
    uint64_t n_arrived;
} Queue;

bool queue_rivals(const QueueEntry *a, const QueueEntry *b);
/* Adds the entry as the last of its priority. One that was in the queue before gets its old place. */
void queue_add(Queue *q, QueueEntry *e);
/* Removes the entry. Does nothing when it is not in the queue. */
void queue_remove(Queue *q, QueueEntry *e);
/* How many rivals would be before this entry if it were added now. */
size_t queue_count_before(const Queue *q, const QueueEntry *e);
/* Do all invariants hold? For tests: everything is counted again. */
bool queue_is_sound(const Queue *q);
