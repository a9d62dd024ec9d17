/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Is a device that was just reset or bound still the same and working? This is judged by the first 64 bytes
 * of its config space and by the kernel's power state. The message contains what was found, because a person
 * must repair the device. */

#include "core/progress.h"

#define CONFIG_HEADER_SIZE 64U /* the part that can be read without CAP_SYS_ADMIN */
#define HEALTH_SEEN_MAX 96U

/* As the kernel read them when it found the device; the kernel keeps them. */
typedef struct ConfigIds {
    uint16_t vendor, device, subsystem_vendor, subsystem_device;
    uint32_t class; /* 24 bits */
    bool is_virtual_function;
} ConfigIds;

/* header: the config space now. before: the header from before the reset, or NULL. ids: NULL to check only
 * whether the device answers. A function that does not answer reads as all ones. For a virtual function,
 * vendor and device always do (SR-IOV specification, 3.4.1.1) and the subsystem is that of its physical
 * function, but command and class are real. The kernel corrects the class of some devices (quirks), so a
 * class that did not change is accepted too. */
MemberFailure config_header_check(const uint8_t header[static CONFIG_HEADER_SIZE], const uint8_t *before,
        const ConfigIds *ids, char seen[static HEALTH_SEEN_MAX]);

/* Arguments: `power_state` and `power/runtime_status`; "" when missing, which is accepted. The kernel
 * suspends an unused device (runtime power management), which is fine. A device that should be active and is
 * not has failed. */
MemberFailure power_state_check(
        const char *state, const char *runtime_status, char seen[static HEALTH_SEEN_MAX]);
/* The same before the device is used. vfio-pci of Linux 5.11 to 5.18 puts an idle device to sleep (D1 to
 * D3hot) itself, without runtime power management. */
MemberFailure power_state_check_idle(
        const char *state, const char *runtime_status, char seen[static HEALTH_SEEN_MAX]);
/* Without power, or in a state that the kernel could not determine: before use, check that it wakes up. */
bool power_state_is_doubtful(const char *state);
