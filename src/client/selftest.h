/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The checks of vfioctl selftest: a claimed device as its client sees it, and a device of the host before and
 * after a claim. Both read from the kernel and do not rely on the daemon. */

#include "client/vfioctl.h"

/* Why a round failed. */
typedef struct Failure {
    const char *step;                  /* "claim", "use", "return" or "compare" */
    char what[sizeof(VfiodErrorText)]; /* a sentence; not sanitized */
    const char *fix;                   /* likewise; NULL: included in the first */
} Failure;

/* Sets *f and returns -ECANCELED. */
int failure_set(Failure *f, const char *step, const char *fix, const char *format, ...) _printf_(4, 5);

/* ---- The device in a claim ---- */

/* Uses every device of the claim like its client: binds it to the iommufd, or opens it from its group, reads
 * its regions, and reads the ids in its config space. Closes everything it opened. Blocks as long as the
 * kernel, which resets a device when it is opened and closed. 0, or -ECANCELED with *f. */
int selftest_use(const VfiodClaim *claim, Failure *f);

/* ---- The device on the host ---- */

typedef struct HostDevice {
    char name[64];
    bool present;
    char driver[64], override[64]; /* "": none */
    uint32_t id;                   /* vendor and product in config space; 0: none, or unreadable */
} HostDevice;

#define ID_ALL_ONES UINT32_MAX /* nothing answers on the bus */

/* name: "pci:0000:06:0d.0". */
void host_device_read(const char *name, HostDevice *ret);
/* 0 when the device is as before, or -ECANCELED with *f. */
int host_device_compare(const HostDevice *before, const HostDevice *now, Failure *f);
