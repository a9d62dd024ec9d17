/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/error-bus.h"

#include "base/str.h"

#define BUS_ERROR_PREFIX "org.vfiod1.Error."

/* The bus's errors when vfiod is not reachable: the name is not owned and cannot be activated, or activation
 * failed. */
static bool means_unreachable(const char *name) {
    static const char *const names[] = {
            SD_BUS_ERROR_SERVICE_UNKNOWN,
            SD_BUS_ERROR_NAME_HAS_NO_OWNER,
            SD_BUS_ERROR_NO_SERVER,
            SD_BUS_ERROR_DISCONNECTED,
            "org.freedesktop.systemd1.NoSuchUnit",
            "org.freedesktop.systemd1.LoadFailed",
            "org.freedesktop.systemd1.UnitMasked",
    };

    for (size_t i = 0; i < ELEMENTSOF(names); i++)
        if (streq(names[i], name))
            return true;
    return startswith(name, "org.freedesktop.DBus.Error.Spawn.") != NULL;
}

/* sd-bus's errors when the connection broke or timed out. */
static bool errno_means_unreachable(int error) {
    return error == ECONNRESET || error == ENOTCONN || error == EPIPE || error == ECONNREFUSED ||
            error == ESHUTDOWN;
}

int error_text_from_bus(VfiodErrorText *e, const sd_bus_error *bus_error, int r) {
    int error = sd_bus_error_is_set(bus_error) ? sd_bus_error_get_errno(bus_error) : -r;
    const char *name, *message;

    assert(r < 0);

    if (error <= 0)
        error = EIO;
    /* sd-bus has an error name for each errno of the connection, for example when the bus closes it because
     * the user has no account. */
    if ((!sd_bus_error_is_set(bus_error) || startswith(bus_error->name, "System.Error.")) &&
            errno_means_unreachable(error))
        return error_text_set(e, EHOSTUNREACH, ERROR_NAME_UNREACHABLE, "The bus closed the connection: %s",
                strerrordesc_np(error));
    if (!sd_bus_error_is_set(bus_error))
        return error_text_set(e, error, ERROR_NAME_FAILED, "The call failed: %s", strerrordesc_np(error));

    message = bus_error->message ? bus_error->message : bus_error->name;
    if (means_unreachable(bus_error->name))
        return error_text_set(e, EHOSTUNREACH, ERROR_NAME_UNREACHABLE,
                "vfiod is not running and cannot be started: %s", message);
    if (streq(bus_error->name, SD_BUS_ERROR_NO_REPLY))
        return error_text_set(e, ETIMEDOUT, ERROR_NAME_UNREACHABLE, "vfiod did not answer: %s", message);
    name = startswith(bus_error->name, BUS_ERROR_PREFIX);
    if (!name)
        return error_text_set(e, error, bus_error->name, "%s", message);
    return error_text_of_daemon(e, name, message);
}

bool bus_error_is_unknown_object(const sd_bus_error *bus_error) {
    return sd_bus_error_has_names(bus_error, SD_BUS_ERROR_UNKNOWN_OBJECT, SD_BUS_ERROR_UNKNOWN_METHOD,
            SD_BUS_ERROR_UNKNOWN_INTERFACE, "org.vfiod1.Error.NoSuchClaim");
}
