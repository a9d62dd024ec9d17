/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names of devices: KIND:NAME, `pci:0000:06:0d.0`. A small value type, compared and sorted without strings.
 *
 * People write the same PCI address in many ways; all of these parse to the same value: `pci:0000:06:0d.0`,
 * `0000:06:0d.0`, `06:0d.0` (domain 0), `pci:06:0d.0`, upper-case digits, libvirt's `pci_0000_06_0d_0`,
 * and a sysfs path that ends in the address. Domains may have up to 8 hex digits (VMD uses 5). One way is
 * written: lower case, four digits of domain at least, the kind in front.
 *
 * A mediated device is named by its UUID, which says by itself what it is. Devices of the other kinds have
 * the kernel's name on their bus, and need their kind in front, or the path /sys/bus/KIND/devices/NAME. */

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
    DEVICE_KIND_TEMPLATE, /* no device yet: one that is made for a claim, see policy.h */
    _DEVICE_KIND_MAX,
    _DEVICE_KIND_INVALID = -EINVAL,
} DeviceKind;
DECLARE_STRING_TABLE(device_kind, DeviceKind); /* "pci", "mdev", "fsl-mc"…; see device-kind.h */

#define DEVICE_TEXT_MAX 39U /* with its NUL: a longer name of the kernel is no device for us */

/* There is one for each device of the host, so its members are packed: 40 bytes. What is not of its kind is
 * not looked at. */
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
        char text[DEVICE_TEXT_MAX]; /* of the others: begins with a letter or a digit, and goes on with these
                                     * and "._:@,+-" */
    };
} __attribute__((aligned(4))) DeviceName;

#define DEVICE_INCARNATION_BITS 29U /* of device_incarnation() in core/device-kind.h */

#define DEVICE_NAME_MAX 48U /* "platform:", the longest text, and its NUL; a UUID is shorter */

/* Parses any accepted spelling. 0, or -EINVAL. *ret is untouched on failure. Never reads past the NUL. */
int device_name_parse(const char *s, DeviceName *ret);
/* Parses only the kernel's own spelling of a PCI address, "0000:06:0d.0". */
int device_name_parse_pci_address(const char *s, DeviceName *ret);
/* The component of a sysfs path that is above the last one of that name, as a device of that kind: of
 * …/0000:06:0d.0/vfio-dev/vfio0 and "vfio-dev" it is the device behind the node, so an event of a mediated
 * device is not one of its parent. Needs nothing to be there any more. 0, or -EINVAL. */
int device_name_parse_above(const char *path, const char *below, DeviceKind kind, DeviceName *ret);
/* Writes "pci:0000:06:0d.0"; returns buf. */
const char *device_name_format(const DeviceName *name, char buf[static DEVICE_NAME_MAX]);
/* Writes the kernel's name on its bus, "0000:06:0d.0"; returns buf. */
const char *device_name_format_kernel(const DeviceName *name, char buf[static DEVICE_NAME_MAX]);
/* Sorts by kind first. */
int device_name_compare(const DeviceName *a, const DeviceName *b);
/* For tables in memory and filters: equal names have the same. Never stored. */
uint64_t device_name_hash(const DeviceName *name);
