/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A device can be the parent of others that exist only as long as its driver is bound: virtual functions, or
 * the devices of a PCI domain behind it. To unbind or reset the parent takes them away from their users, and
 * the kernel does not protect users of VFIO from that. So a parent is not free while a descendant is held or
 * in use, and a descendant is not free while its parent is held. */

#include <stdio.h>

#include "base/str.h"
#include "base/user-name.h"
#include "core/claim.h"
#include "core/device-kind.h"
#include "core/family.h"
#include "core/planner.h"

#define NAMED_MAX 4U              /* descendants that a refusal lists */
#define FAMILY_GENERATIONS_MAX 4U /* up to the root; a bound against nonsense */

static const Claim *holder_of(const Device *d) {
    return d->claim ?: d->group ? d->group->claim : NULL;
}

/* A virtual function always counts, and so does a mediated or vDPA device: somebody made it on purpose, and
 * nothing would bring it back. The devices of a domain are always there. host_critical finds those that the
 * host uses. */
static bool is_in_use(const Device *d) {
    return device_is_virtual_function(d) || device_kind_info(d->name.kind)->is_made || holder_of(d) ||
            d->quarantined || (d->driver && d->vfio_index >= 0);
}

typedef struct Descendants {
    const Device *claimed; /* the first claimed one */
    const Device *first[BLOCKERS_MAX];
    unsigned n;
    StrBuf names;
} Descendants;

static int note_descendant(Device *d, void *userdata) {
    Descendants *found = userdata;
    char name[DEVICE_NAME_MAX];

    if (!is_in_use(d))
        return 0;
    if (!found->claimed && holder_of(d))
        found->claimed = d;
    if (found->n < ELEMENTSOF(found->first))
        found->first[found->n] = d;
    if (found->n++ < NAMED_MAX)
        strbuf_addf(&found->names, "%s%s", found->n > 1 ? ", " : "", device_name_format(&d->name, name));
    return 0;
}

static int refuse_claimed(Planner *p, const Device *d, const Device *descendant) {
    const Claim *holder = holder_of(descendant);
    char name[DEVICE_NAME_MAX];

    int r;

    r = refuse(p->refusal, VFIOD_ERROR_DEVICE_CLAIMED, &d->name,
            "claim %s of %s holds %s, which would disappear with its driver (%s)", holder->id,
            USER_TEXT(holder->uid), device_name_format(&descendant->name, name),
            claim_state_to_string(holder->state));
    planner_add_claim(p, holder);
    refusal_add_device(p->refusal, &descendant->name, "claimed, and would disappear with the driver");
    return r;
}

int family_refuse(Planner *p, const Device *d, const char *descendants) {
    _cleanup_free_ char *names = sanitize(descendants, 200);
    int r;

    /* A requested device is not called a sibling. */
    if (!planner_is_requested(p, d) && d->group) {
        r = refuse(p->refusal, VFIOD_ERROR_HOST_CRITICAL, &d->name,
                "this sibling in IOMMU group %d would be unbound from its driver, and these devices would "
                "disappear with it: %s",
                d->group->id, names ?: "?");
        p->refusal->remedy = strdup("Choose a device of another IOMMU group.");
        return r;
    }
    r = refuse(p->refusal, VFIOD_ERROR_HOST_CRITICAL, &d->name,
            "it has devices that would disappear with its driver: %s", names ?: "?");
    p->refusal->remedy = strdup("Claim one of them instead, or remove them first (virtual functions: "
                                "'vfioctl vf DEVICE --count 0'; vDPA devices: 'vdpa dev del'; "
                                "mediated devices: 'mdevctl stop').");
    return r;
}

/* The claim is making a device from d, which may not be there yet. */
static int refuse_maker(Planner *p, const Device *d, const Claim *maker) {
    int r = refuse(p->refusal, VFIOD_ERROR_DEVICE_CLAIMED, &d->name,
            "claim %s of %s has a mediated device of it, which would disappear with its driver (%s)",
            maker->id, USER_TEXT(maker->uid), claim_state_to_string(maker->state));

    planner_add_claim(p, maker);
    return r;
}

int family_check_descendants(Planner *p, const Device *d) {
    const Claim *maker =
            p->context->find_maker ? p->context->find_maker(p->context->maker_userdata, &d->name) : NULL;
    Descendants found = {};
    int r = 0;

    (void) inventory_foreach_descendant(p->context->inventory, d, note_descendant, &found);
    if (found.n > NAMED_MAX)
        strbuf_addf(&found.names, " and %u more", found.n - NAMED_MAX);
    if (found.claimed)
        r = refuse_claimed(p, d, found.claimed);
    else if (maker)
        r = refuse_maker(p, d, maker);
    else if (found.n > 0)
        r = family_refuse(p, d, found.names.text ?: "?");
    for (size_t i = 0;
            r < 0 && !found.claimed && !maker && i < MIN(found.n, (unsigned) ELEMENTSOF(found.first)); i++)
        refusal_add_device(p->refusal, &found.first[i]->name, "would disappear with the driver");
    strbuf_done(&found.names);
    return r;
}

/* Does its claim unbind or reset the device, at its end at the latest? */
static bool is_moved(const Device *d, const Claim *holder) {
    for (size_t i = 0; i < holder->plan.n_members; i++) {
        const PlanMember *m = &holder->plan.members[i];

        if (device_name_compare(&m->name, &d->name) == 0)
            return m->disposition == DISPOSITION_CLAIM || m->disposition == DISPOSITION_PARK || m->reset;
    }
    return false;
}

static int refuse_reshaping(const Device *d, const Device *parent, Refusal *refusal) {
    char name[DEVICE_NAME_MAX];
    int r;

    if (d == parent)
        return refuse(refusal, VFIOD_ERROR_DEVICE_BUSY, &d->name,
                "the number of its virtual functions is being changed");
    r = refuse(refusal, VFIOD_ERROR_DEVICE_BUSY, &d->name,
            "the number of virtual functions of %s is being changed",
            device_name_format(&parent->name, name));
    refusal_add_device(refusal, &parent->name, "the physical function");
    return r;
}

int family_check_stable(Planner *p, const Device *d) {
    const Device *of = d;

    for (unsigned n = 0; of && n < FAMILY_GENERATIONS_MAX; n++) {
        if (of->reshaping)
            return refuse_reshaping(d, of, p->refusal);
        of = inventory_find_parent(p->context->inventory, of);
    }
    return 0;
}

int family_check_maker(Planner *p, const Device *d) {
    const Claim *holder = holder_of(d);
    int r = family_check_stable(p, d);

    if (r < 0 || ((!holder || !is_moved(d, holder)) && !d->quarantined))
        return r;
    if (!holder || d->quarantined)
        return refuse(p->refusal, VFIOD_ERROR_DEVICE_QUARANTINED, &d->name, "it is quarantined");
    r = refuse(p->refusal, VFIOD_ERROR_DEVICE_CLAIMED, &d->name, "claim %s of %s holds it (%s)", holder->id,
            USER_TEXT(holder->uid), claim_state_to_string(holder->state));
    planner_add_claim(p, holder);
    return r;
}

int family_check_parent(Planner *p, const Device *d) {
    const Device *parent = inventory_find_parent(p->context->inventory, d);
    const Claim *holder = parent ? holder_of(parent) : NULL;
    char name[DEVICE_NAME_MAX];
    int r;

    r = family_check_stable(p, d);
    if (r < 0)
        return r;
    if (!holder || !is_moved(parent, holder))
        return 0;
    r = refuse(p->refusal, VFIOD_ERROR_DEVICE_CLAIMED, &d->name, "claim %s of %s holds its parent %s (%s)",
            holder->id, USER_TEXT(holder->uid), device_name_format(&parent->name, name),
            claim_state_to_string(holder->state));
    planner_add_claim(p, holder);
    refusal_add_device(p->refusal, &parent->name, "the parent, claimed");
    return r;
}

int family_check_consumer(Planner *p, const Device *d, const char *name) {
    const Device *consumer;
    const Claim *holder;
    DeviceName parsed;
    int r;

    if (device_name_parse(name, &parsed) < 0)
        return 0;
    consumer = inventory_find_device(p->context->inventory, &parsed);
    holder = consumer ? holder_of(consumer) : NULL;
    if (!holder || holder == p->context->claim)
        return 0;
    r = refuse(p->refusal, VFIOD_ERROR_DEVICE_CLAIMED, &d->name,
            "claim %s of %s holds %s, which would lose its driver (%s)", holder->id, USER_TEXT(holder->uid),
            name, claim_state_to_string(holder->state));
    planner_add_claim(p, holder);
    refusal_add_device(p->refusal, &consumer->name, "it depends on the device, and is claimed");
    return r;
}

/* ---- The number of virtual functions ---- */

static int refuse_held(const Device *d, const Device *of, const Claim *holder, Refusal *refusal) {
    char name[DEVICE_NAME_MAX];
    int r;

    r = refuse(refusal, VFIOD_ERROR_DEVICE_CLAIMED, &of->name, "claim %s of %s holds %s (%s)", holder->id,
            USER_TEXT(holder->uid), d == of ? "it" : device_name_format(&d->name, name),
            claim_state_to_string(holder->state));
    refusal_add_blocker(refusal, BLOCKER_CLAIM, holder->id, "%s", claim_state_to_string(holder->state));
    if (d != of)
        refusal_add_device(refusal, &d->name, "claimed, and would disappear");
    return r;
}

static int refuse_unusable(const Device *d, const Device *of, Refusal *refusal) {
    char name[DEVICE_NAME_MAX];
    int r;

    r = refuse(refusal, VFIOD_ERROR_DEVICE_QUARANTINED, &of->name, "%s is quarantined",
            d == of ? "it" : device_name_format(&d->name, name));
    refusal_add_device(refusal, &d->name, "quarantined");
    return r;
}

/* The first function that is held and the first in quarantine, and the number of functions. */
typedef struct Functions {
    const Device *of, *held, *unusable;
    unsigned n;
} Functions;

static int note_function(Device *d, void *userdata) {
    Functions *found = userdata;

    found->n += device_parent_name(d) && device_is_virtual_function(d) &&
            device_name_compare(device_parent_name(d), &found->of->name) == 0;
    if (!found->held && holder_of(d))
        found->held = d;
    if (!found->unusable && d->quarantined)
        found->unusable = d;
    return 0;
}

unsigned family_count_functions(Inventory *inventory, const Device *d) {
    Functions found = {.of = d};

    (void) inventory_foreach_descendant(inventory, d, note_function, &found);
    return found.n;
}

int family_check_reshaping(Inventory *inventory, const Device *d, Refusal *refusal) {
    Functions found = {.of = d};

    if (d->name.kind != DEVICE_KIND_PCI || device_is_virtual_function(d))
        return refuse(refusal, VFIOD_ERROR_NO_VIRTUAL_FUNCTIONS, &d->name, "it is %s",
                d->name.kind == DEVICE_KIND_PCI ? "a virtual function itself" : "not a PCI device");
    if (d->reshaping)
        return refuse_reshaping(d, d, refusal);
    if (d->quarantined)
        return refuse_unusable(d, d, refusal);
    if (holder_of(d))
        return refuse_held(d, d, holder_of(d), refusal);
    (void) inventory_foreach_descendant(inventory, d, note_function, &found);
    if (found.unusable)
        return refuse_unusable(found.unusable, d, refusal);
    return found.held ? refuse_held(found.held, d, holder_of(found.held), refusal) : 0;
}
