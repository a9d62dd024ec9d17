/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Holds a claim until it is interrupted. The claim's tether is the lifeline of this process, so devices are
 * returned however it dies. When the claim ends from outside (an operator releases it, the device is
 * unplugged), the fds must be closed too, otherwise it would drain forever; the exit status is that of an
 * error. If the bus or the daemon disappears, the claim continues. Then this only cannot show any more what
 * happens. */

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "client/ask.h"
#include "client/calls.h"
#include "client/claim.h"
#include "client/show.h"
#include "client/wait.h"

#define RECONNECTS_MAX 3U

typedef struct Hold {
    const VfiodClaim *claim;
    VfiodErrorText *error;
    int result;          /* of on_event(): negative when the claim has ended or cannot be followed */
    unsigned reconnects; /* since the last event */
    bool changed;        /* the eviction may have changed since it was shown */
    char *eviction;      /* owned; as shown last; NULL: none */
    bool sleeps;         /* it was shown that the host is about to sleep */
    char resume[16];     /* as shown last; "": nothing yet */
} Hold;

static const char *explain_resume(const char *resume) {
    if (streq(resume, "checking"))
        return "The host has resumed, and vfiod checks the devices";
    if (streq(resume, "ok"))
        return "The host has resumed, and the devices are back";
    if (streq(resume, "failed"))
        return "The host has resumed, and a device is not back; 'vfioctl status CLAIM' shows which";
    return "The host has resumed, and whether the devices are back is unknown";
}

static void show_sleep(Hold *hold, const VfiodEventMore *more) {
    const char *id = vfiod_claim_id(hold->claim), *shown = *hold->resume ? hold->resume : "none";
    bool sleeps = more->sleep_at != 0;

    if (sleeps && !hold->sleeps) {
        _cleanup_free_ char *at = show_time((int64_t) more->sleep_at);

        fprintf(stderr, "vfioctl: Claim %s: The host is about to sleep, at the latest %s.\n", id,
                at ?: "soon");
    }
    /* It may sleep again before the devices are checked. */
    if (!sleeps && !streq(more->resume, "none") && (hold->sleeps || !streq(more->resume, shown)))
        fprintf(stderr, "vfioctl: Claim %s: %s.\n", id, explain_resume(more->resume));
    hold->sleeps = sleeps;
    put_text(hold->resume, sizeof(hold->resume), more->resume);
}

static void on_event(
        VfiodConnection *c, const VfiodEvent *event, const VfiodErrorText *error, void *userdata) {
    Hold *hold = userdata;

    if (!event) {
        *hold->error = *error;
        hold->result = -error->error;
        return;
    }
    hold->reconnects = 0;
    if (event->state && (streq(event->state, "held") || streq(event->state, "opening"))) {
        show_sleep(hold, event->more);
        hold->changed = event->eviction || hold->eviction;
        return;
    }
    hold->result = error_text_set(hold->error, ECANCELED, ERROR_NAME_FAILED,
            "%s: the claim was released, or its device is gone (%s)%s%s", vfiod_claim_id(hold->claim),
            event->state ?: "gone", *event->failure ? ": " : ".", event->failure);
}

static const char *fd_name(const VfiodClaim *claim, size_t index) {
    const char *name = NULL;

    (void) vfiod_claim_nth_fd(claim, index, &name);
    return name;
}

static const char *vf_token(const VfiodClaim *claim, size_t index) {
    const char *device = vfiod_claim_device(claim, index);

    return device ? vfiod_claim_vf_token(claim, device) ?: "" : NULL;
}

static bool has_vf_tokens(const VfiodClaim *claim) {
    const char *token;

    for (size_t i = 0; (token = vf_token(claim, i)); i++)
        if (*token)
            return true;
    return false;
}

static int list_strings(struct json_object *o, const char *key, const VfiodClaim *claim,
        const char *(*nth)(const VfiodClaim *, size_t)) {
    _cleanup_json_ struct json_object *array = json_object_new_array();

    if (!array)
        return -ENOMEM;
    for (size_t i = 0;; i++) {
        const char *name = nth(claim, i);

        if (!name)
            return json_add(o, key, TAKE_PTR(array));
        if (json_object_array_add(array, json_object_new_string(name)) < 0)
            return -ENOMEM;
    }
}

/* On one line, so that a script can read it with one call. */
static int show_claim_json(const VfiodClaim *claim) {
    _cleanup_json_ struct json_object *o = json_object_new_object();

    if (!o || json_add(o, "claim", json_object_new_string(vfiod_claim_id(claim))) < 0 ||
            json_add(o, "backend", json_object_new_string(vfiod_claim_backend(claim))) < 0 ||
            json_add(o, "rule", json_object_new_string(vfiod_claim_rule(claim))) < 0 ||
            json_add(o, "pid", json_object_new_int64(getpid())) < 0 ||
            list_strings(o, "devices", claim, vfiod_claim_device) < 0 ||
            list_strings(o, "nodes", claim, claim_node) < 0 || list_strings(o, "fds", claim, fd_name) < 0 ||
            (has_vf_tokens(claim) && list_strings(o, "vfTokens", claim, vf_token) < 0))
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
    for (size_t i = 0; (name = claim_node(claim, i)); i++)
        show_field(o, i == 0 ? "Nodes" : "", COLOUR_NONE, name);
    for (size_t i = 0; (name = fd_name(claim, i)); i++)
        show_field(o, i == 0 ? "Got" : "", COLOUR_NONE, name);
    for (size_t i = 0; has_vf_tokens(claim) && (name = vf_token(claim, i)); i++)
        show_field(o, i == 0 ? "VF tokens" : "", COLOUR_NONE, *name ? name : "none");
    puts("Held until interrupted.");
    return fflush(stdout) == 0 ? 0 : -errno;
}

/* The signals that end a hold. They are blocked when the claim exists, so that the event loop gets them.
 * Before, they kill the process, and the devices are returned. */
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

/* Shows that the claim is being evicted, or not any more. It uses a connection of its own, because it waits
 * for the answer. */
static void look_at_eviction(Hold *hold) {
    _cleanup_connection_ VfiodConnection *c = NULL;
    _cleanup_object_ Object claim = OBJECT_NULL;
    _cleanup_free_ char *eviction = NULL, *safe = NULL;
    const char *id = vfiod_claim_id(hold->claim);
    VfiodErrorText ignored = {};

    hold->changed = false;
    if (vfiod_connection_new(&c, &ignored) < 0 || call_find_object(c, id, &claim, &ignored) < 0)
        return;
    eviction = show_eviction(claim.properties);
    if (streq_ptr(eviction, hold->eviction))
        return;
    safe = eviction ? sanitize(eviction, 1024) : NULL;
    if (!safe)
        fprintf(stderr, "vfioctl: Claim %s can stay.\n", id);
    else
        fprintf(stderr,
                "vfioctl: Claim %s must be given back %s. Ctrl-C gives it back, 'vfioctl evict "
                "--more=SECONDS %s' asks for more time.\n",
                id, safe, id);
    free(hold->eviction);
    hold->eviction = TAKE_PTR(eviction);
}

/* Until a signal (0), or until the claim ends or cannot be followed (negative). */
static int follow_claim(Hold *hold, int signals) {
    _cleanup_(vfiod_connection_freep) VfiodConnection *c = NULL;
    int r;

    hold->result = 0;
    r = vfiod_connection_new(&c, hold->error);
    if (r >= 0)
        r = vfiod_connection_watch(c, vfiod_claim_id(hold->claim), on_event, hold, hold->error);
    if (r < 0)
        return r;
    for (;;) {
        struct pollfd fds[2];

        r = vfiod_connection_dispatch(c);
        if (hold->result < 0)
            return hold->result;
        if (r >= 0 && hold->changed)
            look_at_eviction(hold);
        if (r < 0)
            return error_text_set(
                    hold->error, EHOSTUNREACH, ERROR_NAME_UNREACHABLE, "The connection to vfiod broke.");
        fds[0] = (struct pollfd){.fd = vfiod_connection_get_fd(c), .events = vfiod_connection_get_events(c)};
        fds[1] = (struct pollfd){.fd = signals, .events = POLLIN};
        if (poll(fds, ELEMENTSOF(fds), -1) < 0 && errno != EINTR)
            return error_text_errno(hold->error, errno, "Cannot hold the claim");
        if (fds[1].revents)
            return 0;
    }
}

/* The new connection starts a daemon that has ended. */
static int hold_until_interrupted(const VfiodClaim *claim, const sigset_t *signals, VfiodErrorText *error) {
    Hold hold = {.claim = claim, .error = error};
    _cleanup_close_ int fd = signalfd(-1, signals, SFD_CLOEXEC);
    int r, number;

    if (fd < 0)
        return error_text_errno(error, errno, "Cannot hold the claim");
    do
        r = follow_claim(&hold, fd);
    while (r < 0 && streq(error->name, ERROR_NAME_UNREACHABLE) && hold.reconnects++ < RECONNECTS_MAX);
    free(hold.eviction);
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
    do {
        waiter_prepare(&waiter, &request);
        r = ask_and_acquire(o, &request, &claim, error);
    } while (r < 0 && waiter_try_again(&waiter, &request, error));
    if (r < 0)
        return r;
    r = block_signals(&signals);
    if (r >= 0)
        r = o->json ? show_claim_json(claim) : show_claim_text(claim, o);
    if (r < 0)
        return error_text_errno(error, r, "Cannot hold the claim");
    return hold_until_interrupted(claim, &signals, error);
}
