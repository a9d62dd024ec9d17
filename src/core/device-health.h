/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Is a device, which was just reset or bound, back as what it was? Judged by the first 64 bytes of its config
 * space and by what the kernel says of its power. What was seen is put into words: a person must find out
 * what became of it. */

#include "core/progress.h"

#define CONFIG_HEADER_SIZE 64U /* all that can be read without CAP_SYS_ADMIN */
#define HEALTH_SEEN_MAX 96U

/* As the kernel found it, which keeps that. */
typedef struct ConfigIds {
    uint16_t vendor, device, subsystem_vendor, subsystem_device;
    uint32_t class; /* 24 bits */
    bool is_virtual_function;
} ConfigIds;

/* before: the header as it was before the reset, or NULL. ids: NULL: only whether it answers. A function that
 * does not answer reads all ones. Of a virtual function vendor and device always do (SR-IOV
 * specification, 3.4.1.1), and its subsystem is that of its physical function; command and class are real.
 * For some devices the kernel knows another class than they have themselves (its quirks), so one that did not
 * change is right, too. */
MemberFailure config_header_check(const uint8_t header[static CONFIG_HEADER_SIZE], const uint8_t *before,
        const ConfigIds *ids, char seen[static HEALTH_SEEN_MAX]);

/* `power_state` and `power/runtime_status`; "" where there is none, which says nothing. The kernel sends a
 * device that nobody uses to sleep (runtime power management), and a sleeping one is well. One that shall be
 * awake and is not did not come back. */
MemberFailure power_state_check(
        const char *state, const char *runtime_status, char seen[static HEALTH_SEEN_MAX]);
/* The same before it is used. vfio-pci of Linux 5.11 to 5.18 puts an idle device to sleep (D1 to D3hot) by
 * itself, and runtime power management does not know that. */
MemberFailure power_state_check_idle(
        const char *state, const char *runtime_status, char seen[static HEALTH_SEEN_MAX]);
/* Without power, or in no state that the kernel could find out: whoever needs it must see whether it comes
 * back. */
bool power_state_is_doubtful(const char *state);
