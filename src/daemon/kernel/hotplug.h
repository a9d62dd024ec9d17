/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Keeps the inventory as of the last uevent: a libudev monitor on the subsystems pci (with bind and unbind),
 * vfio-dev, iommu and those of the other kinds. An event only says where to look. The device is read again
 * from sysfs, so that lost, late and forged fields do no harm. A removal is believed unless it was announced
 * before the present device was found. After an overrun of the socket everything is scanned again. */

#include <systemd/sd-event.h>

#include "core/inventory.h"

typedef struct Hotplug Hotplug;

/* Called after the inventory changed; for DEVICE_REMOVED before the removal, so that the Device still exists.
 * changes is a mask of DeviceChange. old_group is the former group, valid with DEVICE_REMOVED and
 * DEVICE_GROUP_CHANGED, -1: none. */
typedef void (*hotplug_changed_t)(void *userdata, Device *device, int changes, int old_group);

/* Listens first and scans then, so that nothing is missed. The first scan reports no changes. */
int hotplug_new(
        sd_event *event, Inventory *inventory, hotplug_changed_t changed, void *userdata, Hotplug **ret);
Hotplug *hotplug_free(Hotplug *h);
DEFINE_TRIVIAL_CLEANUP_FUNC(Hotplug *, hotplug_free);
/* Reads one device now (after a worker bound it, without waiting for the event) and reports changes before it
 * returns. 0; -ENODEV when it is gone (which is reported too); or the negative errno of reading. */
int hotplug_refresh(Hotplug *h, const DeviceName *name);
