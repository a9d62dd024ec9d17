/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/holders.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "daemon/privileges.h"

static bool claims_device(const Claim *c, const char *kernel_name) {
    char name[DEVICE_NAME_MAX];

    for (size_t i = 0; i < c->plan.n_claimed; i++)
        if (streq(device_name_format_kernel(&c->plan.members[i].name, name), kernel_name))
            return true;
    return false;
}

static bool claims_group(const Claim *c, const char *number) {
    uint64_t v;

    if (parse_unsigned(number, 10, INT32_MAX, &v) < 0)
        return false;
    for (size_t i = 0; i < c->plan.n_groups; i++)
        if (c->plan.groups[i] == (int) v)
            return true;
    return false;
}

/* Every VFIO device file, from a group or a cdev, names its device in fdinfo. */
static bool fdinfo_names_device(int process, const char *fd_name, const Claim *c) {
    _cleanup_free_ char *text = NULL, *path = format_string("fdinfo/%s", fd_name);
    const char *line, *end, *slash;
    char name[DEVICE_NAME_MAX];

    if (!path || read_file_at(process, path, 8192, &text, NULL) < 0)
        return false;
    line = strstr(text, "vfio-device-syspath:");
    if (!line)
        return false;
    end = strchrnul(line, '\n');
    slash = memrchr(line, '/', (size_t) (end - line));
    if (!slash || (size_t) (end - slash - 1) >= sizeof(name))
        return false;
    (void) snprintf(name, sizeof(name), "%.*s", (int) (end - slash - 1), slash + 1);
    return claims_device(c, name);
}

/* What is behind /dev/vfio/ in the target of a link in /proc/PID/fd. Files are opened in the daemon's own
 * mount namespace, and when a daemon is gone so is its /dev: the path of a file from before a restart begins
 * at the root of devtmpfs. */
static const char *vfio_node(const char *target) {
    return startswith(target, "/dev/vfio/") ?: startswith(target, "/vfio/");
}

/* A path proves nothing: in a mount namespace of one's own any file can be at /dev/vfio/8. The number does.
 * Not asked of the file system (AT_STATX_DONT_SYNC): that may be a FUSE one, whose owner would let us wait
 * for ever. */
static bool is_group_file(int directory, const char *fd_name, const char *group) {
    char path[96], number[24], expected[24];
    struct statx st;

    (void) snprintf(path, sizeof(path), "/sys/class/vfio/%s/dev", group);
    if (read_attribute_at(AT_FDCWD, path, expected, sizeof(expected)) < 0)
        return true; /* the node went with the last device, open files stay */
    if (statx(directory, fd_name, AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0)
        return true;
    (void) snprintf(number, sizeof(number), "%u:%u", st.stx_rdev_major, st.stx_rdev_minor);
    return S_ISCHR(st.stx_mode) && streq(number, expected);
}

static bool file_is_held(
        int process, int directory, const char *fd_name, const char *target, const Claim *c) {
    const char *rest = vfio_node(target);

    if (rest && claims_group(c, rest))
        return is_group_file(directory, fd_name, rest);
    if (streq(target, "anon_inode:[vfio-device]") || (rest && startswith(rest, "devices/")))
        return fdinfo_names_device(process, fd_name, c);
    return false;
}

/* files_left: how many files may still be looked at. */
static bool process_holds(int process, const Claim *c, unsigned *files_left) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *entry;

    if (open_directory_at(process, "fd", &d) < 0)
        return false;
    while (*files_left > 0 && (entry = readdir(d))) {
        char target[64];
        ssize_t n = readlinkat(dirfd(d), entry->d_name, target, sizeof(target) - 1);

        (*files_left)--;
        /* What does not fit is no name of ours. */
        if (n <= 0 || n == (ssize_t) sizeof(target) - 1)
            continue;
        target[n] = '\0';
        if (file_is_held(process, dirfd(d), entry->d_name, target, c))
            return true;
    }
    return false;
}

static ssize_t find(const Claim *c, Holder *holders, size_t max) {
    _cleanup_closedir_ DIR *proc = opendir("/proc");
    unsigned files_left = HOLDERS_FILES_MAX;
    struct dirent *entry;
    size_t n = 0;

    if (!proc)
        return -errno;
    while (n < max && (entry = readdir(proc))) {
        _cleanup_close_ int process = -EBADF;
        Holder *h = &holders[n];
        uint64_t pid;

        if (parse_unsigned(entry->d_name, 10, INT32_MAX, &pid) < 0 || (pid_t) pid == getpid())
            continue;
        process = openat(dirfd(proc), entry->d_name, O_DIRECTORY | O_CLOEXEC | O_RDONLY);
        if (process < 0)
            continue;
        if (!process_holds(process, c, &files_left)) {
            if (files_left == 0)
                return -E2BIG;
            continue;
        }
        h->pid = (pid_t) pid;
        if (read_attribute_at(process, "comm", h->command, sizeof(h->command)) < 0)
            h->command[0] = '\0';
        n++;
    }
    return (ssize_t) n;
}

ssize_t holders_find(const Claim *c, Holder *holders, size_t max) {
    ssize_t n;

    privileges_raise(CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH);
    n = find(c, holders, max);
    privileges_lower();
    return n;
}
