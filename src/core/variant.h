/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Variant drivers: vfio-pci with something more for some devices, like live migration. The module of each
 * says which by aliases that begin with "vfio_pci:", as vfio-pci's own does, which has wildcards only. The
 * most specific alias wins, as for libvirt.
 *
 * Pure: host/variant-reader.h reads what this kernel has. */

#include <stdint.h>

#include "base/macro.h"

#define VARIANT_NAME_MAX 64U
#define VARIANT_GENERIC "vfio_pci" /* the module that serves every device */
#define VARIANT_PREFIX "vfio_pci:"

typedef struct VariantInfo {
    const char *module, *driver, *gain;
    bool only_virtual; /* of use to virtual functions alone */
    uint16_t vendor, first, last;
} VariantInfo;

/* Of variant-table.h: the one that serves such a device, or NULL. */
const VariantInfo *variant_of_ids(uint16_t vendor, uint16_t device, bool is_virtual_function);
/* The one with this module; NULL: it is not in the table. */
const VariantInfo *variant_of_module(const char *module);

/* "pci:v00008086d…" -> "vfio_pci:v00008086d…". 0; -EINVAL: it is not of a PCI device; -E2BIG. */
int variant_alias(const char *modalias, char *ret, size_t size);
/* How much of a device an alias leaves open; less is more specific. */
unsigned variant_alias_width(const char *alias);

/* Is it what a driver or a module of the kernel can be called? */
bool driver_name_is_valid(const char *name);
/* The module that modprobe loads for a driver of this name: "igb-vfio-pci" -> "igb_vfio_pci". */
void variant_module_name(const char *driver, char ret[static VARIANT_NAME_MAX]);
