/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/driver.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

static const char *const driver_step_table[_DRIVER_STEP_MAX] = {
        [DRIVER_STEP_IDENTIFY] = "identify",
        [DRIVER_STEP_OVERRIDE] = "set driver_override",
        [DRIVER_STEP_UNBIND] = "unbind",
        [DRIVER_STEP_BIND] = "bind",
        [DRIVER_STEP_VERIFY] = "verify",
        [DRIVER_STEP_RESET] = "reset",
        [DRIVER_STEP_OPEN] = "open",
};
DEFINE_STRING_TABLE(driver_step, DriverStep);

static int read_id(int dir, const char *attribute, uint16_t *ret) {
    const char *digits;
    char text[16];
    uint64_t v;
    ssize_t n;
    int r;

    n = read_attribute_at(dir, attribute, text, sizeof(text));
    if (n < 0)
        return (int) n;
    digits = startswith(text, "0x");
    if (!digits)
        return -EBADMSG;
    r = parse_unsigned(digits, 16, UINT16_MAX, &v);
    if (r < 0)
        return r;
    *ret = (uint16_t) v;
    return 0;
}

/* Opens the device's directory and checks that the device in it is the one that was planned for. -ENODEV:
 * gone; -ESTALE: another one sits at this address now. */
static int open_device(const DriverItem *item, int *ret_dir) {
    char path[64], name[DEVICE_NAME_MAX];
    _cleanup_close_ int dir = -EBADF;
    uint16_t vendor, device;
    int r;

    (void) snprintf(
            path, sizeof(path), "/sys/bus/pci/devices/%s", device_name_format_kernel(&item->name, name));
    dir = open(path, O_DIRECTORY | O_CLOEXEC | O_RDONLY);
    if (dir < 0)
        return errno == ENOENT ? -ENODEV : -errno;
    r = read_id(dir, "vendor", &vendor);
    if (r >= 0)
        r = read_id(dir, "device", &device);
    if (r < 0)
        return r == -ENOENT ? -ENODEV : r;
    if (vendor != item->vendor || device != item->device)
        return -ESTALE;
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

/* "" clears it. A write of no bytes never reaches the kernel's store function, hence the newline; read back,
 * unset is
 * "(null)". */
static int set_override(int dir, const char *driver) {
    char now[80];
    ssize_t n;
    int r;

    r = write_attribute_at(dir, "driver_override", *driver ? driver : "\n");
    if (r < 0)
        return r;
    n = read_attribute_at(dir, "driver_override", now, sizeof(now));
    if (n < 0)
        return (int) n;
    if (streq(now, "(null)"))
        now[0] = '\0';
    return streq(now, driver) ? 0 : -EIO;
}

static int unbind(int dir, const DeviceName *name) {
    char kernel_name[DEVICE_NAME_MAX];
    int r;

    r = write_attribute_at(dir, "driver/unbind", device_name_format_kernel(name, kernel_name));
    /* It was unbound by somebody else between the look and the write. */
    return r == -ENOENT || r == -ENODEV ? 0 : r;
}

/* Through the driver's own `bind`, which returns what probe() said; drivers_probe says success even when
 * nothing was bound. */
static int bind(const DeviceName *name, const char *driver) {
    char kernel_name[DEVICE_NAME_MAX], path[128];

    (void) snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/bind", driver);
    return write_attribute_at(AT_FDCWD, path, device_name_format_kernel(name, kernel_name));
}

/* A driver's name becomes part of a path. */
static bool driver_name_is_safe(const char *s) {
    return *s && !strchr(s, '/') && !streq(s, ".") && !streq(s, "..");
}

static int verify_driver(int dir, const char *driver) {
    char now[64];
    int r;

    r = read_driver(dir, now, sizeof(now));
    if (r < 0)
        return r;
    return streq(now, driver) ? 0 : -EIO;
}

/* Brings the device from `now` to driver ("" for none); override is already set. */
static int switch_driver(
        int dir, const DriverItem *item, const char *now, const char *driver, DriverStep *step) {
    int r;

    if (streq(now, driver))
        return 0;
    if (*now) {
        *step = DRIVER_STEP_UNBIND;
        r = unbind(dir, &item->name);
        if (r < 0)
            return r;
    }
    if (*driver) {
        *step = DRIVER_STEP_BIND;
        if (!driver_name_is_safe(driver))
            return -EINVAL;
        r = bind(&item->name, driver);
        if (r < 0)
            return r;
    }
    *step = DRIVER_STEP_VERIFY;
    return verify_driver(dir, driver);
}

int driver_bind(const DriverItem *item, DriverStep *ret_step) {
    _cleanup_close_ int dir = -EBADF;
    char now[64];
    int r;

    *ret_step = DRIVER_STEP_IDENTIFY;
    r = open_device(item, &dir);
    if (r >= 0)
        r = read_driver(dir, now, sizeof(now));
    if (r < 0)
        return r;
    /* The plan was made for this driver; when another one is bound by now, it has to be planned again. */
    if (!streq(now, item->original_driver))
        return -ESTALE;

    /* The override first: between unbind and bind no other driver may take the device. */
    *ret_step = DRIVER_STEP_OVERRIDE;
    r = set_override(dir, item->target_driver);
    if (r < 0)
        return r;
    return switch_driver(dir, item, now, item->target_driver, ret_step);
}

/* Was it unplugged while we worked on it? What a write failed with then says nothing about the device: its
 * attributes go one after the other, driver_override with -ENODEV. */
static bool is_gone(const DriverItem *item, int error, DriverStep step) {
    _cleanup_close_ int dir = -EBADF;
    int r;

    if (error == -ENODEV && step == DRIVER_STEP_OVERRIDE)
        return true;
    r = open_device(item, &dir);
    return r == -ENODEV || r == -ESTALE;
}

static int restore(int dir, const DriverItem *item, DriverStep *ret_step) {
    char now[64];
    int r;

    r = read_driver(dir, now, sizeof(now));
    if (r < 0)
        return r;

    /* Somebody gave it another driver on purpose: only the override is ours to take back. */
    if (*now && !streq(now, item->target_driver) && !streq(now, item->original_driver)) {
        *ret_step = DRIVER_STEP_OVERRIDE;
        return set_override(dir, item->original_override);
    }

    /* Unbind under our override, so that nothing else grabs it; then the original override, then the driver.
     */
    if (*now && !streq(now, item->original_driver)) {
        *ret_step = DRIVER_STEP_UNBIND;
        r = unbind(dir, &item->name);
        if (r < 0)
            return r;
        now[0] = '\0';
    }
    *ret_step = DRIVER_STEP_OVERRIDE;
    r = set_override(dir, item->original_override);
    if (r < 0)
        return r;
    r = switch_driver(dir, item, now, item->original_driver, ret_step);
    if (r < 0)
        return r;
    /* Also when there was no driver to bind: the unbind may have done nothing. */
    *ret_step = DRIVER_STEP_VERIFY;
    return verify_driver(dir, item->original_driver);
}

int driver_restore(const DriverItem *item, DriverStep *ret_step) {
    _cleanup_close_ int dir = -EBADF;
    int r;

    *ret_step = DRIVER_STEP_IDENTIFY;
    r = open_device(item, &dir);
    if (r == -ENODEV || r == -ESTALE)
        return 0; /* unplugged: what sits there now was never ours */
    if (r >= 0)
        r = restore(dir, item, ret_step);
    return r < 0 && is_gone(item, r, *ret_step) ? 0 : r;
}

int driver_reset(const DriverItem *item, DriverStep *ret_step) {
    _cleanup_close_ int dir = -EBADF;
    uint8_t vendor[2] = {0xff, 0xff};
    char now[64];
    int r, fd;

    *ret_step = DRIVER_STEP_IDENTIFY;
    r = open_device(item, &dir);
    if (r == -ENODEV || r == -ESTALE)
        return 0;
    if (r >= 0)
        r = read_driver(dir, now, sizeof(now));
    if (r < 0)
        return r;
    /* A claim that never got as far as binding: resetting under a host driver would break the host. */
    if (!streq(now, item->target_driver))
        return 0;

    *ret_step = DRIVER_STEP_RESET;
    r = write_attribute_at(dir, "reset", "1");
    if (r < 0)
        return is_gone(item, r, *ret_step) ? 0 : r;

    /* A function that did not come back reads all ones. */
    *ret_step = DRIVER_STEP_VERIFY;
    fd = openat(dir, "config", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (pread(fd, vendor, sizeof(vendor), 0) != (ssize_t) sizeof(vendor))
        vendor[0] = vendor[1] = 0xff;
    (void) safe_close(fd);
    return vendor[0] == 0xff && vendor[1] == 0xff ? -EIO : 0;
}
