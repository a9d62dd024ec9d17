/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/driver.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/device-kind.h"
#include "daemon/kernel/device-look.h"

#define LATE_BINDS_MAX 3U

static const char *const driver_step_table[_DRIVER_STEP_MAX] = {
        [DRIVER_STEP_IDENTIFY] = "identify",
        [DRIVER_STEP_OVERRIDE] = "set driver_override",
        [DRIVER_STEP_UNBIND] = "unbind",
        [DRIVER_STEP_BIND] = "bind",
        [DRIVER_STEP_VERIFY] = "verify",
        [DRIVER_STEP_RESET] = "reset",
        [DRIVER_STEP_OPEN] = "open",
        [DRIVER_STEP_CREATE] = "create",
        [DRIVER_STEP_REMOVE] = "remove",
        [DRIVER_STEP_POWER] = "set d3cold_allowed",
};
DEFINE_STRING_TABLE(driver_step, DriverStep);

static int read_incarnation(int dir, DeviceKind kind, uint64_t *ret) {
    struct stat st;

    if (fstat(dir, &st) < 0)
        return -errno;
    *ret = device_identity_of_incarnation(device_incarnation(kind, st.st_ino));
    return 0;
}

/* A missing attribute counts as 0, as in the inventory. */
static int read_identity(int dir, DeviceKind kind, uint64_t *ret) {
    const DeviceKindInfo *info = device_kind_info(kind);
    uint64_t hash = 0;

    if (!info->identity)
        return read_incarnation(dir, kind, ret);
    for (const char *const *attribute = info->identity; *attribute; attribute++) {
        uint64_t v = 0;
        int r = device_look_read_id(dir, *attribute, UINT32_MAX, &v);

        if (r < 0 && r != -ENOENT)
            return r;
        hash = device_identity_add(hash, *attribute, v);
    }
    *ret = device_identity_end(hash);
    return 0;
}

/* 0, -ESTALE, or the error of reading. */
static int check_identity(int dir, const DriverItem *item) {
    const bool known = device_identity_is_known(item->name.kind, item->identity);
    uint64_t vendor = 0, device = 0, identity = 0;
    int r = 0;

    if (device_kind_info(item->name.kind)->has_ids)
        r = device_look_read_id(dir, "vendor", UINT16_MAX, &vendor);
    if (r >= 0 && device_kind_info(item->name.kind)->has_ids)
        r = device_look_read_id(dir, "device", UINT16_MAX, &device);
    if (r >= 0 && known)
        r = read_identity(dir, item->name.kind, &identity);
    if (r < 0)
        return r;
    return vendor == item->vendor && device == item->device && (!known || identity == item->identity)
            ? 0
            : -ESTALE;
}

int driver_open_device(const DriverItem *item, int *ret_dir) {
    _cleanup_close_ int dir = -EBADF;
    char path[DEVICE_PATH_MAX];
    int r;

    dir = open(device_sysfs_path(&item->name, path), O_DIRECTORY | O_CLOEXEC | O_RDONLY);
    if (dir < 0)
        return errno == ENOENT ? -ENODEV : -errno;
    r = check_identity(dir, item);
    if (r < 0)
        return r == -ENOENT ? -ENODEV : r;
    *ret_dir = TAKE_FD(dir);
    return 0;
}

/* The name of the bound driver, "" when there is none. */
static int read_driver(int dir, char *buf, size_t size) {
    ssize_t n = read_link_basename_at(dir, "driver", buf, size);

    if (n == -ENOENT) {
        buf[0] = '\0';
        return 0;
    }
    return n < 0 ? (int) n : 0;
}

/* Reports a step before the kernel is asked to change something. */
static void begin(DriverTrace *t, DriverStep step, MemberProgress progress) {
    t->step = step;
    t->progress = progress;
    t->note(t);
}

/* "" when it is not set, which the kernel shows as "(null)". */
static int read_override(int dir, char *buf, size_t size) {
    ssize_t n = read_attribute_at(dir, "driver_override", buf, size);

    if (n < 0)
        return (int) n;
    if (streq(buf, "(null)"))
        buf[0] = '\0';
    return 0;
}

/* "" clears it. The newline is needed, because a write of no bytes does not reach the kernel's store
 * function. */
static int set_override(int dir, const char *driver) {
    char now[4096];
    int r;

    r = write_attribute_at(dir, "driver_override", *driver ? driver : "\n");
    if (r >= 0)
        r = read_override(dir, now, sizeof(now));
    if (r < 0)
        return r;
    return streq(now, driver) ? 0 : -EIO;
}

static int unbind(int dir, const DeviceName *name) {
    char kernel_name[DEVICE_NAME_MAX];
    int r;

    r = write_attribute_at(dir, "driver/unbind", device_name_format_kernel(name, kernel_name));
    /* somebody else unbound it meanwhile */
    return r == -ENOENT || r == -ENODEV ? 0 : r;
}

/* The name of a driver becomes part of a path. */
static bool driver_name_is_safe(const char *s) {
    return *s && !strchr(s, '/') && !streq(s, ".") && !streq(s, "..");
}

/* Through the driver's own `bind`, which returns the result of probe(). drivers_probe returns success even
 * when nothing was bound. */
static int bind(const DeviceName *name, const char *driver) {
    char kernel_name[DEVICE_NAME_MAX], path[128];

    if (!driver_name_is_safe(driver))
        return -EINVAL;
    (void) snprintf(
            path, sizeof(path), "%s/drivers/%s/bind", device_kind_info(name->kind)->directory, driver);
    return write_attribute_at(AT_FDCWD, path, device_name_format_kernel(name, kernel_name));
}

static int verify_driver(int dir, const char *driver) {
    char now[64];
    int r;

    r = read_driver(dir, now, sizeof(now));
    if (r < 0)
        return r;
    return streq(now, driver) ? 0 : -EIO;
}

/* The device is parked and somebody else has set another override: that override stays, because it already
 * decides which driver may have the device. */
static bool is_spoken_for(int dir, const DriverItem *item) {
    char override[4096];

    return streq(item->target_driver, OVERRIDE_PARKED) &&
            read_override(dir, override, sizeof(override)) >= 0 && *override &&
            !streq(override, item->target_driver);
}

int driver_set_d3cold(int dir, const char *value, DriverTrace *t) {
    char now[8];
    ssize_t n;

    t->step = DRIVER_STEP_POWER;
    n = read_attribute_at(dir, "d3cold_allowed", now, sizeof(now));
    if (n < 0)
        return (int) n;
    if (streq(now, value))
        return 0;
    t->note(t);
    return write_attribute_at(dir, "d3cold_allowed", value);
}

int driver_bind(const DriverItem *item, DriverTrace *t) {
    _cleanup_close_ int dir = -EBADF;
    char now[64];
    int r;

    t->step = DRIVER_STEP_IDENTIFY;
    r = driver_open_device(item, &dir);
    if (r >= 0)
        r = read_driver(dir, now, sizeof(now));
    if (r < 0)
        return r;
    if (!streq(now, item->original_driver))
        return -ESTALE;
    if (is_spoken_for(dir, item)) {
        t->progress = MEMBER_RESTORED;
        return 0;
    }

    /* The override first: between unbind and bind no other driver may take the device. */
    begin(t, DRIVER_STEP_OVERRIDE, MEMBER_OVERRIDE);
    r = set_override(dir, item->target_driver);
    if (r < 0 || streq(now, item->target_driver) || streq(item->target_driver, OVERRIDE_PARKED))
        return r;
    if (*now) {
        begin(t, DRIVER_STEP_UNBIND, MEMBER_UNBOUND);
        r = unbind(dir, &item->name);
        if (r < 0)
            return r;
    }
    /* Not before: the driver that has left may not have wanted D3cold, which a write of 1 would overrule if
     * it had the device still. Not later: its vfio driver may put it to sleep at once. */
    r = item->keep_power ? driver_set_d3cold(dir, "0", t) : 0;
    if (r < 0)
        return r;
    begin(t, DRIVER_STEP_BIND, MEMBER_BOUND);
    r = bind(&item->name, item->target_driver);
    if (r < 0)
        return r;
    t->step = DRIVER_STEP_VERIFY;
    r = verify_driver(dir, item->target_driver);
    if (r < 0 || item->name.kind != DEVICE_KIND_PCI)
        return r;
    return device_look_idle(dir, &t->failure, t->seen);
}

/* Was the device unplugged meanwhile? Then the error of a write says nothing about the device: its attributes
 * disappear one after the other, driver_override with -ENODEV. */
static bool is_gone(const DriverItem *item, int error, DriverStep step) {
    _cleanup_close_ int dir = -EBADF;
    int r;

    if (error == -ENODEV && step == DRIVER_STEP_OVERRIDE)
        return true;
    r = driver_open_device(item, &dir);
    return r == -ENODEV || r == -ESTALE;
}

/* Is the present driver, or its absence, our doing? The target driver may have bound before it was asked,
 * because of our override. But it cannot have replaced the original driver, which we must have unbound
 * first. */
static bool driver_is_ours(const DriverItem *item, const char *now) {
    if (*now && !streq(now, item->target_driver))
        return false;
    return item->progress > MEMBER_OVERRIDE || !*item->original_driver;
}

static bool override_is_ours(const DriverItem *item, const char *override) {
    return streq(override, item->target_driver) ||
            (item->progress == MEMBER_RESTORING && streq(override, item->original_driver));
}

/* The override names the original driver, so that no other driver takes the device first and no earlier
 * override prevents it. (An override that is set later does not unbind a driver.) */
static int give_back(int dir, const DriverItem *item, const char *now, DriverTrace *t) {
    int r;

    if (*now) {
        begin(t, DRIVER_STEP_UNBIND, item->progress);
        r = unbind(dir, &item->name);
        if (r < 0)
            return r;
    }
    if (*item->original_driver) {
        begin(t, DRIVER_STEP_OVERRIDE, MEMBER_RESTORING);
        r = set_override(dir, item->original_driver);
        if (r < 0)
            return r;
        begin(t, DRIVER_STEP_BIND, MEMBER_RESTORING);
        r = bind(&item->name, item->original_driver);
        if (r < 0)
            return r;
    }
    /* Verify also without a driver to bind, because the unbind may have had no effect. */
    t->step = DRIVER_STEP_VERIFY;
    return verify_driver(dir, item->original_driver);
}

/* Lets the kernel look for a driver, as it did when the device appeared and we prevented it. Not if the
 * operator has turned this off for the bus. Whether a driver binds does not matter. */
static void probe_late(const DriverItem *item, DriverTrace *t) {
    const char *bus = device_kind_info(item->name.kind)->directory;
    char kernel_name[DEVICE_NAME_MAX], path[128], automatic[8];

    (void) snprintf(path, sizeof(path), "%s/drivers_autoprobe", bus);
    if (read_attribute_at(AT_FDCWD, path, automatic, sizeof(automatic)) < 0 || streq(automatic, "0"))
        return;
    begin(t, DRIVER_STEP_BIND, t->progress);
    (void) snprintf(path, sizeof(path), "%s/drivers_probe", bus);
    (void) write_attribute_at(AT_FDCWD, path, device_name_format_kernel(&item->name, kernel_name));
}

/* If no claim has the device on record, only the override shows it. */
static bool came_without_driver(const DriverItem *item, const char *override) {
    return item->came && (item->progress != MEMBER_NOT_BEGUN || streq(override, item->target_driver));
}

static int restore(int dir, const DriverItem *item, DriverTrace *t) {
    char now[64], override[4096];
    const char *last;
    bool restored = false;
    int r;

    r = read_driver(dir, now, sizeof(now));
    if (r >= 0)
        r = read_override(dir, override, sizeof(override));
    if (r < 0)
        return r;
    last = override_is_ours(item, override) ? item->original_override : override;
    if (!streq(now, item->original_driver) && driver_is_ours(item, now)) {
        r = give_back(dir, item, now, t);
        if (r < 0)
            return r;
        restored = true;
    }
    if (restored || !streq(last, override)) {
        begin(t, DRIVER_STEP_OVERRIDE, t->progress);
        r = set_override(dir, last);
    }
    if (r >= 0 && (!*now || restored) && !*last && came_without_driver(item, override))
        probe_late(item, t);
    return r;
}

/* A worker that was killed with its daemon leaves its bind in the kernel, with the device's lock. Ours waits
 * for that lock and finds the device bound. A worker that keeps a sibling without a driver may write the
 * override between our write and our check. */
static bool met_late_bind(int dir, const DriverItem *item, int error, DriverStep step) {
    char override[4096];

    if (error == -EIO && step == DRIVER_STEP_OVERRIDE)
        return streq(item->target_driver, OVERRIDE_PARKED) &&
                read_override(dir, override, sizeof(override)) >= 0 && streq(override, OVERRIDE_PARKED);
    return error == -EBUSY && step == DRIVER_STEP_BIND && verify_driver(dir, item->target_driver) >= 0;
}

int driver_restore(const DriverItem *item, DriverTrace *t) {
    _cleanup_close_ int dir = -EBADF;
    DriverItem again = *item;
    unsigned left = LATE_BINDS_MAX;
    int r;

    t->step = DRIVER_STEP_IDENTIFY;
    r = driver_open_device(item, &dir);
    if (r >= 0)
        r = restore(dir, item, t);
    while (r < 0 && left-- > 0 && met_late_bind(dir, item, r, t->step)) {
        again.progress = t->progress;
        r = restore(dir, &again, t);
    }
    /* Unplugged: the device that is there now was never ours. */
    if (r < 0 && !is_gone(item, r, t->step))
        return r;
    t->progress = MEMBER_RESTORED;
    return 0;
}

/* An unbind by somebody else has removed the driver's link already, and holds the device's lock until the
 * last file is closed. The bind waits for that lock. So after the bind, the unbind has ended. */
static int rebind(int dir, const DriverItem *item, const char *now, DriverTrace *t) {
    int r;

    begin(t, DRIVER_STEP_UNBIND, item->progress);
    if (*now) {
        r = unbind(dir, &item->name);
        if (r < 0)
            return r;
        begin(t, DRIVER_STEP_VERIFY, item->progress);
    }
    r = bind(&item->name, item->target_driver);
    if (r < 0)
        return r;
    t->step = DRIVER_STEP_VERIFY;
    return verify_driver(dir, item->target_driver);
}

/* The override is needed because the new_id that once made the driver bind may have been removed. */
static int recycle(int dir, const DriverItem *item, DriverTrace *t) {
    char now[64];
    int r;

    r = read_driver(dir, now, sizeof(now));
    if (r < 0)
        return r;
    if (*now && !streq(now, item->target_driver))
        return 0;
    begin(t, DRIVER_STEP_OVERRIDE, item->progress);
    r = set_override(dir, item->target_driver);
    return r < 0 ? r : rebind(dir, item, now, t);
}

int driver_recycle(const DriverItem *item, DriverTrace *t) {
    _cleanup_close_ int dir = -EBADF;
    int r;

    t->step = DRIVER_STEP_IDENTIFY;
    r = driver_open_device(item, &dir);
    if (r >= 0)
        r = recycle(dir, item, t);
    return r < 0 && is_gone(item, r, t->step) ? 0 : r;
}

/* `enable` shows a higher count while the device is open. A reset would affect that user, because the kernel
 * does not check. */
static int check_closed(int dir, const DriverItem *item, DriverTrace *t) {
    char text[16];
    uint64_t count;
    ssize_t n;

    if (item->enable_baseline < 0)
        return 0;
    n = read_attribute_at(dir, "enable", text, sizeof(text));
    if (n < 0)
        return (int) n;
    if (parse_unsigned(text, 10, INT_MAX, &count) < 0)
        return -EBADMSG;
    if ((long) count <= item->enable_baseline)
        return 0;
    t->failure = MEMBER_FAILURE_OPEN;
    (void) snprintf(t->seen, sizeof(t->seen),
            "its `enable` count is %u, but is %ld while no program has it open", (unsigned) count,
            item->enable_baseline);
    return -EBUSY;
}

static int reset(int dir, const DriverItem *item, DriverTrace *t) {
    uint8_t before[CONFIG_HEADER_SIZE];
    bool known;
    int r;

    t->step = DRIVER_STEP_VERIFY;
    r = check_closed(dir, item, t);
    if (r < 0)
        return r;
    known = device_look_read_header(dir, before) >= 0;
    begin(t, DRIVER_STEP_RESET, item->progress);
    r = write_attribute_at(dir, "reset", "1");
    if (r < 0)
        return r;
    t->step = DRIVER_STEP_VERIFY;
    r = device_look_reset(dir, known ? before : NULL, &t->failure, t->seen);
    return r < 0 ? r : check_closed(dir, item, t);
}

int driver_reset(const DriverItem *item, DriverTrace *t) {
    _cleanup_close_ int dir = -EBADF;
    char now[64];
    int r;

    t->step = DRIVER_STEP_IDENTIFY;
    r = driver_open_device(item, &dir);
    if (r == -ENODEV || r == -ESTALE)
        return 0;
    if (r >= 0)
        r = read_driver(dir, now, sizeof(now));
    if (r < 0)
        return r;
    /* A reset under a host driver would break the host. */
    if (!streq(now, item->target_driver))
        return 0;

    r = reset(dir, item, t);
    if (r < 0 && is_gone(item, r, t->step)) {
        t->failure = MEMBER_FAILURE_NONE;
        return 0;
    }
    if (r >= 0)
        t->progress = MAX(item->progress, MEMBER_RESET); /* a restore may have begun before a restart */
    return r;
}
