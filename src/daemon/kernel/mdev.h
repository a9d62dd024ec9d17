/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Mediated devices that are made for a claim: created by the driver of their parent, and removed. Both may
 * sleep in that driver, so only workers call this. The UUID is one that vfiod drew and wrote down before, so
 * after a crash it tells which device is its own to remove. */

#include "daemon/kernel/driver.h"

/* 0, or a negative errno with the step in *t; -EEXIST with MEMBER_NOT_BEGUN: a device of that UUID is there
 * already, and is not ours. -ENODEV: the parent is gone. -ENOSPC, -EUSERS: no instance is left. */
int mdev_create(const DriverItem *item, DriverTrace *t);
/* Removes it if it is there and is of this parent and type. Sleeps for as long as somebody has it open. 0
 * also when it is gone. */
int mdev_remove(const DriverItem *item, DriverTrace *t);
