/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Errors of D-Bus as VfiodErrorText. */

#include <systemd/sd-bus.h>

#include "client/error-text.h"

/* A failed bus call: bus_error when the other side said something, else r. -ETIMEDOUT: the daemon did not
 * answer or died while it was asked. */
int error_text_from_bus(VfiodErrorText *e, const sd_bus_error *bus_error, int r);

/* The object that was called does not exist (any more). */
bool bus_error_is_unknown_object(const sd_bus_error *bus_error);
