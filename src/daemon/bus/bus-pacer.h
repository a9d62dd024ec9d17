/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Sends refusals at a limited rate. The bus limits how many calls a client can have in progress, so a client
 * that gets its answers later sends fewer calls. Otherwise a client that is refused repeatedly would fill the
 * queues of the bus and the daemon and delay everybody. Successful answers are not delayed here, nor are
 * refusals at a reasonable rate.
 *
 * Only finished answers wait, a few hundred bytes each; nothing else of the call is kept. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

typedef struct BusPacer BusPacer;

int bus_pacer_new(sd_event *event, BusPacer **ret);
/* Waiting answers are dropped. */
BusPacer *bus_pacer_free(BusPacer *p);

/* Sends answer now or a little later; takes a reference. 0 or negative errno. */
int bus_pacer_send(BusPacer *p, sd_bus_message *answer);
/* Sends all waiting answers. */
void bus_pacer_flush(BusPacer *p);
