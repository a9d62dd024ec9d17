/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* For vfioctl, which is linked with D-Bus. */

#include "client/transport.h"

extern const Transport vfiod_transport_dbus;

const Transport *transport_dbus(VfiodErrorText *error) {
    return &vfiod_transport_dbus;
}
