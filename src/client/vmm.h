/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The arguments by which a virtual machine monitor takes the devices of a claim. They are written as
 * templates of `vfioctl exec` ({iommufd}, {device:0}), which are expanded like those that a user writes.
 * Pure, but for vmm_probe(). */

#include "client/error-text.h"
#include "client/template.h"

typedef enum Vmm {
    VMM_NONE,
    VMM_QEMU,
    VMM_CLOUD_HYPERVISOR,
} Vmm;

/* What the program can do, as far as it matters here. */
typedef struct VmmAbilities {
    char name[32];     /* with its version, for messages: "QEMU 7.2" */
    bool takes_fds;    /* of iommufd and of devices */
    bool opens_groups; /* by the address of a device */
    bool takes_tokens; /* of physical functions */
} VmmAbilities;

/* From what it prints about itself: QEMU for --version, cloud-hypervisor for --help. -EBADMSG: it is another
 * program. */
int vmm_parse_abilities(Vmm vmm, const char *text, VmmAbilities *ret);
/* Runs the program to ask it. */
int vmm_probe(Vmm vmm, const char *program, VmmAbilities *ret, VfiodErrorText *error);

/* The grant that the backend requires for this program: "fd" or "node". -EOPNOTSUPP with *error filled when
 * it cannot use the backend at all. */
int vmm_grant(
        Vmm vmm, const VmmAbilities *abilities, const char *backend, const char **ret, VfiodErrorText *error);

/* The id of the device in the monitor: "pci-0000-06-0d.0". */
char *vmm_device_id(const char *device);
/* The address by which QEMU opens the device itself: "0000:06:0d.0"; NULL for a device that is not on PCI. */
const char *vmm_pci_address(const char *device);

/* 0, or -EOPNOTSUPP with *error filled: one of them needs a token, which this program does not take. */
int vmm_check_tokens(Vmm vmm, const VmmAbilities *abilities, const TemplateDevice *devices, size_t n_devices,
        VfiodErrorText *error);

/* A copy of arguments (ended by NULL, as is *ret) with those for the devices. fds: it takes file descriptors.
 */
int vmm_add_arguments(Vmm vmm, bool fds, char *const *arguments, const TemplateDevice *devices,
        size_t n_devices, char ***ret, VfiodErrorText *error);

void free_arguments(char ***arguments);
