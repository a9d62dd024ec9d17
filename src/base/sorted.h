/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Sorted pointers in pages of a kilobyte: for thousands of elements that are looked up by a key and visited
 * in its order. A tree needs a node for each element (tsearch(3): 32 bytes); this needs little more than a
 * pointer. The elements belong to the caller. */

#include "base/macro.h"

/* Compares a key with an element: below, above or equal to 0. An element must work as its own key. */
typedef int (*sorted_compare_t)(const void *key, const void *element);

typedef struct SortedPage SortedPage;

typedef struct Sorted {
    SortedPage **pages; /* owned; none is empty */
    size_t n_pages, allocated;
} Sorted;

/* Frees the pages. drop (may be NULL) is called for each element. */
void sorted_done(Sorted *s, void (*drop)(void *element));

/* Inserts an element whose key is not there yet. 0, or -ENOMEM with nothing changed. */
int sorted_insert(Sorted *s, void *element, sorted_compare_t compare);
void sorted_remove(Sorted *s, const void *key, sorted_compare_t compare);

/* NULL: not found. */
void *sorted_find(const Sorted *s, const void *key, sorted_compare_t compare);
/* The first element after key. With key NULL: the first of all. */
void *sorted_next(const Sorted *s, const void *key, sorted_compare_t compare);

/* Visits the elements until visit returns non-zero, and returns that. visit must not insert or remove. */
int sorted_foreach(const Sorted *s, int (*visit)(void *element, void *userdata), void *userdata);
