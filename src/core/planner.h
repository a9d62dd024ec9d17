/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of the planner share, and nobody else sees: plan.c walks devices, groups and siblings,
 * plan-terms.c keeps the terms of the rules that allow them, plan-noiommu.c decides about a device that is
 * behind no IOMMU, plan-family.c about parents and what goes away with them, plan-grant.c about how the
 * client gets it, plan-caps.c about what the request requires of them, plan-network.c about what their
 * network card is to have for them, plan-driver.c about their vfio driver, and plan-reset.c tells how they
 * are reset. */

#include "core/claim.h"
#include "core/plan.h"

/* plan_build() fills it from its arguments; every refusal goes into .refusal. */
typedef struct Planner {
    const PlanContext *context;
    const Request *request;
    const Subject *subject;
    Plan *plan;
    Refusal *refusal;
    Refusal found; /* with all_obstacles: the first that was put aside, and the others in .obstacles */
    bool again;    /* a fact is wanted that nobody has looked for: nothing that follows from it counts */
    Device *devices[REQUEST_DEVICES_MAX];
    Device templates[REQUEST_DEVICES_MAX];      /* those of them that are not made yet */
    const MdevType *types[REQUEST_DEVICES_MAX]; /* of which they will be */
    Verdict verdicts[REQUEST_DEVICES_MAX];
    unsigned charges[REQUEST_DEVICES_MAX];   /* see PlanMember.charge */
    bool settled[REQUEST_DEVICES_MAX];       /* refused already: what follows from that is not looked at */
    const Device *first;                     /* of those that the policy allows */
    SiblingDemand siblings[PLAN_GROUPS_MAX]; /* by index of plan.groups */
    HostCriticalDemand host_critical[PLAN_GROUPS_MAX]; /* likewise, for the siblings */

    /* What all rules of the claim agree on. */
    const Rule *rules[PLAN_RULES_MAX]; /* by index of plan.charges */
    unsigned backends, grants, tethers;
    uint64_t memlock_max;
    int priority;
    const Rule *untainted, *reason_required; /* one that demands it, or NULL */
} Planner;

/* Of a check that the others do not depend on: where all obstacles are wanted, its refusal is put aside, and
 * it is 0. */
int planner_put_aside(Planner *p, int r);

/* Adds the claim to the blockers of the refusal that was just made. */
void planner_add_claim(Planner *p, const Claim *c);

/* Puts a rule's name into the refusal that was just made; for what rules demand, not for their no. */
int planner_name_rule(Planner *p, const Rule *rule, int r);
/* Likewise all rules of the claim. */
int planner_name_rules(Planner *p, int r);

/* The client gets at one more device because of this rule. *ret_charge: see PlanMember.charge. */
int terms_take(Planner *p, const Device *d, const Verdict *v, unsigned *ret_charge);
/* When everything else is decided: reason, taint, locked memory, limits. */
int terms_check(Planner *p);
/* Of a request that is to wait for devices that others have: what no wait will change. */
int terms_check_wait(Planner *p);

/* Is it a device of the request, and not only a sibling? */
bool planner_is_requested(const Planner *p, const Device *d);

/* Is the device free as far as its descendants are concerned, and its parent? No rule waives this. */
int family_check_descendants(Planner *p, const Device *d);
int family_check_parent(Planner *p, const Device *d);
/* Nor is a consumer claimed, of this name, which loses its driver with d. */
int family_check_consumer(Planner *p, const Device *d, const char *name);
/* Can its driver make devices for others? */
int family_check_maker(Planner *p, const Device *d);
/* Is nobody changing how many virtual functions it, or a device above it, has? */
int family_check_stable(Planner *p, const Device *d);
/* Refuses it for these descendants, which are in no inventory. */
int family_refuse(Planner *p, const Device *d, const char *descendants);

/* A sentence: what to do about a use of the host, as DEVICE_FACT_HOST_CRITICAL describes it. */
const char *remedy_of_use(const char *use);

/* Of the template at this index of the request: finds a parent that has an instance left. */
int template_choose(Planner *p, size_t i);
/* Adds the device that will be made. 1, or refused. */
int template_add(Planner *p, size_t i, unsigned charge);

/* What the request requires of each claimed device. */
int caps_check(Planner *p);

/* What the network card of each claimed device is to have for it. */
int network_check(Planner *p);

/* What the choice of its driver depends on. */
unsigned driver_needed_facts(const Planner *p, const Device *d, Disposition disposition, unsigned charge);
/* Fills the target driver of a member whose charge, disposition and bind are known, and its module. */
int driver_choose(Planner *p, const Device *d, const DeviceFacts *facts, PlanMember *m);
/* Fills plan.resets. */
int reset_describe(Planner *p);

/* How the claim reaches the client: what was asked for, where every rule of the claim allows it. */
int grant_decide(Planner *p);

/* Instead of choosing a backend, when the request asks for this one. */
int noiommu_decide(Planner *p);
