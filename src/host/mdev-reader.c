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

typedef struct Reading {
    MdevTypes types;
    size_t types_text, devices_text; /* used bytes, of MDEV_TYPES_STRINGS_MAX each */
    bool (*begin)(void *userdata, const char *parent);
    void *userdata;
} Reading;

/* Takes n more bytes, if there is room. */
static bool take_room(size_t *used, size_t n) {
    if (n > MDEV_TYPES_STRINGS_MAX - *used)
        return false;
    *used += n;
    return true;
}

/* A missing attribute counts as empty: only create and available_instances are in every kernel. */
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

static int read_devices(Reading *reading, int dir, MdevType *t) {
    const DeviceKindInfo *info = device_kind_info(DEVICE_KIND_MDEV);
    char text[DEVICE_NAME_MAX];
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r = open_directory_at(dir, "devices", &d);

    if (r < 0)
        return 0; /* the type is gone, or the kernel has no list */
    while (r >= 0 && (errno = 0, e = readdir(d))) {
        DeviceName name;

        if (info->parse_kernel(DEVICE_KIND_MDEV, e->d_name, &name) < 0)
            continue;
        r = take_room(&reading->devices_text, strlen(device_name_format(&name, text)))
                ? mdev_type_add_device(t, &name)
                : -E2BIG;
    }
    return r == -E2BIG ? 0 : r;
}

static int read_type(Reading *reading, int types, const char *parent, const char *id) {
    _cleanup_free_ char *name = NULL;
    _cleanup_closedir_ DIR *d = NULL;
    char api[MDEV_API_MAX], label[LABEL_MAX];
    MdevType *t;

    if (!mdev_name_is_safe(id) || strlen(id) >= sizeof(t->id) || open_directory_at(types, id, &d) < 0)
        return 0;
    read_text(dirfd(d), "device_api", api, sizeof(api));
    read_text(dirfd(d), "name", label, sizeof(label));
    if (!mdev_name_is_safe(api))
        api[0] = '\0';
    name = sanitize(label, LABEL_MAX);
    if (!name)
        return -ENOMEM;
    if (reading->types.n == MDEV_TYPES_MAX ||
            !take_room(&reading->types_text, strlen(parent) + strlen(id) + strlen(api) + strlen(name))) {
        reading->types.incomplete = true;
        return 0;
    }
    t = mdev_types_add(&reading->types);
    if (!t)
        return -ENOMEM;
    put_text(t->parent, sizeof(t->parent), parent);
    put_text(t->id, sizeof(t->id), id);
    put_text(t->api, sizeof(t->api), api);
    t->name = TAKE_PTR(name);
    t->available = read_available(dirfd(d));
    return read_devices(reading, dirfd(d), t);
}

static int read_parent(Reading *reading, int parents, const char *name) {
    _cleanup_free_ char *path = format_string("%s/" TYPES, name);
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r;

    if (!path)
        return -ENOMEM;
    if (!mdev_name_is_safe(name) || strlen(name) >= DEVICE_TEXT_MAX)
        return 0;
    if (reading->begin && !reading->begin(reading->userdata, name)) {
        reading->types.silent = true;
        return 0;
    }
    r = open_directory_at(parents, path, &d);
    if (r < 0)
        return r == -ENOMEM || r == -EMFILE ? r : 0; /* otherwise the parent is going away */
    while (r >= 0 && (errno = 0, e = readdir(d)))
        r = read_type(reading, dirfd(d), name, e->d_name);
    return r;
}

/* Without the class no driver that makes such devices is loaded, so there is no parent. */
int mdev_reader_read_some(bool (*begin)(void *userdata, const char *parent), void *userdata, MdevTypes *ret) {
    Reading reading = {.begin = begin, .userdata = userdata};
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r = open_directory_at(AT_FDCWD, CLASS, &d);

    if (r < 0 && r != -ENOENT)
        return r;
    while (r >= 0 && d && (errno = 0, e = readdir(d)))
        r = read_parent(&reading, dirfd(d), e->d_name);
    if (r < 0 && r != -ENOENT) {
        mdev_types_done(&reading.types);
        return r;
    }
    mdev_types_sort(&reading.types);
    *ret = reading.types;
    return 0;
}

int mdev_reader_read(MdevTypes *ret) {
    return mdev_reader_read_some(NULL, NULL, ret);
}
