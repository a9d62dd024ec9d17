/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a claim does to the hardware, decided before anything is touched: which devices, which groups, what
 * becomes of every sibling, which driver, and why not. The same plan answers `vfioctl plan` and drives a
 * claim; each step has its reverse, so undoing is running the list backwards.
 *
 * Pure: looks only at the inventory, the policy and the facts that are handed in. */

#include "core/facts.h"
#include "core/policy.h"

typedef enum Disposition {
    DISPOSITION_CLAIM,       /* handed to the client */
    DISPOSITION_PARK,        /* bound to the vfio driver for the time of the claim, handed to nobody */
    DISPOSITION_NONE_NEEDED, /* bridge, no driver, or a driver that leaves DMA alone */
    DISPOSITION_REFUSE,      /* a host driver is on it and the rule does not park it */
    _DISPOSITION_MAX,
    _DISPOSITION_INVALID = -EINVAL,
} Disposition;
DECLARE_STRING_TABLE(disposition, Disposition); /* "claim", "park", "none-needed", "refuse" */

#define VFIO_PCI_DRIVER "vfio-pci"
#define PLAN_MEMBERS_MAX 64U
#define PLAN_GROUPS_MAX REQUEST_DEVICES_MAX

typedef struct PlanMember {
    DeviceName name;
    int group;
    Disposition disposition;
    bool bind;                  /* must be moved to target_driver */
    char target_driver[64];     /* the vfio driver it shall have; "" where nobody gets at it */
    char original_driver[64];   /* "" when unbound */
    char original_override[64]; /* "" when unset */
    uint16_t vendor, device;    /* re-checked before every write */
    unsigned reset_methods;
    long enable_baseline; /* `enable` while nobody has it open: a former driver may have leaked a count */
    bool reset;           /* reset before anybody else sees it; false when it has no method and the rule
                           * accepts that */
} PlanMember;

typedef struct Plan {
    PlanMember members[PLAN_MEMBERS_MAX]; /* claimed devices first, in the order of the request */
    size_t n_members, n_claimed;
    int groups[PLAN_GROUPS_MAX]; /* without doubles */
    size_t n_groups;
    Backend backend;
    ResetDemand reset;
    char rule[512]; /* origin of the rule that allowed it */
} Plan;

/* The reader of unannounced facts, a port: fills what the mask of DeviceFactMask asks for in *ret, which was
 * DEVICE_FACTS_NULL. 0 or negative errno. */
typedef int (*read_facts_t)(void *userdata, const Device *device, unsigned what, DeviceFacts *ret);

/* Likewise what the kernel offers; asked only when no device has shown it already. */
typedef int (*read_kernel_facts_t)(KernelFacts *ret);

/* Where a plan takes its facts from. */
typedef struct FactSource {
    read_facts_t read_facts;
    read_kernel_facts_t read_kernel_facts;
    void *userdata; /* of read_facts */
} FactSource;

/* Builds the plan for request on behalf of subject. 0; or a negative errno with *refusal filled when the
 * answer is no (unknown device, denied, claimed, not viable, host-critical, backend, reset). The order of
 * checks is chosen so that a stranger learns nothing beyond the policy's no: existence, then policy, then the
 * rest. */
int plan_build(Inventory *inventory, const Policy *policy, const FactSource *facts, const Request *request,
        const Subject *subject, Plan *ret, Refusal *refusal);

bool plan_needs_bind(const Plan *p);
bool plan_needs_reset(const Plan *p);
