/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A parsed and bounded request, the same for every front end. A front end turns bytes into this or into a
 * Refusal, and decides nothing else. */

#include "core/device-caps.h"
#include "core/device-name.h"
#include "core/error.h"
#include "core/vf-network.h"

typedef enum Backend {
    BACKEND_IOMMUFD, /* cdev + /dev/iommu */
    BACKEND_GROUP,   /* group file + type1 container */
    BACKEND_NOIOMMU, /* the device's file alone, of a device behind no IOMMU: nothing isolates the host from
                      * it. Only when it is asked for by name */
    BACKEND_VHOST_VDPA, /* /dev/vhost-vdpa-N of a vDPA device, which has no group */
    BACKEND_COMPAT,     /* the opened device, with an iommufd in the place of the container: a kernel without
                         * VFIO's own. The group's file stays with us */
    _BACKEND_MAX,
    _BACKEND_INVALID = -EINVAL, /* in a request: whatever rule and kernel offer, iommufd first */
} Backend;
DECLARE_STRING_TABLE(backend, Backend); /* "iommufd", "group", "noiommu", "vhost-vdpa", "compat" */
/* Does a claim lock the groups of its devices? Without, it has none. */
bool backend_has_groups(Backend backend);
#define BACKENDS_DEFAULT /* of a rule without "backend" */                                                   \
    (1U << BACKEND_IOMMUFD | 1U << BACKEND_GROUP | 1U << BACKEND_VHOST_VDPA | 1U << BACKEND_COMPAT)

/* How a claim reaches the client. */
typedef enum GrantKind {
    GRANT_FD,   /* the reply has the opened files */
    GRANT_NODE, /* the user can open the nodes, and does so by itself */
    GRANT_NONE, /* nothing is handed out: the devices are reserved, for programs that open them as root */
    _GRANT_KIND_MAX,
    _GRANT_KIND_INVALID = -EINVAL,
} GrantKind;
DECLARE_STRING_TABLE(grant_kind, GrantKind); /* "fd", "node", "none" */

/* What a claim's life hangs on: when that ends, the claim ends. */
typedef enum TetherKind {
    TETHER_LIFELINE,   /* the last copy of a file that the client gets with the others */
    TETHER_PROCESS,    /* a process: the caller's, or another one of the same user */
    TETHER_CONNECTION, /* the connection through which the caller asks */
    TETHER_UNIT,       /* the caller's control group: the last process in it */
    TETHER_EXPLICIT,   /* nothing: it ends by Release alone. For the operator */
    _TETHER_KIND_MAX,
    _TETHER_KIND_INVALID = -EINVAL,
} TetherKind;
DECLARE_STRING_TABLE(tether_kind, TetherKind); /* "lifeline", "process", "connection", "unit", "explicit" */
#define TETHERS_DEFAULT                                                                                      \
    ((1U << TETHER_EXPLICIT) - 1) /* mask of 1 << TetherKind: of a rule without "tether" */

/* A bus message carries at most 16 fds: the iommufd (or container), the lifeline, and one per device. */
#define REQUEST_DEVICES_MAX 14U
#define REQUEST_REASON_MAX 256U
#define REQUEST_COOKIE_MAX 65U /* with the NUL */
#define RESERVATION_TTL_DEFAULT_SEC 300U
#define RESERVATION_TTL_MAX_SEC 86400U
#define REQUEST_WAIT_MAX_SEC 604800U /* a week */
#define DURATION_MAX_SEC 31536000U   /* of a claim: a year of 365 days */
#define REQUEST_TICKET_MAX 50U       /* "ID-SECRET", 16 and 32 hex digits, with the NUL */
#define CLAIM_ID_MAX 17 /* 16 hex digits + NUL; random, so that an id says nothing about others */
#define REQUEST_MEMLOCK_MAX ((uint64_t) INT64_MAX)

typedef struct Request {
    DeviceName devices[REQUEST_DEVICES_MAX];
    size_t n_devices;
    Backend backend;
    GrantKind grant;
    TetherKind tether;
    pid_t pid;             /* of the process that the claim shall hang on; 0: the caller's */
    uint64_t pidfd_id;     /* of that process, see process_open(); 0: not given */
    uint64_t memlock;      /* bytes that the client wants to pin: its RLIMIT_MEMLOCK is raised so far; 0: left
                              alone */
    uint32_t wait_sec;     /* how long to wait in the queue for devices that others have; 0: not at all */
    uint32_t duration_sec; /* for how long the claim is wanted; 0: as long as the rule allows */
    unsigned options_given;          /* a bit for each that was set; private */
    bool untainted;                  /* refuse unless the host's isolation is whole */
    DeviceNeeds needs;               /* of each device */
    VfNetwork network;               /* of each device, which must be a virtual function */
    char reason[REQUEST_REASON_MAX]; /* what the client says it is for: sanitized, for the audit record */
    char cookie[REQUEST_COOKIE_MAX]; /* by which the client finds its claim again; "": none */
    char ticket[REQUEST_TICKET_MAX]; /* of the reservation whose device it is about; "": none */
    char claim[CLAIM_ID_MAX];        /* the claim that the devices shall join; "": one of their own */
} Request;

#define REQUEST_NULL                                                                                         \
    (Request) {                                                                                              \
        .backend = _BACKEND_INVALID                                                                          \
    }

/* 1 to 64 characters of [A-Za-z0-9._:-]: it goes into journals, tables and command lines as it is. */
bool cookie_is_valid(const char *cookie);
bool ticket_is_valid(const char *ticket);

/* Adds one device by any spelling. 0, or a refusal: InvalidName, TooManyDevices, InvalidArgument for a
 * device that is named twice. */
int request_add_device(Request *r, const char *spelling, Refusal *refusal);
/* Takes one option by name with a string value ("backend", "grant", "tether", "cookie", "reason", "ticket";
 * "pid", "pidfdId", "memlock",
 * a size such as "16G", "wait" and "duration", in seconds, "require", as device_needs_parse() has it,
 * "network", as vf_network_parse(), and "untainted", "yes" or "no", which front ends with types hand over in
 * that form). 0, or a refusal: UnknownOption (with the nearest known one), InvalidArgument. */
int request_set_option(Request *r, const char *name, const char *value, Refusal *refusal);
/* How an option of this name looks where values have types, as in a D-Bus signature: "s", "t" or "b". NULL:
 * there is none. */
const char *request_option_type(const char *name);
/* Of a request to reserve a device, which has neither "cookie", "pid", "pidfdId", "memlock", "network",
 * "ticket", "duration" nor "wait". Likewise. */
int request_check_reserve_option(const char *name, Refusal *refusal);
/* Of a request to move a claim, which has only "tether", "pid" and "pidfdId": is there an option of this
 * name? 0, or UnknownOption. */
int request_check_transfer_option(const char *name, Refusal *refusal);
/* Only a claim that hangs on a process may name one. */
int request_check_process(const Request *r, TetherKind tether, Refusal *refusal);
/* The remedy "Request the tether lifeline or unit. MORE", of a mask of 1 << TetherKind: those that the caller
 * may have. Only MORE when there is none. Owned; NULL on ENOMEM. */
char *tether_advice(unsigned tethers, bool is_operator, const char *more);
/* Last check: at least one device, or a ticket that stands for it, one at most for an address, and a process
 * only where the claim hangs on a process. */
int request_validate(const Request *r, Refusal *refusal);
