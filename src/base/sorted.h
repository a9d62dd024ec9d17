/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Pointers in order, in pages of a kilobyte: for thousands of things that are looked up by a key, and walked
 * through in its order. A tree costs a node for each (tsearch(3): 32 bytes), this costs a pointer and a bit.
 * What is pointed to stays the caller's. */

#include "base/macro.h"

/* Below, above or equal: a key against an element. An element has to do as its own key. */
typedef int (*sorted_compare_t)(const void *key, const void *element);

typedef struct SortedPage SortedPage;

typedef struct Sorted {
    SortedPage **pages; /* owned; none is empty */
    size_t n_pages, allocated;
} Sorted;

/* Calls drop, unless it is NULL, for each element. */
void sorted_done(Sorted *s, void (*drop)(void *element));

/* Of a key that is not there yet. 0 or -ENOMEM, and then nothing has changed. */
int sorted_insert(Sorted *s, void *element, sorted_compare_t compare);
void sorted_remove(Sorted *s, const void *key, sorted_compare_t compare);

/* NULL: there is none. */
void *sorted_find(const Sorted *s, const void *key, sorted_compare_t compare);
/* The first element behind that key, the first of all without one. */
void *sorted_next(const Sorted *s, const void *key, sorted_compare_t compare);

/* Until a visit returns non-zero, which is returned. Nothing may be inserted or removed meanwhile. */
int sorted_foreach(const Sorted *s, int (*visit)(void *element, void *userdata), void *userdata);
