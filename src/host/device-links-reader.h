/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Device links as sysfs shows them: "consumer:…" and "supplier:…" in the directory of a device. Nothing of
 * this sleeps. */

#include "core/device-links.h"

/* device: its directory in sysfs. *ret is owned by the caller, NULL when it has none. 0 or negative errno. */
int device_links_read(int device, DeviceLinks **ret);
