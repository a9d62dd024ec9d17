/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Walks everything that hangs below the device in sysfs and asks of each disk and each network interface
 * whether the host uses it. The walk is bounded, and whatever stops it early (a bound, an error, a table that
 * does not parse) makes the answer "cannot be told", which callers take for yes.
 *
 *   disk       mounted, swapped on, or stacked upon (dm, md, bcache: the search goes on in the holder, for a
 * better reason); its partitions; a member of a mounted btrfs, whose mount shows an anonymous number and only
 * one of its disks; a member of a zfs pool, which leaves no trace in sysfs at all: taken for used interface
 * up and with an address that is not link-local, or the way of a default route; a bridge, bond or vlan above
 * it counts as itself display    the firmware's boot display while a driver of the host drives it
 *
 * Not seen: a disk that is mounted only in the mount namespace of a container, with a file system that shows
 * nothing in /sys/fs; a disk that a program has opened without any mount; routes of policy routing tables
 * other than main; a serial console on a PCI card. An interface that was moved to another network namespace
 * is not the host's any more.
 */

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <libudev.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/host-tables.h"
#include "host/host-critical.h"

#define DIRECTORIES_MAX 16384U /* looked at for one device */
#define DEPTH_MAX 24U          /* of directories, and of disks and interfaces stacked upon each other */
#define TABLE_MAX (4U * 1024 * 1024)
#define REASON_MAX 256U

/* The tables are read when the first disk or interface is found: most devices have neither. */
typedef struct Search {
    char *mounts, *swaps;          /* owned; NULL: not read yet */
    char *routes, *ipv6_routes;    /* owned; "" where the kernel has no such protocol */
    struct ifaddrs *addresses;     /* owned */
    struct udev *udev;             /* owned */
    unsigned n_directories, depth; /* used up of the bounds */
    char *reason;                  /* owned; set: found */
} Search;

static void search_done(Search *s) {
    free(s->mounts);
    free(s->swaps);
    free(s->routes);
    free(s->ipv6_routes);
    if (s->addresses)
        freeifaddrs(s->addresses);
    udev_unref(s->udev);
    free(s->reason);
}

/* The next entry that is not "." or "..": 1, 0 at the end, negative errno. */
static int next_entry(DIR *d, struct dirent **ret) {
    struct dirent *e;

    do {
        errno = 0;
        e = readdir(d);
        if (!e)
            return -errno;
    } while (streq(e->d_name, ".") || streq(e->d_name, ".."));
    *ret = e;
    return 1;
}

/* A find: 1 with the reason kept in the search. */
_printf_(2, 3) static int found(Search *s, const char *format, ...) {
    _cleanup_free_ char *text = NULL;
    va_list args;
    int r;

    va_start(args, format);
    r = vasprintf(&text, format, args);
    va_end(args);
    if (r < 0) {
        text = NULL; /* vasprintf leaves it undefined */
        return -ENOMEM;
    }

    free(s->reason);
    s->reason = sanitize(text, REASON_MAX);
    return s->reason ? 1 : -ENOMEM;
}

/* A table that is missing is empty: the kernel has no swap or no such protocol. Unless all of them are
 * missing, since our /proc shows processes alone (ProcSubset=pid): then nothing can be told. */
static int read_table(const char *path, char **table) {
    int r;

    if (*table)
        return 0;
    r = read_file_at(AT_FDCWD, path, TABLE_MAX, table, NULL);
    if (r != -ENOENT || access("/proc/meminfo", F_OK) < 0)
        return r;
    *table = strdup("");
    return *table ? 0 : -ENOMEM;
}

/* ---- disks ---- */

typedef struct Disk {
    const char *name; /* of the directory: "nvme0n1p1" */
    unsigned major, minor;
} Disk;

static int check_disk(Search *s, int fd, const char *name);

static bool path_is_disk(const char *path, const Disk *disk) {
    struct stat st;

    return startswith(path, "/dev/") && stat(path, &st) == 0 && S_ISBLK(st.st_mode) &&
            major(st.st_rdev) == disk->major && minor(st.st_rdev) == disk->minor;
}

/* A file system over several disks may name them all, with colons between (bcachefs). */
static bool source_is_disk(const char *source, const Disk *disk) {
    char path[PATH_MAX];

    if (path_is_disk(source, disk))
        return true;
    for (const char *p = source; *p; p += strspn(p, ":")) {
        size_t n = strcspn(p, ":");

        snprintf(path, sizeof(path), "%.*s", (int) n, p);
        if (path_is_disk(path, disk))
            return true;
        p += n;
    }
    return false;
}

static int check_mounts(Search *s, const Disk *disk) {
    const char *cursor;
    MountEntry m;
    int r;

    r = read_table("/proc/self/mountinfo", &s->mounts);
    if (r < 0)
        return r;
    if (!*s->mounts) /* everybody has a root */
        return -ENODATA;

    cursor = s->mounts;
    while ((r = mountinfo_next(&cursor, &m)) > 0)
        if ((m.major == disk->major && m.minor == disk->minor) ||
                (m.major == 0 && source_is_disk(m.source, disk)))
            return found(s, "%s is mounted on %s", disk->name, m.target);
    return r;
}

static int check_swaps(Search *s, const Disk *disk) {
    char path[PATH_MAX];
    const char *cursor;
    int r;

    r = read_table("/proc/swaps", &s->swaps);
    if (r < 0)
        return r;

    cursor = s->swaps;
    while ((r = swaps_next(&cursor, path)) > 0)
        if (path_is_disk(path, disk))
            return found(s, "%s is used for swap", disk->name);
    return r;
}

/* These show each of their disks by name as long as it is mounted in any mount namespace: of a container, or
 * of the host itself where our own has lost it (ProtectHome=yes unmounts /home for us). */
static int check_file_systems(Search *s, const Disk *disk) {
    static const char *const names[] = {"ext4", "xfs", "f2fs", "erofs", "nilfs2"};

    for (size_t i = 0; i < ELEMENTSOF(names); i++) {
        char path[128];
        struct stat st;

        snprintf(path, sizeof(path), "/sys/fs/%s/%.64s", names[i], disk->name);
        if (lstat(path, &st) == 0)
            return found(s, "%s is mounted (%s)", disk->name, names[i]);
    }
    return 0;
}

static int check_btrfs(Search *s, const Disk *disk) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r;

    r = open_directory_at(AT_FDCWD, "/sys/fs/btrfs", &d);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;

    while ((r = next_entry(d, &e)) > 0) {
        char path[sizeof(e->d_name) + 80];
        struct stat st;

        snprintf(path, sizeof(path), "%s/devices/%.64s", e->d_name, disk->name);
        if (fstatat(dirfd(d), path, &st, AT_SYMLINK_NOFOLLOW) == 0)
            return found(s, "%s belongs to a mounted btrfs", disk->name);
    }
    return r;
}

/* What the disk holds is udev's knowledge. */
static int check_zfs(Search *s, const Disk *disk) {
    struct udev_device *device;
    const char *type;
    bool is_member;

    if (!s->udev)
        s->udev = udev_new();
    if (!s->udev)
        return -ENOMEM;

    device = udev_device_new_from_devnum(s->udev, 'b', makedev(disk->major, disk->minor));
    if (!device) /* udev does not know it */
        return 0;
    type = udev_device_get_property_value(device, "ID_FS_TYPE");
    is_member = type && streq(type, "zfs_member");
    udev_device_unref(device);
    return is_member ? found(s, "%s is a member of a zfs pool", disk->name) : 0;
}

/* Something is stacked upon the disk. That is a find; if that something is in use itself, its own reason says
 * more. */
static int check_holders(Search *s, int fd, const Disk *disk) {
    _cleanup_closedir_ DIR *d = NULL;
    _cleanup_close_ int holder = -EBADF;
    struct dirent *e;
    int r;

    r = open_directory_at(fd, "holders", &d);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;

    r = next_entry(d, &e);
    if (r <= 0)
        return r;

    holder = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (holder >= 0 && check_disk(s, holder, e->d_name) > 0) {
        _cleanup_free_ char *above = TAKE_PTR(s->reason);

        return found(s, "%s, and lies on %s", above, disk->name);
    }
    return found(s, "%s is held by %s", disk->name, e->d_name);
}

static int check_partitions(Search *s, int fd) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r;

    r = open_directory_at(fd, ".", &d);
    if (r < 0)
        return r;

    while ((r = next_entry(d, &e)) > 0) {
        _cleanup_close_ int child = -EBADF;

        if (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN)
            continue;
        child = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (child < 0 || faccessat(child, "partition", F_OK, 0) < 0)
            continue;
        r = check_disk(s, child, e->d_name);
        if (r != 0)
            return r;
    }
    return r;
}

static int check_disk_itself(Search *s, int fd, const Disk *disk) {
    int r;

    r = check_mounts(s, disk);
    if (r == 0)
        r = check_swaps(s, disk);
    if (r == 0)
        r = check_file_systems(s, disk);
    if (r == 0)
        r = check_btrfs(s, disk);
    if (r == 0)
        r = check_zfs(s, disk);
    if (r == 0)
        r = check_holders(s, fd, disk);
    if (r == 0)
        r = check_partitions(s, fd);
    return r;
}

/* With native multipath the directory below the controller is a hidden path without a number; the disk that
 * is mounted is a virtual one elsewhere. Other paths may keep it alive, but that is not for us to bet on. */
static int check_nvme_head(Search *s, const char *name) {
    char head[64], path[sizeof("/sys/class/block/") + sizeof(head)];
    _cleanup_close_ int fd = -EBADF;
    int r;

    r = nvme_path_to_head(name, head, sizeof(head));
    if (r < 0)
        return -ENXIO; /* a disk without a number that is no such path: unheard of */
    snprintf(path, sizeof(path), "/sys/class/block/%s", head);
    fd = openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    return check_disk(s, fd, head);
}

static int check_disk(Search *s, int fd, const char *name) {
    Disk disk = {.name = name};
    char text[64];
    ssize_t n;
    int r;

    if (s->depth >= DEPTH_MAX || ++s->n_directories > DIRECTORIES_MAX)
        return -E2BIG;

    n = read_attribute_at(fd, "dev", text, sizeof(text));
    if (n < 0 && n != -ENOENT)
        return (int) n;
    if (n >= 0 && parse_device_number(text, &disk.major, &disk.minor) < 0)
        return -EBADMSG;

    s->depth++;
    r = n < 0 ? check_nvme_head(s, name) : check_disk_itself(s, fd, &disk);
    s->depth--;
    return r;
}

/* ---- interfaces ---- */

/* Writes the address when it is one that others may know: not link-local. */
static bool address_counts(const struct sockaddr *address, char *text, socklen_t size) {
    if (!address)
        return false;

    if (address->sa_family == AF_INET) {
        const struct in_addr *in = &((const struct sockaddr_in *) (const void *) address)->sin_addr;

        return ntohl(in->s_addr) >> 16 != 0xa9fe /* 169.254/16 */ && inet_ntop(AF_INET, in, text, size);
    }
    if (address->sa_family == AF_INET6) {
        const struct in6_addr *in6 = &((const struct sockaddr_in6 *) (const void *) address)->sin6_addr;

        return !IN6_IS_ADDR_LINKLOCAL(in6) && inet_ntop(AF_INET6, in6, text, size);
    }
    return false;
}

static int check_addresses(Search *s, const char *name) {
    if (!s->addresses && getifaddrs(&s->addresses) < 0)
        return -errno;

    for (const struct ifaddrs *a = s->addresses; a; a = a->ifa_next) {
        char text[INET6_ADDRSTRLEN];

        if (streq(a->ifa_name, name) && a->ifa_flags & IFF_UP &&
                address_counts(a->ifa_addr, text, sizeof(text)))
            return found(s, "%s has the address %s", name, text);
    }
    return 0;
}

static int check_routes(Search *s, const char *name) {
    int r;

    r = read_table("/proc/net/route", &s->routes);
    if (r >= 0)
        r = route_table_has_default(s->routes, name);
    if (r == 0) {
        r = read_table("/proc/net/ipv6_route", &s->ipv6_routes);
        if (r >= 0)
            r = ipv6_route_table_has_default(s->ipv6_routes, name);
    }
    return r > 0 ? found(s, "%s is the way of a default route", name) : r;
}

/* An interface in a bridge or bond has no address; the one above it has. */
static int check_interface(Search *s, int fd, const char *name) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r;

    if (s->depth >= DEPTH_MAX || ++s->n_directories > DIRECTORIES_MAX)
        return -E2BIG;
    r = check_addresses(s, name);
    if (r == 0)
        r = check_routes(s, name);
    if (r == 0)
        r = open_directory_at(fd, ".", &d);
    if (r != 0)
        return r;

    s->depth++;
    while ((r = next_entry(d, &e)) > 0) {
        const char *upper = startswith(e->d_name, "upper_");
        _cleanup_close_ int upper_fd = -EBADF;

        if (!upper)
            continue;
        upper_fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (upper_fd < 0 && errno == ENOENT)
            continue;
        r = upper_fd < 0 ? -errno : check_interface(s, upper_fd, upper);
        if (r > 0) {
            _cleanup_free_ char *above = TAKE_PTR(s->reason);

            r = found(s, "%s, and lies on %s", above, name);
        }
        if (r != 0)
            break;
    }
    s->depth--;
    return r;
}

/* ---- the walk ---- */

static int check_directory(Search *s, int fd);

static int check_child(Search *s, int at, const char *name, int flags) {
    _cleanup_close_ int fd = -EBADF;
    char subsystem[32];
    int r;

    fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : -errno; /* gone, a file, a link */

    if (read_link_basename_at(fd, "subsystem", subsystem, sizeof(subsystem)) < 0)
        subsystem[0] = '\0';
    if (streq(subsystem, "block"))
        return check_disk(s, fd, name);
    if (streq(subsystem, "net"))
        return check_interface(s, fd, name);

    if (s->depth >= DEPTH_MAX)
        return -E2BIG;
    s->depth++;
    r = check_directory(s, fd);
    s->depth--;
    return r;
}

/* Directories that hold attributes alone, in every device of the tree. */
static bool is_dull(const char *name) {
    return streq(name, "power") || streq(name, "msi_irqs") || streq(name, "statistics");
}

static int check_directory(Search *s, int fd) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r;

    if (++s->n_directories > DIRECTORIES_MAX)
        return -E2BIG;
    r = open_directory_at(fd, ".", &d);
    if (r < 0)
        return r == -ENOENT ? 0 : r;

    while ((r = next_entry(d, &e)) > 0) {
        /* Taking a physical function from its driver takes its virtual functions with it. They are found by
         * links; every other link leads out of the device. */
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

static int check_boot_display(Search *s, int fd) {
    char text[16], driver[64];
    struct stat st;
    ssize_t n;

    n = read_attribute_at(fd, "boot_vga", text, sizeof(text));
    if (n == -ENOENT) /* no display */
        return 0;
    if (n < 0)
        return (int) n;
    if (streq(text, "0"))
        return 0;

    n = read_link_basename_at(fd, "driver", driver, sizeof(driver));
    if (n == -ENOENT)
        return 0;
    if (n < 0)
        return (int) n;
    if (streq(driver, "pci-stub") || fstatat(fd, "vfio-dev", &st, 0) == 0)
        return 0;
    return found(s, "it is the boot display, driven by %s", driver);
}

/* Even when the host uses none of them: its driver takes them away with itself, whoever has them, and nothing
 * brings them back with it. */
static int check_virtual_functions(Search *s, int fd) {
    struct stat st;

    if (fstatat(fd, "virtfn0", &st, AT_SYMLINK_NOFOLLOW) == 0)
        return found(s, "it has virtual functions, which would go with its driver (sriov_numvfs is not 0)");
    return errno == ENOENT ? 0 : -errno;
}

int host_critical_check(const DeviceName *name, char **ret_reason) {
    char path[sizeof("/sys/bus/pci/devices/") + DEVICE_NAME_MAX], kernel[DEVICE_NAME_MAX];
    _cleanup_(search_done) Search s = {};
    _cleanup_close_ int fd = -EBADF;
    int r;

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", device_name_format_kernel(name, kernel));
    fd = openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ENODEV : -errno;

    r = check_boot_display(&s, fd);
    if (r == 0)
        r = check_directory(&s, fd);
    if (r == 0)
        r = check_virtual_functions(&s, fd);
    if (r > 0)
        *ret_reason = TAKE_PTR(s.reason);
    return r;
}
