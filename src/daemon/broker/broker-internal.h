/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Shared by the parts of the broker: the broker itself, and questions to a policy. */

#include "base/rate-limit.h"
#include "daemon/broker/excerpts.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/bus-names.h"
#include "daemon/broker/holder-search.h"
#include "daemon/broker/logind.h"
#include "daemon/broker/polkit.h"
#include "daemon/broker/refusal-memory.h"
#include "daemon/broker/unit-job.h"
#include "daemon/broker/lifelines.h"
#include "daemon/broker/spare.h"
#include "daemon/broker/store.h"
#include "daemon/broker/usage.h"
#include "daemon/kernel/cgroup-watch.h"
#include "daemon/kernel/group-watch.h"
#include "daemon/kernel/node-watch.h"
#include "daemon/kernel/noiommu.h"
#include "daemon/kernel/worker.h"

typedef struct ClaimRun ClaimRun;
typedef struct VfChange VfChange;
typedef struct VfDeclared VfDeclared;

/* Quarantines of the kernel before a kexec, see recover-kept.h. Their plans have only what is in none yet. */
typedef struct KeptClaims {
    Claim *claims; /* owned */
    size_t n;
} KeptClaims;

typedef struct SiblingJob SiblingJob;
typedef struct StuckLook StuckLook;

struct Broker {
    sd_event *event;
    Inventory *inventory; /* borrowed */
    const Policy *policy; /* borrowed; NULL: none is valid */
    const Policy *shadow; /* borrowed; NULL: none */
    uint64_t shadow_differences;
    uint64_t policy_generation; /* counts the policies that were set */
    Excerpts excerpts;          /* of policy */
    RefusalMemory refusals;
    RateLimit explanations; /* of refusals, by uid, in one second */
    uint64_t explanations_since_usec;
    uid_t allowed_uid; /* of the last request; -1: that was refused */
    BrokerConfig config;
    Store *store;
    WorkerPool *workers;
    WorkerPool *lookers; /* workers that can read config space and kernel stacks, for nothing else */
    WorkerPool *setters; /* workers that can change network settings of virtual functions, for nothing else */
    Surveyor *surveyor;
    NodeWatch *nodes;
    Usage *usage;
    GroupWatch *groups;
    int cdi_directory; /* owned; -EBADF: none */
    HolderSearch *holders;
    Lifelines *lifelines;
    Spare *spare;
    CgroupWatch *groups_of_processes; /* control groups that claims are tied to */
    BusNames *names;                  /* bus connections that claims are tied to */
    NoiommuSwitch *noiommu;
    int (*read_weakness)(void *userdata, char **ret);
    void *weakness_userdata;
    bool raw_io; /* the process has CAP_SYS_RAWIO */
    Audit *audit;
    Figures figures;
    Auth *auth;
    Logind *logind;
    sd_event_source *sleep_timer; /* see sleep.h */
    bool sleep_is_near;
    UnitJobs *unit_jobs;
    VfDeclared *vf_declared;        /* see vf-declared.h */
    KeptClaims kept;                /* see recover-kept.h */
    bool vf_waits;                  /* some will be made after the end of a claim */
    VfChange *vf_changes;           /* in progress, see vf-count.h */
    SiblingJob *siblings;           /* in progress, see sibling.h */
    StuckLook *stuck_looks;         /* in progress, see stuck.c */
    sd_event_source *sibling_retry; /* for when no worker could be started */
    sd_event_source *leftovers;     /* searches for leftover overrides, and how far it is */
    DeviceName looked_at;
    bool has_looked;
    Queue queue;             /* of claims that wait for devices, see waiting.h */
    sd_event_source *turn;   /* of the queue: chooses the next request soon */
    uint64_t turns;          /* number of turns */
    sd_event_source *review; /* decides soon who has to give way to the next request */
    bool judge_all;          /* at the next turn: check all waiting requests against the policy */
    ClaimRun *claims;
    unsigned n_announced;
    unsigned n_makers; /* attached claims with devices that are made for them */
    claim_changed_t changed;
    void *changed_userdata;
    int (*refresh)(void *userdata, const DeviceName *name);
    void *refresh_userdata;
};

/* Finds the claim that the subject names, if it is theirs or they are root. 0, or refused: NoSuchClaim,
 * NotOwner. */
int broker_find_own(Broker *e, const char *name, const Subject *subject, ClaimRun **ret, Refusal *refusal);
uint64_t broker_now_usec(void); /* CLOCK_REALTIME */
/* A device of a claim has disappeared. True: the claim continues without it; otherwise j may be freed. */
bool broker_feed_gone(ClaimRun *j, const DeviceName *name, const char *why);
/* After a claim's end: restores what the remaining claims do not need. */
void broker_settle(Broker *e);

/* A question to a policy about a device as it is now, with the facts of the mask as far as the survey has
 * them. A device that had a host driver before a claim has that driver here, because rules may mention it. */
typedef struct BrokerQuestion {
    PolicyQuestion question;
    Device device;
} BrokerQuestion;

/* Makes a question. plan: that of the claim that has the device; NULL: none. Everything is borrowed, and the
 * survey must not change meanwhile. */
/* The device that the policy is asked about. For one that is not made yet, a stand-in is written to
 * *template. NULL: there is none. */
const Device *broker_find_asked(Broker *e, const DeviceName *name, Device *template);
void broker_question_init(BrokerQuestion *q, Survey *survey, unsigned facts, const Subject *subject,
        const Device *d, const Plan *plan);

/* Reads everything that the inquiry wants. 0, -EAGAIN or -ENOMEM. */
int broker_inquire(Broker *e, BrokerInquiry *q);
/* broker_plan() for a claim that has its cookie already. */
int broker_make_plan(Broker *e, BrokerInquiry *q, const Request *request, const Subject *subject, Plan *ret,
        Refusal *refusal);
/* Reads the facts of the mask for all existing devices of a request. Returns like broker_inquire(). */
int broker_inquire_for_policy(Broker *e, BrokerInquiry *q, unsigned facts, const Request *request);
/* For a caller that cannot wait: facts that may sleep are unknown. */
void broker_take_now(Broker *e, Survey *survey);

/* broker_acquire(), broker_reserve() and broker_add_devices(), after their checks. wish: of a reservation;
 * NULL: a claim. */
void broker_begin(Broker *e, const Request *request, const ReserveWish *wish, const Subject *subject,
        const Asker *asker, acquire_done_t done, void *userdata);

/* Continues with a claim that is not decided yet, which may free it. */
void broker_decide(ClaimRun *j);
/* Remembers, like a refusal, that an allowed claim has failed. */
void broker_note_failure(Broker *e, const Claim *c);
/* Counts and logs where the shadow policy would decide differently. The survey must have the facts of
 * broker_shadow_facts() for every device. */
void broker_compare_shadow(Broker *e, Survey *survey, const Request *request, const Subject *subject);
unsigned broker_shadow_facts(const Broker *e);
/* For the journal, and for later explanations. */
void broker_note_refusal(Broker *e, const Request *request, const Subject *subject, const Refusal *refusal);
