/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/caps-store.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "host/seen-caps.h"

static int open_directory(const char *state_directory) {
    char path[PATH_MAX];
    int fd;

    if (snprintf(path, sizeof(path), "%s/" SEEN_CAPS_DIRECTORY, state_directory) >= (int) sizeof(path))
        return -ENAMETOOLONG;
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return -errno;
    fd = open(path, O_DIRECTORY | O_CLOEXEC | O_RDONLY | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

static int write_record(const char *state_directory, const Device *d, const DeviceCaps *caps) {
    CapsRecord record = {.device = d->name, .caps = *caps};
    _cleanup_close_ int directory = -EBADF;
    _cleanup_free_ char *text = NULL;
    char file[DEVICE_NAME_MAX];
    int r;

    r = caps->driver_inode == 0 ? -ENOENT : seen_caps_read_identity(d, caps->driver_inode, &record.identity);
    if (r < 0)
        return r;
    directory = open_directory(state_directory);
    if (directory < 0)
        return directory;
    text = caps_record_to_text(&record);
    return text
            ? write_file_atomic_at(directory, device_name_format(&d->name, file), text, strlen(text), 0644)
            : -ENOMEM;
}

int caps_store_remember(
        const char *state_directory, Inventory *inventory, const DeviceName *name, const DeviceCaps *caps) {
    const Device *d = inventory_find_device(inventory, name);
    char text[DEVICE_NAME_MAX];
    DeviceCaps seen = *caps;
    int r;

    (void) seen_caps_read_driver(name->kind, seen.driver, &seen.driver_inode);
    r = inventory_remember_caps(inventory, name, &seen);
    if (r < 0 || !state_directory || !d)
        return r;
    r = write_record(state_directory, d, &seen);
    if (r < 0)
        log_warning_errno(
                r, "Cannot keep what was seen of %s for the next start", device_name_format(name, text));
    return 0;
}

static void remove_file(const char *state_directory, const char *file) {
    char path[PATH_MAX];

    if (!state_directory)
        return;
    if (snprintf(path, sizeof(path), "%s/" SEEN_CAPS_DIRECTORY "/%s", state_directory, file) <
            (int) sizeof(path))
        (void) unlink(path);
}

void caps_store_forget(const char *state_directory, const DeviceName *name) {
    char file[DEVICE_NAME_MAX];

    remove_file(state_directory, device_name_format(name, file));
}

static void on_stale(void *userdata, const char *file) {
    remove_file(userdata, file);
}

void caps_store_load(const char *state_directory, Inventory *inventory) {
    int r = seen_caps_load(state_directory, inventory, on_stale, (char *) state_directory);

    if (r < 0)
        log_warning_errno(r, "Cannot read what was seen of devices in an earlier run");
}
