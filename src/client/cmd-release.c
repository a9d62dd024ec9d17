/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The daemon takes a device back only when no process has it open any more. So this waits, and shows the
 * processes that it waits for. Listening starts before the request, or the end could be missed. Devices that
 * are released from a claim become a claim of their own, which is followed in the same way. */

#include <inttypes.h>

#include "base/str.h"
#include "client/bus-call.h"
#include "client/claim-watch.h"
#include "client/libvfiod-internal.h"
#include "client/show.h"

typedef struct Release {
    const Options *options;
    sd_event *event;
    const char *id;
    bool asked; /* states from now on follow from our call */
    VfiodErrorText *error;
} Release;

static int show_state(const Release *release, const char *state, struct json_object *holders) {
    _cleanup_json_ struct json_object *line = NULL;

    if (!release->options->json) {
        printf("%s: %s\n", release->id, state);
        for (size_t i = 0; holders && i < json_object_array_length(holders); i++) {
            struct json_object *holder = json_object_array_get_idx(holders, i);
            _cleanup_free_ char *command = sanitize(json_text(holder, "command"), 64);

            printf("%s: still open in %" PRIi64 " %s\n", release->id, json_number(holder, "pid"),
                    command ? command : "");
        }
        return fflush(stdout) == 0 ? 0 : -errno;
    }
    line = json_object_new_object();
    if (!line || json_add(line, "claim", json_object_new_string(release->id)) < 0 ||
            json_add(line, "state", json_object_new_string(state)) < 0 ||
            json_add(line, "holders", holders ? json_object_get(holders) : json_object_new_array()) < 0)
        return -ENOMEM;
    return show_json(stdout, line, /* pretty= */ false);
}

static int on_changed(void *userdata, const Object *claim) {
    Release *release = userdata;
    const char *state = claim ? json_text(claim->properties, "state") : "gone";
    int r;

    if (!release->asked)
        return 0;
    r = show_state(release, state, claim ? json_list(claim->properties, "holders") : NULL);
    if (r < 0)
        return error_text_errno(release->error, r, "Cannot write");
    if (!claim)
        return sd_event_exit(release->event, 0);
    if (streq(state, "quarantined"))
        return error_text_set(release->error, EBUSY, "DeviceQuarantined", "%s: %s", release->id,
                json_text(claim->properties, "failure"));
    return 0;
}

static int ask(sd_bus *bus, const char *id, VfiodErrorText *error) {
    _cleanup_bus_error_ sd_bus_error bus_error = SD_BUS_ERROR_NULL;
    int r;

    r = sd_bus_call_method(bus, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH, VFIOD_MANAGER_INTERFACE, "Release",
            &bus_error, NULL, "sa{sv}", id, 0);
    return r < 0 ? error_text_from_bus(error, &bus_error, r) : 0;
}

/* Watching needs an event loop of its own for each claim: the bus is attached to one at a time. */
static int wait_for(sd_bus *bus, const char *id, bool asked, const Options *o, VfiodErrorText *error) {
    _cleanup_(sd_event_unrefp) sd_event *event = NULL;
    Release release = {.options = o, .id = id, .asked = asked, .error = error};
    _cleanup_(claim_watch_done) ClaimWatch watch = {
            .bus = bus, .id = id, .changed = on_changed, .userdata = &release, .error = error};
    int r;

    r = sd_event_new(&event);
    if (r < 0)
        return error_text_errno(error, r, "Cannot follow the claim");
    release.event = watch.event = event;
    r = claim_watch_start(&watch);
    if (r >= 0 && !asked) {
        r = ask(bus, id, error);
        release.asked = true;
        if (r >= 0)
            r = claim_watch_look(&watch);
    }
    return r < 0 ? r : sd_event_loop(event);
}

/* The claim behind a word, which may name a device. *ret is owned by the caller. */
static int find_claim(sd_bus *bus, const char *word, char **ret, VfiodErrorText *error) {
    _cleanup_object_ Object object = OBJECT_NULL;
    const char *id;
    int r;

    r = call_find_object(bus, word, &object, error);
    if (r < 0)
        return r;
    id = json_text(object.properties, object.kind == OBJECT_CLAIM ? "id" : "claim");
    if (!*id)
        return error_text_set(error, ENOENT, "NoSuchClaim", "%s: the device is not claimed.", word);
    r = free_and_strdup(ret, id);
    return r < 0 ? error_text_errno(error, r, "Cannot release") : 0;
}

/* ---- some devices of a claim ---- */

static int ask_for_devices(sd_bus *bus, const char *id, const Options *o, VfiodErrorText *error) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    _cleanup_bus_error_ sd_bus_error bus_error = SD_BUS_ERROR_NULL;
    int r;

    r = sd_bus_message_new_method_call(
            bus, &m, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH, VFIOD_MANAGER_INTERFACE, "ReleaseDevices");
    if (r >= 0)
        r = sd_bus_message_append(m, "s", id);
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'a', "s");
    for (size_t i = 0; i < o->n_devices && r >= 0; i++)
        r = sd_bus_message_append(m, "s", o->devices[i]);
    if (r >= 0)
        r = sd_bus_message_close_container(m);
    if (r >= 0)
        r = sd_bus_message_append(m, "a{sv}", 0);
    if (r >= 0)
        r = sd_bus_call(bus, m, 0, &bus_error, NULL);
    return r < 0 ? error_text_from_bus(error, &bus_error, r) : 0;
}

/* The claim that the device is in by now. *ret is owned by the caller, and NULL when that is over, or when
 * the device waits in its claim for the rest of its group. */
static int find_part(sd_bus *bus, const char *device, const char *id, char **ret, VfiodErrorText *error) {
    _cleanup_object_ Object object = OBJECT_NULL;
    const char *part;
    int r;

    r = call_find_object(bus, device, &object, error);
    if (r < 0)
        return streq(error->name, "NoSuchDevice") ? 0 : r; /* unplugged */
    part = json_text(object.properties, "claim");
    if (!*part)
        return 0;
    if (streq(part, id) && streq(json_text(object.properties, "state"), "claimed")) {
        fprintf(stderr, "%s: waits in claim %s until the rest of its IOMMU group is given back\n", device,
                id);
        return 0;
    }
    r = free_and_strdup(ret, part);
    return r < 0 ? error_text_errno(error, r, "Cannot follow the device") : 0;
}

/* What leaves together is one claim. */
static int release_devices(sd_bus *bus, const char *id, const Options *o, VfiodErrorText *error) {
    _cleanup_free_ char *part = NULL;
    int r;

    r = ask_for_devices(bus, id, o, error);
    for (size_t i = 0; o->wait && i < o->n_devices && r >= 0 && !part; i++)
        r = find_part(bus, o->devices[i], id, &part, error);
    return r < 0 || !part ? r : wait_for(bus, part, /* asked= */ true, o, error);
}

static int release_one(const char *word, const Options *o, VfiodErrorText *error) {
    _cleanup_free_ char *id = NULL;
    _cleanup_bus_ sd_bus *bus = NULL;
    int r;

    r = call_open_bus(&bus, error);
    if (r < 0)
        return r;
    r = find_claim(bus, word, &id, error);
    if (r < 0)
        return r;
    if (o->n_devices > 0)
        return release_devices(bus, id, o, error);
    return o->wait ? wait_for(bus, id, /* asked= */ false, o, error) : ask(bus, id, error);
}

int verb_release(const Options *o, VfiodErrorText *error) {
    if (o->n_devices > 0 && o->n_arguments > 1)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "release --device takes one claim.");
    for (size_t i = 0; i < o->n_arguments; i++) {
        int r = release_one(o->arguments[i], o, error);

        if (r < 0)
            return r;
    }
    return 0;
}
