/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Facts about devices, groups and the kernel that no uevent announces. They are read when needed
 * (host/sysfs.h) and never cached. Here are the values and their parsers, which are pure and fuzzed.
 * "Unknown" is always a value of its own and never counts as favourable. */

#include "core/device-caps.h"
#include "core/device-links.h"
#include "core/device-name.h"
#include "core/variant.h"

/* Reset methods in the kernel's words (drivers/pci/pci.c: reset_method), as a bit mask. */
typedef enum ResetMethod {
    RESET_METHOD_DEVICE_SPECIFIC,
    RESET_METHOD_ACPI,
    RESET_METHOD_FLR,
    RESET_METHOD_AF_FLR,
    RESET_METHOD_PM,
    RESET_METHOD_BUS,
    RESET_METHOD_CXL_BUS,
    RESET_METHOD_UNKNOWN, /* a word that this version does not know, which is still a method */
    _RESET_METHOD_MAX,
    _RESET_METHOD_INVALID = -EINVAL,
} ResetMethod;
DECLARE_STRING_TABLE(reset_method, ResetMethod);

/* "flr bus" -> mask. Empty text -> 0. */
unsigned reset_methods_parse(const char *text);

/* Access Control Services between a device and its root: does every port on the way isolate the device? */
typedef enum AcsPath {
    ACS_UNKNOWN,  /* config space unreadable */
    ACS_COMPLETE, /* every port upstream has SV, RR, CR and UF enabled */
    ACS_INCOMPLETE,
    ACS_NOT_NEEDED, /* directly on the root bus, single function */
    _ACS_PATH_MAX,
    _ACS_PATH_INVALID = -EINVAL,
} AcsPath;
DECLARE_STRING_TABLE(acs_path, AcsPath); /* "unknown", "complete", "incomplete", "not-needed" */

typedef struct AcsReport {
    AcsPath path;
    bool has_blocker;   /* it is known which port blocks */
    DeviceName blocker; /* ACS_INCOMPLETE: the first port, from the device upwards, that does not isolate; the
                         * device itself when its functions are not isolated from each other */
} AcsReport;

/* Finds the ACS extended capability (PCI Express base spec 6.12; ID 0x000d) in config space. Are SV|RR|CR|UF
 * (0x1d) enabled? 1; 0 when not, or without the capability; -EINVAL when size does not reach the extended
 * space or the list is malformed. Ends also when the list is a loop. */
int pci_config_acs_enabled(const uint8_t *config, size_t size);

/* Device/port types of the PCI Express capability. */
enum {
    PCI_PORT_ENDPOINT = 0x0,
    PCI_PORT_LEGACY_ENDPOINT = 0x1,
    PCI_PORT_ROOT = 0x4,
    PCI_PORT_UPSTREAM = 0x5,
    PCI_PORT_DOWNSTREAM = 0x6,
    PCI_PORT_ROOT_COMPLEX_ENDPOINT = 0x9,
};
/* One of these or another value up to 15; -ENOENT: conventional PCI; -EINVAL: unknown. */
int pci_config_port_type(const uint8_t *config, size_t size);

/* Does this function isolate its neighbours from each other? This is the kernel's rule when it makes groups
 * (pci_acs_enabled): root and downstream ports need ACS; endpoints and upstream ports only when
 * several_functions; bridges to conventional PCI never isolate. 1, 0, or -EINVAL when it is unknown. */
int pci_config_isolates(const uint8_t *config, size_t size, bool several_functions);

#define PCI_SERIAL_MAX 24U /* with its NUL */

/* The Device Serial Number (PCI Express base spec 7.9.3; ID 0x0003) in the form of lspci. 1; 0 with *ret
 * unchanged when there is none; -EINVAL when it is unknown, as with the 64 bytes that an unprivileged reader
 * gets. */
int pci_config_serial(const uint8_t *config, size_t size, char ret[static PCI_SERIAL_MAX]);
/* Does s have the form of such a serial number? */
bool pci_serial_is_valid(const char *s);

typedef enum Removable {
    REMOVABLE_UNKNOWN, /* the attribute is missing */
    REMOVABLE_FIXED,
    REMOVABLE_REMOVABLE,
    _REMOVABLE_MAX,
    _REMOVABLE_INVALID = -EINVAL,
} Removable;
DECLARE_STRING_TABLE(removable, Removable); /* "unknown", "fixed", "removable" */

/* Which facts to read. Each costs at least one read of sysfs, HOST_CRITICAL a walk. */
typedef enum DeviceFactMask {
    DEVICE_FACT_RESET_METHODS = 1 << 0,
    DEVICE_FACT_NUMA_NODE = 1 << 1,
    DEVICE_FACT_DRIVER_OVERRIDE = 1 << 2,
    DEVICE_FACT_REMOVABLE = 1 << 3,
    DEVICE_FACT_HOST_CRITICAL = 1 << 4,
    DEVICE_FACT_ENABLE_COUNT = 1 << 5,
    DEVICE_FACT_ACS = 1 << 6,
    DEVICE_FACT_SLOT_PATH = 1 << 7,
    DEVICE_FACT_SERIAL = 1 << 8,
    DEVICE_FACT_PROPERTIES = 1 << 9,
    DEVICE_FACT_DESCENDANTS = 1 << 10,
    DEVICE_FACT_ALL = (1 << 11) - 1,
    /* For plans only. Never in DeviceFacts.known. */
    DEVICE_FACT_DIRECT_REGION = 1 << 11,
    DEVICE_FACT_EXCLUSIVE_USE = 1 << 12, /* completes host_critical: opens every disk of the device with
                                          * O_EXCL. This may sleep, and for a moment nobody else can mount the
                                          * disk: never for a caller whom no rule allows the device */
    /* Likewise, for readers only. */
    DEVICE_FACT_FUNCTIONS_MAX = 1 << 13,
    DEVICE_FACT_CAPS = 1 << 14, /* opens the device, which resets it: only while nobody uses it, and only when
                                 * requested by name */
    DEVICE_FACT_SEEN_CAPS = 1 << 15, /* what was found by that before (inventory.h): costs nothing */
    /* Of the host, not of a device: the mediated devices that its drivers can make, see
     * survey_get_mdev_types(). */
    DEVICE_FACT_MDEV_TYPES = 1 << 16,
    DEVICE_FACT_IOMMU_UNIT = 1 << 17, /* for readers, and recorded */
    DEVICE_FACT_LINKS = 1 << 18,      /* for plans and readers */
    DEVICE_FACT_VARIANT = 1 << 19,    /* for plans, and recorded */
} DeviceFactMask;

#define SLOT_PATH_MAX 128U
#define IOMMU_UNIT_MAX 64U
#define PROPERTIES_MAX 256U              /* of one device in the udev database */
#define PROPERTIES_SIZE_MAX (64U * 1024) /* of all of them together */

/* path has n ports, from the root bus down to the device. 0; -EINVAL when it is empty; -E2BIG (*ret is then
 * undefined). */
int slot_path_format(const DeviceName *path, size_t n, char ret[static SLOT_PATH_MAX]);
/* Does s have this form? Slot paths are compared as text. */
bool slot_path_is_valid(const char *s);

typedef struct DeviceFacts {
    unsigned reset_methods;   /* mask of 1 << ResetMethod */
    int numa_node;            /* -1: none */
    char driver_override[64]; /* "" when unset (the kernel reads "(null)") */
    Removable removable;
    char *host_critical; /* owned; why the host needs this device ("root file system (nvme0n1p1)"), or NULL */
    char *descendants;   /* owned; what would disappear with its driver and is not in the inventory ("the
                          * mediated device UUID"), or NULL */
    bool direct_region;  /* its group has a reserved region of the type direct: firmware keeps using memory
                          * through it, so the kernel does not hand the group out */
    unsigned functions_max; /* how many virtual functions it supports */
    DeviceLinks *links;     /* owned; NULL: none or unknown */
    DeviceCaps *caps;       /* owned; found now or before; NULL: unknown */
    long enable_count;      /* sysfs `enable`, -1 unknown; 0: neither a driver nor a program has enabled it */

    /* Mask of DeviceFactMask: what could be read. The policy distinguishes "no" from "unknown" by it. */
    unsigned known;
    AcsPath acs;
    bool has_acs_blocker; /* as in AcsReport */
    DeviceName acs_blocker;
    char slot_path[SLOT_PATH_MAX];   /* the place where it is plugged in, independent of bus numbers, in
                                      * the kernel's form of a path (kernel-parameters, pci=):
                                      * "0000:00:1c.0/00.0" */
    char iommu_unit[IOMMU_UNIT_MAX]; /* the IOMMU that serves it, by the kernel's name: "dmar0"; "": none */
    char serial[PCI_SERIAL_MAX]; /* Device Serial Number in the form of lspci, "00-1b-21-ff-ff-a1-b2-c3"; "":
                                  * none */
    char **properties;           /* owned; of the udev database: "ID_PATH=pci-0000:06:0d.0", ended by NULL */
    /* The module of this kernel that serves it best, see core/variant.h; "": none but vfio_pci. */
    char variant[VARIANT_NAME_MAX];
    char variant_driver[VARIANT_NAME_MAX]; /* the driver that this module has */
    bool variant_blocked;                  /* the operator keeps it from being loaded (modprobe.d) */
} DeviceFacts;

#define DEVICE_FACTS_NULL                                                                                    \
    (DeviceFacts) {                                                                                          \
        .numa_node = -1, .enable_count = -1                                                                  \
    }
void device_facts_done(DeviceFacts *f);

typedef struct ReservedRegion {
    uint64_t start, end;
    char type[20]; /* "direct", "direct-relaxable", "reserved", "msi" */
} ReservedRegion;

#define RESERVED_REGIONS_MAX 64U

typedef struct GroupFacts {
    char type[16]; /* "DMA", "DMA-FQ", "identity", "blocked", "unmanaged", "unknown", "" unreadable */
    ReservedRegion regions[RESERVED_REGIONS_MAX];
    size_t n_regions;
    bool node_present; /* /dev/vfio/N */
} GroupFacts;

/* Parses the text of iommu_groups/N/reserved_regions. Malformed lines and those beyond the maximum are left
 * out. Returns the number of regions. */
size_t reserved_regions_parse(const char *text, ReservedRegion regions[static RESERVED_REGIONS_MAX]);

/* What this kernel supports, found from its nodes and parameters, never from its version. */
typedef struct KernelFacts {
    bool iommufd;     /* /dev/iommu */
    bool device_cdev; /* a device on a vfio driver gets a node in /dev/vfio/devices. Also false while the vfio
                       * module is not loaded, because it cannot be known then: see host/sysfs.c */
    bool container;   /* /dev/vfio/vfio exists, and as far as known it is VFIO's own container */
    bool compat;      /* /dev/vfio/vfio is an iommufd: the kernel has no VFIO container */
    bool noiommu_support; /* the vfio module has the parameter */
    bool noiommu_enabled;
    bool vhost_vdpa; /* the driver vhost_vdpa is loaded */
    bool iommu;      /* any IOMMU group exists, except those that VFIO makes without an IOMMU */
    bool lockdown;   /* the kernel is locked down against root, or this is unknown */
} KernelFacts;
