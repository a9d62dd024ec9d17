/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A parsed and bounded request, the same for every front end. A front end turns bytes into this or into a
 * Refusal, and decides nothing else. */

#include "core/device-name.h"
#include "core/error.h"

typedef enum Backend {
    BACKEND_IOMMUFD, /* cdev + /dev/iommu */
    BACKEND_GROUP,   /* group file + type1 container */
    BACKEND_NOIOMMU, /* the device's file alone, of a device behind no IOMMU: nothing isolates the host from
                      * it. Only when it is asked for by name */
    _BACKEND_MAX,
    _BACKEND_INVALID = -EINVAL, /* in a request: whatever rule and kernel offer, iommufd first */
} Backend;
DECLARE_STRING_TABLE(backend, Backend); /* "iommufd", "group", "noiommu" */

/* A bus message carries at most 16 fds: the iommufd (or container), the lifeline, and one per device. */
#define REQUEST_DEVICES_MAX 14U
#define REQUEST_REASON_MAX 256U
#define REQUEST_MEMLOCK_MAX ((uint64_t) INT64_MAX)

typedef struct Request {
    DeviceName devices[REQUEST_DEVICES_MAX];
    size_t n_devices;
    Backend backend;
    uint64_t memlock; /* bytes that the client wants to pin: its RLIMIT_MEMLOCK is raised so far; 0: left
                         alone */
    unsigned options_given;          /* a bit for each that was set; private */
    bool untainted;                  /* refuse unless the host's isolation is whole */
    char reason[REQUEST_REASON_MAX]; /* what the client says it is for: sanitized, for the audit record */
} Request;

#define REQUEST_NULL                                                                                         \
    (Request) {                                                                                              \
        .backend = _BACKEND_INVALID                                                                          \
    }

/* Adds one device by any spelling. 0, or a refusal: InvalidName, TooManyDevices, InvalidArgument for a
 * device that is named twice. */
int request_add_device(Request *r, const char *spelling, Refusal *refusal);
/* Takes one option by name with a string value ("backend", "reason"; "memlock", a size such as "16G", and
 * "untainted", "yes" or "no", which front ends with types hand over in that form). 0, or a refusal:
 * UnknownOption (with the nearest known one), InvalidArgument. */
int request_set_option(Request *r, const char *name, const char *value, Refusal *refusal);
/* Last check: at least one device. */
int request_validate(const Request *r, Refusal *refusal);
