/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A device without an IOMMU can read and write all memory of the host, and so can everybody with its file.
 * The kernel therefore lets only CAP_SYS_RAWIO open it. vfiod opens it for others, so the subject must meet
 * all conditions of the kernel, and more:
 *
 * - The request names the backend, so nobody gets this by accident.
 * - A rule names the device and a reason (policy-parse.c checks that).
 * - The host setting is on: the operator decided this for the whole host.
 * - It is alone in its claim: other devices would not be isolated from it.
 * - The subject has CAP_SYS_RAWIO in the host's own user namespace, unless the rule waives that.
 * - The kernel is not locked down. The kernel itself does not check that. */

#include <stdio.h>

#include "base/str.h"
#include "core/planner.h"

/* The number is part of the kernel's interface and never changes. */
#define CAP_SYS_RAWIO 17U

static int check_permission(Planner *p, const Device *d) {
    int r;

    /* This comes before the choice of backends, since no rules can agree on this one for several devices. */
    if (p->request->n_devices > 1) {
        r = refuse(p->refusal, VFIOD_ERROR_INVALID_ARGUMENT, &d->name,
                "a device without an IOMMU must be claimed alone");
        p->refusal->remedy = strdup("Make one claim for each device.");
        return r;
    }
    if (!(p->backends & (1U << BACKEND_NOIOMMU))) {
        r = planner_name_rules(p,
                refuse(p->refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, &d->name,
                        "%s does not allow the backend noiommu", planner_call_rules(p)));
        /* With an IOMMU, another backend is the answer. */
        if (!d->group)
            p->refusal->remedy =
                    strdup("To loosen the policy, the operator can allow it, without any isolation, with "
                           "\"noiommu\": {\"reason\": \"…\"} in a rule that names the device, see "
                           "vfiod-policy(5).");
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
                    has == 0 ? "a device without an IOMMU requires a caller with CAP_SYS_RAWIO in the host's "
                               "user namespace"
                             : "a device without an IOMMU requires a caller with CAP_SYS_RAWIO, and the "
                               "caller's capabilities are unknown"));
}

static int check_kernel(Planner *p, const Device *d) {
    const KernelFacts *kernel;
    int r = survey_get_kernel(p->context->survey, &kernel);

    if (r == -EAGAIN)
        return r;
    if (r < 0)
        return refuse(p->refusal, VFIOD_ERROR_INTERNAL, &d->name,
                "cannot find out what the kernel supports: %s", strerror(-r));
    if (kernel->lockdown) {
        r = refuse(p->refusal, VFIOD_ERROR_NOIOMMU_DISABLED, &d->name,
                "the kernel is locked down, and a device without an IOMMU can write to all of its memory");
        p->refusal->remedy = strdup("Turn an IOMMU on: lockdown ends only with another boot.");
        return r;
    }
    if (!kernel->noiommu_support) {
        r = refuse(p->refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, &d->name,
                "the kernel does not support devices without an IOMMU, or the module vfio is not loaded");
        p->refusal->remedy =
                strdup("Load the module ('modprobe vfio'). The kernel must have CONFIG_VFIO_NOIOMMU.");
        return r;
    }
    if (kernel->compat) {
        r = refuse(p->refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, &d->name,
                "this kernel's /dev/vfio/vfio is an iommufd, which does not limit a group to one owner");
        p->refusal->remedy = strdup("The kernel must have CONFIG_VFIO_CONTAINER.");
        return r;
    }
    if (kernel->noiommu_enabled || policy_host_settings(p->context->policy).noiommu == NOIOMMU_MANAGED)
        return 0;
    r = refuse(p->refusal, VFIOD_ERROR_NOIOMMU_DISABLED, &d->name,
            "the kernel's parameter vfio.enable_unsafe_noiommu_mode is off, and vfiod does not manage it");
    p->refusal->remedy = strdup(
            "The operator must turn it on, or let vfiod do so with \"host\": {\"noiommu\": \"managed\"}.");
    return r;
}

int noiommu_decide(Planner *p) {
    const Device *d = p->first;
    int r;

    r = check_permission(p, d);
    if (r >= 0 && d->group) {
        r = refuse(p->refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, &d->name,
                "the backend noiommu is for devices without an IOMMU; this one is in IOMMU group %d",
                d->group->id);
        p->refusal->remedy = strdup("Request it without a backend.");
    }
    if (r >= 0)
        r = planner_put_aside(p, check_capability(p, d));
    if (r >= 0)
        r = check_kernel(p, d);
    if (r < 0)
        return r;
    p->plan->backend = BACKEND_NOIOMMU;
    (void) snprintf(p->plan->noiommu_reason, sizeof(p->plan->noiommu_reason), "%s",
            p->verdicts[0].terms->noiommu_reason ?: "");
    return 0;
}
