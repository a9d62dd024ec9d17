/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the next two claims will need, made ready when nobody waits: iommufds, already set up, and lifelines
 * of claims that are over. A client then does not wait for system calls that have nothing to do
 * with its request. Neither says anything about a device or a client. They are closed after a second or two
 * without a claim, so that an idle daemon keeps no kernel module in use. */

#include "daemon/broker/lifelines.h"

typedef struct Spare Spare;

int spare_new(sd_event *event, Lifelines *lifelines, Spare **ret);
Spare *spare_free(Spare *s);
DEFINE_TRIVIAL_CLEANUP_FUNC(Spare *, spare_free);

/* The one that is ready, or a new one: vfio_open_iommufd(). 0 and an owned fd, or a negative errno. */
int spare_take_iommufd(Spare *s, int *ret_fd);

/* A claim is over. Where nothing is ready any more it is made ready when the loop has nothing else to do;
 * otherwise later, for whoever asks at once again would wait for it. */
void spare_prepare(Spare *s);
/* A claim was answered. Not yet: on the processor that we have, its client waits to run. */
void spare_prepare_later(Spare *s);
