/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the library and vfioctl share beyond vfiod.h. Not exported. */

#include <systemd/sd-bus.h>

#include "client/vfiod.h"

#define VFIOD_BUS_NAME "org.vfiod1"
#define VFIOD_OBJECT_PATH "/org/vfiod1"
#define VFIOD_MANAGER_INTERFACE "org.vfiod1.Manager"

/* The kernel may sleep a minute in a bind and another in an open; the daemon gives up on each by itself. */
#define VFIOD_CALL_TIMEOUT_USEC (180ULL * 1000 * 1000)
/* And a person has two minutes to answer. */
#define VFIOD_ASK_TIMEOUT_USEC (120ULL * 1000 * 1000)

/* The system bus, or an error that says it is not there. */
int vfiod_open_bus(sd_bus **ret, VfiodErrorText *ret_error);

/* Calls Manager.MEMBER(as devices, a{sv} options), the shape of Acquire and Plan. */
int vfiod_call_with_request(sd_bus *bus, const char *member, const VfiodRequest *request,
        sd_bus_message **ret_reply, VfiodErrorText *ret_error);
