/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Devices that the kernel ties to another one by a device link, and by no group: the audio function of a
 * graphics card, which needs it to be awake, or a device of a board, which needs the clock that another one
 * provides. A consumer needs its supplier. Of most links the kernel only makes use for the power of the
 * devices. Of some it keeps track (their status is not "not tracked"): then it takes the consumer from its
 * driver when the supplier loses its own. */

#include "base/str.h"
#include "core/device-name.h"

#define DEVICE_LINKS_MAX 16U /* of one device; more are left out of what is shown */

typedef struct DeviceLink {
    char name[DEVICE_NAME_MAX]; /* of the other device, "pci:0000:01:00.1", on whatever bus it is */
    char driver[64];            /* that the other one has, or "" */
    bool is_consumer;           /* it needs this device; else this one needs it */
    bool unbinds;               /* it loses its driver with this device */
} DeviceLink;

typedef struct DeviceLinks {
    size_t n;
    DeviceLink items[DEVICE_LINKS_MAX];
} DeviceLinks;

/* Does the kernel take a consumer from its driver when such a link's supplier loses its own? status: of the
 * link in sysfs. */
bool device_link_unbinds(const char *status);
/* "consumer pci:0000:01:00.1 (driver snd_hda_intel), supplier platform:clock"; NULL stands for none. */
void device_links_describe(const DeviceLinks *links, StrBuf *b);
