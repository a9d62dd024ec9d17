/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The kernel's switch for devices without an IOMMU, vfio.enable_unsafe_noiommu_mode. It must be on when such
 * a device is bound to its vfio driver and when it is opened; open files do not depend on it.
 *
 * With the host setting "on" somebody else controls the switch, and it is only read. With "managed" it is
 * turned on before the first claim that needs it and off after the last, unless it was on already: then
 * somebody else wants it on. A note is written before the switch is turned on and removed after it was turned
 * off. So whenever the daemon dies, the next one finds a note if there is something to restore. The switch
 * stays on when the daemon stops, because claims outlive it. */

#include "core/error.h"
#include "policy/policy.h"

typedef struct NoiommuSwitch NoiommuSwitch;

/* Reads the note of an earlier daemon and changes nothing: noiommu_switch_release() does, once it is known
 * which claims exist. 0 or negative errno. *ret is owned by the caller. */
int noiommu_switch_new(const char *state_directory, NoiommuSwitch **ret);
NoiommuSwitch *noiommu_switch_free(NoiommuSwitch *s); /* the kernel's switch stays as it is */
DEFINE_TRIVIAL_CLEANUP_FUNC(NoiommuSwitch *, noiommu_switch_free);

/* Call before a device is bound and opened without an IOMMU: turns the switch on if necessary. The plan has
 * checked the same, but the host may have changed, so it is checked again, and unknown means no. 0, or
 * refused: NoiommuDisabled when the setting, kernel lockdown or somebody else's switch forbids it; Internal
 * when note or switch cannot be written. */
int noiommu_switch_require(NoiommuSwitch *s, NoiommuMode mode, const DeviceName *name, Refusal *refusal);
/* No claim needs it any more: turns it off if we turned it on. */
void noiommu_switch_release(NoiommuSwitch *s);
/* Is it on because we turned it on? */
bool noiommu_switch_is_ours(const NoiommuSwitch *s);
