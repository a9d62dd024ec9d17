/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>

#include "client/policy-door.h"

/* One object for each file, {"file", …as rehearsal_test()}, and the sums. */

typedef struct Sum {
    int64_t passed, failed;
    size_t errors;
} Sum;

static int test_file(
        Rehearsal *rehearsal, const char *file, struct json_object *files, Sum *sum, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *result = NULL;
    char *problem = NULL;
    int r;

    r = rehearsal_test(rehearsal, file, &result, &problem);
    if (r < 0)
        return policy_failed(r, problem, error);
    sum->passed += json_number(result, "passed");
    sum->failed += json_number(result, "failed");
    sum->errors += json_object_array_length(json_list(result, "errors"));
    if (json_add(result, "file", json_object_new_string(file)) < 0 ||
            json_object_array_add(files, result) < 0)
        return error_text_errno(error, -ENOMEM, "Cannot run the tests");
    (void) TAKE_PTR(result);
    return 0;
}

static void show_failures(struct json_object *file) {
    struct json_object *cases = json_list(file, "cases");

    for (size_t i = 0; i < json_object_array_length(cases); i++) {
        struct json_object *c = json_object_array_get_idx(cases, i);

        if (!json_flag(c, "passed"))
            policy_print("%s:%" PRIi64 ": %s: %s", json_text(file, "file"), json_number(c, "line"),
                    json_text(c, "name"), json_text(c, "message"));
        /* a case that expects the error needs no hint */
        else if (*json_text(c, "refused") && !*json_text(json_member(c, "expected"), "error"))
            policy_print("%s:%" PRIi64
                         ": %s: note: the policy allows it, but the request would be refused: %s",
                    json_text(file, "file"), json_number(c, "line"), json_text(c, "name"),
                    json_text(c, "refused"));
    }
}

static int show_tests(const Options *o, struct json_object *result) {
    struct json_object *files = json_list(result, "files");
    int64_t passed = json_number(result, "passed"), failed = json_number(result, "failed");
    TableStyle style = screen_style(o);
    bool errors = false;

    for (size_t i = 0; i < json_object_array_length(files); i++) {
        struct json_object *file = json_object_array_get_idx(files, i);

        policy_print_lines(file, "errors");
        errors = errors || json_object_array_length(json_list(file, "errors")) > 0;
        show_failures(file);
    }
    printf("%s%" PRIi64 " passed, %" PRIi64 " failed%s%s\n",
            style.colours ? colour_on(errors || failed > 0 || passed == 0 ? COLOUR_RED : COLOUR_GREEN) : "",
            passed, failed,
            errors                         ? "; a file is not run while it or the policy has errors"
                    : passed + failed == 0 ? "; there was no case"
                                           : "",
            style.colours ? COLOUR_OFF : "");
    return 0;
}

int verb_policy_test(const Options *o, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *result = json_object_new_object();
    struct json_object *files = json_object_new_array();
    _cleanup_rehearsal_ Rehearsal *rehearsal = NULL;
    Sum sum = {};
    int r;

    if (!result || json_add(result, "files", files) < 0)
        return error_text_errno(error, -ENOMEM, "Cannot run the tests");
    r = policy_open(o, o->policies.items, &rehearsal, error);
    for (size_t i = 0; i < o->n_arguments && r >= 0; i++)
        r = test_file(rehearsal, o->arguments[i], files, &sum, error);
    if (r < 0)
        return r;
    if (json_add(result, "passed", json_object_new_int64(sum.passed)) < 0 ||
            json_add(result, "failed", json_object_new_int64(sum.failed)) < 0)
        return error_text_errno(error, -ENOMEM, "Cannot run the tests");
    r = policy_show(o, result, show_tests, error);
    if (r < 0)
        return r;
    /* A file that has lost its cases has not passed. */
    return sum.errors > 0 ? 2 : sum.failed > 0 || sum.passed == 0 ? 1 : 0;
}
