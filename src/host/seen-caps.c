/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host/seen-caps.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/device-kind.h"

int seen_caps_read_identity(const DeviceName *name, uint64_t *ret) {
    char path[DEVICE_PATH_MAX];
    struct stat st;

    if (stat(device_sysfs_path(name, path), &st) < 0)
        return -errno;
    *ret = caps_record_identity(st.st_ino);
    return 0;
}

/* 0, -ENOMEM, or another negative errno: it says nothing of a device that is there. */
static int load_file(int directory, const char *file, Inventory *inventory) {
    _cleanup_free_ char *text = NULL;
    char name[DEVICE_NAME_MAX];
    CapsRecord record;
    uint64_t identity;
    size_t size;
    int r;

    r = read_file_at(directory, file, CAPS_RECORD_SIZE_MAX, &text, &size);
    if (r >= 0)
        r = caps_record_parse(text, size, &record);
    if (r < 0)
        return r;
    if (!streq(device_name_format(&record.device, name), file) ||
            !inventory_find_device(inventory, &record.device))
        return -ESTALE;
    r = seen_caps_read_identity(&record.device, &identity);
    if (r >= 0 && identity != record.identity)
        r = -ESTALE;
    return r < 0 ? r : inventory_remember_caps(inventory, &record.device, &record.caps);
}

int seen_caps_load(const char *state_directory, Inventory *inventory,
        void (*stale)(void *userdata, const char *file), void *userdata) {
    char path[PATH_MAX];
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;

    if (snprintf(path, sizeof(path), "%s/" SEEN_CAPS_DIRECTORY, state_directory) >= (int) sizeof(path))
        return -ENAMETOOLONG;
    d = opendir(path);
    if (!d)
        return errno == ENOENT ? 0 : -errno;
    while ((errno = 0, e = readdir(d))) {
        int r = e->d_name[0] == '.' ? 0 : load_file(dirfd(d), e->d_name, inventory);

        if (r == -ENOMEM)
            return r;
        if (r < 0 && stale)
            stale(userdata, e->d_name);
    }
    return -errno;
}
