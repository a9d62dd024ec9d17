/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* For udev: a PCI device that appears in an IOMMU group which vfiod has claimed gets an override that no
 * driver matches, before udev loads a driver for it. vfiod learns of the device only after all udev rules
 * have run. It then takes the override over, and clears it at the end of the claim. This does not help
 * against a driver that is loaded already, which does not wait for udev. */

#include "core/device-name.h"

#define CLAIMS_DIRECTORY "/run/vfiod/claims"

/* claims: the directory with vfiod's records, which are only read. Returns 0, also when the device is alone
 * in its group, has a driver or an override, or its group is not claimed; or negative errno. */
int claimed_group_park(const char *claims, const DeviceName *name);
