/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One claim: who holds which devices, by which plan, in which state. The engine owns claims; everybody else
 * looks. */

#include "core/acl.h"
#include "core/eviction.h"
#include "core/machine.h"
#include "core/plan.h"

#define CONNECTION_NAME_MAX 80U

/* A ticket is the id of its reservation and a secret of 128 bits, "0123456789abcdef-…". */
#define TICKET_SECRET_MAX 33U /* hex digits + NUL */

/* A node that the client opens by itself (GRANT_NODE). */
typedef struct ClaimNode {
    char path[48];
    uint64_t inode, rdev; /* it is another one when it is made anew */
    bool ours;  /* its access control list has, or is about to have, an entry of ours for the owner */
    Acl before; /* the list without any entry of ours */
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
    char of[CLAIM_ID_MAX]; /* the claim that its devices are to join, or have left; "": it stands alone */
    ClaimState state;
    Plan plan;
    char lifeline[CLAIM_ID_MAX];          /* the id under which systemd keeps what it hangs on; "": its own */
    char connection[CONNECTION_NAME_MAX]; /* that it hangs on, "BUS:1.42" with the id of the bus; "": none */
    /* While it moves to another holder: what it hung on before. The record names both, for nobody knows
     * whether the new holder has got the news when we die. */
    bool moving;
    TetherKind previous_tether;
    char previous_lifeline[CLAIM_ID_MAX];
    char previous_connection[CONNECTION_NAME_MAX];
    uid_t uid;                       /* owner */
    pid_t pid;                       /* of the requester, for display */
    char *command;                   /* owned; hostile text */
    char *unit;                      /* owned */
    char cookie[REQUEST_COOKIE_MAX]; /* chosen by its owner, to find it again; "": none */
    char *reason;                    /* owned; what the client said it is for */
    Subject subject; /* the caller, as the policy saw them: what a later policy would say can be asked */
    char ticket[TICKET_SECRET_MAX]; /* the secret of a reservation's ticket; "": it is none */
    uint64_t until_usec; /* CLOCK_REALTIME, for people: when a reservation expires; of a claim its deadline,
                          * once it is held; 0: it has none */
    uint64_t deadline_usec; /* the same, CLOCK_BOOTTIME, which nobody sets: this one counts. 0 when it was */
    ClaimNode *nodes;       /* owned */
    size_t n_nodes;
    Eviction eviction;       /* while it is held */
    Stop stop;               /* while it drains */
    uint64_t sleep_at_usec;  /* CLOCK_REALTIME: the host is about to sleep; 0: it is not. Not recorded */
    ResumeState resume;      /* but for RESUME_FAILED, see claim_resume_state(). Not recorded */
    unsigned queue_position; /* while it waits: 1 is next; otherwise 0. Not recorded */
    bool denied;         /* by the policy of now, which was loaded after the claim was made; not recorded */
    uint64_t since_usec; /* CLOCK_REALTIME at the grant (or the request) */
    Refusal refusal;     /* why it failed or is quarantined; code is _VFIOD_ERROR_INVALID while all is well */
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
/* The id under which systemd keeps what it hangs on. */
const char *claim_lifeline(const Claim *c);
bool claim_id_is_valid(const char *id);
/* The ticket of a reservation, as its redeemer gives it. */
const char *claim_format_ticket(const Claim *c, char buf[static REQUEST_TICKET_MAX]);
/* Is this its ticket? Takes the same time for every secret that is wrong. */
bool claim_has_ticket(const Claim *c, const char *ticket);
/* "/dev/iommu", or what is below "/dev/vfio/". */
bool claim_node_path_is_valid(const char *path);
