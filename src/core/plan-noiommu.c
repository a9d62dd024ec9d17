/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A device that is behind no IOMMU reads and writes all memory of the host as it likes, and so does whoever
 * has its file: the kernel lets only CAP_SYS_RAWIO open it. vfiod opens it for others, so every condition of
 * the kernel's has to be asked for here, of the subject, and more:
 *
 *   the request names the backend         nobody gets this by accident
 *   a rule names the device and a reason  (policy-parse.c sees to that)
 *   the host setting is on                the operator has decided it for the host as a whole
 *   it is alone in its claim              the other devices would be isolated in name only
 *   the subject has CAP_SYS_RAWIO         in the host's own user namespace; or the rule waives that
 *   the kernel is not locked down         it does not ask for that itself */

#include <stdio.h>

#include "base/str.h"
#include "core/planner.h"

/* The kernel's number, which is an interface and never changes. */
#define CAP_SYS_RAWIO 17U

static int check_permission(Planner *p, const Device *d) {
    int r;

    /* Before the backends: no set of rules could agree on this one for all of them. */
    if (p->request->n_devices > 1) {
        r = refuse(p->refusal, VFIOD_ERROR_INVALID_ARGUMENT, &d->name,
                "a device without an IOMMU is never in a claim with others");
        p->refusal->remedy = strdup("Make a claim for each.");
        return r;
    }
    if (!(p->backends & (1U << BACKEND_NOIOMMU))) {
        r = planner_name_rules(p,
                refuse(p->refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, &d->name,
                        "the backend noiommu is not allowed by the rule"));
        /* Where there is an IOMMU, another backend is the answer. */
        if (!d->group)
            p->refusal->remedy = strdup(
                    "The operator allows it with \"noiommu\": {\"reason\": \"…\"} in a rule that names the "
                    "device, see vfiod-policy(5).");
        return r;
    }
    if (policy_host_settings(p->context->policy).noiommu == NOIOMMU_OFF)
        return refuse(p->refusal, VFIOD_ERROR_NOIOMMU_DISABLED, &d->name,
                "a rule allows it without an IOMMU, but the host setting \"noiommu\" is off");
    return 0;
}

static int check_capability(Planner *p, const Device *d) {
    int has;

    if (p->verdicts[0].terms->waive_sys_rawio)
        return 0;
    has = subject_has_capability(p->subject, CAP_SYS_RAWIO);
    if (has > 0)
        return 0;
    return planner_name_rules(p,
            refuse(p->refusal, VFIOD_ERROR_CAPABILITY_REQUIRED, &d->name,
                    has == 0 ? "without an IOMMU it needs CAP_SYS_RAWIO in the host's user namespace"
                             : "without an IOMMU it needs CAP_SYS_RAWIO, and whether the caller has it "
                               "cannot be told"));
}

static int check_kernel(Planner *p, const Device *d) {
    const KernelFacts *kernel;
    int r = survey_get_kernel(p->context->survey, &kernel);

    if (r == -EAGAIN)
        return r;
    if (r < 0)
        return refuse(p->refusal, VFIOD_ERROR_INTERNAL, &d->name, "cannot tell what the kernel offers: %s",
                strerror(-r));
    if (kernel->lockdown) {
        r = refuse(p->refusal, VFIOD_ERROR_NOIOMMU_DISABLED, &d->name,
                "the kernel is locked down, and without an IOMMU the device could write anywhere in it");
        p->refusal->remedy = strdup("Lockdown ends only with a boot without it; turn an IOMMU on instead.");
        return r;
    }
    if (!kernel->noiommu_support) {
        r = refuse(p->refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, &d->name,
                "the kernel has no mode without IOMMU, or the module vfio is not loaded");
        p->refusal->remedy = strdup("It is built with CONFIG_VFIO_NOIOMMU; 'modprobe vfio' loads it.");
        return r;
    }
    if (kernel->noiommu_enabled || policy_host_settings(p->context->policy).noiommu == NOIOMMU_MANAGED)
        return 0;
    r = refuse(p->refusal, VFIOD_ERROR_NOIOMMU_DISABLED, &d->name,
            "the kernel's parameter vfio.enable_unsafe_noiommu_mode is off, and vfiod does not manage it");
    p->refusal->remedy =
            strdup("The operator sets it, or has vfiod do so with \"host\": {\"noiommu\": \"managed\"}.");
    return r;
}

int noiommu_decide(Planner *p) {
    const Device *d = p->devices[0];
    int r;

    r = check_permission(p, d);
    if (r >= 0 && d->group) {
        r = refuse(p->refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, &d->name,
                "the backend noiommu is for devices behind no IOMMU, and it is in IOMMU group %d",
                d->group->id);
        p->refusal->remedy = strdup("Ask without a backend.");
    }
    if (r >= 0)
        r = check_capability(p, d);
    if (r >= 0)
        r = check_kernel(p, d);
    if (r < 0)
        return r;
    p->plan->backend = BACKEND_NOIOMMU;
    (void) snprintf(p->plan->noiommu_reason, sizeof(p->plan->noiommu_reason), "%s",
            p->verdicts[0].terms->noiommu_reason ?: "");
    return 0;
}
