/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>

#include "base/str.h"
#include "client/policy-door.h"

enum {
    COLUMN_DEVICE,
    COLUMN_SUBJECT,
    COLUMN_OLD,
    COLUMN_NEW,
    N_COLUMNS
};

static struct json_object *member(struct json_object *o, const char *key) {
    struct json_object *value = NULL;

    (void) json_object_object_get_ex(o, key, &value);
    return value;
}

/* "allow by alice-edu (/etc/…:7)". Owned by the caller. */
static char *verdict_text(struct json_object *verdict) {
    const char *rule = json_text(verdict, "rule");

    return format_string("%s by %s", json_text(verdict, "effect"), *rule ? rule : "the default");
}

/* The operator must look at what allows more than before. */
static Colour change_colour(struct json_object *change) {
    const char *before = json_text(member(change, "old"), "effect");
    const char *after = json_text(member(change, "new"), "effect");

    if (streq(before, after))
        return COLOUR_YELLOW;
    return streq(after, "deny") ? COLOUR_RED : COLOUR_GREEN;
}

static int add_change(Table *t, struct json_object *change) {
    _cleanup_free_ char *before = verdict_text(member(change, "old")), *after = NULL, *terms = NULL;
    struct json_object *list = json_list(change, "terms");

    after = verdict_text(member(change, "new"));
    if (!before || !after)
        return -ENOMEM;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        char *longer = format_string("%s%s%s", terms ? terms : "", terms ? "; " : "",
                json_object_get_string(json_object_array_get_idx(list, i)));

        free(terms);
        terms = longer;
        if (!terms)
            return -ENOMEM;
    }
    table_add_row(t);
    table_set(t, COLUMN_DEVICE, json_text(change, "device"), COLOUR_NONE);
    table_set(t, COLUMN_SUBJECT, json_text(change, "subject"), COLOUR_NONE);
    table_set(t, COLUMN_OLD, before, COLOUR_NONE);
    if (terms) {
        char *longer = format_string("%s, %s", after, terms);

        free(after);
        after = longer;
    }
    table_set(t, COLUMN_NEW, after, change_colour(change));
    return after ? 0 : -ENOMEM;
}

static int show_diff(const Options *o, struct json_object *result) {
    static const TableColumn columns[N_COLUMNS] = {
            {"DEVICE"}, {"SUBJECT", .drop = 1, .below = true}, {"OLD"}, {"NEW"}};
    struct json_object *changed = json_list(result, "changed");
    _cleanup_(table_freep) Table *t = table_new(columns, N_COLUMNS);
    size_t n = json_object_array_length(changed);
    int64_t left_out = json_number(result, "subjectsLeftOut");
    int r = t ? 0 : -ENOMEM;

    for (size_t i = 0; i < n && r >= 0; i++)
        r = add_change(t, json_object_array_get_idx(changed, i));
    if (r >= 0 && n > 0)
        r = show_table(t, o);
    if (r < 0)
        return r;
    printf("%s%zu of %" PRIi64 " decisions change, for %" PRIi64 " subjects\n", n > 0 ? "\n" : "", n,
            json_number(result, "decisions"), json_number(result, "subjects"));
    if (left_out > 0)
        printf("%" PRIi64 " more subjects were left out\n", left_out);
    return 0;
}

/* "-" is the policy that vfiod reads, which is in several places. */
static const char *named(const char *argument) {
    return streq(argument, "-") ? NULL : argument;
}

int verb_policy_diff(const Options *o, VfiodErrorText *error) {
    const char *const before[] = {named(o->arguments[0]), NULL},
                      *const after[] = {named(o->arguments[1]), NULL};
    _cleanup_rehearsal_ Rehearsal *old_rehearsal = NULL, *new_rehearsal = NULL;
    _cleanup_json_ struct json_object *result = NULL;
    char *problem = NULL;
    int r;

    if (o->host && streq(o->host, "-"))
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--host=-: diff reads the host twice; record it into a file.");
    r = policy_open(o, before, &old_rehearsal, error);
    if (r >= 0)
        r = policy_open(o, after, &new_rehearsal, error);
    if (r < 0)
        return r;
    r = rehearsal_diff(old_rehearsal, new_rehearsal, o->tests.items, !o->json, &result, &problem);
    if (r < 0)
        return policy_failed(r, problem, error);
    r = policy_show(o, result, show_diff, error);
    if (r < 0)
        return r;
    return json_object_array_length(json_list(result, "changed")) > 0 ? 1 : 0;
}
