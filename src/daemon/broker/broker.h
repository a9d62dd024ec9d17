/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Behind the door. The faces hand in a Request and a Subject; the broker plans, decides, and drives every
 * claim through core/machine.h by feeding it events and running its effects. Only this file and the manager
 * see more than one adapter. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "core/claim.h"
#include "core/queue.h"
#include "daemon/broker/budget.h"
#include "daemon/broker/figures.h"
#include "daemon/broker/holder-search.h"
#include "daemon/broker/host-source.h"
#include "daemon/broker/surveyor.h"
#include "daemon/kernel/sriov.h"
#include "daemon/kernel/worker.h"

typedef struct Broker Broker;

typedef struct GrantedFd {
    char name[sizeof("device:") + DEVICE_NAME_MAX]; /* "iommufd", "device:pci:0000:06:0d.0", "group:8",
                                                     * "container", "lifeline" */
    int fd; /* borrowed: the broker closes it when the callback returns; dup what you keep */
} GrantedFd;

typedef struct Grant {
    const Claim *claim;
    const Plan *plan; /* of what was asked for now: of devices that have joined the claim, theirs alone */
    const GrantedFd *fds;
    size_t n_fds;
    const ClaimNode *nodes; /* that the client opens by itself, likewise */
    size_t n_nodes;
} Grant;

/* Exactly one of grant and refusal is set. 0; negative: a grant could not be delivered, and what it is for is
 * undone. */
typedef int (*acquire_done_t)(void *userdata, const Grant *grant, const Refusal *refusal);

/* Objects changed; the front ends announce it. Called from the one place that sets states. */
typedef enum ClaimChange {
    CLAIM_ADDED,
    CLAIM_CHANGED,
    CLAIM_RESHAPED, /* it has other devices */
    CLAIM_MOVED,    /* it hangs on something else */
    CLAIM_QUEUED,   /* it has another position in the queue */
    CLAIM_EVICTED,  /* it is being evicted, or not any more */
    CLAIM_SLEEPS,   /* the host is about to sleep, or has woken up */
    CLAIM_WARNED,   /* something keeps its devices from being attached, or not any more */
    CLAIM_STOPPING, /* who has its devices open is being stopped, or not any more */
    CLAIM_REMOVED,  /* still readable during the call */
} ClaimChange;
typedef void (*claim_changed_t)(void *userdata, const Claim *claim, ClaimChange change);

typedef struct BrokerConfig {
    const char *state_directory;  /* "/run/vfiod": claims/ below it */
    const char *cdi_directory;    /* "/run/cdi"; NULL: none */
    uint64_t worker_timeout_usec; /* per step of a claim; default 60 s */
    uint64_t ask_timeout_usec;    /* for a person to answer; default 120 s */
    Budget *budget;               /* borrowed; to which claims are charged */
    int spawner;                  /* borrowed, see spawner.h; -EBADF: none */
    const HostSource *host;       /* borrowed; where the facts for plans come from */
    bool simulated; /* no device is there to be had: what would be allowed is refused; nothing is kept
                     * on disk */
} BrokerConfig;

int broker_new(sd_event *event, Inventory *inventory, const BrokerConfig *config, Broker **ret);
Broker *broker_free(Broker *e); /* held claims stay as they are: records and fd store outlive the process */
DEFINE_TRIVIAL_CLEANUP_FUNC(Broker *, broker_free);

/* Borrowed; NULL while no valid set is loaded: everything is refused with PolicyBroken. */
void broker_set_policy(Broker *e, const Policy *policy);
/* Marks the claims that the policy in force would not allow (Claim.denied), logs them, and returns how many
 * they are. They are not touched. */
unsigned broker_review_claims(Broker *e);
/* A policy that is compared with every decision of Acquire and never decides; borrowed, NULL: none. */
void broker_set_shadow(Broker *e, const Policy *shadow);
/* Devices about which the two differed since the shadow was set. */
uint64_t broker_shadow_differences(const Broker *e);
void broker_set_observer(Broker *e, claim_changed_t changed, void *userdata);
/* Asks hotplug to re-read a device after a worker changed it. */
void broker_set_refresh(Broker *e, int (*refresh)(void *userdata, const DeviceName *name), void *userdata);

/* Whether the process kept what it takes to open a device without an IOMMU; it did not, until told. */
void broker_set_raw_io(Broker *e, bool permitted);

/* Asked when a rule or a request demands a host that nothing weakens: *ret is owned by the broker, and NULL
 * when nothing does. Without a reader every such demand is refused. */
void broker_set_weakness(Broker *e, int (*read)(void *userdata, char **ret), void *userdata);

/* Rebuilds claims from records and from the fds that systemd kept. Call once, before serving. */
int broker_recover(Broker *e);

/* The connection on which polkit can be asked, borrowed; NULL while there is none: then "ask" means no. */
void broker_set_bus(Broker *e, sd_bus *bus);

/* The caller's connection: on which a claim may hang, and about which polkit is asked where a rule says
 * "ask".
 */
typedef struct Asker {
    const char *bus_name; /* unique name on the bus; NULL: about the process */
    bool interactive;     /* the caller wants to wait for a person */
    /* Of the caller's connection, where that is not the bus; borrowed, NULL: there is none. Copies are made
     * for claims that hang on it, so whoever ends the connection must shutdown(2) it. */
    const int *socket;
} Asker;

/* A device that waits for its user, who redeems a ticket. */
typedef struct ReserveWish {
    const char *device;   /* which one: see policy/selector.h */
    uint64_t ttl_sec;     /* how long the ticket is valid; 0: RESERVATION_TTL_DEFAULT_SEC */
    const Subject *owner; /* who will redeem it, as root describes them; NULL: the caller's user */
} ReserveWish;

/* done is called exactly once, possibly before this returns. subject must stay until then, or until
 * broker_forget_caller(). */
void broker_acquire(Broker *e, const Request *request, const Subject *subject, const Asker *asker,
        acquire_done_t done, void *userdata);
/* Likewise reserves a device; the grant's claim has the ticket. The request names none. */
void broker_reserve(Broker *e, const ReserveWish *wish, const Request *request, const Subject *subject,
        const Asker *asker, acquire_done_t done, void *userdata);
/* Likewise adds devices to a claim that the subject's user holds, by the claim's backend. The grant has the
 * files of the new devices alone. request->claim is filled in. */
void broker_add_devices(Broker *e, const char *name, Request *request, const Subject *subject,
        const Asker *asker, acquire_done_t done, void *userdata);
/* The caller of a pending acquire is gone or no longer interested: done will not be called any more. */
void broker_forget_caller(Broker *e, void *userdata);
/* The facts for one answer, while they are collected: some may sleep in the kernel, and are waited for. The
 * owner fills in ready, and gives the rest zeroed. Whatever takes an inquiry may return -EAGAIN, without a
 * refusal: then ready is called, once and later, and it is to be called again with the same question. */
typedef struct BrokerInquiry {
    void (*ready)(void *userdata);
    void *userdata;
    Survey survey;
    SurveyTask *task; /* owned */
    const QueueEntry
            *place;     /* borrowed; in the queue, of a claim that waits; NULL: the request has just come */
    int priority;       /* of the rules that allow it, after the first plan */
    bool asks;          /* one of them asks a person */
    bool all_obstacles; /* the caller wants them, see PlanContext */
    bool begun, brief;
} BrokerInquiry;
/* ready will not be called any more. */
void broker_inquiry_done(BrokerInquiry *q);

/* What would happen. 0, or negative errno with the refusal that acquire would give, or -EAGAIN. */
int broker_plan(Broker *e, BrokerInquiry *q, const Request *request, const Subject *subject, Plan *ret,
        Refusal *refusal);
/* What the policy says to the subject about a device, as far as it can be told at once: "allow", "ask",
 * "deny", or "unknown" where it depends on facts that may sleep, or on a subject that is NULL. */
const char *broker_access(Broker *e, const Device *d, const Subject *subject);
/* The tags of a device that the subject may know, see policy/selector.h. */
int broker_foreach_tag(const Broker *e, const Device *d, const DeviceFacts *facts, const Subject *subject,
        int (*visit)(void *userdata, const char *tag), void *userdata);
/* Looks for facts of one device, which are in q->survey then. 0, -EAGAIN, -ENOMEM. */
int broker_look_at(Broker *e, BrokerInquiry *q, const DeviceName *name, unsigned what);
/* Opens a device that nobody uses, to learn what it can do, and remembers it with the device. For the
 * operator: it resets the device. 0, -EAGAIN as whatever takes an inquiry, or refused. */
int broker_learn_caps(
        Broker *e, BrokerInquiry *q, const DeviceName *name, const Subject *subject, Refusal *refusal);
/* Everywhere below, name is the id of a claim, or "cookie:COOKIE" for the live claim of the subject's user
 * that has this cookie. */

/* Ends a claim: its owner or an operator. Does not wait for the devices to be closed: watch its state. */
int broker_release(Broker *e, const char *name, const Subject *subject, Refusal *refusal);
/* The same for some of its devices. They are a claim of their own from then on. Those of a group of which the
 * claim keeps another device are marked, and go with that. */
int broker_release_devices(
        Broker *e, const char *name, const Request *request, const Subject *subject, Refusal *refusal);
/* The operator wants a held claim back, or not any more: its holder learns of it, see core/eviction.h. */
int broker_evict(
        Broker *e, const char *name, const EvictionWish *wish, const Subject *subject, Refusal *refusal);
/* Its owner, or the operator, has understood, and asks for so much more time. */
int broker_answer_eviction(
        Broker *e, const char *name, uint64_t more_sec, const Subject *subject, Refusal *refusal);
/* The operator ends the quarantine of the devices in request: they are reset and restored once more; or, by
 * the operator's word and for a reason, restored without a reset. Refused while a worker is stuck with one.
 */
int broker_retry_quarantine(Broker *e, const Request *request, const Subject *subject, Refusal *refusal);
int broker_clear_quarantine(
        Broker *e, const Request *request, const char *reason, const Subject *subject, Refusal *refusal);
/* Its owner, or the operator, has seen to it that the host can sleep, which is about to. */
int broker_ready_to_sleep(Broker *e, const char *name, const Subject *subject, Refusal *refusal);
/* One that can be seen. */
int broker_find_named_claim(
        Broker *e, const char *name, const Subject *subject, const Claim **ret, Refusal *refusal);
/* May the subject have the policy reloaded? */
int broker_check_reload(const Subject *subject, Refusal *refusal);

/* The claim moves to another holder: its owner or an operator asks, and nothing happens to its devices. wish:
 * "tether" (invalid: as before), "pid" and "pidfdId". The new lifeline, if there is one, is in the grant. 0:
 * done was called, before this returns; or refused, and it was not. */
int broker_transfer(Broker *e, const char *name, const Request *wish, const Subject *subject,
        const Asker *asker, acquire_done_t done, void *userdata, Refusal *refusal);

/* How many virtual functions a device shall have. */
typedef struct VfWish {
    DeviceName device;
    uint32_t count;
    SriovAutoprobe autoprobe;
    bool only_create; /* where it has none, and otherwise nothing */
} VfWish;
/* Makes the virtual functions that the policy declares and that were not made since the last boot. */
void broker_make_declared_functions(Broker *e);
/* A line for each device that has another number than declared. A non-zero return of visit ends it. */
int broker_foreach_functions_warning(
        Broker *e, int (*visit)(void *userdata, const char *line), void *userdata);
/* refusal is NULL when it is done. */
typedef void (*vf_done_t)(void *userdata, const Refusal *refusal);
/* For operators alone. 1: it has as many already; 0: done will be called, once and later, unless
 * broker_forget_caller() was; or refused. */
int broker_set_vf_count(
        Broker *e, const VfWish *wish, const Subject *by, vf_done_t done, void *userdata, Refusal *refusal);

/* Workers that did not come back from the kernel. A non-zero return of visit ends it. */
int broker_foreach_stuck(Broker *e, int (*visit)(void *userdata, const WorkerStuck *stuck), void *userdata);

const Claim *broker_find_claim(Broker *e, const char *id);
int broker_foreach_claim(Broker *e, int (*visit)(const Claim *c, void *userdata), void *userdata);
/* Of those that can be seen: one that is not decided yet is not there. */
unsigned broker_n_claims(const Broker *e);
/* Nothing is claimed, nobody waits for a claim, and nothing is left to do after one. */
bool broker_is_idle(const Broker *e);
/* Nobody waits for a claim but in the queue, and no worker is at work for one, or after one. */
bool broker_is_at_rest(const Broker *e);
/* Did we open the node of this path to this user? */
bool broker_has_exposed(const Broker *e, const char *path, uid_t uid);
/* For monitoring. */
const Figures *broker_figures(const Broker *e);
/* A connection of this user is closed for what it did; why goes to the journal, a bounded number of times. */
void broker_note_cut_off(Broker *e, uid_t uid, const char *why);
void broker_note_policy_load(Broker *e, bool loaded);
/* What claims may lock that vfiod has raised a limit for, and what their processes have locked now, in bytes.
 */
void broker_get_memory(const Broker *e, uint64_t *ret_allowed, uint64_t *ret_locked);
/* To ask who has the devices of claims open. */
HolderSearch *broker_holders(Broker *e);

/* From hotplug, BEFORE the device leaves the inventory. */
void broker_device_removed(Broker *e, Device *device);
/* A driver or node changed under a device: engine checks whether that concerns a claim. */
void broker_device_changed(Broker *e, Device *device, int changes);
