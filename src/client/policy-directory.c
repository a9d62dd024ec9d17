/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/policy-directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

static int make_directory(const char *path) {
    return mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

static int make_with_parent(const char *path) {
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *parent = strndup(path, slash ? (size_t) (slash - path) : 0);
    int r = parent ? 0 : -ENOMEM;

    if (r >= 0 && *parent)
        r = make_directory(parent);
    return r < 0 ? r : make_directory(path);
}

int policy_directory_open(const char *path, bool make, int *ret_fd, VfiodErrorText *error) {
    _cleanup_close_ int fd = -EBADF;
    mode_t mask = umask(0022);
    int r = make ? make_with_parent(path) : 0;

    (void) umask(mask);
    if (r >= 0) {
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        /* Not faccessat(2), which checks the real user when the process has other rights. */
        r = fd < 0 || access(path, W_OK) < 0 ? -errno : 0;
    }
    if (r == -EACCES || r == -EPERM)
        return error_text_set(error, -r, ERROR_NAME_FAILED, "%s: cannot write there: %s. Run this as root.",
                path, strerrordesc_np(-r));
    if (r < 0)
        return error_text_set(error, -r, ERROR_NAME_FAILED, "%s: %s", path, strerrordesc_np(-r));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK
                ? error_text_set(error, EBUSY, ERROR_NAME_FAILED,
                          "%s: another vfioctl is changing the policy. Wait until it has ended.", path)
                : error_text_set(error, errno, ERROR_NAME_FAILED, "%s: cannot lock the directory: %s", path,
                          strerrordesc_np(errno));
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int policy_directory_install(int fd, const char *name, const char *text, size_t size) {
    mode_t mask = umask(0022), mode = 0644;
    struct stat old;
    int r;

    /* A file that only root may read keeps its mode. */
    if (fstatat(fd, name, &old, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(old.st_mode))
        mode &= old.st_mode;
    r = write_file_atomic_at(fd, name, text, size, mode);
    (void) umask(mask);
    /* On a disk, unlike in /run, the name can become durable before the content: an empty file would break
     * the policy. */
    if (r >= 0 && syncfs(fd) < 0)
        r = -errno;
    return r;
}
