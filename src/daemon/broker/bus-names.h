/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Connections of the bus on which claims hang. A connection is told apart by the id of the bus and its unique
 * name: the bus gives a name once, and another bus, such as the same one after it was restarted, has another
 * id. So what is on record can be compared with what is there now, by whatever process.
 *
 * While there is no bus, nothing is known, and nothing ends. */

#include <systemd/sd-bus.h>

#include "core/claim.h"

typedef struct BusNames BusNames;

/* Each costs a match on the bus, which has 512 for us; credentials.h needs the most of them. */
#define BUS_NAMES_MAX 96U
#define BUS_NAMES_PER_UID_MAX 16U

/* gone: called when a connection is gone, once and never by the functions below. */
int bus_names_new(sd_event *event, void (*gone)(void *userdata, const char *connection), void *userdata,
        BusNames **ret);
BusNames *bus_names_free(BusNames *b);
DEFINE_TRIVIAL_CLEANUP_FUNC(BusNames *, bus_names_free);

/* Borrowed; NULL while there is none. All connections are looked at again. */
void bus_names_set_bus(BusNames *b, sd_bus *bus);

/* Of the connection with this unique name, which has called us just now. 0, or refused: a user has too many.
 */
int bus_names_watch(BusNames *b, const char *unique_name, uid_t uid, char ret[static CONNECTION_NAME_MAX],
        Refusal *refusal);
/* One that is on record. 0 or -ENOMEM. */
int bus_names_resume(BusNames *b, const char *connection, uid_t uid);
/* Once for each of the two. */
void bus_names_unwatch(BusNames *b, const char *connection);
