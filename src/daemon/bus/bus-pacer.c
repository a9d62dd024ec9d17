/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/bus/bus-pacer.h"

#include <errno.h>
#include <stdlib.h>

#include "base/macro.h"

/* 15,000 refusals per second: more than anybody needs, and a third of what dbus-daemon can carry. */
#define TICK_USEC 400U
#define TICK_ANSWERS 6U
/* Several connections together can have more calls in progress. Then the oldest answer is sent at once. */
#define WAITING_MAX 1024U

struct BusPacer {
    sd_event_source *tick; /* enabled while an answer was sent in this tick, or one waits */
    unsigned n_sent;       /* in this tick */
    sd_bus_message *waiting[WAITING_MAX];
    unsigned first, n_waiting;
};

static void send_first(BusPacer *p) {
    sd_bus_message *answer = TAKE_PTR(p->waiting[p->first]);

    p->first = (p->first + 1) % WAITING_MAX;
    p->n_waiting--;
    p->n_sent++;
    (void) sd_bus_message_send(answer); /* fails when the bus is gone, and the caller with it */
    sd_bus_message_unref(answer);
}

static int start_tick(BusPacer *p) {
    int r;

    r = sd_event_source_set_time_relative(p->tick, TICK_USEC);
    if (r < 0)
        return r;
    return sd_event_source_set_enabled(p->tick, SD_EVENT_ONESHOT);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
    BusPacer *p = userdata;

    p->n_sent = 0;
    while (p->n_waiting > 0 && p->n_sent < TICK_ANSWERS)
        send_first(p);
    if (p->n_sent > 0 && start_tick(p) < 0)
        bus_pacer_flush(p);
    return 0;
}

int bus_pacer_new(sd_event *event, BusPacer **ret) {
    BusPacer *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return -ENOMEM;
    r = sd_event_add_time_relative(event, &p->tick, CLOCK_MONOTONIC, TICK_USEC, 1, on_tick, p);
    if (r >= 0)
        r = sd_event_source_set_enabled(p->tick, SD_EVENT_OFF);
    if (r < 0) {
        (void) bus_pacer_free(p);
        return r;
    }
    *ret = p;
    return 0;
}

BusPacer *bus_pacer_free(BusPacer *p) {
    if (!p)
        return NULL;
    for (; p->n_waiting > 0; p->n_waiting--, p->first = (p->first + 1) % WAITING_MAX)
        sd_bus_message_unref(p->waiting[p->first]);
    sd_event_source_disable_unref(p->tick);
    free(p);
    return NULL;
}

int bus_pacer_send(BusPacer *p, sd_bus_message *answer) {
    int enabled, r;

    r = sd_event_source_get_enabled(p->tick, &enabled);
    if (r >= 0 && enabled == SD_EVENT_OFF) {
        p->n_sent = 0;
        r = start_tick(p);
    }
    if (r < 0 || (p->n_sent < TICK_ANSWERS && p->n_waiting == 0)) {
        p->n_sent++;
        return sd_bus_message_send(answer);
    }
    if (p->n_waiting == WAITING_MAX)
        send_first(p);
    p->waiting[(p->first + p->n_waiting++) % WAITING_MAX] = sd_bus_message_ref(answer);
    return 0;
}

void bus_pacer_flush(BusPacer *p) {
    while (p->n_waiting > 0)
        send_first(p);
}
