/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the next two claims need, prepared while nobody waits: iommufds that are already set up, and lifelines
 * of ended claims. So a client does not wait for system calls that have nothing to do with its request.
 * Neither depends on a device or client. They are closed after a second or two without a claim, so that an
 * idle daemon keeps no kernel module in use. */

#include "daemon/broker/lifelines.h"

typedef struct Spare Spare;

int spare_new(sd_event *event, Lifelines *lifelines, Spare **ret);
Spare *spare_free(Spare *s);
DEFINE_TRIVIAL_CLEANUP_FUNC(Spare *, spare_free);

/* A prepared one, or a new one as by vfio_open_iommufd(). 0 with an fd that the caller owns, or negative
 * errno. */
int spare_take_iommufd(Spare *s, int *ret_fd);

/* A claim is over. If nothing is ready any more, prepares when the loop is idle; otherwise later, because a
 * caller that asks again at once would have to wait for it. */
void spare_prepare(Spare *s);
/* A claim was answered: prepares a little later, because its client needs the processor first. */
void spare_prepare_later(Spare *s);
