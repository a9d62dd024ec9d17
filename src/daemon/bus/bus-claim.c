/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The methods of org.vfiod1.Claim. */

#include "daemon/bus/bus-internal.h"

static int method_release(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    const Claim *c = userdata;

    return bus_call_begin(
            bus_face_current(sd_bus_message_get_bus(m)), m, DOOR_SHORT, c->id, bus_call_run_release, error);
}

const sd_bus_vtable bus_claim_methods[] = {
        SD_BUS_METHOD_WITH_ARGS("Release", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, method_release,
                SD_BUS_VTABLE_UNPRIVILEGED),
        {},
};
