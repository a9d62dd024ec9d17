/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A parsed and checked request, the same for every face. A face turns bytes into this or into a Refusal, and
 * decides nothing. */

#include "core/device-caps.h"
#include "core/device-name.h"
#include "core/error.h"
#include "core/vf-network.h"

typedef enum Backend {
    BACKEND_IOMMUFD, /* cdev + /dev/iommu */
    BACKEND_GROUP,   /* group file + type1 container */
    BACKEND_NOIOMMU, /* the device's file only, for a device without an IOMMU: nothing protects the host. Only
                      * when requested by name */
    BACKEND_VHOST_VDPA, /* /dev/vhost-vdpa-N of a vDPA device, which has no group */
    BACKEND_COMPAT,     /* the opened device, with an iommufd as the container: for kernels without a VFIO
                         * container. vfiod keeps the group's file */
    _BACKEND_MAX,
    _BACKEND_INVALID = -EINVAL, /* in a request: any that rule and kernel support, iommufd first */
} Backend;
DECLARE_STRING_TABLE(backend, Backend); /* "iommufd", "group", "noiommu", "vhost-vdpa", "compat" */
/* Does a claim with this backend lock IOMMU groups? */
bool backend_has_groups(Backend backend);
#define BACKENDS_DEFAULT /* of a rule without "backend" */                                                   \
    (1U << BACKEND_IOMMUFD | 1U << BACKEND_GROUP | 1U << BACKEND_VHOST_VDPA | 1U << BACKEND_COMPAT)

/* What the client gets. */
typedef enum GrantKind {
    GRANT_FD,   /* open files in the reply */
    GRANT_NODE, /* access to the nodes, which the client opens itself */
    GRANT_NONE, /* nothing: the devices are reserved for programs that open them as root */
    _GRANT_KIND_MAX,
    _GRANT_KIND_INVALID = -EINVAL,
} GrantKind;
DECLARE_STRING_TABLE(grant_kind, GrantKind); /* "fd", "node", "none" */

/* What ends a claim: when its tether ends, the claim ends. */
typedef enum TetherKind {
    TETHER_LIFELINE,   /* the last copy of a file that the client gets with the others is closed */
    TETHER_PROCESS,    /* a process: the caller's, or another of the same user */
    TETHER_CONNECTION, /* the caller's connection */
    TETHER_UNIT,       /* the caller's control group: its last process */
    TETHER_EXPLICIT,   /* nothing: only Release ends it. For root */
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
#define CLAIM_ID_MAX 17 /* 16 hex digits + NUL; random, so that an id reveals nothing about others */
#define REQUEST_MEMLOCK_MAX ((uint64_t) INT64_MAX)

typedef struct Request {
    DeviceName devices[REQUEST_DEVICES_MAX];
    size_t n_devices;
    Backend backend;
    GrantKind grant;
    TetherKind tether;
    pid_t pid;             /* the process whose end shall end the claim; 0: the caller's */
    uint64_t pidfd_id;     /* of that process, see process_open(); 0: not given */
    uint64_t memlock;      /* bytes that the client wants to pin: its RLIMIT_MEMLOCK is raised for that; 0: it
                            * is not */
    uint32_t wait_sec;     /* how long to wait for devices that others have; 0: not at all */
    uint32_t duration_sec; /* how long the claim is needed; 0: as long as the rule allows */
    unsigned options_given;          /* a bit for each that was set; private */
    bool untainted;                  /* refuse if a taint weakens the host's isolation */
    DeviceNeeds needs;               /* required of each device */
    VfNetwork network;               /* for each device, which must be a virtual function */
    char reason[REQUEST_REASON_MAX]; /* the caller's reason: sanitized, for the audit record */
    char cookie[REQUEST_COOKIE_MAX]; /* chosen by the client to find its claim again; "": none */
    char ticket[REQUEST_TICKET_MAX]; /* of the reservation to redeem; "": none */
    char claim[CLAIM_ID_MAX];        /* the claim that the devices shall join; "": a new one */
} Request;

#define REQUEST_NULL                                                                                         \
    (Request) {                                                                                              \
        .backend = _BACKEND_INVALID                                                                          \
    }

/* 1 to 64 characters of [A-Za-z0-9._:-], so that journals, tables and command lines can have it unchanged. */
bool cookie_is_valid(const char *cookie);
bool ticket_is_valid(const char *ticket);

/* Adds one device by any spelling. 0, or a refusal: InvalidName, TooManyDevices, InvalidArgument for a device
 * that is named twice. */
int request_add_device(Request *r, const char *spelling, Refusal *refusal);
/* Sets one option by name: "backend", "grant", "tether", "cookie", "reason", "ticket", "pid", "pidfdId",
 * "memlock" (a size such as "16G"), "wait" and "duration" (in seconds), "require" (as for
 * device_needs_parse()), "network" (as for vf_network_parse()), "untainted" ("yes" or "no"). Faces with
 * typed values convert them to this text. 0, or a refusal: UnknownOption (with the nearest name),
 * InvalidArgument. */
int request_set_option(Request *r, const char *name, const char *value, Refusal *refusal);
/* The D-Bus type of this option: "s", "t" or "b". NULL: there is no such option. */
const char *request_option_type(const char *name);
/* Is this an option of a reservation? It has neither "cookie", "pid", "pidfdId", "memlock", "network",
 * "ticket", "duration" nor "wait". 0, or UnknownOption. */
int request_check_reserve_option(const char *name, Refusal *refusal);
/* Is this an option of a transfer? It has only "tether", "pid" and "pidfdId". 0, or UnknownOption. */
int request_check_transfer_option(const char *name, Refusal *refusal);
/* Only a claim with the tether "process" can name a process. 0, or a refusal. */
int request_check_process(const Request *r, TetherKind tether, Refusal *refusal);
/* The remedy "Request the tether lifeline or unit. MORE"; tethers is the mask of 1 << TetherKind that the
 * caller can have. Only MORE when it is empty. Owned by the caller; NULL on ENOMEM. */
char *tether_advice(unsigned tethers, bool is_operator, const char *more);
/* The last check: at least one device or a ticket, a MAC address for one device only, and a process only with
 * the tether "process". 0, or a refusal. */
int request_validate(const Request *r, Refusal *refusal);
