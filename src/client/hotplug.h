/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "client/vfioctl.h"

/* vfioctl exec --hotplug: claims the devices, adds them to a running QEMU, and stays until they have left it.
 */
int exec_hotplug(const Options *o, VfiodErrorText *error);
