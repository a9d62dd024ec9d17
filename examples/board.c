/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Claims one board, and reads its identity from its configuration space. docs/recipes/c.md explains it. */
#include <err.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <vfiod.h>

#ifndef VFIO_DEVICE_BIND_IOMMUFD /* headers before Linux 6.6 */
struct vfio_device_bind_iommufd {
    uint32_t argsz, flags;
    int32_t iommufd;
    uint32_t out_devid;
};
#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#endif

/* The claim has the device itself, and an iommufd that nothing is bound to yet. */
static int open_with_iommufd(const VfiodClaim *claim) {
    struct vfio_device_bind_iommufd bind = {
            .argsz = sizeof(bind), .iommufd = vfiod_claim_fd(claim, "iommufd")};
    int device = vfiod_claim_device_fd(claim, NULL);

    if (ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind) < 0)
        err(1, "cannot bind the device to the iommufd");
    return device;
}

/* The claim has the IOMMU group of the device, and a container without a group. */
static int open_in_group(const VfiodClaim *claim) {
    const char *name = "", *address = strchr(vfiod_claim_device(claim, 0), ':') + 1; /* after "pci" */
    int container = vfiod_claim_fd(claim, "container"), group = -1, device;

    for (size_t i = 0; strncmp(name, "group:", strlen("group:")) != 0; i++) {
        group = vfiod_claim_nth_fd(claim, i, &name);
        if (group < 0)
            errx(1, "the claim has no group");
    }
    if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) < 0 ||
            ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
        err(1, "cannot put the group into the container");
    device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address);
    if (device < 0)
        err(1, "cannot open %s in its group", address);
    return device;
}

int main(int argc, char *argv[]) {
    struct vfio_region_info region = {.argsz = sizeof(region), .index = VFIO_PCI_CONFIG_REGION_INDEX};
    const char *devices[] = {argc == 2 ? argv[1] : "0000:00:04.0"};
    unsigned char id[4]; /* vendor and device, the lower byte first */
    VfiodErrorText error;
    VfiodClaim *claim;
    int device;

    /* Either backend, whichever the rule and the kernel offer. */
    if (vfiod_acquire(devices, 1, NULL, "recipe", &claim, &error) < 0)
        errx(1, "%s", error.message);
    printf("%s by rule %s, backend %s\n", vfiod_claim_device(claim, 0), vfiod_claim_rule(claim),
            vfiod_claim_backend(claim));
    device = strcmp(vfiod_claim_backend(claim), "iommufd") == 0 ? open_with_iommufd(claim)
                                                                : open_in_group(claim);

    if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region) < 0 ||
            pread(device, id, sizeof(id), (off_t) region.offset) != (ssize_t) sizeof(id))
        err(1, "cannot read the configuration space");
    printf("%02x%02x:%02x%02x\n", id[1], id[0], id[3], id[2]);

    vfiod_claim_free(claim); /* the claim ends; the device is reset when the last of its files is closed */
    return 0;
}
