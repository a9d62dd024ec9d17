/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The kernel's side of a pretended host, as far as system calls go. Loaded by LD_PRELOAD before
 * libumockdev-preload, into the daemon and into whatever it executes.
 *
 * umockdev moves /sys into a directory of plain files and turns the uevent socket into a Unix socket. A plain
 * file has no store() function, though: nothing happens when somebody writes to `bind`. Here such a write is
 * not done at all but told to the fake kernel (tests/integration/fake_kernel.py, over a Unix socket), which
 * changes the tree, announces it, and answers with an errno. The write returns after the answer, because a
 * real one returns after its effects, too. An answer that is held back is a write that hangs.
 *
 * Device nodes are plain files as well. umockdev's emulation of them is tied to the number of a descriptor
 * that open(2) returned: it does not know openat(2), fstat(2), dup(2), nor a descriptor that came through a
 * socket. So nodes are ours: open asks the fake kernel (only one opener of a group, EPERM, ENODEV), stat in
 * all its forms shows a character device with the number in dev/.node/NAME (umockdev's own convention), ioctl
 * is handed over with its argument, and /proc/PID/fdinfo/N of such a file names its device as VFIO's does.
 * rtnetlink of a worker leads to the fake kernel, too (tests/integration/fake_netlink.py).
 * Lifetimes need no emulation: plain files have inotify events and live until their last reference goes.
 *
 * /dev/vfio and /dev/iommu of the real host are never reached from here, present in the testbed or not. */

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/netlink.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

/* The most that a write or an ioctl carries: a page, as in sysfs. */
#define DATA_MAX 4096U

#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))

/* The protocol with fake_kernel.py: one connection, one packet there, one back. */
enum verb {
    VERB_WRITE = 1,
    VERB_OPEN = 2,
    VERB_IOCTL = 3,
    VERB_FDINFO = 4,
    VERB_GIVE = 5, /* request 1: it could not be sent; the message is data; for each fd "NUMBER PATH\n" is in
                      path, "\n" for one of no node */
    VERB_SETXATTR = 6,
    VERB_CLOSE = 7, /* a copy of an open node was closed */
    VERB_READ = 8,  /* of an open device; request: how much, argument: from where on */
};

struct request {
    uint32_t verb;
    uint32_t request; /* of ioctl; flags of open */
    uint64_t argument;
    uint32_t path_size, data_size; /* both follow, no NUL between */
};

struct reply {
    int64_t result;
    int32_t error; /* positive errno or 0 */
    uint32_t data_size;
};

/* The function that would be called without this library: umockdev's if it has one, otherwise libc's. */
#define NEXT(name)                                                                                           \
    ({                                                                                                       \
        static __typeof__(&name) next_;                                                                      \
        if (!next_)                                                                                          \
            next_ = (__typeof__(&name)) dlsym(RTLD_NEXT, #name);                                             \
        next_;                                                                                               \
    })

static const char *root(void) {
    return getenv("UMOCKDEV_DIR");
}

static ssize_t raw_readlink(const char *path, char *buf, size_t size) {
    int saved_errno = errno;
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, path, buf, size - 1);

    errno = saved_errno;
    if (n < 0)
        return -1;
    buf[n] = 0;
    return n;
}

static bool raw_exists(const char *path) {
    struct stat st;
    int saved_errno = errno;
    bool yes = syscall(SYS_newfstatat, AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) == 0;

    errno = saved_errno;
    return yes;
}

/* "/tmp/testbed/sys/x" -> "/sys/x"; NULL when path is outside of the testbed. */
static const char *inside(const char *path) {
    const char *dir = root();
    size_t n = dir ? strlen(dir) : 0;

    if (n == 0 || strncmp(path, dir, n) != 0 || path[n] != '/')
        return NULL;
    return path + n;
}

static bool is_below(const char *path, const char *directory) {
    size_t n = strlen(directory);

    return strncmp(path, directory, n) == 0 && (path[n] == '/' || path[n] == 0);
}

/* The path of an open file as the daemon knows it; NULL when it is not in the testbed. */
static const char *path_of_fd(int fd, char buf[static PATH_MAX]) {
    static const char deleted[] = " (deleted)";
    char link[64];
    ssize_t n;

    if (fd < 0)
        return NULL;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = raw_readlink(link, buf, PATH_MAX);
    if (n < 0)
        return NULL;
    if ((size_t) n >= sizeof(deleted) && strcmp(buf + n - strlen(deleted), deleted) == 0)
        buf[(size_t) n - strlen(deleted)] = 0;
    return inside(buf);
}

static bool is_vfio_path(const char *path) {
    static const char vdpa[] = "/dev/vhost-vdpa-";

    return is_below(path, "/dev/vfio") || strcmp(path, "/dev/iommu") == 0 ||
            strncmp(path, vdpa, strlen(vdpa)) == 0;
}

static bool is_modprobe_path(const char *path) {
    return is_below(path, "/lib/modules") || is_below(path, "/etc/modprobe.d") ||
            is_below(path, "/run/modprobe.d") || is_below(path, "/lib/modprobe.d") ||
            is_below(path, "/usr/lib/modprobe.d") || is_below(path, "/usr/local/lib/modprobe.d");
}

/* The real place of a daemon's path: VFIO nodes, modules and the files of modprobe are always in the testbed,
 * other nodes only if they exist there, and umockdev handles the rest. VFIOD_TEST_ETC is watched instead of
 * /etc. */
static const char *redirect(const char *path, char buf[static PATH_MAX]) {
    if (path && strcmp(path, "/etc") == 0)
        return getenv("VFIOD_TEST_ETC") ?: path;
    if (!path || !root() || (!is_below(path, "/dev") && !is_modprobe_path(path)))
        return path;
    if ((size_t) snprintf(buf, PATH_MAX, "%s%s", root(), path) >= PATH_MAX)
        return path;
    return is_vfio_path(path) || is_modprobe_path(path) || raw_exists(buf) ? buf : path;
}

/* path as openat(2) and friends see it, absolute and without the testbed in front. */
static const char *resolve(int dirfd, const char *path, char buf[static PATH_MAX]) {
    char directory[PATH_MAX], link[64];
    const char *in;

    if (path[0] == '/') {
        in = inside(path);
        return in ?: path;
    }
    if (dirfd == AT_FDCWD)
        snprintf(link, sizeof(link), "/proc/self/cwd");
    else
        snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
    if (raw_readlink(link, directory, sizeof(directory)) < 0)
        return NULL;
    in = inside(directory);
    if ((size_t) snprintf(buf, PATH_MAX, "%s/%s", in ?: directory, path) >= PATH_MAX)
        return NULL;
    return buf;
}

static int connect_to(const char *suffix) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("VFIOD_FAKE_KERNEL");
    int fd;

    if (!path || strlen(path) + strlen(suffix) >= sizeof(address.sun_path))
        return -1;
    strcpy(stpcpy(address.sun_path, path), suffix);
    fd = NEXT(socket)(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int connect_kernel(void) {
    return connect_to("");
}

/* Sends a request and waits for the answer as long as it takes, also through signals, like a task in D state.
 * 0 or a positive errno; the answer is put into data. When the fake kernel has ended, everything fails. */
static int ask_over(
        int fd, struct request head, const char *path, void *data, size_t *data_size, int64_t *ret_result) {
    char packet[sizeof(head) + PATH_MAX + DATA_MAX];
    struct reply reply;
    ssize_t n;

    head.path_size = (uint32_t) strlen(path);
    head.data_size = (uint32_t) *data_size;
    if (fd < 0)
        return EIO;
    if (*data_size > DATA_MAX)
        return EINVAL;
    memcpy(packet, &head, sizeof(head));
    memcpy(packet + sizeof(head), path, head.path_size);
    if (*data_size > 0)
        memcpy(packet + sizeof(head) + head.path_size, data, *data_size);
    n = send(fd, packet, sizeof(head) + head.path_size + head.data_size, MSG_NOSIGNAL);
    if (n >= 0)
        do
            n = recv(fd, packet, sizeof(packet), 0);
        while (n < 0 && errno == EINTR);
    if (n < (ssize_t) sizeof(reply))
        return EIO;
    memcpy(&reply, packet, sizeof(reply));
    if (reply.data_size > DATA_MAX || reply.data_size > (size_t) n - sizeof(reply))
        return EIO;
    memcpy(data, packet + sizeof(reply), reply.data_size);
    *data_size = reply.data_size;
    *ret_result = reply.result;
    return reply.error;
}

static int ask(struct request head, const char *path, void *data, size_t *data_size, int64_t *ret_result) {
    int fd = connect_kernel();
    int error = ask_over(fd, head, path, data, data_size, ret_result);

    if (fd >= 0)
        close(fd);
    return error;
}

/* The offset of the open file is the number of this open: it is the same in every copy, in whatever process,
 * and nobody reads from a node.
 *
 * The kernel is asked first, because an open that fails must not be seen by anybody's inotify watch. The lock
 * on the open file tells the kernel that somebody has it open, until the last reference goes; the kernel
 * tries whether it could have one alone, for a moment. The connection stays until then, so that no second
 * open gets between. */
static int open_node(const char *name, const char *real, int flags) {
    struct request head = {.verb = VERB_OPEN, .request = (uint32_t) flags};
    int connection = connect_kernel(), fd = -1, error;
    char data[DATA_MAX];
    size_t size = 0;
    int64_t result;

    error = ask_over(connection, head, name, data, &size, &result);
    if (error == 0) {
        fd = (int) syscall(SYS_openat, AT_FDCWD, real, flags & ~(O_CREAT | O_TRUNC | O_EXCL), 0);
        error = fd < 0 ? errno : 0;
    }
    if (fd >= 0) {
        while (flock(fd, LOCK_SH) < 0 && errno == EINTR)
            ;
        lseek(fd, result, SEEK_SET);
    }
    if (connection >= 0)
        close(connection);
    if (error != 0)
        errno = error;
    return fd;
}

/* A copy of a process's fdinfo with the line that VFIO adds. */
static int open_fdinfo(const char *real, const char *link) {
    char target[PATH_MAX], text[DATA_MAX];
    struct request head = {.verb = VERB_FDINFO};
    size_t size = 0;
    const char *node;
    int64_t result;
    ssize_t n;
    int in, out;

    if (raw_readlink(link, target, sizeof(target)) < 0)
        return -1;
    node = inside(target);
    if (!node || !is_below(node, "/dev/vfio/devices") || ask(head, node, text, &size, &result) != 0)
        return -1;
    in = (int) syscall(SYS_openat, AT_FDCWD, real, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return -1;
    out = memfd_create("fdinfo", MFD_CLOEXEC);
    if (out >= 0) {
        char buf[1024];

        while ((n = syscall(SYS_read, in, buf, sizeof(buf))) > 0)
            if (syscall(SYS_write, out, buf, (size_t) n) != n)
                break;
        if (syscall(SYS_write, out, text, size) != (ssize_t) size || lseek(out, 0, SEEK_SET) < 0) {
            close(out);
            out = -1;
        }
    }
    close(in);
    return out;
}

/* Opens a path that this library handles. *ret_done: it does. */
static int open_ours(int dirfd, const char *path, int flags, bool *ret_done) {
    char resolved[PATH_MAX], real[PATH_MAX], link[PATH_MAX];
    const char *name, *where;
    int fd, start = 0, end = 0;
    struct stat st;

    *ret_done = false;
    name = root() ? resolve(dirfd, path, resolved) : NULL;
    if (!name)
        return -1;
    if ((sscanf(name, "/proc/%*d/%nfdinfo/%d%n", &start, &fd, &end) == 1 ||
                sscanf(name, "/proc/%*d/task/%*d/%nfdinfo/%d%n", &start, &fd, &end) == 1) &&
            name[end] == 0) {
        snprintf(link, sizeof(link), "%.*sfd/%d", start, name, fd);
        fd = open_fdinfo(name, link);
        *ret_done = fd >= 0;
        return fd;
    }
    if (!is_below(name, "/dev") && strcmp(name, "/etc") != 0 && !is_modprobe_path(name))
        return -1;

    where = redirect(name, real);
    *ret_done = true;
    if (where == real && !is_modprobe_path(name) && !(flags & (O_PATH | O_DIRECTORY)) &&
            syscall(SYS_newfstatat, AT_FDCWD, where, &st, 0) == 0 && S_ISREG(st.st_mode))
        return open_node(name, where, flags);
    return (int) syscall(SYS_openat, AT_FDCWD, where, flags & ~(O_CREAT | O_TRUNC | O_EXCL), 0);
}

/* sysfs neither truncates nor creates, and reading it may sleep. Plain files would do both. A FIFO, which
 * stands for an attribute of a driver that does not answer, would not sleep. */
static int sysfs_flags(int dirfd, const char *path, int flags) {
    char resolved[PATH_MAX];
    const char *name;

    if (!root() || !(flags & (O_CREAT | O_TRUNC | O_NONBLOCK)))
        return flags;
    name = resolve(dirfd, path, resolved);
    return name && is_below(name, "/sys") ? flags & ~(O_CREAT | O_TRUNC | O_EXCL | O_NONBLOCK) : flags;
}

static int open_any(int dirfd, const char *path, int flags, mode_t mode) {
    bool done;
    int fd = open_ours(dirfd, path, flags, &done);

    if (done)
        return fd;
    flags = sysfs_flags(dirfd, path, flags);
    if (path[0] == '/')
        return NEXT(open)(path, flags, mode);
    return NEXT(openat)(dirfd, path, flags, mode);
}

static mode_t take_mode(int flags, va_list arguments) {
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t) : 0;
}

#define WRAP_OPEN(name)                                                                                      \
    int name(const char *path, int flags, ...) {                                                             \
        va_list arguments;                                                                                   \
        mode_t mode;                                                                                         \
                                                                                                             \
        va_start(arguments, flags);                                                                          \
        mode = take_mode(flags, arguments);                                                                  \
        va_end(arguments);                                                                                   \
        return open_any(AT_FDCWD, path, flags, mode);                                                        \
    }
WRAP_OPEN(open)
WRAP_OPEN(open64)

#define WRAP_OPENAT(name)                                                                                    \
    int name(int dirfd, const char *path, int flags, ...) {                                                  \
        va_list arguments;                                                                                   \
        mode_t mode;                                                                                         \
                                                                                                             \
        va_start(arguments, flags);                                                                          \
        mode = take_mode(flags, arguments);                                                                  \
        va_end(arguments);                                                                                   \
        return open_any(dirfd, path, flags, mode);                                                           \
    }
WRAP_OPENAT(openat)
WRAP_OPENAT(openat64)

/* _FORTIFY_SOURCE replaces calls by these; umockdev has only some of them. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dirfd, const char *path, int flags);
int __openat64_2(int dirfd, const char *path, int flags);

int __open_2(const char *path, int flags) {
    return open_any(AT_FDCWD, path, flags, 0);
}
int __open64_2(const char *path, int flags) {
    return open_any(AT_FDCWD, path, flags, 0);
}
int __openat_2(int dirfd, const char *path, int flags) {
    return open_any(dirfd, path, flags, 0);
}
int __openat64_2(int dirfd, const char *path, int flags) {
    return open_any(dirfd, path, flags, 0);
}

FILE *fopen(const char *path, const char *mode) {
    char buf[PATH_MAX];

    return NEXT(fopen)(is_modprobe_path(path) ? redirect(path, buf) : path, mode);
}

DIR *opendir(const char *path) {
    char buf[PATH_MAX];

    return NEXT(opendir)(redirect(path, buf));
}

int access(const char *path, int mode) {
    char buf[PATH_MAX];

    return NEXT(access)(redirect(path, buf), mode);
}

/* umockdev has no faccessat: absolute paths below /sys would slip through. */
int faccessat(int dirfd, const char *path, int mode, int flags) {
    char buf[PATH_MAX];

    if (root() && is_below(path, "/sys") && snprintf(buf, sizeof(buf), "%s%s", root(), path) < PATH_MAX)
        path = buf;
    else
        path = redirect(path, buf);
    return NEXT(faccessat)(dirfd, path, mode, flags);
}

int inotify_add_watch(int fd, const char *path, uint32_t mask) {
    char buf[PATH_MAX];

    return NEXT(inotify_add_watch)(fd, redirect(path, buf), mask);
}

/* The file system of the testbed keeps the lists of nodes as devtmpfs does. The fake kernel is only asked
 * whether the call shall fail, or when it shall happen. */
int setxattr(const char *path, const char *name, const void *value, size_t size, int flags) {
    struct request head = {.verb = VERB_SETXATTR};
    char buf[PATH_MAX], data[DATA_MAX];
    size_t data_size = 0;
    int64_t result;
    int fd, error;

    if (root() && sscanf(path, "/proc/self/fd/%d", &fd) == 1 && path_of_fd(fd, buf)) {
        error = ask(head, path_of_fd(fd, buf), data, &data_size, &result);
        if (error != 0) {
            errno = error;
            return -1;
        }
    }
    return (int) syscall(SYS_setxattr, path, name, value, size, flags);
}

ssize_t lgetxattr(const char *path, const char *name, void *value, size_t size) {
    char buf[PATH_MAX];

    return NEXT(lgetxattr)(redirect(path, buf), name, value, size);
}

/* Links in /proc/PID/fd must not reveal the place of the testbed. */
static ssize_t hide_root(char *buf, ssize_t n) {
    const char *dir = root();
    size_t skip = dir ? strlen(dir) : 0;

    if (skip == 0 || n <= (ssize_t) skip || memcmp(buf, dir, skip) != 0 || buf[skip] != '/')
        return n;
    memmove(buf, buf + skip, (size_t) n - skip);
    return n - (ssize_t) skip;
}

ssize_t readlink(const char *path, char *buf, size_t size) {
    char moved[PATH_MAX];

    return hide_root(buf, NEXT(readlink)(redirect(path, moved), buf, size));
}

ssize_t readlinkat(int dirfd, const char *path, char *buf, size_t size) {
    char moved[PATH_MAX];

    return hide_root(buf, NEXT(readlinkat)(dirfd, redirect(path, moved), buf, size));
}

ssize_t __readlink_chk(const char *path, char *buf, size_t size, size_t buf_size);
ssize_t __readlink_chk(const char *path, char *buf, size_t size, size_t buf_size) {
    return readlink(path, buf, size);
}
ssize_t __readlinkat_chk(int dirfd, const char *path, char *buf, size_t size, size_t buf_size);
ssize_t __readlinkat_chk(int dirfd, const char *path, char *buf, size_t size, size_t buf_size) {
    return readlinkat(dirfd, path, buf, size);
}

/* The device number of a node by its name below the testbed; false for anything that is no node of ours. */
static bool node_number(const char *path, mode_t mode, unsigned *ret_major, unsigned *ret_minor) {
    char link[PATH_MAX], text[64];
    size_t skip;

    if (!path || !S_ISREG(mode) || !is_below(path, "/dev") || path[4] != '/')
        return false;
    if ((size_t) snprintf(link, sizeof(link), "%s/dev/.node/%s", root(), path + 5) >= sizeof(link))
        return false;
    skip = strlen(root()) + strlen("/dev/.node/");
    for (char *p = link + skip; *p; p++)
        if (*p == '/')
            *p = '_';
    return raw_readlink(link, text, sizeof(text)) > 0 && sscanf(text, "%u:%u", ret_major, ret_minor) == 2;
}

/* umockdev's convention: the sticky bit makes a disk of it. */
static mode_t node_mode(mode_t mode) {
    mode_t type = mode & S_ISVTX ? S_IFBLK : S_IFCHR;

    return type | (mode & ~(mode_t) (S_IFMT | S_ISVTX));
}

static int adjust_stat(int r, const char *path, struct stat *st) {
    unsigned major_number, minor_number;

    if (r == 0 && node_number(path, st->st_mode, &major_number, &minor_number)) {
        st->st_mode = node_mode(st->st_mode);
        st->st_rdev = makedev(major_number, minor_number);
        st->st_size = 0;
    }
    return r;
}

/* The object of a stat call with a directory: the directory itself when the path is empty, or the open file
 * when the path is a descriptor in /proc. */
static const char *stat_target(int dirfd, const char *path, char buf[static PATH_MAX]) {
    char link[PATH_MAX];
    const char *name;
    int pid, fd, end = 0;

    if (!root())
        return NULL;
    if (!path || path[0] == 0)
        return path_of_fd(dirfd, buf);
    name = resolve(dirfd, path, buf);
    if (!name || sscanf(name, "/proc/%d/fd/%d%n", &pid, &fd, &end) != 2 || name[end] != 0)
        return name;
    snprintf(link, sizeof(link), "%s", name);
    return raw_readlink(link, buf, PATH_MAX) > 0 ? inside(buf) : NULL;
}

/* struct stat and struct stat64 are the same on the 64-bit machines that VFIO supports. */
_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "64-bit only");

#define WRAP_STAT(name, type)                                                                                \
    int name(const char *restrict path, struct type *restrict st) {                                          \
        char buf[PATH_MAX], resolved[PATH_MAX];                                                              \
                                                                                                             \
        return adjust_stat(NEXT(name)(redirect(path, buf), st), stat_target(AT_FDCWD, path, resolved),       \
                (struct stat *) st);                                                                         \
    }
WRAP_STAT(stat, stat)
WRAP_STAT(stat64, stat64)
WRAP_STAT(lstat, stat)
WRAP_STAT(lstat64, stat64)

#define WRAP_FSTAT(name, type)                                                                               \
    int name(int fd, struct type *st) {                                                                      \
        char buf[PATH_MAX];                                                                                  \
                                                                                                             \
        return adjust_stat(NEXT(name)(fd, st), path_of_fd(fd, buf), (struct stat *) st);                     \
    }
WRAP_FSTAT(fstat, stat)
WRAP_FSTAT(fstat64, stat64)

#define WRAP_FSTATAT(name, type)                                                                             \
    int name(int dirfd, const char *restrict path, struct type *restrict st, int flags) {                    \
        char buf[PATH_MAX], resolved[PATH_MAX];                                                              \
                                                                                                             \
        return adjust_stat(NEXT(name)(dirfd, redirect(path, buf), st, flags),                                \
                stat_target(dirfd, path, resolved), (struct stat *) st);                                     \
    }
WRAP_FSTATAT(fstatat, stat)
WRAP_FSTATAT(fstatat64, stat64)

int statx(int dirfd, const char *restrict path, int flags, unsigned mask, struct statx *restrict st) {
    char buf[PATH_MAX], resolved[PATH_MAX];
    unsigned major_number, minor_number;
    int r = NEXT(statx)(dirfd, redirect(path, buf), flags, mask, st);

    if (r == 0 &&
            node_number(stat_target(dirfd, path, resolved), st->stx_mode, &major_number, &minor_number)) {
        st->stx_mode = (uint16_t) node_mode(st->stx_mode);
        st->stx_rdev_major = major_number;
        st->stx_rdev_minor = minor_number;
        st->stx_size = 0;
    }
    return r;
}

/* umockdev reports sysfs for everything below /sys. A test may put a symbolic link to the host's control
 * groups there; those keep their own type. */
#define WRAP_STATFS(name, type)                                                                              \
    int name(const char *path, struct type *st) {                                                            \
        char buf[PATH_MAX];                                                                                  \
                                                                                                             \
        if (!root() || !is_below(path, "/sys/fs/cgroup") ||                                                  \
                snprintf(buf, sizeof(buf), "%s%s", root(), path) >= PATH_MAX)                                \
            return NEXT(name)(path, st);                                                                     \
        return (int) syscall(SYS_statfs, buf, st);                                                           \
    }
WRAP_STATFS(statfs, statfs)
WRAP_STATFS(statfs64, statfs64)

ssize_t write(int fd, const void *data, size_t size) {
    struct request head = {.verb = VERB_WRITE};
    char buf[PATH_MAX], copy[DATA_MAX];
    const char *path = root() ? path_of_fd(fd, buf) : NULL;
    size_t copy_size = size;
    int64_t result;
    int error;

    if (!path || !is_below(path, "/sys"))
        return NEXT(write)(fd, data, size);
    if (size == 0) /* the kernel's store() is not called for this */
        return 0;
    if (size > sizeof(copy))
        copy_size = sizeof(copy);
    memcpy(copy, data, copy_size);
    error = ask(head, path, copy, &copy_size, &result);
    if (error != 0) {
        errno = error;
        return -1;
    }
    return (ssize_t) result;
}

/* A device's file: its regions, of which only the config space is read. */
static ssize_t read_at(int fd, void *data, size_t size, off_t offset, bool *ret_done) {
    struct request head = {
            .verb = VERB_READ, .request = (uint32_t) MIN_OF(size, DATA_MAX), .argument = (uint64_t) offset};
    char buf[PATH_MAX], answer[DATA_MAX];
    const char *path = root() ? path_of_fd(fd, buf) : NULL;
    size_t n = 0;
    int64_t result;

    *ret_done = path && is_vfio_path(path);
    if (!*ret_done)
        return -1;
    errno = ask(head, path, answer, &n, &result);
    if (errno != 0)
        return -1;
    memcpy(data, answer, MIN_OF(n, size));
    return (ssize_t) MIN_OF(n, size);
}

#define WRAP_PREAD(name)                                                                                     \
    ssize_t name(int fd, void *data, size_t size, off_t offset) {                                            \
        bool done;                                                                                           \
        ssize_t n = read_at(fd, data, size, offset, &done);                                                  \
                                                                                                             \
        return done ? n : NEXT(name)(fd, data, size, offset);                                                \
    }
WRAP_PREAD(pread)
WRAP_PREAD(pread64)

#define WRAP_PREAD_CHECKED(name, plain)                                                                      \
    ssize_t name(int fd, void *data, size_t size, off_t offset, size_t room);                                \
    ssize_t name(int fd, void *data, size_t size, off_t offset, size_t room) {                               \
        return plain(fd, data, size, offset);                                                                \
    }
WRAP_PREAD_CHECKED(__pread_chk, pread)
WRAP_PREAD_CHECKED(__pread64_chk, pread64)

#define VFIO_GROUP_GET_DEVICE_FD_REQUEST 0x3b6aUL

/* How much of the argument the kernel would copy. Both families number below type ';'. */
static size_t ioctl_data_size(unsigned long request, const void *argument) {
    enum {
        VFIO_GET_API_VERSION = 0x3b64,
        VFIO_CHECK_EXTENSION,
        VFIO_SET_IOMMU,
        VFIO_GROUP_GET_STATUS,
        VFIO_GROUP_SET_CONTAINER,
        VFIO_GROUP_UNSET_CONTAINER,
        VFIO_GROUP_GET_DEVICE_FD,
        VHOST_VDPA_GET_DEVICE_ID = 0x8004af70,
    };
    uint32_t size;

    switch (request) {
    case VFIO_GET_API_VERSION:
    case VFIO_CHECK_EXTENSION:
    case VFIO_SET_IOMMU:
    case VFIO_GROUP_UNSET_CONTAINER:
        return 0;
    case VFIO_GROUP_SET_CONTAINER:
        return sizeof(int32_t);
    case VFIO_GROUP_GET_DEVICE_FD:
        return strnlen(argument, 64);
    case VHOST_VDPA_GET_DEVICE_ID:
        return sizeof(uint32_t);
    default: /* a structure that begins with its own size */
        if (!argument || (request & ~0xffUL) != 0x3b00)
            return 0;
        memcpy(&size, argument, sizeof(size));
        return size <= 1024 ? size : 0;
    }
}

/* Data to which these two structures point is sent after them, both ways. */
static size_t ioctl_pointed_at(unsigned long request, const void *structure, void **ret) {
    enum {
        IOMMU_IOAS_IOVA_RANGES = 0x3b84,
        IOMMU_GET_HW_INFO = 0x3b8a,
    };
    uint64_t address;
    uint32_t size;

    if (request != IOMMU_IOAS_IOVA_RANGES && request != IOMMU_GET_HW_INFO)
        return 0;
    memcpy(&size, (const char *) structure + (request == IOMMU_IOAS_IOVA_RANGES ? 8 : 12), sizeof(size));
    memcpy(&address, (const char *) structure + 16, sizeof(address));
    size *= request == IOMMU_IOAS_IOVA_RANGES ? 16 : 1;
    *ret = (void *) (uintptr_t) address;
    return size <= 1024 ? size : 0;
}

/* A device's file keeps its group's open, as the kernel's does: here they are the same file. With an iommufd
 * as the container it does not: the answer names a file of its own. */
static int open_group_device(int group, const char *name, size_t size) {
    char path[PATH_MAX], real[PATH_MAX];

    if (size == 0)
        return fcntl(group, F_DUPFD_CLOEXEC, 0);
    snprintf(path, sizeof(path), "%.*s", (int) size, name);
    return open_node(path, redirect(path, real), O_RDWR | O_CLOEXEC);
}

int ioctl(int fd, unsigned long request, ...) {
    char buf[PATH_MAX], data[DATA_MAX];
    struct request head = {.verb = VERB_IOCTL, .request = (uint32_t) request};
    const char *path = root() ? path_of_fd(fd, buf) : NULL;
    size_t size, room, n_pointed = 0;
    va_list arguments;
    void *argument, *pointed;
    int64_t result;
    int error;

    va_start(arguments, request);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    if (!path || !is_vfio_path(path))
        return NEXT(ioctl)(fd, request, argument);

    head.argument = (uint64_t) (uintptr_t) argument;
    room = size = ioctl_data_size(request & 0xffffffffUL, argument);
    if (size > 0) {
        memcpy(data, argument, size);
        n_pointed = ioctl_pointed_at(request & 0xffffffffUL, argument, &pointed);
        if (n_pointed > 0)
            memcpy(data + size, pointed, n_pointed);
        size += n_pointed;
    }
    error = ask(head, path, data, &size, &result);
    if (error != 0) {
        errno = error;
        return -1;
    }
    if ((request & 0xffffffffUL) == VFIO_GROUP_GET_DEVICE_FD_REQUEST)
        return open_group_device(fd, data, size);
    if (size > 0 && size <= room + n_pointed)
        memcpy(argument, data, MIN_OF(size, room));
    if (n_pointed > 0 && size == room + n_pointed)
        memcpy(pointed, data + room, n_pointed);
    return (int) result;
}

/* Counts descriptors: only open ones are closed, and no VFIO nodes are left open when the daemon ends by
 * itself. A number that is closed twice may belong to another file by then. */
static void report(const char *what, int fd) {
    char line[128];
    int n = snprintf(line, sizeof(line), "fd-ledger: %s: %d\n", what, fd);

    syscall(SYS_write, STDERR_FILENO, line, (size_t) n);
}

int close(int fd) {
    char buf[PATH_MAX], data[DATA_MAX];
    const char *path = root() ? path_of_fd(fd, buf) : NULL;
    size_t size = 0;
    int64_t result;
    int r = NEXT(close)(fd);

    if (r >= 0 && path && is_vfio_path(path))
        (void) ask((struct request){.verb = VERB_CLOSE}, path, data, &size, &result);
    if (r < 0 && fd >= 0 && errno == EBADF) {
        report("closed twice", fd);
        errno = EBADF;
    }
    return r;
}

/* Nodes leave the daemon by messages only, and the kernel looks at each: which claim is it for, and was this
 * file opened for it? A worker gives what it has opened to the daemon. */
static bool is_worker(void) {
    char name[16] = "";

    return prctl(PR_GET_NAME, name) == 0 && strcmp(name, "vfiod-worker") == 0;
}

static size_t describe_fd(int fd, char *to, size_t size, bool *any) {
    char buf[PATH_MAX];
    const char *path = path_of_fd(fd, buf);
    int n;

    if (!path || !is_vfio_path(path))
        n = snprintf(to, size, "\n");
    else {
        *any = true;
        n = snprintf(to, size, "%lld %s\n", (long long) lseek(fd, 0, SEEK_CUR), path);
    }
    return n < 0 || (size_t) n >= size ? 0 : (size_t) n;
}

/* Before the message is sent: afterwards the client has the fd, and the device may be another one. */
static void tell_given(const struct msghdr *m, bool taken_back) {
    char paths[PATH_MAX] = "", data[DATA_MAX];
    size_t n = 0, size = 0;
    bool any = false;
    int64_t result;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR((struct msghdr *) m, c)) {
        size_t n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < n_fds; i++)
            n += describe_fd(
                    ((const int *) (const void *) CMSG_DATA(c))[i], paths + n, sizeof(paths) - n, &any);
    }
    if (!any)
        return;
    for (size_t i = 0; i < m->msg_iovlen && size < sizeof(data); i++) {
        size_t part = MIN_OF(m->msg_iov[i].iov_len, sizeof(data) - size);

        memcpy(data + size, m->msg_iov[i].iov_base, part);
        size += part;
    }
    (void) ask((struct request){.verb = VERB_GIVE, .request = taken_back}, paths, data, &size, &result);
}

/* What it sends there is answered at once, as by the kernel. */
int socket(int domain, int type, int protocol) {
    if (domain == AF_NETLINK && protocol == NETLINK_ROUTE && root() && is_worker())
        return connect_to(".netlink");
    return NEXT(socket)(domain, type, protocol);
}

/* Orders use sockets of another type: fds in them do not leave vfiod. */
static bool is_order(int fd) {
    int type = 0;
    socklen_t size = sizeof(type);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    bool tell = message->msg_controllen > 0 && root() && !is_worker() && !is_order(fd);
    int saved_errno;
    ssize_t n;

    if (tell)
        tell_given(message, /* taken_back= */ false);
    n = NEXT(sendmsg)(fd, message, flags);
    saved_errno = errno;
    if (tell && n <= 0)
        tell_given(message, /* taken_back= */ true);
    errno = saved_errno;
    return n;
}

/* A worker may keep a copy, to close it last. */
__attribute__((destructor)) static void check_ledger(void) {
    char buf[PATH_MAX];
    const char *path;

    if (is_worker())
        return;
    for (int fd = 0; root() && fd < 1024; fd++) {
        path = path_of_fd(fd, buf);
        if (path && is_vfio_path(path))
            report("left open", fd);
    }
}

/* Of libudev: there is no database, the properties of a device are in its uevent file, and udev has always
 * been there. */
struct udev_device;
int udev_device_get_is_initialized(struct udev_device *device);
int udev_device_get_is_initialized(struct udev_device *device) {
    return 1;
}

/* --- accounts --- */

/* VFIOD_TEST_ACCOUNTS names a file like /etc/passwd, in front of the users of this host: the directory of a
 * pretended network. Where it is a FIFO, the directory hangs. */
int getpwnam_r(const char *name, struct passwd *user, char *buffer, size_t size, struct passwd **ret) {
    const char *path = getenv("VFIOD_TEST_ACCOUNTS");
    FILE *f = path ? NEXT(fopen)(path, "re") : NULL;

    while (f && fgetpwent_r(f, user, buffer, size, ret) == 0)
        if (strcmp(user->pw_name, name) == 0) {
            (void) fclose(f);
            return 0;
        }
    if (f)
        (void) fclose(f);
    return NEXT(getpwnam_r)(name, user, buffer, size, ret);
}
