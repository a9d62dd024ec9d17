/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the clients share: the first three steps of edu-dma.c, from the descriptors that were passed to
 * devices with a buffer of ours, and what every PCI device has. */

#pragma once

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "uapi.h"

enum {
    FIRST_FD = 3, /* where passed descriptors start */
    MAX_FDS = 64,
    MAX_DEVICES = 16,

    PAGE = 4096,
    IOVA = 0x100000, /* edu's engine reaches the first 256 MiB only */
};

/* PCI configuration space */
enum {
    PCI_ID = 0x00,
    PCI_COMMAND = 0x04,
    PCI_COMMAND_MEMORY = 1 << 1,
    PCI_COMMAND_MASTER = 1 << 2,
};

struct passed_fd {
    int fd;
    const char *name;
};

struct device {
    const char *name; /* pci:0000:00:04.0 */
    int fd;
};

struct session {
    struct passed_fd fds[MAX_FDS];
    size_t n_fds;
    struct device devices[MAX_DEVICES];
    size_t n_devices;
    const char *backend;
    bool translated; /* an IOMMU stands between the devices and us: DMA is possible */
    uint8_t *buffer; /* two pages; the devices see them at IOVA */
};

/* One line on stderr with what failed and why; for use in `return fail(...)`. */
__attribute__((format(printf, 1, 2))) static int fail(const char *format, ...) {
    int saved = errno;
    va_list ap;

    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    if (saved != 0)
        fprintf(stderr, ": %s", strerror(saved));
    fputc('\n', stderr);
    return -1;
}

/* ---- 1. what we were handed ---- */

static int read_passed_fds(struct session *s) {
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    char *names = getenv("LISTEN_FDNAMES");

    errno = 0;
    if (!pid || !count || !names)
        return fail("no descriptors were passed (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES)");
    if (strtol(pid, NULL, 10) != (long) getpid())
        return fail("LISTEN_PID is %s, I am %ld: the descriptors are not for me", pid, (long) getpid());

    size_t n = strtoul(count, NULL, 10);
    if (n == 0 || n > MAX_FDS)
        return fail("LISTEN_FDS is %s, expected 1 to %d", count, MAX_FDS);

    /* strsep() writes into the environment, which is ours and not read again. */
    for (size_t i = 0; i < n; i++) {
        const char *name = strsep(&names, ":");
        if (!name)
            return fail("LISTEN_FDNAMES has %zu names for %zu descriptors", i, n);
        s->fds[s->n_fds++] = (struct passed_fd){.fd = FIRST_FD + (int) i, .name = name};
    }
    return 0;
}

static int read_devices(struct session *s) {
    char *list = getenv("VFIOD_DEVICES");

    errno = 0;
    if (!list)
        return fail("VFIOD_DEVICES is not set");
    for (const char *name; (name = strsep(&list, ","));) {
        if (s->n_devices == MAX_DEVICES)
            return fail("more than %d devices", MAX_DEVICES);
        s->devices[s->n_devices++] = (struct device){.name = name, .fd = -1};
    }
    return 0;
}

static int find_fd(const struct session *s, const char *name) {
    for (size_t i = 0; i < s->n_fds; i++)
        if (strcmp(s->fds[i].name, name) == 0)
            return s->fds[i].fd;
    return -1;
}

static int find_device_fd(const struct session *s, const char *device) {
    char name[128];

    snprintf(name, sizeof name, "device:%s", device);
    for (char *p = name; *p; p++)
        if (*p == ':')
            *p = '_';
    return find_fd(s, name);
}

/* ---- 2. devices with an address space ---- */

static int set_up_iommufd(struct session *s, int iommufd) {
    struct iommu_ioas_alloc alloc = {.size = sizeof alloc};

    s->backend = "iommufd";
    s->translated = true;
    if (ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc) < 0)
        return fail("cannot allocate an I/O address space");

    for (size_t i = 0; i < s->n_devices; i++) {
        struct device *d = &s->devices[i];
        struct vfio_device_bind_iommufd bind = {.argsz = sizeof bind, .iommufd = iommufd};
        struct vfio_device_attach_iommufd_pt attach = {.argsz = sizeof attach, .pt_id = alloc.out_ioas_id};

        errno = 0;
        d->fd = find_device_fd(s, d->name);
        if (d->fd < 0)
            return fail("%s: no descriptor for it", d->name);
        if (ioctl(d->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind) < 0)
            return fail("%s: cannot bind it to the iommufd", d->name);
        if (ioctl(d->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach) < 0)
            return fail("%s: cannot attach it to the address space", d->name);
    }

    struct iommu_ioas_map map = {
            .size = sizeof map,
            .flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
            .ioas_id = alloc.out_ioas_id,
            .user_va = (uintptr_t) s->buffer,
            .length = 2 * PAGE,
            .iova = IOVA,
    };
    if (ioctl(iommufd, IOMMU_IOAS_MAP, &map) < 0)
        return fail("cannot map the buffer");
    return 0;
}

/* The groups say nothing about their members, so a device is asked for in each until one knows it. */
static int get_device_from_groups(const struct session *s, const char *device) {
    const char *address = strncmp(device, "pci:", 4) == 0 ? device + 4 : device;

    for (size_t i = 0; i < s->n_fds; i++) {
        if (strncmp(s->fds[i].name, "group_", 6) != 0)
            continue;
        int fd = ioctl(s->fds[i].fd, VFIO_GROUP_GET_DEVICE_FD, address);
        if (fd >= 0 || errno != ENODEV)
            return fd;
    }
    errno = ENODEV;
    return -1;
}

static int map_in_container(const struct session *s, int container) {
    struct vfio_iommu_type1_dma_map map = {
            .argsz = sizeof map,
            .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
            .vaddr = (uintptr_t) s->buffer,
            .iova = IOVA,
            .size = 2 * PAGE,
    };

    if (ioctl(container, VFIO_IOMMU_MAP_DMA, &map) < 0)
        return fail("cannot map the buffer");
    return 0;
}

static int set_up_groups(struct session *s, int container) {
    s->backend = "group";
    s->translated = true;
    for (size_t i = 0; i < s->n_fds; i++)
        if (strncmp(s->fds[i].name, "group_", 6) == 0 &&
                ioctl(s->fds[i].fd, VFIO_GROUP_SET_CONTAINER, &container) < 0)
            return fail("%s: cannot put it into the container", s->fds[i].name);
    if (ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
        return fail("the container does not take the type1 IOMMU");

    for (size_t i = 0; i < s->n_devices; i++) {
        s->devices[i].fd = get_device_from_groups(s, s->devices[i].name);
        if (s->devices[i].fd < 0)
            return fail("%s: no group gives it", s->devices[i].name);
    }

    return map_in_container(s, container);
}

static int take_opened_devices(struct session *s) {
    errno = 0;
    for (size_t i = 0; i < s->n_devices; i++) {
        s->devices[i].fd = find_device_fd(s, s->devices[i].name);
        if (s->devices[i].fd < 0)
            return fail("%s: no descriptor for it", s->devices[i].name);
    }
    return 0;
}

static int set_up_compat(struct session *s, int container) {
    s->backend = "compat";
    s->translated = true;
    return take_opened_devices(s) < 0 ? -1 : map_in_container(s, container);
}

static int set_up_noiommu(struct session *s) {
    s->backend = "noiommu";
    return take_opened_devices(s);
}

static int set_up(struct session *s) {
    int iommufd = find_fd(s, "iommufd"), container = find_fd(s, "container");

    s->buffer = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s->buffer == MAP_FAILED)
        return fail("cannot get a buffer");
    if (iommufd >= 0)
        return set_up_iommufd(s, iommufd);
    if (container >= 0)
        return find_device_fd(s, s->devices[0].name) >= 0 ? set_up_compat(s, container)
                                                          : set_up_groups(s, container);
    return set_up_noiommu(s);
}

/* ---- PCI devices ---- */

static int get_region(const struct device *d, uint32_t index, struct vfio_region_info *ret) {
    *ret = (struct vfio_region_info){.argsz = sizeof *ret, .index = index};
    if (ioctl(d->fd, VFIO_DEVICE_GET_REGION_INFO, ret) < 0)
        return fail("%s: region %u", d->name, index);
    return 0;
}

static int read_pci_id(const struct device *d, uint32_t *ret) {
    struct vfio_region_info config;

    if (get_region(d, VFIO_PCI_CONFIG_REGION_INDEX, &config) < 0)
        return -1;
    if (pread(d->fd, ret, sizeof *ret, (off_t) config.offset + PCI_ID) != (ssize_t) sizeof *ret)
        return fail("%s: cannot read its configuration space", d->name);
    return 0;
}

/* VFIO opens a device with bus mastering off: its user decides when it may start transfers. */
static int enable_bus_master(const struct device *d) {
    struct vfio_region_info config;
    uint16_t command;

    if (get_region(d, VFIO_PCI_CONFIG_REGION_INDEX, &config) < 0)
        return -1;
    off_t at = (off_t) config.offset + PCI_COMMAND;
    if (pread(d->fd, &command, sizeof command, at) != (ssize_t) sizeof command)
        return fail("%s: cannot read its command register", d->name);
    command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    if (pwrite(d->fd, &command, sizeof command, at) != (ssize_t) sizeof command)
        return fail("%s: cannot enable bus mastering", d->name);
    return 0;
}
