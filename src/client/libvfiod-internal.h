/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the D-Bus transport of the library and vfioctl share. Not exported. */

#include <systemd/sd-bus.h>

#include "client/error-bus.h"
#include "client/transport.h"

#define VFIOD_BUS_NAME "org.vfiod1"
#define VFIOD_OBJECT_PATH "/org/vfiod1"
#define VFIOD_MANAGER_INTERFACE "org.vfiod1.Manager"

/* The system bus, or an error that says it is not there. */
int vfiod_open_bus(sd_bus **ret, VfiodErrorText *ret_error);
