/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* All devices and IOMMU groups of the host, as the kernel last announced them.
 *
 * Who owns which fact: what the kernel announces by a uevent (presence, driver, group link, VFIO node) is
 * kept here and is as fresh as the last event. What it never announces (driver_override, reset_method,
 * numa_node, group type, reserved regions, ACS, mounted disks) is NOT kept: it is read when somebody asks
 * (host/sysfs.h), because a cached copy would only be wrong later. That also keeps a device small: a host
 * with 16384 functions must fit in a few megabytes. What can be learned only by opening a device is kept,
 * with the driver that it was learned with: it cannot be read when somebody asks.
 *
 * Pure: no syscalls; host/sysfs.c and daemon/kernel/hotplug.c fill it. */

#include <sys/types.h>

#include "core/device-caps.h"
#include "core/device-name.h"

typedef struct Device Device;
typedef struct Group Group;
typedef struct Claim Claim;
typedef struct Family Family;
typedef struct Inventory Inventory;

/* The announced facts of one device; a plain value that an adapter fills and hands in. */
typedef struct DeviceSnapshot {
    DeviceName name;
    uint16_t vendor, device, subsystem_vendor, subsystem_device;
    uint32_t class_code; /* 24 bits: base class, subclass, programming interface */
    uint8_t revision;
    uint32_t incarnation; /* device_incarnation(); 0: its kind has none, or it was not looked at */
    int group;            /* IOMMU group number, -1 when the device has none */
    char driver[64];      /* "" when unbound */
    int vfio_index;       /* N of vfio-dev/vfioN, -1 when not registered with VFIO */
    dev_t vfio_rdev;      /* of /dev/vfio/devices/vfioN; 0 when the kernel makes no such node */
    uint64_t seqnum;      /* of the last uevent before this look; 0 unknown */
    bool direct_region;   /* looked for only on a VFIO driver; see DeviceFacts */
    bool has_parent;
    DeviceName parent; /* whose driver made it: the physical function of a virtual one; of a device in a PCI
                        * domain of its own, the controller of that domain (VMD) */
} DeviceSnapshot;

/* A host may have 16384 of them: 120 bytes, which is what malloc() gives with its header of 8. */
struct Device {
    DeviceName name;
    uint16_t vendor, device, subsystem_vendor, subsystem_device;
    uint32_t class_code : 24;
    uint32_t revision : 8;
    int vfio_index;
    const char *driver;    /* interned in the inventory, NULL when unbound */
    uint64_t since_seqnum; /* the removals that uevents up to this one announced are not of this device and
                            * its node, but of what was there before; 0 unknown */
    Group *group;          /* inventory.groups, or NULL */
    Device *next;          /* group.members, sorted by name */
    Family *family;        /* inventory.families: of its parent, or NULL */
    Device *next_child;
    Claim *claim;       /* borrowed: set and cleared by the engine */
    uint32_t vfio_rdev; /* as in the snapshot: the kernel's numbers fit into 32 bits */
    uint32_t incarnation : DEVICE_INCARNATION_BITS; /* as in the snapshot */
    bool direct_region : 1;
    bool quarantined : 1; /* a claim left it in a state that nobody may use; see claim record */
    bool reshaping : 1; /* set and cleared by the broker: the number of its virtual functions is being changed
                         */
};

struct Group {
    int id;
    Device *members;
    unsigned n_members;
    Claim *claim; /* borrowed: the one owner, set and cleared by the engine */
};

/* What inventory_update did, so that the caller can announce exactly that. */
typedef enum DeviceChange {
    DEVICE_UNCHANGED = 0,
    DEVICE_ADDED = 1 << 0,
    DEVICE_REMOVED = 1 << 1,
    DEVICE_DRIVER_CHANGED = 1 << 2,
    DEVICE_GROUP_CHANGED = 1 << 3, /* it moved; the old group may have gone */
    DEVICE_NODE_CHANGED = 1 << 4,
    GROUP_ADDED = 1 << 5,   /* its (new) group was unknown before */
    GROUP_REMOVED = 1 << 6, /* its (old) group lost its last member; *ret_old_group tells the id */
} DeviceChange;

/* NULL on ENOMEM; inventory_free takes NULL and returns NULL, like every destructor here. */
Inventory *inventory_new(void);
Inventory *inventory_free(Inventory *inventory);
DEFINE_TRIVIAL_CLEANUP_FUNC(Inventory *, inventory_free);

/* Adds the device or brings it up to date. Returns a mask of DeviceChange (DEVICE_ADDED never comes with the
 * other DEVICE_ bits), or a negative errno, and nothing has changed: -ENOMEM; -ESTALE when other hardware
 * sits at this address than before: a removal was missed, remove it first. ret and ret_old_group may be NULL;
 * *ret_old_group is written with DEVICE_GROUP_CHANGED only (-1: it had none). */
int inventory_update(Inventory *inventory, const DeviceSnapshot *snapshot, Device **ret, int *ret_old_group);
/* Remembers what was seen of the device, for as long as it is there. 0 or -ENOMEM. */
int inventory_remember_caps(Inventory *inventory, const DeviceName *name, const DeviceCaps *caps);
/* Borrowed until then, or until they are remembered anew; NULL: nothing was seen yet. */
const DeviceCaps *inventory_find_caps(Inventory *inventory, const DeviceName *name);
void inventory_forget_caps(Inventory *inventory, const DeviceName *name);
/* Forgets the device (and its group with the last member). Mask, or -ENOENT. The claim pointers are not
 * followed: the engine must have been told first. *ret_old_group (may be NULL) is -1 when it had none. */
int inventory_remove(Inventory *inventory, const DeviceName *name, int *ret_old_group);

/* What device_identity() is made of: for comparing within this process. */
typedef struct DeviceIds {
    uint16_t vendor, device, subsystem_vendor, subsystem_device;
    uint32_t class_code, incarnation;
    uint8_t revision;
} DeviceIds;

DeviceIds device_ids(const Device *d);
bool device_ids_are_same(const DeviceIds *a, const DeviceIds *b);
/* The same ids, class and incarnation: what a struct device of the kernel never changes while it lives. */
bool device_is_same_hardware(const Device *d, const DeviceSnapshot *s);

Device *inventory_find_device(Inventory *inventory, const DeviceName *name);
Group *inventory_find_group(Inventory *inventory, int id);
/* The device whose driver made this one; NULL when there is none or it is not (yet) known. */
Device *inventory_find_parent(Inventory *inventory, const Device *d);
const DeviceName *device_parent_name(const Device *d);
/* Visits the devices that disappear with the driver of d: its children, and theirs. A child that came before
 * its parent counts as well. A non-zero return stops and is handed back. */
int inventory_foreach_descendant(
        Inventory *inventory, const Device *d, int (*visit)(Device *d, void *userdata), void *userdata);
/* Is it a PCI function, and its parent its physical function? */
bool device_is_virtual_function(const Device *d);
unsigned inventory_n_devices(const Inventory *inventory);
unsigned inventory_n_groups(const Inventory *inventory);

/* Visit in order of name / id; the callback must not change the inventory; a non-zero return stops and is
 * handed back. */
int inventory_foreach_device(Inventory *inventory, int (*visit)(Device *d, void *userdata), void *userdata);
int inventory_foreach_group(Inventory *inventory, int (*visit)(Group *g, void *userdata), void *userdata);
/* The first one behind this name or id, whether that one is (still) there or not; NULL and -1: the very
 * first. For walks with pauses, between which the inventory may change. */
Device *inventory_next_device(Inventory *inventory, const DeviceName *after);
Group *inventory_next_group(Inventory *inventory, int after);
#define FOREACH_MEMBER(d, g) for (Device *d = (g)->members; d; d = d->next)

/* 64 bits over members' names and ids in order: two groups with the same fingerprint have the same hardware
 * at the same places. For recognising, not for security. */
uint64_t group_fingerprint(const Group *g);

/* A bridge (PCI, CardBus): never handed out, vfio-pci refuses its header type. Whether it blocks its group is
 * a question of its driver like for any device: pcieport does not, shpchp and yenta_cardbus do. */
bool device_is_bridge(const Device *d);
/* True for the drivers that leave DMA ownership to user space (kernel: driver_managed_dma): any vfio
 * driver, pci-stub, pcieport, or none. registered with VFIO counts as vfio whatever the name is. */
bool device_leaves_group_viable(const Device *d);
/* A PCI function that a driver of its own registers with VFIO, as those of virtual GPUs do: that driver
 * stays, and answers for the device when programs open and close it. Every driver that is built on the
 * kernel's vfio-pci-core has "vfio" in its name. */
bool device_is_native(const Device *d);
/* What a look at its identity attributes gives while it is the same device, see core/device-kind.h; never 0.
 */
uint64_t device_identity(const Device *d);

/* Aborts when links and counts disagree; for tests and debug builds. */
void inventory_check(Inventory *inventory);
