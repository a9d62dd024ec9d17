/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The kernel's switch for devices without an IOMMU, vfio.enable_unsafe_noiommu_mode. It must be on when such
 * a device is bound to its vfio driver and when it is opened; files that are open do not care.
 *
 * Whose it is decides what happens to it. With the host setting "on" it is somebody else's, and is only read.
 * With "managed" it is turned on before the first claim that needs it and off after the last, unless it was
 * on already: then somebody else wants it so. A note that we turned it on is on disk BEFORE it is turned on,
 * and goes AFTER it is off again: whenever the daemon dies, the next one finds a note at least as long as
 * there is something to put back. That is the whole of the recovery, so there is no other way to stop: a
 * claim outlives its daemon, and so does what it needs. */

#include "core/error.h"
#include "policy/policy.h"

typedef struct NoiommuSwitch NoiommuSwitch;

/* Reads the note of a daemon before us. Nothing is changed: noiommu_switch_release() does that, once it is
 * known which claims are left. 0 or negative errno. */
int noiommu_switch_new(const char *state_directory, NoiommuSwitch **ret);
NoiommuSwitch *noiommu_switch_free(NoiommuSwitch *s); /* the kernel's switch stays as it is */
DEFINE_TRIVIAL_CLEANUP_FUNC(NoiommuSwitch *, noiommu_switch_free);

/* A device is about to be bound and opened without an IOMMU: sees to it that the kernel allows it. The plan
 * has asked for all of this, but the host may have moved since, so here it is asked again, unknown counting
 * as no: NoiommuDisabled when the setting, kernel lockdown or the switch of somebody else forbids it;
 * Internal when the note or the switch cannot be written. */
int noiommu_switch_require(NoiommuSwitch *s, NoiommuMode mode, const DeviceName *name, Refusal *refusal);
/* No claim needs it any more: back to what it was before we turned it on. Nothing, when we did not. */
void noiommu_switch_release(NoiommuSwitch *s);
/* It is on because we turned it on. */
bool noiommu_switch_is_ours(const NoiommuSwitch *s);
