/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Shows the list again whenever vfiod announces changes; many at once cause one update. */

#include <time.h>

#include "base/str.h"
#include "client/follow.h"
#include "client/pager.h"
#include "client/show.h"

#define CLEAR_SCREEN "\x1b[H\x1b[2J"

typedef struct Watch {
    Options options; /* of the list */
    VfiodErrorText *error;
    bool changed, connected;
} Watch;

static int report(void *userdata, const char *event, ObjectKind kind, const char *name,
        struct json_object *properties) {
    Watch *w = userdata;

    w->changed = true;
    w->connected = !streq(event, "disconnected");
    return 0;
}

static void show_heading_of_watch(const Watch *w) {
    _cleanup_free_ char *when = show_time((int64_t) time(NULL) * 1000000);
    const char *text = w->connected ? "vfiod's devices" : "vfiod is not running";

    if (!screen_is_terminal() || w->options.json)
        return;
    fputs(CLEAR_SCREEN, stdout);
    printf("%s, %s\n", text, when ? when : "-");
}

/* vfiod has ended or will end, which is reported. */
static bool is_end_of_daemon(const VfiodErrorText *error) {
    return streq(error->name, ERROR_NAME_UNREACHABLE) || streq(error->name, "ShuttingDown");
}

static int idle(void *userdata) {
    VfiodErrorText error = {};
    Watch *w = userdata;
    int r = 0;

    if (!w->changed)
        return 0;
    w->changed = false;
    show_heading_of_watch(w);
    if (w->connected)
        r = verb_list(&w->options, &error);
    if (r < 0 && is_end_of_daemon(&error))
        return 0;
    if (r < 0) {
        *w->error = error;
        return r;
    }
    if (!screen_is_terminal() && !w->options.json)
        puts("");
    return fflush(stdout) == 0 ? 0 : error_text_errno(w->error, errno, "Cannot write");
}

int verb_watch(const Options *o, VfiodErrorText *error) {
    Watch w = {.options = *o, .error = error};
    const Follower follower = {.report = report, .idle = idle, .userdata = &w};

    w.options.watch = true;
    return follow(&follower, error);
}
