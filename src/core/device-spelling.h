/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Suggestions for a text that is not a device name. Other tools write devices in their own ways: with options
 * after the address (QEMU, DPDK, Xen), without the function (Proxmox), in decimal (X.org, bhyve), several at
 * once. Such a text is never accepted, because part of it would be ignored, but the refusal can suggest what
 * was meant. */

#include "core/device-name.h"

#define DEVICE_GUESS_MAX 4U

typedef struct DeviceGuess {
    DeviceName names[DEVICE_GUESS_MAX];
    size_t n;        /* 0: no suggestion */
    bool whole_slot; /* one name without a function: all functions of the card */
} DeviceGuess;

void device_spelling_guess(const char *text, DeviceGuess *ret);

/* The end of a sentence that begins with `"TEXT" is not the name of a device`: `, did you mean "…"?`, or ""
 * without a suggestion. in_pattern: in the policy, where a glob can name a whole card. Owned by the caller;
 * NULL on ENOMEM. */
char *device_spelling_explain(const char *text, bool in_pattern);
