/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Asks the holder of a claim to give it back, and sends the holder's answer. It returns at once: "vfioctl
 * status", "vfioctl monitor" and the journal show the progress. */

#include "base/str.h"
#include "client/calls.h"
#include "client/show.h"

static int check_options(const Options *o, VfiodErrorText *error) {
    bool asks = o->in_sec >= 0 || o->reason || o->cancel;

    if (o->answers && asks)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--more is the answer of the holder, and goes with no other option.");
    if (o->cancel && (o->in_sec >= 0 || o->reason))
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--cancel ends an eviction, and takes no --in and no --reason.");
    return 0;
}

/* Shows whose claim it is and until when they have it. It may have ended meanwhile. */
static int show_result(VfiodConnection *c, const char *id, VfiodErrorText *error) {
    _cleanup_free_ char *eviction = NULL, *owner = NULL, *safe = NULL;
    _cleanup_object_ Object claim = OBJECT_NULL;
    int r;

    r = call_find_object(c, id, &claim, error);
    if (r < 0)
        return streq(error->name, "NoSuchClaim") ? 0 : r;
    owner = show_owner(json_number(claim.properties, "uid"));
    eviction = show_eviction(claim.properties);
    safe = eviction ? sanitize(eviction, 1024) : NULL;
    if (safe)
        printf("Claim %s of %s must be given back %s.\n", id, owner ?: "?", safe);
    else
        printf("Claim %s of %s can stay.\n", id, owner ?: "?");
    return 0;
}

int verb_evict(const Options *o, VfiodErrorText *error) {
    _cleanup_connection_ VfiodConnection *c = NULL;
    _cleanup_free_ char *id = NULL;
    Call call = {.method = o->answers ? METHOD_ANSWER_EVICTION : METHOD_EVICT,
            .pidfd = -EBADF,
            .in_sec = o->in_sec,
            .reason = o->reason,
            .cancel = o->cancel,
            .more = o->more_sec};
    int r;

    r = check_options(o, error);
    if (r >= 0)
        r = vfiod_connection_new(&c, error);
    if (r >= 0)
        r = call_find_claim(c, o->arguments[0], &id, error);
    if (r < 0)
        return r;
    call.claim = id;
    r = call_simply(c, &call, error);
    return r < 0 || o->json ? r : show_result(c, id, error);
}
