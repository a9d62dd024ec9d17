/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* May a device be pinned, according to the daemon? */

#include "client/vfioctl.h"

/* 0; or a negative errno with *error: the daemon does not answer, or the device is used by the host, claimed
 * or quarantined. */
int pin_ask_daemon(const char *name, VfiodErrorText *error);
/* Reminds the user to update the initramfs, if it contains pins. */
void show_initramfs(void);
/* The error of a function of pins/pins.h; takes ownership of problem. */
int pin_failed(int r, char *problem, VfiodErrorText *error);
