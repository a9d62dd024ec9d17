/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Looks at a PCI device through its opened directory in sysfs: whether it answers, is the device that the
 * kernel found, and has power. Reading config space wakes a device without power, and may sleep, so only
 * workers do it. */

#include "core/device-health.h"

/* An attribute as "0x…". 0 or negative errno. */
int device_look_read_id(int dir, const char *attribute, uint64_t max, uint64_t *ret);
int device_look_read_header(int dir, uint8_t header[static CONFIG_HEADER_SIZE]);

/* 0; -EIO with what is wrong in *failure and seen; or another negative errno: the look itself failed. */

/* After its reset. before: see config_header_check(). */
int device_look_reset(
        int dir, const uint8_t *before, MemberFailure *failure, char seen[static HEALTH_SEEN_MAX]);
/* Before it is used, when its ids were never in doubt. */
int device_look_idle(int dir, MemberFailure *failure, char seen[static HEALTH_SEEN_MAX]);
/* While somebody may use it, and may have put it to sleep. */
int device_look_used(int dir, MemberFailure *failure, char seen[static HEALTH_SEEN_MAX]);
