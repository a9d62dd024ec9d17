/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which objects change for readers when a device or a claim changes. A claim takes whole groups, so all their
 * devices change with it. Both faces use this for their announcements. */

#include "daemon/broker/broker.h"
#include "daemon/broker/views.h"

typedef enum ObjectChange {
    OBJECT_ADDED,
    OBJECT_CHANGED,
    OBJECT_REMOVED,
} ObjectChange;

/* The properties whose change is announced, of all kinds of objects. */
typedef enum ViewProperty {
    VIEW_PROPERTY_DRIVER = 1 << 0,
    VIEW_PROPERTY_GROUP = 1 << 1,
    VIEW_PROPERTY_VFIO_NODE = 1 << 2,
    VIEW_PROPERTY_STATE = 1 << 3,
    VIEW_PROPERTY_CLAIM = 1 << 4,
    VIEW_PROPERTY_DEVICES = 1 << 5,
    VIEW_PROPERTY_FINGERPRINT = 1 << 6,
    VIEW_PROPERTY_VIABLE = 1 << 7,
    VIEW_PROPERTY_FAILURE = 1 << 8,
    VIEW_PROPERTY_QUARANTINE_CAUSE = 1 << 9,
    VIEW_PROPERTY_GROUPS = 1 << 10,
    VIEW_PROPERTY_RULE = 1 << 11,
    VIEW_PROPERTY_TETHER = 1 << 12,
    VIEW_PROPERTY_QUEUE_POSITION = 1 << 13,
    VIEW_PROPERTY_EVICTION = 1 << 14,
    VIEW_PROPERTY_EVICT_AT = 1 << 15,
    VIEW_PROPERTY_EVICT_REASON = 1 << 16,
    VIEW_PROPERTY_WARNINGS = 1 << 17,
    VIEW_PROPERTY_EVICT_CAUSE = 1 << 18,
    VIEW_PROPERTY_DEADLINE = 1 << 19,
    VIEW_PROPERTY_STOPPING = 1 << 20,
    VIEW_PROPERTY_STOP_AT = 1 << 21,
    VIEW_PROPERTY_SLEEP_AT = 1 << 22,
    VIEW_PROPERTY_RESUME = 1 << 23,
    VIEW_PROPERTY_RESUME_FAILURES = 1 << 24,
} ViewProperty;

typedef struct ViewListener {
    Inventory *inventory;
    /* properties: a mask for OBJECT_CHANGED. */
    void (*changed)(void *userdata, const ViewReference *what, ObjectChange change, unsigned properties);
    void *userdata;
} ViewListener;

/* changes and old_group come from hotplug. */
void view_device_changed(const ViewListener *l, const Device *d, int changes, int old_group);
void view_claim_changed(const ViewListener *l, const Claim *claim, ClaimChange change);
