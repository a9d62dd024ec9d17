/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One claim: who holds which devices, by which plan, in which state. Only the broker changes it. */

#include "core/acl.h"
#include "core/eviction.h"
#include "core/machine.h"
#include "core/plan.h"

#define CONNECTION_NAME_MAX 80U

/* A ticket is the id of its reservation and a secret of 128 bits: "0123456789abcdef-…". */
#define TICKET_SECRET_MAX 33U /* hex digits + NUL */

/* A node that the client opens itself (GRANT_NODE). */
typedef struct ClaimNode {
    char path[48];
    uint64_t inode, rdev; /* change when the node is made anew */
    bool ours;            /* its access control list has, or is about to have, our entry for the owner */
    Acl before;           /* the list without our entry */
} ClaimNode;

/* Are its devices back since the host woke up? */
typedef enum ResumeState {
    RESUME_NONE, /* it did not sleep since the claim is held, or vfiod was restarted since */
    RESUME_CHECKING,
    RESUME_OK,
    RESUME_FAILED,  /* a device is not: PlanMember.lost */
    RESUME_UNKNOWN, /* no worker could look at one */
    _RESUME_STATE_MAX,
    _RESUME_STATE_INVALID = -EINVAL,
} ResumeState;
DECLARE_STRING_TABLE(resume_state, ResumeState); /* "none", "checking", "ok", ... */

/* Of all devices or groups, and of the iommufd or container. */
#define CLAIM_NODES_MAX (REQUEST_DEVICES_MAX + 1U)

struct Claim {
    char id[CLAIM_ID_MAX];
    char of[CLAIM_ID_MAX]; /* the claim that its devices will join, or have left; "": none */
    ClaimState state;
    Plan plan;
    char lifeline[CLAIM_ID_MAX];          /* the id under which systemd keeps its tether; "": its own id */
    char connection[CONNECTION_NAME_MAX]; /* the connection that is its tether, "BUS:1.42" with the id of the
                                           * bus; "": none */
    /* While it moves to another holder: its tether before. The record has both, because after a crash nobody
     * knows whether the new holder learned of the move. */
    bool moving;
    TetherKind previous_tether;
    char previous_lifeline[CLAIM_ID_MAX];
    char previous_connection[CONNECTION_NAME_MAX];
    uid_t uid;                       /* owner */
    pid_t pid;                       /* of the requester, for display */
    char *command;                   /* owned; hostile text */
    char *unit;                      /* owned */
    char cookie[REQUEST_COOKIE_MAX]; /* chosen by its owner to find the claim again; "": none */
    char *reason;                    /* owned; the client's reason */
    Subject subject;                 /* the caller as the policy saw them, for evaluating a later policy */
    char ticket[TICKET_SECRET_MAX];  /* the secret of a reservation's ticket; "": not a reservation */
    uint64_t until_usec;    /* CLOCK_REALTIME, for display: when a reservation expires, or the deadline of a
                             * claim, once it is held; 0: none */
    uint64_t deadline_usec; /* the same in CLOCK_BOOTTIME, which cannot be set: this one decides. 0: none */
    ClaimNode *nodes;       /* owned */
    size_t n_nodes;
    Eviction eviction;       /* while the claim is held */
    Stop stop;               /* while the claim drains */
    uint64_t sleep_at_usec;  /* CLOCK_REALTIME: when the host is about to sleep; 0: it is not. Not recorded */
    ResumeState resume;      /* but for RESUME_FAILED, see claim_resume_state(). Not recorded */
    unsigned queue_position; /* while the claim waits: 1 is next; otherwise 0. Not recorded */
    bool denied;             /* by a policy that was loaded after the claim was made; not recorded */
    uint64_t since_usec;     /* CLOCK_REALTIME at the grant (or the request) */
    Refusal refusal;         /* why it failed or is quarantined; code is _VFIOD_ERROR_INVALID if neither */
};

#define CLAIM_NULL                                                                                           \
    (Claim) {                                                                                                \
        .plan.tethers = TETHERS_DEFAULT, .uid = (uid_t) -1, .subject = {.uid = (uid_t) -1, .pidfd = -EBADF}, \
        .refusal = {                                                                                         \
            .code = _VFIOD_ERROR_INVALID                                                                     \
        }                                                                                                    \
    }

void claim_done(Claim *c);
ResumeState claim_resume_state(const Claim *c);
/* The id under which systemd keeps its tether. */
const char *claim_lifeline(const Claim *c);
bool claim_id_is_valid(const char *id);
/* The ticket of a reservation, as the caller that redeems it passes it. */
const char *claim_format_ticket(const Claim *c, char buf[static REQUEST_TICKET_MAX]);
/* Is this its ticket? Takes the same time for every wrong secret. */
bool claim_has_ticket(const Claim *c, const char *ticket);
/* "/dev/iommu", or a path below "/dev/vfio/". */
bool claim_node_path_is_valid(const char *path);
