/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/holders.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/cgroup.h"
#include "core/device-kind.h"
#include "daemon/privileges.h"

/* ---- the worker's side ---- */

typedef struct Walk {
    HolderEntry *entries;
    size_t n;
    const HolderStop *stop; /* NULL: nobody is stopped */
    char *own_cgroup;       /* owned; for a stop */
} Walk;

static void walk_done(Walk *w) {
    free(w->entries);
    free(w->own_cgroup);
}

static bool file_is_of(const HolderEntry *e, const int32_t *groups, size_t n_groups,
        const DeviceName *devices, size_t n_devices) {
    char name[DEVICE_NAME_MAX];

    for (size_t i = 0; e->group >= 0 && i < n_groups; i++)
        if (groups[i] == e->group)
            return true;
    for (size_t i = 0; e->group < 0 && i < n_devices; i++)
        if (streq(device_name_format_kernel(&devices[i], name), e->device))
            return true;
    return false;
}

/* Skips duplicates: a process may hold thousands of copies of one file. Its entries are at the end of the
 * list. To stop a process, one file of the claim is enough; there is always room for it, see
 * stop_process(). */
static int walk_note(Walk *w, const HolderEntry *e) {
    const HolderStop *s = w->stop;

    if (s && !file_is_of(e, s->groups, s->n_groups, s->devices, s->n_devices))
        return 0;
    for (size_t i = w->n; i > 0 && w->entries[i - 1].pid == e->pid; i--)
        if (s || (w->entries[i - 1].group == e->group && streq(w->entries[i - 1].device, e->device)))
            return 0;
    if (!s && w->n == HOLDER_ENTRIES_MAX)
        return -E2BIG;
    assert(w->n <= HOLDER_ENTRIES_MAX);
    w->entries[w->n++] = *e;
    return 0;
}

/* Every VFIO device file, from a group or a cdev, has the device's name in fdinfo. */
static bool read_fdinfo(int process, const char *fd_name, HolderEntry *e) {
    _cleanup_free_ char *text = NULL, *path = format_string("fdinfo/%s", fd_name);
    const char *line, *end, *slash;

    if (!path || read_file_at(process, path, 8192, &text, NULL) < 0)
        return false;
    line = strstr(text, "vfio-device-syspath:");
    if (!line)
        return false;
    end = strchrnul(line, '\n');
    slash = memrchr(line, '/', (size_t) (end - line));
    if (!slash || (size_t) (end - slash - 1) >= sizeof(e->device))
        return false;
    (void) snprintf(e->device, sizeof(e->device), "%.*s", (int) (end - slash - 1), slash + 1);
    return true;
}

/* The part of a link in /proc/PID/fd after /dev/vfio/. Files are opened in the daemon's own mount namespace,
 * which ends with the daemon. So the path of a file from before a restart begins at the root of devtmpfs. */
static const char *vfio_node(const char *target) {
    return startswith(target, "/dev/vfio/") ?: startswith(target, "/vfio/");
}

/* A path proves nothing, because in a private mount namespace any file can be at /dev/vfio/8. The device
 * number does. AT_STATX_DONT_SYNC: the file system is not asked, because it may be a FUSE one that never
 * answers. */
static bool is_group_file(int directory, const char *fd_name, const char *group) {
    char path[96], number[24], expected[24];
    struct statx st;

    (void) snprintf(path, sizeof(path), "/sys/class/vfio/%s/dev", group);
    if (read_attribute_at(AT_FDCWD, path, expected, sizeof(expected)) < 0)
        return true; /* the node disappears with the last device, open files remain */
    if (statx(directory, fd_name, AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0)
        return true;
    (void) snprintf(number, sizeof(number), "%u:%u", st.stx_rdev_major, st.stx_rdev_minor);
    return S_ISCHR(st.stx_mode) && streq(number, expected);
}

/* The link to /dev/vhost-vdpa-0 leads below its device: ../../devices/…/vdpa0/vhost-vdpa-0. */
static bool name_vdpa_device(int directory, const char *fd_name, HolderEntry *e) {
    char path[48], link[PATH_MAX], *node, *slash;
    struct statx st;
    ssize_t n;

    if (statx(directory, fd_name, AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0 || !S_ISCHR(st.stx_mode))
        return false;
    (void) snprintf(path, sizeof(path), "/sys/dev/char/%u:%u", st.stx_rdev_major, st.stx_rdev_minor);
    n = readlink(path, link, sizeof(link) - 1);
    if (n < 0)
        return false;
    link[n] = '\0';
    node = strrchr(link, '/');
    if (!node || !startswith(node + 1, device_kind_info(DEVICE_KIND_VDPA)->node_entry))
        return false;
    *node = '\0';
    slash = strrchr(link, '/');
    if (!slash || strlen(slash + 1) >= sizeof(e->device))
        return false;
    (void) snprintf(e->device, sizeof(e->device), "%s", slash + 1);
    return true;
}

static bool is_vdpa_node(const char *target) {
    const char *node = device_kind_info(DEVICE_KIND_VDPA)->node;

    return startswith(target, node) || startswith(target, node + strlen("/dev"));
}

/* Identifies the file. False when no claim can have such a file. */
static bool read_file_entry(
        int process, int directory, const char *fd_name, const char *target, HolderEntry *e) {
    const char *rest = vfio_node(target);
    uint64_t group;

    e->group = -1;
    e->device[0] = '\0';
    if (is_vdpa_node(target)) {
        put_text(e->file, sizeof(e->file), "vhost-vdpa");
        return name_vdpa_device(directory, fd_name, e);
    }
    if (rest && parse_unsigned(rest, 10, INT32_MAX, &group) >= 0) {
        e->group = (int32_t) group;
        put_text(e->file, sizeof(e->file), "group");
        return is_group_file(directory, fd_name, rest);
    }
    put_text(e->file, sizeof(e->file), rest ? "cdev" : "device");
    if (streq(target, "anon_inode:[vfio-device]") || (rest && startswith(rest, "devices/")))
        return read_fdinfo(process, fd_name, e);
    return false;
}

/* directory: of a process or of one of its threads. */
static int walk_files(Walk *w, int directory, HolderEntry *e, bool *ret_any) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *entry;
    int r = 0;

    *ret_any = false;
    if (open_directory_at(directory, "fd", &d) < 0)
        return 0; /* it has ended */
    while (r >= 0 && (entry = readdir(d))) {
        char target[64];
        ssize_t n = readlinkat(dirfd(d), entry->d_name, target, sizeof(target) - 1);

        *ret_any = *ret_any || n > 0;
        /* A target that does not fit is not one of our names. */
        if (n <= 0 || n == (ssize_t) sizeof(target) - 1)
            continue;
        target[n] = '\0';
        if (read_file_entry(directory, dirfd(d), entry->d_name, target, e))
            r = walk_note(w, e);
    }
    return r;
}

/* A process continues when its first thread ends. Then only its other threads show its files. */
static int walk_threads(Walk *w, int process, HolderEntry *e) {
    _cleanup_closedir_ DIR *d = NULL;
    struct dirent *entry;
    bool any = false;
    int r = 0;

    if (open_directory_at(process, "task", &d) < 0)
        return 0; /* it has ended */
    while (r >= 0 && !any && (entry = readdir(d))) {
        _cleanup_close_ int thread = -EBADF;
        uint64_t tid;

        if (parse_unsigned(entry->d_name, 10, INT32_MAX, &tid) < 0 || (int32_t) tid == e->pid)
            continue;
        thread = openat(dirfd(d), entry->d_name, O_DIRECTORY | O_CLOEXEC | O_RDONLY);
        if (thread >= 0)
            r = walk_files(w, thread, e, &any);
    }
    return r;
}

static int walk_process(Walk *w, int process, HolderEntry *e) {
    bool any;
    int r;

    if (read_attribute_at(process, "comm", e->command, sizeof(e->command)) < 0)
        e->command[0] = '\0';
    r = walk_files(w, process, e, &any);
    return r < 0 || any ? r : walk_threads(w, process, e);
}

/* Another worker: a child of the daemon that runs the same program. */
static bool is_worker(int process) {
    char text[512];
    const char *end;
    long parent;

    if (read_attribute_at(process, "stat", text, sizeof(text)) < 0)
        return false;
    end = strrchr(text, ')'); /* the command may contain ')' itself */
    return end && sscanf(end, ") %*c %ld", &parent) == 1 && (pid_t) parent == getppid();
}

/* ---- Stopping ---- */

static int read_cgroup(int process, char **ret) {
    _cleanup_free_ char *text = NULL;
    int r = read_file_at(process, "cgroup", 65536, &text, NULL);

    return r < 0 ? r : cgroup_of_process(text, /* unified= */ true, ret);
}

static bool is_below(const char *path, const char *group) {
    const char *rest = startswith(path, group);

    return rest && (*rest == '\0' || *rest == '/');
}

/* Is it a unit's group? A slice has the processes of many units, and the root has all. */
static bool is_group_of_one(const char *group) {
    const char *last = strrchr(group, '/');
    char slice[UNIT_NAME_SIZE];

    return last && last[1] && !cgroup_is_slice(last + 1, strlen(last + 1), slice);
}

static bool runs_as(int process, uid_t uid) {
    _cleanup_free_ char *status = NULL;
    unsigned real, effective, saved, fs;
    const char *line;

    if (read_file_at(process, "status", 65536, &status, NULL) < 0)
        return false;
    /* The kernel escapes newlines in the name of the program, which comes first. */
    line = strstr(status, "\nUid:\t");
    return line && sscanf(line, "\nUid:\t%u\t%u\t%u\t%u", &real, &effective, &saved, &fs) == 4 &&
            real == uid && effective == uid && saved == uid && fs == uid;
}

static bool is_of_group(const Walk *w, int process) {
    const char *group = w->stop->cgroup;
    _cleanup_free_ char *path = NULL;

    if (!w->own_cgroup || !is_group_of_one(group) || is_below(w->own_cgroup, group))
        return false;
    return read_cgroup(process, &path) >= 0 && is_below(path, group) && !is_below(path, w->own_cgroup);
}

static bool may_stop(const Walk *w, int process, const HolderEntry *e) {
    if (e->pid == 1)
        return false;
    return w->stop->uid != 0 ? runs_as(process, w->stop->uid) : is_of_group(w, process);
}

/* The open /proc directory identifies the process as a pidfd would, and it is the one that was searched. */
static int send_signal(int process, int signal) {
    int r;

    privileges_raise(CAP_KILL);
    r = syscall(SYS_pidfd_send_signal, process, signal, NULL, 0) < 0 ? -errno : 0;
    privileges_raise(CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH);
    return r;
}

/* Processes found when the list is full get the signal too, but are not listed. */
static void stop_process(Walk *w, int process, HolderEntry *e) {
    if (may_stop(w, process, e)) {
        e->error = send_signal(process, w->stop->signal);
        if (e->error >= 0)
            e->signal = w->stop->signal;
    }
    w->n = MIN(w->n, (size_t) HOLDER_ENTRIES_MAX);
}

/* Skips the daemon and its workers, which open files for clients. */
static int walk_all(Walk *w) {
    _cleanup_closedir_ DIR *proc = opendir("/proc");
    struct dirent *entry;
    int r = 0;

    if (!proc)
        return -errno;
    while (r >= 0 && (entry = readdir(proc))) {
        _cleanup_close_ int process = -EBADF;
        HolderEntry e = {};
        uint64_t pid;
        size_t first;

        if (parse_unsigned(entry->d_name, 10, INT32_MAX, &pid) < 0 || (pid_t) pid == getpid() ||
                (pid_t) pid == getppid())
            continue;
        process = openat(dirfd(proc), entry->d_name, O_DIRECTORY | O_CLOEXEC | O_RDONLY);
        if (process < 0)
            continue;
        if (is_worker(process))
            continue;
        e.pid = (int32_t) pid;
        first = w->n;
        r = walk_process(w, process, &e);
        if (w->stop && w->n > first)
            stop_process(w, process, &w->entries[first]);
    }
    return r;
}

static int walk(Walk *w, int *ret_fd) {
    _cleanup_close_ int fd = -EBADF;
    size_t size;
    int r;

    w->entries = calloc(HOLDER_ENTRIES_MAX + 1, sizeof(HolderEntry)); /* one for a process that is not
                                                                       * listed */
    if (!w->entries)
        return -ENOMEM;
    privileges_raise(CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH);
    r = walk_all(w);
    privileges_lower();
    if (r < 0)
        return r;
    fd = make_memfd("holders", /* flags= */ 0);
    if (fd < 0)
        return fd;
    size = w->n * sizeof(HolderEntry);
    if (write(fd, w->entries, size) != (ssize_t) size)
        return -EIO;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int holders_walk(int *ret_fd) {
    _cleanup_(walk_done) Walk w = {};

    return walk(&w, ret_fd);
}

/* If the daemon's own group is unknown, nobody is stopped for root. */
int holders_stop(const HolderStop *stop, int *ret_fd) {
    _cleanup_close_ int self = open("/proc/self", O_DIRECTORY | O_CLOEXEC | O_RDONLY);
    _cleanup_(walk_done) Walk w = {.stop = stop};

    if (self >= 0)
        (void) read_cgroup(self, &w.own_cgroup);
    return walk(&w, ret_fd);
}

/* ---- the daemon's side ---- */

int holders_read(int fd, HolderEntry **ret, size_t *ret_n) {
    _cleanup_free_ HolderEntry *entries = NULL;
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size < 0 || st.st_size % (off_t) sizeof(HolderEntry) != 0 ||
            (size_t) st.st_size > HOLDER_ENTRIES_MAX * sizeof(HolderEntry))
        return -EBADMSG;
    entries = malloc(MAX((size_t) st.st_size, (size_t) 1));
    if (!entries)
        return -ENOMEM;
    if (pread(fd, entries, (size_t) st.st_size, 0) != (ssize_t) st.st_size)
        return -EIO;
    *ret_n = (size_t) st.st_size / sizeof(HolderEntry);
    *ret = TAKE_PTR(entries);
    return 0;
}

bool holder_entry_is_of(const HolderEntry *e, const Claim *c) {
    DeviceName devices[REQUEST_DEVICES_MAX];
    size_t n = MIN(c->plan.n_claimed, ELEMENTSOF(devices));

    for (size_t i = 0; i < n; i++)
        devices[i] = c->plan.members[i].name;
    return file_is_of(e, c->plan.groups, c->plan.n_groups, devices, n);
}
