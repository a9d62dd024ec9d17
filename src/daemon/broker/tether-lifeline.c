/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The lifeline of a claim: a pipe whose writing end goes to the client with the fds. When its last copy
 * closes, in whatever process, the kernel tells us by a hang-up: no pid, no bus name, no namespace matters.
 * Nothing is ever read from it. The reading end is given to systemd's fd store before the client gets the
 * other, named after the claim, so that it outlives this process; systemd drops it by itself when it hangs
 * up. Without systemd, and when it fails, nothing happens: the claim then does not survive this process, and
 * recovery treats it as ended. */

#include "daemon/broker/tether.h"

#include <stdio.h>

#include "base/fd.h"
#include "base/log.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/fd-store.h"
#include "daemon/broker/grant.h"

#define LIFELINE_NAME_MAX 32U
#define STORE_RETRY_USEC (10 * UINT64_C(1000))

struct Lifeline {
    int fd;
    sd_event_source *source;
    ClaimRun *claim;
    char name[LIFELINE_NAME_MAX]; /* in the fd store */
    bool stored;
    sd_event_source *store_timer; /* armed while systemd is too busy to take it */
};

static int on_store_timer(sd_event_source *s, uint64_t usec, void *userdata);

static void store(Lifeline *l) {
    l->store_timer = sd_event_source_disable_unref(l->store_timer);
    l->stored = true;
    if (fd_store_add(l->name, l->fd) >= 0)
        return;
    if (sd_event_add_time_relative(l->claim->broker->event, &l->store_timer, CLOCK_MONOTONIC,
                STORE_RETRY_USEC, 0, on_store_timer, l) < 0)
        log_warning("Claim %s: systemd does not keep its lifeline", l->claim->claim.id);
}

static int on_store_timer(sd_event_source *s, uint64_t usec, void *userdata) {
    store(userdata);
    return 0;
}

static Lifeline *lifeline_free(Lifeline *l) {
    if (!l)
        return NULL;
    l->store_timer = sd_event_source_disable_unref(l->store_timer);
    sd_event_source_disable_unref(l->source);
    (void) safe_close(l->fd);
    free(l);
    return NULL;
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Lifeline *, lifeline_free);

static int on_hang_up(sd_event_source *s, int fd, uint32_t events, void *userdata) {
    Lifeline *l = userdata;

    (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
    claim_run_feed(l->claim, CLAIM_EVENT_RELEASE);
    return 0;
}

/* Takes the reading end over on success. */
static int lifeline_new(ClaimRun *j, int fd) {
    _cleanup_(lifeline_freep) Lifeline *l = NULL;
    int r;

    l = malloc(sizeof(*l));
    if (!l)
        return -ENOMEM;
    *l = (Lifeline){.fd = -EBADF, .claim = j};
    (void) snprintf(l->name, sizeof(l->name), "claim-%s", j->claim.id);
    /* No events asked for: EPOLLHUP comes always, and what a client writes into the pipe must not wake us. */
    r = sd_event_add_io(j->broker->event, &l->source, fd, 0, on_hang_up, l);
    if (r < 0)
        return r;
    /* Before any request: who gives up a device and asks for it again at once shall find it free. */
    r = sd_event_source_set_priority(l->source, SD_EVENT_PRIORITY_IMPORTANT);
    if (r < 0)
        return r;
    l->fd = fd;
    j->lifeline = TAKE_PTR(l);
    return 0;
}

static int tie_lifeline(ClaimRun *j) {
    _cleanup_close_ int ours = -EBADF, theirs = -EBADF;
    int r;

    r = spare_take_pipe(j->broker->spare, &ours, &theirs);
    if (r >= 0)
        r = lifeline_new(j, ours);
    if (r < 0)
        return refuse(
                &j->claim.refusal, VFIOD_ERROR_INTERNAL, NULL, "cannot make a lifeline: %s", strerror(-r));
    (void) TAKE_FD(ours);
    return grant_add(j, &theirs, "lifeline");
}

static void keep_lifeline(ClaimRun *j) {
    store(j->lifeline);
}

static int adopt_lifeline(ClaimRun *j, int fd) {
    int r = lifeline_new(j, fd);

    if (r < 0)
        return r;
    j->lifeline->stored = true;
    return 0;
}

static void forget_lifeline(ClaimRun *j) {
    Lifeline *l = j->lifeline;

    if (!l)
        return;
    l->store_timer = sd_event_source_disable_unref(l->store_timer);
    if (l->stored)
        fd_store_remove(l->name);
    l->stored = false;
}

static void free_lifeline(ClaimRun *j) {
    j->lifeline = lifeline_free(j->lifeline);
}

const TetherType tether_lifeline = {
        .tie = tie_lifeline,
        .keep = keep_lifeline,
        .adopt = adopt_lifeline,
        .forget = forget_lifeline,
        .free = free_lifeline,
};

const TetherType *claim_run_tether(const ClaimRun *j) {
    return j->claim.of[0] ? &tether_none : &tether_lifeline;
}
