/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The queue of announcements: what changed is noted at once, and told on the bus a few milliseconds later,
 * after replies that are being made. What happens several times to one object meanwhile is told once; an
 * object that came and went is not told at all. The queue holds each object once, so it is as long as the
 * inventory at most. */

#include "daemon/bus/bus.h"

typedef struct BusAnnouncer BusAnnouncer;

/* Properties whose change is announced, over all kinds of objects. */
typedef enum BusProperty {
    BUS_PROPERTY_DRIVER = 1 << 0,
    BUS_PROPERTY_GROUP = 1 << 1,
    BUS_PROPERTY_VFIO_NODE = 1 << 2,
    BUS_PROPERTY_STATE = 1 << 3,
    BUS_PROPERTY_CLAIM = 1 << 4,
    BUS_PROPERTY_DEVICES = 1 << 5,
    BUS_PROPERTY_FINGERPRINT = 1 << 6,
    BUS_PROPERTY_VIABLE = 1 << 7,
    BUS_PROPERTY_FAILURE = 1 << 8,
    BUS_PROPERTY_QUARANTINE_CAUSE = 1 << 9,
    BUS_PROPERTY_GROUPS = 1 << 10,
    BUS_PROPERTY_RULE = 1 << 11,
} BusProperty;

/* Announces what changes in the objects of a face that has a connection. */
int bus_announcer_new(BusFace *face, BusAnnouncer **ret);
/* What is still queued is dropped. */
BusAnnouncer *bus_announcer_free(BusAnnouncer *a);
DEFINE_TRIVIAL_CLEANUP_FUNC(BusAnnouncer *, bus_announcer_free);

/* No long answer is being made any more: what had to wait for it is told. */
void bus_announcer_go_on(BusAnnouncer *a);

typedef enum BusObjectChange {
    BUS_OBJECT_ADDED,
    BUS_OBJECT_CHANGED,
    BUS_OBJECT_REMOVED,
} BusObjectChange;

/* properties: a mask, for BUS_OBJECT_CHANGED. Out of memory, an announcement is lost and that is logged: the
 * objects themselves are always right. */
void bus_announce_device(
        BusAnnouncer *a, const DeviceName *name, BusObjectChange change, unsigned properties);
void bus_announce_group(BusAnnouncer *a, int id, BusObjectChange change, unsigned properties);
void bus_announce_claim(BusAnnouncer *a, const char *id, BusObjectChange change, unsigned properties);
