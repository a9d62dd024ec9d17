/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host/container.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "host/uapi.h"

/* Only an iommufd knows this question. A container has no driver yet, and refuses what it does not know. */
bool container_file_is_iommufd(int fd) {
    struct vfiod_iommu_option option = {
            .size = sizeof(option),
            .option_id = VFIOD_IOMMU_OPTION_RLIMIT_MODE,
            .op = VFIOD_IOMMU_OPTION_OP_GET,
    };

    return ioctl(fd, VFIOD_IOMMU_OPTION, &option) == 0;
}

typedef struct Identity {
    dev_t device, rdev;
    ino_t node, registration;
} Identity;

/* The directory in sysfs exists, with an inode of its own, as long as one registration of the node does. */
static int identify(Identity *ret) {
    struct stat node, registration;

    if (stat("/dev/vfio/vfio", &node) < 0 || stat("/sys/class/misc/vfio", &registration) < 0)
        return -errno;
    if (!S_ISCHR(node.st_mode))
        return -ENODEV;
    *ret = (Identity){
            .device = node.st_dev,
            .rdev = node.st_rdev,
            .node = node.st_ino,
            .registration = registration.st_ino,
    };
    return 0;
}

static bool is_same(const Identity *a, const Identity *b) {
    return a->device == b->device && a->rdev == b->rdev && a->node == b->node &&
            a->registration == b->registration;
}

bool container_is_iommufd(void) {
    static Identity known;
    static bool is_iommufd;
    _cleanup_close_ int fd = -EBADF;
    Identity now;

    if (identify(&now) < 0)
        return false;
    if (is_same(&now, &known))
        return is_iommufd;
    fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW);
    if (fd < 0)
        return false;
    known = now;
    is_iommufd = container_file_is_iommufd(fd);
    return is_iommufd;
}
