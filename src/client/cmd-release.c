/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The daemon takes a device back only when no process has it open. So this waits, and shows those processes.
 * It listens before the request, so that the end is not missed. Devices that are released from a claim become
 * a claim of their own, which is followed in the same way. */

#include <inttypes.h>

#include "base/str.h"
#include "client/calls.h"
#include "client/show.h"

#define RECONNECTS_MAX 3U
#define STATES_MAX 8U /* that a claim can pass through between two checks */

typedef struct Release {
    const Options *options;
    const char *id;
    char *states[STATES_MAX]; /* owned; received, and not shown yet */
    size_t n_states;
    char *state; /* owned; the last one, or NULL */
    bool asked;  /* later states follow from our call */
    bool gone;
    unsigned reconnects; /* since the last event */
    VfiodErrorText *error;
    int result; /* negative: the claim cannot be followed */
} Release;

static void release_done(Release *r) {
    for (size_t i = 0; i < r->n_states; i++)
        free(r->states[i]);
    free(r->state);
}

static int show_state(const Release *release, const char *state, struct json_object *holders) {
    _cleanup_json_ struct json_object *line = NULL;

    if (!release->options->json) {
        printf("%s: %s\n", release->id, state);
        for (size_t i = 0; holders && i < json_object_array_length(holders); i++) {
            struct json_object *holder = json_object_array_get_idx(holders, i);
            _cleanup_free_ char *command = sanitize(json_text(holder, "command"), 64);
            _cleanup_free_ char *list = json_list_text(holder, "files");
            _cleanup_free_ char *files = sanitize(list ?: "", 64);

            printf("%s: still open in %" PRIi64 " %s (%s)\n", release->id, json_number(holder, "pid"),
                    command ? command : "", files ?: "");
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

/* Called by the connection, which cannot make calls meanwhile. A repeated state, as after a new connection,
 * is ignored. */
static void on_event(
        VfiodConnection *c, const VfiodEvent *event, const VfiodErrorText *error, void *userdata) {
    Release *release = userdata;
    const char *state;

    if (!event) {
        release->result = error_text_set(release->error, error->error, error->name, "%s", error->message);
        return;
    }
    release->reconnects = 0;
    state = event->state ?: "gone";
    if (streq_ptr(state, release->state))
        return;
    if (release->n_states == STATES_MAX) /* the newest counts */
        free(release->states[--release->n_states]);
    if (free_and_strdup(&release->state, state) < 0 ||
            (release->asked && !(release->states[release->n_states++] = strdup(state))))
        release->result = error_text_errno(release->error, ENOMEM, "Cannot follow the claim");
}

static int show_one(VfiodConnection *c, Release *release, const char *state) {
    _cleanup_object_ Object claim = OBJECT_NULL;
    int r = 0;

    release->gone = streq(state, "gone");
    if (!release->gone)
        r = call_find_object(c, release->id, &claim, release->error);
    if (r >= 0 && !release->gone)
        r = call_add_costly(c, &claim, release->error);
    if (r < 0 && !streq(release->error->name, "NoSuchClaim")) /* it has ended meanwhile */
        return r;
    r = show_state(release, state, json_list(claim.properties, "holders"));
    if (r < 0)
        return error_text_errno(release->error, r, "Cannot write");
    if (streq(state, "quarantined"))
        return error_text_set(release->error, EBUSY, "DeviceQuarantined", "%s: %s", release->id,
                json_text(claim.properties, "failure"));
    return 0;
}

static int show_states(VfiodConnection *c, Release *release) {
    int r = release->result;

    for (size_t i = 0; i < release->n_states; i++) {
        _cleanup_free_ char *state = TAKE_PTR(release->states[i]);

        if (r >= 0)
            r = show_one(c, release, state);
    }
    release->n_states = 0;
    return r;
}

static int ask(VfiodConnection *c, const char *id, VfiodErrorText *error) {
    const Call call = {.method = METHOD_RELEASE, .claim = id, .pidfd = -EBADF};

    return call_simply(c, &call, error);
}

/* When its state is known, it is released. */
static int follow(Release *release) {
    _cleanup_connection_ VfiodConnection *c = NULL;
    VfiodErrorText *error = release->error;
    int r;

    release->result = 0;
    r = vfiod_connection_new(&c, error);
    if (r >= 0)
        r = vfiod_connection_watch(c, release->id, on_event, release, error);
    while (r >= 0 && !release->gone) {
        r = vfiod_connection_dispatch(c);
        if (r < 0 && release->result >= 0)
            return error_text_set(
                    error, EHOSTUNREACH, ERROR_NAME_UNREACHABLE, "The connection to vfiod broke.");
        if (r >= 0 && release->state && !release->asked) {
            release->asked = true;
            r = ask(c, release->id, error);
            if (r < 0)
                return r;
        }
        r = show_states(c, release);
        if (r >= 0 && !release->gone && connection_wait(c) < 0)
            return error_text_errno(error, errno, "Cannot follow the claim");
    }
    return r;
}

int release_wait(const char *id, bool asked, const Options *o, VfiodErrorText *error) {
    _cleanup_(release_done) Release release = {.options = o, .id = id, .asked = asked, .error = error};
    int r;

    do
        r = follow(&release);
    while (r < 0 && streq(error->name, ERROR_NAME_UNREACHABLE) && release.reconnects++ < RECONNECTS_MAX);
    return r;
}

/* ---- some devices of a claim ---- */

static int ask_for_devices(VfiodConnection *c, const char *id, const Options *o, VfiodErrorText *error) {
    const VfiodRequest request = {.devices = (const char *const *) o->devices, .n_devices = o->n_devices};
    const Call call = {.method = METHOD_RELEASE_DEVICES, .claim = id, .request = &request, .pidfd = -EBADF};
    int r = request_check(&request, error);

    return r < 0 ? r : call_simply(c, &call, error);
}

/* The claim that the device is in now, owned by the caller. NULL when that has ended, or when the device
 * waits in its claim for the rest of its group. */
static int find_part(
        VfiodConnection *c, const char *device, const char *id, char **ret, VfiodErrorText *error) {
    _cleanup_object_ Object object = OBJECT_NULL;
    const char *part;
    int r;

    r = call_find_object(c, device, &object, error);
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

/* Devices that leave together are one claim. */
static int release_devices(VfiodConnection *c, const char *id, const Options *o, VfiodErrorText *error) {
    _cleanup_free_ char *part = NULL;
    int r;

    r = ask_for_devices(c, id, o, error);
    for (size_t i = 0; o->wait && i < o->n_devices && r >= 0 && !part; i++)
        r = find_part(c, o->devices[i], id, &part, error);
    return r < 0 || !part ? r : release_wait(part, /* asked= */ true, o, error);
}

static int release_one(const char *word, const Options *o, VfiodErrorText *error) {
    _cleanup_free_ char *id = NULL;
    _cleanup_connection_ VfiodConnection *c = NULL;
    int r;

    r = vfiod_connection_new(&c, error);
    if (r < 0)
        return r;
    r = call_find_claim(c, word, &id, error);
    if (r < 0)
        return r;
    if (o->n_devices > 0)
        return release_devices(c, id, o, error);
    return o->wait ? release_wait(id, /* asked= */ false, o, error) : ask(c, id, error);
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
