/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/device-power.h"

#include <limits.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "daemon/kernel/device-look.h"

#define RESUME_LOOKS 6U
#define RESUME_LOOK_USEC 200000U

int device_power_wake(const DriverItem *item, DriverTrace *t) {
    _cleanup_close_ int dir = -EBADF;
    int r;

    t->step = DRIVER_STEP_IDENTIFY;
    r = driver_open_device(item, &dir);
    if (r < 0)
        return r;
    t->step = DRIVER_STEP_VERIFY;
    return item->name.kind == DEVICE_KIND_PCI ? device_look_idle(dir, &t->failure, t->seen) : 0;
}

static int set_d3cold_allowed(const DriverItem *item, const char *value, DriverTrace *t) {
    _cleanup_close_ int dir = -EBADF;
    int r;

    t->step = DRIVER_STEP_IDENTIFY;
    r = driver_open_device(item, &dir);
    return r < 0 ? r : driver_set_d3cold(dir, value, t);
}

int device_power_keep(const DriverItem *item, DriverTrace *t) {
    return set_d3cold_allowed(item, "0", t);
}

int device_power_restore(const DriverItem *item, DriverTrace *t) {
    int r = set_d3cold_allowed(item, "1", t);

    return r == -ENODEV || r == -ESTALE ? 0 : r;
}

/* Unknown counts as open. */
static bool is_open(int dir, const DriverItem *item) {
    uint64_t count;
    char text[16];

    if (item->enable_baseline < 0 || read_attribute_at(dir, "enable", text, sizeof(text)) < 0 ||
            parse_unsigned(text, 10, INT_MAX, &count) < 0)
        return true;
    return (long) count > item->enable_baseline;
}

/* VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY: any access of the host ends it. */
static bool is_put_to_sleep(int dir, const DriverItem *item) {
    char status[16];

    return read_attribute_at(dir, "power/runtime_status", status, sizeof(status)) >= 0 &&
            streq(status, "suspended") && is_open(dir, item);
}

/* A bridge above it may take a moment to train its link. */
int device_power_check_resumed(const DriverItem *item, DriverTrace *t) {
    _cleanup_close_ int dir = -EBADF;
    int r;

    t->step = DRIVER_STEP_IDENTIFY;
    r = driver_open_device(item, &dir);
    if (r < 0)
        return r;
    t->step = DRIVER_STEP_VERIFY;
    if (item->name.kind != DEVICE_KIND_PCI || is_put_to_sleep(dir, item))
        return 0;
    for (unsigned i = 0; i < RESUME_LOOKS; i++) {
        if (i > 0)
            (void) usleep(RESUME_LOOK_USEC);
        r = device_look_used(dir, &t->failure, t->seen);
        if (r >= 0)
            break;
    }
    return r;
}
