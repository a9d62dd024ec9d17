/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a text that is no name of a device was probably meant to be. Other tools write devices in their own
 * ways: with options behind the address (QEMU, DPDK, Xen), without the function (Proxmox), in decimal (X.org,
 * bhyve), several at once. Such a text is never accepted, since half of it would be ignored, but a refusal
 * can name what it probably means. */

#include "core/device-name.h"

#define DEVICE_GUESS_MAX 4U

typedef struct DeviceGuess {
    DeviceName names[DEVICE_GUESS_MAX];
    size_t n;        /* 0: no idea */
    bool whole_slot; /* one name, of which the function was left out: all functions of the card */
} DeviceGuess;

void device_spelling_guess(const char *text, DeviceGuess *ret);

/* The end of a sentence that began with `"TEXT" is not the name of a device`: `, did you mean "…"?`, or ""
 * when nothing is near. In a pattern of the policy a whole card can be named by a glob. Owned; NULL on
 * ENOMEM. */
char *device_spelling_explain(const char *text, bool in_pattern);
