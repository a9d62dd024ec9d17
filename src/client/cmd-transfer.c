/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Gives a claim a tether that outlives vfioctl: another process, vfioctl's unit, or none. A new lifeline
 * would be of no use here; programs request one themselves. */

#include <poll.h>

#include "base/str.h"
#include "client/calls.h"
#include "client/show.h"

static bool outlasts_us(const char *tether) {
    return streq(tether, "unit") || streq(tether, "explicit");
}

static int check_options(const Options *o, VfiodErrorText *error) {
    if (o->pid == 0 && (!o->tether || !outlasts_us(o->tether)))
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "transfer requires --pid=PID, --tether=unit or --tether=explicit: the claim cannot "
                "be tied to vfioctl, which exits at once.");
    return 0;
}

static int show(const char *id, const Options *o) {
    const char *tether = o->tether ? o->tether : "process";
    _cleanup_json_ struct json_object *line = NULL;

    if (!o->json) {
        printf("%s: tether %s\n", id, tether);
        return fflush(stdout) == 0 ? 0 : -errno;
    }
    line = json_object_new_object();
    if (!line || json_add(line, "claim", json_object_new_string(id)) < 0 ||
            json_add(line, "tether", json_object_new_string(tether)) < 0)
        return -ENOMEM;
    return show_json(stdout, line, /* pretty= */ false);
}

int verb_transfer(const Options *o, VfiodErrorText *error) {
    Call call = {.method = METHOD_TRANSFER, .tether = o->tether, .pidfd = -EBADF};
    _cleanup_connection_ VfiodConnection *c = NULL;
    struct pollfd ended = {.events = POLLIN};
    _cleanup_free_ char *id = NULL;
    int r;

    r = check_options(o, error);
    if (r >= 0)
        r = vfiod_connection_new(&c, error);
    if (r >= 0)
        r = call_find_claim(c, o->arguments[0], &id, error);
    if (r < 0)
        return r;
    call.claim = id;
    call.pidfd = ended.fd = o->pid != 0 ? o->more.pidfd : -EBADF;
    r = call_simply(c, &call, error);
    if (r < 0)
        return r;
    if (ended.fd >= 0 && poll(&ended, 1, 0) != 0)
        return error_text_set(error, ESRCH, ERROR_NAME_FAILED,
                "Process %llu has ended, and with it claim %s.", (unsigned long long) o->pid, id);
    r = show(id, o);
    return r < 0 ? error_text_errno(error, r, "Cannot write") : 0;
}
