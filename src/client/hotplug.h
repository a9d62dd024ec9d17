/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "client/vfioctl.h"

/* vfioctl exec --hotplug: claims the devices, adds them to a running QEMU, and stays until they were removed
 * from it. 0, or a negative errno with *error set. */
int exec_hotplug(const Options *o, VfiodErrorText *error);
