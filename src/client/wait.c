/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/wait.h"

#include <inttypes.h>
#include <json-c/json.h>

#include "base/str.h"
#include "client/progress.h"
#include "client/show.h"
#include "client/transport.h"

#define TRIES_IN_VAIN_MAX 5U

Waiter waiter_new(const Options *o) {
    uint64_t now = monotonic_usec();

    return (Waiter){.o = o, .deadline = o->wait_usec > UINT64_MAX - now ? UINT64_MAX : now + o->wait_usec};
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

bool waiter_try_again(Waiter *w, const VfiodRequest *request, VfiodErrorText *error) {
    VfiodErrorText refusal = *error;
    int r;

    if (w->o->wait_usec == 0 ||
            (!streq(error->name, "DeviceClaimed") && !streq(error->name, "DeviceReserved")))
        return false;
    r = wait_for_blockers(w, request, error);
    if (r >= 0)
        return true;
    if (r == -ETIMEDOUT)
        (void) error_text_set(error, refusal.error, refusal.name, "%s Waited %" PRIu64 " s.", refusal.message,
                w->o->wait_usec / 1000000);
    else if (r == -EBUSY)
        *error = refusal;
    return false;
}
