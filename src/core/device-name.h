/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names of devices: KIND:NAME, `pci:0000:06:0d.0`. A small value type, compared and sorted without strings.
 *
 * People write the same PCI address in many ways; all of these parse to the same value: `pci:0000:06:0d.0`,
 * `0000:06:0d.0`, `06:0d.0` (domain 0), `pci:06:0d.0`, upper-case digits, libvirt's `pci_0000_06_0d_0`,
 * and a sysfs path that ends in the address. Domains may have up to 8 hex digits (VMD uses 5). One way is
 * written: lower case, four digits of domain at least, the bus in front. */

#include "base/macro.h"

typedef enum DeviceKind {
    DEVICE_KIND_PCI,
    DEVICE_KIND_MDEV,
    DEVICE_KIND_PLATFORM,
    DEVICE_KIND_VDPA,
    _DEVICE_KIND_MAX,
    _DEVICE_KIND_INVALID = -EINVAL,
} DeviceKind;
DECLARE_STRING_TABLE(device_kind, DeviceKind); /* "pci", "mdev", "platform", "vdpa"; see device-kind.h */

typedef struct DeviceName {
    DeviceKind kind;
    uint32_t domain;
    uint8_t pci_bus;
    uint8_t slot;     /* 0..31 */
    uint8_t function; /* 0..7 */
} DeviceName;

#define DEVICE_NAME_MAX 24 /* "pci:" + 8 digits of domain + ":06:0d.0" + NUL, rounded up */

/* Parses any accepted spelling. 0; -EOPNOTSUPP: a device of a kind that this version does not know yet;
 * -EINVAL. *ret is untouched on failure. Never reads past the NUL. */
int device_name_parse(const char *s, DeviceName *ret);
/* Parses only the kernel's own spelling of a PCI address, "0000:06:0d.0". */
int device_name_parse_pci_address(const char *s, DeviceName *ret);
/* The last PCI address among the components of a sysfs path: of …/0000:06:0d.0/vfio-dev/vfio0 it is the
 * device behind the node. Needs nothing to be there any more. 0, or -EINVAL when there is none. */
int device_name_parse_syspath(const char *path, DeviceName *ret);
/* Writes "pci:0000:06:0d.0"; returns buf. */
const char *device_name_format(const DeviceName *name, char buf[static DEVICE_NAME_MAX]);
/* Writes the kernel's name on its bus, "0000:06:0d.0"; returns buf. */
const char *device_name_format_kernel(const DeviceName *name, char buf[static DEVICE_NAME_MAX]);
int device_name_compare(const DeviceName *a, const DeviceName *b);
