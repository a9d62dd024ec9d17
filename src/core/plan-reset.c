/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How the devices of a claim are reset, and which other devices that reaches, in words. A reset through sysfs
 * resets one function, whatever the method: it resets a bus only if nothing else is on the bus
 * (pci_parent_bus_reset()). Methods that cannot work are not counted, see host/sysfs.c. A client can do more:
 * VFIO_DEVICE_PCI_HOT_RESET resets everything below the port, and the kernel allows it only to a client that
 * has all of it. VFIO_DEVICE_GET_PCI_HOT_RESET_INFO lists these devices for a client that has one of them.
 * Before that, the topology shows them. */

#include <stdio.h>

#include "base/str.h"
#include "core/device-kind.h"
#include "core/planner.h"

static const char *method_text(const PlanMember *m) {
    static const char *const texts[_RESET_METHOD_MAX] = {
            [RESET_METHOD_DEVICE_SPECIFIC] = "by a method of its own (device_specific)",
            [RESET_METHOD_ACPI] = "by the firmware (acpi)",
            [RESET_METHOD_FLR] = "by a reset of the function (flr)",
            [RESET_METHOD_AF_FLR] = "by a reset of the function (af_flr)",
            [RESET_METHOD_PM] = "by its power management (pm)",
            [RESET_METHOD_BUS] = "by a reset of its bus, on which it is alone (bus)",
            [RESET_METHOD_CXL_BUS] = "by a reset of its bus, on which it is alone (cxl_bus)",
            [RESET_METHOD_UNKNOWN] = "by a method that the kernel chooses",
    };

    for (size_t i = 0; i < _RESET_METHOD_MAX; i++)
        if (m->reset_methods & 1U << i)
            return texts[i];
    return NULL;
}

/* ---- What a reset of the bus would reach ---- */

typedef struct Reach {
    const Plan *plan;
    const Device *device;
    StrBuf names;
    bool others; /* one of them is not in the claim */
} Reach;

static int add_neighbour(Device *d, void *userdata) {
    Reach *r = userdata;
    const PlanMember *m = plan_find_member(r->plan, &d->name);
    bool is_ours = m && m->disposition == DISPOSITION_CLAIM;
    char name[DEVICE_NAME_MAX];

    if (d == r->device || d->name.kind != DEVICE_KIND_PCI || d->name.domain != r->device->name.domain ||
            d->name.pci_bus != r->device->name.pci_bus)
        return 0;
    strbuf_addf(&r->names, "%s%s%s", r->names.length > 0 ? ", " : "", device_name_format(&d->name, name),
            device_is_bridge(d) ? " and all below it" : "");
    r->others |= !is_ours || device_is_bridge(d);
    return 0;
}

/* Neither a virtual function nor a device on a root bus has a reset of the bus. */
static void add_bus(StrBuf *b, const Planner *p, const Device *d, const DeviceFacts *facts) {
    Reach reach = {.plan = p->plan, .device = d};

    if (device_is_virtual_function(d) || !strchr(facts->slot_path, '/'))
        return;
    (void) inventory_foreach_device(p->context->inventory, add_neighbour, &reach);
    if (reach.names.length == 0)
        strbuf_add(b, ", as does a reset of its bus by the program that has it");
    else
        strbuf_addf(b, "; a reset of its bus would also reach %s, %s", reach.names.text,
                reach.others ? "so the kernel refuses that to the program" : "which the claim has, too");
    b->error = b->error < 0 ? b->error : reach.names.error;
    strbuf_done(&reach.names);
}

static void add_member(StrBuf *b, const Planner *p, const PlanMember *m, const DeviceFacts *facts) {
    const DeviceKindInfo *kind = device_kind_info(m->name.kind);
    const Device *d = inventory_find_device(p->context->inventory, &m->name);
    const char *method = method_text(m);

    if (plan_member_is_made(m))
        strbuf_add(b, "not needed, it is new and removed at the end");
    else if (m->native)
        strbuf_add(b, "by its own driver");
    else if (kind->resets_itself)
        strbuf_add(b, "by the kernel, whenever it is opened or closed");
    else if (!kind->reset)
        strbuf_add(b, "by its vfio driver if that can");
    else if (!method)
        strbuf_add(b, "not at all, it has no reset method");
    else
        strbuf_addf(b, "%s, which reaches it alone", method);
    if (d && m->name.kind == DEVICE_KIND_PCI && !m->native && method)
        add_bus(b, p, d, facts);
}

int reset_describe(Planner *p) {
    _cleanup_strbuf_ StrBuf b = {};
    char name[DEVICE_NAME_MAX];

    for (size_t i = 0; i < p->plan->n_claimed; i++) {
        const PlanMember *m = &p->plan->members[i];
        static const DeviceFacts unknown;
        const DeviceFacts *facts = &unknown;
        int r = m->name.kind == DEVICE_KIND_PCI
                ? survey_get(p->context->survey, &m->name, DEVICE_FACT_SLOT_PATH, &facts)
                : 0;

        p->again = p->again || r == -EAGAIN;
        strbuf_addf(&b, "%s%s: ", i > 0 ? "\n" : "", device_name_format(&m->name, name));
        add_member(&b, p, m, facts);
    }
    p->plan->resets = strbuf_steal(&b);
    return p->plan->resets ? 0 : refuse(p->refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
}
