/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host/seen-caps.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/device-kind.h"

static int read_inode(const char *path, uint64_t *ret) {
    struct stat st;

    if (stat(path, &st) < 0)
        return -errno;
    *ret = st.st_ino;
    return 0;
}

int seen_caps_read_driver(DeviceKind kind, const char *driver, uint64_t *ret) {
    const char *directory = device_kind_info(kind)->directory;
    char path[PATH_MAX];

    if (!directory || !*driver || strchr(driver, '/') ||
            snprintf(path, sizeof(path), "%s/drivers/%s", directory, driver) >= (int) sizeof(path))
        return -EINVAL;
    return read_inode(path, ret);
}

int seen_caps_read_identity(const Device *d, uint64_t driver_inode, uint64_t *ret) {
    char path[DEVICE_PATH_MAX];
    uint64_t inode = 0;
    int r = read_inode(device_sysfs_path(&d->name, path), &inode);

    if (r >= 0)
        *ret = caps_record_identity(d, inode, driver_inode);
    return r;
}

void seen_caps_check(Inventory *inventory, const DeviceName *name) {
    const DeviceCaps *caps = inventory_find_caps(inventory, name);
    uint64_t inode = 0;

    if (!caps || caps->driver_inode == 0)
        return;
    if (seen_caps_read_driver(name->kind, caps->driver, &inode) < 0 || inode != caps->driver_inode)
        inventory_forget_caps(inventory, name);
}

/* Returns 0, -ENOMEM, or another negative errno if the file does not apply to a present device. */
static int load_file(int directory, const char *file, Inventory *inventory) {
    _cleanup_free_ char *text = NULL;
    char name[DEVICE_NAME_MAX];
    const Device *d;
    CapsRecord record;
    uint64_t identity;
    size_t size;
    int r;

    r = read_file_at(directory, file, CAPS_RECORD_SIZE_MAX, &text, &size);
    if (r >= 0)
        r = caps_record_parse(text, size, &record);
    if (r < 0)
        return r;
    d = inventory_find_device(inventory, &record.device);
    if (!streq(device_name_format(&record.device, name), file) || !d)
        return -ESTALE;
    r = seen_caps_read_driver(record.device.kind, record.caps.driver, &record.caps.driver_inode);
    if (r >= 0)
        r = seen_caps_read_identity(d, record.caps.driver_inode, &identity);
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
