/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the next claim will need, made ready after the last one was answered: an iommufd, already set up, and
 * the pipe of a lifeline. A client then does not wait for five system calls that have nothing to do with its
 * request. Neither says anything about a device or a client. They are closed after a second without a claim,
 * so that an idle daemon keeps no kernel module in use. */

#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct Spare Spare;

int spare_new(sd_event *event, Spare **ret);
Spare *spare_free(Spare *s);
DEFINE_TRIVIAL_CLEANUP_FUNC(Spare *, spare_free);

/* The one that is ready, or a new one: vfio_open_iommufd(). 0 and an owned fd, or a negative errno. */
int spare_take_iommufd(Spare *s, int *ret_fd);
/* A pipe, O_CLOEXEC and O_NONBLOCK: the reading and the writing end, both owned. 0 or a negative errno. */
int spare_take_pipe(Spare *s, int *ret_read, int *ret_write);

/* Makes new ones in the next turn of the loop: the client works on its answer meanwhile, and whoever asks
 * again and again does not find none. iommufd: the last claim needed one. */
void spare_prepare(Spare *s, bool iommufd);
