/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>

#include "client/policy-door.h"

static const char *plural(int64_t n) {
    return n == 1 ? "" : "s";
}

static int show_check(_unused_ const Options *o, struct json_object *result) {
    int64_t files = json_number(result, "files"), rules = json_number(result, "rules");
    size_t errors = json_object_array_length(json_list(result, "errors"));
    size_t warnings = json_object_array_length(json_list(result, "warnings"));

    policy_print_lines(result, "errors");
    policy_print_lines(result, "warnings");
    if (errors > 0)
        printf("%" PRIi64 " file%s, %zu error%s: none of this would be loaded\n", files, plural(files),
                errors, plural((int64_t) errors));
    else if (warnings > 0)
        printf("%" PRIi64 " file%s, %" PRIi64 " rule%s, no errors, %zu warning%s\n", files, plural(files),
                rules, plural(rules), warnings, plural((int64_t) warnings));
    else
        printf("%" PRIi64 " file%s, %" PRIi64 " rule%s, no errors, no warnings%s\n", files, plural(files),
                rules, plural(rules), rules == 0 ? ": everything is denied to everybody" : "");
    return 0;
}

int verb_policy_check(const Options *o, VfiodErrorText *error) {
    _cleanup_rehearsal_ Rehearsal *rehearsal = NULL;
    _cleanup_json_ struct json_object *result = NULL;
    char *problem = NULL;
    int r;

    r = policy_open(o, (const char *const *) o->arguments, &rehearsal, error);
    if (r < 0)
        return r;
    r = rehearsal_check(rehearsal, &result, &problem);
    if (r < 0)
        return policy_failed(r, problem, error);
    r = policy_show(o, result, show_check, error);
    if (r < 0)
        return r;
    return json_object_array_length(json_list(result, "errors")) > 0 ? 1 : 0;
}
