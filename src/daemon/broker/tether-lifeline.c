/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/tether-lifeline.h"

#include <fcntl.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define LIFELINE_NAME_MAX 32U
#define STORE_DELAY_USEC (10 * UINT64_C(1000))

struct Lifeline {
    int fd;
    sd_event_source *source;
    lifeline_closed_t closed;
    void *userdata;
    char name[LIFELINE_NAME_MAX]; /* in the fd store; "" when it is not to be there */
    bool stored;
    sd_event_source *store_timer; /* armed while it is to be stored */
};

static void store_now(Lifeline *l) {
    _cleanup_free_ char *state = format_string("FDSTORE=1\nFDNAME=%s", l->name);

    l->store_timer = sd_event_source_disable_unref(l->store_timer);
    if (state)
        (void) sd_pid_notify_with_fds(0, /* unset_environment= */ 0, state, &l->fd, 1);
    l->stored = true;
}

Lifeline *lifeline_free(Lifeline *l) {
    if (!l)
        return NULL;
    if (l->store_timer)
        store_now(l);
    sd_event_source_disable_unref(l->source);
    (void) safe_close(l->fd);
    free(l);
    return NULL;
}

static int on_hang_up(sd_event_source *s, int fd, uint32_t events, void *userdata) {
    Lifeline *l = userdata;

    (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
    l->closed(l->userdata);
    return 0;
}

int lifeline_new_from_fd(sd_event *event, int fd, lifeline_closed_t closed, void *userdata, Lifeline **ret) {
    _cleanup_(lifeline_freep) Lifeline *l = NULL;
    int r;

    l = malloc(sizeof(*l));
    if (!l)
        return -ENOMEM;
    *l = (Lifeline){.fd = -EBADF, .closed = closed, .userdata = userdata};
    /* No events asked for: EPOLLHUP comes always, and what a client writes into the pipe must not wake us. */
    r = sd_event_add_io(event, &l->source, fd, 0, on_hang_up, l);
    if (r < 0)
        return r;
    /* Before any request: who gives up a device and asks for it again at once shall find it free. */
    r = sd_event_source_set_priority(l->source, SD_EVENT_PRIORITY_IMPORTANT);
    if (r < 0)
        return r;
    l->fd = fd;
    *ret = TAKE_PTR(l);
    return 0;
}

int lifeline_new(sd_event *event, lifeline_closed_t closed, void *userdata, Lifeline **ret, int *ret_fd) {
    int ends[2], r;

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    r = lifeline_new_from_fd(event, ends[0], closed, userdata, ret);
    if (r < 0) {
        (void) close(ends[0]);
        (void) close(ends[1]);
        return r;
    }
    *ret_fd = ends[1];
    return 0;
}

static int on_store_timer(sd_event_source *s, uint64_t usec, void *userdata) {
    store_now(userdata);
    return 0;
}

void lifeline_store(Lifeline *l, const char *name) {
    (void) snprintf(l->name, sizeof(l->name), "%s", name);
    if (sd_event_add_time_relative(sd_event_source_get_event(l->source), &l->store_timer, CLOCK_MONOTONIC,
                STORE_DELAY_USEC, 0, on_store_timer, l) < 0)
        store_now(l);
}

void lifeline_set_stored(Lifeline *l, const char *name) {
    (void) snprintf(l->name, sizeof(l->name), "%s", name);
    l->stored = true;
}

void lifeline_unstore(Lifeline *l) {
    l->store_timer = sd_event_source_disable_unref(l->store_timer);
    if (l->stored)
        lifeline_unstore_name(l->name);
    l->stored = false;
}

void lifeline_unstore_name(const char *name) {
    _cleanup_free_ char *state = format_string("FDSTOREREMOVE=1\nFDNAME=%s", name);

    if (state)
        (void) sd_notify(/* unset_environment= */ 0, state);
}
