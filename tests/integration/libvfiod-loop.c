/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A program with an event loop, which uses nothing but libvfiod: claims what its arguments name, adds the
 * last of them when there are two or more, and gives it back if $GIVE_BACK is set. It watches the claim until
 * it is gone, and prints a line of JSON for each thing that happens. */

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "client/vfiod.h"

static VfiodClaim *the_claim;
static const char *added;
static int ended, watch_again;

static void watch(VfiodConnection *c);

/* What most claims do not have. */
static void print_more(const VfiodEvent *event) {
    if (event->eviction)
        printf(", \"eviction\": \"%s\"", event->eviction);
    if (event->more->evict_at > 0)
        printf(", \"evict at\": %" PRIu64, event->more->evict_at);
    if (event->more->sleep_at > 0)
        printf(", \"sleep at\": %" PRIu64, event->more->sleep_at);
    if (strcmp(event->more->resume, "none") != 0)
        printf(", \"resume\": \"%s\"", event->more->resume);
    printf("}\n");
}

static void on_event(
        VfiodConnection *c, const VfiodEvent *event, const VfiodErrorText *error, void *userdata) {
    if (error) {
        printf("{\"lost\": \"%s\"}\n", error->name);
        ended = 1;
    } else if (event->state) {
        printf("{\"state\": \"%s\", \"claim\": \"%s\", \"failure\": \"%s\"", event->state, event->claim,
                event->failure);
        print_more(event);
    } else {
        printf("{\"state\": null}\n");
        ended = 1;
    }
    fflush(stdout);
    if (watch_again) {
        watch_again = 0;
        watch(c);
    }
}

static void watch(VfiodConnection *c) {
    VfiodErrorText error;

    if (vfiod_connection_watch(c, vfiod_claim_id(the_claim), on_event, NULL, &error) < 0) {
        printf("{\"error\": \"%s\"}\n", error.name);
        ended = 1;
    }
}

static void give_back(VfiodClaim *claim) {
    VfiodErrorText error;

    if (vfiod_claim_release_devices(claim, &added, 1, &error) < 0)
        printf("{\"error\": \"%s\", \"message\": \"%s\"}\n", error.name, error.message);
    else
        printf("{\"given back\": %s}\n", vfiod_claim_device_fd(claim, added) < 0 ? "true" : "false");
}

static void on_added(VfiodConnection *c, VfiodClaim *claim, const VfiodErrorText *error, void *userdata) {
    if (error)
        printf("{\"error\": \"%s\"}\n", error->name);
    else
        printf("{\"added\": %s, \"same\": %s}\n", vfiod_claim_device_fd(claim, added) >= 0 ? "true" : "false",
                claim == the_claim ? "true" : "false");
    if (!error && getenv("GIVE_BACK"))
        give_back(claim);
    fflush(stdout);
    watch(c);
}

static void on_claim(VfiodConnection *c, VfiodClaim *claim, const VfiodErrorText *error, void *userdata) {
    VfiodErrorText problem;

    if (error) {
        printf("{\"error\": \"%s\", \"errno\": %i}\n", error->name, error->error);
        ended = 1;
        return;
    }
    the_claim = claim;
    printf("{\"claim\": \"%s\", \"transport\": \"%s\", \"userdata\": \"%s\"}\n", vfiod_claim_id(claim),
            vfiod_connection_transport(c), (const char *) userdata);
    fflush(stdout);
    if (!added)
        watch(c);
    else if (vfiod_connection_add_devices(c, claim, &added, 1, on_added, NULL, &problem) < 0)
        ended = 1;
}

static int milliseconds_left(VfiodConnection *c) {
    uint64_t until = 0, now;
    struct timespec ts;

    if (vfiod_connection_get_timeout(c, &until) < 0 || until == UINT64_MAX)
        return -1;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    now = (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
    return until <= now ? 0 : (int) ((until - now) / 1000) + 1;
}

/* Takes a claim over, and keeps it until its standard input ends. */
static int take_over(const char *name) {
    VfiodErrorText error;
    VfiodClaim *claim;

    if (vfiod_transfer(name, -1, &claim, &error) < 0) {
        printf("{\"error\": \"%s\", \"message\": \"%s\"}\n", error.name, error.message);
        return 1;
    }
    printf("{\"claim\": \"%s\", \"lifeline\": %s}\n", vfiod_claim_id(claim),
            vfiod_claim_fd(claim, "lifeline") >= 0 ? "true" : "false");
    fflush(stdout);
    (void) getchar();
    vfiod_claim_free(claim);
    return 0;
}

int main(int argc, char **argv) {
    const char *const *devices = (const char *const *) argv + 1;
    VfiodRequest request = {.devices = devices,
            .n_devices = argc > 2 ? (size_t) argc - 2 : 1,
            .cookie = getenv("COOKIE"),
            .tether = getenv("TETHER")};
    VfiodRequestMore more = {.size = sizeof(more)};
    VfiodConnection *c = NULL;
    VfiodErrorText error;

    watch_again = getenv("WATCH_AGAIN") != NULL;
    if (getenv("PROCESS")) {
        more.pidfd = (int) syscall(SYS_pidfd_open, (pid_t) atoi(getenv("PROCESS")), 0);
        request.more = &more;
    }
    if (getenv("TRANSFER"))
        return take_over(getenv("TRANSFER"));
    added = argc > 2 ? argv[argc - 1] : NULL;
    if (vfiod_connection_new(&c, &error) < 0) {
        printf("{\"error\": \"%s\", \"message\": \"%s\"}\n", error.name, error.message);
        return 1;
    }
    if (vfiod_connection_acquire(c, &request, on_claim, (void *) "mine", &error) < 0) {
        printf("{\"error\": \"%s\"}\n", error.name);
        vfiod_connection_free(c);
        return 1;
    }
    while (!ended) {
        struct pollfd p = {.fd = vfiod_connection_get_fd(c), .events = vfiod_connection_get_events(c)};

        if (poll(&p, 1, milliseconds_left(c)) < 0 && errno != EINTR)
            return 2;
        if (vfiod_connection_dispatch(c) < 0 && !ended) {
            printf("{\"broken\": true}\n");
            break;
        }
    }
    vfiod_claim_free(the_claim);
    vfiod_connection_free(c);
    return 0;
}
