/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of the broker share: the broker itself, and questions to a policy. Private to the broker. */

#include "base/rate-limit.h"
#include "daemon/broker/excerpts.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/bus-names.h"
#include "daemon/broker/holder-search.h"
#include "daemon/broker/logind.h"
#include "daemon/broker/polkit.h"
#include "daemon/broker/refusal-memory.h"
#include "daemon/broker/scrub.h"
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
typedef struct SiblingJob SiblingJob;

struct Broker {
    sd_event *event;
    Inventory *inventory; /* borrowed */
    const Policy *policy; /* borrowed; NULL: none valid */
    const Policy *shadow; /* borrowed; NULL: none */
    uint64_t shadow_differences;
    uint64_t policy_generation; /* counts the policies that were set */
    Excerpts excerpts;          /* of policy */
    RefusalMemory refusals;
    RateLimit explanations; /* of refusals, by uid, in one second */
    uint64_t explanations_since_usec;
    uid_t allowed_uid; /* of the last request, -1: it was refused */
    BrokerConfig config;
    Store *store;
    WorkerPool *workers;
    WorkerPool *lookers; /* may read config space, and do nothing but look */
    WorkerPool *setters; /* may set what network cards keep for virtual functions, and do nothing else */
    Surveyor *surveyor;
    NodeWatch *nodes;
    Usage *usage;
    GroupWatch *groups;
    int cdi_directory; /* owned; -EBADF: none */
    HolderSearch *holders;
    Lifelines *lifelines;
    Spare *spare;
    CgroupWatch *groups_of_processes; /* that claims hang on */
    BusNames *names;                  /* likewise, connections */
    NoiommuSwitch *noiommu;
    int (*read_weakness)(void *userdata, char **ret);
    void *weakness_userdata;
    bool raw_io; /* CAP_SYS_RAWIO was kept */
    Audit *audit;
    Figures figures;
    Auth *auth;
    Logind *logind;
    sd_event_source *sleep_timer; /* see sleep.h */
    bool sleep_is_near;
    Scrubber *scrubber;
    VfDeclared *vf_declared;        /* see vf-declared.h */
    bool vf_waits;                  /* some are made after the end of a claim */
    VfChange *vf_changes;           /* under way, see vf-count.h */
    SiblingJob *siblings;           /* likewise, see sibling.h */
    sd_event_source *sibling_retry; /* no worker could be started */
    sd_event_source *leftovers;     /* likewise, while it looks for them, and up to which device it has */
    DeviceName looked_at;
    bool has_looked;
    Queue queue;             /* of claims that wait for devices, see waiting.h */
    sd_event_source *turn;   /* of the queue: who is next is looked for soon */
    uint64_t turns;          /* counts that */
    sd_event_source *review; /* who has to give way to it is looked for soon */
    bool judge_all;          /* at the next turn: whom the policy denies now */
    ClaimRun *claims;
    unsigned n_claims;
    claim_changed_t changed;
    void *changed_userdata;
    int (*refresh)(void *userdata, const DeviceName *name);
    void *refresh_userdata;
};

/* The claim, as the subject names it, if it is theirs or they are the operator. 0, or refused: NoSuchClaim,
 * NotOwner. */
int broker_find_own(Broker *e, const char *name, const Subject *subject, ClaimRun **ret, Refusal *refusal);
uint64_t broker_now_usec(void); /* CLOCK_REALTIME */
/* A device that a claim holds went away. True: the claim goes on without it; otherwise j may be gone
 * afterwards. */
bool broker_feed_gone(ClaimRun *j, const DeviceName *name, const char *why);
/* After a claim's end: what the claims that are left do not need goes back to what it was. */
void broker_settle(Broker *e);

/* A question to a policy about a device as it is now, with the facts of the mask as far as the survey has
 * them. What had a host driver before a claim has it here: rules may mention that. */
typedef struct BrokerQuestion {
    PolicyQuestion question;
    Device device;
} BrokerQuestion;

/* plan: of the claim that has the device, NULL: none has. Everything is borrowed, and the survey must not
 * change. */
/* What the policy is asked about: the device, or what stands for it while it is not made yet, which is
 * written to *template. NULL: there is none. */
const Device *broker_find_asked(Broker *e, const DeviceName *name, Device *template);
void broker_question_init(BrokerQuestion *q, Survey *survey, unsigned facts, const Subject *subject,
        const Device *d, const Plan *plan);

/* Has everything looked for that the inquiry wants. 0, -EAGAIN, -ENOMEM. */
int broker_inquire(Broker *e, BrokerInquiry *q);
/* broker_plan() for a claim that has its cookie already. */
int broker_make_plan(Broker *e, BrokerInquiry *q, const Request *request, const Subject *subject, Plan *ret,
        Refusal *refusal);
/* The facts that a policy asks about, of all devices of a request that are there. Likewise. */
int broker_inquire_for_policy(Broker *e, BrokerInquiry *q, unsigned facts, const Request *request);
/* For somebody who cannot wait: what may sleep is unknown. */
void broker_take_now(Broker *e, Survey *survey);

/* broker_acquire(), broker_reserve() and broker_add_devices(), when nothing is in the way of asking. wish: of
 * a reservation; NULL: it is a claim. */
void broker_begin(Broker *e, const Request *request, const ReserveWish *wish, const Subject *subject,
        const Asker *asker, acquire_done_t done, void *userdata);

/* Goes on with a claim that is not decided yet, which may be its end. */
void broker_decide(ClaimRun *j);
/* Remembers that a claim that the policy allowed came to nothing, as it remembers refusals. */
void broker_note_failure(Broker *e, const Claim *c);
/* Counts and logs where the policy in shadow would decide otherwise; with the facts of that survey, for which
 * broker_shadow_facts() were wanted of every device. */
void broker_compare_shadow(Broker *e, Survey *survey, const Request *request, const Subject *subject);
unsigned broker_shadow_facts(const Broker *e);
/* For the journal, and for callers that ask why. */
void broker_note_refusal(Broker *e, const Request *request, const Subject *subject, const Refusal *refusal);
