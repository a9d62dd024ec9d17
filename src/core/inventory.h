/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* All devices and IOMMU groups of the host, as the kernel last announced them.
 *
 * Facts that the kernel announces by uevent (presence, driver, group, VFIO node) are kept here, as of the
 * last event. Facts that it does not announce (driver_override, reset_method, numa_node, group type, reserved
 * regions, ACS, mounted disks) are not kept, because a copy would become wrong. They are read when needed
 * (host/sysfs.h). This also keeps a device small: a host with 16384 functions must fit in a few megabytes.
 * Facts that only an open device shows are kept together with the driver that it had, because they cannot be
 * read at any time.
 *
 * Pure: no system calls; host/sysfs.c and daemon/kernel/hotplug.c fill it. */

#include <sys/types.h>

#include "core/device-caps.h"
#include "core/device-name.h"

typedef struct Device Device;
typedef struct Group Group;
typedef struct Claim Claim;
typedef struct Family Family;
typedef struct Inventory Inventory;

/* The announced facts of one device, as a plain value that an adapter fills. */
typedef struct DeviceSnapshot {
    DeviceName name;
    uint16_t vendor, device, subsystem_vendor, subsystem_device;
    uint32_t class_code; /* 24 bits: base class, subclass, programming interface */
    uint8_t revision;
    uint32_t incarnation; /* device_incarnation(); 0: its kind has none, or it was not read */
    int group;            /* IOMMU group number, -1 when the device has none */
    char driver[64];      /* "" when unbound */
    int vfio_index;       /* N of vfio-dev/vfioN, -1 when not registered with VFIO */
    dev_t vfio_rdev;      /* of /dev/vfio/devices/vfioN; 0 when the kernel does not make such nodes */
    uint64_t seqnum;      /* of the last uevent before the device was read; 0 unknown */
    bool direct_region;   /* read only while on a VFIO driver; see DeviceFacts */
    bool has_parent;
    DeviceName parent; /* the device whose driver made it: the physical function of a virtual one; for a
                        * device in a PCI domain of its own, the controller of that domain (VMD) */
} DeviceSnapshot;

/* A host can have 16384 of them. 120 bytes is what malloc() gives with its header of 8. */
struct Device {
    DeviceName name;
    uint16_t vendor, device, subsystem_vendor, subsystem_device;
    uint32_t class_code : 24;
    uint32_t revision : 8;
    int vfio_index;
    const char *driver;    /* interned in the inventory, NULL when unbound */
    uint64_t since_seqnum; /* removals announced by uevents up to this one concern an earlier device of this
                            * name; 0 unknown */
    Group *group;          /* inventory.groups, or NULL */
    Device *next;          /* group.members, sorted by name */
    Family *family;        /* inventory.families: the one of its parent, or NULL */
    Device *next_child;
    Claim *claim;       /* borrowed: set and cleared by the broker */
    uint32_t vfio_rdev; /* as in the snapshot: the kernel's numbers fit into 32 bits */
    uint32_t incarnation : DEVICE_INCARNATION_BITS; /* as in the snapshot */
    bool direct_region : 1;
    bool quarantined : 1; /* a claim could not restore it; nobody can claim it */
    bool reshaping : 1;   /* set and cleared by the broker: the number of its virtual functions is being
                           * changed */
};

struct Group {
    int id;
    Device *members;
    unsigned n_members;
    Claim *claim; /* borrowed: its owner, set and cleared by the broker */
};

/* What inventory_update() changed, for the caller to announce. */
typedef enum DeviceChange {
    DEVICE_UNCHANGED = 0,
    DEVICE_ADDED = 1 << 0,
    DEVICE_REMOVED = 1 << 1,
    DEVICE_DRIVER_CHANGED = 1 << 2,
    DEVICE_GROUP_CHANGED = 1 << 3, /* it moved; the old group may have been removed */
    DEVICE_NODE_CHANGED = 1 << 4,
    GROUP_ADDED = 1 << 5,   /* its (new) group did not exist before */
    GROUP_REMOVED = 1 << 6, /* its (old) group lost its last member; *ret_old_group is the number */
} DeviceChange;

/* Owned by the caller; NULL on ENOMEM. inventory_free() accepts NULL and returns NULL. */
Inventory *inventory_new(void);
Inventory *inventory_free(Inventory *inventory);
DEFINE_TRIVIAL_CLEANUP_FUNC(Inventory *, inventory_free);

/* Adds or updates the device. Returns a mask of DeviceChange (DEVICE_ADDED never comes with other DEVICE_
 * bits), or a negative errno with nothing changed: -ENOMEM; -ESTALE when there is other hardware at this
 * address than before: a removal was missed, so remove it first. ret and ret_old_group may be NULL.
 * *ret_old_group is written with DEVICE_GROUP_CHANGED only (-1: it had none). */
int inventory_update(Inventory *inventory, const DeviceSnapshot *snapshot, Device **ret, int *ret_old_group);
/* Keeps the capabilities of the device as long as it exists. 0 or -ENOMEM. */
int inventory_remember_caps(Inventory *inventory, const DeviceName *name, const DeviceCaps *caps);
/* Borrowed until the device is removed or they are replaced. NULL: unknown. */
const DeviceCaps *inventory_find_caps(Inventory *inventory, const DeviceName *name);
void inventory_forget_caps(Inventory *inventory, const DeviceName *name);
/* Removes the device, and its group with the last member. A mask of DeviceChange, or -ENOENT. Claim pointers
 * are not followed: tell the broker first. *ret_old_group (may be NULL) is -1 when it had no group. */
int inventory_remove(Inventory *inventory, const DeviceName *name, int *ret_old_group);

/* The parts of device_identity(), for comparing within this process. */
typedef struct DeviceIds {
    uint16_t vendor, device, subsystem_vendor, subsystem_device;
    uint32_t class_code, incarnation;
    uint8_t revision;
} DeviceIds;

DeviceIds device_ids(const Device *d);
bool device_ids_are_same(const DeviceIds *a, const DeviceIds *b);
/* The same ids, class and incarnation, which never change during the life of a device. */
bool device_is_same_hardware(const Device *d, const DeviceSnapshot *s);

Device *inventory_find_device(Inventory *inventory, const DeviceName *name);
Group *inventory_find_group(Inventory *inventory, int id);
/* The device whose driver made this one. NULL: it was not made by a driver, or no uevent has announced its
 * parent so far. */
Device *inventory_find_parent(Inventory *inventory, const Device *d);
const DeviceName *device_parent_name(const Device *d);
/* Visits the devices that disappear with the driver of d: its children and their children, also those that
 * were announced before their parent. A non-zero result of visit ends the walk and is returned. */
int inventory_foreach_descendant(
        Inventory *inventory, const Device *d, int (*visit)(Device *d, void *userdata), void *userdata);
/* Is it a PCI function whose parent is its physical function? */
bool device_is_virtual_function(const Device *d);
unsigned inventory_n_devices(const Inventory *inventory);
unsigned inventory_n_groups(const Inventory *inventory);

/* Visit in order of name or number. The callback must not change the inventory. A non-zero result of visit
 * ends the walk and is returned. */
int inventory_foreach_device(Inventory *inventory, int (*visit)(Device *d, void *userdata), void *userdata);
int inventory_foreach_group(Inventory *inventory, int (*visit)(Group *g, void *userdata), void *userdata);
/* The first one after this name or number, which need not exist any more; NULL and -1: the first of all. For
 * walks with pauses, during which the inventory can change. */
Device *inventory_next_device(Inventory *inventory, const DeviceName *after);
Group *inventory_next_group(Inventory *inventory, int after);
#define FOREACH_MEMBER(d, g) for (Device *d = (g)->members; d; d = d->next)

/* A hash of 64 bits over the members' names and ids in order: groups with the same fingerprint have the same
 * hardware in the same places. Not secure against collisions made on purpose. */
uint64_t group_fingerprint(const Group *g);

/* A bridge (PCI, CardBus). It is never handed out: vfio-pci refuses its header type. Whether it blocks its
 * group depends on its driver, as for any device: pcieport does not, shpchp and yenta_cardbus do. */
bool device_is_bridge(const Device *d);
/* True for drivers that leave DMA ownership to user space (kernel: driver_managed_dma): any vfio driver,
 * pci-stub, pcieport, or none. A device that is registered with VFIO has a vfio driver, whatever its name
 * is. */
bool device_leaves_group_viable(const Device *d);
/* A PCI function that its own driver registers with VFIO, as drivers of virtual GPUs do. That driver stays
 * during a claim and handles opening and closing. Every driver that is built on the kernel's vfio-pci-core
 * has "vfio" in its name. */
bool device_is_native(const Device *d);
/* A hash of its identity attributes that stays the same for the same device, see core/device-kind.h; never
 * 0. */
uint64_t device_identity(const Device *d);

/* Aborts when links and counts disagree, for tests and debug builds. */
void inventory_check(Inventory *inventory);
