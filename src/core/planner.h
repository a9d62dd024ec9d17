/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of the planner share. plan.c walks devices, groups and siblings. The other files decide
 * about one subject each: plan-terms.c about the terms of the rules, plan-noiommu.c about a device without an
 * IOMMU, plan-family.c about parents and descendants, plan-grant.c about how the client gets the devices,
 * plan-caps.c about required capabilities, plan-network.c about settings of network cards, plan-template.c
 * about devices to be made, plan-driver.c about vfio drivers, plan-remedy.c about remedies for uses by the
 * host. plan-reset.c describes resets. */

#include "core/claim.h"
#include "core/plan.h"

/* plan_build() fills it from its arguments. Every refusal goes into .refusal. */
typedef struct Planner {
    const PlanContext *context;
    const Request *request;
    const Subject *subject;
    Plan *plan;
    Refusal *refusal;
    Refusal found; /* with all_obstacles: the first refusal, with the others in .obstacles */
    bool again;    /* a fact is missing, so results that depend on it do not count */
    Device *devices[REQUEST_DEVICES_MAX];
    Device templates[REQUEST_DEVICES_MAX];      /* stand-ins for devices that are not made yet */
    const MdevType *types[REQUEST_DEVICES_MAX]; /* the types of these */
    Verdict verdicts[REQUEST_DEVICES_MAX];
    unsigned charges[REQUEST_DEVICES_MAX]; /* see PlanMember.charge */
    bool settled[REQUEST_DEVICES_MAX];     /* already refused: what depends on it is not checked */
    bool assumed;        /* beyond_policy: a device is denied, and judged by the default terms of a rule */
    const Device *first; /* the first device that the policy allows */
    SiblingDemand siblings[PLAN_GROUPS_MAX];           /* by index of plan.groups */
    HostCriticalDemand host_critical[PLAN_GROUPS_MAX]; /* likewise, for siblings */

    /* What all rules of the claim agree on. */
    const Rule *rules[PLAN_RULES_MAX]; /* by index of plan.charges */
    unsigned backends, grants, tethers;
    uint64_t memlock_max;
    int priority;
    const Rule *untainted, *reason_required; /* a rule that requires it, or NULL */
} Planner;

/* For a check that no other depends on: if all obstacles are wanted, stores its refusal and returns 0. */
int planner_put_aside(Planner *p, int r);

/* Adds the claim to the blockers of the last refusal. */
void planner_add_claim(Planner *p, const Claim *c);

/* Adds a rule's name to the last refusal, unless it is NULL. For demands of rules, not for their denials. */
int planner_name_rule(Planner *p, const Rule *rule, int r);
/* Adds all rules of the claim, unless it is refused for the default terms that are assumed. */
int planner_name_rules(Planner *p, int r);
/* "the rule", for refusals that name all rules. */
const char *planner_call_rules(const Planner *p);

/* The client gets one more device by this rule. *ret_charge: see PlanMember.charge. */
int terms_take(Planner *p, const Device *d, const Verdict *v, unsigned *ret_charge);
/* The last check: reason, taint, locked memory, limits. */
int terms_check(Planner *p);
/* For a request that is to wait for devices of others: checks what no wait will change. */
int terms_check_wait(Planner *p);

/* Is it a requested device, and not only a sibling? */
bool planner_is_requested(const Planner *p, const Device *d);

/* Are its descendants and its parent free? No rule waives this. */
int family_check_descendants(Planner *p, const Device *d);
int family_check_parent(Planner *p, const Device *d);
/* Is the consumer with this name free? It loses its driver with d. */
int family_check_consumer(Planner *p, const Device *d, const char *name);
/* Can its driver make devices for others? */
int family_check_maker(Planner *p, const Device *d);
/* Is nobody changing the number of virtual functions of it, or of a device above it? */
int family_check_stable(Planner *p, const Device *d);
/* Refuses it for these descendants, which are not in the inventory. */
int family_refuse(Planner *p, const Device *d, const char *descendants);

/* One sentence: what to do about a use of the host, as DEVICE_FACT_HOST_CRITICAL describes it. */
const char *remedy_of_use(const char *use);

/* Finds a parent with an instance left for the template at this index of the request. */
int template_choose(Planner *p, size_t i);
/* Adds the device that will be made. Returns 1 or refuses. */
int template_add(Planner *p, size_t i, unsigned charge);

/* Checks what the request requires of each claimed device. */
int caps_check(Planner *p);

/* Checks the settings of network cards for each claimed device. */
int network_check(Planner *p);

/* The facts that the choice of its driver depends on. */
unsigned driver_needed_facts(const Planner *p, const Device *d, Disposition disposition, unsigned charge);
/* Fills target driver and module of a member whose charge, disposition and bind are known. */
int driver_choose(Planner *p, const Device *d, const DeviceFacts *facts, PlanMember *m);
/* Fills plan.resets. */
int reset_describe(Planner *p);

/* Decides how the claim reaches the client: as requested, if every rule of the claim allows it. */
int grant_decide(Planner *p);

/* Used in place of the choice of a backend when the request names this one. */
int noiommu_decide(Planner *p);
