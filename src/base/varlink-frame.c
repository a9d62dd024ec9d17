/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/varlink-frame.h"

#include "base/fd.h"

#define ROOM_MIN 2048U

static void close_all(int *fds, size_t n) {
    for (size_t i = 0; i < n; i++)
        fds[i] = safe_close(fds[i]);
}

static void drop_fds(VarlinkFrame *f) {
    close_all(f->fds, f->n_fds);
    free(TAKE_PTR(f->fds));
    f->n_fds = 0;
}

void varlink_frame_done(VarlinkFrame *f) {
    drop_fds(f);
    free(f->data);
    *f = (VarlinkFrame){.limit = f->limit};
}

static void move_to_front(VarlinkFrame *f) {
    if (f->begin == 0)
        return;
    memmove(f->data, f->data + f->begin, f->end - f->begin);
    f->searched -= f->begin;
    f->end -= f->begin;
    f->begin = 0;
}

int varlink_frame_reserve(VarlinkFrame *f, char **ret, size_t *ret_size) {
    size_t allocated = f->allocated;
    char *data;

    move_to_front(f);
    if (f->end >= f->limit)
        return -EMSGSIZE;
    if (f->end == f->allocated) {
        allocated = MIN(MAX(f->allocated * 2, (size_t) ROOM_MIN), f->limit);
        data = realloc(f->data, allocated);
        if (!data)
            return -ENOMEM;
        f->data = data;
        f->allocated = allocated;
    }
    *ret = f->data + f->end;
    *ret_size = f->allocated - f->end;
    return 0;
}

static int take_fds(VarlinkFrame *f, const int *fds, size_t n_fds) {
    if (!varlink_frame_is_empty(f))
        return -EPROTO;
    f->fds = malloc(n_fds * sizeof(*fds));
    if (!f->fds)
        return -ENOMEM;
    memcpy(f->fds, fds, n_fds * sizeof(*fds));
    f->n_fds = n_fds;
    return 0;
}

int varlink_frame_add(VarlinkFrame *f, size_t n, const int *fds, size_t n_fds) {
    int r = n_fds > 0 ? take_fds(f, fds, n_fds) : 0;

    assert(n <= f->allocated - f->end);
    if (r < 0) {
        for (size_t i = 0; i < n_fds; i++)
            (void) safe_close(fds[i]);
        return r;
    }
    f->end += n;
    return 0;
}

const char *varlink_frame_peek(VarlinkFrame *f, size_t *ret_size) {
    const char *nul;

    if (f->searched == f->end)
        return NULL;
    nul = memchr(f->data + f->searched, 0, f->end - f->searched);
    f->searched = nul ? (size_t) (nul - f->data) : f->end;
    if (!nul)
        return NULL;
    *ret_size = f->searched - f->begin;
    return f->data + f->begin;
}

void varlink_frame_drop(VarlinkFrame *f) {
    assert(f->searched < f->end && f->data[f->searched] == 0);
    drop_fds(f);
    f->begin = ++f->searched;
    if (varlink_frame_is_empty(f))
        varlink_frame_done(f);
}
