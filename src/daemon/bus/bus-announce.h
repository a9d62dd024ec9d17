/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The queue of announcements. A change is noted at once and announced on the bus a few milliseconds later,
 * after replies that are being made. Several changes of one object are announced together. If an object was
 * added and removed meanwhile, the removal is announced. Each object is in the queue once, so the queue is at
 * most as long as the inventory. */

#include "daemon/broker/view-change.h"
#include "daemon/bus/bus.h"

typedef struct BusAnnouncer BusAnnouncer;

/* Announces changes of a face that has a connection. */
int bus_announcer_new(BusFace *face, BusAnnouncer **ret);
/* Queued announcements are dropped. */
BusAnnouncer *bus_announcer_free(BusAnnouncer *a);
DEFINE_TRIVIAL_CLEANUP_FUNC(BusAnnouncer *, bus_announcer_free);

/* No list is being made any more: announces what was held back. */
void bus_announcer_go_on(BusAnnouncer *a);

/* properties: a mask, for OBJECT_CHANGED. On ENOMEM an announcement is lost, and that is logged; the objects
 * themselves stay right. */
void bus_announce_device(BusAnnouncer *a, const DeviceName *name, ObjectChange change, unsigned properties);
void bus_announce_group(BusAnnouncer *a, int id, ObjectChange change, unsigned properties);
void bus_announce_claim(BusAnnouncer *a, const char *id, ObjectChange change, unsigned properties);
