/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The list of claims: their owners, their devices, and what they count against limits. Only claim-run.c
 * changes the state of a claim. Private to the broker. */

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
#define CLAIM_RUN_FDS_MAX 16U /* as many as fit into one bus message */

/* Workers go through the members one by one. */
typedef struct ClaimWork {
    WorkerOperation operation;
    size_t index;      /* how many members are done */
    unsigned attempts; /* for the current member */
    bool begun;        /* a worker has reported a step of it in this attempt */
    DriverStep step;   /* the last that it reported */
    sd_event_source *retry;
    bool scrubbed; /* the current member was */
    bool waits;    /* until sibling.c has finished with the current member */
    UnitJob *unit; /* owned; the scrub that runs for it */
} ClaimWork;

struct ClaimRun {
    ClaimRun *next; /* in broker.claims; beside the id in the claim, by which claims are searched */
    Claim claim;
    Broker *broker;

    acquire_done_t done; /* NULL once the caller has its answer or is gone */
    void *userdata;
    const Subject *subject; /* borrowed; it stays as long as done */

    ClaimEvent events[CLAIM_RUN_EVENTS_MAX]; /* a ring: effects feed events while one is handled */
    unsigned first_event, n_events;
    unsigned deferred; /* mask of 1 << ClaimEvent */
    bool charged;      /* to the budget of its uid */
    bool feeding, attached, announced, granted;
    bool makes;        /* while attached: one of its devices is made for it, see broker.n_makers */
    bool told, untold; /* listeners know of it; they do not know its state yet */
    bool doubt;        /* no event reports that its devices are closed */
    bool resumed;      /* its files were handed out by an earlier process */
    bool overdue;      /* closing those files takes long: the event may have been missed */
    bool left_over;    /* its quarantine has no bad device; tried once */
    bool late;         /* a worker for one of its devices was late */
    bool returned;     /* that worker has come back; tried once */
    bool searched;     /* the search found no process that has them open */
    bool recycling;    /* a device may have been taken from its vfio driver, and not given back */
    bool doubt_told;   /* it was logged that nobody can find out whether its devices are closed */
    bool stuck;        /* the worker that recycles a device did not come back */
    bool save_failed, retract_failed;
    bool for_other;     /* a reservation for another user than the caller */
    bool described;     /* a file of cdi-files.c describes its nodes */
    bool wanted;        /* by a request in the queue, so it must give way */
    uid_t wanted_by;    /* the user of that request, also when it is gone */
    bool spared;        /* root cancelled an eviction for such a request: there will be no other */
    bool dirty, stored; /* the record must be written; the record is on disk */

    UsageCharge *charge;     /* owned; NULL before it is allowed */
    ClaimQuestion *question; /* owned; NULL when it is decided */
    Waiting *waiting;        /* owned; from its first wait until it is decided */
    WorkerTask *task;        /* borrowed from the pool, while a worker runs for us */
    WorkerTask *keeper;      /* borrowed from the pool, while it keeps a copy of the opened files */
    WorkerTask *joined_keepers[REQUEST_DEVICES_MAX - 1]; /* of the parts that have joined */
    ClaimWork work;
    UnitJob *loading; /* owned; before the work, while a module is loaded... */
    size_t n_loaded;  /* ...for this member */
    /* What its tether is. At most one of these is set. */
    Lifeline *lifeline;
    Kept *kept;
    bool connection_gone; /* the bus connection of its tether is gone */
    HolderQuery *query;   /* while a search for the processes that have its devices open runs */
    NodeEntry *nodes[REQUEST_DEVICES_MAX];
    size_t n_nodes;
    GrantedFd fds[CLAIM_RUN_FDS_MAX]; /* owned, between OPENING and the reply */
    size_t n_fds;
    GroupFiles group_files;  /* which stay open, for the backend compat */
    NodeAclWatch *node_acls; /* owned; over the permissions of its nodes, while it is held */
    NodeAclWatch *removals;  /* owned; watches nodes whose removal nothing else reports */
    unsigned n_repairs;      /* number of repairs of their permissions */
    sd_event_source *recheck;
    uint64_t recheck_usec;
    sd_event_source *expiry;    /* of a reservation */
    bool sleep_ready;           /* its holder reported that the host may sleep */
    WorkerTask *resumer;        /* borrowed from the pool, while it looks at a device after a sleep... */
    DeviceName resuming;        /* ...which is this one */
    bool resume_unsure;         /* one device could not be checked */
    sd_event_source *eviction;  /* the timer of an eviction */
    sd_event_source *pause;     /* the timer until it can be evicted for a request again */
    sd_event_source *stop;      /* the timer for stopping the processes that have its devices open */
    WorkerTask *stopper;        /* borrowed from the pool, while it stops them */
    bool spared_told;           /* it was logged that some of these processes are not stopped */
    uint64_t ttl_usec;          /* counts from when the ticket is given */
    size_t n_looked;            /* the number of its devices that were sent to a worker, see claim-caps.h */
    size_t n_woken;             /* the number of its devices that have power, see claim-power.h */
    void (*go_on)(ClaimRun *j); /* called when that worker returns */
    size_t n_asked;             /* the number of questions that the kernel was asked about it */
    ClaimEnd end;               /* why it ends, set when it does */
};

/* An id is random, so that it reveals nothing about other claims. Returns 0 or -EIO. */
int claims_make_id(char id[static CLAIM_ID_MAX]);

ClaimRun *claim_run_new(Broker *e);
ClaimRun *claim_run_free(ClaimRun *j);
DEFINE_TRIVIAL_CLEANUP_FUNC(ClaimRun *, claim_run_free);

/* Points the inventory's devices and groups to this claim. Call it again after entries may have been
 * replaced. */
void claim_run_attach(ClaimRun *j);
/* Removes all pointers from the inventory to it. */
void claim_run_detach(ClaimRun *j);
/* The workers that opened the devices no longer keep their copies. */
void claim_run_drop_keeper(ClaimRun *j);
/* part has joined j: its worker keeps the copy until j needs it no more. */
void claim_run_take_keeper(ClaimRun *j, ClaimRun *part);
/* For a quarantine: releases every device that is not bad. */
void claim_run_keep_bad(ClaimRun *j);
/* The planned device as it is now; NULL if it is gone or another one is at its place. */
Device *claim_run_find_device(const ClaimRun *j, const PlanMember *m);

ClaimRun *claims_find(Broker *e, const char *id);
/* The claim of this user with this cookie. A claim in quarantine has lost its cookie: only the operator can
 * end the quarantine, and the user may use the cookie again. */
ClaimRun *claims_find_cookie(Broker *e, uid_t uid, const char *cookie);
/* By the name that callers use: an id, or "cookie:COOKIE" for a claim of their own. */
ClaimRun *claims_find_named(Broker *e, const char *name, const Subject *subject);
/* The claim whose plan has the device as a member, whatever the inventory says. */
ClaimRun *claims_find_naming(Broker *e, const DeviceName *name);
/* A claim over a device of this plan. If there were two, the one that ends first would take the device from
 * the other. */
const ClaimRun *claims_find_rival(const Broker *e, const Plan *plan);

/* The claim was allowed. Counts it against the limits of its rules until it is freed, and finds its tether.
 * Returns 0 or refuses. */
int claim_run_allow(ClaimRun *j);
/* The subject that the policy judges: the caller, or the user that a device is reserved for. */
const Subject *claim_run_judged(const ClaimRun *j);
/* A find_maker_t; userdata is the broker. */
const Claim *claims_find_maker(void *userdata, const DeviceName *parent);
/* A count_promised_t; userdata is the broker. */
unsigned claims_count_promised(void *userdata, const MdevType *type, const Claim **ret_first);
