/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One claim on its way: the claim itself, and what runs for it. job_feed() is the only place where a claim's
 * state changes: it asks core/machine.h, sets the state, announces it, and runs the effects, each of which
 * ends in further events. Private to the engine. */

#include "base/rate-limit.h"
#include "core/claim.h"
#include "daemon/audit.h"
#include "daemon/auth.h"
#include "daemon/engine.h"
#include "daemon/lifeline.h"
#include "daemon/node-watch.h"
#include "daemon/noiommu.h"
#include "daemon/refusal-memory.h"
#include "daemon/store.h"
#include "daemon/worker.h"

typedef struct Job Job;
typedef struct JobQuestion JobQuestion;

struct Engine {
    sd_event *event;
    Inventory *inventory; /* borrowed */
    const Policy *policy; /* borrowed; NULL: none valid */
    const Policy *shadow; /* borrowed; NULL: none */
    uint64_t shadow_differences;
    uint64_t policy_generation; /* counts the policies that were set */
    RefusalMemory refusals;
    RateLimit explanations; /* of refusals, by uid, in one second */
    uint64_t explanations_since_usec;
    EngineConfig config;
    Store *store;
    WorkerPool *workers;
    NodeWatch *nodes;
    NoiommuSwitch *noiommu;
    int (*read_weakness)(void *userdata, char **ret);
    void *weakness_userdata;
    bool raw_io; /* CAP_SYS_RAWIO was kept */
    Audit *audit;
    Auth *auth;
    Job *jobs;
    unsigned n_jobs;
    claim_changed_t changed;
    void *changed_userdata;
    int (*refresh)(void *userdata, const DeviceName *name);
    void *refresh_userdata;
};

#define JOB_EVENTS_MAX 16U
#define JOB_FDS_MAX 16U /* what one bus message carries */

struct Job {
    Claim claim; /* first: a Claim * of the engine is a Job * */
    Engine *engine;
    Job *next; /* engine.jobs */

    acquire_done_t done; /* NULL once the caller has its answer, or is gone */
    void *userdata;
    const Subject *subject; /* borrowed, the caller's: there as long as done is */

    ClaimEvent events[JOB_EVENTS_MAX]; /* ring: effects feed events while one is being handled */
    unsigned first_event, n_events;
    unsigned deferred; /* mask of 1 << ClaimEvent */
    bool feeding, attached, announced, granted;
    bool blind;   /* a node could not be watched: no event will tell that it is closed */
    bool touched; /* a worker was sent to its devices: there may be something to put back */
    bool save_failed;
    bool dirty, stored; /* the record: must be written; is on disk */

    JobQuestion *question; /* owned; while a person is asked */
    WorkerTask *task;      /* borrowed from the pool, while a worker runs for us */
    Lifeline *lifeline;
    NodeEntry *nodes[REQUEST_DEVICES_MAX];
    size_t n_nodes;
    GrantedFd fds[JOB_FDS_MAX]; /* owned, between OPENING and the reply */
    size_t n_fds;
    sd_event_source *recheck;
    uint64_t recheck_usec;
};

/* After a claim's end: what the claims that are left do not need goes back to what it was. */
void engine_settle(Engine *e);

/* A question to a policy about a device as it is now, with the facts that the mask asks for. What had a host
 * driver before a claim has it here: rules may speak of that. */
typedef struct EngineQuestion {
    PolicyQuestion question;
    Device device;
    DeviceFacts facts;
} EngineQuestion;

#define ENGINE_QUESTION_NULL                                                                                 \
    (EngineQuestion) {                                                                                       \
        .facts = {.numa_node = -1, .enable_count = -1 }                                                      \
    }
/* plan: of the claim that has the device, NULL: none has. Everything is borrowed. */
void engine_question_init(EngineQuestion *q, Engine *e, unsigned facts, const Subject *subject,
        const Device *d, const Plan *plan);
void engine_question_done(EngineQuestion *q);

/* Remembers that a claim that the policy allowed came to nothing, as it remembers refusals. */
void engine_note_failure(Engine *e, const Claim *c);
/* Counts and logs where the policy in shadow would decide otherwise. */
void engine_compare_shadow(Engine *e, const Request *request, const Subject *subject);
/* For the journal, and for who asks why. */
void engine_note_refusal(Engine *e, const Request *request, const Subject *subject, const Refusal *refusal);

Job *job_new(Engine *e);
Job *job_free(Job *j);
DEFINE_TRIVIAL_CLEANUP_FUNC(Job *, job_free);

/* Does this claim need the kernel to let devices be opened without an IOMMU? One in quarantine does not:
 * nobody has its device, and nobody gets it. */
bool job_needs_noiommu(const Job *j);

/* Before CLAIM_EVENT_ASK: what is needed to ask and to plan again. 0 or -ENOMEM. */
int job_prepare_question(Job *j, const Request *request, const Asker *asker);
JobQuestion *job_question_free(JobQuestion *q);
DEFINE_TRIVIAL_CLEANUP_FUNC(JobQuestion *, job_question_free);
/* Has a person asked, whose answer is an event. 0, or a negative errno with the claim's refusal filled. */
int job_ask(Job *j);

/* Feeds one event and everything that follows from it. j may be gone afterwards. */
void job_feed(Job *j, ClaimEvent event);
/* Makes the inventory's devices and groups point to this claim; again after entries may have been replaced.
 */
void job_attach(Job *j);
/* For recovery: watches the nodes again, without knowing what happened to them meanwhile. */
void job_watch_recovered(Job *j);
int job_adopt_lifeline(Job *j, int fd);
