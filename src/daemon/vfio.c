/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/vfio.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "daemon/privileges.h"
#include "daemon/uapi.h"

const char *vfio_cdev_path(int index, char buf[static VFIO_NODE_MAX]) {
    (void) snprintf(buf, VFIO_NODE_MAX, "/dev/vfio/devices/vfio%d", index);
    return buf;
}

const char *vfio_group_path(int group, char buf[static VFIO_NODE_MAX]) {
    (void) snprintf(buf, VFIO_NODE_MAX, "/dev/vfio/%d", group);
    return buf;
}

static int open_node(const char *path, int *ret_fd) {
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW);

    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

int vfio_open_iommufd(int *ret_fd) {
    struct vfiod_iommu_option option = {
            .size = sizeof(option),
            .option_id = VFIOD_IOMMU_OPTION_RLIMIT_MODE,
            .op = VFIOD_IOMMU_OPTION_OP_SET,
            .val64 = 1,
    };
    _cleanup_close_ int fd = -EBADF;
    int r;

    r = open_node("/dev/iommu", &fd);
    if (r < 0)
        return r;
    privileges_raise(CAP_SYS_RESOURCE);
    r = ioctl(fd, VFIOD_IOMMU_OPTION, &option) < 0 ? -errno : 0;
    privileges_lower();
    if (r < 0)
        return r;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int vfio_open_cdev(int index, dev_t rdev, int *ret_fd) {
    char path[VFIO_NODE_MAX];
    _cleanup_close_ int fd = -EBADF;
    struct stat st;
    int r;

    r = open_node(vfio_cdev_path(index, path), &fd);
    if (r < 0)
        return r;
    if (fstat(fd, &st) < 0)
        return -errno;
    /* Indices and minors are recycled: the number in the name proves nothing. */
    if (!S_ISCHR(st.st_mode) || st.st_rdev != rdev)
        return -ESTALE;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int vfio_open_container(int *ret_fd) {
    return open_node("/dev/vfio/vfio", ret_fd);
}

int vfio_open_group(int group, int *ret_fd) {
    struct vfio_group_status status = {.argsz = sizeof(status)};
    char path[VFIO_NODE_MAX];
    _cleanup_close_ int fd = -EBADF;
    int r;

    r = open_node(vfio_group_path(group, path), &fd);
    if (r < 0)
        return r;
    if (ioctl(fd, VFIO_GROUP_GET_STATUS, &status) < 0)
        return -errno;
    if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
        return -EPERM;
    *ret_fd = TAKE_FD(fd);
    return 0;
}
