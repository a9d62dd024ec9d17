/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a connection of the bus has not read of our answers. dbus-daemon keeps it, bounds how much it keeps of
 * each sender, and then reads nothing more from that sender. So the bytes of all answers are counted
 * (broker/door.h), and where they become many the bus is asked what is left of them
 * (org.freedesktop.DBus.Debug.Stats). A bus that cannot tell is believed to look after itself: dbus-broker
 * disconnects a client that does not read what it has asked for. */

#include <systemd/sd-bus.h>

#include "daemon/broker/door.h"

/* Of one connection, {.door = ...} in the beginning. */
typedef struct BusUnread {
    Door *door; /* borrowed; NULL: not looked after any more */
    BudgetReader reader;
    sd_bus_slot *question; /* to the bus, under way */
    uint64_t unread_when_asked;
} BusUnread;

/* Asks the bus what the connection of this name has not read, unless that is under way or nothing is. */
void bus_unread_ask(BusUnread *u, sd_bus *bus, const char *name);
/* The connection is gone, or (gone is false) it is not looked after any more. */
void bus_unread_done(BusUnread *u, bool gone);

/* What was sent to connections of which nothing is known any more: at most all that the bus keeps of us. */
typedef struct BusOrphans {
    Door *door; /* borrowed */
    uid_t uid;
    sd_bus_slot *question; /* to be unreferenced with the bus */
} BusOrphans;

void bus_orphans_ask(BusOrphans *o, sd_bus *bus, uid_t uid);
