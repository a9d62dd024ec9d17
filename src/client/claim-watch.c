/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/claim-watch.h"

#include "base/str.h"
#include "client/libvfiod-internal.h"
#include "client/show.h"

/* Fills claim; -ENOENT when it is gone, -EAGAIN when that cannot be told now. */
static int get_claim(ClaimWatch *w, Object *ret) {
    VfiodErrorText error = {};
    int r;

    r = call_get_object(w->bus, w->path, ret, &error);
    /* The holders are requested only when the state is new: the daemon looks into every process for them. */
    if (r >= 0 && !streq_ptr(json_text(ret->properties, "state"), w->state))
        r = call_add_costly(w->bus, ret, &error);
    if (r >= 0)
        return 0;
    if (streq(error.name, "NoSuchClaim"))
        return -ENOENT;
    /* The daemon died while we asked (its name changes hands next, and we look again), or is too busy to
     * answer. */
    if (r == -ETIMEDOUT && streq(error.name, ERROR_NAME_UNREACHABLE))
        return -EAGAIN;
    *w->error = error;
    return r == -ENOENT || r == -EAGAIN ? -EIO : r;
}

int claim_watch_look(ClaimWatch *w) {
    _cleanup_object_ Object claim = OBJECT_NULL;
    const char *state;
    int r;

    r = get_claim(w, &claim);
    if (r == -ENOENT)
        return w->changed(w->userdata, NULL);
    if (r == -EAGAIN)
        return 0;
    if (r < 0)
        return r;
    state = json_text(claim.properties, "state");
    if (streq_ptr(state, w->state))
        return 0;
    r = free_and_strdup(&w->state, state);
    if (r < 0)
        return error_text_errno(w->error, r, "Cannot follow the claim");
    return w->changed(w->userdata, &claim);
}

/* Also when the name changes hands: claims outlive the daemon, and our look starts it again. The bus compares
 * the sender of a broadcast with our matches. Nobody compares that of a signal that was sent to us alone, and
 * neither the bus nor the daemon sends us one that matters here. */
static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *bus_error) {
    ClaimWatch *w = userdata;
    int r;

    if (sd_bus_message_get_destination(m))
        return 0;
    r = claim_watch_look(w);
    if (r < 0)
        sd_event_exit(w->event, r);
    return 0;
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *bus_error) {
    ClaimWatch *w = userdata;

    if (!streq_ptr(sd_bus_message_get_sender(m), "org.freedesktop.DBus.Local"))
        return 0;
    sd_event_exit(w->event,
            error_text_set(w->error, EHOSTUNREACH, ERROR_NAME_UNREACHABLE,
                    "%s: the connection to the bus broke.", w->id));
    return 0;
}

static int listen_for_signals(ClaimWatch *w) {
    _cleanup_free_ char *changed = NULL;
    int r;

    changed = format_string("type='signal',sender='" VFIOD_BUS_NAME "',path='%s',"
                            "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'",
            w->path);
    if (!changed)
        return -ENOMEM;
    r = sd_bus_add_match(w->bus, NULL, changed, on_signal, w);
    if (r >= 0)
        r = sd_bus_match_signal(w->bus, NULL, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH,
                "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved", on_signal, w);
    if (r >= 0)
        r = sd_bus_add_match(w->bus, NULL,
                "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
                "member='NameOwnerChanged',arg0='" VFIOD_BUS_NAME "'",
                on_signal, w);
    if (r >= 0)
        r = sd_bus_match_signal(w->bus, NULL, "org.freedesktop.DBus.Local", NULL,
                "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, w);
    return r;
}

int claim_watch_start(ClaimWatch *w) {
    int r;

    w->path = format_string("%s/claim/%s", VFIOD_OBJECT_PATH, w->id);
    r = w->path ? listen_for_signals(w) : -ENOMEM;
    if (r >= 0)
        r = sd_bus_attach_event(w->bus, w->event, SD_EVENT_PRIORITY_NORMAL);
    if (r < 0)
        return error_text_from_bus(w->error, NULL, r);
    return claim_watch_look(w);
}

void claim_watch_done(ClaimWatch *w) {
    free(w->path);
    free(w->state);
}
