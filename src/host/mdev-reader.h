/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reads from sysfs which mediated devices the drivers of this host can make. A driver may take its own locks
 * for available_instances, so this may sleep and is for workers. */

#include "core/mdev-types.h"

int mdev_reader_read(MdevTypes *ret);
/* begin is called before each parent; false: skip it. */
int mdev_reader_read_some(bool (*begin)(void *userdata, const char *parent), void *userdata, MdevTypes *ret);
