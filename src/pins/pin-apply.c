/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pins/pin-apply.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"

static bool needs_serial(const Pin *pin) {
    return *pin->serial != '\0';
}

/* Uses one directory fd, so that the override goes to the card that was checked. */
static void set_override(const Pin *pin, PinDevice *device) {
    _cleanup_close_ int dir = pin_device_open(device);

    if (dir < 0 || pin_device_read(dir, device, /* with_serial= */ false) < 0)
        return;
    if (*device->driver || *device->override || !device->has_override)
        return;
    if (pin_device_read(dir, device, needs_serial(pin)) < 0 || pin_judge(pin, device, NULL) != PIN_PENDING)
        return;
    (void) write_attribute_at(dir, "driver_override", pin->driver);
}

void pins_set_overrides(const PinFiles *files, PinDevices *devices) {
    for (size_t i = 0; i < files->n; i++) {
        PinDevice *device = pin_devices_find_path(devices, files->items[i].pin.path);

        if (device)
            set_override(&files->items[i].pin, device);
    }
}

bool pin_clear_override(const char *driver, PinDevice *device) {
    _cleanup_close_ int dir = pin_device_open(device);

    if (dir < 0 || pin_device_read(dir, device, /* with_serial= */ false) < 0)
        return false;
    if (!streq(device->override, driver) || (*device->driver && !streq(device->driver, driver)))
        return false;
    return write_attribute_at(dir, "driver_override", "\n") >= 0;
}

int pin_bind(const Pin *pin, PinDevice *device) {
    char path[PIN_DRIVER_MAX + 64], kernel_name[DEVICE_NAME_MAX];
    int r;

    r = pin_device_look(device, needs_serial(pin));
    if (r < 0)
        return r;
    if (*device->driver || streq(pin->driver, PIN_NO_DRIVER) || !streq(device->override, pin->driver) ||
            pin_judge(pin, device, NULL) != PIN_PENDING)
        return 0;
    (void) snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/bind", pin->driver);
    r = write_attribute_at(AT_FDCWD, path, device_name_format_kernel(&device->name, kernel_name));
    if (r == -ENOENT)
        return -ENODEV;
    /* If the device was bound by itself meanwhile, the kernel answers "busy". */
    return pin_device_look(device, /* with_serial= */ false) >= 0 && streq(device->driver, pin->driver) ? 0
                                                                                                        : r;
}

/* The serial number is read only for cards of the same kind. */
static PinDevice *find_elsewhere(const Pin *pin, PinDevices *devices, const PinDevice *at_place) {
    for (size_t i = 0; needs_serial(pin) && i < devices->n; i++) {
        PinDevice *d = devices->items + i;

        if (d == at_place || pin_device_look(d, /* with_serial= */ false) < 0 ||
                pin_matches_card(pin, d) == 0)
            continue;
        if (pin_device_look(d, /* with_serial= */ true) >= 0 && pin_matches_card(pin, d) > 0)
            return d;
    }
    return NULL;
}

PinState pin_look(const Pin *pin, PinDevices *devices, PinDevice **ret_at_place, PinDevice **ret_elsewhere) {
    PinDevice *at_place = pin_devices_find_path(devices, pin->path), *elsewhere = NULL;

    if (at_place && pin_device_look(at_place, needs_serial(pin)) < 0)
        at_place = NULL;
    if (!at_place || pin_matches_card(pin, at_place) == 0)
        elsewhere = find_elsewhere(pin, devices, at_place);
    *ret_at_place = at_place;
    *ret_elsewhere = elsewhere;
    return pin_judge(pin, at_place, elsewhere);
}
