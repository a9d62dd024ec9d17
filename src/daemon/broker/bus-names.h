/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Bus connections that claims are tied to. A connection is identified by the id of the bus and its unique
 * name: a bus never uses a unique name twice, and another bus, or the same one after a restart, has another
 * id. So any process can compare recorded connections with the present ones.
 *
 * Without a bus nothing is known, and no connection counts as ended. */

#include <systemd/sd-bus.h>

#include "core/claim.h"

typedef struct BusNames BusNames;

/* Each needs a match on the bus, which allows us 512; credentials.h needs most of them. */
#define BUS_NAMES_MAX 96U
#define BUS_NAMES_PER_UID_MAX 16U

/* gone is called once when a connection is gone, never from the functions below. */
int bus_names_new(sd_event *event, void (*gone)(void *userdata, const char *connection), void *userdata,
        BusNames **ret);
BusNames *bus_names_free(BusNames *b);
DEFINE_TRIVIAL_CLEANUP_FUNC(BusNames *, bus_names_free);

/* Borrowed; NULL while there is no bus. All connections are checked again. */
void bus_names_set_bus(BusNames *b, sd_bus *bus);

/* The connection with this unique name, which has just called us. 0, or refused: a user has too many. */
int bus_names_watch(BusNames *b, const char *unique_name, uid_t uid, char ret[static CONNECTION_NAME_MAX],
        Refusal *refusal);
/* A recorded connection. 0 or -ENOMEM. */
int bus_names_resume(BusNames *b, const char *connection, uid_t uid);
/* Call it once for each watch or resume. */
void bus_names_unwatch(BusNames *b, const char *connection);
