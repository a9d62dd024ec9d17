/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Each device has one directory fd, and everything is read relative to it. So the path is walked once, and
 * all facts come from the same struct device even if another takes its name meanwhile.
 *
 * libudev's enumeration is not used: it keeps an object for every device, which on a large host takes more
 * memory than the rest of the daemon, and it resolves every path from the root.
 *
 * Unreadable facts are never trusted. A device with unreadable ids stays in the inventory with ids of 0:
 * without it, its group would look smaller than it is. An unreadable driver link is an unknown driver, which
 * blocks the group. */

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/device-health.h"
#include "core/device-kind.h"
#include "core/host-tables.h"
#include "host/container.h"
#include "host/device-links-reader.h"
#include "host/host-critical.h"
#include "host/kept-files.h"
#include "host/pci-place.h"
#include "host/sysfs.h"
#include "host/udev-properties.h"
#include "host/variant-reader.h"

#define PCI_DEVICES "/sys/bus/pci/devices"
#define ATTRIBUTE_MAX 256U /* for an attribute of one line */
#define CONFIG_HEADER 64U
#define CONFIG_IDS 4U /* the first bytes: vendor and device */
#define UNKNOWN_DRIVER "(unreadable)"

/* Returns -ENODEV for all errors with which the kernel reports that a device has just gone. */
static int gone_error(int error) {
    return error == ENOENT || error == ENXIO ? -ENODEV : -error;
}

static int open_device(const DeviceName *name) {
    char path[DEVICE_PATH_MAX];
    int fd;

    fd = openat(AT_FDCWD, device_sysfs_path(name, path), O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? gone_error(errno) : fd;
}

/* An error of this process, which has no memory or file descriptor. It means nothing for the device. */
static bool is_own_trouble(ssize_t r) {
    return r == -EMFILE || r == -ENFILE || r == -ENOMEM;
}

/* "0x8086" as a number; 0 if there is none, or if *trouble is set to an error of this process. */
static uint32_t read_id(int at, const char *name, uint32_t max, int *trouble) {
    char text[ATTRIBUTE_MAX];
    const char *digits;
    uint64_t v;
    ssize_t n;

    n = read_attribute_at(at, name, text, sizeof(text));
    if (n < 0) {
        if (is_own_trouble(n))
            *trouble = (int) n;
        return 0;
    }
    digits = startswith(text, "0x");
    if (!digits || parse_unsigned(digits, 16, max, &v) < 0)
        return 0;
    return (uint32_t) v;
}

static void read_driver(int at, char *buf, size_t size) {
    ssize_t n = read_link_basename_at(at, "driver", buf, size);

    if (n == -ENOENT)
        buf[0] = '\0';
    else if (n <= 0)
        snprintf(buf, size, "%s", UNKNOWN_DRIVER);
}

/* -1: none. If the link does not end in a number, VFIO treats the device as one without an IOMMU, and it is
 * refused. */
static int read_group(int at) {
    char text[16];
    uint64_t v;

    if (read_link_basename_at(at, "iommu_group", text, sizeof(text)) < 0 ||
            parse_unsigned(text, 10, INT_MAX, &v) < 0)
        return -1;
    return (int) v;
}

/* Is it a group that VFIO made up for a device without an IOMMU (kernel: vfio_noiommu_group_alloc)? Its
 * number has the same range as real ones. Its name, "vfio-noiommu", is also that of every mdev's group. Only
 * the "noiommu-" in the name of the node differs. In the inventory such a device has no group, since nothing
 * isolates it. */
static bool group_is_noiommu(int group) {
    char path[64];

    snprintf(path, sizeof(path), "/sys/class/vfio/noiommu-%d", group);
    return access(path, F_OK) == 0;
}

/* The group for the inventory. A made-up group exists only while the device is registered. */
static int read_real_group(int at, int vfio_index) {
    int group = read_group(at);

    return group >= 0 && vfio_index >= 0 && group_is_noiommu(group) ? -1 : group;
}

/* 0 likewise, see read_id(). */
static dev_t read_number_file(int fd, int *trouble) {
    unsigned major_number, minor_number;
    char text[ATTRIBUTE_MAX];
    ssize_t n;

    n = fd >= 0 ? read_attribute(fd, text, sizeof(text)) : fd;
    if (is_own_trouble(n))
        *trouble = (int) n;
    if (n < 0 || parse_device_number(text, &major_number, &minor_number) < 0)
        return 0;
    return makedev(major_number, minor_number);
}

static int open_number_file(int at, const char *name) {
    int fd = openat(at, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    return fd < 0 ? -errno : fd;
}

static dev_t read_device_number(int at, const char *name, int *trouble) {
    _cleanup_close_ int fd = open_number_file(at, name);

    return read_number_file(fd, trouble);
}

/* The entry vfio-dev/vfioN exists as long as the device is registered with VFIO, whatever its driver is
 * called. It has `dev` only if the kernel makes a cdev for it: not without VFIO_DEVICE_CDEV, and never in
 * noiommu mode. */
static int read_node(int at, const DeviceKindInfo *kind, int *ret_index, dev_t *ret_rdev) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r;

    *ret_index = -1;
    *ret_rdev = 0;

    r = kind->nodes ? open_directory_at(at, kind->nodes, &d) : -ENOENT;
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;

    while ((errno = 0, e = readdir(d))) {
        const char *digits = startswith(e->d_name, kind->node_entry);
        char path[48];
        uint64_t v;

        if (!digits || parse_unsigned(digits, 10, INT_MAX, &v) < 0)
            continue;
        snprintf(path, sizeof(path), "%s%d/dev", kind->node_entry, (int) v);
        *ret_index = (int) v;
        *ret_rdev = read_device_number(dirfd(d), path, &r);
        return r;
    }
    return -errno;
}

uint64_t sysfs_read_uevent_seqnum(void) {
    char text[ATTRIBUTE_MAX];
    uint64_t v;

    if (read_attribute_at(AT_FDCWD, "/sys/kernel/uevent_seqnum", text, sizeof(text)) < 0 ||
            parse_unsigned(text, 10, UINT64_MAX, &v) < 0)
        return 0;
    return v;
}

/* Does the firmware still use memory through a device of this group? Returns 1, 0 or negative errno. Regions
 * belong to the hardware: they do not change while a device is in its group. */
static int has_direct_region(int at) {
    ReservedRegion regions[RESERVED_REGIONS_MAX];
    char text[64 * 1024];
    ssize_t size;
    size_t n;

    size = read_attribute_at(at, "iommu_group/reserved_regions", text, sizeof(text));
    if (size < 0) /* no group, or a kernel without this attribute */
        return size == -ENOENT ? 0 : (int) size;
    n = reserved_regions_parse(text, regions);
    for (size_t i = 0; i < n; i++)
        if (streq(regions[i].type, "direct"))
            return 1;
    return 0;
}

/* The parent of a PCI domain is in the path of all its devices: …/0000:00:0e.0/pci10000:e0/
 * 10000:e0:06.0/10000:e1:00.0. Other devices above them are bridges, which nobody can claim. The driver of
 * the last PCI function in the path made a mediated or vDPA device. */
static bool find_maker(int at, const DeviceName *name, DeviceName *ret) {
    char path[PATH_MAX], link[32], *rest = NULL;
    bool found = false;
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", at);
    n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return false;
    path[n] = '\0';
    for (char *word = strtok_r(path, "/", &rest); word; word = strtok_r(NULL, "/", &rest)) {
        DeviceName above;

        if (device_name_parse_pci_address(word, &above) < 0 ||
                (name->kind == DEVICE_KIND_PCI && above.domain == name->domain))
            continue;
        *ret = above;
        found = true;
    }
    return found;
}

/* The device whose driver made this one and can remove it. */
static void read_parent(int at, DeviceSnapshot *s) {
    const DeviceKindInfo *kind = device_kind_info(s->name.kind);
    char text[DEVICE_NAME_MAX];

    if (kind->parent_link && read_link_basename_at(at, kind->parent_link, text, sizeof(text)) >= 0)
        s->has_parent = device_name_parse_pci_address(text, &s->parent) >= 0;
    else if (kind->is_made || (s->name.kind == DEVICE_KIND_PCI && s->name.domain != 0))
        s->has_parent = find_maker(at, &s->name, &s->parent);
}

static int read_ids(int at, DeviceSnapshot *s) {
    int r = 0;

    s->vendor = (uint16_t) read_id(at, "vendor", UINT16_MAX, &r);
    s->device = (uint16_t) read_id(at, "device", UINT16_MAX, &r);
    s->subsystem_vendor = (uint16_t) read_id(at, "subsystem_vendor", UINT16_MAX, &r);
    s->subsystem_device = (uint16_t) read_id(at, "subsystem_device", UINT16_MAX, &r);
    s->class_code = read_id(at, "class", 0xffffff, &r);
    s->revision = (uint8_t) read_id(at, "revision", UINT8_MAX, &r);
    return r;
}

/* Most devices on the platform bus are not hardware: the kernel makes them to give a driver something to bind
 * to. Those that firmware describes may be hardware. Those that an IOMMU or VFIO knows are. */
static bool is_made_up(int at, const DeviceSnapshot *s) {
    return s->name.kind == DEVICE_KIND_PLATFORM && s->vfio_index < 0 && s->group < 0 &&
            faccessat(at, "of_node", F_OK, 0) < 0 && faccessat(at, "firmware_node", F_OK, 0) < 0;
}

static int read_incarnation(int at, DeviceKind kind, uint32_t *ret) {
    struct stat st;

    if (device_kind_info(kind)->identity)
        return 0;
    if (fstat(at, &st) < 0)
        return -errno;
    *ret = device_incarnation(kind, st.st_ino);
    return 0;
}

static int read_snapshot(int at, const DeviceName *name, uint64_t seqnum, DeviceSnapshot *ret) {
    DeviceSnapshot s = {.name = *name, .seqnum = seqnum};
    int r;

    r = device_kind_info(name->kind)->has_ids ? read_ids(at, &s) : 0;
    if (r >= 0)
        r = read_incarnation(at, name->kind, &s.incarnation);
    if (r < 0)
        return r;
    read_driver(at, s.driver, sizeof(s.driver));
    r = read_node(at, device_kind_info(name->kind), &s.vfio_index, &s.vfio_rdev);
    if (r < 0)
        return r == -ENXIO ? -ENODEV : r;
    s.group = read_real_group(at, s.vfio_index);
    read_parent(at, &s);
    r = s.vfio_index >= 0 && s.group >= 0 ? has_direct_region(at) : 0;
    if (is_own_trouble(r))
        return r;
    s.direct_region = r != 0;

    /* An open directory outlives its device, and then has no files: that is not a fact about the device.
     * `vendor` exists as long as the device does. */
    if ((faccessat(at, "vendor", F_OK, 0) < 0 && faccessat(at, "uevent", F_OK, 0) < 0) || is_made_up(at, &s))
        return -ENODEV;

    *ret = s;
    return 0;
}

int sysfs_read_device(const DeviceName *name, DeviceSnapshot *ret) {
    const uint64_t seqnum = sysfs_read_uevent_seqnum(); /* before the scan */
    _cleanup_close_ int fd = -EBADF;

    fd = open_device(name);
    if (fd < 0)
        return fd;
    return read_snapshot(fd, name, seqnum, ret);
}

bool sysfs_has_device(const DeviceName *name) {
    _cleanup_close_ int fd = open_device(name);

    return fd != -ENODEV; /* in doubt it exists: an event reports its removal */
}

static int foreach_of_kind(DeviceKind kind, uint64_t seqnum,
        int (*visit)(const DeviceSnapshot *snapshot, void *userdata), void *userdata) {
    const DeviceKindInfo *info = device_kind_info(kind);
    _cleanup_closedir_ DIR *d = NULL;
    char path[DEVICE_PATH_MAX];
    struct dirent *e;
    int r;

    if (!info->directory)
        return 0;
    snprintf(path, sizeof(path), "%s/devices", info->directory);
    r = open_directory_at(AT_FDCWD, path, &d);
    if (r == -ENOENT) /* the kernel or the machine does not have this bus */
        return 0;
    if (r < 0)
        return r;

    while ((errno = 0, e = readdir(d))) {
        _cleanup_close_ int fd = -EBADF;
        DeviceSnapshot snapshot;
        DeviceName name;

        if (info->parse_kernel(kind, e->d_name, &name) < 0)
            continue;
        fd = openat(dirfd(d), e->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        r = fd < 0 ? gone_error(errno) : read_snapshot(fd, &name, seqnum, &snapshot);
        if (r == -ENODEV)
            continue;
        if (r >= 0)
            r = visit(&snapshot, userdata);
        if (r != 0)
            return r;
    }
    return -errno;
}

int sysfs_foreach(int (*visit)(const DeviceSnapshot *snapshot, void *userdata), void *userdata) {
    const uint64_t seqnum = sysfs_read_uevent_seqnum();
    int r = 0;

    for (DeviceKind k = 0; r == 0 && k < _DEVICE_KIND_MAX; k++)
        r = foreach_of_kind(k, seqnum, visit, userdata);
    return r;
}

static int add_to_inventory(const DeviceSnapshot *snapshot, void *userdata) {
    int r = inventory_update(userdata, snapshot, NULL, NULL);

    return r < 0 ? r : 0;
}

int sysfs_scan(Inventory *inventory) {
    return sysfs_foreach(add_to_inventory, inventory);
}

static int read_number(int at, const char *name, long *ret) {
    char text[ATTRIBUTE_MAX];
    bool negative;
    uint64_t v;

    if (read_attribute_at(at, name, text, sizeof(text)) < 0)
        return -EINVAL;
    negative = text[0] == '-';
    if (parse_unsigned(text + negative, 10, INT_MAX, &v) < 0)
        return -EINVAL;
    *ret = negative ? -(long) v : (long) v;
    return 0;
}

int sysfs_foreach_function(
        const DeviceName *name, int (*visit)(const DeviceName *function, void *userdata), void *userdata) {
    _cleanup_close_ int fd = open_device(name);
    char link[32], target[DEVICE_NAME_MAX];
    long total;
    int r = 0;

    if (fd < 0)
        return fd;
    if (read_number(fd, "sriov_totalvfs", &total) < 0)
        return 0; /* it can have none */
    for (long i = 0; i < MIN(total, (long) UINT16_MAX) && r == 0; i++) {
        DeviceName function;
        ssize_t n;

        (void) snprintf(link, sizeof(link), "virtfn%ld", i);
        n = read_link_basename_at(fd, link, target, sizeof(target));
        if (n == -ENOENT)
            continue; /* one in the middle may have been unplugged alone */
        r = n < 0 ? (int) n : device_name_parse_pci_address(target, &function);
        if (r >= 0)
            r = visit(&function, userdata);
    }
    return r;
}

static bool is_virtual_function(const DeviceName *name) {
    char path[sizeof(PCI_DEVICES) + DEVICE_NAME_MAX + sizeof("//physfn")], kernel[DEVICE_NAME_MAX];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s/physfn", PCI_DEVICES, device_name_format_kernel(name, kernel));
    return lstat(path, &st) == 0;
}

/* Is it one of several functions of a device, which could talk to each other unseen? The siblings in sysfs
 * show that. The multifunction bit in config space cannot be read while its owner resets the device. Virtual
 * functions are always isolated from each other. */
static bool has_neighbours(const DeviceName *name) {
    DeviceName other = *name;

    if (is_virtual_function(name))
        return false;
    for (other.function = 0; other.function < 8; other.function++)
        if (other.function != name->function && sysfs_has_device(&other) && !is_virtual_function(&other))
            return true;
    return false;
}

static int parse_config(const DeviceName *name,
        int (*parse)(const uint8_t *config, size_t size, void *userdata), void *userdata) {
    _cleanup_close_ int device = open_device(name);

    return device < 0 ? device : pci_place_read_config(device, parse, userdata);
}

static int parse_isolation(const uint8_t *config, size_t size, void *userdata) {
    const bool *several_functions = userdata;

    return pci_config_isolates(config, size, *several_functions);
}

static int parse_serial(const uint8_t *config, size_t size, void *userdata) {
    return pci_config_serial(config, size, userdata);
}

static int parse_answer(const uint8_t *config, size_t size, void *userdata) {
    if (size < CONFIG_HEADER)
        return -EINVAL;
    for (size_t i = CONFIG_IDS; i < CONFIG_HEADER; i++)
        if (config[i] != 0xff)
            return 1;
    return 0;
}

int sysfs_device_answers(const DeviceName *name) {
    return parse_config(name, parse_answer, NULL);
}

static int read_isolation(const DeviceName *name, bool several_functions) {
    return parse_config(name, parse_isolation, &several_functions);
}

/* Adds the answer of one function to the report. Known lack of isolation beats unknown, and unknown beats
 * isolated. */
static void report_add(AcsReport *report, const DeviceName *name, int isolates) {
    if (isolates == 0) {
        report->path = ACS_INCOMPLETE;
        report->has_blocker = true;
        report->blocker = *name;
    } else if (isolates < 0)
        report->path = ACS_UNKNOWN;
}

int sysfs_read_acs(const DeviceName *name, AcsReport *ret) {
    AcsReport report = {.path = ACS_COMPLETE};
    DeviceName ports[PORTS_MAX];
    int n;

    n = pci_place_read_ports(name, ports);
    if (n < 0)
        return n;

    /* A single function has no neighbours on its own device, so its own answer does not count, also if it is
     * conventional PCI. */
    if (has_neighbours(name)) {
        int isolates = read_isolation(name, /* several_functions= */ true);

        if (isolates == -ENODEV)
            return isolates;
        report_add(&report, name, isolates);
    } else if (n == 1)
        report.path = ACS_NOT_NEEDED;

    for (size_t i = (size_t) n - 1; i-- > 0 && report.path != ACS_INCOMPLETE;)
        report_add(&report, &ports[i], read_isolation(&ports[i], has_neighbours(&ports[i])));

    *ret = report;
    return 0;
}

/* Readers of one fact each. They return 1 if it was read, 0 if it is unknown, and negative errno if the
 * caller must not go on without it. */

/* A kernel without NUMA nodes has no such attribute. */
static int read_numa_node(int at, const DeviceName *name, DeviceFacts *f) {
    long v;

    if (faccessat(at, "numa_node", F_OK, 0) < 0)
        return errno == ENOENT;
    if (read_number(at, "numa_node", &v) < 0)
        return 0;
    f->numa_node = v < 0 ? -1 : (int) v;
    return 1;
}

static int read_enable_count(int at, const DeviceName *name, DeviceFacts *f) {
    return read_number(at, "enable", &f->enable_count) >= 0;
}

/* Missing if the kernel does not know it. */
static int read_removable(int at, const DeviceName *name, DeviceFacts *f) {
    char text[ATTRIBUTE_MAX];
    Removable removable;

    if (read_attribute_at(at, "removable", text, sizeof(text)) < 0)
        return 0;
    removable = removable_from_string(text);
    if (removable < 0 || removable == REMOVABLE_UNKNOWN)
        return 0;
    f->removable = removable;
    return 1;
}

/* The old override is restored when a claim ends, so a part of it is worse than none. */
static int read_driver_override(int at, const DeviceName *name, DeviceFacts *f) {
    ssize_t n = read_attribute_at(at, "driver_override", f->driver_override, sizeof(f->driver_override));

    if (n == -ENOENT && !device_kind_info(name->kind)->driver)
        return 0; /* such as a mediated device, which stays with its driver */
    if (n < 0)
        return n == -ENOENT ? -ENODEV : (int) n; /* every device on the bus has it while it exists */
    if (streq(f->driver_override, "(null)"))
        f->driver_override[0] = '\0';
    /* Root may write any bytes. They could be restored, but a record or a snapshot cannot contain them. */
    return utf8_is_valid(f->driver_override) ? 1 : -EBADMSG;
}

/* Is another function on the same bus, that is, in the same directory? In doubt there is one. Returns
 * negative errno for errors of this process. */
static int shares_bus(int at, const DeviceName *name) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r;

    r = open_directory_at(at, "..", &d);
    if (r < 0)
        return is_own_trouble(r) ? r : true;
    while ((errno = 0, e = readdir(d))) {
        DeviceName other;

        if (device_name_parse_pci_address(e->d_name, &other) >= 0 && device_name_compare(&other, name) != 0)
            return true;
    }
    return errno != 0;
}

/* A device that cannot be reset has an empty file, or none. The kernel fills the file when it finds the
 * device. The first of several devices on a bus is alone then, so its file has the reset of the bus, which
 * later always fails with ENOTTY (pci_parent_bus_reset). With another method that does not matter. */
static int read_reset_methods(int at, const DeviceName *name, DeviceFacts *f) {
    char text[ATTRIBUTE_MAX];
    unsigned methods;
    ssize_t n;

    n = read_attribute_at(at, "reset_method", text, sizeof(text));
    if (n == -ENOENT) /* before 5.15 the kernel does not name the method */
        snprintf(text, sizeof(text), "%s", faccessat(at, "reset", F_OK, 0) == 0 ? "unknown" : "");
    else if (n < 0)
        return (int) n;
    methods = reset_methods_parse(text);
    if (methods == 1U << RESET_METHOD_BUS) {
        int r = shares_bus(at, name);

        if (r < 0)
            return r;
        if (r > 0)
            methods = 0;
    }
    f->reset_methods = methods;
    return 1;
}

static int read_host_critical(int at, const DeviceName *name, DeviceFacts *f) {
    int r;

    r = host_critical_check(name, &f->host_critical);
    if (r >= 0 || is_own_trouble(r))
        return r < 0 ? r : 1;
    /* If it is unknown, the host may need the device. */
    f->host_critical = format_string("whether the host uses it is unknown: %s", strerror(-r));
    return f->host_critical ? 0 : -ENOMEM;
}

/* No rule can waive this, so in doubt there are descendants. */
static int read_descendants(int at, const DeviceName *name, DeviceFacts *f) {
    int r;

    r = host_critical_find_descendants(name, &f->descendants);
    if (r >= 0 || is_own_trouble(r))
        return r < 0 ? r : 1;
    f->descendants = format_string("which ones is unknown: %s", strerror(-r));
    return f->descendants ? 0 : -ENOMEM;
}

static int read_exclusive_use(int at, const DeviceName *name, DeviceFacts *f) {
    int r;

    if (f->host_critical)
        return 0;
    r = host_critical_check_exclusive(name, &f->host_critical);
    if (r >= 0 || is_own_trouble(r))
        return MIN(r, 0);
    f->host_critical = format_string("whether a disk of it is in use is unknown: %s", strerror(-r));
    return f->host_critical ? 0 : -ENOMEM;
}

static int read_direct_region(int at, const DeviceName *name, DeviceFacts *f) {
    int r = has_direct_region(at);

    f->direct_region = r > 0;
    return MIN(r, 0);
}

static int read_acs(int at, const DeviceName *name, DeviceFacts *f) {
    AcsReport report;

    if (sysfs_read_acs(name, &report) < 0)
        return 0;
    f->acs = report.path;
    f->has_acs_blocker = report.has_blocker;
    f->acs_blocker = report.blocker;
    return report.path != ACS_UNKNOWN;
}

static int read_slot_path(int at, const DeviceName *name, DeviceFacts *f) {
    DeviceName ports[PORTS_MAX];
    char path[SLOT_PATH_MAX];
    int n;

    n = pci_place_read_ports(name, ports);
    if (n < 0 || slot_path_format(ports, (size_t) n, path) < 0)
        return 0;
    memcpy(f->slot_path, path, sizeof(path));
    return 1;
}

static int read_iommu_unit(int at, const DeviceName *name, DeviceFacts *f) {
    ssize_t n = read_link_basename_at(at, "iommu", f->iommu_unit, sizeof(f->iommu_unit));

    if (n >= 0 && utf8_is_valid(f->iommu_unit))
        return 1;
    f->iommu_unit[0] = '\0';
    return n == -ENOENT;
}

static int read_links(int at, const DeviceName *name, DeviceFacts *f) {
    int r = device_links_read(at, &f->links);

    return r < 0 ? r : 1;
}

static int read_serial(int at, const DeviceName *name, DeviceFacts *f) {
    return parse_config(name, parse_serial, f->serial) >= 0;
}

/* Reads without the lock of the device. Without the attribute there are no functions. */
static int read_functions_max(int at, const DeviceName *name, DeviceFacts *f) {
    long v;

    if (read_number(at, "sriov_totalvfs", &v) < 0 || v < 0 || v > UINT16_MAX)
        return 0;
    f->functions_max = (unsigned) v;
    return 1;
}

static int read_properties(int at, const DeviceName *name, DeviceFacts *f) {
    int r = udev_properties_read(name, &f->properties);

    return r == -ENOMEM ? r : r >= 0;
}

static int read_variant(int at, const DeviceName *name, DeviceFacts *f) {
    return name->kind == DEVICE_KIND_PCI ? variant_read(at, f) : 0;
}

static const struct {
    unsigned fact;
    int (*read)(int at, const DeviceName *name, DeviceFacts *f);
} fact_readers[] = {
        {DEVICE_FACT_RESET_METHODS, read_reset_methods},
        {DEVICE_FACT_NUMA_NODE, read_numa_node},
        {DEVICE_FACT_DRIVER_OVERRIDE, read_driver_override},
        {DEVICE_FACT_REMOVABLE, read_removable},
        {DEVICE_FACT_HOST_CRITICAL, read_host_critical},
        {DEVICE_FACT_ENABLE_COUNT, read_enable_count},
        {DEVICE_FACT_ACS, read_acs},
        {DEVICE_FACT_SLOT_PATH, read_slot_path},
        {DEVICE_FACT_IOMMU_UNIT, read_iommu_unit},
        {DEVICE_FACT_SERIAL, read_serial},
        {DEVICE_FACT_PROPERTIES, read_properties},
        {DEVICE_FACT_DESCENDANTS, read_descendants},
        {DEVICE_FACT_DIRECT_REGION, read_direct_region},
        {DEVICE_FACT_EXCLUSIVE_USE, read_exclusive_use},
        {DEVICE_FACT_FUNCTIONS_MAX, read_functions_max},
        {DEVICE_FACT_LINKS, read_links},
        {DEVICE_FACT_VARIANT, read_variant},
};

/* ---- Facts that every claim needs, from kept files ---- */

#define KEPT_FACTS ((unsigned) (DEVICE_FACT_ENABLE_COUNT | DEVICE_FACT_RESET_METHODS))

static int read_kept_enable_count(KeptFiles *k, long *ret) {
    char text[ATTRIBUTE_MAX];
    uint64_t v;

    if (k->enable < 0 || read_attribute(k->enable, text, sizeof(text)) < 0 ||
            parse_unsigned(text, 10, INT_MAX, &v) < 0)
        return -ENODATA;
    *ret = (long) v;
    return 0;
}

/* Returns -ENODATA also if it must be read in the ordinary way, see read_reset_methods(). */
static int read_kept_reset_methods(KeptFiles *k, unsigned *ret) {
    char text[ATTRIBUTE_MAX];
    unsigned methods;

    if (k->reset_method >= 0 && read_attribute(k->reset_method, text, sizeof(text)) < 0)
        return -ENODATA;
    methods = reset_methods_parse(k->reset_method >= 0 ? text : k->reset_methods);
    if (methods == 1U << RESET_METHOD_BUS)
        return -ENODATA;
    *ret = methods;
    return 0;
}

/* Reads methods after the count: if the count can be read, it is the device whose methods are known. */
static int read_kept_facts(KeptFiles *k, DeviceFacts *ret) {
    DeviceFacts f = DEVICE_FACTS_NULL;

    if (read_kept_enable_count(k, &f.enable_count) < 0 || read_kept_reset_methods(k, &f.reset_methods) < 0)
        return -ENODATA;
    f.known = KEPT_FACTS;
    *ret = f;
    return 0;
}

int sysfs_read_facts(void *userdata, const Device *device, unsigned what, DeviceFacts *ret) {
    _cleanup_(device_facts_done) DeviceFacts f = DEVICE_FACTS_NULL;
    KeptFiles *kept = what == KEPT_FACTS ? kept_files_find(&device->name) : NULL;
    _cleanup_close_ int fd = -EBADF;

    if (kept && read_kept_facts(kept, ret) >= 0)
        return 0;
    if (kept)
        kept_files_forget(kept);
    fd = open_device(&device->name);
    if (fd < 0)
        return fd;

    for (size_t i = 0; i < ELEMENTSOF(fact_readers); i++) {
        int r;

        if (!(what & fact_readers[i].fact))
            continue;
        r = fact_readers[i].read(fd, &device->name, &f);
        if (r < 0)
            return r;
        if (r > 0)
            f.known |= fact_readers[i].fact;
    }
    if (kept) /* for the next call */
        (void) kept_files_open(kept_files_find(&device->name), fd);

    *ret = TAKE_GENERIC(f, DEVICE_FACTS_NULL);
    return 0;
}

long sysfs_read_enable_count(const DeviceName *name) {
    _cleanup_close_ int fd = -EBADF;
    char text[ATTRIBUTE_MAX];
    uint64_t v;
    ssize_t n;
    long count;

    if (read_kept_enable_count(kept_files_find(name), &count) >= 0)
        return count;
    fd = open_device(name);
    if (fd < 0)
        return fd;
    n = read_attribute_at(fd, "enable", text, sizeof(text));
    if (n < 0)
        return gone_error((int) -n);
    return parse_unsigned(text, 10, INT_MAX, &v) < 0 ? -EBADMSG : (long) v;
}

/* ACPI can turn off what the device, or a bridge above it, needs in D0 (_PR3). Bridges are PCI devices, which
 * have a config space. Above them is the root of the bus. */
static bool can_lose_power(int at) {
    char path[16 * 3 + 48] = "";

    for (size_t n = 0; n < 16; n++) {
        char *end = path + n * 3;

        (void) strcpy(end, "config");
        if (faccessat(at, path, F_OK, 0) < 0)
            return false;
        (void) strcpy(end, "firmware_node/power_resources_D3hot");
        if (faccessat(at, path, F_OK, 0) == 0)
            return true;
        (void) strcpy(end, "../");
    }
    return true;
}

bool sysfs_may_lose_power(const DeviceName *name) {
    KeptFiles *kept = kept_files_find(name);

    if (!kept->power_known) {
        _cleanup_close_ int fd = open_device(name);

        kept->may_lose_power = fd >= 0 && can_lose_power(fd);
        kept->power_known = true;
    }
    return kept->may_lose_power;
}

bool sysfs_allows_d3cold(const DeviceName *name) {
    _cleanup_close_ int fd = open_device(name);
    char text[ATTRIBUTE_MAX];

    return fd >= 0 && read_attribute_at(fd, "d3cold_allowed", text, sizeof(text)) >= 0 && streq(text, "1");
}

/* One system call for each claim: the file is open since `enable` was read for the plan. */
bool sysfs_power_is_doubtful(const DeviceName *name) {
    const KeptFiles *kept = kept_files_find(name);
    char text[ATTRIBUTE_MAX];

    return kept->power_state >= 0 && read_attribute(kept->power_state, text, sizeof(text)) >= 0 &&
            power_state_is_doubtful(text);
}

/* The inventory is as old as the last uevent, and udev may be slow. The kernel reuses names and numbers of
 * nodes at once, both together. So a node that was opened meanwhile may belong to another device and have the
 * right number. But an open file keeps its device registered, with its number and group. If a check after the
 * open finds the right number, the right device was opened. */
static int check_device(Device *d, KeptFiles *kept) {
    const DeviceKindInfo *kind = device_kind_info(d->name.kind);
    const uint64_t seqnum = sysfs_read_uevent_seqnum();
    _cleanup_close_ int fd = -EBADF, number = -EBADF;
    uint32_t incarnation = d->incarnation;
    int trouble = 0;
    char path[64];

    fd = open_device(&d->name);
    if (fd < 0)
        return fd;
    if (d->incarnation != 0)
        trouble = read_incarnation(fd, d->name.kind, &incarnation);
    if (trouble < 0 || incarnation != d->incarnation)
        return trouble < 0 ? trouble : -ESTALE;
    if (read_id(fd, "vendor", UINT16_MAX, &trouble) != d->vendor ||
            read_id(fd, "device", UINT16_MAX, &trouble) != d->device ||
            read_real_group(fd, d->vfio_index) != (d->group ? d->group->id : -1))
        return trouble < 0 ? trouble : -ESTALE;
    if (d->vfio_index >= 0) {
        snprintf(path, sizeof(path), "%s/%s%d/dev", kind->nodes, kind->node_entry, d->vfio_index);
        number = open_number_file(fd, path);
        if (read_number_file(number, &trouble) != d->vfio_rdev)
            return trouble < 0 ? trouble : -ESTALE;
    }
    d->since_seqnum = seqnum;
    if (number >= 0)
        kept_files_note_number(kept, TAKE_FD(number), d, seqnum);
    return 0;
}

/* Removals that were announced before the first check do not concern this device: it still exists. */
int sysfs_check_device(Device *d) {
    KeptFiles *kept = kept_files_find(&d->name);

    if (!kept_files_confirm(kept, d))
        return check_device(d, kept);
    d->since_seqnum = MAX(d->since_seqnum, kept->checked.seqnum);
    return 0;
}

int sysfs_read_noiommu_node(const DeviceName *name, int *ret_group, dev_t *ret_rdev) {
    _cleanup_close_ int fd = -EBADF;
    char path[64];
    int group, trouble = 0;
    dev_t rdev;

    fd = open_device(name);
    if (fd < 0)
        return fd;
    group = read_group(fd);
    if (group < 0)
        return -ENOENT;
    snprintf(path, sizeof(path), "/sys/class/vfio/noiommu-%d/dev", group);
    rdev = read_device_number(AT_FDCWD, path, &trouble);
    if (rdev == 0)
        return trouble < 0 ? trouble : -ENOENT;
    *ret_group = group;
    *ret_rdev = rdev;
    return 0;
}

int sysfs_read_group_facts(int group, GroupFacts *ret) {
    char path[64], text[64 * 1024];
    _cleanup_close_ int fd = -EBADF;
    GroupFacts f = {};
    struct stat st;

    if (group < 0)
        return -ENODEV;
    snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d", group);
    fd = openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return gone_error(errno);

    if (read_attribute_at(fd, "type", f.type, sizeof(f.type)) < 0)
        f.type[0] = '\0';
    if (read_attribute_at(fd, "reserved_regions", text, sizeof(text)) >= 0)
        f.n_regions = reserved_regions_parse(text, f.regions);
    snprintf(path, sizeof(path), "/dev/vfio/%d", group);
    f.node_present = stat(path, &st) == 0 && S_ISCHR(st.st_mode);

    *ret = f;
    return 0;
}

static bool is_character_device(const char *path) {
    struct stat st;

    return stat(path, &st) == 0 && S_ISCHR(st.st_mode);
}

static bool directory_has_entries(const char *path) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;

    if (open_directory_at(AT_FDCWD, path, &d) < 0)
        return false;
    while ((e = readdir(d)))
        if (!streq(e->d_name, ".") && !streq(e->d_name, ".."))
            return true;
    return false;
}

static bool group_is_made_up(int at, const char *group) {
    char path[NAME_MAX + sizeof("/name")], name[ATTRIBUTE_MAX];

    snprintf(path, sizeof(path), "%s/name", group);
    return read_attribute_at(at, path, name, sizeof(name)) >= 0 && streq(name, "vfio-noiommu");
}

/* Is there a group that an IOMMU made? Usually the first one answers. VFIO gives the same name to groups that
 * it makes up for devices without an IOMMU and for mediated devices. */
static bool has_real_group(void) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    uint64_t group;

    if (open_directory_at(AT_FDCWD, "/sys/kernel/iommu_groups", &d) < 0)
        return false;
    while ((e = readdir(d)))
        if (parse_unsigned(e->d_name, 10, INT_MAX, &group) >= 0 && !group_is_noiommu((int) group) &&
                !group_is_made_up(dirfd(d), e->d_name))
            return true;
    return false;
}

/* Can a device on a vfio driver be opened through /dev/vfio/devices? CONFIG_VFIO_DEVICE_CDEV decides. Neither
 * /dev/iommu nor the class vfio-dev shows it: with IOMMUFD alone both exist, but no node appears. The vfio
 * module reserves numbers for nodes ("vfio-dev" in /proc/devices) if and only if it makes them. While the
 * module is not loaded the answer is no, which may change, so the unit loads it before the daemon starts. An
 * existing node is proof by itself. */
static bool kernel_makes_cdevs(void) {
    _cleanup_free_ char *text = NULL;

    if (directory_has_entries("/dev/vfio/devices"))
        return true;
    if (read_file_at(AT_FDCWD, "/proc/devices", 64 * 1024, &text, NULL) < 0)
        return false;

    for (const char *line = text; *line; line += strspn(line, "\n")) {
        const char *end = line + strcspn(line, "\n");
        const char *word = line + strspn(line, " ");

        word += strspn(word, "0123456789");
        if (end - word == (ptrdiff_t) strlen(" vfio-dev") && startswith(word, " vfio-dev"))
            return true;
        line = end;
    }
    return false;
}

/* "[none] integrity confidentiality": the word in brackets is in force. A kernel without lockdown has no such
 * file. If the file cannot be read, the kernel may be locked down. The same holds if securityfs is not
 * mounted here: then the directory that the kernel makes for it is empty. */
static bool kernel_is_locked_down(void) {
    static const char directory[] = "/sys/kernel/security";
    char text[ATTRIBUTE_MAX];
    ssize_t n = read_attribute_at(AT_FDCWD, "/sys/kernel/security/lockdown", text, sizeof(text));

    if (n == -ENOENT)
        return access(directory, F_OK) >= 0 ? !directory_has_entries(directory) : errno != ENOENT;
    return n < 0 || !strstr(text, "[none]");
}

int sysfs_read_kernel_facts(KernelFacts *ret) {
    /* Each look below takes one descriptor. Without a free one, everything would seem to be missing. */
    _cleanup_close_ int spare = openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    char parameter[ATTRIBUTE_MAX];
    KernelFacts k;

    if (spare < 0)
        return -errno;
    spare = safe_close(spare);
    k = (KernelFacts){
            .iommufd = is_character_device("/dev/iommu"),
            .container = is_character_device("/dev/vfio/vfio"),
            .vhost_vdpa = access("/sys/bus/vdpa/drivers/vhost_vdpa", F_OK) >= 0,
            .iommu = has_real_group(),
            .device_cdev = kernel_makes_cdevs(),
            .lockdown = kernel_is_locked_down(),
    };
    k.compat = k.container && container_is_iommufd();
    k.container = k.container && !k.compat;

    if (read_attribute_at(AT_FDCWD, "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", parameter,
                sizeof(parameter)) >= 0) {
        k.noiommu_support = true;
        k.noiommu_enabled = !streq(parameter, "N");
    }

    *ret = k;
    return 0;
}
