/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/vfio.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/str.h"
#include "daemon/privileges.h"
#include "host/container.h"
#include "host/uapi.h"

const char *vfio_group_path(int group, char buf[static VFIO_NODE_MAX]) {
    put_numbered(buf, VFIO_NODE_MAX, "/dev/vfio/", group);
    return buf;
}

const char *vfio_noiommu_path(int group, char buf[static VFIO_NODE_MAX]) {
    put_numbered(buf, VFIO_NODE_MAX, "/dev/vfio/noiommu-", group);
    return buf;
}

/* -EACCES: the device policy of our unit (DeviceAllow=) forbids it, which the kernel reports as EPERM. */
static int open_node(const char *path, int *ret_fd) {
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW);

    if (fd < 0)
        return errno == EPERM ? -EACCES : -errno;
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

/* Numbers of nodes are reused, so the number in the name proves nothing. */
static int check_node(int fd, dev_t rdev) {
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    return S_ISCHR(st.st_mode) && st.st_rdev == rdev ? 0 : -ESTALE;
}

int vfio_open_cdev(const char *path, dev_t rdev, int *ret_fd) {
    _cleanup_close_ int fd = -EBADF;
    int r;

    r = open_node(path, &fd);
    if (r >= 0)
        r = check_node(fd, rdev);
    if (r < 0)
        return r;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* A kernel with CONFIG_IOMMUFD_VFIO_CONTAINER has an iommufd under this name. A device that was opened
 * through it does not keep its group's file open. When that is closed, another program can get the group and
 * the device, while the first one still uses it. So a client with the group's file has no exclusive claim,
 * and nothing shows its end. */
int vfio_open_container(int *ret_fd) {
    _cleanup_close_ int fd = -EBADF;
    int r;

    r = open_node("/dev/vfio/vfio", &fd);
    if (r < 0)
        return r;
    if (container_file_is_iommufd(fd))
        return -EOPNOTSUPP;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* Opens for reading only: its close is then another event than that of a file that was handed out. */
int vfio_probe_node(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW);

    if (fd < 0)
        return errno == ENOENT || errno == ENODEV || errno == ENXIO ? 0 : -errno;
    (void) safe_close(fd);
    return 0;
}

int vfio_probe_group(int group) {
    char path[VFIO_NODE_MAX];

    return vfio_probe_node(vfio_group_path(group, path));
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

static int get_device(int group, const DeviceName *name, const char *vf_token) {
    char kernel_name[DEVICE_NAME_MAX], text[DEVICE_NAME_MAX + sizeof(" vf_token=") + 36];
    int fd;

    (void) snprintf(text, sizeof(text), "%s%s%s", device_name_format_kernel(name, kernel_name),
            *vf_token ? " vf_token=" : "", vf_token);
    fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, text);
    return fd < 0 ? -errno : fd;
}

int vfio_open_compat(int *ret_fd) {
    _cleanup_close_ int fd = -EBADF;
    int r;

    r = open_node("/dev/vfio/vfio", &fd);
    if (r < 0)
        return r;
    if (!container_file_is_iommufd(fd))
        return -ENOTTY;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int vfio_open_compat_group(int group, int iommufd, int *ret_fd) {
    _cleanup_close_ int fd = -EBADF;
    int r;

    r = vfio_open_group(group, &fd);
    if (r < 0)
        return r;
    /* One call would be enough for all groups. */
    if (ioctl(fd, VFIO_GROUP_SET_CONTAINER, &iommufd) < 0 ||
            ioctl(iommufd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
        return -errno;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int vfio_open_compat_device(int group_fd, const DeviceName *name, const char *vf_token, int *ret_fd) {
    int fd = get_device(group_fd, name, vf_token);

    if (fd < 0)
        return fd;
    *ret_fd = fd;
    return 0;
}

/* Opens the device of a group without an IOMMU. The container only selects the mode. */
static int get_noiommu_device(int group, int container, const DeviceName *name) {
    if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) < 0 ||
            ioctl(container, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU) < 0)
        return -errno;
    return get_device(group, name, "");
}

/* Group and container are closed here, and the device keeps working: an open device holds a reference to its
 * group's file in the kernel, and the group one to its container (vfio_group_use_container). So worker and
 * daemon need not keep them: the group is busy, and its node not closed, until the last copy of the device's
 * file is closed. They must not be handed out either: with the group's file the client could open the device
 * again, with the container other groups.
 *
 * The kernel requires CAP_SYS_RAWIO for the open, both ioctls and the first GET_DEVICE_FD, and never again:
 * whoever has the device's file can use the device. */
int vfio_open_noiommu(int group, dev_t rdev, const DeviceName *name, int *ret_fd) {
    _cleanup_close_ int group_fd = -EBADF, container = -EBADF, fd = -EBADF;
    char path[VFIO_NODE_MAX];
    int r;

    r = vfio_open_container(&container);
    if (r < 0)
        return r;
    privileges_raise(CAP_SYS_RAWIO);
    r = open_node(vfio_noiommu_path(group, path), &group_fd);
    privileges_lower();
    if (r == -EACCES && !privileges_have(CAP_SYS_RAWIO)) /* the kernel requires it for the open, too */
        r = -EPERM;
    if (r >= 0)
        r = check_node(group_fd, rdev);
    if (r < 0)
        return r;
    privileges_raise(CAP_SYS_RAWIO);
    r = fd = get_noiommu_device(group_fd, container, name);
    privileges_lower();
    if (r < 0)
        return r;
    *ret_fd = TAKE_FD(fd);
    return 0;
}
