/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* For the shared library: D-Bus, and with it libsystemd, is loaded only when there is no socket. */

#include <dlfcn.h>

#include "client/error-text.h"
#include "client/transport.h"

#define OBJECT "libvfiod-dbus.so.0"

const Transport *transport_dbus(VfiodErrorText *error) {
    void *object = dlopen(OBJECT, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const Transport *t = object ? dlsym(object, "vfiod_transport_dbus") : NULL;

    if (!t)
        (void) error_text_set(error, EHOSTUNREACH, ERROR_NAME_UNREACHABLE,
                "vfiod's socket is not there, and D-Bus cannot be used: %s", dlerror());
    return t;
}
