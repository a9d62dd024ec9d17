/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/mdev.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/device-kind.h"

#define CLASS "/sys/class/mdev_bus"
#define TYPE_LINK "mdev_type"
#define LOOK_NSEC (20L * 1000000)
#define LOOKS_MAX 250U /* five seconds in all */

static void begin(DriverTrace *t, DriverStep step, MemberProgress progress) {
    t->step = step;
    t->progress = progress;
    t->note(t);
}

static int open_device(const DeviceName *name) {
    char path[DEVICE_PATH_MAX];
    int fd = open(device_sysfs_path(name, path), O_DIRECTORY | O_CLOEXEC | O_RDONLY);

    return fd >= 0 ? fd : errno == ENOENT ? -ENODEV : -errno;
}

static int open_type(const MadeDevice *made) {
    char path[sizeof(CLASS) + DEVICE_TEXT_MAX + sizeof("//mdev_supported_types/") + MDEV_TYPE_NAME_MAX];
    int fd;

    if (!mdev_name_is_safe(made->parent) || !mdev_name_is_safe(made->type))
        return -EINVAL;
    (void) snprintf(path, sizeof(path), CLASS "/%s/mdev_supported_types/%s", made->parent, made->type);
    fd = open(path, O_DIRECTORY | O_CLOEXEC | O_RDONLY);
    return fd >= 0 ? fd : errno == ENOENT ? -ENODEV : -errno;
}

int mdev_create(const DriverItem *item, DriverTrace *t) {
    _cleanup_close_ int type = -EBADF, device = -EBADF;
    char uuid[DEVICE_NAME_MAX];
    int r;

    t->step = DRIVER_STEP_IDENTIFY;
    type = open_type(&item->made);
    if (type < 0)
        return type;
    begin(t, DRIVER_STEP_CREATE, MEMBER_BOUND);
    r = write_attribute_at(type, "create", device_name_format_kernel(&item->name, uuid));
    if (r == -EEXIST)
        t->progress = MEMBER_NOT_BEGUN;
    if (r < 0)
        return r == -ENOENT ? -ENODEV : r;
    t->step = DRIVER_STEP_VERIFY;
    device = open_device(&item->name);
    return device < 0 ? device : 0;
}

/* Its link on the bus leads to "…/PARENT/UUID". */
static int check_parent(const DriverItem *item) {
    char path[DEVICE_PATH_MAX], target[PATH_MAX], *end;
    ssize_t n = readlink(device_sysfs_path(&item->name, path), target, sizeof(target) - 1);

    if (n < 0)
        return errno == ENOENT ? -ENODEV : -errno;
    target[n] = '\0';
    end = strrchr(target, '/');
    if (!end)
        return -ESTALE;
    *end = '\0';
    end = strrchr(target, '/');
    return end && streq(end + 1, item->made.parent) ? 0 : -ESTALE;
}

/* -EAGAIN: its creation has not finished. The kernel does not remove such a device, and if asked to, it takes
 * the attribute away. */
static int check_origin(const DriverItem *item, int dir) {
    char type[MDEV_TYPE_NAME_MAX];
    ssize_t n;
    int r;

    r = check_parent(item);
    if (r < 0)
        return r;
    n = read_link_basename_at(dir, TYPE_LINK, type, sizeof(type));
    if (n == -ENOENT)
        return -EAGAIN;
    return n < 0 ? (int) n : streq(type, item->made.type) ? 0 : -ESTALE;
}

/* A creation may continue after the end of the worker that requested it, and of its daemon. The directory
 * exists before any step that can sleep, and the link to the type is made last. */
static int open_when_made(const DriverItem *item, int *ret) {
    const struct timespec pause = {.tv_nsec = LOOK_NSEC};
    int r = -EAGAIN;

    for (unsigned i = 0; r == -EAGAIN && i < LOOKS_MAX; i++) {
        _cleanup_close_ int dir = -EBADF;

        if (i > 0)
            (void) nanosleep(&pause, NULL);
        dir = open_device(&item->name);
        r = dir < 0 ? dir : check_origin(item, dir);
        if (r >= 0)
            *ret = TAKE_FD(dir);
    }
    return r;
}

/* A device of another parent or type was made by somebody else, after ours was gone. */
static bool is_over(int error) {
    return error == -ENODEV || error == -ESTALE;
}

/* A driver that is being unloaded removes its devices itself, and lets nobody else do so. */
static int wait_for_end(const DriverItem *item) {
    const struct timespec pause = {.tv_nsec = LOOK_NSEC};

    for (unsigned i = 0; i < LOOKS_MAX; i++) {
        _cleanup_close_ int dir = open_device(&item->name);

        if (dir == -ENODEV || (dir >= 0 && is_over(check_parent(item))))
            return 0;
        (void) nanosleep(&pause, NULL);
    }
    return -EBUSY;
}

int mdev_remove(const DriverItem *item, DriverTrace *t) {
    _cleanup_close_ int dir = -EBADF;
    int r;

    t->step = DRIVER_STEP_IDENTIFY;
    r = open_when_made(item, &dir);
    if (r >= 0) {
        begin(t, DRIVER_STEP_REMOVE, MEMBER_RESTORING);
        r = write_attribute_at(dir, "remove", "1");
        if (r >= 0 || r == -ENODEV || r == -ENOENT) {
            t->step = DRIVER_STEP_VERIFY;
            r = wait_for_end(item);
        }
    }
    if (r < 0 && !is_over(r))
        return r;
    t->progress = MEMBER_RESTORED;
    return 0;
}
