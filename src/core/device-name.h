/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names of devices: KIND:NAME, for example `pci:0000:06:0d.0`. A small value, compared and sorted without
 * strings.
 *
 * All of these name the same PCI device: `pci:0000:06:0d.0`, `0000:06:0d.0`, `06:0d.0` (domain 0),
 * `pci:06:0d.0`, upper-case digits, libvirt's `pci_0000_06_0d_0`, and a sysfs path that ends in the address.
 * A domain can have up to 8 hex digits (VMD uses 5). vfiod writes one form: lower case, at least four digits
 * of domain, the kind in front.
 *
 * The name of a mediated device is its UUID, which needs no kind. Devices of other kinds have the kernel's
 * name on their bus, and need their kind in front or the path /sys/bus/KIND/devices/NAME. */

#include "base/macro.h"

typedef enum DeviceKind {
    DEVICE_KIND_PCI,
    DEVICE_KIND_MDEV,
    DEVICE_KIND_PLATFORM,
    DEVICE_KIND_VDPA,
    DEVICE_KIND_AP,
    DEVICE_KIND_CCW,
    DEVICE_KIND_FSL_MC,
    DEVICE_KIND_CDX,
    DEVICE_KIND_TEMPLATE, /* not a device yet: it is made for a claim, see policy.h */
    _DEVICE_KIND_MAX,
    _DEVICE_KIND_INVALID = -EINVAL,
} DeviceKind;
DECLARE_STRING_TABLE(device_kind, DeviceKind); /* "pci", "mdev", "fsl-mc"…; see device-kind.h */

#define DEVICE_TEXT_MAX 39U /* with the NUL; devices with longer names are ignored */

/* There is one for each device of the host, so it is packed into 40 bytes. Only the members of its kind are
 * used. */
typedef struct DeviceName {
    uint8_t kind; /* DeviceKind */
    union {
        struct {
            uint8_t pci_bus;
            uint8_t slot;     /* 0..31 */
            uint8_t function; /* 0..7 */
            uint32_t domain;
        } __attribute__((packed));  /* pci */
        uint8_t uuid[16];           /* mdev */
        char text[DEVICE_TEXT_MAX]; /* other kinds: begins with a letter or digit, then also "._:@,+-" */
    };
} __attribute__((aligned(4))) DeviceName;

#define DEVICE_INCARNATION_BITS 29U /* of device_incarnation() in core/device-kind.h */

#define DEVICE_NAME_MAX 48U /* "platform:" with the longest text and the NUL; a UUID is shorter */

/* Parses any accepted spelling. 0, or -EINVAL. *ret is untouched on failure. Never reads past the NUL. */
int device_name_parse(const char *s, DeviceName *ret);
/* Parses the kernel's spelling of a PCI address only: "0000:06:0d.0". Returns like device_name_parse(). */
int device_name_parse_pci_address(const char *s, DeviceName *ret);
/* The component above the last one named below, as a device of that kind: of …/0000:06:0d.0/vfio-dev/vfio0
 * and "vfio-dev" it is the device of the node. So an event of a mediated device is not taken for one of its
 * parent. The path need not exist any more. 0 or -EINVAL. */
int device_name_parse_above(const char *path, const char *below, DeviceKind kind, DeviceName *ret);
/* Writes "pci:0000:06:0d.0"; returns buf. */
const char *device_name_format(const DeviceName *name, char buf[static DEVICE_NAME_MAX]);
/* Writes the kernel's name on its bus, "0000:06:0d.0"; returns buf. */
const char *device_name_format_kernel(const DeviceName *name, char buf[static DEVICE_NAME_MAX]);
/* Sorts by kind first. */
int device_name_compare(const DeviceName *a, const DeviceName *b);
/* For tables in memory and filters: equal names have equal hashes. Never stored, because it may change. */
uint64_t device_name_hash(const DeviceName *name);
