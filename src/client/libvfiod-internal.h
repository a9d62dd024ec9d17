/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Shared by the library's D-Bus transport and vfioctl. Not exported. */

#include <systemd/sd-bus.h>

#include "client/error-bus.h"
#include "client/transport.h"

#define VFIOD_BUS_NAME "org.vfiod1"
#define VFIOD_OBJECT_PATH "/org/vfiod1"
#define VFIOD_MANAGER_INTERFACE "org.vfiod1.Manager"

/* Borrowed from a connection's D-Bus link. */
sd_bus *transport_dbus_bus(void *link);
