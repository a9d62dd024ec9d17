/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Checks what a request requires of its devices, as far as it is known before a device is touched. Unknown
 * capabilities are probed later: the claim has the devices on their vfio drivers then, and nothing was handed
 * out yet. */

#include "base/str.h"
#include "core/planner.h"

/* Only iommufd offers these (VFIO_DEVICE_ATTACH_IOMMUFD_PT with a PASID, IOMMU_HWPT_GET_DIRTY_BITMAP). */
#define CAPS_OF_IOMMUFD (1U << DEVICE_CAP_PASID | 1U << DEVICE_CAP_DIRTY_TRACKING)

int caps_refuse(const DeviceName *name, const DeviceNeeds *needs, const DeviceCaps *caps, DeviceCap cap,
        Refusal *refusal) {
    char wanted[DEVICE_NEEDS_TEXT_MAX], seen[DEVICE_CAPS_TEXT_MAX];
    const char *is = device_caps_describe(caps, cap, seen);
    int r;

    (void) device_needs_describe(needs, cap, wanted);
    if (!device_caps_know(caps, cap))
        r = refuse(refusal, VFIOD_ERROR_REQUIREMENT_NOT_MET, name,
                "the request requires %s, and whether the device has it is unknown", wanted);
    else
        r = refuse(refusal, VFIOD_ERROR_REQUIREMENT_NOT_MET, name,
                "the request requires %s, and with the driver %s its %s is: %s", wanted, caps->driver,
                device_cap_to_string(cap), is);
    refusal->wanted = strdup(wanted);
    refusal->seen = strdup(is);
    return r;
}

NeedsAnswer caps_answer(
        const DeviceNeeds *needs, const DeviceCaps *caps, const char *driver, DeviceCap *ret) {
    return device_needs_check(needs, caps && streq(caps->driver, driver) ? caps : NULL, ret);
}

/* Refuses for the first capability that requires another backend. */
static int refuse_backend(const Planner *p, uint32_t caps) {
    char wanted[DEVICE_NEEDS_TEXT_MAX];
    DeviceCap cap = (DeviceCap) __builtin_ctz(caps);
    int r;

    r = refuse(p->refusal, VFIOD_ERROR_REQUIREMENT_NOT_MET, &p->first->name,
            "the request requires %s, which no device has through the backend %s",
            device_needs_describe(&p->request->needs, cap, wanted), backend_to_string(p->plan->backend));
    p->refusal->wanted = strdup(wanted);
    return r;
}

static uint32_t lacking(Backend backend) {
    switch (backend) {
    case BACKEND_IOMMUFD:
        return 0;
    case BACKEND_GROUP:
        return CAPS_OF_IOMMUFD;
    default: /* without an IOMMU or VFIO, nothing is known of a device */
        return UINT32_MAX;
    }
}

int caps_check(Planner *p) {
    const DeviceNeeds *needs = &p->request->needs;
    Plan *plan = p->plan;

    plan->needs = *needs;
    if (needs->caps & lacking(plan->backend))
        return planner_put_aside(p, refuse_backend(p, needs->caps & lacking(plan->backend)));
    for (size_t i = 0; i < plan->n_claimed && needs->caps != 0; i++) {
        const PlanMember *m = &plan->members[i];
        const DeviceCaps *caps = inventory_find_caps(p->context->inventory, &m->name);
        DeviceCap cap;
        NeedsAnswer answer = caps_answer(needs, caps, m->target_driver, &cap);
        int r;

        if (answer == NEEDS_MET)
            continue;
        /* It will be probed, but only PCI functions are: see vfio-caps.h. */
        if (answer == NEEDS_UNKNOWN && m->name.kind == DEVICE_KIND_PCI)
            continue;
        r = planner_put_aside(p, caps_refuse(&m->name, needs, caps, cap, p->refusal));
        if (r < 0)
            return r;
    }
    return 0;
}
