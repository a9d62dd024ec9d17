/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Chooses the vfio driver of a device. The driver that its rule names comes first, then the most specific
 * driver of this kernel, which may do more than vfio-pci, then vfio-pci. The plan shows the reason, and a
 * better driver if this kernel has no module for it. */

#include <stdio.h>

#include "base/str.h"
#include "core/device-kind.h"
#include "core/planner.h"
#include "policy/policy.h"

/* The rule names a driver of the PCI bus, which does not apply to devices of other kinds. */
static const char *named_driver(const Planner *p, const Device *d, unsigned charge) {
    return charge > 0 && d->name.kind == DEVICE_KIND_PCI ? rule_terms(p->rules[charge - 1])->driver : NULL;
}

static bool is_on_vfio_driver(const Device *d) {
    return d->driver && d->vfio_index >= 0;
}

unsigned driver_needed_facts(const Planner *p, const Device *d, Disposition disposition, unsigned charge) {
    bool open = disposition == DISPOSITION_CLAIM && d->name.kind == DEVICE_KIND_PCI && !is_on_vfio_driver(d);

    return open && !named_driver(p, d, charge) ? DEVICE_FACT_VARIANT : 0;
}

/* A better driver that this kernel does not have. */
static const VariantInfo *find_missing(const Device *d, const char *driver) {
    const VariantInfo *known = d->name.kind == DEVICE_KIND_PCI
            ? variant_of_ids(d->vendor, d->device, device_is_virtual_function(d))
            : NULL;

    return known && !streq(known->driver, driver) ? known : NULL;
}

static void add_missing(StrBuf *b, const Device *d, const char *driver) {
    const VariantInfo *missing = find_missing(d, driver);

    if (missing)
        strbuf_addf(b, ": %s would be better (%s), and this kernel does not have the module", missing->driver,
                missing->gain);
    else
        strbuf_add(b, ": this kernel has no more specific driver for it");
}

static void add_reason(StrBuf *b, const Device *d, const DeviceFacts *facts, const char *driver) {
    const VariantInfo *known = variant_of_module(facts->variant);

    if (!(facts->known & DEVICE_FACT_VARIANT))
        strbuf_add(b, ": whether this kernel has a more specific driver is unknown");
    else if (facts->variant[0] && facts->variant_blocked)
        strbuf_addf(b, ": the more specific %s is blacklisted in modprobe.d", facts->variant_driver);
    else if (facts->variant[0])
        strbuf_addf(b, ": the most specific vfio driver of this kernel for it%s%s%s", known ? " (" : "",
                known ? known->gain : "", known ? ")" : "");
    else
        add_missing(b, d, driver);
}

static void describe(Planner *p, const Device *d, const DeviceFacts *facts, const PlanMember *m) {
    const char *named = named_driver(p, d, m->charge);
    _cleanup_strbuf_ StrBuf b = {};
    const VariantInfo *missing;
    char name[DEVICE_NAME_MAX];

    if (!p->context->describe || d->name.kind != DEVICE_KIND_PCI)
        return;
    if (p->plan->drivers)
        strbuf_addf(&b, "%s\n", p->plan->drivers);
    strbuf_addf(&b, "%s: %s", device_name_format(&d->name, name), m->target_driver);
    missing = m->bind ? NULL : find_missing(d, m->target_driver);
    if (named)
        strbuf_add(&b, ": its rule names it");
    else if (m->bind)
        add_reason(&b, d, facts, m->target_driver);
    else
        strbuf_add(&b, ": it is bound to it already");
    if (missing && !named && !m->native)
        strbuf_addf(&b, "; %s would be better (%s)", missing->driver, missing->gain);
    free(p->plan->drivers);
    p->plan->drivers = strbuf_steal(&b);
}

static int refuse_other_driver(Planner *p, const Device *d, const PlanMember *m, const char *named) {
    int r = planner_name_rule(p, p->rules[m->charge - 1],
            refuse(p->refusal, VFIOD_ERROR_REQUIREMENT_NOT_MET, &d->name,
                    "its rule names the driver %s, and it is bound to %s", named, d->driver));

    free(p->refusal->remedy);
    p->refusal->remedy = format_string("Unbind it from %s, or let its pin name %s.", d->driver, named);
    return r;
}

int driver_choose(Planner *p, const Device *d, const DeviceFacts *facts, PlanMember *m) {
    const char *named = named_driver(p, d, m->charge), *generic = device_kind_info(d->name.kind)->driver;
    int r = 0;

    if (!m->bind) {
        put_text(m->target_driver, sizeof(m->target_driver), d->driver);
        if (named && m->disposition == DISPOSITION_CLAIM && !streq(named, d->driver))
            r = planner_put_aside(p, refuse_other_driver(p, d, m, named));
    } else if (m->disposition == DISPOSITION_CLAIM && named) {
        put_text(m->target_driver, sizeof(m->target_driver), named);
        if (!streq(named, generic))
            variant_module_name(named, m->module);
    } else if (m->disposition == DISPOSITION_CLAIM && facts->variant[0] && !facts->variant_blocked) {
        put_text(m->target_driver, sizeof(m->target_driver), facts->variant_driver);
        put_text(m->module, sizeof(m->module), facts->variant);
    } else
        put_text(m->target_driver, sizeof(m->target_driver), generic);
    if (m->disposition == DISPOSITION_CLAIM)
        describe(p, d, facts, m);
    return r;
}
