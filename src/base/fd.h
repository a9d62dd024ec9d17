/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* File descriptors as owned values, and the small reads and writes that sysfs, procfs and /run need. An
 * empty variable holds -EBADF, never 0 or -1, so that a leaked value names its own error. */

#include <dirent.h>
#include <sys/types.h>

#include "base/macro.h"

/* Closes fd when it is one and returns -EBADF; errno is preserved. close() is not retried on EINTR: Linux
 * has freed the number by then, and a retry may hit a stranger's file. */
int safe_close(int fd);

static inline void closep(int *fd) {
    *fd = safe_close(*fd);
}
#define _cleanup_close_ _cleanup_(closep)

static inline void closedirp(DIR **d) {
    if (*d)
        (void) closedir(*d);
}
#define _cleanup_closedir_ _cleanup_(closedirp)

/* Opens the directory name (relative to at) for reading. 0 or negative errno. */
int open_directory_at(int at, const char *name, DIR **ret);

/* Reads a sysfs-like attribute relative to dirfd (or AT_FDCWD) into buf, always NUL-terminated, trailing
 * newlines cut. One read: the kernel gives an attribute whole. Returns the length, -E2BIG when it does not
 * fit, -EBADMSG for an embedded NUL, or a negative errno from open/read. */
ssize_t read_attribute_at(int dirfd, const char *name, char *buf, size_t size);
/* The same of an open file, from its beginning: as often as one likes. */
ssize_t read_attribute(int fd, char *buf, size_t size);

/* Writes value in ONE write(2) (sysfs stores act per write). Returns 0 or the negative errno of open or
 * write; a short write is -EIO. May sleep as long as the kernel likes: callers in the main loop must not
 * use it on attributes that bind, unbind or reset. */
int write_attribute_at(int dirfd, const char *name, const char *value);

/* The last path component of the symbolic link name, e.g. the driver behind "driver". Returns its length,
 * -ENOENT when there is no link, -E2BIG when it does not fit. */
ssize_t read_link_basename_at(int dirfd, const char *name, char *buf, size_t size);

/* Replaces name in dirfd by data: temporary file, write, rename. After a crash the old or the new content is
 * there, never a part. mode is that of the new file. No fsync: meant for tmpfs under /run. */
int write_file_atomic_at(int dirfd, const char *name, const void *data, size_t size, mode_t mode);

/* Reads a whole file of at most max bytes; *ret is NUL-terminated (ret_size does not count that) and owned
 * by the caller. -E2BIG when larger, -EISDIR/-EINVAL when not a regular file. */
int read_file_at(int dirfd, const char *name, size_t max, char **ret, size_t *ret_size);
/* The same for a file that is open already, from its place on: for a caller that looks at its owner first. */
int read_file(int fd, size_t max, char **ret, size_t *ret_size);
