/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Read again whenever a policy needs them: the database changes with every uevent, and libudev's object for
 * each device would take more memory than the whole inventory. */

#include <libudev.h>
#include <stdio.h>

#include "base/str.h"
#include "core/facts.h"
#include "host/udev-properties.h"

static void udev_unrefp(struct udev **u) {
    udev_unref(*u);
}

static void udev_device_unrefp(struct udev_device **d) {
    udev_device_unref(*d);
}

char **udev_properties_free(char **properties) {
    for (char **p = properties; p && *p; p++)
        free(*p);
    free(properties);
    return NULL;
}

static void udev_properties_freep(char ***p) {
    *p = udev_properties_free(*p);
}

static int copy_properties(struct udev_list_entry *list, char ***ret) {
    _cleanup_(udev_properties_freep) char **copy = calloc(PROPERTIES_MAX + 1, sizeof(*copy));
    struct udev_list_entry *entry;
    size_t n = 0, size = 0;

    if (!copy)
        return -ENOMEM;
    udev_list_entry_foreach(entry, list) {
        const char *value = udev_list_entry_get_value(entry);

        if (n >= PROPERTIES_MAX)
            return -E2BIG;
        copy[n] = format_string("%s=%s", udev_list_entry_get_name(entry), value ?: "");
        if (!copy[n])
            return -ENOMEM;
        size += strlen(copy[n]);
        if (size > PROPERTIES_SIZE_MAX)
            return -E2BIG;
        if (!utf8_is_valid(copy[n++]))
            return -EBADMSG;
    }
    *ret = TAKE_PTR(copy);
    return 0;
}

int udev_properties_read(const DeviceName *name, char ***ret) {
    _cleanup_(udev_device_unrefp) struct udev_device *device = NULL;
    _cleanup_(udev_unrefp) struct udev *udev = udev_new();
    char kernel[DEVICE_NAME_MAX];

    if (!udev)
        return -ENOMEM;
    device = udev_device_new_from_subsystem_sysname(
            udev, device_kind_to_string(name->kind), device_name_format_kernel(name, kernel));
    if (!device)
        return errno == ENOMEM ? -ENOMEM : -ENODEV;
    if (udev_device_get_is_initialized(device) <= 0)
        return -ENODATA;
    return copy_properties(udev_device_get_properties_list_entry(device), ret);
}
