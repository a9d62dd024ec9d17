/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the whole life of a claim costs on a real kernel (the case `bench` of tests/vm).
 *
 *   bench-life cycle DEVICE DRIVER N   a device that DRIVER has: bind, open, hand over, reset, restore
 *   bench-life acquire DEVICE N        Acquire of a device that is on its vfio driver
 *
 * The measure of `cycle` is `bare`: the same writes to sysfs by this process. The two take turns.
 *
 * Prints lines `NAME VALUE MEASURE` in microseconds, as bench-acquire does. For root, over D-Bus. A claim is
 * over when the device is back and vfiod has no more claims than when this began. */

#include <dirent.h>
#include <fcntl.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "bench.h"

#define PATIENCE_USEC 120e6
#define VFIO "vfio-pci"
#define DEVICES "/sys/bus/pci/devices/"
#define DRIVERS "/sys/bus/pci/drivers/"

typedef struct Bench {
    sd_bus *bus;
    const char *device, *driver;
    uint32_t others; /* claims of others */
} Bench;

static int fail(int r, const char *what) {
    (void) fprintf(stderr, "bench-life: %s: %s\n", what, strerror(-r));
    return r;
}

static int write_file(const char *directory, const char *name, const char *file, const char *text) {
    char path[512];
    ssize_t n;
    int fd;

    (void) snprintf(path, sizeof(path), "%s%s/%s", directory, name, file);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(-errno, path);
    n = write(fd, text, strlen(text));
    if (n < 0)
        n = fail(-errno, path);
    (void) close(fd);
    return n < 0 ? (int) n : 0;
}

static bool has_driver(const Bench *b, const char *driver) {
    char path[512], link[512];
    const char *name;
    ssize_t n;

    (void) snprintf(path, sizeof(path), DEVICES "%s/driver", b->device);
    n = readlink(path, link, sizeof(link) - 1);
    if (n < 0)
        return false;
    link[n] = '\0';
    name = strrchr(link, '/');
    return name && streq(name + 1, driver);
}

/* The node of the device itself; or of its group, where the kernel has no other. */
static int open_node(const Bench *b) {
    char path[512], link[512], node[600] = "";
    DIR *dir;
    ssize_t n;
    int fd;

    (void) snprintf(path, sizeof(path), DEVICES "%s/vfio-dev", b->device);
    dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (startswith(e->d_name, "vfio"))
            (void) snprintf(node, sizeof(node), "/dev/vfio/devices/%s", e->d_name);
    if (dir)
        (void) closedir(dir);
    if (!*node) {
        (void) snprintf(path, sizeof(path), DEVICES "%s/iommu_group", b->device);
        n = readlink(path, link, sizeof(link) - 1);
        link[MAX(n, 0)] = '\0';
        (void) snprintf(node, sizeof(node), "/dev/vfio%s", strrchr(link, '/') ?: "/?");
    }
    /* devtmpfs makes it a moment after the driver has bound. */
    for (double begin = now_usec();
            (fd = open(node, O_RDWR | O_CLOEXEC)) < 0 && now_usec() - begin < PATIENCE_USEC;)
        (void) usleep(100);
    return fd < 0 ? fail(-errno, node) : fd;
}

static int bare_bind(const Bench *b, const char *override, const char *from, const char *to) {
    int r = write_file(DEVICES, b->device, "driver_override", override);

    if (r >= 0)
        r = write_file(DRIVERS, from, "unbind", b->device);
    if (r >= 0)
        r = write_file(DRIVERS, to, "bind", b->device);
    return r < 0 || has_driver(b, to) ? r : fail(-ENODEV, to);
}

static int measure_bare(const Bench *b, Series *series) {
    double begin = now_usec();
    int r, fd, iommu = -EBADF;

    r = bare_bind(b, VFIO, b->driver, VFIO);
    if (r < 0)
        return r;
    iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
    fd = open_node(b);
    if (iommu >= 0)
        (void) close(iommu);
    if (fd < 0)
        return fd;
    (void) close(fd);
    r = write_file(DEVICES, b->device, "reset", "1");
    if (r >= 0)
        r = bare_bind(b, "\n", VFIO, b->driver);
    if (r >= 0)
        series->values[series->n++] = now_usec() - begin;
    return r;
}

/* Drops the answer and so closes all its fds, which is what ends the claim. */
static int acquire(const Bench *b) {
    _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    int r = sd_bus_call_method(b->bus, "org.vfiod1", "/org/vfiod1", "org.vfiod1.Manager", "Acquire", &error,
            &reply, "asa{sv}", 1, b->device, 0);

    if (r < 0)
        (void) fprintf(stderr, "bench-life: Acquire: %s: %s\n", error.name ?: "?", error.message ?: "?");
    return r;
}

static int n_claims(const Bench *b, uint32_t *ret) {
    int r = sd_bus_get_property_trivial(
            b->bus, "org.vfiod1", "/org/vfiod1", "org.vfiod1.Manager", "Claims", NULL, 'u', ret);

    return r < 0 ? fail(r, "Claims") : 0;
}

static int settle(const Bench *b) {
    double begin = now_usec();
    uint32_t claims;
    int r;

    while ((r = n_claims(b, &claims)) >= 0 && claims > b->others) {
        if (now_usec() - begin > PATIENCE_USEC)
            return fail(-ETIMEDOUT, "the claim does not go");
        (void) usleep(2000);
    }
    return r;
}

/* Asking all the time would keep the daemon and the kernel from their work. */
static int await_driver(const Bench *b) {
    for (double begin = now_usec(); now_usec() - begin < PATIENCE_USEC; (void) usleep(2000))
        if (has_driver(b, b->driver))
            return 0;
    return fail(-ETIMEDOUT, "the driver does not come back");
}

static int measure_cycle(const Bench *b, Series *series) {
    double begin = now_usec();
    int r = acquire(b);

    if (r >= 0)
        r = await_driver(b);
    if (r >= 0)
        r = settle(b);
    if (r >= 0)
        series->values[series->n++] = now_usec() - begin;
    return r;
}

/* What udev does about a driver that came back is nobody's time. */
static void quiet(void) {
    (void) !system("udevadm settle");
}

static int bench_cycle(const Bench *b, size_t n) {
    _cleanup_series_ Series bare = {}, cycle = {};
    int r = 0;

    if (series_init(&bare, n) < 0 || series_init(&cycle, n) < 0)
        return fail(-ENOMEM, "samples");
    for (size_t i = 0; r >= 0 && i < n; i++) {
        quiet();
        r = measure_bare(b, &bare);
        quiet();
        if (r >= 0)
            r = measure_cycle(b, &cycle);
    }
    if (r < 0)
        return r;
    series_print("cycle", 50, &cycle, &bare);
    return 0;
}

static int bench_acquire(const Bench *b, size_t n) {
    _cleanup_series_ Series values = {};
    int r = 0;

    if (series_init(&values, n) < 0)
        return fail(-ENOMEM, "samples");
    for (size_t i = 0; r >= 0 && i < n; i++) {
        double begin = now_usec();

        r = acquire(b);
        values.values[values.n++] = now_usec() - begin;
        if (r >= 0)
            r = settle(b);
    }
    if (r < 0)
        return r;
    series_print("acquire", 50, &values, NULL);
    series_print("acquire", 99, &values, NULL);
    return 0;
}

int main(int argc, char **argv) {
    bool cycle = argc == 5 && streq(argv[1], "cycle");
    size_t n = argc >= 4 ? strtoul(argv[argc - 1], NULL, 10) : 0;
    _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
    Bench b = {.device = argc > 2 ? argv[2] : NULL, .driver = cycle ? argv[3] : NULL};
    int r;

    if ((!cycle && !(argc == 4 && streq(argv[1], "acquire"))) || n == 0 || n > 100000) {
        (void) fprintf(stderr, "usage: bench-life cycle DEVICE DRIVER N | acquire DEVICE N\n");
        return 2;
    }
    r = sd_bus_open_system(&bus);
    if (r < 0)
        return fail(r, "cannot connect to the bus"), EXIT_FAILURE;
    b.bus = bus;
    r = n_claims(&b, &b.others);
    if (r >= 0)
        r = cycle ? bench_cycle(&b, n) : bench_acquire(&b, n);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
