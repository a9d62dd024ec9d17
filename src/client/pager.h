/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The terminal behind standard output, with or without a pager in front of it. */

#include <sys/ioctl.h>

#include "client/vfioctl.h"

/* Also while a pager takes what is written. */
bool screen_is_terminal(void);
/* 0 or negative errno. */
int screen_get_size(struct winsize *ret);

/* Has a pager take standard output, as systemctl(1) does: see ENVIRONMENT of vfioctl(1). Without a terminal,
 * without a pager, or with --no-pager, nothing happens. */
void pager_open(const Options *o);
/* Ends standard output, and waits until the person has left the pager. */
void pager_close(void);
