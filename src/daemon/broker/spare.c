/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/spare.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "daemon/kernel/vfio.h"

#define KEEP_USEC (1000 * UINT64_C(1000))

struct Spare {
    int iommufd, pipe[2]; /* owned, -EBADF: none */
    bool wants_iommufd;
    sd_event_source *next, *expiry;
};

static void drop(Spare *s) {
    s->iommufd = safe_close(s->iommufd);
    s->pipe[0] = safe_close(s->pipe[0]);
    s->pipe[1] = safe_close(s->pipe[1]);
}

Spare *spare_free(Spare *s) {
    if (!s)
        return NULL;
    drop(s);
    sd_event_source_disable_unref(s->next);
    sd_event_source_disable_unref(s->expiry);
    free(s);
    return NULL;
}

static int make_pipe(int *ret_read, int *ret_write) {
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    *ret_read = ends[0];
    *ret_write = ends[1];
    return 0;
}

/* What fails here fails again when a claim needs it, and is reported then. */
static int on_next(sd_event_source *source, void *userdata) {
    Spare *s = userdata;

    if (s->wants_iommufd && s->iommufd < 0)
        (void) vfio_open_iommufd(&s->iommufd);
    if (s->pipe[0] < 0)
        (void) make_pipe(&s->pipe[0], &s->pipe[1]);
    (void) sd_event_source_set_time_relative(s->expiry, KEEP_USEC);
    (void) sd_event_source_set_enabled(s->expiry, SD_EVENT_ONESHOT);
    return 0;
}

static int on_expiry(sd_event_source *source, uint64_t usec, void *userdata) {
    drop(userdata);
    return 0;
}

int spare_new(sd_event *event, Spare **ret) {
    _cleanup_(spare_freep) Spare *s = malloc(sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    *s = (Spare){.iommufd = -EBADF, .pipe = {-EBADF, -EBADF}};
    r = sd_event_add_defer(event, &s->next, on_next, s);
    if (r >= 0)
        r = sd_event_source_set_enabled(s->next, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_add_time_relative(event, &s->expiry, CLOCK_MONOTONIC, KEEP_USEC, 0, on_expiry, s);
    if (r >= 0)
        r = sd_event_source_set_enabled(s->expiry, SD_EVENT_OFF);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(s);
    return 0;
}

int spare_take_iommufd(Spare *s, int *ret_fd) {
    if (s->iommufd < 0)
        return vfio_open_iommufd(ret_fd);
    *ret_fd = TAKE_FD(s->iommufd);
    return 0;
}

int spare_take_pipe(Spare *s, int *ret_read, int *ret_write) {
    if (s->pipe[0] < 0)
        return make_pipe(ret_read, ret_write);
    *ret_read = TAKE_FD(s->pipe[0]);
    *ret_write = TAKE_FD(s->pipe[1]);
    return 0;
}

void spare_prepare(Spare *s, bool iommufd) {
    s->wants_iommufd = iommufd;
    (void) sd_event_source_set_enabled(s->next, SD_EVENT_ONESHOT);
}
