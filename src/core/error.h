/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Refusals: each row of error-table.h has a code here, an error name on the bus, an errno for C callers, an
 * exit status for vfioctl, and a sentence that says what to do. The XML's, the man pages' and the client's
 * lists are compared with that table by tests/contract. System trouble (negative errno) is not in it, except
 * as Internal. */

#include "core/device-name.h"
#include "core/error-table.h"

typedef enum VfiodError {
#define X(code, name, error, exit_status, remedy) VFIOD_ERROR_##code,
    VFIOD_ERROR_TABLE(X)
#undef X
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

const ErrorInfo *error_info(VfiodError e);        /* never NULL for a valid code */
VfiodError error_from_bus_name(const char *name); /* _VFIOD_ERROR_INVALID when not ours */

/* One refusal: what, where, why, what to do. Filled by whoever decided, shown by the front ends. */
typedef struct Refusal {
    VfiodError code;
    char device[DEVICE_NAME_MAX]; /* "" when it is not about one device */
    char *reason; /* owned; one sentence without the device's name in front, hostile parts sanitized */
    char *rule;   /* owned; "alice-edu (/etc/vfiod/policy.d/50-edu.json:7)", NULL when no rule decided */
    char *file;   /* owned; of the one rule that decided, NULL when it was none or several */
    unsigned line;
    char *nearest;                   /* owned; origin of the rule that predicate is of, where none decided */
    char *predicate, *wanted, *seen; /* owned; what did not hold in the rule that came nearest, as far as the
                                      * caller may know it: "what.driver", "iavf", "e1000e"; NULL */
    char *remedy;                    /* owned; NULL: the table's sentence; "": the reason has it already */
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
