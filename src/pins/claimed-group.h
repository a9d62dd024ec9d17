/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What udev does with a PCI device that comes into an IOMMU group while vfiod has that claimed: it gets an
 * override that no driver matches, before udev loads a driver for it. vfiod itself hears of the device only
 * when all rules have run, takes the override over then, and clears it at the end of the claim. A driver that
 * is loaded already does not wait for udev. */

#include "core/device-name.h"

#define CLAIMS_DIRECTORY "/run/vfiod/claims"

/* claims: the directory with vfiod's records, read and never changed. 0 also when the device is alone in its
 * group, has a driver or an override, or its group is not claimed. */
int claimed_group_park(const char *claims, const DeviceName *name);
