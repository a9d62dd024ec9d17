/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>

#include "client/bus-call.h"
#include "client/libvfiod-internal.h"
#include "client/show.h"

/* Not an error: the policy is in force, and these claims stay until somebody ends them. */
static void warn_of_denied(struct json_object *manager) {
    _cleanup_free_ char *claims = json_list_text(manager, "claimsDeniedByPolicy");

    if (claims && *claims)
        fprintf(stderr, "The policy would not allow these claims any more, they stay: %s\n", claims);
}

int verb_reload(const Options *o, VfiodErrorText *error) {
    _cleanup_bus_error_ sd_bus_error bus_error = SD_BUS_ERROR_NULL;
    _cleanup_object_ Object manager = OBJECT_NULL;
    _cleanup_bus_ sd_bus *bus = NULL;
    int64_t rules;
    int r;

    r = vfiod_open_bus(&bus, error);
    if (r < 0)
        return r;
    r = sd_bus_call_method(bus, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH, VFIOD_MANAGER_INTERFACE, "ReloadPolicy",
            &bus_error, NULL, "a{sv}", 0);
    if (r < 0)
        return error_text_from_bus(error, &bus_error, r);
    r = call_get_object(bus, VFIOD_OBJECT_PATH, &manager, error);
    if (r < 0)
        return r;
    if (!o->json) {
        rules = json_number(manager.properties, "policyRules");
        printf("Policy loaded, %" PRIi64 " rule%s\n", rules, rules == 1 ? "" : "s");
        warn_of_denied(manager.properties);
        return 0;
    }
    r = show_json(stdout, manager.properties, /* pretty= */ true);
    return r < 0 ? error_text_errno(error, r, "Cannot show the status") : 0;
}
