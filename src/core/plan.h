/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a claim does to the hardware, decided before anything is touched: devices, groups, what happens to
 * every sibling, drivers, and the reasons for a refusal. `vfioctl plan` shows the same plan that drives a
 * claim. Each step can be reversed, so undoing is to run the list backwards.
 *
 * Pure: it reads only the PlanContext, and asks for further facts by their names. */

#include "core/device-health.h"
#include "core/survey.h"
#include "core/progress.h"
#include "core/scrub-unit.h"
#include "policy/policy.h"

typedef enum Disposition {
    DISPOSITION_CLAIM,       /* handed to the client */
    DISPOSITION_PARK,        /* bound to the vfio driver during the claim, handed to nobody */
    DISPOSITION_NONE_NEEDED, /* bridge, no driver, or a driver that leaves DMA alone */
    DISPOSITION_REFUSE,      /* a host driver has it, and the rule does not park it */
    _DISPOSITION_MAX,
    _DISPOSITION_INVALID = -EINVAL,
} Disposition;
DECLARE_STRING_TABLE(disposition, Disposition); /* "claim", "park", "none-needed", "refuse" */

/* The driver_override of a sibling that is to stay without a driver. No driver has this name. It also shows
 * that vfiod has set it. */
#define OVERRIDE_PARKED "vfiod-parked"

/* A mediated device that the driver of its parent makes for the claim, and that is removed at the end. */
typedef struct MadeDevice {
    char parent[DEVICE_TEXT_MAX]; /* "": the device is not made */
    char type[MDEV_TYPE_NAME_MAX];
    char template[DEVICE_TEXT_MAX]; /* of the policy, as requested */
} MadeDevice;

#define PLAN_MEMBERS_MAX 64U
#define PLAN_GROUPS_MAX REQUEST_DEVICES_MAX

#define VF_TOKEN_MAX 37U /* a UUID in text, with the NUL */

/* A worker that did not return from the kernel in time. By this the next daemon finds it again. */
typedef struct LateWorker {
    int pid;          /* 0: there is none, or it is unknown */
    uint64_t started; /* in ticks since the boot; tells it from a later process with the same pid */
    uint64_t since_usec;
    char operation[24], step[16]; /* of worker.h and driver.h; step "": none */
} LateWorker;

typedef struct PlanMember {
    DeviceName name; /* of a device that will be made: the template's name until the claim is allowed */
    int group;       /* -1: it has none, or is not made yet */
    Disposition disposition;
    bool bind;                  /* must be moved to target_driver */
    bool native;                /* device_is_native() */
    bool kept;                  /* a sibling without a driver: driver_override keeps every driver away */
    bool came;                  /* likewise, and it appeared after the claim had the group: it gets its driver
                                 * late */
    char target_driver[64];     /* the vfio driver that it shall have; "" if the device is handed to nobody */
    char original_driver[64];   /* "" when unbound */
    char original_override[64]; /* "" when unset */
    uint16_t vendor, device;    /* older records have nothing else of its identity */
    uint64_t identity;          /* checked again before every write; 0: unknown */
    unsigned reset_methods;
    long enable_baseline; /* the value of `enable` when nobody has it open: a former driver may have leaked a
                           * count */
    bool reset;           /* reset it before anybody else gets it; false if it has no method and the rule
                           * accepts that */
    char module[VARIANT_NAME_MAX]; /* the module of target_driver if it may not be loaded; "": it is loaded */
    char scrub[SCRUB_TEMPLATE_MAX]; /* the unit that scrubs it before its reset; "": none */
    MemberProgress progress;        /* updated during the claim */
    MemberFailure failure;          /* why it is MEMBER_BAD */
    LateWorker late;                /* of MEMBER_FAILURE_TIMED_OUT */
    bool keep_power;                /* `d3cold_allowed` must be 0 during the claim; not recorded */
    bool restore_d3cold;            /* it was 1, may be 0 now, and must become 1 again */
    MemberFailure lost;             /* how it failed when the host woke up; its claim goes on */
    char lost_seen[HEALTH_SEEN_MAX];
    bool unchecked;    /* the host woke up, and no worker has looked at it yet; not recorded */
    VfNetwork network; /* the requested settings of its network card; those not in it stay as they are */
    VfNetwork network_before; /* the former settings that must be restored */
    bool leaving; /* the client gave it back; it leaves when the claim gives up the rest of its group */
    MadeDevice made;
    bool needs_vf_token;         /* the kernel requires the token of its physical function */
    char vf_token[VF_TOKEN_MAX]; /* made by vfiod; "": none yet */
    bool vf_token_set;           /* the kernel has it */
    unsigned charge; /* 1 + the index in plan.charges of the rule that it counts for; 0: unknown, or none */
} PlanMember;

/* What a claim counts against the limits of one rule. A longer key is cut. Two rules with the same cut key
 * are counted together, which may refuse too early but never too late. */
#define RULE_KEY_MAX 384U
#define PLAN_RULES_MAX 16U
typedef struct PlanCharge {
    char rule[RULE_KEY_MAX]; /* rule_key() */
    unsigned devices;        /* those that the client can open because of this rule */
} PlanCharge;

/* Only as large as its content, which is mostly one member and one rule. */
typedef struct Plan {
    PlanMember *members; /* owned; claimed devices first, in the order of the request */
    size_t n_members, n_claimed;
    int groups[PLAN_GROUPS_MAX]; /* each once; none for BACKEND_NOIOMMU */
    size_t n_groups;
    Backend backend;
    GrantKind grant;
    TetherKind tether;
    unsigned tethers; /* mask of 1 << TetherKind: those that the rules allow, for a later move */
    ResetDemand reset;
    HoldTerms hold;
    int priority;          /* the lowest of its rules, see core/queue.h */
    uint32_t duration_sec; /* how long it may be held; 0: no limit */
    bool ask;              /* a rule requires that a person allows it */
    uint64_t memlock;      /* the RLIMIT_MEMLOCK that the client needs, in bytes; 0: not raised */
    char rule[512];        /* origins of the rules that allowed it */
    PlanCharge *charges;   /* owned; one for each rule */
    size_t n_charges;
    DeviceNeeds needs; /* what the request requires of each claimed device; not recorded, since it is checked
                        * before the claim is held */
    char noiommu_reason[256]; /* of the rule; "" for every other backend */
    char *companions; /* owned; host devices tied to claimed ones by a device link; not recorded; NULL: none
                       */
    char *drivers; /* owned; one line per claimed PCI device: its vfio driver and the reason; not recorded */
    char *resets;  /* owned; how each is reset, and which devices that reaches; not recorded */
    char *exposes; /* owned; what the grant exposes, and to whom; NULL unless it was requested */
} Plan;

#define PLAN_NULL                                                                                            \
    (Plan) {                                                                                                 \
        .backend = _BACKEND_INVALID, .tethers = TETHERS_DEFAULT                                              \
    }
void plan_done(Plan *p);
/* Adds an empty one, which makes pointers to the others invalid. NULL: out of memory, or there are
 * PLAN_MEMBERS_MAX or PLAN_RULES_MAX already. */
PlanMember *plan_add_member(Plan *p);
PlanCharge *plan_add_charge(Plan *p);
/* Adds a name to plan.rule. */
void plan_add_origin(Plan *p, const char *origin);

/* What existing claims count against the limits of one rule. */
typedef struct RuleUsage {
    uint64_t claims, devices, claims_of_user, devices_of_user;
    uint64_t pinned;       /* bytes of memlock */
    uint64_t pinned_spare; /* part of pinned that the process may lock already, from claims that have ended */
} RuleUsage;
typedef void (*count_usage_t)(void *userdata, const char *rule_key, const Subject *subject, RuleUsage *ret);

/* The claim that makes a mediated device from this parent; NULL: none. The inventory may not know the device
 * yet. */
typedef const Claim *(*find_maker_t)(void *userdata, const DeviceName *parent);
/* The number of devices of the type that are promised but do not exist yet: the driver still counts them as
 * available. *ret_first is a claim with such a promise, and untouched if there is none. */
typedef unsigned (*count_promised_t)(void *userdata, const MdevType *type, const Claim **ret_first);

/* Everything that a request is judged by. */
typedef struct PlanContext {
    Inventory *inventory;
    const Policy *policy;         /* NULL: no policy is valid, so everything is denied */
    const PolicyExcerpt *excerpt; /* the rules for the subject; NULL: all rules are tried */
    Survey *survey;               /* the known facts; the planner adds what else it needs */
    uint64_t now_usec;            /* CLOCK_REALTIME; 0: unknown */
    count_usage_t count_usage;    /* NULL: nothing is claimed */
    void *usage_userdata;
    find_maker_t find_maker;         /* NULL: there is none */
    count_promised_t count_promised; /* NULL: none are */
    void *maker_userdata;            /* for find_maker and count_promised */
    const Claim *claim; /* the claim that the devices are to join, whose groups block nothing; NULL: none */
    bool all_obstacles; /* the refusal lists in .obstacles what else would refuse the request */
    /* ...also what would refuse devices that the policy denies if a rule without any other key allowed them.
     * This tells facts of the host, so it is for the operator only. */
    bool beyond_policy;
    bool describe; /* the plan says what its grant exposes */
    /* The priority by the rules, once the policy allows the request; may be NULL. */
    int *ret_priority;
    bool *ret_asks; /* a person has to allow it; may be NULL */
    bool brief;     /* a denial by the policy is not explained: the caller got the explanation often enough */
} PlanContext;

/* Builds the plan for a request of subject. Returns 0, or a negative errno with *refusal filled: unknown
 * device, denied, claimed, not viable, host-critical, backend, reset, demands and limits of rules. Existence
 * is checked first, then the policy, then the rest, so that a stranger learns only that the policy denies. A
 * plan with .ask must be built again after the person has allowed it, since the host may have changed. Only
 * on success is *ret set: pass it to plan_done().
 *
 * Returns -EAGAIN without a refusal if the survey lacks facts. Call it again with the same survey when they
 * are there. */
int plan_build(const PlanContext *context, const Request *request, const Subject *subject, Plan *ret,
        Refusal *refusal);

/* Asks for the facts that a plan of this request will probably need, so that the plan is not built again for
 * each of them. Only facts that the policy needs may sleep. Returns 0 or -ENOMEM. */
int plan_need(const PlanContext *context, const Request *request);
/* Does the same if facts are available at once: reads them from source until there is a plan or a refusal. */
int plan_build_from(const PlanContext *context, const FactSource *source, const Request *request,
        const Subject *subject, Plan *ret, Refusal *refusal);

/* Does a device meet the needs with this driver? caps: what is known of it, or NULL. *ret is the first
 * capability that is not met. */
NeedsAnswer caps_answer(const DeviceNeeds *needs, const DeviceCaps *caps, const char *driver, DeviceCap *ret);
/* Refuses the device for a capability that it lacks or that is unknown. */
int caps_refuse(const DeviceName *name, const DeviceNeeds *needs, const DeviceCaps *caps, DeviceCap cap,
        Refusal *refusal);

/* Is it bound to the vfio driver for the claim, to be handed out or parked? */
bool plan_member_is_moved(const PlanMember *m);
/* Does `enable` show whether a program has it open? */
bool plan_member_counts_opens(const PlanMember *m);
/* Is it made for the claim? Then it is removed at the end, as a bind is undone. */
bool plan_member_is_made(const PlanMember *m);
bool plan_member_is_changed(const PlanMember *m); /* bound, kept without a driver, or made */
/* Is it known how to restore it? This is unknown if its record was lost, or is from before a kexec. */
bool plan_member_is_known(const PlanMember *m);
/* Is it made of this parent? */
bool plan_member_is_made_of(const PlanMember *m, const DeviceName *parent);
/* The name that the policy judged: the device, or the template that it was made from. */
DeviceName plan_member_asked(const PlanMember *m);
/* A stand-in for a device that is not made yet. The policy judges a template by it. */
void template_as_device(const DeviceName *name, Device *ret);
/* Adds a sibling that appeared in a claimed group. It replaces a member with the same name, since a claim
 * names a device once. NULL: the plan has no room. */
PlanMember *plan_add_late_sibling(Plan *p, const Device *d);
/* Is this the device that was planned for? */
bool plan_member_is(const PlanMember *m, const Device *d);
/* Devices of one group leave a claim together. A device without a group leaves alone. */
bool plan_member_leaves_with(const PlanMember *m, const PlanMember *other);
const PlanMember *plan_find_member(const Plan *p, const DeviceName *name);
bool plan_has_group(const Plan *p, int group);
bool plan_has_bad(const Plan *p);
/* Has a claimed device a token of its physical function? */
bool plan_has_vf_token(const Plan *p);
/* Keeps only members that are MEMBER_BAD, which are claimed then, and their groups. */
void plan_keep_bad(Plan *p);

/* b, with the same backend, joins a. Returns 0; -E2BIG: together they are too large for a claim, or out of
 * memory. */
int plan_join(const Plan *a, const Plan *b, Plan *ret);
/* The named devices leave. *ret_gone has the groups of which the claim keeps no device. If there are none, it
 * is empty, and the devices are only marked as leaving. Returns 0 or -ENOMEM. */
int plan_part(const Plan *p, const DeviceName *names, size_t n, Plan *ret_kept, Plan *ret_gone);
/* Removes from p the devices that the other plan moves. */
void plan_leave_to(Plan *p, const Plan *other);

bool plan_needs_bind(const Plan *p);
bool plan_needs_reset(const Plan *p);
