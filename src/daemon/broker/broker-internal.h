/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of the broker share: the broker itself, and questions to a policy. Private to the broker. */

#include "base/rate-limit.h"
#include "daemon/broker/audit.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/polkit.h"
#include "daemon/broker/refusal-memory.h"
#include "daemon/broker/spare.h"
#include "daemon/broker/store.h"
#include "daemon/kernel/node-watch.h"
#include "daemon/kernel/noiommu.h"
#include "daemon/kernel/worker.h"

typedef struct ClaimRun ClaimRun;

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
    Spare *spare;
    NoiommuSwitch *noiommu;
    int (*read_weakness)(void *userdata, char **ret);
    void *weakness_userdata;
    bool raw_io; /* CAP_SYS_RAWIO was kept */
    Audit *audit;
    Auth *auth;
    ClaimRun *claims;
    unsigned n_claims;
    claim_changed_t changed;
    void *changed_userdata;
    int (*refresh)(void *userdata, const DeviceName *name);
    void *refresh_userdata;
};

uint64_t broker_now_usec(void); /* CLOCK_REALTIME */
/* A device that a claim holds went away. j may be gone afterwards. */
void broker_feed_gone(ClaimRun *j, const DeviceName *name, const char *why);
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
