/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* File descriptors as owned values, and the small reads and writes that sysfs, procfs and /run need. An
 * empty variable holds -EBADF, never 0 or -1, so that a leaked value names its own error. */

#include <dirent.h>
#include <sys/types.h>

#include "base/macro.h"

/* Closes fd unless it is negative, and returns -EBADF. errno is preserved. close() is not retried on EINTR:
 * Linux has freed the number by then, and a retry could close a file that was opened meanwhile. */
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

/* A memfd, which nobody can run: the kernel may refuse to make any other (vm.memfd_noexec=2). flags: more
 * than MFD_CLOEXEC. The fd or negative errno. */
int make_memfd(const char *name, unsigned flags);

/* Opens the directory name (relative to at) for reading. 0 or negative errno. */
int open_directory_at(int at, const char *name, DIR **ret);

/* Reads a sysfs-like attribute relative to dirfd (or AT_FDCWD) into buf, always NUL-terminated, trailing
 * newlines cut. One read() is enough, because the kernel returns an attribute whole. Returns the length,
 * -E2BIG when it does not fit, -EBADMSG for an embedded NUL, or the negative errno of open or read. */
ssize_t read_attribute_at(int dirfd, const char *name, char *buf, size_t size);
/* The same for an open file, from its beginning. It can be called repeatedly. */
ssize_t read_attribute(int fd, char *buf, size_t size);

/* Writes value with one write(2), because sysfs acts on each write. Returns 0 or the negative errno of open
 * or write; a short write is -EIO. The call can sleep in the kernel without limit: the main loop must not use
 * it for attributes that bind, unbind or reset. */
int write_attribute_at(int dirfd, const char *name, const char *value);

/* Reads the last path component of the symbolic link name, for example the driver that "driver" points to.
 * Returns its length, -ENOENT when there is no link, -E2BIG when it does not fit. */
ssize_t read_link_basename_at(int dirfd, const char *name, char *buf, size_t size);

/* Replaces name in dirfd by data: temporary file, write, rename. After a crash either the old or the new
 * content is there, never a part. mode is that of the new file. There is no fsync: it is meant for tmpfs
 * under /run. 0 or negative errno. */
int write_file_atomic_at(int dirfd, const char *name, const void *data, size_t size, mode_t mode);

/* Reads a whole file of at most max bytes. *ret is owned by the caller and NUL-terminated (ret_size does not
 * count the NUL). 0; -E2BIG when it is larger; -EISDIR or -EINVAL when it is not a regular file; or another
 * negative errno. */
int read_file_at(int dirfd, const char *name, size_t max, char **ret, size_t *ret_size);
/* The same for a file that is already open, from its current position. For a caller that checks the owner
 * first. */
int read_file(int fd, size_t max, char **ret, size_t *ret_size);
