/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/fd.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

int safe_close(int fd) {
    int saved = errno;

    if (fd >= 0)
        (void) close(fd);
    errno = saved;
    return -EBADF;
}

int make_memfd(const char *name, unsigned flags) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL | flags);

    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = memfd_create(name, MFD_CLOEXEC | flags);
    return fd < 0 ? -errno : fd;
}

int open_directory_at(int at, const char *name, DIR **ret) {
    _cleanup_close_ int fd = -EBADF;
    DIR *d;

    fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    d = fdopendir(fd);
    if (!d)
        return -errno;
    (void) TAKE_FD(fd);
    *ret = d;
    return 0;
}

/* Reads until size bytes or the end. sysfs gives a whole attribute in one read, /proc does not. */
static ssize_t read_full(int fd, char *buf, size_t size) {
    size_t n = 0;

    while (n < size) {
        ssize_t k = read(fd, buf + n, size - n);

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -errno;
        if (k == 0)
            break;
        n += (size_t) k;
    }
    return (ssize_t) n;
}

ssize_t read_attribute(int fd, char *buf, size_t size) {
    ssize_t n;

    assert(size > 0);
    do
        n = pread(fd, buf, size, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if ((size_t) n == size)
        return -E2BIG;
    while (n > 0 && buf[n - 1] == '\n')
        n--;
    buf[n] = '\0';
    if (strlen(buf) != (size_t) n)
        return -EBADMSG;
    return n;
}

ssize_t read_attribute_at(int dirfd, const char *name, char *buf, size_t size) {
    _cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    return fd < 0 ? -errno : read_attribute(fd, buf, size);
}

int write_attribute_at(int dirfd, const char *name, const char *value) {
    _cleanup_close_ int fd = -EBADF;
    ssize_t n;

    fd = openat(dirfd, name, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    /* No retry on EINTR: a store that was interrupted may have acted already. */
    n = write(fd, value, strlen(value));
    if (n < 0)
        return -errno;
    return (size_t) n == strlen(value) ? 0 : -EIO;
}

ssize_t read_link_basename_at(int dirfd, const char *name, char *buf, size_t size) {
    char target[4096];
    const char *base;
    ssize_t n;

    n = readlinkat(dirfd, name, target, sizeof(target));
    if (n < 0)
        return -errno;
    if ((size_t) n == sizeof(target))
        return -E2BIG;
    target[n] = '\0';
    base = strrchr(target, '/');
    base = base ? base + 1 : target;
    if (strlen(base) >= size)
        return -E2BIG;
    strcpy(buf, base);
    return (ssize_t) strlen(buf);
}

static int write_full(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t k = write(fd, data, size);

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -errno;
        data += k;
        size -= (size_t) k;
    }
    return 0;
}

int write_file_atomic_at(int dirfd, const char *name, const void *data, size_t size, mode_t mode) {
    _cleanup_free_ char *temporary = NULL;
    _cleanup_close_ int fd = -EBADF;
    int r;

    /* Only the daemon writes to this directory, so a fixed name is enough and reuses what a crash left
     * over. */
    temporary = format_string(".#%s", name);
    if (!temporary)
        return -ENOMEM;
    fd = openat(dirfd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return -errno;
    r = write_full(fd, data, size);
    if (r >= 0 && renameat(dirfd, temporary, dirfd, name) < 0)
        r = -errno;
    if (r < 0)
        (void) unlinkat(dirfd, temporary, 0);
    return r;
}

int read_file(int fd, size_t max, char **ret, size_t *ret_size) {
    _cleanup_free_ char *text = NULL;
    size_t allocated;
    struct stat st;
    ssize_t n;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    /* procfs and sysfs report no size. One byte more than max shows that a file is too large. */
    allocated = st.st_size > 0 && (size_t) st.st_size <= max ? (size_t) st.st_size + 1 : max + 1;
    text = malloc(allocated + 1);
    if (!text)
        return -ENOMEM;
    n = read_full(fd, text, allocated);
    if (n < 0)
        return (int) n;
    if ((size_t) n > max)
        return -E2BIG;
    text[n] = '\0';
    if (ret_size)
        *ret_size = (size_t) n;
    *ret = TAKE_PTR(text);
    return 0;
}

int read_file_at(int dirfd, const char *name, size_t max, char **ret, size_t *ret_size) {
    _cleanup_close_ int fd = -EBADF;

    fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    return read_file(fd, max, ret, ret_size);
}
