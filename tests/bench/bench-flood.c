/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a client that asks and asks for what it may not have does to another one.
 *
 * A child becomes nobody and sends COUNT calls, WINDOW of them under way at a time: as fast as the bus takes
 * them. Meanwhile its parent claims a device again and again, with a pause in between, and measures how long
 * an Acquire takes; before the flood it has done the same ALONE times alone. Which call the child makes is a
 * matter of
 * --call: "acquire" and "plan" of a device that no rule gives to nobody, "release" of a claim that does not
 * exist, "reload" of the policy, "explain", all "objects", all "properties" of a device, "host-critical", or
 * "ping", which costs the bus as much and vfiod nearly nothing: what that does to the other client is the
 * bus's own doing. With --seconds the child ends then, whatever is not answered yet. With --measure ping its
 * parent pings instead.
 *
 * Prints lines `NAME VALUE FLOOR`: microseconds (calls per second for "rate", calls for "answers-…"), FLOOR -
 * where there is none. Every call must be answered. */

#include <getopt.h>
#include <grp.h>
#include <math.h>
#include <stdio.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

#include "base/macro.h"
#include "base/str.h"

#define BUS_NAME "org.vfiod1"
#define MANAGER_PATH "/org/vfiod1"
#define MANAGER "org.vfiod1.Manager"
#define DEVICE "org.vfiod1.Device"
#define PROPERTIES "org.freedesktop.DBus.Properties"

#define NOBODY 65534
#define SAMPLES_MAX 100000U
#define PAUSE_USEC 1000U
#define SETTLE_USEC 5000000U
#define ANSWERS_MAX 16U
#define WAIT_USEC 100000U

typedef struct Bench {
    const char *call, *device, *forbidden, *measure;
    uint64_t count, window, alone, seconds;
} Bench;

typedef struct Answer {
    char name[128];
    uint64_t n;
} Answer;

typedef struct Flood {
    const Bench *bench;
    sd_bus *bus;
    char *path; /* owned; of the device that is asked about */
    uint64_t sent, answered;
    Answer answers[ANSWERS_MAX];
} Flood;

typedef struct Series {
    double values[SAMPLES_MAX];
    size_t n;
} Series;

static double now_usec(void) {
    struct timespec t;

    (void) clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec * 1e6 + (double) t.tv_nsec / 1e3;
}

static int fail(int r, const char *what) {
    (void) fprintf(stderr, "bench-flood: %s: %s\n", what, strerror(-r));
    return r;
}

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

/* ---- the flood ---- */

static int on_answer(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *ret_error) {
    const sd_bus_error *error = sd_bus_message_get_error(m);
    const char *name = error ? error->name : "success";
    Flood *f = userdata;
    Answer *a = f->answers;

    while (a->n > 0 && !streq(a->name, name) && a < f->answers + ANSWERS_MAX - 1)
        a++;
    (void) snprintf(a->name, sizeof(a->name), "%s", name);
    a->n++;
    f->answered++;
    return 1;
}

static int send_one(Flood *f) {
    const Bench *b = f->bench;

    if (streq(b->call, "acquire"))
        return sd_bus_call_method_async(f->bus, NULL, BUS_NAME, MANAGER_PATH, MANAGER, "Acquire", on_answer,
                f, "asa{sv}", 1, b->forbidden, 0);
    if (streq(b->call, "plan"))
        return sd_bus_call_method_async(f->bus, NULL, BUS_NAME, MANAGER_PATH, MANAGER, "Plan", on_answer, f,
                "asa{sv}", 1, b->forbidden, 0);
    if (streq(b->call, "release"))
        return sd_bus_call_method_async(f->bus, NULL, BUS_NAME, MANAGER_PATH, MANAGER, "Release", on_answer,
                f, "sa{sv}", "0123456789abcdef", 0);
    if (streq(b->call, "reload"))
        return sd_bus_call_method_async(
                f->bus, NULL, BUS_NAME, MANAGER_PATH, MANAGER, "ReloadPolicy", on_answer, f, "a{sv}", 0);
    if (streq(b->call, "explain"))
        return sd_bus_call_method_async(f->bus, NULL, BUS_NAME, MANAGER_PATH, MANAGER, "Explain", on_answer,
                f, "asa{sv}", 1, b->forbidden, 0);
    if (streq(b->call, "objects"))
        return sd_bus_call_method_async(f->bus, NULL, BUS_NAME, MANAGER_PATH,
                "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", on_answer, f, NULL);
    if (streq(b->call, "properties"))
        return sd_bus_call_method_async(
                f->bus, NULL, BUS_NAME, f->path, PROPERTIES, "GetAll", on_answer, f, "s", DEVICE);
    if (streq(b->call, "host-critical"))
        return sd_bus_call_method_async(f->bus, NULL, BUS_NAME, f->path, PROPERTIES, "Get", on_answer, f,
                "ss", DEVICE, "HostCritical");
    return sd_bus_call_method_async(
            f->bus, NULL, BUS_NAME, MANAGER_PATH, "org.freedesktop.DBus.Peer", "Ping", on_answer, f, NULL);
}

static int pour(Flood *f) {
    double end = f->bench->seconds > 0 ? now_usec() + (double) f->bench->seconds * 1e6 : HUGE_VAL;
    int r;

    while (f->answered < f->bench->count && now_usec() < end) {
        while (f->sent < f->bench->count && f->sent - f->answered < f->bench->window) {
            r = send_one(f);
            if (r < 0)
                return fail(r, f->bench->call);
            f->sent++;
        }
        r = sd_bus_process(f->bus, NULL);
        if (r == 0)
            r = sd_bus_wait(f->bus, f->bench->seconds > 0 ? WAIT_USEC : UINT64_MAX);
        if (r < 0)
            return fail(r, "the bus");
    }
    return 0;
}

static int find_path(Flood *f) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    const char *path;
    int r;

    r = sd_bus_call_method(
            f->bus, BUS_NAME, MANAGER_PATH, MANAGER, "GetDevice", NULL, &reply, "s", f->bench->forbidden);
    if (r >= 0)
        r = sd_bus_message_read(reply, "o", &path);
    if (r < 0)
        return fail(r, "GetDevice");
    f->path = strdup(path);
    return f->path ? 0 : -ENOMEM;
}

static int flood(const Bench *b) {
    Flood f = {.bench = b};
    double begin;
    int r;

    if (setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
        return fail(-errno, "cannot become nobody");
    r = connect_bus(&f.bus);
    if (r >= 0)
        r = find_path(&f);
    if (r < 0)
        return r;
    begin = now_usec();
    r = pour(&f);
    if (r < 0)
        return r;
    (void) printf("rate %.0f -\n", (double) f.answered / (now_usec() - begin) * 1e6);
    for (size_t i = 0; i < ANSWERS_MAX && f.answers[i].n > 0; i++)
        (void) printf("answers-%s %llu -\n", f.answers[i].name, (unsigned long long) f.answers[i].n);
    free(f.path);
    (void) sd_bus_close_unref(f.bus);
    return 0;
}

/* ---- the other client ---- */

static int settle(sd_bus *bus) {
    double begin = now_usec();
    uint32_t claims;
    int r;

    do {
        r = sd_bus_get_property_trivial(bus, BUS_NAME, MANAGER_PATH, MANAGER, "Claims", NULL, 'u', &claims);
        if (r < 0)
            return fail(r, "Claims");
        if (now_usec() - begin > SETTLE_USEC)
            return fail(-ETIMEDOUT, "the last claim does not go");
    } while (claims > 0);
    return 0;
}

static int claim(const Bench *b, sd_bus *bus, Series *series) {
    _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    double begin;
    int r;

    r = settle(bus);
    if (r < 0)
        return r;
    (void) usleep(PAUSE_USEC);
    begin = now_usec();
    r = sd_bus_call_method(
            bus, BUS_NAME, MANAGER_PATH, MANAGER, "Acquire", &error, &reply, "asa{sv}", 1, b->device, 0);
    if (r < 0) {
        (void) fprintf(stderr, "bench-flood: Acquire: %s: %s\n", error.name ?: "?", error.message ?: "?");
        return r;
    }
    if (series->n < SAMPLES_MAX)
        series->values[series->n++] = now_usec() - begin;
    return 0;
}

static int ping(const Bench *b, sd_bus *bus, Series *series) {
    double begin = now_usec();
    int r;

    r = sd_bus_call_method(
            bus, BUS_NAME, MANAGER_PATH, "org.freedesktop.DBus.Peer", "Ping", NULL, NULL, NULL);
    if (r < 0)
        return fail(r, "Ping");
    if (series->n < SAMPLES_MAX)
        series->values[series->n++] = now_usec() - begin;
    (void) usleep(PAUSE_USEC);
    return 0;
}

static int measure(const Bench *b, sd_bus *bus, Series *series) {
    return streq(b->measure, "ping") ? ping(b, bus, series) : claim(b, bus, series);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *) a, y = *(const double *) b;

    return x < y ? -1 : x > y;
}

static double percentile(Series *s, unsigned percent) {
    qsort(s->values, s->n, sizeof(s->values[0]), compare);
    return s->values[MIN(s->n * percent / 100, s->n - 1)];
}

/* Exits with the child's status: a flood that was not answered is not a measurement. */
static int watch_child(const Bench *b, sd_bus *bus, pid_t child, Series *series) {
    int status, r = 0;
    pid_t ended;

    while (r >= 0 && (ended = waitpid(child, &status, WNOHANG)) == 0)
        r = measure(b, bus, series);
    if (r < 0)
        return r;
    if (ended < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return fail(-EPROTO, "the flood failed");
    return series->n > 0 ? 0 : fail(-ENODATA, "the flood was over before one claim");
}

static int bench(const Bench *b) {
    _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
    static Series alone, during;
    pid_t child;
    int r;

    r = connect_bus(&bus);
    while (r >= 0 && alone.n < b->alone)
        r = measure(b, bus, &alone);
    if (r < 0)
        return r;
    child = fork();
    if (child < 0)
        return fail(-errno, "fork");
    if (child == 0) {
        r = flood(b);
        (void) fflush(stdout);
        _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
    }
    r = watch_child(b, bus, child, &during);
    if (r < 0)
        return r;
    (void) printf("samples %zu -\n", during.n);
    for (unsigned percent = 50; percent <= 99; percent += 49)
        (void) printf("%s-p%u %.1f %.1f\n", b->measure, percent, percentile(&during, percent),
                percentile(&alone, percent));
    return 0;
}

static int parse_arguments(Bench *b, int argc, char **argv) {
    static const struct option options[] = {
            {"alone", required_argument, NULL, 'a'},
            {"call", required_argument, NULL, 'c'},
            {"count", required_argument, NULL, 'n'},
            {"device", required_argument, NULL, 'd'},
            {"forbidden", required_argument, NULL, 'f'},
            {"measure", required_argument, NULL, 'm'},
            {"seconds", required_argument, NULL, 's'},
            {"window", required_argument, NULL, 'w'},
            {},
    };
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
        if (c == 'c')
            b->call = optarg;
        else if (c == 'n' && parse_unsigned(optarg, 10, UINT32_MAX, &b->count) >= 0)
            ;
        else if (c == 'a' && parse_unsigned(optarg, 10, SAMPLES_MAX, &b->alone) >= 0)
            ;
        else if (c == 's' && parse_unsigned(optarg, 10, 3600, &b->seconds) >= 0)
            ;
        else if (c == 'm')
            b->measure = optarg;
        else if (c == 'd')
            b->device = optarg;
        else if (c == 'f')
            b->forbidden = optarg;
        else if (c == 'w' && parse_unsigned(optarg, 10, UINT32_MAX, &b->window) >= 0)
            ;
        else
            return -EINVAL;
    return optind == argc && b->device && b->forbidden && b->count > 0 && b->window > 0 && b->alone > 0
            ? 0
            : -EINVAL;
}

int main(int argc, char **argv) {
    Bench b = {.call = "acquire", .measure = "claim", .count = 1000000, .window = 100, .alone = 300};

    if (parse_arguments(&b, argc, argv) < 0) {
        (void) fprintf(stderr,
                "usage: %s --device NAME --forbidden NAME [--call CALL] [--measure claim|ping] [--count N] "
                "[--seconds N] [--window N] [--alone N]\n",
                argv[0]);
        return 2;
    }
    return bench(&b) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
