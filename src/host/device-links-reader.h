/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reads device links from sysfs: "consumer:…" and "supplier:…" in a device's directory. It never sleeps. */

#include "core/device-links.h"

/* device: its directory in sysfs. *ret is owned by the caller; NULL: it has no links. Returns 0 or negative
 * errno. */
int device_links_read(int device, DeviceLinks **ret);
