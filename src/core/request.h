/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A parsed and bounded request, the same for every front end. A front end turns bytes into this or into a
 * Refusal, and decides nothing else. */

#include "core/device-name.h"
#include "core/error.h"

typedef enum Backend {
    BACKEND_IOMMUFD, /* cdev + /dev/iommu */
    BACKEND_GROUP,   /* group file + type1 container */
    _BACKEND_MAX,
    _BACKEND_INVALID = -EINVAL, /* in a request: whatever rule and kernel offer, iommufd first */
} Backend;
DECLARE_STRING_TABLE(backend, Backend); /* "iommufd", "group" */

/* A bus message carries at most 16 fds: the iommufd (or container), the lifeline, and one per device. */
#define REQUEST_DEVICES_MAX 14U
#define REQUEST_REASON_MAX 256U

typedef struct Request {
    DeviceName devices[REQUEST_DEVICES_MAX];
    size_t n_devices;
    Backend backend;
    char reason[REQUEST_REASON_MAX]; /* what the client says it is for: sanitized, for the audit record */
} Request;

#define REQUEST_NULL                                                                                         \
    (Request) {                                                                                              \
        .backend = _BACKEND_INVALID                                                                          \
    }

/* Adds one device by any spelling. 0, or a refusal: InvalidName, TooManyDevices, InvalidArgument for a
 * device that is named twice. */
int request_add_device(Request *r, const char *spelling, Refusal *refusal);
/* Takes one option by name with a string value ("backend", "reason"). 0, or a refusal: UnknownOption (with
 * the nearest known one), InvalidArgument. */
int request_set_option(Request *r, const char *name, const char *value, Refusal *refusal);
/* Last check: at least one device. */
int request_validate(const Request *r, Refusal *refusal);
