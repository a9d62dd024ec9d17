/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/view-change.h"

static void note_device(
        const ViewListener *l, const DeviceName *name, ObjectChange change, unsigned properties) {
    l->changed(l->userdata, &(ViewReference){.kind = VIEW_DEVICE, .device = name}, change, properties);
}

static void note_group(const ViewListener *l, int id, ObjectChange change, unsigned properties) {
    l->changed(l->userdata, &(ViewReference){.kind = VIEW_GROUP, .group = id}, change, properties);
}

static void note_claim(const ViewListener *l, const char *id, ObjectChange change, unsigned properties) {
    l->changed(l->userdata, &(ViewReference){.kind = VIEW_CLAIM, .claim = id}, change, properties);
}

static void announce_members_changed(const ViewListener *l, int group) {
    note_group(l, group, OBJECT_CHANGED,
            VIEW_PROPERTY_DEVICES | VIEW_PROPERTY_FINGERPRINT | VIEW_PROPERTY_VIABLE | VIEW_PROPERTY_STATE);
}

static void announce_device_gone(const ViewListener *l, const Device *d, int changes, int old_group) {
    note_device(l, &d->name, OBJECT_REMOVED, 0);
    if (changes & GROUP_REMOVED)
        note_group(l, old_group, OBJECT_REMOVED, 0);
    else if (d->group)
        announce_members_changed(l, d->group->id);
}

/* The device has joined a group, which may be new, too. */
static void announce_group_joined(const ViewListener *l, const Device *d, int changes) {
    if (!d->group)
        return;
    if (changes & GROUP_ADDED)
        note_group(l, d->group->id, OBJECT_ADDED, 0);
    else
        announce_members_changed(l, d->group->id);
}

void view_device_changed(const ViewListener *l, const Device *d, int changes, int old_group) {
    unsigned properties = 0;

    if (changes & DEVICE_REMOVED) {
        announce_device_gone(l, d, changes, old_group);
        return;
    }
    if (changes & DEVICE_ADDED) {
        announce_group_joined(l, d, changes);
        note_device(l, &d->name, OBJECT_ADDED, 0);
        return;
    }
    if (changes & DEVICE_GROUP_CHANGED) {
        announce_group_joined(l, d, changes);
        properties |= VIEW_PROPERTY_GROUP;
        if (changes & GROUP_REMOVED)
            note_group(l, old_group, OBJECT_REMOVED, 0);
        else if (old_group >= 0)
            announce_members_changed(l, old_group);
    }
    if (changes & DEVICE_DRIVER_CHANGED)
        properties |= VIEW_PROPERTY_DRIVER;
    if (changes & DEVICE_NODE_CHANGED)
        properties |= VIEW_PROPERTY_VFIO_NODE;
    if (properties != 0)
        note_device(l, &d->name, OBJECT_CHANGED, properties);
    if (d->group && changes & (DEVICE_DRIVER_CHANGED | DEVICE_NODE_CHANGED))
        note_group(l, d->group->id, OBJECT_CHANGED, VIEW_PROPERTY_VIABLE);
}

static void announce_claimed_device(const ViewListener *l, const Device *d, unsigned properties) {
    note_device(l, &d->name, OBJECT_CHANGED, properties | VIEW_PROPERTY_QUARANTINE_CAUSE);
}

/* A claim takes whole groups, so all their members change. */
static void announce_claimed(const ViewListener *l, int group, unsigned properties) {
    const Group *g = inventory_find_group(l->inventory, group);

    if (!g)
        return;
    note_group(l, group, OBJECT_CHANGED, properties);
    FOREACH_MEMBER(d, g)
        announce_claimed_device(l, d, properties);
}

/* Devices without an IOMMU are in no group. */
static void announce_without_group(const ViewListener *l, const Plan *plan, unsigned properties) {
    for (size_t i = 0; plan->n_groups == 0 && i < plan->n_members; i++) {
        const Device *d = inventory_find_device(l->inventory, &plan->members[i].name);

        if (d)
            announce_claimed_device(l, d, properties);
    }
}

static bool can_be_stopped(const Claim *c) {
    return c->plan.hold.stop_after_sec > 0 || c->plan.hold.drain_timeout_sec > 0;
}

void view_claim_changed(const ViewListener *l, const Claim *claim, ClaimChange change) {
    unsigned properties = VIEW_PROPERTY_STATE;

    switch (change) {
    case CLAIM_ADDED:
        note_claim(l, claim->id, OBJECT_ADDED, 0);
        properties |= VIEW_PROPERTY_CLAIM;
        break;
    case CLAIM_CHANGED:
        note_claim(l, claim->id, OBJECT_CHANGED,
                VIEW_PROPERTY_STATE | ((int) claim->refusal.code >= 0 ? VIEW_PROPERTY_FAILURE : 0) |
                        (can_be_stopped(claim) ? VIEW_PROPERTY_STOPPING | VIEW_PROPERTY_STOP_AT : 0) |
                        (claim->until_usec != 0 ? VIEW_PROPERTY_DEADLINE : 0));
        break;
    case CLAIM_RESHAPED:
        note_claim(l, claim->id, OBJECT_CHANGED,
                VIEW_PROPERTY_DEVICES | VIEW_PROPERTY_GROUPS | VIEW_PROPERTY_RULE |
                        (claim->until_usec != 0 ? VIEW_PROPERTY_DEADLINE : 0));
        properties |= VIEW_PROPERTY_CLAIM;
        break;
    case CLAIM_MOVED:
        note_claim(l, claim->id, OBJECT_CHANGED, VIEW_PROPERTY_TETHER);
        return;
    case CLAIM_QUEUED:
        note_claim(l, claim->id, OBJECT_CHANGED, VIEW_PROPERTY_QUEUE_POSITION);
        return;
    case CLAIM_EVICTED:
        note_claim(l, claim->id, OBJECT_CHANGED,
                VIEW_PROPERTY_EVICTION | VIEW_PROPERTY_EVICT_AT | VIEW_PROPERTY_EVICT_REASON |
                        VIEW_PROPERTY_EVICT_CAUSE | VIEW_PROPERTY_DEADLINE |
                        (can_be_stopped(claim) ? VIEW_PROPERTY_STOP_AT : 0));
        return;
    case CLAIM_STOPPING:
        note_claim(l, claim->id, OBJECT_CHANGED, VIEW_PROPERTY_STOPPING | VIEW_PROPERTY_STOP_AT);
        return;
    case CLAIM_WARNED:
        note_claim(l, claim->id, OBJECT_CHANGED, VIEW_PROPERTY_WARNINGS);
        return;
    case CLAIM_SLEEPS:
        note_claim(l, claim->id, OBJECT_CHANGED,
                VIEW_PROPERTY_SLEEP_AT | VIEW_PROPERTY_RESUME | VIEW_PROPERTY_RESUME_FAILURES);
        return;
    case CLAIM_REMOVED:
        note_claim(l, claim->id, OBJECT_REMOVED, 0);
        properties |= VIEW_PROPERTY_CLAIM;
        break;
    }
    for (size_t i = 0; i < claim->plan.n_groups; i++)
        announce_claimed(l, claim->plan.groups[i], properties);
    announce_without_group(l, &claim->plan, properties);
}
