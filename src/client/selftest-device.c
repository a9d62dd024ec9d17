/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <endian.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "client/selftest.h"
#include "host/uapi.h"

#define FIX_SILENT                                                                                           \
    "It may have lost its power or its link, or hang after a reset: see 'journalctl -k'. Turn the host off " \
    "and on, or unplug the device, and test again."
#define FIX_KERNEL "'journalctl -k' may say why."
#define FIX_OTHER                                                                                            \
    "Report this with 'vfioctl status --json' and the journal of vfiod.service: it is a fault of vfiod."

int failure_set(Failure *f, const char *step, const char *fix, const char *format, ...) {
    va_list ap;

    *f = (Failure){.step = step, .fix = fix};
    va_start(ap, format);
    (void) vsnprintf(f->what, sizeof(f->what), format, ap);
    va_end(ap);
    return -ECANCELED;
}

/* ---- The device on the host ---- */

/* "pci:0000:06:0d.0" is /sys/bus/pci/devices/0000:06:0d.0. */
static int open_host_device(const char *name) {
    char path[160];
    size_t n = strcspn(name, ":");

    if (name[n] == '\0' || strchr(name, '/') ||
            (size_t) snprintf(path, sizeof(path), "/sys/bus/%.*s/devices/%s", (int) n, name, name + n + 1) >=
                    sizeof(path))
        return -ENOENT;
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static uint32_t read_config_id(int directory) {
    _cleanup_close_ int fd = openat(directory, "config", O_RDONLY | O_CLOEXEC);
    uint32_t id = 0;

    return fd >= 0 && read(fd, &id, sizeof(id)) == (ssize_t) sizeof(id) ? le32toh(id) : 0;
}

void host_device_read(const char *name, HostDevice *ret) {
    _cleanup_close_ int directory = open_host_device(name);

    *ret = (HostDevice){.present = directory >= 0};
    put_text(ret->name, sizeof(ret->name), name);
    if (directory < 0)
        return;
    if (read_link_basename_at(directory, "driver", ret->driver, sizeof(ret->driver)) < 0)
        ret->driver[0] = '\0';
    if (read_attribute_at(directory, "driver_override", ret->override, sizeof(ret->override)) < 0 ||
            streq(ret->override, "(null)"))
        ret->override[0] = '\0';
    ret->id = read_config_id(directory);
}

static const char *or_none(const char *text) {
    return *text ? text : "none";
}

int host_device_compare(const HostDevice *before, const HostDevice *now, Failure *f) {
    static const char fix_driver[] = "'journalctl -k' and the journal of vfiod.service show why its driver "
                                     "did not take it back. To bind "
                                     "it, write its address to /sys/bus/pci/drivers_probe as root.";

    if (before->present != now->present)
        return failure_set(f, "compare", FIX_KERNEL, "%s %s.", now->name,
                before->present ? "is no longer there" : "was made for the claim, and is still there");
    if (!streq(before->override, now->override))
        return failure_set(f, "compare", "Write the old value to driver_override of the device, as root.",
                "%s: driver_override was %s, and is %s.", now->name, or_none(before->override),
                or_none(now->override));
    if (!streq(before->driver, now->driver))
        return failure_set(f, "compare", fix_driver, "%s: the driver was %s, and is %s.", now->name,
                or_none(before->driver), or_none(now->driver));
    if (now->id != before->id)
        return failure_set(f, "compare", FIX_SILENT,
                now->id == ID_ALL_ONES
                        ? "%s does not answer any more: its config space reads as ones."
                        : "%s: its config space has another vendor and product (%04x:%04x) than before.",
                now->name, now->id & 0xffff, now->id >> 16);
    return 0;
}

/* ---- The device in a claim ---- */

typedef struct Use {
    const VfiodClaim *claim;
    const char *device; /* its full name */
    int fd;             /* borrowed, or in .opened */
    int opened;         /* owned; -EBADF */
    Failure *f;
} Use;

static int fail(const Use *u, const char *fix, const char *what) {
    return failure_set(u->f, "use", fix, "%s: %s.", u->device, what);
}

static int fail_errno(const Use *u, const char *what, int error) {
    return failure_set(u->f, "use", FIX_KERNEL, "%s: %s: %s.", u->device, what, strerrordesc_np(error));
}

/* The node that belongs to the device. 0; or a negative errno: unknown. */
static int find_node_of(const char *device, dev_t *ret) {
    _cleanup_close_ int directory = open_host_device(device);
    _cleanup_closedir_ DIR *nodes = NULL;
    unsigned major_number, minor_number;
    const struct dirent *entry;
    char path[280], text[32];
    int r;

    r = directory < 0 ? -ENOENT : open_directory_at(directory, "vfio-dev", &nodes);
    if (r < 0)
        return r;
    while ((entry = readdir(nodes))) {
        if (entry->d_name[0] == '.')
            continue;
        (void) snprintf(path, sizeof(path), "%s/dev", entry->d_name);
        if (read_attribute_at(dirfd(nodes), path, text, sizeof(text)) < 0 ||
                sscanf(text, "%u:%u", &major_number, &minor_number) != 2)
            continue;
        *ret = makedev(major_number, minor_number);
        return 0;
    }
    return -ENOENT;
}

static int check_node(const Use *u) {
    struct stat st;
    dev_t node;

    if (find_node_of(u->device, &node) < 0)
        return 0;
    if (fstat(u->fd, &st) < 0)
        return fail_errno(u, "the file cannot be looked at", errno);
    return S_ISCHR(st.st_mode) && st.st_rdev == node
            ? 0
            : fail(u, FIX_OTHER, "the file that was handed out is not the node of this device");
}

/* "1b4e28ba-2fa1-11d2-883f-0016d3cca427". */
static bool parse_token(const char *text, uint8_t ret[static 16]) {
    size_t n = 0;

    for (; n < 16 && *text; text += *text == '-') {
        if (sscanf(text, "%2hhx", &ret[n++]) != 1)
            return false;
        text += 2;
    }
    return n == 16 && *text == '\0';
}

/* Since Linux 6.17 the token is passed in this call; older kernels expect none here. */
static int bind_iommufd(const Use *u) {
    struct {
        struct vfiod_device_bind_iommufd bind;
        uint64_t token;
    } call = {.bind = {.argsz = sizeof(call), .flags = VFIOD_DEVICE_BIND_FLAG_TOKEN}};
    const char *token = vfiod_claim_vf_token(u->claim, u->device);
    uint8_t uuid[16];

    call.bind.iommufd = vfiod_claim_fd(u->claim, "iommufd");
    call.token = (uint64_t) (uintptr_t) uuid;
    if (token && parse_token(token, uuid) && ioctl(u->fd, VFIOD_DEVICE_BIND_IOMMUFD, &call) >= 0)
        return 0;
    call.bind.argsz = sizeof(call.bind);
    call.bind.flags = 0;
    return ioctl(u->fd, VFIOD_DEVICE_BIND_IOMMUFD, &call) >= 0
            ? 0
            : fail_errno(u, "the kernel does not bind it to the iommufd", errno);
}

static int read_config(const Use *u, uint32_t *ret) {
    struct vfio_region_info region = {.argsz = sizeof(region), .index = VFIO_PCI_CONFIG_REGION_INDEX};

    if (ioctl(u->fd, VFIO_DEVICE_GET_REGION_INFO, &region) < 0)
        return fail_errno(u, "the kernel does not describe its config space", errno);
    if (pread(u->fd, ret, sizeof(*ret), (off_t) region.offset) != (ssize_t) sizeof(*ret))
        return fail_errno(u, "its config space cannot be read", errno);
    *ret = le32toh(*ret);
    return *ret == ID_ALL_ONES ? fail(u, FIX_SILENT, "it does not answer: its config space reads as ones")
                               : 0;
}

/* In a virtual function the host reads ones; vfio emulates the ids. */
static int check_config(const Use *u) {
    HostDevice host;
    uint32_t id = 0;
    int r = read_config(u, &id);

    if (r < 0)
        return r;
    host_device_read(u->device, &host);
    if (host.id == 0 || host.id == ID_ALL_ONES || host.id == id)
        return 0;
    return fail(u, FIX_OTHER, "another device answers: vendor and product are not those that the host sees");
}

static int check_vfio(const Use *u) {
    struct vfio_device_info info = {.argsz = sizeof(info)};
    struct vfio_region_info region = {.argsz = sizeof(region)};

    if (ioctl(u->fd, VFIO_DEVICE_GET_INFO, &info) < 0)
        return fail_errno(u, "the kernel does not describe the device", errno);
    if (info.num_regions > 0 && ioctl(u->fd, VFIO_DEVICE_GET_REGION_INFO, &region) < 0)
        return fail_errno(u, "the kernel does not describe its first region", errno);
    return info.flags & VFIO_DEVICE_FLAGS_PCI ? check_config(u) : 0;
}

static int check_vdpa(const Use *u) {
    uint32_t id;

    return ioctl(u->fd, VHOST_VDPA_GET_DEVICE_ID, &id) >= 0
            ? 0
            : fail_errno(u, "the kernel does not report which device it is", errno);
}

/* Opens the device in its group, where the kernel knows it by the kernel's name. */
static int open_in_group(Use *u) {
    const char *token = vfiod_claim_vf_token(u->claim, u->device), *name = strchr(u->device, ':') + 1,
               *fd_name;
    _cleanup_free_ char *text = format_string("%s%s%s", name, token ? " vf_token=" : "", token ?: "");
    int error = ENODEV, group;

    if (!text)
        return fail_errno(u, "it cannot be opened", ENOMEM);
    for (size_t i = 0; (group = vfiod_claim_nth_fd(u->claim, i, &fd_name)) >= 0 && u->opened < 0; i++) {
        if (!startswith(fd_name, "group:"))
            continue;
        u->opened = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, text);
        if (u->opened < 0)
            error = errno == ENODEV ? error : errno;
    }
    u->fd = u->opened;
    return u->fd >= 0 ? 0 : fail_errno(u, "the kernel does not open it in its group", error);
}

/* Once for all groups. The IOMMU types are tried in QEMU's order. */
static int join_groups(const VfiodClaim *claim, Failure *f) {
    static const int types[] = {VFIO_TYPE1v2_IOMMU, VFIO_TYPE1_IOMMU, VFIO_SPAPR_TCE_v2_IOMMU};
    int container = vfiod_claim_fd(claim, "container"), group, r = -ENODEV;
    const char *name;

    for (size_t i = 0; (group = vfiod_claim_nth_fd(claim, i, &name)) >= 0; i++)
        if (startswith(name, "group:") && ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) < 0)
            return failure_set(f, "use", FIX_KERNEL, "%s does not go into the container: %s.", name,
                    strerrordesc_np(errno));
    for (size_t i = 0; r < 0 && i < ELEMENTSOF(types); i++)
        r = ioctl(container, VFIO_SET_IOMMU, types[i]) >= 0 ? 0 : -errno;
    return r < 0 ? failure_set(f, "use", FIX_KERNEL, "The container gets no IOMMU: %s.", strerrordesc_np(-r))
                 : 0;
}

static int use_device(Use *u) {
    const char *backend = vfiod_claim_backend(u->claim);
    int r;

    u->fd = vfiod_claim_device_fd(u->claim, u->device);
    if (streq(backend, "group"))
        r = open_in_group(u);
    else if (u->fd < 0)
        r = fail(u, FIX_OTHER, "no file of it was handed out");
    else if (streq(backend, "iommufd")) {
        r = check_node(u);
        if (r >= 0)
            r = bind_iommufd(u);
    } else
        r = 0;
    if (r < 0)
        return r;
    return streq(backend, "vhost-vdpa") ? check_vdpa(u) : check_vfio(u);
}

int selftest_use(const VfiodClaim *claim, Failure *f) {
    const char *device;
    int r = streq(vfiod_claim_backend(claim), "group") ? join_groups(claim, f) : 0;

    for (size_t i = 0; r >= 0 && (device = vfiod_claim_device(claim, i)); i++) {
        Use u = {.claim = claim, .device = device, .fd = -EBADF, .opened = -EBADF, .f = f};

        r = use_device(&u);
        (void) safe_close(u.opened);
    }
    return r;
}
