/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Uevents can be late or lost. Both are handled in the same way: an event only says where to look, and the
 * present state is read. So two quick changes may be reported as one, and a late event finds nothing new.
 * Only a removal is believed: when the address or the number of the VFIO node is already in use again, that
 * is another device, and a claim of the first one must end. But udev may be slow, and the new device may have
 * been found and claimed after that removal. So every read notes the number of the last uevent before it, and
 * a removal with that number or a lower one only says where to look.
 *
 * These are udev's events and not the kernel's: when they arrive, the rules have run and the nodes have their
 * owners.
 *
 * The subsystems: "pci" and the other kinds have add, remove, bind and unbind. The node of a vDPA device has
 * no event of its own; it exists when the device's "bind" arrives. "vfio-dev" is the only early sign that a
 * device in use is being unbound or unplugged: its removal arrives at once, the others only after the last
 * close. "iommu" is an IOMMU whose driver came late. It makes groups for existing devices, which no event
 * announces, and its end is not announced either: everything is read again a moment later. Nodes of groups
 * (subsystem "vfio") are not in the inventory.
 *
 * Everything is also read again after the socket overran and after an error, because what was lost is
 * unknown. */

#include <libudev.h>

#include "base/log.h"
#include "base/str.h"
#include "core/device-kind.h"
#include "daemon/kernel/hotplug.h"
#include "host/sysfs.h"

#define EVENTS_PER_WAKEUP 64U
/* For a few thousand functions that appear at once. The memory is used only then. */
#define RECEIVE_BUFFER (16 * 1024 * 1024)
#define RESCAN_DELAY_USEC (1U * 1000 * 1000)

struct Hotplug {
    Inventory *inventory; /* borrowed */
    hotplug_changed_t changed;
    void *userdata;
    struct udev *udev;
    struct udev_monitor *monitor;
    sd_event_source *io, *rescan;
};

Hotplug *hotplug_free(Hotplug *h) {
    if (!h)
        return NULL;

    sd_event_source_disable_unref(h->io);
    sd_event_source_disable_unref(h->rescan);
    udev_monitor_unref(h->monitor);
    udev_unref(h->udev);
    free(h);
    return NULL;
}

/* Reports the removal while the Device still exists, then forgets it. */
static void forget(Hotplug *h, const DeviceName *name) {
    Device *d = inventory_find_device(h->inventory, name);
    int changes = DEVICE_REMOVED;

    if (!d)
        return;
    if (d->group && d->group->n_members == 1)
        changes |= GROUP_REMOVED;
    h->changed(h->userdata, d, changes, d->group ? d->group->id : -1);
    (void) inventory_remove(h->inventory, name, NULL);
}

static int take_in(Hotplug *h, const DeviceSnapshot *snapshot) {
    int changes, old_group = -1;
    Device *d;

    d = inventory_find_device(h->inventory, &snapshot->name);
    if (d && !device_is_same_hardware(d, snapshot))
        forget(h, &snapshot->name);

    changes = inventory_update(h->inventory, snapshot, &d, &old_group);
    if (changes > 0)
        h->changed(h->userdata, d, changes, old_group);
    return changes < 0 ? changes : 0;
}

/* gone_index: the number of a vfio-dev entry whose removal was announced, or -1. */
static int refresh(Hotplug *h, const DeviceName *name, int gone_index) {
    const DeviceName copy = *name; /* name may be in the device, which forget() frees */
    DeviceSnapshot snapshot;
    int r;

    r = sysfs_read_device(&copy, &snapshot);
    if (r == -ENODEV)
        forget(h, &copy);
    if (r < 0)
        return r;
    if (gone_index >= 0 && snapshot.vfio_index == gone_index) {
        snapshot.vfio_index = -1;
        snapshot.vfio_rdev = 0;
    }
    return take_in(h, &snapshot);
}

int hotplug_refresh(Hotplug *h, const DeviceName *name) {
    return refresh(h, name, -1);
}

/* A rescan that is already due is not postponed: a stream of errors would postpone it forever. */
static void schedule_rescan(Hotplug *h, uint64_t delay_usec) {
    int r;

    if (delay_usec > 0 && sd_event_source_get_enabled(h->rescan, NULL) > 0)
        return;
    r = sd_event_source_set_time_relative(h->rescan, delay_usec);
    if (r >= 0)
        r = sd_event_source_set_enabled(h->rescan, SD_EVENT_ONESHOT);
    if (r < 0)
        log_error_errno(r, "Cannot schedule a new scan of the devices");
}

/* ---- everything again ---- */

typedef struct Vanished {
    DeviceName *names;
    size_t n_names;
} Vanished;

static int visit_present(const DeviceSnapshot *snapshot, void *userdata) {
    return take_in(userdata, snapshot);
}

static int collect_vanished(Device *d, void *userdata) {
    Vanished *v = userdata;

    if (!sysfs_has_device(&d->name))
        v->names[v->n_names++] = d->name;
    return 0;
}

static int rescan(Hotplug *h) {
    _cleanup_free_ DeviceName *names = NULL; /* v borrows it */
    Vanished v = {};
    int r;

    r = sysfs_foreach(visit_present, h);
    if (r < 0)
        return r;

    names = calloc(inventory_n_devices(h->inventory) + 1, sizeof(*names));
    if (!names)
        return -ENOMEM;
    v.names = names;
    (void) inventory_foreach_device(h->inventory, collect_vanished, &v);
    for (size_t i = 0; i < v.n_names; i++)
        forget(h, &names[i]);
    return 0;
}

static int on_rescan(sd_event_source *source, uint64_t usec, void *userdata) {
    Hotplug *h = userdata;
    int r;

    r = rescan(h);
    if (r < 0) {
        log_warning_errno(r, "Cannot read all devices again, trying once more");
        schedule_rescan(h, RESCAN_DELAY_USEC);
    }
    return 0;
}

/* ---- events ---- */

/* The kernel announces the removal of a vfio-dev entry just before the entry disappears, so sysfs may still
 * show it. This event must be believed, because no other one reports that a held device is being removed. If
 * the number is in use again, its own event follows and is read then. */
static int removed_vfio_index(struct udev_device *device, const char *subsystem, const char *action) {
    const char *name = udev_device_get_sysname(device), *digits;
    uint64_t index;

    if (!streq(subsystem, "vfio-dev") || !streq(action, "remove") || !name)
        return -1;
    digits = startswith(name, "vfio");
    return digits && parse_unsigned(digits, 10, INT32_MAX, &index) >= 0 ? (int) index : -1;
}

/* Was the removal announced before the known device was found? Then it was of an earlier device. Without a
 * number on either side the removal is believed. */
static bool is_old_news(Hotplug *h, const DeviceName *name, unsigned long long seqnum) {
    const Device *d = inventory_find_device(h->inventory, name);

    return d && seqnum > 0 && seqnum <= d->since_seqnum;
}

/* The device whose VFIO node is announced: …/NAME/vfio-dev/vfio0. Some names show their kind; for the others
 * the device must exist or be known. */
static int name_device_of_node(Hotplug *h, const char *path, DeviceName *ret) {
    for (DeviceKind k = 0; k < _DEVICE_KIND_MAX; k++) {
        DeviceName name;

        if (device_name_parse_above(path, "vfio-dev", k, &name) < 0 ||
                (!inventory_find_device(h->inventory, &name) && !sysfs_has_device(&name)))
            continue;
        *ret = name;
        return 0;
    }
    return -ENODEV;
}

/* The device that the event is about. */
static int name_device(
        Hotplug *h, struct udev_device *device, const char *subsystem, const char *path, DeviceName *ret) {
    const char *own = udev_device_get_sysname(device);
    DeviceKind kind = device_kind_from_string(subsystem);

    if (kind >= 0)
        return own ? device_kind_info(kind)->parse_kernel(kind, own, ret) : -EINVAL;
    return name_device_of_node(h, path, ret);
}

static void handle_event(Hotplug *h, struct udev_device *device) {
    const char *subsystem = udev_device_get_subsystem(device), *action = udev_device_get_action(device),
               *path = udev_device_get_syspath(device);
    int gone_index = -1, r;
    DeviceName name;

    if (!subsystem || !action || !path)
        return;
    if (streq(subsystem, "iommu")) {
        schedule_rescan(h, RESCAN_DELAY_USEC);
        return;
    }
    if (name_device(h, device, subsystem, path, &name) < 0) /* of an unknown device */
        return;

    if (!is_old_news(h, &name, udev_device_get_seqnum(device))) {
        gone_index = removed_vfio_index(device, subsystem, action);
        if (device_kind_from_string(subsystem) >= 0 && streq(action, "remove"))
            forget(h, &name);
    }
    r = refresh(h, &name, gone_index);
    if (r < 0 && r != -ENODEV) {
        log_warning_errno(r, "Cannot read a device that has changed, reading all again");
        schedule_rescan(h, RESCAN_DELAY_USEC);
    }
}

static int on_event(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
    Hotplug *h = userdata;

    for (unsigned i = 0; i < EVENTS_PER_WAKEUP; i++) {
        struct udev_device *device;

        errno = 0;
        device = udev_monitor_receive_device(h->monitor);
        if (device) {
            handle_event(h, device);
            udev_device_unref(device);
            continue;
        }
        if (errno == EAGAIN || errno == 0)
            break;
        if (errno == ENOBUFS) {
            log_notice("Device events were lost, reading all devices again");
            schedule_rescan(h, 0);
        }
        /* Any other error concerns one message that cannot be parsed, from any sender: continue with the
         * next. */
    }
    return 0;
}

static int start_monitor(Hotplug *h) {
    static const char *const subsystems[] = {"vfio-dev", "iommu"};
    int r = 0;

    h->udev = udev_new();
    if (!h->udev)
        return -ENOMEM;
    h->monitor = udev_monitor_new_from_netlink(h->udev, "udev");
    if (!h->monitor)
        return errno > 0 ? -errno : -ENOMEM;

    for (size_t i = 0; r >= 0 && i < ELEMENTSOF(subsystems); i++)
        r = udev_monitor_filter_add_match_subsystem_devtype(h->monitor, subsystems[i], NULL);
    for (DeviceKind k = 0; r >= 0 && k < _DEVICE_KIND_MAX; k++)
        if (device_kind_info(k)->directory)
            r = udev_monitor_filter_add_match_subsystem_devtype(h->monitor, device_kind_to_string(k), NULL);
    if (r < 0)
        return r;
    /* Without CAP_NET_ADMIN the usual size must do; a loss is noticed and handled. */
    (void) udev_monitor_set_receive_buffer_size(h->monitor, RECEIVE_BUFFER);
    return udev_monitor_enable_receiving(h->monitor);
}

int hotplug_new(
        sd_event *event, Inventory *inventory, hotplug_changed_t changed, void *userdata, Hotplug **ret) {
    _cleanup_(hotplug_freep) Hotplug *h = NULL;
    int r;

    h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    h->inventory = inventory;
    h->changed = changed;
    h->userdata = userdata;

    r = start_monitor(h);
    if (r < 0)
        return r;
    r = sd_event_add_io(event, &h->io, udev_monitor_get_fd(h->monitor), EPOLLIN, on_event, h);
    if (r < 0)
        return r;
    r = sd_event_add_time_relative(event, &h->rescan, CLOCK_MONOTONIC, RESCAN_DELAY_USEC, 0, on_rescan, h);
    if (r >= 0)
        r = sd_event_source_set_enabled(h->rescan, SD_EVENT_OFF);
    if (r < 0)
        return r;
    (void) sd_event_source_set_description(h->io, "hotplug");
    (void) sd_event_source_set_description(h->rescan, "hotplug-rescan");

    r = sysfs_scan(inventory);
    if (r < 0)
        return r;

    *ret = TAKE_PTR(h);
    return 0;
}
