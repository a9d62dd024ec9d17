/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/sriov.h"

#include <stdio.h>

#include "base/fd.h"
#include "base/str.h"
#include "host/host-critical.h"
#include "host/sysfs.h"

#define NUMVFS "sriov_numvfs"
#define AUTOPROBE "sriov_drivers_autoprobe"

static int read_count(int dir, const char *attribute, uint32_t *ret) {
    uint64_t v;
    char text[16];
    ssize_t n;
    int r;

    n = read_attribute_at(dir, attribute, text, sizeof(text));
    if (n < 0)
        return n == -ENOENT ? -EOPNOTSUPP : (int) n;
    r = parse_unsigned(text, 10, UINT16_MAX, &v);
    if (r >= 0)
        *ret = (uint32_t) v;
    return r;
}

static int write_count(int dir, uint32_t count) {
    char text[16];

    (void) snprintf(text, sizeof(text), "%u", (unsigned) count);
    return write_attribute_at(dir, NUMVFS, text);
}

static int note_use(SriovReport *report, const DeviceName *name, const char *use) {
    report->function = *name;
    (void) snprintf(report->use, sizeof(report->use), "%s", use);
    return -EBUSY;
}

/* Does the host use it, or has a program opened it without vfiod? Unknown counts as a use. */
static int check_function(const DeviceName *name, void *userdata) {
    _cleanup_free_ char *use = NULL;
    SriovReport *report = userdata;
    DeviceSnapshot now;
    int r;

    r = sysfs_read_device(name, &now);
    if (r == -ENODEV)
        return 0;
    if (r >= 0)
        r = host_critical_check(name, &use);
    if (r < 0)
        return note_use(report, name, "whether the host uses it is unknown");
    if (r > 0)
        return note_use(report, name, use);
    if (now.vfio_index >= 0 && sysfs_read_enable_count(name) != 0)
        return note_use(report, name, "a program has opened it without vfiod");
    return 0;
}

static int look(const DriverItem *item, const SriovOrder *order, SriovReport *report, int *ret_dir) {
    _cleanup_close_ int dir = -EBADF;
    int r;

    r = driver_open_device(item, &dir);
    if (r >= 0)
        r = read_count(dir, "sriov_totalvfs", &report->total);
    if (r >= 0)
        r = read_count(dir, NUMVFS, &report->before);
    if (r < 0)
        return r;
    report->now = report->before;
    if (order->count > report->total)
        return -ERANGE;
    if (order->only_create && report->before > 0)
        return -EEXIST;
    *ret_dir = TAKE_FD(dir);
    return 0;
}

static int remove_all(int dir, SriovReport *report) {
    int r;

    report->step = SRIOV_STEP_REMOVE;
    r = write_count(dir, 0);
    return r < 0 ? r : read_count(dir, NUMVFS, &report->now);
}

/* Reads the number back: the kernel reports success even if the driver makes fewer. */
static int create(int dir, uint32_t count, SriovReport *report) {
    int r;

    report->step = SRIOV_STEP_CREATE;
    r = write_count(dir, count);
    if (r < 0)
        return r;
    report->step = SRIOV_STEP_VERIFY;
    r = read_count(dir, NUMVFS, &report->now);
    return r < 0 ? r : report->now == count ? 0 : -EIO;
}

int sriov_set_count(const DriverItem *item, const SriovOrder *order, SriovReport *ret) {
    _cleanup_close_ int dir = -EBADF;
    bool removes;
    int r;

    *ret = (SriovReport){};
    r = look(item, order, ret, &dir);
    if (r < 0 || order->read_only)
        return r;
    removes = order->count != ret->before && ret->before > 0;
    if (removes) {
        ret->step = SRIOV_STEP_USES;
        r = sysfs_foreach_function(&item->name, check_function, ret);
    }
    if (r >= 0 && order->autoprobe != SRIOV_AUTOPROBE_KEEP) {
        ret->step = SRIOV_STEP_AUTOPROBE;
        r = write_attribute_at(dir, AUTOPROBE, order->autoprobe == SRIOV_AUTOPROBE_ON ? "1" : "0");
    }
    if (r >= 0 && removes)
        r = remove_all(dir, ret);
    if (r >= 0 && order->count != ret->now)
        r = create(dir, order->count, ret);
    return r;
}
