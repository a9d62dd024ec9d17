/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The queue of announcements: what changed is noted at once, and told on the bus a few milliseconds later,
 * after replies that are being made. What happens several times to one object meanwhile is told once. Of
 * an object that came and went, the end is told. The queue holds each object once, so it is as long as the
 * inventory at most. */

#include "daemon/broker/view-change.h"
#include "daemon/bus/bus.h"

typedef struct BusAnnouncer BusAnnouncer;

/* Announces what changes in the objects of a face that has a connection. */
int bus_announcer_new(BusFace *face, BusAnnouncer **ret);
/* What is still queued is dropped. */
BusAnnouncer *bus_announcer_free(BusAnnouncer *a);
DEFINE_TRIVIAL_CLEANUP_FUNC(BusAnnouncer *, bus_announcer_free);

/* No long answer is being made any more: what had to wait for it is told. */
void bus_announcer_go_on(BusAnnouncer *a);

/* properties: a mask, for OBJECT_CHANGED. Out of memory, an announcement is lost and that is logged: the
 * objects themselves are always right. */
void bus_announce_device(BusAnnouncer *a, const DeviceName *name, ObjectChange change, unsigned properties);
void bus_announce_group(BusAnnouncer *a, int id, ObjectChange change, unsigned properties);
void bus_announce_claim(BusAnnouncer *a, const char *id, ObjectChange change, unsigned properties);
