/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pins/pin-devices.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/fd.h"
#include "core/device-kind.h"
#include "host/pci-place.h"

#define PCI_DEVICES "/sys/bus/pci/devices"
#define DEVICES_MAX 65536U
#define CLASS_BRIDGE 0x06U /* base class */

void pin_devices_done(PinDevices *d) {
    free(d->items);
    *d = (PinDevices){};
}

/* A device that disappears meanwhile, or has no place, is left out. */
static int add(PinDevices *d, const DeviceName *name) {
    DeviceName ports[PORTS_MAX];
    PinDevice device = {.name = *name}, *grown;
    int n;

    n = pci_place_read_ports(name, ports);
    if (n < 0 || slot_path_format(ports, (size_t) n, device.path) < 0 || d->n >= DEVICES_MAX)
        return n == -ENOMEM ? n : 0;
    if ((d->n & (d->n - 1)) == 0) {
        grown = reallocarray(d->items, 2 * d->n + 1, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        d->items = grown;
    }
    d->items[d->n++] = device;
    return 0;
}

int pin_devices_scan(PinDevices *ret) {
    _cleanup_(pin_devices_done) PinDevices d = {};
    _cleanup_closedir_ DIR *dir = NULL;
    struct dirent *e;
    int r;

    r = open_directory_at(AT_FDCWD, PCI_DEVICES, &dir);
    if (r < 0)
        return r;
    while ((e = readdir(dir))) {
        DeviceName name;

        if (device_name_parse_pci_address(e->d_name, &name) < 0)
            continue;
        r = add(&d, &name);
        if (r < 0)
            return r;
    }
    *ret = TAKE_GENERIC(d, (PinDevices){});
    return 0;
}

PinDevice *pin_devices_find_name(const PinDevices *d, const DeviceName *name) {
    for (size_t i = 0; i < d->n; i++)
        if (device_name_compare(&d->items[i].name, name) == 0)
            return d->items + i;
    return NULL;
}

PinDevice *pin_devices_find_path(const PinDevices *d, const char *path) {
    for (size_t i = 0; i < d->n; i++)
        if (streq(d->items[i].path, path))
            return d->items + i;
    return NULL;
}

/* ---- One device ---- */

int pin_device_open(const PinDevice *d) {
    char path[DEVICE_PATH_MAX];
    int fd;

    fd = openat(AT_FDCWD, device_sysfs_path(&d->name, path), O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : errno == ENOENT ? -ENODEV : -errno;
}

/* "0x8086" */
static int read_hex(int dir, const char *name, uint64_t max, uint64_t *ret) {
    char text[32];
    const char *digits;
    ssize_t n;

    n = read_attribute_at(dir, name, text, sizeof(text));
    if (n < 0)
        return (int) n;
    digits = startswith(text, "0x");
    return digits ? parse_unsigned(digits, 16, max, ret) : -EBADMSG;
}

static int read_id(int dir, PinDevice *d) {
    static const char *const names[] = {"vendor", "device", "subsystem_vendor", "subsystem_device"};
    uint64_t v[ELEMENTSOF(names)], class_code;
    int r;

    for (size_t i = 0; i < ELEMENTSOF(names); i++) {
        r = read_hex(dir, names[i], UINT16_MAX, &v[i]);
        if (r < 0)
            return r;
    }
    r = read_hex(dir, "class", 0xffffff, &class_code);
    if (r < 0)
        return r;
    d->class_code = (uint32_t) class_code;
    (void) pin_format_id((uint16_t) v[0], (uint16_t) v[1], (uint16_t) v[2], (uint16_t) v[3], d->id);
    return 0;
}

static int read_override(int dir, PinDevice *d) {
    char text[4096];
    ssize_t n;

    n = read_attribute_at(dir, "driver_override", text, sizeof(text));
    d->has_override = n >= 0;
    /* An override that is too long for a pin matches none anyway */
    put_text(d->override, sizeof(d->override), n < 0 || streq(text, "(null)") ? "" : text);
    return n == -ENOENT ? 0 : (int) MIN(n, 0);
}

static int read_driver(int dir, PinDevice *d) {
    ssize_t n = read_link_basename_at(dir, "driver", d->driver, sizeof(d->driver));

    if (n == -ENOENT)
        d->driver[0] = '\0';
    else if (n < 0)
        return (int) n;
    return 0;
}

static int parse_serial(const uint8_t *config, size_t size, void *userdata) {
    return pci_config_serial(config, size, userdata);
}

int pin_device_read(int dir, PinDevice *d, bool with_serial) {
    int r;

    r = read_id(dir, d);
    if (r >= 0)
        r = read_override(dir, d);
    if (r >= 0)
        r = read_driver(dir, d);
    if (r < 0)
        return r == -ENOENT ? -ENODEV : r;
    if (with_serial && !d->serial_known)
        d->serial_known = pci_place_read_config(dir, parse_serial, d->serial) >= 0;
    return 0;
}

int pin_device_look(PinDevice *d, bool with_serial) {
    _cleanup_close_ int dir = pin_device_open(d);

    return dir < 0 ? dir : pin_device_read(dir, d, with_serial);
}

bool pin_device_is_bridge(const PinDevice *d) {
    return d->class_code >> 16 == CLASS_BRIDGE;
}
