/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Finds what driverctl, modprobe.d and the kernel's command line bind on this host. They name devices by
 * address, or all cards of a kind. Each matching device that exists now becomes a pin of its own. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/json-build.h"
#include "core/pin-import.h"
#include "pins/pin-devices.h"
#include "pins/pins.h"

#define FILE_MAX (1U << 20)
#define SHOWN_MAX 300U
#define FINDINGS_MAX 4096U
#define DRIVER_OF_IDS "vfio-pci"

typedef struct Search {
    ImportSink sink; /* first */
    PinDevices devices;
    struct json_object *found, *skipped; /* owned */
    bool *taken;                         /* owned: for each device, whether it was found already */
    const char *file;                    /* borrowed; printable */
} Search;

static void search_done(Search *s) {
    pin_devices_done(&s->devices);
    json_object_put(s->found);
    json_object_put(s->skipped);
    free(s->taken);
}

/* ---- Findings ---- */

static int skip(Search *s, const char *source, const char *what, const char *why) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    _cleanup_free_ char *shown = sanitize(what, SHOWN_MAX);

    if (json_object_array_length(s->skipped) >= FINDINGS_MAX)
        return 0;
    if (!o || !shown || json_add_string(o, "source", source) < 0 || json_add_string(o, "what", shown) < 0 ||
            json_add_string(o, "why", why) < 0)
        return -ENOMEM;
    return json_append(s->skipped, TAKE_PTR(o));
}

static int add_found(Search *s, const char *source, size_t index, const char *driver) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    char name[DEVICE_NAME_MAX];

    if (s->taken[index] || json_object_array_length(s->found) >= FINDINGS_MAX)
        return 0;
    s->taken[index] = true;
    if (!o || json_add_string(o, "source", source) < 0 ||
            json_add_string(o, "device", device_name_format(&s->devices.items[index].name, name)) < 0 ||
            json_add_string(o, "driver", driver) < 0)
        return -ENOMEM;
    return json_append(s->found, TAKE_PTR(o));
}

/* ---- Ids ---- */

static bool is_of_id(PinDevice *d, const ImportedId *id) {
    unsigned v[4];
    ImportedId device;

    /* vfio-pci does not bind to bridges, whatever their ids are */
    if (pin_device_look(d, /* with_serial= */ false) < 0 || pin_device_is_bridge(d) ||
            sscanf(d->id, "%4x:%4x:%4x:%4x", &v[0], &v[1], &v[2], &v[3]) != 4)
        return false;
    device = (ImportedId){.vendor = v[0],
            .device = v[1],
            .subsystem_vendor = v[2],
            .subsystem_device = v[3],
            .class_code = d->class_code};
    return imported_id_matches(id, &device);
}

static int add_id(ImportSink *sink, unsigned line, const char *text, const ImportedId *id) {
    Search *s = (Search *) sink;
    _cleanup_free_ char *source = format_string("%s:%u", s->file, line);
    bool any = false;

    if (!source)
        return -ENOMEM;
    if (!id)
        return skip(s, source, text, "This is no id of a device.");
    for (size_t i = 0; i < s->devices.n; i++) {
        int r;

        if (!is_of_id(s->devices.items + i, id))
            continue;
        any = true;
        r = add_found(s, source, i, DRIVER_OF_IDS);
        if (r < 0)
            return r;
    }
    return any ? 0 : skip(s, source, text, "No device of this host has this id.");
}

/* ---- driverctl ---- */

static int add_driverctl(Search *s, const char *source, const char *name, const char *text) {
    size_t n = strcspn(text, " \t\r\n");
    char driver[PIN_DRIVER_MAX];
    const PinDevice *device;
    DeviceName address;
    int r;

    r = import_driverctl_name(name, &address);
    if (r == -EOPNOTSUPP)
        return skip(s, source, name, "Pins are for PCI devices.");
    if (r < 0)
        return skip(s, source, name, "The name of the file is no address of a PCI device.");
    if (n >= sizeof(driver))
        return skip(s, source, name, "The file does not have the name of a driver.");
    memcpy(driver, text, n);
    driver[n] = '\0';
    if (!pin_driver_is_valid(driver))
        return skip(s, source, name, "The file does not have the name of a driver.");
    device = pin_devices_find_name(&s->devices, &address);
    if (!device)
        return skip(s, source, name, "There is no such device.");
    return add_found(s, source, (size_t) (device - s->devices.items), driver);
}

/* ---- Files ---- */

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);

    return n >= m && streq(s + n - m, end);
}

/* The name of a file determines its format. */
static int read_one(Search *s, const char *path) {
    _cleanup_free_ char *text = NULL, *shown = sanitize(path, SHOWN_MAX);
    const char *name = strrchr(path, '/');
    int r;

    if (!shown)
        return -ENOMEM;
    name = name ? name + 1 : path;
    r = read_file_at(AT_FDCWD, path, FILE_MAX, &text, NULL);
    if (r == -ENOMEM)
        return r;
    if (r < 0)
        return skip(s, shown, name, strerrordesc_np(-r) ?: "It cannot be read.");
    s->file = shown;
    if (ends_with(name, ".conf"))
        r = import_modprobe(text, &s->sink);
    else if (streq(name, "cmdline"))
        r = import_command_line(text, &s->sink);
    else
        r = add_driverctl(s, shown, name, text);
    s->file = NULL;
    return r;
}

/* end: the suffix of the names to read. Hidden files are skipped. */
static int read_directory(Search *s, const char *directory, const char *end) {
    _cleanup_closedir_ DIR *dir = NULL;
    struct dirent *e;
    int r;

    r = open_directory_at(AT_FDCWD, directory, &dir);
    if (r < 0)
        return r == -ENOENT ? 0 : skip(s, directory, directory, strerrordesc_np(-r));
    while ((e = readdir(dir))) {
        _cleanup_free_ char *path = NULL;

        if (e->d_name[0] == '.' || !ends_with(e->d_name, end))
            continue;
        path = format_string("%s/%s", directory, e->d_name);
        r = path ? read_one(s, path) : -ENOMEM;
        if (r < 0)
            return r;
    }
    return 0;
}

/* The most specific source first: driverctl names single devices. */
static int read_host(Search *s) {
    static const struct {
        const char *directory, *end;
    } places[] = {
            {"/etc/driverctl.d", ""},
            {"/etc/modprobe.d", ".conf"},
            {"/run/modprobe.d", ".conf"},
            {"/usr/lib/modprobe.d", ".conf"},
    };
    int r = 0;

    for (size_t i = 0; r >= 0 && i < ELEMENTSOF(places); i++)
        r = read_directory(s, places[i].directory, places[i].end);
    return r < 0 ? r : read_one(s, "/proc/cmdline");
}

static int search(Search *s, const char *const *files) {
    int r;

    r = pin_devices_scan(&s->devices);
    if (r < 0 && r != -ENOENT)
        return r;
    s->sink.add = add_id;
    s->taken = calloc(s->devices.n + 1, sizeof(*s->taken));
    s->found = json_object_new_array();
    s->skipped = json_object_new_array();
    if (!s->taken || !s->found || !s->skipped)
        return -ENOMEM;
    if (!files || !*files)
        return read_host(s);
    for (r = 0; r >= 0 && *files; files++)
        r = read_one(s, *files);
    return r;
}

int pins_find_others(const char *const *files, struct json_object **ret, char **ret_problem) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    _cleanup_(search_done) Search s = {};
    int r = o ? search(&s, files) : -ENOMEM;

    if (r < 0 && r != -ENOMEM)
        *ret_problem = format_string("Cannot list the PCI devices: %s", strerrordesc_np(-r));
    if (r < 0)
        return r;
    if (json_add(o, "found", TAKE_PTR(s.found)) < 0 || json_add(o, "skipped", TAKE_PTR(s.skipped)) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(o);
    return 0;
}
