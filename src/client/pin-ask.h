/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* May a device be pinned, as far as the daemon knows? */

#include "client/vfioctl.h"

/* 0; or a negative errno with *error: the daemon does not answer, or the device is used by the host, claimed
 * or quarantined. */
int pin_ask_daemon(const char *name, VfiodErrorText *error);
/* Says that the initramfs must be made anew, if pins are in it. */
void show_initramfs(void);
/* The error of a function of pins/pins.h, whose problem it takes. */
int pin_failed(int r, char *problem, VfiodErrorText *error);
