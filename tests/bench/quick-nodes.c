/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* VFIO nodes that cost what nodes cost. The integration tests' nodes are answered by another process, message
 * by message, which is more than all that is measured here. Loaded before fake-kernel, for the daemon and for
 * the client alike: an open of a VFIO node is one system call on the plain file that stands for it, and the
 * one ioctl that the broker itself makes succeeds at once. All the rest (stat, inotify, sysfs) goes to the
 * preloads behind. */

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define IOMMU_OPTION 0x3b87UL

#define NEXT(name)                                                                                           \
    ({                                                                                                       \
        static __typeof__(&name) next_;                                                                      \
        if (!next_)                                                                                          \
            next_ = (__typeof__(&name)) dlsym(RTLD_NEXT, #name);                                             \
        next_;                                                                                               \
    })

int open(const char *path, int flags, ...);
int open64(const char *path, int flags, ...);
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int ioctl(int fd, unsigned long request, ...);

static int open_any(const char *path, int flags, mode_t mode) {
    const char *root = getenv("UMOCKDEV_DIR");
    char real[PATH_MAX];

    if (root && (strcmp(path, "/dev/iommu") == 0 || strncmp(path, "/dev/vfio/", 10) == 0) &&
            (size_t) snprintf(real, sizeof(real), "%s%s", root, path) < sizeof(real))
        return (int) syscall(SYS_openat, AT_FDCWD, real, flags, 0);
    return NEXT(open)(path, flags, mode);
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
        return open_any(path, flags, mode);                                                                  \
    }
WRAP_OPEN(open)
WRAP_OPEN(open64)

/* What _FORTIFY_SOURCE makes of them. */
int __open_2(const char *path, int flags) {
    return open_any(path, flags, 0);
}
int __open64_2(const char *path, int flags) {
    return open_any(path, flags, 0);
}

int ioctl(int fd, unsigned long request, ...) {
    va_list arguments;
    void *argument;

    va_start(arguments, request);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    return (request & 0xffffffffUL) == IOMMU_OPTION ? 0 : NEXT(ioctl)(fd, request, argument);
}
