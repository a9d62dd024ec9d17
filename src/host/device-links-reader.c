/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host/device-links-reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/fd.h"

/* Before Linux 5.10 the entry's name has no bus, so this follows the links of the device. Returns false if
 * the link has gone, or its name cannot be shown. */
static bool read_link(int link, bool is_consumer, DeviceLink *ret) {
    const char *end = is_consumer ? "consumer" : "supplier";
    char bus[16], name[DEVICE_NAME_MAX], path[32], status[32];
    DeviceLink l = {.is_consumer = is_consumer};
    int n;

    (void) snprintf(path, sizeof(path), "%s/subsystem", end);
    if (read_link_basename_at(link, end, name, sizeof(name)) < 0 ||
            read_link_basename_at(link, path, bus, sizeof(bus)) < 0)
        return false;
    n = snprintf(l.name, sizeof(l.name), "%s:%s", bus, name);
    if (n < 0 || (size_t) n >= sizeof(l.name) || !utf8_is_valid(l.name))
        return false;
    (void) snprintf(path, sizeof(path), "%s/driver", end);
    if (read_link_basename_at(link, path, l.driver, sizeof(l.driver)) < 0 || !utf8_is_valid(l.driver))
        l.driver[0] = '\0';
    /* An unknown status counts as one that unbinds. */
    if (read_attribute_at(link, "status", status, sizeof(status)) < 0)
        status[0] = '\0';
    l.unbinds = is_consumer && *l.driver && device_link_unbinds(status);
    *ret = l;
    return true;
}

static int add(DeviceLinks **links, const DeviceLink *l) {
    if (!*links)
        *links = calloc(1, sizeof(**links));
    if (!*links)
        return -ENOMEM;
    /* When the list is full, the links that unbind are kept. */
    if ((*links)->n < DEVICE_LINKS_MAX)
        (*links)->items[(*links)->n++] = *l;
    else if (l->unbinds)
        (*links)->items[DEVICE_LINKS_MAX - 1] = *l;
    return 0;
}

int device_links_read(int device, DeviceLinks **ret) {
    _cleanup_closedir_ DIR *d = NULL;
    _cleanup_free_ DeviceLinks *links = NULL;
    struct dirent *e;
    int r;

    r = open_directory_at(device, ".", &d);
    while (r >= 0 && (errno = 0, e = readdir(d))) {
        bool is_consumer = startswith(e->d_name, "consumer:");
        _cleanup_close_ int link = -EBADF;
        DeviceLink l;

        if (!is_consumer && !startswith(e->d_name, "supplier:"))
            continue;
        link = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (link >= 0 && read_link(link, is_consumer, &l))
            r = add(&links, &l);
    }
    if (r >= 0 && errno != 0)
        r = -errno;
    if (r >= 0)
        *ret = TAKE_PTR(links);
    return r;
}
