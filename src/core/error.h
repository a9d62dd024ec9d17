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

/* What stands in the way, for programs: the same that the sentence of the refusal has. */
typedef enum BlockerKind {
    BLOCKER_CLAIM,   /* .name: its id */
    BLOCKER_DEVICE,  /* the device's name */
    BLOCKER_PROCESS, /* its pid */
    BLOCKER_RULE,    /* the rule's origin */
    _BLOCKER_KIND_MAX,
    _BLOCKER_KIND_INVALID = -EINVAL,
} BlockerKind;
DECLARE_STRING_TABLE(blocker_kind, BlockerKind); /* "claim", "device", "process", "rule" */

typedef struct Blocker {
    BlockerKind kind;
    char *name; /* owned */
    char *why;  /* owned; a few words, sanitized */
} Blocker;

#define BLOCKERS_MAX 16U
#define OBSTACLES_MAX 32U

/* One refusal: what, where, why, what to do. Filled by whoever decided, shown by the front ends. */
typedef struct Refusal Refusal;
struct Refusal {
    VfiodError code;
    char device[DEVICE_NAME_MAX]; /* "" when it is not about one device */
    char *reason;   /* owned; one sentence without the device's name in front, hostile parts sanitized */
    char *rule;     /* owned; "alice-edu (/etc/vfiod/policy.d/50-edu.json:7)", NULL when no rule decided */
    char *rule_key; /* owned; rule_key() of it, or of the first of them */
    char *file;     /* owned; of the one rule that decided, NULL when it was none or several */
    unsigned line;
    char *nearest;                   /* owned; origin of the rule that predicate is of, where none decided */
    char *predicate, *wanted, *seen; /* owned; what did not hold in the rule that came nearest, as far as the
                                      * caller may know it: "what.driver", "iavf", "e1000e"; NULL */
    char *remedy;                    /* owned; NULL: the table's sentence; "": the reason has it already */
    Blocker *blockers;               /* owned; BLOCKERS_MAX at most, the rest is left out */
    size_t n_blockers;
    Refusal *obstacles; /* owned; what would refuse it besides, where all of that was asked for */
    size_t n_obstacles; /* OBSTACLES_MAX at most */
};

/* The remedy of a denial where the host uses the device, too: no rule hands that out. */
#define NO_RULE_HELPS "No rule helps while the host uses the device, or a sibling of it."

#define REFUSAL_NULL                                                                                         \
    (Refusal) {                                                                                              \
        .code = _VFIOD_ERROR_INVALID                                                                         \
    }

void refusal_done(Refusal *r);
/* Fills *r (which must be empty) and returns -error_info(code)->error, so that `return refuse(…)` is the
 * idiom. device may be NULL. An allocation failure leaves reason NULL: still a refusal. */
int refuse(Refusal *r, VfiodError code, const DeviceName *device, const char *format, ...) _printf_(4, 5);
/* Out of memory, and beyond the maximum, it is left out: the sentence has it. */
void refusal_add_blocker(Refusal *r, BlockerKind kind, const char *name, const char *format, ...)
        _printf_(4, 5);
void refusal_add_device(Refusal *r, const DeviceName *device, const char *why);
/* Do they say the same of the same device? */
bool refusal_is_same(const Refusal *a, const Refusal *b);
/* Moves from, which is empty then, to the obstacles of r. false: there is no room for it, it is as it was. */
bool refusal_add_obstacle(Refusal *r, Refusal *from);
/* "pci:0000:06:0d.0: reason (rule …). remedy": the text that a person sees. Owned by the caller; NULL on
 * ENOMEM. */
char *refusal_format(const Refusal *r);
