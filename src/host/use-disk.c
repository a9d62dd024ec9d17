/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who uses a disk? Users that the kernel's tables and sysfs name come first, since this gives a better
 * reason. Most users also claim the disk, so opening it exclusively fails (use_check_exclusive). Some do not,
 * so they are found by name only: loop devices, nvmet, LIO's fileio, SCST, RNBD, USB gadgets.
 *
 * Not found: a program that has the disk open without O_EXCL, such as a virtual machine with a raw disk. */

#include <fcntl.h>
#include <libudev.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/host-tables.h"
#include "host/use.h"

typedef struct Disk {
    const char *name; /* the directory's name: "nvme0n1p1" */
    unsigned major, minor;
    bool is_controller; /* not a disk but the character device of an NVMe controller */
} Disk;

static bool path_is_disk(const char *path, const Disk *disk) {
    struct stat st;

    return startswith(path, "/dev/") && stat(path, &st) == 0 && S_ISBLK(st.st_mode) &&
            major(st.st_rdev) == disk->major && minor(st.st_rdev) == disk->minor;
}

/* A file system over several disks may list all of them, separated by colons (bcachefs). */
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

static int check_mounts(UseSearch *s, const Disk *disk) {
    const char *cursor;
    MountEntry m;
    int r;

    r = use_read_table("/proc/self/mountinfo", &s->mounts);
    if (r < 0)
        return r;
    if (!*s->mounts) /* every namespace has a root */
        return -ENODATA;

    cursor = s->mounts;
    while ((r = mountinfo_next(&cursor, &m)) > 0)
        if ((m.major == disk->major && m.minor == disk->minor) ||
                (m.major == 0 && source_is_disk(m.source, disk)))
            return streq(m.target, "/") ? use_found(s, "root file system (%s)", disk->name)
                                        : use_found(s, "mounted at %s (%s)", m.target, disk->name);
    return r;
}

static int check_swaps(UseSearch *s, const Disk *disk) {
    char path[PATH_MAX];
    const char *cursor;
    int r;

    r = use_read_table("/proc/swaps", &s->swaps);
    if (r < 0)
        return r;

    cursor = s->swaps;
    while ((r = swaps_next(&cursor, path)) > 0)
        if (path_is_disk(path, disk))
            return use_found(s, "swap (%s)", disk->name);
    return r;
}

/* These list each of their disks by name as long as it is mounted in any mount namespace: in a container, or
 * on the host itself even if it is hidden here (ProtectHome=yes hides /home from vfiod). */
static int check_file_systems(UseSearch *s, const Disk *disk) {
    static const char *const names[] = {"ext4", "xfs", "f2fs", "erofs", "nilfs2"};

    for (size_t i = 0; i < ELEMENTSOF(names); i++) {
        char path[128];
        struct stat st;

        snprintf(path, sizeof(path), "/sys/fs/%s/%.64s", names[i], disk->name);
        if (lstat(path, &st) == 0)
            return use_found(s, "mounted %s file system (%s)", names[i], disk->name);
    }
    return 0;
}

static int check_btrfs(UseSearch *s, const Disk *disk) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r;

    r = open_directory_at(AT_FDCWD, "/sys/fs/btrfs", &d);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;

    while ((r = use_next_entry(d, &e)) > 0) {
        char path[sizeof(e->d_name) + 80];
        struct stat st;

        snprintf(path, sizeof(path), "%s/devices/%.64s", e->d_name, disk->name);
        if (fstatat(dirfd(d), path, &st, AT_SYMLINK_NOFOLLOW) == 0)
            return use_found(s, "mounted btrfs file system (%s)", disk->name);
    }
    return r;
}

/* An imported pool has a directory of its own in /proc. A label that cannot be a name matches any pool. */
static int zfs_pool_is_imported(const char *label) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r;

    r = open_directory_at(AT_FDCWD, "/proc/spl/kstat/zfs", &d);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    while ((r = use_next_entry(d, &e)) > 0)
        if (e->d_type != DT_REG && (!label || streq(e->d_name, label)))
            return 1;
    return r;
}

/* udev knows what the disk contains. The label alone proves nothing: the pool may belong to a guest. */
static int check_zfs(UseSearch *s, const Disk *disk) {
    _cleanup_free_ char *pool = NULL;
    struct udev_device *device;
    const char *type, *label;
    bool is_member;
    int r;

    if (!s->udev)
        s->udev = udev_new();
    if (!s->udev)
        return -ENOMEM;

    device = udev_device_new_from_devnum(s->udev, 'b', makedev(disk->major, disk->minor));
    if (!device) /* udev does not know it */
        return 0;
    type = udev_device_get_property_value(device, "ID_FS_TYPE");
    label = udev_device_get_property_value(device, "ID_FS_LABEL");
    is_member = type && streq(type, "zfs_member");
    r = is_member ? free_and_strdup(&pool, label) : 0;
    udev_device_unref(device);
    if (!is_member || r < 0)
        return r;

    r = zfs_pool_is_imported(pool);
    return r > 0 ? use_found(s, "zfs pool %s (%s)", pool ?: "of unknown name", disk->name) : r;
}

/* Something is stacked upon the disk, which is a use. If that is in use itself, its own reason is more
 * useful. */
static int check_holders(UseSearch *s, int fd, const Disk *disk) {
    _cleanup_closedir_ DIR *d = NULL;
    _cleanup_close_ int holder = -EBADF;
    struct dirent *e;
    int r;

    r = open_directory_at(fd, "holders", &d);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;

    r = use_next_entry(d, &e);
    if (r <= 0)
        return r;

    holder = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (holder >= 0 && use_check_disk(s, holder, e->d_name) > 0)
        return use_found_above(s, disk->name);
    return use_found(s, "held by %s (%s)", e->d_name, disk->name);
}

static int check_partitions(UseSearch *s, int fd) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *e;
    int r;

    r = open_directory_at(fd, ".", &d);
    if (r < 0)
        return r;

    while ((r = use_next_entry(d, &e)) > 0) {
        _cleanup_close_ int child = -EBADF;

        if (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN)
            continue;
        child = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (child < 0 || faccessat(child, "partition", F_OK, 0) < 0)
            continue;
        r = use_check_disk(s, child, e->d_name);
        if (r != 0)
            return r;
    }
    return r;
}

/* ---- Users that leave no link at the disk ---- */

static const struct {
    const char *directory, *pattern, *what;
} users[] = {
        {"/sys/class/block", "loop*/loop/backing_file", "file of a loop device"},
        {"/sys/class/block", "zram*/backing_dev", "backing device of zram"},
        {"/sys/kernel/config/target", "core/*/*/udev_path", "exported by LIO"},
        {"/sys/kernel/config/target", "core/*/*/info", "exported by LIO"},
        {"/sys/kernel/config/nvmet", "subsystems/*/namespaces/*/device_path", "exported by nvmet"},
        {"/sys/kernel/config/nvmet", "subsystems/*/passthru/device_path", "exported by nvmet"},
        {"/sys/kernel/config/usb_gadget", "*/functions/mass_storage.*/lun.*/file", "exported over USB"},
        {"/sys/kernel/scst_tgt", "devices/*/filename", "exported by SCST"},
        {"/sys/devices/virtual/rnbd-server/ctl", "devices/*/block_dev", "exported by RNBD"},
        {"/sys/fs/bcachefs", "*/dev-*/block", "bcachefs file system"},
};

/* A link to the disk, or a text that contains its path. */
static int mentions(int at, const char *name, const void *arg) {
    const Disk *disk = arg;
    char text[4096], *rest = text;
    ssize_t n;

    if (read_link_basename_at(at, name, text, sizeof(text)) > 0)
        return streq(text, disk->name);
    n = read_attribute_at(at, name, text, sizeof(text));
    if (n < 0) /* configfs and loop devices answer this while nothing is set */
        return n == -ENOENT || n == -ENODEV || n == -ENXIO || n == -EINVAL ? 0 : (int) n;
    for (char *word; (word = strsep(&rest, " \t\n"));)
        if (disk->is_controller ? startswith(word, "/dev/") && streq(word + strlen("/dev/"), disk->name)
                                : path_is_disk(word, disk))
            return 1;
    return 0;
}

static int check_users(UseSearch *s, const Disk *disk) {
    for (size_t i = 0; i < ELEMENTSOF(users); i++) {
        int r = use_match(s, users[i].directory, users[i].pattern, mentions, disk);

        if (r != 0)
            return r < 0 ? r : use_found(s, "%s (%s)", users[i].what, disk->name);
    }
    return 0;
}

/* nvmet can export a whole controller. */
int use_check_nvme(UseSearch *s, int fd, const char *name) {
    const Disk controller = {.name = name, .is_controller = true};

    return s->wanted & USE_BY_HOST ? check_users(s, &controller) : 0;
}

/* Is the disk registered with bcache, but not below a bcache device yet? */
static int check_bcache(UseSearch *s, int fd, const Disk *disk) {
    return faccessat(fd, "bcache", F_OK, 0) == 0 ? use_found(s, "part of bcache (%s)", disk->name) : 0;
}

/* The kernel refuses an exclusive open of a disk that somebody has claimed, of a disk with a claimed
 * partition, and of a partition of a claimed disk. An open for reading wakes nobody who watches the node. */
static int check_exclusive(UseSearch *s, const Disk *disk) {
    char path[sizeof("/dev/") + 256];
    _cleanup_close_ int fd = -EBADF;
    struct stat st;

    snprintf(path, sizeof(path), "/dev/%s", disk->name);
    for (char *p = path; (p = strchr(p, '!'));) /* as in "cciss!c0d0" */
        *p = '/';
    fd = open(path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
    if (fd < 0 && errno == EBUSY)
        return use_found(s, "unknown use (%s cannot be opened exclusively)", disk->name);
    if (fd < 0 && errno == EPERM) /* systemd looks up the numbers of drivers when it starts the unit */
        return use_found(s,
                "whether %s is in use is unknown: the device policy of vfiod's own unit (DeviceAllow=) does "
                "not "
                "let it open %s; the driver of the disk was probably loaded after vfiod was started",
                disk->name, path);
    if (fd < 0) /* no medium; gone */
        return errno == ENOMEDIUM || errno == ENXIO || errno == ENODEV ? 0 : -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    return S_ISBLK(st.st_mode) && st.st_rdev == makedev(disk->major, disk->minor) ? 0 : -ESTALE;
}

static int check_disk_itself(UseSearch *s, int fd, const Disk *disk) {
    int r = 0;

    if (s->wanted & USE_EXCLUSIVE) {
        r = check_partitions(s, fd);
        return r == 0 ? check_exclusive(s, disk) : r;
    }
    if (!(s->wanted & USE_BY_HOST))
        return 0;
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
        r = check_bcache(s, fd, disk);
    if (r == 0)
        r = check_holders(s, fd, disk);
    if (r == 0)
        r = check_users(s, disk);
    if (r == 0)
        r = check_partitions(s, fd);
    return r;
}

/* With native multipath the directory below the controller is a hidden path without a number, and the mounted
 * disk is a virtual one elsewhere. Other paths may keep it alive, but vfiod does not rely on that. */
static int check_nvme_head(UseSearch *s, const char *name) {
    char head[64], path[sizeof("/sys/class/block/") + sizeof(head)];
    _cleanup_close_ int fd = -EBADF;
    int r;

    r = nvme_path_to_head(name, head, sizeof(head));
    if (r < 0)
        return -ENXIO; /* a disk without a number must be such a path */
    snprintf(path, sizeof(path), "/sys/class/block/%s", head);
    fd = openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    return use_check_disk(s, fd, head);
}

int use_check_disk(UseSearch *s, int fd, const char *name) {
    Disk disk = {.name = name};
    char text[64];
    ssize_t n;
    int r;

    if (s->depth >= USE_DEPTH_MAX || ++s->n_directories > USE_DIRECTORIES_MAX)
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
