/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host/mdev-reader.h"

#include <dirent.h>
#include <fcntl.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/device-kind.h"

#define CLASS "/sys/class/mdev_bus"
#define TYPES "mdev_supported_types"
#define LABEL_MAX 256U

/* What is not there counts as empty: only create and available_instances are in every kernel. */
static void read_text(int dir, const char *attribute, char *buf, size_t size) {
    if (read_attribute_at(dir, attribute, buf, size) < 0)
        buf[0] = '\0';
}

static int64_t read_available(int dir) {
    char text[24];
    uint64_t n;

    if (read_attribute_at(dir, "available_instances", text, sizeof(text)) < 0 ||
            parse_unsigned(text, 10, INT32_MAX, &n) < 0)
        return -1;
    return (int64_t) n;
}

static int read_devices(int dir, MdevType *t) {
    const DeviceKindInfo *info = device_kind_info(DEVICE_KIND_MDEV);
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r = open_directory_at(dir, "devices", &d);

    if (r < 0)
        return 0; /* the type went away, or is of a kernel without the list */
    while (r >= 0 && (errno = 0, e = readdir(d))) {
        DeviceName name;

        if (info->parse_kernel(DEVICE_KIND_MDEV, e->d_name, &name) >= 0)
            r = mdev_type_add_device(t, &name);
    }
    return r == -E2BIG ? 0 : r;
}

static int read_type(int types, const char *parent, const char *id, MdevTypes *ret) {
    _cleanup_closedir_ DIR *d = NULL;
    char label[LABEL_MAX];
    MdevType *t;

    if (!mdev_name_is_safe(id) || strlen(id) >= sizeof(t->id) || open_directory_at(types, id, &d) < 0)
        return 0;
    if (ret->n == MDEV_TYPES_MAX) {
        ret->incomplete = true;
        return 0;
    }
    t = mdev_types_add(ret);
    if (!t)
        return -ENOMEM;
    put_text(t->parent, sizeof(t->parent), parent);
    put_text(t->id, sizeof(t->id), id);
    read_text(dirfd(d), "device_api", t->api, sizeof(t->api));
    read_text(dirfd(d), "name", label, sizeof(label));
    t->available = read_available(dirfd(d));
    if (!mdev_name_is_safe(t->api))
        t->api[0] = '\0';
    t->name = sanitize(label, LABEL_MAX);
    return t->name ? read_devices(dirfd(d), t) : -ENOMEM;
}

static int read_parent(int parents, const char *name, bool (*begin)(void *userdata, const char *parent),
        void *userdata, MdevTypes *ret) {
    _cleanup_free_ char *path = format_string("%s/" TYPES, name);
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r;

    if (!path)
        return -ENOMEM;
    if (!mdev_name_is_safe(name) || strlen(name) >= DEVICE_TEXT_MAX)
        return 0;
    if (begin && !begin(userdata, name)) {
        ret->silent = true;
        return 0;
    }
    r = open_directory_at(parents, path, &d);
    if (r < 0)
        return r == -ENOMEM || r == -EMFILE ? r : 0; /* it is going away */
    while (r >= 0 && (errno = 0, e = readdir(d)))
        r = read_type(dirfd(d), name, e->d_name, ret);
    return r;
}

/* Without the class there is no parent: no driver that makes such devices is loaded. */
int mdev_reader_read_some(bool (*begin)(void *userdata, const char *parent), void *userdata, MdevTypes *ret) {
    _cleanup_(mdev_types_done) MdevTypes types = {};
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r = open_directory_at(AT_FDCWD, CLASS, &d);

    if (r < 0 && r != -ENOENT)
        return r;
    while (r >= 0 && d && (errno = 0, e = readdir(d)))
        r = read_parent(dirfd(d), e->d_name, begin, userdata, &types);
    if (r < 0 && r != -ENOENT)
        return r;
    mdev_types_sort(&types);
    *ret = TAKE_GENERIC(types, (MdevTypes){});
    return 0;
}

int mdev_reader_read(MdevTypes *ret) {
    return mdev_reader_read_some(NULL, NULL, ret);
}
