/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The answers that a bus connection has not read. dbus-daemon keeps them, limits how much it keeps of each
 * sender, and then reads nothing more from that sender. So the bytes of all answers are counted
 * (broker/door.h). When they are many, the bus is asked how many are left
 * (org.freedesktop.DBus.Debug.Stats). A bus without this call is assumed to protect itself: dbus-broker
 * disconnects a client that does not read. */

#include <systemd/sd-bus.h>

#include "daemon/broker/door.h"

/* Of one connection; initialise with {.door = ...}. */
typedef struct BusUnread {
    Door *door; /* borrowed; NULL: not counted any more */
    BudgetReader reader;
    sd_bus_slot *question; /* to the bus, in progress */
    uint64_t unread_when_asked;
} BusUnread;

/* Asks the bus what this connection has not read, unless a question is in progress or nothing is unread. */
void bus_unread_ask(BusUnread *u, sd_bus *bus, const char *name);
/* The connection is gone, or (gone is false) it is not tracked any more. */
void bus_unread_done(BusUnread *u, bool gone);

/* What was sent to connections that are not tracked: at most all of our messages that the bus keeps. */
typedef struct BusOrphans {
    Door *door; /* borrowed */
    uid_t uid;
    sd_bus_slot *question; /* released together with the bus */
} BusOrphans;

void bus_orphans_ask(BusOrphans *o, sd_bus *bus, uid_t uid);
