/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Keeps the inventory as fresh as the last uevent: a libudev monitor on subsystems pci (which tells of bind
 * and unbind, too), vfio-dev and iommu. An event only says WHERE to look: the device is read again from
 * sysfs, so that lost, late and forged fields do no harm. A removal is believed unless it was announced
 * before the device was found that is there now. After an overrun of the socket everything is scanned again.
 */

#include <systemd/sd-event.h>

#include "core/inventory.h"

typedef struct Hotplug Hotplug;

/* Called after the inventory changed (before removal for DEVICE_REMOVED, so that the Device can still be
 * looked at). changes is a mask of DeviceChange. old_group is the group that the device was in, valid with
 * DEVICE_REMOVED and DEVICE_GROUP_CHANGED, -1 when it had none. */
typedef void (*hotplug_changed_t)(void *userdata, Device *device, int changes, int old_group);

/* Starts listening, THEN scans (nothing can fall between), and reports no change for the first scan. */
int hotplug_new(
        sd_event *event, Inventory *inventory, hotplug_changed_t changed, void *userdata, Hotplug **ret);
Hotplug *hotplug_free(Hotplug *h);
DEFINE_TRIVIAL_CLEANUP_FUNC(Hotplug *, hotplug_free);
/* Reads one device again now (after a worker bound it, without waiting for the event) and reports changes
 * before it returns. 0, -ENODEV when it has gone (that is reported, too), negative errno when it cannot be
 * read. */
int hotplug_refresh(Hotplug *h, const DeviceName *name);
