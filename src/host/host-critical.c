/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Walks everything below the device in sysfs and checks whether somebody uses it. The walk is bounded.
 * Whatever stops it early (a bound, an error, a table that cannot be parsed) makes the answer "unknown",
 * which callers take for yes.
 *
 * use-disk.c, use-interface.c and use-display.c define what counts as use. The small cases are here: a serial
 * console, a running watchdog, a DMA channel in use. So are things that somebody made on purpose and that
 * exist only as long as the driver is bound: virtual functions, mediated and vDPA devices, subfunctions. */

#include "host/host-critical.h"

#include <fcntl.h>
#include <ifaddrs.h>
#include <libudev.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/device-kind.h"
#include "host/use.h"

static void search_done(UseSearch *s) {
    free(s->mounts);
    free(s->swaps);
    free(s->routes);
    free(s->ipv6_routes);
    free(s->links);
    if (s->addresses)
        freeifaddrs(s->addresses);
    udev_unref(s->udev);
    free(s->reason);
}

/* ---- Small users ---- */

static bool attribute_is(int fd, const char *name, const char *value) {
    char text[64];

    return read_attribute_at(fd, name, text, sizeof(text)) >= 0 && streq(text, value);
}

static int check_tty(UseSearch *s, int fd, const char *name) {
    return s->wanted & USE_BY_HOST && attribute_is(fd, "console", "Y")
            ? use_found(s, "console of the kernel (%s)", name)
            : 0;
}

/* A watchdog that loses its driver may reboot the host. */
static int check_watchdog(UseSearch *s, int fd, const char *name) {
    return s->wanted & USE_BY_HOST && attribute_is(fd, "state", "active")
            ? use_found(s, "running watchdog (%s)", name)
            : 0;
}

static int check_dma_channel(UseSearch *s, int fd, const char *name) {
    char text[16];

    return s->wanted & USE_BY_HOST && read_attribute_at(fd, "in_use", text, sizeof(text)) >= 0 &&
                    !streq(text, "0")
            ? use_found(s, "DMA channel of the kernel (%s)", name)
            : 0;
}

/* In sysfs, disks behind NVMe over Fibre Channel are not below an adapter. */
static int ends_at_port(int at, const char *name, const void *port) {
    char text[512];

    return read_attribute_at(at, name, text, sizeof(text)) >= 0 && strstr(text, "host_traddr=") &&
            strstr(strstr(text, "host_traddr="), port);
}

static int check_fc_host(UseSearch *s, int fd, const char *name) {
    char number[64], port[80];
    int r;

    if (!(s->wanted & USE_BY_HOST) || read_attribute_at(fd, "port_name", number, sizeof(number)) < 0)
        return 0;
    (void) snprintf(port, sizeof(port), "pn-%s", number);
    r = use_match(s, "/sys/class/nvme", "*/address", ends_at_port, port);
    return r > 0 ? use_found(s, "NVMe disks over Fibre Channel (%s)", name) : r;
}

/* Since 6.9 the firmware's framebuffer is a child of its display. */
static int check_platform(UseSearch *s, int fd, const char *name) {
    return s->wanted & USE_BY_HOST && strstr(name, "-framebuffer") && faccessat(fd, "driver", F_OK, 0) == 0
            ? use_found(s, "console (the kernel draws on its framebuffer %s)", name)
            : 0;
}

/* ---- descendants ---- */

static int check_mdev(UseSearch *s, int fd, const char *name) {
    return s->wanted & USE_DESCENDANT ? use_found(s, "the mediated device %s", name) : 0;
}

static int check_vdpa(UseSearch *s, int fd, const char *name) {
    return s->wanted & USE_DESCENDANT ? use_found(s, "the vDPA device %s", name) : 0;
}

/* Drivers make auxiliary devices for their own use. A subfunction is one that somebody ordered (devlink). */
static int check_auxiliary(UseSearch *s, int fd, const char *name) {
    return s->wanted & USE_DESCENDANT && faccessat(fd, "sfnum", F_OK, 0) == 0
            ? use_found(s, "the subfunction %s", name)
            : 0;
}

/* ---- the walk ---- */

static int check_directory(UseSearch *s, int fd);

static const struct {
    const char *subsystem;
    int (*check)(UseSearch *s, int fd, const char *name);
    bool ends; /* do not walk below: the check has done it, or nothing there matters */
} checks[] = {
        {"block", use_check_disk, true},
        {"net", use_check_interface},
        {"nvme", use_check_nvme},
        {"drm", use_check_drm},
        {"graphics", use_check_framebuffer},
        {"platform", check_platform},
        {"tty", check_tty},
        {"watchdog", check_watchdog},
        {"dma", check_dma_channel},
        {"fc_host", check_fc_host},
        {"mdev", check_mdev},
        {"vdpa", check_vdpa},
        {"auxiliary", check_auxiliary},
};

static int check_child(UseSearch *s, int at, const char *name, int flags) {
    _cleanup_close_ int fd = -EBADF;
    char subsystem[32];
    int r = 0;

    fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
                ? 0
                : -errno; /* it is gone, a file, or a link */

    if (read_link_basename_at(fd, "subsystem", subsystem, sizeof(subsystem)) < 0)
        subsystem[0] = '\0';
    if (!subsystem[0] && streq(name, "net"))
        r = use_check_hidden_interface(s, fd);
    for (size_t i = 0; r == 0 && i < ELEMENTSOF(checks); i++)
        if (streq(subsystem, checks[i].subsystem)) {
            r = checks[i].check(s, fd, name);
            if (checks[i].ends)
                return r;
        }
    if (r != 0)
        return r;

    if (s->depth >= USE_DEPTH_MAX)
        return -E2BIG;
    s->depth++;
    r = check_directory(s, fd);
    s->depth--;
    return r;
}

/* Directories that contain only attributes, and that every device has. */
static bool is_dull(const char *name) {
    static const char *const names[] = {
            "power", "msi_irqs", "statistics", "queues", "brport", "mdev_supported_types"};

    for (size_t i = 0; i < ELEMENTSOF(names); i++)
        if (streq(name, names[i]))
            return true;
    return false;
}

static int check_directory(UseSearch *s, int fd) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r;

    if (++s->n_directories > USE_DIRECTORIES_MAX)
        return -E2BIG;
    r = open_directory_at(fd, ".", &d);
    if (r < 0)
        return r == -ENOENT ? 0 : r;

    while ((r = use_next_entry(d, &e)) > 0) {
        /* To unbind a physical function removes its virtual functions. Links lead to them; every other link
         * leads out of the device. */
        bool is_virtual_function = e->d_type == DT_LNK && startswith(e->d_name, "virtfn");

        if (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN && !is_virtual_function)
            continue;
        if (is_dull(e->d_name))
            continue;
        r = check_child(s, dirfd(d), e->d_name, is_virtual_function ? 0 : O_NOFOLLOW);
        if (r != 0)
            return r;
    }
    return r;
}

/* Virtual functions count even if the host uses none of them. The driver takes them from their users, and
 * nothing brings them back. */
static int check_virtual_functions(UseSearch *s, int fd) {
    struct stat st;

    if (!(s->wanted & USE_DESCENDANT))
        return 0;
    if (fstatat(fd, "virtfn0", &st, AT_SYMLINK_NOFOLLOW) == 0)
        return use_found(s, "its virtual functions (sriov_numvfs is not 0)");
    return errno == ENOENT ? 0 : -errno;
}

static int search(const DeviceName *name, unsigned wanted, char **ret_reason) {
    char path[DEVICE_PATH_MAX];
    _cleanup_(search_done) UseSearch s = {.wanted = wanted};
    _cleanup_close_ int fd = -EBADF;
    int r;

    fd = openat(AT_FDCWD, device_sysfs_path(name, path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ENODEV : -errno;

    r = use_check_display(&s, fd);
    if (r == 0)
        r = check_directory(&s, fd);
    if (r == 0)
        r = check_virtual_functions(&s, fd);
    if (r > 0)
        *ret_reason = TAKE_PTR(s.reason);
    return r;
}

int host_critical_check(const DeviceName *name, char **ret_reason) {
    _cleanup_free_ char *descendants = NULL;
    int r;

    r = search(name, USE_BY_HOST, ret_reason);
    if (r == 0)
        r = search(name, USE_DESCENDANT, &descendants);
    if (r <= 0 || !descendants)
        return r;
    *ret_reason = format_string("others depend on its driver: %s", descendants);
    return *ret_reason ? 1 : -ENOMEM;
}

int host_critical_find_descendants(const DeviceName *name, char **ret) {
    return search(name, USE_DESCENDANT, ret);
}

int host_critical_check_exclusive(const DeviceName *name, char **ret_reason) {
    return search(name, USE_EXCLUSIVE, ret_reason);
}
