/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/sorted.h"

#include <stdlib.h>

#define PAGE_MAX 126U /* a kilobyte with the count and the header of malloc(3) */

struct SortedPage {
    size_t n;
    void *elements[PAGE_MAX];
};

/* A place in a page, or after its last element. */
typedef struct Place {
    size_t page, index;
} Place;

void sorted_done(Sorted *s, void (*drop)(void *element)) {
    for (size_t i = 0; i < s->n_pages; i++) {
        for (size_t k = 0; drop && k < s->pages[i]->n; k++)
            drop(s->pages[i]->elements[k]);
        free(s->pages[i]);
    }
    free(s->pages);
    *s = (Sorted){};
}

/* Where the key is, or would be. */
static Place find_place(const Sorted *s, const void *key, sorted_compare_t compare) {
    size_t low = 0, high = s->n_pages;
    const SortedPage *page;
    Place place;

    while (high - low > 1) { /* the last page that does not begin after the key */
        size_t middle = low + (high - low) / 2;

        if (compare(key, s->pages[middle]->elements[0]) < 0)
            high = middle;
        else
            low = middle;
    }
    place = (Place){.page = low};
    page = s->n_pages > 0 ? s->pages[low] : NULL;
    high = page ? page->n : 0;
    while (place.index < high) { /* the first element that is not below the key */
        size_t middle = place.index + (high - place.index) / 2;

        if (compare(key, page->elements[middle]) > 0)
            place.index = middle + 1;
        else
            high = middle;
    }
    return place;
}

static void *element_at(const Sorted *s, Place place) {
    if (place.page < s->n_pages && place.index == s->pages[place.page]->n)
        place = (Place){.page = place.page + 1};
    return place.page < s->n_pages ? s->pages[place.page]->elements[place.index] : NULL;
}

void *sorted_find(const Sorted *s, const void *key, sorted_compare_t compare) {
    void *element = element_at(s, find_place(s, key, compare));

    return element && compare(key, element) == 0 ? element : NULL;
}

void *sorted_next(const Sorted *s, const void *key, sorted_compare_t compare) {
    Place place = key ? find_place(s, key, compare) : (Place){};
    void *element = element_at(s, place);

    if (!key || !element || compare(key, element) != 0)
        return element;
    place.index++;
    return element_at(s, place);
}

/* Adds an empty page at this place of the list. The caller fills it. */
static SortedPage *add_page(Sorted *s, size_t at) {
    SortedPage *page;

    if (s->n_pages == s->allocated) {
        size_t n = s->allocated * 2 + 8;
        SortedPage **pages = reallocarray(s->pages, n, sizeof(SortedPage *));

        if (!pages)
            return NULL;
        s->pages = pages;
        s->allocated = n;
    }
    page = malloc(sizeof(*page));
    if (!page)
        return NULL;
    page->n = 0;
    memmove(s->pages + at + 1, s->pages + at, (s->n_pages - at) * sizeof(SortedPage *));
    s->pages[at] = page;
    s->n_pages++;
    return page;
}

/* Splits a full page into halves. Elements that come in order, up or down, fill page after page instead. */
static int make_room(Sorted *s, Place *place) {
    SortedPage *page = place->page < s->n_pages ? s->pages[place->page] : NULL, *next;
    bool is_last = place->page + 1 == s->n_pages && place->index == PAGE_MAX;
    size_t half = is_last ? PAGE_MAX : place->index == 0 ? 0 : PAGE_MAX / 2;

    if (page && page->n < PAGE_MAX)
        return 0;
    next = add_page(s, page ? place->page + 1 : 0);
    if (!next)
        return -ENOMEM;
    if (!page)
        return 0;
    next->n = PAGE_MAX - half;
    memcpy(next->elements, page->elements + half, next->n * sizeof(void *));
    page->n = half;
    if (place->index > half || is_last)
        *place = (Place){.page = place->page + 1, .index = place->index - half};
    return 0;
}

int sorted_insert(Sorted *s, void *element, sorted_compare_t compare) {
    Place place = find_place(s, element, compare);
    SortedPage *page;

    if (make_room(s, &place) < 0)
        return -ENOMEM;
    page = s->pages[place.page];
    memmove(page->elements + place.index + 1, page->elements + place.index,
            (page->n - place.index) * sizeof(void *));
    page->elements[place.index] = element;
    page->n++;
    return 0;
}

void sorted_remove(Sorted *s, const void *key, sorted_compare_t compare) {
    Place place = find_place(s, key, compare);
    SortedPage *page = place.page < s->n_pages ? s->pages[place.page] : NULL;

    if (!page || place.index == page->n || compare(key, page->elements[place.index]) != 0)
        return;
    page->n--;
    memmove(page->elements + place.index, page->elements + place.index + 1,
            (page->n - place.index) * sizeof(void *));
    if (page->n > 0)
        return;
    free(page);
    s->n_pages--;
    memmove(s->pages + place.page, s->pages + place.page + 1,
            (s->n_pages - place.page) * sizeof(SortedPage *));
}

int sorted_foreach(const Sorted *s, int (*visit)(void *element, void *userdata), void *userdata) {
    for (size_t i = 0; i < s->n_pages; i++)
        for (size_t k = 0; k < s->pages[i]->n; k++) {
            int r = visit(s->pages[i]->elements[k], userdata);

            if (r != 0)
                return r;
        }
    return 0;
}
