/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/spare.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "daemon/kernel/vfio.h"

#define KEEP_USEC (1000 * UINT64_C(1000))
/* after the answer to a claim, about when it is announced */
#define LATER_USEC (10 * UINT64_C(1000))
/* for the next claim and the one after it, which need not wait until the first is replaced */
#define SPARE_N 2U

struct Spare {
    Lifelines *lifelines;  /* borrowed */
    int iommufds[SPARE_N]; /* owned; n_iommufds of them */
    unsigned n_iommufds;
    bool wants_iommufd;
    bool used; /* since the timer was set */
    sd_event_source *idle, *later, *expiry;
};

static void drop(Spare *s) {
    s->wants_iommufd = false;
    while (s->n_iommufds > 0)
        (void) safe_close(s->iommufds[--s->n_iommufds]);
    lifelines_drop_unused(s->lifelines);
}

Spare *spare_free(Spare *s) {
    if (!s)
        return NULL;
    drop(s);
    sd_event_source_disable_unref(s->idle);
    sd_event_source_disable_unref(s->later);
    sd_event_source_disable_unref(s->expiry);
    free(s);
    return NULL;
}

static bool is_on(sd_event_source *source) {
    return sd_event_source_get_enabled(source, NULL) > 0;
}

static void arm(Spare *s) {
    s->used = false;
    (void) sd_event_source_set_time_relative(s->expiry, KEEP_USEC);
    (void) sd_event_source_set_enabled(s->expiry, SD_EVENT_ONESHOT);
}

/* An error here happens again when a claim needs it, and is reported then. If this runs late, everything is
 * still given up again later. */
static void prepare(Spare *s) {
    while (s->wants_iommufd && s->n_iommufds < SPARE_N && vfio_open_iommufd(&s->iommufds[s->n_iommufds]) >= 0)
        s->n_iommufds++;
    lifelines_prepare(s->lifelines, SPARE_N);
    if (!is_on(s->expiry))
        arm(s);
}

static int on_idle(sd_event_source *source, void *userdata) {
    prepare(userdata);
    return 0;
}

static int on_later(sd_event_source *source, uint64_t usec, void *userdata) {
    prepare(userdata);
    return 0;
}

/* The timer is set once per second, and not for each claim. */
static int on_expiry(sd_event_source *source, uint64_t usec, void *userdata) {
    Spare *s = userdata;

    if (s->used)
        arm(s);
    else
        drop(s);
    return 0;
}

int spare_new(sd_event *event, Lifelines *lifelines, Spare **ret) {
    _cleanup_(spare_freep) Spare *s = malloc(sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    *s = (Spare){.lifelines = lifelines};
    r = sd_event_add_defer(event, &s->idle, on_idle, s);
    if (r >= 0)
        r = sd_event_source_set_priority(s->idle, SD_EVENT_PRIORITY_IDLE);
    if (r >= 0)
        r = sd_event_source_set_enabled(s->idle, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_add_time_relative(event, &s->later, CLOCK_MONOTONIC, LATER_USEC, 0, on_later, s);
    if (r >= 0)
        r = sd_event_source_set_enabled(s->later, SD_EVENT_OFF);
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
    s->wants_iommufd = true;
    if (s->n_iommufds == 0)
        return vfio_open_iommufd(ret_fd);
    *ret_fd = s->iommufds[--s->n_iommufds];
    return 0;
}

void spare_prepare_later(Spare *s) {
    s->used = true;
    if (!is_on(s->expiry))
        arm(s);
    if (is_on(s->later))
        return;
    (void) sd_event_source_set_time_relative(s->later, LATER_USEC);
    (void) sd_event_source_set_enabled(s->later, SD_EVENT_ONESHOT);
}

static bool is_ready(const Spare *s) {
    return (!s->wants_iommufd || s->n_iommufds > 0) && lifelines_is_ready(s->lifelines);
}

void spare_prepare(Spare *s) {
    if (is_ready(s))
        spare_prepare_later(s);
    else
        (void) sd_event_source_set_enabled(s->idle, SD_EVENT_ONESHOT);
}
