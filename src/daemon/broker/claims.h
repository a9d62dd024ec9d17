/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The claims that there are: their list, whose they are, which devices they have, and what they count for
 * against limits. A claim's state is changed by claim-run.c alone. Private to the broker. */

#include "core/claim.h"
#include "daemon/broker/broker-internal.h"
#include "daemon/broker/group-files.h"
#include "daemon/broker/holder-search.h"
#include "daemon/kernel/node-acl.h"

typedef struct ClaimQuestion ClaimQuestion;
typedef struct Lifeline Lifeline;
typedef struct Waiting Waiting;
typedef struct Kept Kept;

#define CLAIM_RUN_EVENTS_MAX 16U
#define CLAIM_RUN_FDS_MAX 16U /* what one bus message carries */

/* Workers go through the members one by one. */
typedef struct ClaimWork {
    WorkerOperation operation;
    size_t index;      /* how many members are done */
    unsigned attempts; /* for the one that comes now */
    bool begun;        /* a worker has reported a step of it in this attempt */
    DriverStep step;   /* the last that it reported */
    sd_event_source *retry;
    bool scrubbed; /* the one that comes now */
    UnitJob *unit; /* owned; under way, for that */
} ClaimWork;

struct ClaimRun {
    Claim claim; /* first: a Claim * of the broker is a ClaimRun * */
    Broker *broker;
    ClaimRun *next; /* broker.claims */

    acquire_done_t done; /* NULL once the caller has its answer, or is gone */
    void *userdata;
    const Subject *subject; /* borrowed, the caller's: there as long as done is */

    ClaimEvent events[CLAIM_RUN_EVENTS_MAX]; /* ring: effects feed events while one is being handled */
    unsigned first_event, n_events;
    unsigned deferred; /* mask of 1 << ClaimEvent */
    bool charged;      /* to the budget of its uid */
    bool feeding, attached, announced, granted;
    bool told, untold; /* listeners know of it; and do not know its state yet */
    bool doubt;        /* no event tells when its devices are closed */
    bool resumed;      /* its files were handed out by an earlier process */
    bool overdue;      /* the close of those is taking long: it may have been missed */
    bool left_over;    /* its quarantine was over nothing; tried once */
    bool late;         /* a worker of ours was late with a device of it */
    bool returned;     /* and has come back; tried once */
    bool searched;     /* no process was found that has them open */
    bool recycling;    /* a device may have been taken from its vfio driver, and not given back */
    bool doubt_told;   /* that nobody can find out whether its devices are closed */
    bool stuck;        /* the worker that does that did not come back */
    bool save_failed, retract_failed;
    bool for_other;     /* a reservation for another user than the caller */
    bool described;     /* its nodes, in a file of cdi-files.c */
    bool wanted;        /* by a request that waits, to which it has to give way */
    uid_t wanted_by;    /* whose request that is, or was */
    bool spared;        /* root has ended an eviction for such a request: there is no other */
    bool dirty, stored; /* the record: must be written; is on disk */

    UsageCharge *charge;     /* owned; NULL before it is allowed */
    ClaimQuestion *question; /* owned; until it is decided */
    Waiting *waiting;        /* owned; once it has had to wait, until it is decided */
    WorkerTask *task;        /* borrowed from the pool, while a worker runs for us */
    WorkerTask *keeper;      /* likewise, while it has a copy of what was opened */
    WorkerTask *joined_keepers[REQUEST_DEVICES_MAX - 1]; /* of the parts that have joined */
    ClaimWork work;
    UnitJob *loading; /* owned; before that, while a module is loaded... */
    size_t n_loaded;  /* ...for this member */
    /* What it hangs on; of these at most one. */
    Lifeline *lifeline;
    Kept *kept;
    bool connection_gone; /* the connection of the bus that it hung on */
    HolderQuery *query;   /* while it is asked who has its devices open */
    NodeEntry *nodes[REQUEST_DEVICES_MAX];
    size_t n_nodes;
    GrantedFd fds[CLAIM_RUN_FDS_MAX]; /* owned, between OPENING and the reply */
    size_t n_fds;
    GroupFiles group_files;  /* that stay open, of the backend compat */
    NodeAclWatch *node_acls; /* owned; over the permissions of its nodes, while it is held */
    NodeAclWatch *removals;  /* owned; over nodes of which nothing else tells that they are removed */
    unsigned n_repairs;      /* of these */
    sd_event_source *recheck;
    uint64_t recheck_usec;
    sd_event_source *expiry;    /* of a reservation */
    bool sleep_ready;           /* its holder said that the host can sleep */
    WorkerTask *resumer;        /* borrowed from the pool, while it looks at a device after a sleep... */
    DeviceName resuming;        /* ...which is this one */
    bool resume_unsure;         /* one of them could not be looked at */
    sd_event_source *eviction;  /* its time */
    sd_event_source *pause;     /* until it can be evicted for a request again */
    sd_event_source *stop;      /* likewise, of stopping who has its devices open */
    WorkerTask *stopper;        /* borrowed from the pool, while it does that */
    bool spared_told;           /* that some who have them open are not stopped */
    uint64_t ttl_usec;          /* from when it is given */
    size_t n_looked;            /* how many of its devices a worker was sent to, see claim-caps.h */
    size_t n_woken;             /* how many of its devices have power, see claim-power.h */
    void (*go_on)(ClaimRun *j); /* when it is back */
    size_t n_asked;             /* how much of the kernel was asked about it */
    ClaimEnd end;               /* why it ends, once it does */
};

/* Random, so that an id says nothing about others. 0 or -EIO. */
int claims_make_id(char id[static CLAIM_ID_MAX]);

ClaimRun *claim_run_new(Broker *e);
ClaimRun *claim_run_free(ClaimRun *j);
DEFINE_TRIVIAL_CLEANUP_FUNC(ClaimRun *, claim_run_free);

/* Makes the inventory's devices and groups point to this claim; again after entries may have been replaced.
 */
void claim_run_attach(ClaimRun *j);
/* Nothing of the inventory points to it any more. */
void claim_run_detach(ClaimRun *j);
/* The workers that opened the devices need not keep their copies any longer. */
void claim_run_drop_keeper(ClaimRun *j);
/* part has joined j: its worker keeps the copy until j needs none. */
void claim_run_take_keeper(ClaimRun *j, ClaimRun *part);
/* For a quarantine: lets go of every device that is not bad. */
void claim_run_keep_bad(ClaimRun *j);
/* The device of the plan as it is now; NULL when it is gone or another one sits at its place. */
Device *claim_run_find_device(const ClaimRun *j, const PlanMember *m);

ClaimRun *claims_find(Broker *e, const char *id);
/* The claim of this user with this cookie. One in quarantine has lost it: only the operator can end that, and
 * the name shall be free. */
ClaimRun *claims_find_cookie(Broker *e, uid_t uid, const char *cookie);
/* As callers name it: by its id, or as "cookie:COOKIE", which is always their own. */
ClaimRun *claims_find_named(Broker *e, const char *name, const Subject *subject);
/* The claim whose plan has the device among its members, whatever the inventory says. */
ClaimRun *claims_find_naming(Broker *e, const DeviceName *name);
/* One of two claims over the same device would take it from under the other when it ends. */
const ClaimRun *claims_find_rival(const Broker *e, const Plan *plan);

/* It is allowed, for what is in its question: counts it against the limits of its rules, until it is freed,
 * and finds what it is to hang on. 0, or refused. */
int claim_run_allow(ClaimRun *j);
/* Whom the policy judges: the caller, or the user that a device is reserved for. */
const Subject *claim_run_judged(const ClaimRun *j);
/* find_maker_t; userdata is the broker. */
const Claim *claims_find_maker(void *userdata, const DeviceName *parent);
/* count_promised_t; likewise. */
unsigned claims_count_promised(void *userdata, const MdevType *type, const Claim **ret_first);
