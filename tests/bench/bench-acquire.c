/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How long a client waits for its fds: Acquire of one device over D-Bus, and closing all that came with it.
 *
 * The measure is `bare`: a service of the same shape on the same bus that opens such nodes, makes a pipe and
 * answers. The floor is what no service can do without: a round trip to the daemon (Peer.Ping), and opening
 * and closing the nodes. Both use the node of another device, because one that the daemon watches wakes it.
 *
 * All are taken in turns, so that a busy machine disturbs them alike. Before each there is an untimed ping to
 * the same service (the same warm caches for all), and before that the daemon is left alone until the last
 * claim has gone: otherwise the work of releasing would be charged to somebody else. One sample is exempt on
 * purpose: "again" follows at once after everything was closed, and shows whether the device can be had again
 * immediately. An answer DeviceClaimed is counted there, waited out, and the wait is part of the sample.
 *
 * "first" is the first call of a connection; connecting and Hello are not timed.
 *
 * Prints lines `NAME VALUE MEASURE`: microseconds (but for counts), MEASURE - where there is none. */

#include <fcntl.h>
#include <getopt.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "bench.h"

#define BUS_NAME "org.vfiod1"
#define BARE_NAME "org.vfiod1.Bare"
#define MANAGER_PATH "/org/vfiod1"
#define MANAGER "org.vfiod1.Manager"
#define DEVICE_CLAIMED "org.vfiod1.Error.DeviceClaimed"

#define NODES_MAX 4U
#define SAMPLES_MAX 100000U
#define SETTLE_USEC 5000000U

typedef struct Bench {
    const char *device;
    const char *nodes[NODES_MAX];
    size_t n_nodes;
    size_t n_samples;
    size_t busy;     /* number of DeviceClaimed answers */
    bool known_only; /* without first calls */
    uint32_t others; /* claims that another client holds all the time */
} Bench;

static int fail(int r, const char *what) {
    (void) fprintf(stderr, "bench-acquire: %s: %s\n", what, strerror(-r));
    return r;
}

/* A connection that has its unique name, so that connecting is not part of the first call. */
static int connect_bus(sd_bus **ret) {
    _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
    const char *name;
    int r;

    r = sd_bus_open_system(&bus);
    if (r >= 0)
        r = sd_bus_get_unique_name(bus, &name);
    if (r < 0)
        return fail(r, "cannot connect to the bus");
    *ret = TAKE_PTR(bus);
    return 0;
}

static int ping(sd_bus *bus, const char *service) {
    int r = sd_bus_call_method(
            bus, service, MANAGER_PATH, "org.freedesktop.DBus.Peer", "Ping", NULL, NULL, NULL);

    return r < 0 ? fail(r, "Ping") : 0;
}

static int touch_nodes(const Bench *b) {
    int fds[NODES_MAX];

    for (size_t i = 0; i < b->n_nodes; i++) {
        fds[i] = open(b->nodes[i], O_RDWR | O_CLOEXEC);
        if (fds[i] < 0)
            return fail(-errno, b->nodes[i]);
    }
    for (size_t i = 0; i < b->n_nodes; i++)
        (void) close(fds[i]);
    return 0;
}

static int measure_floor(const Bench *b, sd_bus *bus, Series *series) {
    double begin = now_usec();
    int r = ping(bus, BUS_NAME);

    if (r >= 0)
        r = touch_nodes(b);
    if (r < 0)
        return r;
    series->values[series->n++] = now_usec() - begin;
    return 0;
}

/* The reply must contain what a client needs, otherwise the figure is meaningless. */
static int check_reply(sd_bus_message *reply) {
    const char *claim, *name;
    bool lifeline = false, device = false;
    int r, fd;

    r = sd_bus_message_read(reply, "o", &claim);
    if (r >= 0)
        r = sd_bus_message_skip(reply, "a{sv}");
    if (r >= 0)
        r = sd_bus_message_enter_container(reply, 'a', "(sh)");
    if (r < 0)
        return fail(r, "reply to Acquire");
    while ((r = sd_bus_message_read(reply, "(sh)", &name, &fd)) > 0) {
        lifeline = lifeline || streq(name, "lifeline");
        device = device || startswith(name, "device:") || startswith(name, "group:");
    }
    if (r < 0 || !lifeline || !device)
        return fail(r < 0 ? r : -EBADMSG, "fds in the reply to Acquire");
    return 0;
}

/* 1 with the time, 0 when the device is still claimed, or negative errno. Freeing the reply closes all its
 * fds. */
static int acquire(const Bench *b, sd_bus *bus, const char *service) {
    _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    int r;

    r = sd_bus_call_method(
            bus, service, MANAGER_PATH, MANAGER, "Acquire", &error, &reply, "asa{sv}", 1, b->device, 0);
    if (r < 0 && sd_bus_error_has_name(&error, DEVICE_CLAIMED))
        return 0;
    if (r < 0) {
        (void) fprintf(stderr, "bench-acquire: Acquire: %s: %s\n", error.name ?: "?", error.message ?: "?");
        return r;
    }
    r = check_reply(reply);
    return r < 0 ? r : 1;
}

/* Waits until the daemon has no claim of ours left. It must be polled, because short claims are not
 * announced. */
static int settle(const Bench *b, sd_bus *bus) {
    double begin = now_usec();
    uint32_t claims;
    int r;

    do {
        r = sd_bus_get_property_trivial(bus, BUS_NAME, MANAGER_PATH, MANAGER, "Claims", NULL, 'u', &claims);
        if (r < 0)
            return fail(r, "Claims");
        if (now_usec() - begin > SETTLE_USEC)
            return fail(-ETIMEDOUT, "the last claim does not go");
    } while (claims > b->others);
    return 0;
}

static int measure_acquire(Bench *b, sd_bus *bus, Series *series) {
    double begin = now_usec();
    int r;

    r = acquire(b, bus, BUS_NAME);
    if (r == 0) {
        b->busy++;
        r = settle(b, bus);
        if (r >= 0)
            r = acquire(b, bus, BUS_NAME);
        if (r == 0)
            r = fail(-EBUSY, "Acquire after the last claim has gone");
    }
    if (r < 0)
        return r;
    series->values[series->n++] = now_usec() - begin;
    return 0;
}

static int measure_bare(const Bench *b, sd_bus *bus, Series *series) {
    double begin = now_usec();
    int r = acquire(b, bus, BARE_NAME);

    if (r <= 0)
        return r < 0 ? r : fail(-EPROTO, "the bare service refuses");
    series->values[series->n++] = now_usec() - begin;
    return 0;
}

/* The daemon has nothing left to do, and the next service has just been called. */
static int quiet(const Bench *b, sd_bus *bus, const char *service) {
    int r = settle(b, bus);

    return r < 0 ? r : ping(bus, service);
}

typedef struct Round {
    Series floor, bare, acquire, bare_again, again, release;
} Round;

static void round_done(Round *r) {
    series_done(&r->floor);
    series_done(&r->bare);
    series_done(&r->acquire);
    series_done(&r->bare_again);
    series_done(&r->again);
    series_done(&r->release);
}

static int round_init(Round *r, size_t n) {
    if (series_init(&r->floor, n) < 0 || series_init(&r->bare, n) < 0 || series_init(&r->acquire, n) < 0 ||
            series_init(&r->bare_again, n) < 0 || series_init(&r->again, n) < 0 ||
            series_init(&r->release, n) < 0)
        return fail(-ENOMEM, "samples");
    return 0;
}

static int take_bare(Bench *b, sd_bus *bus, Round *round) {
    int r = quiet(b, bus, BARE_NAME);

    if (r >= 0)
        r = measure_bare(b, bus, &round->bare);
    return r < 0 ? r : measure_bare(b, bus, &round->bare_again);
}

static int take_acquire(Bench *b, sd_bus *bus, Round *round) {
    double closed;
    int r = quiet(b, bus, BUS_NAME);

    if (r >= 0)
        r = measure_acquire(b, bus, &round->acquire);
    if (r >= 0)
        r = measure_acquire(b, bus, &round->again);
    closed = now_usec();
    if (r >= 0)
        r = settle(b, bus);
    if (r >= 0)
        round->release.values[round->release.n++] = now_usec() - closed;
    return r;
}

/* A client that has called before: floor, bare and one more at once, Acquire and one more at once. */
static int bench_known(Bench *b, sd_bus *bus) {
    _cleanup_(round_done) Round round = {};
    int r = round_init(&round, b->n_samples);

    if (r >= 0)
        r = acquire(b, bus, BUS_NAME);
    for (size_t i = 0; r >= 0 && i < b->n_samples; i++) {
        r = quiet(b, bus, BUS_NAME);
        if (r >= 0)
            r = measure_floor(b, bus, &round.floor);
        if (r >= 0)
            r = take_bare(b, bus, &round);
        if (r >= 0)
            r = take_acquire(b, bus, &round);
    }
    if (r < 0)
        return r;
    series_print("acquire", 50, &round.acquire, &round.bare);
    series_print("acquire", 99, &round.acquire, &round.bare);
    series_print("again", 50, &round.again, &round.bare_again);
    series_print("again", 99, &round.again, &round.bare_again);
    series_print("acquire-floor", 50, &round.acquire, &round.floor);
    series_print("bare-floor", 50, &round.bare, &round.floor);
    (void) printf("busy %zu -\n", b->busy);
    series_print("release", 50, &round.release, NULL);
    return 0;
}

/* The first call of a connection, to vfiod and to the bare service. */
static int bench_first(Bench *b, sd_bus *control) {
    _cleanup_series_ Series bare = {}, values = {};
    int r = 0;

    if (series_init(&bare, b->n_samples) < 0 || series_init(&values, b->n_samples) < 0)
        return fail(-ENOMEM, "samples");
    for (size_t i = 0; r >= 0 && i < b->n_samples; i++) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *other = NULL, *caller = NULL;

        r = connect_bus(&other);
        if (r >= 0)
            r = quiet(b, control, BARE_NAME);
        if (r >= 0)
            r = measure_bare(b, other, &bare);
        if (r >= 0)
            r = connect_bus(&caller);
        if (r >= 0)
            r = quiet(b, control, BUS_NAME);
        if (r >= 0)
            r = measure_acquire(b, caller, &values);
    }
    if (r < 0)
        return r;
    series_print("first", 50, &values, &bare);
    series_print("first", 99, &values, &bare);
    return 0;
}

static int parse_arguments(Bench *b, int argc, char **argv) {
    static const struct option options[] = {
            {"device", required_argument, NULL, 'd'},
            {"node", required_argument, NULL, 'n'},
            {"samples", required_argument, NULL, 's'},
            {"others", required_argument, NULL, 'o'},
            {"known", no_argument, NULL, 'k'},
            {},
    };
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
        if (c == 'd')
            b->device = optarg;
        else if (c == 'n' && b->n_nodes < NODES_MAX)
            b->nodes[b->n_nodes++] = optarg;
        else if (c == 's')
            b->n_samples = strtoul(optarg, NULL, 10);
        else if (c == 'o')
            b->others = (uint32_t) strtoul(optarg, NULL, 10);
        else if (c == 'k')
            b->known_only = true;
        else
            return -EINVAL;
    if (optind != argc || !b->device || b->n_nodes == 0 || b->n_samples == 0 || b->n_samples > SAMPLES_MAX)
        return -EINVAL;
    return 0;
}

int main(int argc, char **argv) {
    _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
    Bench b = {.n_samples = 1000};
    int r;

    if (parse_arguments(&b, argc, argv) < 0) {
        (void) fprintf(stderr,
                "usage: %s --device NAME --node PATH... [--samples N] [--others N] [--known]\n", argv[0]);
        return 2;
    }
    r = connect_bus(&bus);
    if (r >= 0)
        r = bench_known(&b, bus);
    if (r >= 0 && !b.known_only)
        r = bench_first(&b, bus);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
