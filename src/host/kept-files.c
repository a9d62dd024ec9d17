/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host/kept-files.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/host-tables.h"

#define NUMBER_MAX 32U

static KeptFiles places[KEPT_FILES_MAX];

void kept_files_forget(KeptFiles *k) {
    if (!k->taken)
        return;
    k->enable = safe_close(k->enable);
    k->reset_method = safe_close(k->reset_method);
    k->power_state = safe_close(k->power_state);
    k->number = safe_close(k->number);
    k->taken = false;
}

/* All bits count: the first devices of many buses differ only in the upper ones. */
static KeptFiles *place_of(const DeviceName *name) {
    static_assert(KEPT_FILES_MAX == 1U << KEPT_FILES_BITS, "as many places as the bits can tell");
    uint64_t place = 0;

    for (uint64_t h = device_name_hash(name); h > 0; h >>= KEPT_FILES_BITS)
        place ^= h % KEPT_FILES_MAX;
    return &places[place];
}

KeptFiles *kept_files_find(const DeviceName *name) {
    KeptFiles *k = place_of(name);

    if (k->taken && device_name_compare(&k->name, name) == 0)
        return k;
    kept_files_forget(k);
    *k = (KeptFiles){.taken = true,
            .name = *name,
            .enable = -EBADF,
            .reset_method = -EBADF,
            .power_state = -EBADF,
            .number = -EBADF};
    return k;
}

static int open_attribute(int at, const char *name) {
    int fd = openat(at, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    return fd < 0 ? -errno : fd;
}

int kept_files_open(KeptFiles *k, int at) {
    _cleanup_close_ int enable = -EBADF, reset_method = -EBADF, power_state = -EBADF;

    enable = open_attribute(at, "enable");
    if (enable < 0)
        return enable;
    reset_method = open_attribute(at, "reset_method");
    if (reset_method < 0 && reset_method != -ENOENT)
        return reset_method;
    power_state = open_attribute(at, "power_state");
    if (power_state < 0 && power_state != -ENOENT)
        return power_state;
    /* Before 5.15 the kernel has `reset` for a device that it can reset, but does not name the method. */
    k->reset_methods = faccessat(at, "reset", F_OK, 0) == 0 ? "unknown" : "";
    (void) safe_close(k->enable);
    (void) safe_close(k->reset_method);
    k->enable = TAKE_FD(enable);
    (void) safe_close(k->power_state);
    k->reset_method = TAKE_FD(reset_method);
    k->power_state = TAKE_FD(power_state);
    return 0;
}

static int group_of(const Device *d) {
    return d->group ? d->group->id : -1;
}

void kept_files_note_number(KeptFiles *k, int number, const Device *d, uint64_t seqnum) {
    (void) safe_close(k->number);
    k->number = number;
    k->checked = (typeof(k->checked)){.vendor = d->vendor,
            .device = d->device,
            .group = group_of(d),
            .vfio_index = d->vfio_index,
            .vfio_rdev = d->vfio_rdev,
            .seqnum = seqnum};
}

static bool is_as_checked(const KeptFiles *k, const Device *d) {
    return d->vendor == k->checked.vendor && d->device == k->checked.device &&
            d->vfio_index == k->checked.vfio_index && d->vfio_rdev == k->checked.vfio_rdev &&
            group_of(d) == k->checked.group;
}

bool kept_files_confirm(KeptFiles *k, const Device *d) {
    unsigned major_number, minor_number;
    char text[NUMBER_MAX];

    if (k->number < 0)
        return false;
    if (is_as_checked(k, d) && read_attribute(k->number, text, sizeof(text)) >= 0 &&
            parse_device_number(text, &major_number, &minor_number) >= 0 &&
            makedev(major_number, minor_number) == d->vfio_rdev)
        return true;
    k->number = safe_close(k->number);
    return false;
}
