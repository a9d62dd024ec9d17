/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>

#include "base/str.h"
#include "client/reload.h"
#include "client/show.h"

#define LINE_MAX_BYTES 4096U

/* Not an error: the policy is in force, and these claims stay until somebody ends them. */
static void warn_of_denied(struct json_object *manager) {
    _cleanup_free_ char *claims = json_list_text(manager, "claimsDeniedByPolicy");

    if (claims && *claims)
        fprintf(stderr, "The policy no longer allows these claims, which are kept: %s\n", claims);
}

static size_t print_lines(struct json_object *list, const char *prefix) {
    size_t n = list ? json_object_array_length(list) : 0;

    for (size_t i = 0; i < n; i++) {
        _cleanup_free_ char *line =
                sanitize(json_object_get_string(json_object_array_get_idx(list, i)), LINE_MAX_BYTES);

        fprintf(stderr, "%s%s\n", prefix, line ?: "(out of memory)");
    }
    return n;
}

/* The error message has only the first errors, on one line. The property has all of them. */
static int tell_errors(VfiodConnection *c, VfiodErrorText *error) {
    _cleanup_object_ Object manager = OBJECT_NULL;
    VfiodErrorText ignored;
    size_t n;

    if (call_get_manager(c, &manager, &ignored) < 0)
        return -error->error;
    n = print_lines(json_list(manager.properties, "policyErrors"), "");
    if (n == 0)
        return -error->error;
    return error_text_set(error, error->error, ERROR_NAME_POLICY_BROKEN,
            "The policy has %zu error%s and was not loaded. Fix the files and reload.", n, n == 1 ? "" : "s");
}

/* The policy is in force; 'vfioctl policy check' shows the same warnings. */
static void warn(struct json_object *manager) {
    (void) print_lines(json_list(manager, "policyWarnings"), "");
    (void) print_lines(json_list(manager, "shadowErrors"), "In shadow: ");
    warn_of_denied(manager);
}

int policy_reload(VfiodConnection *c, const Options *o, Object *ret, VfiodErrorText *error) {
    const Call call = {.method = METHOD_RELOAD_POLICY, .pidfd = -EBADF};
    int r = call_simply(c, &call, error);

    if (r < 0)
        return !o->json && streq(error->name, ERROR_NAME_POLICY_BROKEN) ? tell_errors(c, error) : r;
    return call_get_manager(c, ret, error);
}

void policy_reload_show(struct json_object *manager) {
    int64_t rules = json_number(manager, "policyRules");

    printf("Policy reloaded: %" PRIi64 " rule%s\n", rules, rules == 1 ? "" : "s");
    warn(manager);
}

int verb_reload(const Options *o, VfiodErrorText *error) {
    _cleanup_object_ Object manager = OBJECT_NULL;
    _cleanup_connection_ VfiodConnection *c = NULL;
    int r;

    r = vfiod_connection_new(&c, error);
    if (r >= 0)
        r = policy_reload(c, o, &manager, error);
    if (r < 0)
        return r;
    if (!o->json) {
        policy_reload_show(manager.properties);
        return 0;
    }
    r = show_json(stdout, manager.properties, /* pretty= */ true);
    return r < 0 ? error_text_errno(error, r, "Cannot show the status") : 0;
}
