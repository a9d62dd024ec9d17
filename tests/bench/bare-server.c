/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The minimum cost of an Acquire on this bus: a service that opens nodes of the same kind and a pipe, sends
 * an answer of the same form, and does nothing else. It has no plan, policy, record or watch: everything
 * above this cost is vfiod's own. It runs beside vfiod, so that both are measured alternately, and opens the
 * node of another device, because a node that the daemon watches would wake it.
 *
 * bare-server NAME NODE: the name on the bus, and the device's node. */

#include <fcntl.h>
#include <stdio.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/macro.h"

static void closep(int *fd) {
    if (*fd >= 0)
        (void) close(*fd);
}

static const char *bus_name, *device_node;

static int on_acquire(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    _cleanup_(closep) int iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
    _cleanup_(closep) int device = open(device_node, O_RDWR | O_CLOEXEC);
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    int lifeline[2], r;

    if (iommufd < 0 || device < 0 || pipe2(lifeline, O_CLOEXEC) < 0)
        return -errno;
    r = sd_bus_message_new_method_return(m, &reply);
    if (r >= 0)
        r = sd_bus_message_append(reply, "oa{sv}a(sh)", "/org/vfiod1/claim/0123456789abcdef", 3, "backend",
                "s", "iommufd", "rule", "s", "bench (/etc/vfiod/policy.d/50-bench.json:1)", "devices", "as",
                1, "pci:0000:00:00.0", 3, "iommufd", iommufd, "device:pci:0000:00:00.0", device, "lifeline",
                lifeline[1]);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    (void) close(lifeline[0]);
    (void) close(lifeline[1]);
    return r;
}

/* An answer with as many properties, made in slices as in vfiod. What remains is that the bus has to take it,
 * and that no other message overtakes it. */
static sd_bus_message *long_answer;
static unsigned n_left, n_properties;

/* As sd-bus itself does it for GetManagedObjects. */
static int append_object(sd_bus_message *m, unsigned number) {
    char path[64];
    int r;

    (void) snprintf(path, sizeof(path), "/org/vfiod1/device/pci_3a0000_3a%08x", number);
    r = sd_bus_message_open_container(m, 'e', "oa{sa{sv}}");
    if (r >= 0)
        r = sd_bus_message_append(m, "o", path);
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'a', "{sa{sv}}");
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'e', "sa{sv}");
    if (r >= 0)
        r = sd_bus_message_append(m, "s", "org.vfiod1.Device");
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'a', "{sv}");
    for (unsigned i = 0; i < n_properties && r >= 0; i++)
        r = sd_bus_message_append(m, "{sv}", "SubsystemProduct", "s", "e1000e");
    for (unsigned i = 0; i < 4 && r >= 0; i++)
        r = sd_bus_message_close_container(m);
    return r;
}

static int on_slice(sd_event_source *source, void *userdata) {
    int r = 0;

    for (unsigned i = 0; i < 20 && n_left > 0 && r >= 0; i++, n_left--)
        r = append_object(long_answer, n_left);
    if (r < 0 || n_left > 0)
        return r;
    r = sd_bus_message_close_container(long_answer);
    if (r >= 0)
        r = sd_bus_send(NULL, long_answer, NULL);
    long_answer = sd_bus_message_unref(long_answer);
    return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_OFF);
}

static int on_long_answer(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    static sd_event_source *slices;
    int r = 0;

    if (!slices)
        r = sd_event_add_defer(sd_bus_get_event(sd_bus_message_get_bus(m)), &slices, on_slice, NULL);
    if (r >= 0)
        r = sd_event_source_set_priority(slices, SD_EVENT_PRIORITY_IDLE);
    if (r >= 0)
        r = sd_bus_message_read(m, "uu", &n_left, &n_properties);
    if (r >= 0)
        r = sd_bus_message_new_method_return(m, &long_answer);
    if (r >= 0)
        r = sd_bus_message_open_container(long_answer, 'a', "{oa{sa{sv}}}");
    if (r >= 0)
        r = sd_event_source_set_enabled(slices, SD_EVENT_ON);
    return r < 0 ? r : 1;
}

static int get_zero(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    return sd_bus_message_append(reply, "u", 0U);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Acquire", "asa{sv}", "oa{sv}a(sh)", on_acquire, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("LongAnswer", "uu", "a{oa{sa{sv}}}", on_long_answer, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Claims", "u", get_zero, 0, 0),
        SD_BUS_VTABLE_END,
};

static int run(void) {
    _cleanup_(sd_event_unrefp) sd_event *event = NULL;
    _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
    int r;

    r = sd_event_new(&event);
    if (r >= 0)
        r = sd_bus_open_system(&bus);
    if (r >= 0)
        r = sd_bus_add_object_vtable(bus, NULL, "/org/vfiod1", "org.vfiod1.Manager", vtable, NULL);
    if (r >= 0)
        r = sd_bus_request_name(bus, bus_name, 0);
    if (r >= 0)
        r = sd_bus_attach_event(bus, event, 0);
    if (r < 0)
        return r;
    (void) sd_notify(0, "READY=1");
    return sd_event_loop(event);
}

int main(int argc, char **argv) {
    int r;

    if (argc != 3) {
        (void) fprintf(stderr, "usage: %s NAME NODE\n", argv[0]);
        return 2;
    }
    bus_name = argv[1];
    device_node = argv[2];
    r = run();
    (void) fprintf(stderr, "bare-server: %s\n", strerror(-r));
    return EXIT_FAILURE;
}
