/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Kinds of devices: one row each, with all that differs between them and that is more than a step of a plan.
 * Whoever needs a path, an attribute or a driver asks the row, so that another kind is a row here, a file in
 * host/ that reads its devices, and nothing in the planner. */

#include "core/request.h"

typedef struct DeviceKindInfo {
    const char *name;    /* in front of the colon, and that of its bus in sysfs */
    const char *example; /* of a name, without that */
    /* Any spelling that people use, without the kind in front; the kernel's own; writing that; the order. */
    int (*parse)(DeviceKind kind, const char *s, DeviceName *ret);
    int (*parse_kernel)(DeviceKind kind, const char *s, DeviceName *ret);
    void (*format)(const DeviceName *name, char buf[static DEVICE_NAME_MAX]);
    int (*compare)(const DeviceName *a, const DeviceName *b);

    bool claimable;              /* this version can hand out such devices */
    const char *directory;       /* of its bus in sysfs, with devices/ and drivers/; NULL: on none */
    const char *const *identity; /* attributes that tell one device from another at the same place; NULL: see
                                  * device_incarnation() */
    bool has_ids;                /* vendor, device and class are such: what policy's id and class look at */
    const char *parent_link;     /* to the device whose driver made it */
    bool is_made; /* by the driver of the device above it, as somebody ordered: it goes away with that driver
                   */
    const char *driver;           /* that it is moved to for a claim; NULL: it is handed out as it was made */
    const char *const *unharmful; /* drivers that leave DMA alone: with one, it does not block its group */
    /* Its node: the directory in the device's with an entry for it, what is before the number in that entry's
     * name, and what is before the number in the node's path. */
    const char *nodes, *node_entry, *node;
    unsigned backends;            /* mask of 1 << Backend: how its devices can be opened */
    const char *reset;            /* attribute; NULL: it has no reset of its own */
    bool resets_itself;           /* the kernel, or its driver, resets it at each open and each close */
    bool counts_opens;            /* `enable` shows whether a program has it open, however it was opened */
    const char *create, *destroy; /* attributes of the parent and of the device; NULL: nobody makes them */
} DeviceKindInfo;

const DeviceKindInfo *device_kind_info(DeviceKind kind);
/* Its directory in sysfs, /sys/bus/KIND/devices/NAME. Returns buf. */
#define DEVICE_PATH_MAX 96U
const char *device_sysfs_path(const DeviceName *name, char buf[static DEVICE_PATH_MAX]);
/* "/dev/vfio/devices/vfio3", "/dev/vhost-vdpa-3"; returns buf. */
#define DEVICE_NODE_MAX 48U
const char *device_node_path(DeviceKind kind, int index, char buf[static DEVICE_NODE_MAX]);
/* The kind that text has in front, "mdev:…" -> DEVICE_KIND_MDEV; _DEVICE_KIND_INVALID when it has none that
 * is known. *ret_rest: what follows the colon. */
DeviceKind device_kind_of(const char *text, const char **ret_rest);

/* What tells one device from another at the same place: a hash over the identity attributes of its kind.
 * Begin with 0, add each attribute in their order, and end; never 0, and exact in any reader of JSON. */
#define DEVICE_IDENTITY_MAX ((INT64_C(1) << 53) - 1)
uint64_t device_identity_add(uint64_t hash, const char *attribute, uint64_t value);
uint64_t device_identity_end(uint64_t hash);
/* Devices that somebody makes under a name have no such attributes. The inode of their directory in sysfs
 * tells them apart: the kernel numbers directories as they come, and gives no number twice until it starts
 * anew. 0 for kinds with attributes; else a hash of 29 bits, never 0. */
uint32_t device_incarnation(DeviceKind kind, uint64_t inode);
uint64_t device_identity_of_incarnation(uint32_t incarnation);
/* Was it looked at? Older records have the same number for all devices of a kind without attributes. */
bool device_identity_is_known(DeviceKind kind, uint64_t identity);

/* device-kind-pci.c */
int device_kind_pci_parse(DeviceKind kind, const char *s, DeviceName *ret);
int device_kind_pci_parse_kernel(DeviceKind kind, const char *s, DeviceName *ret);
void device_kind_pci_format(const DeviceName *name, char buf[static DEVICE_NAME_MAX]);
int device_kind_pci_compare(const DeviceName *a, const DeviceName *b);

/* device-kind-mdev.c */
int device_kind_mdev_parse(DeviceKind kind, const char *s, DeviceName *ret);
int device_kind_mdev_parse_kernel(DeviceKind kind, const char *s, DeviceName *ret);
void device_kind_mdev_format(const DeviceName *name, char buf[static DEVICE_NAME_MAX]);
int device_kind_mdev_compare(const DeviceName *a, const DeviceName *b);

/* device-kind-text.c: names that are text */
int device_kind_text_parse(DeviceKind kind, const char *s, DeviceName *ret);
void device_kind_text_format(const DeviceName *name, char buf[static DEVICE_NAME_MAX]);
int device_kind_text_compare(const DeviceName *a, const DeviceName *b);
/* May such a name go on with this character? Not with a first one. */
bool device_kind_text_has(char c);
