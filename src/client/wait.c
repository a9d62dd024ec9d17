/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/wait.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <poll.h>

#include "base/str.h"
#include "client/progress.h"
#include "client/show.h"
#include "client/transport.h"

#define TRIES_IN_VAIN_MAX 5U
#define DAEMON_MSEC 500 /* that a daemon gets to start anew */
#define USEC_PER_SEC UINT64_C(1000000)
#define WAIT_MAX_SEC 604800U /* that a daemon takes */

Waiter waiter_new(const Options *o) {
    uint64_t now = monotonic_usec();

    return (Waiter){.o = o,
            .deadline = o->wait_usec > UINT64_MAX - now ? UINT64_MAX : now + o->wait_usec,
            .more = o->more};
}

static uint64_t time_left(const Waiter *w) {
    uint64_t now = monotonic_usec();

    return w->deadline > now ? w->deadline - now : 0;
}

void waiter_prepare(Waiter *w, VfiodRequest *request) {
    if (w->o->wait_usec == 0)
        return;
    /* Rounded up: of what is left there is always some. */
    w->more.wait = MIN((MAX(time_left(w), UINT64_C(1)) - 1) / USEC_PER_SEC + 1, (uint64_t) WAIT_MAX_SEC);
    if (w->without_queue)
        w->more.wait = 0;
    request->more = &w->more;
}

static void on_event(
        VfiodConnection *c, const VfiodEvent *event, const VfiodErrorText *error, void *userdata) {
    bool *changed = userdata;

    /* A claim that cannot be followed is one more reason to look. */
    if (!event || !event->state)
        *changed = true;
}

/* Watches every claim that stands in the way; the number of them, or a negative errno. */
static int watch_blockers(VfiodConnection *c, struct json_object *explanation, bool *changed,
        char **ret_names, VfiodErrorText *error) {
    struct json_object *obstacles = json_list(explanation, "obstacles");
    _cleanup_strbuf_ StrBuf names = {};
    int n = 0;

    for (size_t i = 0; obstacles && i < json_object_array_length(obstacles); i++) {
        struct json_object *blockers = json_list(json_object_array_get_idx(obstacles, i), "blockers");

        for (size_t j = 0; blockers && j < json_object_array_length(blockers); j++) {
            struct json_object *blocker = json_object_array_get_idx(blockers, j);
            const char *name = json_text(blocker, "name");
            int r;

            if (!streq(json_text(blocker, "kind"), "claim"))
                continue;
            r = vfiod_connection_watch(c, name, on_event, changed, error);
            if (r < 0)
                return r;
            strbuf_addf(&names, "%sclaim %s of %s", n > 0 ? ", " : "", name, json_text(blocker, "why"));
            n++;
        }
    }
    *ret_names = strbuf_steal(&names);
    return *ret_names ? n : -ENOMEM;
}

static int wait_for_blockers(Waiter *w, const VfiodRequest *request, VfiodErrorText *error) {
    _cleanup_(vfiod_connection_freep) VfiodConnection *c = NULL;
    _cleanup_json_ struct json_object *explanation = NULL;
    _cleanup_free_ char *text = NULL, *names = NULL;
    _cleanup_progress_ Progress progress = {};
    bool changed = false;
    int r;

    r = vfiod_explain(request, &text, error);
    if (r >= 0)
        r = vfiod_connection_new(&c, error);
    if (r < 0)
        return r;
    explanation = json_tokener_parse(text);
    r = watch_blockers(c, explanation, &changed, &names, error);
    if (r < 0)
        return r;
    if (r == 0) /* it has ended meanwhile */
        return ++w->in_vain <= TRIES_IN_VAIN_MAX ? 0 : -EBUSY;
    w->in_vain = 0;
    progress_begin(&progress, "Waiting for %s", names);
    r = progress_wait(&progress, c, &changed, w->deadline);
    return r == -ETIMEDOUT ? r : 0;
}

/* The option, or the parameter. */
static bool is_unknown(const VfiodErrorText *error) {
    return (streq(error->name, "UnknownOption") || strstr(error->name, "InvalidParameter")) &&
            strstr(error->message, "wait");
}

/* It starts again, or is started by whoever calls it. */
static bool wait_for_daemon(Waiter *w, const VfiodErrorText *error) {
    if (!streq(error->name, "ShuttingDown") && !streq(error->name, ERROR_NAME_UNREACHABLE))
        return false;
    if (w->in_vain++ >= TRIES_IN_VAIN_MAX)
        return false;
    (void) poll(NULL, 0, DAEMON_MSEC);
    return true;
}

/* What it answers after the end of the time is the last word, as is an answer before: somebody has taken the
 * request out of the queue. */
static int wait_in_queue(Waiter *w) {
    if (time_left(w) < USEC_PER_SEC)
        return -ETIMEDOUT;
    return w->more.wait == WAIT_MAX_SEC ? 0 : -EBUSY;
}

bool waiter_try_again(Waiter *w, const VfiodRequest *request, VfiodErrorText *error) {
    VfiodErrorText refusal = *error;
    int r;

    if (w->o->wait_usec == 0)
        return false;
    if (w->more.wait > 0 && is_unknown(error)) {
        w->without_queue = true;
        return true;
    }
    if (w->more.wait > 0 && wait_for_daemon(w, error))
        return true;
    if (!streq(error->name, "DeviceClaimed") && !streq(error->name, "DeviceReserved"))
        return false;
    r = w->without_queue ? wait_for_blockers(w, request, error) : wait_in_queue(w);
    if (r >= 0)
        return true;
    if (r == -ETIMEDOUT)
        (void) error_text_set(error, refusal.error, refusal.name, "%s Waited %" PRIu64 " s.", refusal.message,
                w->o->wait_usec / 1000000);
    else if (r == -EBUSY)
        *error = refusal;
    return false;
}
