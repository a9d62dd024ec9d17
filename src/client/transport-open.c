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

/* The socket comes first: it needs no bus, and costs less. Whoever names a bus means that bus. The
 * environment of a set-user-id program is somebody else's. */
int transport_open(const Transport **ret_transport, void **ret_link, VfiodErrorText *error) {
    const char *wanted = secure_getenv("VFIOD_TRANSPORT");

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
    return open_by(transport_dbus(error), ret_transport, ret_link, error);
}
