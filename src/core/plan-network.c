/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The settings that the network card gives to a virtual function. The client requests them, within the bounds
 * of the rule. Whether the card's driver supports them is found out when the claim is made
 * (daemon/kernel/vf-setup.h). */

#include "base/str.h"
#include "core/planner.h"

static int refuse_kind(Planner *p, const Device *d) {
    int r = refuse(p->refusal, VFIOD_ERROR_NETWORK_FAILED, &d->name,
            "the request has the option \"network\", and it is not a virtual function");

    p->refusal->remedy = strdup("Request it without \"network\", or request a virtual function: 'vfioctl vf "
                                "DEVICE' shows those of a device.");
    return r;
}

/* A card on its vfio driver has no interface. */
static int refuse_parent(Planner *p, const Device *d, const Device *parent) {
    char name[DEVICE_NAME_MAX];
    int r;

    if (parent)
        (void) device_name_format(&parent->name, name);
    r = refuse(p->refusal, VFIOD_ERROR_NETWORK_FAILED, &d->name,
            "its network is set through the interface of its physical function%s%s, which is %s%s",
            parent ? " " : "", parent ? name : "",
            !parent                   ? "unknown"
                    : !parent->driver ? "on no driver"
                                      : "on the driver ",
            parent && parent->driver ? parent->driver : "");
    p->refusal->remedy = strdup("Bind the physical function to its network driver, or request it without "
                                "\"network\".");
    return r;
}

static int refuse_value(Planner *p, const Device *d, const Verdict *v, VfAttribute a) {
    _cleanup_free_ char *allowed = vf_bounds_describe(&v->terms->network, a);
    bool none = !allowed || !*allowed;
    char wanted[VF_NETWORK_TEXT_MAX];
    int r;

    (void) vf_network_describe(&p->request->network, a, wanted);
    r = planner_name_rule(p, v->rule,
            refuse(p->refusal, VFIOD_ERROR_ACCESS_DENIED, &d->name,
                    "%s does not allow %s in \"network\"; it allows %s%s%s",
                    v->rule ? "the rule" : "a rule by default", wanted, none ? "no request for " : "",
                    none ? vf_attribute_to_string(a) : "", none ? "" : allowed));
    p->refusal->remedy = format_string("%sTo loosen the policy, the operator can add it to \"%s\" in "
                                       "\"network\" of the rule.",
            none ? "Request it without. " : "Request one of those. ", vf_attribute_to_string(a));
    return r;
}

/* A card with a driver of the host may have an interface. Whether it has is found out when the claim is made.
 */
static bool has_interface(const Device *parent) {
    return parent && parent->driver && parent->vfio_index < 0;
}

static int check_device(Planner *p, size_t i) {
    const Device *d = p->devices[i], *parent = inventory_find_parent(p->context->inventory, d);
    VfAttribute a;

    if (!device_is_virtual_function(d))
        return refuse_kind(p, d);
    a = vf_bounds_check(&p->verdicts[i].terms->network, &p->request->network);
    if ((int) a >= 0)
        return refuse_value(p, d, &p->verdicts[i], a);
    return has_interface(parent) ? 0 : refuse_parent(p, d, parent);
}

int network_check(Planner *p) {
    Plan *plan = p->plan;

    for (size_t i = 0; i < p->request->n_devices && p->request->network.has != 0; i++) {
        int r;

        if (p->settled[i])
            continue;
        r = planner_put_aside(p, check_device(p, i));
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < plan->n_claimed; i++)
        plan->members[i].network = p->request->network;
    return 0;
}
