/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <unistd.h>

#include "client/error-text.h"
#include "client/transport.h"
#include "client/varlink.h"

static int open_by(
        const Transport *t, const Transport **ret_transport, void **ret_link, VfiodErrorText *error) {
    int r;

    if (!t)
        return -EHOSTUNREACH;
    r = t->open(ret_link, error);
    if (r >= 0)
        *ret_transport = t;
    return r;
}

/* Neither transport is available. The error names both, and a remedy for the one that needs no bus. */
static int refuse_without_both(int r, VfiodErrorText *error) {
    VfiodErrorText bus;

    if (!error || access(VFIOD_SOCKET_PATH, F_OK) >= 0)
        return r;
    bus = *error;
    return error_text_set(error, bus.error, bus.name,
            "%s There is no socket %s either; 'systemctl enable --now vfiod.socket' makes it.", bus.message,
            VFIOD_SOCKET_PATH);
}

/* The socket is preferred: it needs no bus, and costs less. An explicit bus address selects the bus. In a
 * set-user-id program the environment is ignored, because it is the caller's. */
int transport_open(const Transport **ret_transport, void **ret_link, VfiodErrorText *error) {
    const char *wanted = secure_getenv("VFIOD_TRANSPORT");
    int r;

    if (wanted && streq(wanted, "varlink"))
        return open_by(&transport_varlink, ret_transport, ret_link, error);
    if (wanted && streq(wanted, "dbus"))
        return open_by(transport_dbus(error), ret_transport, ret_link, error);
    if (wanted)
        return error_text_set(
                error, EINVAL, "InvalidArgument", "VFIOD_TRANSPORT=%s: expected varlink or dbus.", wanted);
    if (secure_getenv("VFIOD_SOCKET"))
        return open_by(&transport_varlink, ret_transport, ret_link, error);
    if (!secure_getenv("DBUS_SYSTEM_BUS_ADDRESS") && access(VFIOD_SOCKET_PATH, W_OK) >= 0 &&
            open_by(&transport_varlink, ret_transport, ret_link, error) >= 0)
        return 0;
    r = open_by(transport_dbus(error), ret_transport, ret_link, error);
    return r < 0 && !secure_getenv("DBUS_SYSTEM_BUS_ADDRESS") ? refuse_without_both(r, error) : r;
}
