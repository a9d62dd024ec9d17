/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Refusals leave at a bounded rate. A client that asks and asks for what it may not have waits for its
 * answers, and the bus lets it have only so many calls under way: who answers later is asked less. Otherwise
 * its calls fill the queues of the bus and of the daemon, and everybody else stands behind them. Nobody who
 * gets something waits here, nor does a caller that asks at a reasonable pace.
 *
 * What waits are finished answers, some hundred bytes each; of the call nothing is kept. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

typedef struct BusPacer BusPacer;

int bus_pacer_new(sd_event *event, BusPacer **ret);
/* What still waits is not sent. */
BusPacer *bus_pacer_free(BusPacer *p);

/* Sends answer now or a little later; takes a reference. */
int bus_pacer_send(BusPacer *p, sd_bus_message *answer);
/* Sends all that waits. */
void bus_pacer_flush(BusPacer *p);
