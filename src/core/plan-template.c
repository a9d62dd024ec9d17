/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A request may name a template in place of a device. The policy decides which type the device has and which
 * parents may make it. The planner decides before anything is touched, from what was seen of the host. The
 * device, its group and its node exist only once its driver has made it. */

#include <stdio.h>

#include "base/str.h"
#include "base/user-name.h"
#include "core/device-kind.h"
#include "core/planner.h"

#define NAMED_MAX 4U /* devices that a refusal lists */

/* ---- Members ---- */

bool plan_member_is_made(const PlanMember *m) {
    return m->made.type[0];
}

bool plan_member_is_changed(const PlanMember *m) {
    return m->bind || m->kept || plan_member_is_made(m);
}

bool plan_member_is_known(const PlanMember *m) {
    return m->target_driver[0] || plan_member_is_made(m);
}

/* Some parents are not devices of the inventory, such as mtty itself. Their names do not parse. */
static bool parse_parent(const char *parent, DeviceName *ret) {
    return device_name_parse_pci_address(parent, ret) >= 0;
}

bool plan_member_is_made_of(const PlanMember *m, const DeviceName *parent) {
    DeviceName name;

    return plan_member_is_made(m) && parse_parent(m->made.parent, &name) &&
            device_name_compare(&name, parent) == 0;
}

DeviceName plan_member_asked(const PlanMember *m) {
    DeviceName name = m->name;

    if (plan_member_is_made(m))
        (void) device_kind_info(DEVICE_KIND_TEMPLATE)->parse(DEVICE_KIND_TEMPLATE, m->made.template, &name);
    return name;
}

void template_as_device(const DeviceName *name, Device *ret) {
    *ret = (Device){.name = *name, .vfio_index = -1};
}

/* ---- Choosing ---- */

typedef struct Choice {
    const DeviceTemplate *template;
    const MdevType *chosen;
    unsigned n_parents; /* of this type */
    bool unknown;       /* the number of available instances of one of them is unknown */
} Choice;

static bool is_type(const MdevType *t, const DeviceTemplate *template) {
    return glob_match(template->parent, t->parent) &&
            (streq(template->type, t->id) || streq_ptr(template->type, t->name));
}

static unsigned count_promised(const Planner *p, const MdevType *t, const Claim **ret_first) {
    const PlanContext *c = p->context;

    return c->count_promised ? c->count_promised(c->maker_userdata, t, ret_first) : 0;
}

/* How many of the available instances are promised already, to this request or to other claims. */
static int64_t count_chosen(const Planner *p, const MdevType *t) {
    const Claim *first;
    int64_t n = count_promised(p, t, &first);

    for (size_t i = 0; i < p->request->n_devices; i++)
        n += p->types[i] == t;
    return n;
}

/* Skips a parent that is claimed. Its refusal stays for when there is no other. */
static int consider(Planner *p, Choice *c, const MdevType *t) {
    const Device *parent;
    DeviceName name;
    int r = 0;

    c->n_parents++;
    parent = parse_parent(t->parent, &name) ? inventory_find_device(p->context->inventory, &name) : NULL;
    if (parent) {
        refusal_done(p->refusal);
        r = family_check_maker(p, parent);
    }
    c->unknown |= t->available < 0;
    if (r >= 0 && t->available > count_chosen(p, t))
        c->chosen = t;
    return r;
}

static void describe_device(const Planner *p, const DeviceName *name, StrBuf *b) {
    const Device *d = inventory_find_device(p->context->inventory, name);
    char text[DEVICE_NAME_MAX];

    strbuf_add(b, device_name_format(name, text));
    if (d && d->claim)
        strbuf_addf(b, " (claim %s of %s)", d->claim->id, USER_TEXT(d->claim->uid));
}

static void add_blocker(Planner *p, const DeviceName *name) {
    const Device *d = inventory_find_device(p->context->inventory, name);

    if (d && d->claim)
        planner_add_claim(p, d->claim);
    else
        refusal_add_device(p->refusal, name, "made by another program");
}

static bool is_held(const Planner *p, const DeviceName *name) {
    const Device *d = inventory_find_device(p->context->inventory, name);

    return d && d->claim;
}

/* Counts the devices of all parents that match. ret gets the first few, those of claims before others. */
static unsigned find_devices(const Planner *p, const MdevTypes *types, const DeviceTemplate *template,
        const DeviceName *ret[static NAMED_MAX]) {
    unsigned n = 0, found = 0;

    for (unsigned held = 2; held-- > 0;)
        for (size_t i = 0; i < types->n; i++)
            for (size_t k = 0; is_type(&types->types[i], template) && k < types->types[i].n_devices; k++) {
                const DeviceName *name = &types->types[i].devices[k];

                n += held;
                if (found < NAMED_MAX && is_held(p, name) == held)
                    ret[found++] = name;
            }
    return n;
}

static unsigned find_promised(
        const Planner *p, const MdevTypes *types, const DeviceTemplate *template, const Claim **ret_first) {
    unsigned n = 0;

    for (size_t i = 0; i < types->n; i++)
        if (is_type(&types->types[i], template))
            n += count_promised(p, &types->types[i], n == 0 ? ret_first : &(const Claim *){NULL});
    return n;
}

/* Refuses, and lists the owners of all instances. */
static int refuse_full(
        Planner *p, const DeviceName *name, const MdevTypes *types, const DeviceTemplate *template) {
    const Claim *first = NULL;
    const DeviceName *devices[NAMED_MAX];
    unsigned n = find_devices(p, types, template, devices);
    unsigned n_promised = find_promised(p, types, template, &first);
    _cleanup_strbuf_ StrBuf b = {};
    int r;

    if (n > 0)
        strbuf_addf(&b, "; %u in use: ", n);
    for (unsigned i = 0; i < MIN(n, NAMED_MAX); i++) {
        strbuf_add(&b, i > 0 ? ", " : "");
        describe_device(p, devices[i], &b);
    }
    if (n > NAMED_MAX)
        strbuf_addf(&b, " and %u more", n - NAMED_MAX);
    if (n_promised > 0)
        strbuf_addf(&b, "; %u reserved or being made (claim %s of %s%s)", n_promised, first->id,
                USER_TEXT(first->uid), n_promised > 1 ? " and others" : "");
    if (n + n_promised == 0)
        strbuf_add(&b, "; none is in use, so devices of other types take what it needs");
    r = refuse(p->refusal, VFIOD_ERROR_NO_INSTANCE, name, "no instance of the type %s is left%s",
            template->type, b.text ?: "");
    for (unsigned i = 0; i < MIN(n, NAMED_MAX); i++)
        add_blocker(p, devices[i]);
    if (first)
        planner_add_claim(p, first);
    return r;
}

static int refuse_unknown(Planner *p, const DeviceName *name, int error, const char *why) {
    return refuse(p->refusal, error == -ETIMEDOUT ? VFIOD_ERROR_TIMED_OUT : VFIOD_ERROR_NO_INSTANCE, name,
            "which mediated devices can be made is unknown: %s",
            why                         ? why
                    : error == -ENODATA ? "that is not recorded"
                                        : strerror(-error));
}

static int refuse_missing(Planner *p, const DeviceName *name, const DeviceTemplate *template) {
    int r = refuse(p->refusal, VFIOD_ERROR_NO_SUCH_DEVICE, name,
            "no driver of this host makes devices of the type %s on a parent %s", template->type,
            template->parent);

    p->refusal->remedy =
            strdup("'vfioctl types' shows what the drivers make. Load the driver, or correct the "
                   "template in the policy.");
    return r;
}

static int choose(Planner *p, size_t i, const MdevTypes *types, Choice *c) {
    const DeviceName *name = &p->request->devices[i];
    int r = 0;

    for (size_t k = 0; k < types->n && !c->chosen; k++)
        if (is_type(&types->types[k], c->template))
            r = consider(p, c, &types->types[k]);
    if (c->chosen) {
        p->types[i] = c->chosen;
        refusal_done(p->refusal);
        return 0;
    }
    if (types->incomplete)
        return refuse_unknown(p, name, -E2BIG, "the drivers of this host make more types than are listed");
    if (c->n_parents == 0 && types->silent)
        return refuse_unknown(p, name, -ETIMEDOUT, "a driver that makes such devices does not answer");
    if (c->n_parents == 0)
        return refuse_missing(p, name, c->template);
    if (r < 0)
        return r;
    refusal_done(p->refusal);
    return c->unknown ? refuse_unknown(p, name, -EIO, "the driver does not report how many are left")
                      : refuse_full(p, name, types, c->template);
}

int template_choose(Planner *p, size_t i) {
    const DeviceName *name = &p->request->devices[i];
    Choice c = {.template = policy_find_template(p->context->policy, name)};
    const MdevTypes *types;
    int r;

    if (!c.template) {
        r = refuse(p->refusal, VFIOD_ERROR_NO_SUCH_DEVICE, name, "the policy has no template of this name");
        p->refusal->remedy =
                strdup("The operator can add it to \"templates\" of \"host\", see vfiod-policy(5).");
        return r;
    }
    r = survey_get_mdev_types(p->context->survey, &types);
    if (r == -EAGAIN)
        return r;
    return r < 0 ? refuse_unknown(p, name, r, NULL) : choose(p, i, types, &c);
}

int template_add(Planner *p, size_t i, unsigned charge) {
    const MdevType *type = p->types[i];
    PlanMember *m = plan_add_member(p->plan);

    if (!m)
        return refuse(p->refusal, VFIOD_ERROR_INTERNAL, &p->request->devices[i], "out of memory");
    *m = (PlanMember){
            .name = p->request->devices[i], .group = -1, .disposition = DISPOSITION_CLAIM, .charge = charge};
    put_text(m->made.parent, sizeof(m->made.parent), type->parent);
    put_text(m->made.type, sizeof(m->made.type), type->id);
    put_text(m->made.template, sizeof(m->made.template), m->name.text);
    return 1;
}
