/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Refusals. Each row of error-table.h has a code, an error name on the bus, an errno for C callers, an exit
 * status for vfioctl, and a remedy. tests/contract compares the lists in the XML, the manual pages and the
 * client with that table. System errors (negative errno) are not in it, except as Internal. */

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
VfiodError error_from_bus_name(const char *name); /* _VFIOD_ERROR_INVALID for an unknown name */

/* What causes the refusal, for programs. The text of the refusal says the same. */
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

/* One refusal: what, where, why, and the remedy. It is filled by the code that decides, and shown by the
 * faces. */
typedef struct Refusal Refusal;
struct Refusal {
    VfiodError code;
    char device[DEVICE_NAME_MAX]; /* "" when it concerns no single device */
    char *reason;   /* owned; one sentence that does not begin with the device's name; hostile parts
                     * sanitized */
    char *rule;     /* owned; "alice-edu (/etc/vfiod/policy.d/50-edu.json:7)", NULL when no rule decided */
    char *rule_key; /* owned; rule_key() of that rule, or of the first of several */
    char *file;     /* owned; file of the rule that decided; NULL when there is none or several */
    unsigned line;
    char *nearest;                   /* owned; origin of the nearest rule, which has that predicate; NULL when
                                      * a rule decided */
    char *predicate, *wanted, *seen; /* owned; the predicate of the nearest rule that did not hold, as far as
                                      * the caller may know: "what.driver", "iavf", "e1000e"; or NULL */
    char *remedy;                    /* owned; NULL: the table's remedy; "": the reason includes it */
    Blocker *blockers;               /* owned; at most BLOCKERS_MAX, more are left out */
    size_t n_blockers;
    Refusal *obstacles; /* owned; further causes for a refusal, where all were requested */
    size_t n_obstacles; /* OBSTACLES_MAX at most */
};

/* The remedy when the policy denies and the host uses the device: no rule can allow that. */
#define NO_RULE_HELPS "No rule helps while the host uses the device, or a sibling of it."

#define REFUSAL_NULL                                                                                         \
    (Refusal) {                                                                                              \
        .code = _VFIOD_ERROR_INVALID                                                                         \
    }

void refusal_done(Refusal *r);
/* Fills *r (which must be empty) and returns -error_info(code)->error, so that callers write `return
 * refuse(…)`. device may be NULL. On ENOMEM reason is NULL: still a refusal. */
int refuse(Refusal *r, VfiodError code, const DeviceName *device, const char *format, ...) _printf_(4, 5);
/* Left out on ENOMEM and beyond BLOCKERS_MAX: the text of the refusal has it anyway. */
void refusal_add_blocker(Refusal *r, BlockerKind kind, const char *name, const char *format, ...)
        _printf_(4, 5);
void refusal_add_device(Refusal *r, const DeviceName *device, const char *why);
/* Do both have the same code and text for the same device? */
bool refusal_is_same(const Refusal *a, const Refusal *b);
/* Moves from to the obstacles of r, which leaves from empty. False: there is no room, and from is
 * unchanged. */
bool refusal_add_obstacle(Refusal *r, Refusal *from);
/* "pci:0000:06:0d.0: reason (rule …). remedy": the text for people. Owned by the caller; NULL on ENOMEM. */
char *refusal_format(const Refusal *r);
