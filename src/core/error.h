/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The ONE table of refusals: each has a code here, an error name on the bus, an errno for C callers, an exit
 * status for vfioctl, and a sentence that says what to do. The table (error.c) is generated into nothing and
 * copied nowhere: dbus/org.vfiod1.xml, org.vfiod1(5) and vfioctl(1) are compared with it by
 * tests/contract. System trouble (negative errno) is not in it, except as VFIOD_ERROR_INTERNAL. */

#include "core/device-name.h"

typedef enum VfiodError {
    VFIOD_ERROR_INVALID_NAME,      /* a device name that does not parse */
    VFIOD_ERROR_INVALID_ARGUMENT,  /* wrong type or value of an argument or option */
    VFIOD_ERROR_UNKNOWN_OPTION,    /* an option that this version does not know */
    VFIOD_ERROR_TOO_MANY_DEVICES,  /* more than a message can carry */
    VFIOD_ERROR_NO_SUCH_DEVICE,
    VFIOD_ERROR_NO_SUCH_GROUP,
    VFIOD_ERROR_NO_SUCH_CLAIM,
    VFIOD_ERROR_ACCESS_DENIED,     /* policy said no; the refusal names rule, file and line */
    VFIOD_ERROR_POLICY_BROKEN,     /* no valid policy is loaded, so everything is denied */
    VFIOD_ERROR_NOT_OWNER,         /* somebody else's claim */
    VFIOD_ERROR_DEVICE_CLAIMED,    /* a claim of vfiod's holds the device or its group */
    VFIOD_ERROR_DEVICE_QUARANTINED,
    VFIOD_ERROR_GROUP_IN_USE,      /* a program that did not come through vfiod holds the group */
    VFIOD_ERROR_GROUP_NOT_VIABLE,  /* siblings are bound to host drivers and the rule does not park them */
    VFIOD_ERROR_NO_IOMMU_GROUP,    /* the device is behind no IOMMU */
    VFIOD_ERROR_HOST_CRITICAL,     /* mounted storage, an address, the console: on it or on a sibling */
    VFIOD_ERROR_BACKEND_UNAVAILABLE, /* kernel or rule does not offer the backend that was asked for */
    VFIOD_ERROR_NODE_MISSING,      /* sysfs announces a VFIO node that is not in /dev, or is another */
    VFIOD_ERROR_RESET_UNSUPPORTED, /* the rule demands a reset, the device has no method */
    VFIOD_ERROR_BIND_FAILED,       /* the vfio driver could not be bound; everything was put back */
    VFIOD_ERROR_OPEN_FAILED,
    VFIOD_ERROR_DEVICE_GONE,       /* unplugged while the claim was being made */
    VFIOD_ERROR_TIMED_OUT,         /* the kernel did not come back in time */
    VFIOD_ERROR_LIMIT_EXCEEDED,    /* too many claims or requests of this user */
    VFIOD_ERROR_SHUTTING_DOWN,
    VFIOD_ERROR_INTERNAL,
    _VFIOD_ERROR_MAX,
    _VFIOD_ERROR_INVALID = -EINVAL,
} VfiodError;

typedef struct ErrorInfo {
    const char *name;   /* "NoSuchDevice"; the bus name is VFIOD_ERROR_PREFIX + name */
    int error;          /* positive errno for C callers */
    int exit_status;    /* of vfioctl */
    const char *remedy; /* a sentence: what to do */
} ErrorInfo;

#define VFIOD_ERROR_PREFIX "org.vfiod1.Error."

const ErrorInfo *error_info(VfiodError e); /* never NULL for a valid code */
VfiodError error_from_bus_name(const char *name); /* _VFIOD_ERROR_INVALID when not ours */

/* One refusal: what, where, why, what to do. Filled by whoever decided, shown by the front ends. */
typedef struct Refusal {
    VfiodError code;
    char device[DEVICE_NAME_MAX]; /* "" when it is not about one device */
    char *reason; /* owned; one sentence without the device's name in front, hostile parts sanitized */
    char *rule;   /* owned; "alice-edu (/etc/vfiod/policy.d/50-edu.json:7)", NULL when no rule decided */
    char *remedy; /* owned; NULL: the table's sentence */
} Refusal;

#define REFUSAL_NULL                                                                                         \
    (Refusal) {                                                                                              \
        .code = _VFIOD_ERROR_INVALID                                                                         \
    }

void refusal_done(Refusal *r);
/* Fills *r (which must be empty) and returns -error_info(code)->error, so that `return refuse(…)` is the
 * idiom. device may be NULL. An allocation failure leaves reason NULL: still a refusal. */
int refuse(Refusal *r, VfiodError code, const DeviceName *device, const char *format, ...) _printf_(4, 5);
/* "pci:0000:06:0d.0: reason (rule …). remedy": the text that a person sees. Owned by the caller; NULL on
 * ENOMEM. */
char *refusal_format(const Refusal *r);
