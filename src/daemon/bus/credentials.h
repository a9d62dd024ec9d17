/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Subjects of bus connections, captured once per connection and kept while it lives. One asynchronous
 * GetConnectionCredentials call on the first request of a connection; later ones are answered from memory,
 * which is what makes a second Acquire fast. A connection that was seen and still lives counts as a listener:
 * the daemon does not exit on idle under it. Bounded per uid, in total, and in requests that wait. */

#include <systemd/sd-bus.h>

#include "core/error.h"
#include "core/subject.h"
#include "daemon/bus/bus-unread.h"

typedef struct Credentials Credentials;

/* Each remembered connection costs one match rule on the bus, and the system bus grants 512 to a connection.
 */
#define CONNECTIONS_MAX 384U
#define CONNECTIONS_PER_UID_MAX 64U
/* Calls that wait until it is known who makes them: of one connection, as many as dbus-daemon lets it have
 * under way; and of all. Those of known users are the budget's concern. */
#define CONNECTION_CALLS_MAX 128U
#define WAITING_CALLS_MAX 4096U

/* subject is borrowed and stays as it is until credentials_put(); NULL with refusal filled when the
 * connection is unknown or one of the bounds is reached. */
typedef void (*credentials_ready_t)(void *userdata, const Subject *subject, const Refusal *refusal);

int credentials_new(sd_bus *bus, Door *door, Credentials **ret);
/* Every subject must have been put back. Requests that still wait are dropped: ready will not be called. */
Credentials *credentials_free(Credentials *c);
DEFINE_TRIVIAL_CLEANUP_FUNC(Credentials *, credentials_free);

/* The bus has answered us: whoever connected before us had done so by now. */
void credentials_note_connected(Credentials *c);

/* Calls ready, at once when the connection is known, else when the bus has answered. message is referenced
 * until then. 0 or negative errno (ready was not and will not be called). */
int credentials_get(Credentials *c, sd_bus_message *message, credentials_ready_t ready, void *userdata);
/* The request is over. */
void credentials_put(Credentials *c, const Subject *subject);
/* Somebody called who may ask nothing that needs a subject: starts to know the sender, so that it counts as a
 * listener. Does nothing when it is known, or when there is no room. */
void credentials_notice(Credentials *c, sd_bus_message *message);
/* What is known now about a sender, without asking; NULL when nothing is. */
const Subject *credentials_peek(const Credentials *c, const char *sender);

/* What the sender has not read; NULL when nothing is known about it. *ret_uid: (uid_t) -1 when that is not
 * known yet. */
BusUnread *credentials_unread(Credentials *c, const char *sender, uid_t *ret_uid);
/* Asks the bus what the connections of a user have read. */
void credentials_ask_unread(Credentials *c, uid_t uid);

unsigned credentials_n_connections(const Credentials *c);
/* Called when the number of connections falls to 0. */
void credentials_set_idle_callback(Credentials *c, void (*idle)(void *userdata), void *userdata);
/* Called when a connection is gone for which subjects are still out; they stay valid until they are put back.
 */
void credentials_set_vanished_callback(
        Credentials *c, void (*vanished)(void *userdata, const Subject *subject), void *userdata);
