/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Subjects of bus connections, captured once per connection and kept while it lives. One asynchronous
 * GetConnectionCredentials call on the first request of a connection; later ones are answered from memory,
 * which is what makes a second Acquire fast. A connection that was seen and still lives counts as a listener:
 * the daemon does not exit on idle under it. Bounded per uid and in total. */

#include <systemd/sd-bus.h>

#include "core/error.h"
#include "core/subject.h"

typedef struct Credentials Credentials;

/* subject is borrowed and lives until the connection goes; NULL with refusal filled when unknown. */
typedef void (*credentials_ready_t)(void *userdata, const Subject *subject, const Refusal *refusal);

int credentials_new(sd_bus *bus, Credentials **ret);
Credentials *credentials_free(Credentials *c);
DEFINE_TRIVIAL_CLEANUP_FUNC(Credentials *, credentials_free);

/* Calls ready, at once when the connection is known, else when the bus has answered. message is referenced
 * until then. 0 or negative errno (ready was not and will not be called). */
int credentials_get(Credentials *c, sd_bus_message *message, credentials_ready_t ready, void *userdata);
unsigned credentials_n_connections(const Credentials *c);
/* Called when the number of connections falls to 0. */
void credentials_set_idle_callback(Credentials *c, void (*idle)(void *userdata), void *userdata);
