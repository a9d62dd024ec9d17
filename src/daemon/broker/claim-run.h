/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One claim on its way: the claim itself, and what runs for it. claim_run_feed() is the only place where a
 * claim's state changes: it asks core/machine.h, sets the state, announces it, and runs the effects, each of
 * which ends in further events. Private to the broker. */

#include "base/rate-limit.h"
#include "core/claim.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/polkit.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/tether-lifeline.h"
#include "daemon/kernel/node-watch.h"
#include "daemon/kernel/noiommu.h"
#include "daemon/broker/refusal-memory.h"
#include "daemon/broker/store.h"
#include "daemon/kernel/worker.h"

typedef struct ClaimRun ClaimRun;
typedef struct ClaimQuestion ClaimQuestion;

struct Broker {
    sd_event *event;
    Inventory *inventory; /* borrowed */
    const Policy *policy; /* borrowed; NULL: none valid */
    const Policy *shadow; /* borrowed; NULL: none */
    uint64_t shadow_differences;
    uint64_t policy_generation; /* counts the policies that were set */
    RefusalMemory refusals;
    RateLimit explanations; /* of refusals, by uid, in one second */
    uint64_t explanations_since_usec;
    BrokerConfig config;
    Store *store;
    WorkerPool *workers;
    NodeWatch *nodes;
    NoiommuSwitch *noiommu;
    int (*read_weakness)(void *userdata, char **ret);
    void *weakness_userdata;
    bool raw_io; /* CAP_SYS_RAWIO was kept */
    Audit *audit;
    Auth *auth;
    ClaimRun *jobs;
    unsigned n_jobs;
    claim_changed_t changed;
    void *changed_userdata;
    int (*refresh)(void *userdata, const DeviceName *name);
    void *refresh_userdata;
};

#define CLAIM_RUN_EVENTS_MAX 16U
#define CLAIM_RUN_FDS_MAX 16U /* what one bus message carries */

struct ClaimRun {
    Claim claim; /* first: a Claim * of the broker is a ClaimRun * */
    Broker *broker;
    ClaimRun *next; /* broker.jobs */

    acquire_done_t done; /* NULL once the caller has its answer, or is gone */
    void *userdata;
    const Subject *subject; /* borrowed, the caller's: there as long as done is */

    ClaimEvent events[CLAIM_RUN_EVENTS_MAX]; /* ring: effects feed events while one is being handled */
    unsigned first_event, n_events;
    unsigned deferred; /* mask of 1 << ClaimEvent */
    bool feeding, attached, announced, granted;
    bool blind;   /* a node could not be watched: no event will tell that it is closed */
    bool touched; /* a worker was sent to its devices: there may be something to put back */
    bool save_failed;
    bool dirty, stored; /* the record: must be written; is on disk */

    ClaimQuestion *question; /* owned; while a person is asked */
    WorkerTask *task;        /* borrowed from the pool, while a worker runs for us */
    Lifeline *lifeline;
    NodeEntry *nodes[REQUEST_DEVICES_MAX];
    size_t n_nodes;
    GrantedFd fds[CLAIM_RUN_FDS_MAX]; /* owned, between OPENING and the reply */
    size_t n_fds;
    sd_event_source *recheck;
    uint64_t recheck_usec;
};

/* After a claim's end: what the claims that are left do not need goes back to what it was. */
void broker_settle(Broker *e);

/* A question to a policy about a device as it is now, with the facts that the mask asks for. What had a host
 * driver before a claim has it here: rules may speak of that. */
typedef struct BrokerQuestion {
    PolicyQuestion question;
    Device device;
    DeviceFacts facts;
} BrokerQuestion;

#define BROKER_QUESTION_NULL                                                                                 \
    (BrokerQuestion) {                                                                                       \
        .facts = {.numa_node = -1, .enable_count = -1 }                                                      \
    }
/* plan: of the claim that has the device, NULL: none has. Everything is borrowed. */
void broker_question_init(BrokerQuestion *q, Broker *e, unsigned facts, const Subject *subject,
        const Device *d, const Plan *plan);
void broker_question_done(BrokerQuestion *q);

/* Remembers that a claim that the policy allowed came to nothing, as it remembers refusals. */
void broker_note_failure(Broker *e, const Claim *c);
/* Counts and logs where the policy in shadow would decide otherwise. */
void broker_compare_shadow(Broker *e, const Request *request, const Subject *subject);
/* For the journal, and for who asks why. */
void broker_note_refusal(Broker *e, const Request *request, const Subject *subject, const Refusal *refusal);

ClaimRun *claim_run_new(Broker *e);
ClaimRun *claim_run_free(ClaimRun *j);
DEFINE_TRIVIAL_CLEANUP_FUNC(ClaimRun *, claim_run_free);

/* Does this claim need the kernel to let devices be opened without an IOMMU? One in quarantine does not:
 * nobody has its device, and nobody gets it. */
bool claim_run_needs_noiommu(const ClaimRun *j);

/* Before CLAIM_EVENT_ASK: what is needed to ask and to plan again. 0 or -ENOMEM. */
int claim_run_prepare_question(ClaimRun *j, const Request *request, const Asker *asker);
ClaimQuestion *claim_question_free(ClaimQuestion *q);
DEFINE_TRIVIAL_CLEANUP_FUNC(ClaimQuestion *, claim_question_free);
/* Has a person asked, whose answer is an event. 0, or a negative errno with the claim's refusal filled. */
int claim_run_ask(ClaimRun *j);

/* Feeds one event and everything that follows from it. j may be gone afterwards. */
void claim_run_feed(ClaimRun *j, ClaimEvent event);
/* Makes the inventory's devices and groups point to this claim; again after entries may have been replaced.
 */
void claim_run_attach(ClaimRun *j);
/* For recovery: watches the nodes again, without knowing what happened to them meanwhile. */
void claim_run_watch_recovered(ClaimRun *j);
int claim_run_adopt_lifeline(ClaimRun *j, int fd);
