/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Subjects of bus connections, captured once per connection and kept while it lives. The first request of a
 * connection causes one asynchronous GetConnectionCredentials call; later requests are answered from memory,
 * which makes a second Acquire fast. A live connection that has called counts as a listener, so that the
 * daemon does not exit on idle. Limited per uid, in total, and in waiting requests. */

#include <systemd/sd-bus.h>

#include "core/error.h"
#include "core/subject.h"
#include "daemon/bus/bus-unread.h"

typedef struct Credentials Credentials;

/* Each remembered connection needs one match rule on the bus, and the system bus allows 512 for each
 * connection. */
#define CONNECTIONS_MAX 384U
#define CONNECTIONS_PER_UID_MAX 64U
/* Calls that wait until their caller is known: of one connection, as many as dbus-daemon allows, and of all
 * together. Calls of known users are limited by the budget. */
#define CONNECTION_CALLS_MAX 128U
#define WAITING_CALLS_MAX 4096U

/* subject is borrowed and does not change until credentials_put(). It is NULL with refusal set when the
 * caller is unknown or a limit is reached. */
typedef void (*credentials_ready_t)(void *userdata, const Subject *subject, const Refusal *refusal);

int credentials_new(sd_bus *bus, Door *door, Credentials **ret);
/* All subjects must have been put back. Waiting requests are dropped: ready is not called for them. */
Credentials *credentials_free(Credentials *c);
DEFINE_TRIVIAL_CLEANUP_FUNC(Credentials *, credentials_free);

/* The bus has answered us, so whoever connected before us had done so by now. */
void credentials_note_connected(Credentials *c);

/* Calls ready: at once when the connection is known, otherwise when the bus has answered. message is
 * referenced until then. 0 or negative errno (then ready is not called). */
int credentials_get(Credentials *c, sd_bus_message *message, credentials_ready_t ready, void *userdata);
/* Call at the end of the request. */
void credentials_put(Credentials *c, const Subject *subject);
/* For a call that needs no subject: looks up the sender, so that it counts as a listener. Does nothing when
 * it is known, or when there is no room. */
void credentials_notice(Credentials *c, sd_bus_message *message);
/* The subject of a sender if it is known now; NULL: it is not. */
const Subject *credentials_peek(const Credentials *c, const char *sender);

/* What the sender has not read; NULL when the sender is unknown. *ret_uid: (uid_t) -1 when not known yet. */
BusUnread *credentials_unread(Credentials *c, const char *sender, uid_t *ret_uid);
/* Asks the bus what the connections of a user have read. */
void credentials_ask_unread(Credentials *c, uid_t uid);

unsigned credentials_n_connections(const Credentials *c);
/* idle is called when the number of connections becomes 0. */
void credentials_set_idle_callback(Credentials *c, void (*idle)(void *userdata), void *userdata);
/* vanished is called when a connection is gone whose subjects are in use; they stay valid until they are put
 * back. */
void credentials_set_vanished_callback(
        Credentials *c, void (*vanished)(void *userdata, const Subject *subject), void *userdata);
