/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a claim does to the hardware, decided before anything is touched: which devices, which groups, what
 * becomes of every sibling, which driver, and why not. The same plan answers `vfioctl plan` and drives a
 * claim; each step has its reverse, so undoing is running the list backwards.
 *
 * Pure: looks only at what the PlanContext hands in, and asks for more facts by their names. */

#include "core/device-health.h"
#include "core/survey.h"
#include "core/progress.h"
#include "core/scrub-unit.h"
#include "policy/policy.h"

typedef enum Disposition {
    DISPOSITION_CLAIM,       /* handed to the client */
    DISPOSITION_PARK,        /* bound to the vfio driver for the time of the claim, handed to nobody */
    DISPOSITION_NONE_NEEDED, /* bridge, no driver, or a driver that leaves DMA alone */
    DISPOSITION_REFUSE,      /* a host driver is on it and the rule does not park it */
    _DISPOSITION_MAX,
    _DISPOSITION_INVALID = -EINVAL,
} Disposition;
DECLARE_STRING_TABLE(disposition, Disposition); /* "claim", "park", "none-needed", "refuse" */

/* What driver_override of a sibling says that is to stay without a driver: no driver has that name. It also
 * shows that vfiod has set it. */
#define OVERRIDE_PARKED "vfiod-parked"

/* A mediated device that is made for the claim by the driver of its parent, and removed at the end. */
typedef struct MadeDevice {
    char parent[DEVICE_TEXT_MAX]; /* "": it is there anyhow */
    char type[MDEV_TYPE_NAME_MAX];
    char template[DEVICE_TEXT_MAX]; /* of the policy, as it was requested */
} MadeDevice;

#define PLAN_MEMBERS_MAX 64U
#define PLAN_GROUPS_MAX REQUEST_DEVICES_MAX

#define VF_TOKEN_MAX 37U /* a UUID in text, with the NUL */

typedef struct PlanMember {
    DeviceName name; /* of one that is to be made, that of the template until the claim is allowed */
    int group;       /* -1: it has none, or is not made yet */
    Disposition disposition;
    bool bind;                /* must be moved to target_driver */
    bool native;              /* device_is_native() */
    bool kept;                /* a sibling without a driver: driver_override keeps every driver away */
    bool came;                /* likewise, and it came when the group was claimed: it gets its driver late */
    char target_driver[64];   /* the vfio driver it shall have; "" where nobody gets at it */
    char original_driver[64]; /* "" when unbound */
    char original_override[64]; /* "" when unset */
    uint16_t vendor, device;    /* all that older records have of its identity */
    uint64_t identity;          /* re-checked before every write; 0: unknown */
    unsigned reset_methods;
    long enable_baseline; /* `enable` while nobody has it open: a former driver may have leaked a count */
    bool reset;           /* reset before anybody else sees it; false when it has no method and the rule
                           * accepts that */
    char module[VARIANT_NAME_MAX];  /* that has target_driver, and may not be loaded yet; "": it is loaded */
    char scrub[SCRUB_TEMPLATE_MAX]; /* the unit that runs over it before its reset; "": none */
    MemberProgress progress;        /* changed by the claim as it goes */
    MemberFailure failure;          /* why it is MEMBER_BAD */
    bool keep_power;                /* `d3cold_allowed` is to be 0 for the claim; not recorded */
    bool restore_d3cold;            /* it was 1, may be 0 by now, and is to be 1 again */
    MemberFailure lost;             /* how it did not come back when the host woke up; its claim goes on */
    char lost_seen[HEALTH_SEEN_MAX];
    bool unchecked;           /* the host woke up, and no worker has looked at it since; not recorded */
    VfNetwork network;        /* what its card is to have for it; nothing in it: what it has */
    VfNetwork network_before; /* what to put back of that: all that may have been changed */
    bool leaving; /* given back by the client; it goes when the claim gives up the rest of its group */
    MadeDevice made;
    bool needs_vf_token;         /* the kernel gives it only to who has the token of its physical function */
    char vf_token[VF_TOKEN_MAX]; /* which vfiod has made; "": none yet */
    bool vf_token_set;           /* and the kernel has it */
    unsigned charge; /* 1 + the index in plan.charges of the rule that it counts against; 0: unknown, or none
                      */
} PlanMember;

/* What a claim counts for against the limits of one rule. The key is cut where it is longer: two rules that
 * share that much of their names are then counted together, which refuses too early and never too late. */
#define RULE_KEY_MAX 384U
#define PLAN_RULES_MAX 16U
typedef struct PlanCharge {
    char rule[RULE_KEY_MAX]; /* rule_key() */
    unsigned devices;        /* that the client can open because of this rule */
} PlanCharge;

/* As large as what is in it: mostly one member and one rule. */
typedef struct Plan {
    PlanMember *members; /* owned; claimed devices first, in the order of the request */
    size_t n_members, n_claimed;
    int groups[PLAN_GROUPS_MAX]; /* without doubles; none for BACKEND_NOIOMMU */
    size_t n_groups;
    Backend backend;
    GrantKind grant;
    TetherKind tether;
    unsigned tethers; /* mask of 1 << TetherKind: what the rules allow, for moving it later */
    ResetDemand reset;
    HoldTerms hold;
    int priority;          /* the lowest of its rules, see core/queue.h */
    uint32_t duration_sec; /* for how long it is held; 0: no limit */
    bool ask;              /* a rule requires that a person allows it first */
    uint64_t memlock;      /* bytes up to which the client's RLIMIT_MEMLOCK is raised; 0: left alone */
    char rule[512];        /* origin of the rules that allowed it */
    PlanCharge *charges;   /* owned; one for each rule */
    size_t n_charges;
    DeviceNeeds needs; /* what the request requires of each claimed device; not in the record: it is seen
                        * to before the claim is held */
    char noiommu_reason[256]; /* of the rule; "" for every other backend */
    char *companions; /* owned; devices of the host that a device link ties to those that are claimed; NULL
                       * likewise */
    char *drivers; /* owned; which vfio driver each claimed device gets, and why: a line of words for each of
                    * PCI; NULL likewise */
    char *resets;  /* owned; how each is reset, and what that reaches; likewise */
    char *exposes; /* owned; what the grant exposes, and to whom, in words; NULL unless asked for */
} Plan;

#define PLAN_NULL                                                                                            \
    (Plan) {                                                                                                 \
        .backend = _BACKEND_INVALID, .tethers = TETHERS_DEFAULT                                              \
    }
void plan_done(Plan *p);
/* Adds one that is empty; pointers to the others become invalid. NULL: out of memory, or there are
 * PLAN_MEMBERS_MAX or PLAN_RULES_MAX already. */
PlanMember *plan_add_member(Plan *p);
PlanCharge *plan_add_charge(Plan *p);
/* To plan.rule. */
void plan_add_origin(Plan *p, const char *origin);

/* What the claims that there are already count for against the limits of one rule. */
typedef struct RuleUsage {
    uint64_t claims, devices, claims_of_user, devices_of_user;
    uint64_t pinned;       /* bytes of memlock */
    uint64_t pinned_spare; /* of these: what the process was allowed to lock for claims that have ended */
} RuleUsage;
typedef void (*count_usage_t)(void *userdata, const char *rule_key, const Subject *subject, RuleUsage *ret);

/* The claim that makes a mediated device of this parent, which the inventory may not know yet; or NULL. */
typedef const Claim *(*find_maker_t)(void *userdata, const DeviceName *parent);
/* How many devices of the type are promised, but do not exist yet: the driver still counts them as available.
 * *ret_first is a claim that has such a promise, and untouched for 0. */
typedef unsigned (*count_promised_t)(void *userdata, const MdevType *type, const Claim **ret_first);

/* What a request is judged against. */
typedef struct PlanContext {
    Inventory *inventory;
    const Policy *policy;         /* NULL: none is valid, everything is denied */
    const PolicyExcerpt *excerpt; /* of the subject; NULL: every rule is asked */
    Survey *survey;               /* what is known; what is wanted besides is written into it */
    uint64_t now_usec;            /* CLOCK_REALTIME; 0: unknown */
    count_usage_t count_usage;    /* NULL: nothing is claimed */
    void *usage_userdata;
    find_maker_t find_maker;         /* NULL: there is none */
    count_promised_t count_promised; /* NULL: none are */
    void *maker_userdata;            /* of both */
    const Claim *claim; /* that the devices are to join: its groups stand in nobody's way; NULL: none */
    bool all_obstacles; /* a refusal names, in .obstacles, what else would refuse the request */
    bool describe;      /* the plan says what its grant exposes */
    /* Of the rules, once the policy allows the request; NULL: nobody wants to know. */
    int *ret_priority;
    bool *ret_asks; /* a person has to allow it, too */
    bool brief;     /* a no of the policy is not explained: the caller was told often enough */
} PlanContext;

/* Builds the plan for request on behalf of subject. 0; or a negative errno with *refusal filled when the
 * answer is no (unknown device, denied, claimed, not viable, host-critical, backend, reset, what the rules
 * demand, their limits). The order of checks is chosen so that a stranger learns nothing beyond the policy's
 * no: existence, then policy, then the rest. A plan with .ask must be built anew after the person's yes: the
 * world may have moved. *ret is to be given to plan_done(); without a plan it is left alone.
 *
 * -EAGAIN, and no refusal: facts are wanted that the survey does not have yet. To be called again, with the
 * same survey, when somebody has looked for them. */
int plan_build(const PlanContext *context, const Request *request, const Subject *subject, Plan *ret,
        Refusal *refusal);

/* Writes down what a plan of this request will want, as far as that can be foreseen: a plan is then made
 * once, and not once more for each fact. Nothing of it may sleep but what the policy asks about. 0 or
 * -ENOMEM. */
int plan_need(const PlanContext *context, const Request *request);
/* The same where facts can be had at once: takes what is wanted from source, until there is an answer. */
int plan_build_from(const PlanContext *context, const FactSource *source, const Request *request,
        const Subject *subject, Plan *ret, Refusal *refusal);

/* Does a device meet the needs with this driver? caps: what is remembered of it, or NULL. *ret is the first
 * that keeps the answer from being NEEDS_MET. */
NeedsAnswer caps_answer(const DeviceNeeds *needs, const DeviceCaps *caps, const char *driver, DeviceCap *ret);
/* Refuses the device for what it has, or for what is unknown. */
int caps_refuse(const DeviceName *name, const DeviceNeeds *needs, const DeviceCaps *caps, DeviceCap cap,
        Refusal *refusal);

/* Is it bound to the vfio driver for the claim, handed out or parked? */
bool plan_member_is_moved(const PlanMember *m);
/* Does `enable` show whether a program has it open? */
bool plan_member_counts_opens(const PlanMember *m);
/* Is it made for the claim? Then that is undone at the end, like a bind. */
bool plan_member_is_made(const PlanMember *m);
bool plan_member_is_changed(const PlanMember *m); /* bound, kept without a driver, or made */
/* Is it known how to restore it? Not of a device whose record was lost, or is of a kernel before a kexec. */
bool plan_member_is_known(const PlanMember *m);
/* Is it made of this parent? */
bool plan_member_is_made_of(const PlanMember *m, const DeviceName *parent);
/* What the policy was asked about: the device, or the template that it was made from. */
DeviceName plan_member_asked(const PlanMember *m);
/* In the place of a device that is not made yet: whoever judges a template judges this. */
void template_as_device(const DeviceName *name, Device *ret);
/* A sibling that came when its group was claimed already, in place of the one that had its name: a claim
 * names a device once. NULL: the plan has no room. */
PlanMember *plan_add_late_sibling(Plan *p, const Device *d);
/* Is this the device that was planned for? */
bool plan_member_is(const PlanMember *m, const Device *d);
/* Devices of one group leave a claim together; one without a group leaves alone. */
bool plan_member_leaves_with(const PlanMember *m, const PlanMember *other);
const PlanMember *plan_find_member(const Plan *p, const DeviceName *name);
bool plan_has_group(const Plan *p, int group);
bool plan_has_bad(const Plan *p);
/* Has one of the claimed devices a token of its physical function? */
bool plan_has_vf_token(const Plan *p);
/* Leaves only the members that are MEMBER_BAD, which are then what is claimed, and their groups. */
void plan_keep_bad(Plan *p);

/* b, whose backend is the same, joins a. 0; -E2BIG: together they are more than a claim can have, or there is
 * no memory. */
int plan_join(const Plan *a, const Plan *b, Plan *ret);
/* The named devices leave. *ret_gone has the groups of which the claim keeps no device, and is empty when
 * there are none: then those devices are only marked as leaving. 0 or -ENOMEM. */
int plan_part(const Plan *p, const DeviceName *names, size_t n, Plan *ret_kept, Plan *ret_gone);
/* Takes out of p what the other plan moves. */
void plan_leave_to(Plan *p, const Plan *other);

bool plan_needs_bind(const Plan *p);
bool plan_needs_reset(const Plan *p);
