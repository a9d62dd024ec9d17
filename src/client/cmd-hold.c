/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Holds a claim until it is interrupted. The claim hangs on the lifeline in this process, so however it dies
 * the devices go back. When the claim ends from outside (an operator releases it, the device is unplugged)
 * the fds must be closed too, or it would drain for ever: that is an exit with an error. A bus or daemon that
 * goes away is none: claims do not hang on them, so this holds on and only cannot tell any more what happens.
 */

#include <signal.h>
#include <unistd.h>

#include "base/str.h"
#include "client/ask.h"
#include "client/bus-call.h"
#include "client/claim-watch.h"
#include "client/libvfiod-internal.h"
#include "client/show.h"
#include "client/wait.h"

DEFINE_TRIVIAL_CLEANUP_FUNC(VfiodClaim *, vfiod_claim_free);

typedef struct Hold {
    const VfiodClaim *claim;
    VfiodErrorText *error;
} Hold;

static int on_changed(void *userdata, const Object *claim) {
    Hold *hold = userdata;
    const char *state = claim ? json_text(claim->properties, "state") : "gone";
    const char *failure = claim ? json_text(claim->properties, "failure") : "";

    if (streq(state, "held") || streq(state, "opening"))
        return 0;
    return error_text_set(hold->error, ECANCELED, ERROR_NAME_FAILED,
            "%s: the claim was released, or its device is gone (%s)%s%s", vfiod_claim_id(hold->claim), state,
            *failure ? ": " : ".", failure);
}

static int list_strings(struct json_object *o, const char *key, const VfiodClaim *claim, bool fds) {
    _cleanup_json_ struct json_object *array = json_object_new_array();

    if (!array)
        return -ENOMEM;
    for (size_t i = 0;; i++) {
        const char *name = NULL;

        if (fds)
            (void) vfiod_claim_nth_fd(claim, i, &name);
        else
            name = vfiod_claim_device(claim, i);
        if (!name)
            return json_add(o, key, TAKE_PTR(array));
        if (json_object_array_add(array, json_object_new_string(name)) < 0)
            return -ENOMEM;
    }
}

/* One line, so that a script can read a line and go on. */
static int show_claim_json(const VfiodClaim *claim) {
    _cleanup_json_ struct json_object *o = json_object_new_object();

    if (!o || json_add(o, "claim", json_object_new_string(vfiod_claim_id(claim))) < 0 ||
            json_add(o, "backend", json_object_new_string(vfiod_claim_backend(claim))) < 0 ||
            json_add(o, "rule", json_object_new_string(vfiod_claim_rule(claim))) < 0 ||
            json_add(o, "pid", json_object_new_int64(getpid())) < 0 ||
            list_strings(o, "devices", claim, false) < 0 || list_strings(o, "fds", claim, true) < 0)
        return -ENOMEM;
    return show_json(stdout, o, /* pretty= */ false);
}

static int show_claim_text(const VfiodClaim *claim, const Options *o) {
    const char *name;

    show_field(o, "Claim", COLOUR_BOLD, vfiod_claim_id(claim));
    for (size_t i = 0; (name = vfiod_claim_device(claim, i)); i++)
        show_field(o, i == 0 ? "Devices" : "", COLOUR_NONE, name);
    show_field(o, "Backend", COLOUR_NONE, vfiod_claim_backend(claim));
    show_field(o, "Allowed by", COLOUR_NONE, vfiod_claim_rule(claim));
    for (size_t i = 0; vfiod_claim_nth_fd(claim, i, &name) >= 0; i++)
        show_field(o, i == 0 ? "Got" : "", COLOUR_NONE, name);
    puts("Held until interrupted.");
    return fflush(stdout) == 0 ? 0 : -errno;
}

/* What ends a hold. Blocked once the claim is there, so that they come through the event loop; before that
 * they just kill us, and what was claimed goes back. */
static int block_signals(sigset_t *ret) {
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    *ret = set;
    return 0;
}

/* Without a callback a signal ends the loop, with the userdata as its result: 0. */
static int catch_signals(sd_event *event, const sigset_t *signals) {
    int r = 0;

    for (int s = 1; r >= 0 && s < NSIG; s++)
        if (sigismember(signals, s) == 1)
            r = sd_event_add_signal(event, NULL, s, NULL, NULL);
    return r;
}

/* Until a signal (0), or until the claim ends or cannot be followed (negative). */
static int follow_claim(const VfiodClaim *claim, const sigset_t *signals, VfiodErrorText *error) {
    _cleanup_(sd_event_unrefp) sd_event *event = NULL;
    _cleanup_bus_ sd_bus *bus = NULL;
    Hold hold = {.claim = claim, .error = error};
    _cleanup_(claim_watch_done) ClaimWatch watch = {
            .id = vfiod_claim_id(claim), .changed = on_changed, .userdata = &hold, .error = error};
    int r;

    r = sd_event_new(&event);
    if (r >= 0)
        r = catch_signals(event, signals);
    if (r < 0)
        return error_text_errno(error, r, "Cannot hold the claim");
    r = vfiod_open_bus(&bus, error);
    if (r < 0)
        return r;
    watch.event = event;
    watch.bus = bus;
    r = claim_watch_start(&watch);
    return r < 0 ? r : sd_event_loop(event);
}

static int hold_until_interrupted(const VfiodClaim *claim, const sigset_t *signals, VfiodErrorText *error) {
    int r = follow_claim(claim, signals, error), number;

    if (r >= 0 || !streq(error->name, ERROR_NAME_UNREACHABLE))
        return r;
    fprintf(stderr, "vfioctl: %s Holding on.\n", error->message);
    return -sigwait(signals, &number);
}

int verb_hold(const Options *o, VfiodErrorText *error) {
    _cleanup_(vfiod_claim_freep) VfiodClaim *claim = NULL;
    Waiter waiter = waiter_new(o);
    VfiodRequest request;
    sigset_t signals;
    int r;

    request = options_request(o, (const char *const *) o->arguments, o->n_arguments);
    do
        r = ask_and_acquire(o, &request, &claim, error);
    while (r < 0 && waiter_try_again(&waiter, &request, error));
    if (r < 0)
        return r;
    r = block_signals(&signals);
    if (r >= 0)
        r = o->json ? show_claim_json(claim) : show_claim_text(claim, o);
    if (r < 0)
        return error_text_errno(error, r, "Cannot hold the claim");
    return hold_until_interrupted(claim, &signals, error);
}
