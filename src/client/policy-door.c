/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/pager.h"
#include "client/policy-door.h"

#include <stdarg.h>

#include "base/str.h"

#define LINE_MAX_BYTES 4096U

int policy_failed(int r, char *problem, VfiodErrorText *error) {
    _cleanup_free_ char *text = problem;

    if (!text)
        return error_text_errno(error, r, "Cannot evaluate the policy");
    return error_text_set(error, -r, ERROR_NAME_REHEARSAL, "%s", text);
}

int policy_open(const Options *o, const char *const *policy, Rehearsal **ret, VfiodErrorText *error) {
    return policy_open_with(o, policy, NULL, ret, error);
}

int policy_open_with(const Options *o, const char *const *policy, const RehearsalFile *file, Rehearsal **ret,
        VfiodErrorText *error) {
    const RehearsalConfig config = {
            .host = o->host, .policy = policy && *policy ? policy : NULL, .file = file};
    char *problem = NULL;
    int r;

    r = rehearsal_new(&config, ret, &problem);
    return r < 0 ? policy_failed(r, problem, error) : 0;
}

int policy_show(const Options *o, struct json_object *result,
        int (*show)(const Options *o, struct json_object *result), VfiodErrorText *error) {
    int r;

    pager_open(o);
    r = o->json ? show_json(stdout, result, /* pretty= */ true) : show(o, result);
    return r < 0 ? error_text_errno(error, r, "Cannot show the result") : 0;
}

void policy_print(const char *format, ...) {
    _cleanup_free_ char *text = NULL, *safe = NULL;
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&text, format, ap) < 0)
        text = NULL;
    va_end(ap);
    safe = text ? sanitize(text, LINE_MAX_BYTES) : NULL;
    puts(safe ? safe : "(out of memory)");
}

void policy_print_lines(struct json_object *result, const char *key) {
    struct json_object *list = json_list(result, key);

    for (size_t i = 0; list && i < json_object_array_length(list); i++)
        policy_print("%s", json_object_get_string(json_object_array_get_idx(list, i)));
}
