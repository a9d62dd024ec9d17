/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Kinds of devices: one row for each, with everything in which they differ except the steps of a plan. Paths,
 * attributes and drivers come from the row. So a new kind is a row here and a file in host/ that reads its
 * devices; the planner does not change. */

#include "core/request.h"

typedef struct DeviceKindInfo {
    const char *name;    /* before the colon, and the name of its bus in sysfs */
    const char *example; /* of a name, without the kind */
    /* Parses any spelling without the kind; parses the kernel's spelling; formats; compares. */
    int (*parse)(DeviceKind kind, const char *s, DeviceName *ret);
    int (*parse_kernel)(DeviceKind kind, const char *s, DeviceName *ret);
    void (*format)(const DeviceName *name, char buf[static DEVICE_NAME_MAX]);
    int (*compare)(const DeviceName *a, const DeviceName *b);

    bool claimable;               /* this version can hand out such devices */
    const char *directory;        /* of its bus in sysfs, with devices/ and drivers/; NULL: none */
    const char *const *identity;  /* attributes that distinguish devices at the same place; NULL: see
                                   * device_incarnation() */
    bool has_ids;                 /* vendor, device and class are ids that the policy's id and class can
                                   * match */
    const char *parent_link;      /* link to the device whose driver made it */
    bool is_made;                 /* made by its parent's driver on request; it disappears with that driver */
    const char *driver;           /* driver to which it is bound for a claim; NULL: its driver stays */
    const char *const *unharmful; /* drivers that do no DMA themselves: with one of them a device does not
                                   * block its group */
    /* Its node: the directory in the device's sysfs directory that has an entry for it, the prefix before the
     * number in the entry's name, and the prefix before the number in the node's path. */
    const char *nodes, *node_entry, *node;
    unsigned backends;            /* mask of 1 << Backend: how its devices can be opened */
    const char *reset;            /* attribute that resets it; NULL: none */
    bool resets_itself;           /* the kernel or its driver resets it at each open and close */
    bool counts_opens;            /* `enable` shows whether any program has it open */
    const char *create, *destroy; /* attributes of the parent and of the device; NULL: cannot be made */
} DeviceKindInfo;

const DeviceKindInfo *device_kind_info(DeviceKind kind);
/* Its directory in sysfs: /sys/bus/KIND/devices/NAME. Returns buf. */
#define DEVICE_PATH_MAX 96U
const char *device_sysfs_path(const DeviceName *name, char buf[static DEVICE_PATH_MAX]);
/* "/dev/vfio/devices/vfio3", "/dev/vhost-vdpa-3". Returns buf. */
#define DEVICE_NODE_MAX 48U
const char *device_node_path(DeviceKind kind, int index, char buf[static DEVICE_NODE_MAX]);
/* The kind before the colon, "mdev:…" -> DEVICE_KIND_MDEV; _DEVICE_KIND_INVALID when there is no known kind.
 * *ret_rest: what follows the colon. */
DeviceKind device_kind_of(const char *text, const char **ret_rest);

/* Distinguishes devices at the same place: a hash over the identity attributes of their kind. Begin with 0,
 * add each attribute in order, and end. The result is never 0, and small enough to be exact in any JSON
 * reader. */
#define DEVICE_IDENTITY_MAX ((INT64_C(1) << 53) - 1)
uint64_t device_identity_add(uint64_t hash, const char *attribute, uint64_t value);
uint64_t device_identity_end(uint64_t hash);
/* Devices that are made under a chosen name have no such attributes. The inode of their directory in sysfs
 * distinguishes them: the kernel never uses an inode number twice until it reboots. 0 for kinds with
 * attributes, otherwise a hash of 29 bits, never 0. */
uint32_t device_incarnation(DeviceKind kind, uint64_t inode);
uint64_t device_identity_of_incarnation(uint32_t incarnation);
/* Is it a real identity? Older records have the same number for all devices of a kind without attributes. */
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
/* May a name continue with this character? The first character is more restricted. */
bool device_kind_text_has(char c);
