/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Everything behind the door. The faces hand in a Request and a Subject. The broker plans, decides, and
 * drives every claim through core/machine.h: it feeds events and runs their effects. */

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
    int fd; /* borrowed: the broker closes it when the callback returns, so duplicate what you keep */
} GrantedFd;

typedef struct Grant {
    const Claim *claim;
    const Plan *plan; /* of this request: where devices have joined a claim, it has only the new ones */
    const GrantedFd *fds;
    size_t n_fds;
    const ClaimNode *nodes; /* that the client opens by itself; of this request, too */
    size_t n_nodes;
} Grant;

/* Exactly one of grant and refusal is set. Returns 0, or negative if a grant could not be delivered: the
 * broker then undoes what it was for. */
typedef int (*acquire_done_t)(void *userdata, const Grant *grant, const Refusal *refusal);

/* What changed in a claim. The faces announce it. */
typedef enum ClaimChange {
    CLAIM_ADDED,
    CLAIM_CHANGED,
    CLAIM_RESHAPED, /* it has other devices */
    CLAIM_MOVED,    /* its tether or holder changed */
    CLAIM_QUEUED,   /* it has another position in the queue */
    CLAIM_EVICTED,  /* it is being evicted, or not any more */
    CLAIM_SLEEPS,   /* the host is about to sleep, or has woken up */
    CLAIM_WARNED,   /* something prevents programs from attaching its devices, or no longer does */
    CLAIM_STOPPING, /* the processes that have its devices open are being stopped, or no longer are */
    CLAIM_REMOVED,  /* still readable during the call */
} ClaimChange;
typedef void (*claim_changed_t)(void *userdata, const Claim *claim, ClaimChange change);

typedef struct BrokerConfig {
    const char *state_directory;  /* "/run/vfiod", which contains claims/ */
    const char *cdi_directory;    /* "/run/cdi"; NULL: none */
    uint64_t worker_timeout_usec; /* per step of a claim; default 60 s */
    uint64_t ask_timeout_usec;    /* how long a person has to answer; default 120 s */
    Budget *budget;               /* borrowed; claims are charged to it */
    int spawner;                  /* borrowed, see spawner.h; -EBADF: none */
    const HostSource *host;       /* borrowed; the source of facts for plans */
    bool simulated; /* the devices exist on a recorded host only: every request is refused, and nothing is
                     * written to disk */
} BrokerConfig;

int broker_new(sd_event *event, Inventory *inventory, const BrokerConfig *config, Broker **ret);
Broker *broker_free(Broker *e); /* held claims stay: their records and the fd store outlive the process */
DEFINE_TRIVIAL_CLEANUP_FUNC(Broker *, broker_free);

/* Borrowed; NULL while no valid set is loaded: everything is refused with PolicyBroken. */
void broker_set_policy(Broker *e, const Policy *policy);
/* Marks and logs the claims that the policy in force would not allow (Claim.denied), and returns their
 * number. The claims go on. */
unsigned broker_review_claims(Broker *e);
/* A policy that is compared with every decision of Acquire and never decides. Borrowed; NULL: none. */
void broker_set_shadow(Broker *e, const Policy *shadow);
/* The number of devices for which the two policies differed since the shadow was set. */
uint64_t broker_shadow_differences(const Broker *e);
void broker_set_observer(Broker *e, claim_changed_t changed, void *userdata);
/* Asks hotplug to re-read a device after a worker changed it. */
void broker_set_refresh(Broker *e, int (*refresh)(void *userdata, const DeviceName *name), void *userdata);

/* Whether this process kept the capability to open a device without an IOMMU. The default is false. */
void broker_set_raw_io(Broker *e, bool permitted);

/* Called when a rule or a request requires a host that nothing weakens. The broker owns *ret, which is NULL
 * if nothing weakens the host. Without a reader every such request is refused. */
void broker_set_weakness(Broker *e, int (*read)(void *userdata, char **ret), void *userdata);

/* Rebuilds claims from records and from the fds that systemd kept. Call it once, before serving. */
int broker_recover(Broker *e);

/* The connection for questions to polkit. Borrowed; NULL while there is none: then "ask" denies. */
void broker_set_bus(Broker *e, sd_bus *bus);

/* The caller's connection. A claim may be tied to it. Where a rule says "ask", polkit is asked about it. */
typedef struct Asker {
    const char *bus_name; /* unique name on the bus; NULL: polkit is asked about the process */
    bool interactive;     /* the caller wants to wait for a person */
    /* The caller's socket, where the connection is not the bus. Borrowed; NULL: there is none. Claims that
     * tied to it get copies, so the connection must be ended with shutdown(2). */
    const int *socket;
} Asker;

/* A device that is reserved for a user, who redeems a ticket for it. */
typedef struct ReserveWish {
    const char *device;   /* a selector, see policy/selector.h */
    uint64_t ttl_sec;     /* how long the ticket is valid; 0: RESERVATION_TTL_DEFAULT_SEC */
    const Subject *owner; /* the user that redeems it, as root describes them; NULL: the caller's user */
} ReserveWish;

/* Calls done exactly once, possibly before it returns. subject must stay until then, or until
 * broker_forget_caller(). */
void broker_acquire(Broker *e, const Request *request, const Subject *subject, const Asker *asker,
        acquire_done_t done, void *userdata);
/* Reserves a device and calls done likewise. The grant's claim has the ticket. The request names no device.
 */
void broker_reserve(Broker *e, const ReserveWish *wish, const Request *request, const Subject *subject,
        const Asker *asker, acquire_done_t done, void *userdata);
/* Adds devices to a claim of the subject's user, by the claim's backend, and calls done likewise. The grant
 * has the files of the new devices only. Fills in request->claim. */
void broker_add_devices(Broker *e, const char *name, Request *request, const Subject *subject,
        const Asker *asker, acquire_done_t done, void *userdata);
/* The caller of a pending call is gone or no longer interested. done will not be called any more. */
void broker_forget_caller(Broker *e, void *userdata);
/* Collects the facts for one answer. Some may sleep in the kernel, so they arrive later. The owner sets ready
 * and leaves the rest zeroed. A function that takes an inquiry may return -EAGAIN without a refusal. ready is
 * then called once, later, and the owner calls the function again with the same question. */
typedef struct BrokerInquiry {
    void (*ready)(void *userdata);
    void *userdata;
    Survey survey;
    SurveyTask *task;        /* owned */
    const QueueEntry *place; /* borrowed; of a claim in the queue; NULL: the request has just come */
    int priority;            /* of the rules that allow it; set by the first plan */
    bool asks;               /* one of these rules asks a person */
    bool all_obstacles;      /* the caller requires all of them, see PlanContext */
    bool beyond_policy;      /* likewise; only if the caller is the operator */
    bool begun, brief;
} BrokerInquiry;
/* ready will not be called any more. */
void broker_inquiry_done(BrokerInquiry *q);

/* What would happen. Returns 0, or negative errno with the refusal that acquire would give, or -EAGAIN. */
int broker_plan(Broker *e, BrokerInquiry *q, const Request *request, const Subject *subject, Plan *ret,
        Refusal *refusal);
/* What the policy decides for the subject about a device, from the facts that are there at once: "allow",
 * "ask" or "deny". "unknown": this depends on facts that may sleep, or subject is NULL. */
const char *broker_access(Broker *e, const Device *d, const Subject *subject);
/* The tags of a device that the subject may see, see policy/selector.h. */
int broker_foreach_tag(const Broker *e, const Device *d, const DeviceFacts *facts, const Subject *subject,
        int (*visit)(void *userdata, const char *tag), void *userdata);
/* Looks for facts of one device and puts them in q->survey. Returns 0, -EAGAIN or -ENOMEM. */
int broker_look_at(Broker *e, BrokerInquiry *q, const DeviceName *name, unsigned what);
/* Opens an unused device to learn its capabilities, and remembers them with the device. Only the operator may
 * do this, since it resets the device. Returns 0, -EAGAIN as described above, or refuses. */
int broker_learn_caps(
        Broker *e, BrokerInquiry *q, const DeviceName *name, const Subject *subject, Refusal *refusal);
/* In all functions below, name is the id of a claim, or "cookie:COOKIE" for the live claim of the subject's
 * user with this cookie. */

/* Ends a claim, for its owner or an operator. It does not wait until the devices are closed: watch the state.
 */
int broker_release(Broker *e, const char *name, const Subject *subject, Refusal *refusal);
/* Does the same for some of its devices, which become a claim of their own. If the claim keeps another device
 * of a group, the devices of this group are only marked, and are released with that one. */
int broker_release_devices(
        Broker *e, const char *name, const Request *request, const Subject *subject, Refusal *refusal);
/* The operator starts or cancels an eviction of a held claim. The holder is informed, see core/eviction.h. */
int broker_evict(
        Broker *e, const char *name, const EvictionWish *wish, const Subject *subject, Refusal *refusal);
/* Its owner, or the operator, acknowledges the eviction and asks for more time. */
int broker_answer_eviction(
        Broker *e, const char *name, uint64_t more_sec, const Subject *subject, Refusal *refusal);
/* The operator ends the quarantine of the devices in request. A retry resets and restores them again. A clear
 * restores them without a reset, on the operator's word and with a reason. Both are refused while a worker is
 * stuck with one of them. */
int broker_retry_quarantine(Broker *e, const Request *request, const Subject *subject, Refusal *refusal);
int broker_clear_quarantine(
        Broker *e, const Request *request, const char *reason, const Subject *subject, Refusal *refusal);
/* Its owner, or the operator, reports that the claim is ready: the host may go to sleep. */
int broker_ready_to_sleep(Broker *e, const char *name, const Subject *subject, Refusal *refusal);
/* Finds a claim that has been decided. */
int broker_find_named_claim(
        Broker *e, const char *name, const Subject *subject, const Claim **ret, Refusal *refusal);
/* Whether the subject may reload the policy. */
int broker_check_reload(const Subject *subject, Refusal *refusal);

/* Moves the claim to another holder, for its owner or an operator. Its devices are not touched. wish:
 * "tether" (invalid: as before), "pid" and "pidfdId". The grant has the new lifeline, if there is one.
 * Returns 0 after it has called done, or refuses without calling it. */
int broker_transfer(Broker *e, const char *name, const Request *wish, const Subject *subject,
        const Asker *asker, acquire_done_t done, void *userdata, Refusal *refusal);

/* How many virtual functions a device shall have. */
typedef struct VfWish {
    DeviceName device;
    uint32_t count;
    SriovAutoprobe autoprobe;
    bool only_create; /* only if the device has none yet; otherwise nothing is done */
} VfWish;
/* Makes the virtual functions that the policy declares, unless they were made since the last boot. */
void broker_make_declared_functions(Broker *e);
/* Visits each device whose number of functions differs from the declared one. A non-zero return of visit ends
 * it. */
int broker_foreach_functions_warning(
        Broker *e, int (*visit)(void *userdata, const char *line), void *userdata);
/* refusal is NULL on success. */
typedef void (*vf_done_t)(void *userdata, const Refusal *refusal);
/* For operators only. Returns 1 if it has this number already. Returns 0 if done will be called once, later,
 * unless broker_forget_caller() is called first. Otherwise it refuses. */
int broker_set_vf_count(
        Broker *e, const VfWish *wish, const Subject *by, vf_done_t done, void *userdata, Refusal *refusal);

/* Visits the workers that did not return from the kernel. A non-zero return of visit ends it. */
int broker_foreach_stuck(Broker *e, int (*visit)(void *userdata, const WorkerStuck *stuck), void *userdata);

const Claim *broker_find_claim(Broker *e, const char *id);
int broker_foreach_claim(Broker *e, int (*visit)(const Claim *c, void *userdata), void *userdata);
/* Counts the claims that have been decided. */
unsigned broker_n_claims(const Broker *e);
/* There is no claim, nobody waits for one, and no work is left after one. */
bool broker_is_idle(const Broker *e);
/* Callers wait only in the queue, and no worker works for a claim or after one. */
bool broker_is_at_rest(const Broker *e);
/* Whether vfiod has opened this node to this user. */
bool broker_has_exposed(const Broker *e, const char *path, uid_t uid);
const Figures *broker_figures(const Broker *e);
/* vfiod closed a connection of this user for its behaviour. The reason is logged, a limited number of times.
 */
void broker_note_cut_off(Broker *e, uid_t uid, const char *why);
void broker_note_policy_load(Broker *e, bool loaded);
/* In bytes: how much claims may lock because vfiod raised a limit, and how much their processes lock now. */
void broker_get_memory(const Broker *e, uint64_t *ret_allowed, uint64_t *ret_locked);
/* Searches for the processes that have the devices of claims open. */
HolderSearch *broker_holders(Broker *e);

/* Called by hotplug BEFORE the device leaves the inventory. */
void broker_device_removed(Broker *e, Device *device);
/* The driver or node of a device changed. The broker checks whether that concerns a claim. */
void broker_device_changed(Broker *e, Device *device, int changes);
