/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Device links: they tie a device to another one, independently of groups. Examples are the audio function of
 * a graphics card, which needs the graphics function to be awake, or a device on a board that needs the clock
 * of another one. A consumer needs its supplier. The kernel uses most links for power management only. It
 * tracks some (their status is not "not tracked"): it unbinds the consumer when the supplier loses its
 * driver. */

#include "base/str.h"
#include "core/device-name.h"

#define DEVICE_LINKS_MAX 16U /* of one device; more are not shown */

typedef struct DeviceLink {
    char name[DEVICE_NAME_MAX]; /* of the other device, "pci:0000:01:00.1", on any bus */
    char driver[64];            /* the driver of the other device, or "" */
    bool is_consumer;           /* the other device needs this one; otherwise the reverse */
    bool unbinds;               /* the other device loses its driver when this one does */
} DeviceLink;

typedef struct DeviceLinks {
    size_t n;
    DeviceLink items[DEVICE_LINKS_MAX];
} DeviceLinks;

/* Does the kernel unbind the consumer of such a link when the supplier loses its driver? status: of the link
 * in sysfs. */
bool device_link_unbinds(const char *status);
/* Appends "consumer pci:0000:01:00.1 (driver snd_hda_intel), supplier platform:clock". links may be NULL:
 * none. */
void device_links_describe(const DeviceLinks *links, StrBuf *b);
