/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Creates and removes mediated devices for a claim. Both can sleep in the parent's driver, so only workers
 * call this. vfiod chose and recorded the UUID before, so that after a crash it knows which device it may
 * remove. */

#include "daemon/kernel/driver.h"

/* 0, or a negative errno with the step in *t; -EEXIST with MEMBER_NOT_BEGUN: a device of that UUID exists
 * already and is not ours. -ENODEV: the parent is gone. -ENOSPC, -EUSERS: no instance is available. */
int mdev_create(const DriverItem *item, DriverTrace *t);
/* Removes the device if it exists and is of this parent and type. Sleeps as long as somebody has it open. 0
 * also when it is gone; or negative errno with the step in *t. */
int mdev_remove(const DriverItem *item, DriverTrace *t);
