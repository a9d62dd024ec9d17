/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Errors of D-Bus as VfiodErrorText. */

#include <systemd/sd-bus.h>

#include "client/error-text.h"

/* A failed bus call: the error of the other side if bus_error is set, otherwise r. -ETIMEDOUT: the daemon did
 * not answer, or ended during the call. */
int error_text_from_bus(VfiodErrorText *e, const sd_bus_error *bus_error, int r);

/* Does the called object not exist (any more)? */
bool bus_error_is_unknown_object(const sd_bus_error *bus_error);
