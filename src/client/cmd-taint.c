/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/str.h"
#include "client/calls.h"
#include "client/pager.h"
#include "client/show.h"

#define ERROR_NAME_TAINTED "HostTainted" /* the exit status is that of this error if there are taints */

static bool any_weakens(struct json_object *taints) {
    for (size_t i = 0; i < json_object_array_length(taints); i++)
        if (json_flag(json_object_array_get_idx(taints, i), "weakens"))
            return true;
    return false;
}

static void add_row(Table *t, struct json_object *taint) {
    _cleanup_free_ char *since = show_time(json_number(taint, "since")), *owner = NULL;
    bool weakens = json_flag(taint, "weakens");
    const char *reason = json_text(taint, "reason");

    if (json_object_object_get_ex(taint, "uid", NULL))
        owner = show_owner(json_number(taint, "uid"));
    table_add_row(t);
    table_set(t, 0, weakens ? "yes" : "no", weakens ? COLOUR_RED : COLOUR_GREY);
    table_set(t, 1, since, COLOUR_NONE);
    table_set(t, 2, json_text(taint, "kind"), COLOUR_NONE);
    table_set(t, 3, json_text(taint, "what"), COLOUR_NONE);
    table_set(t, 4, owner, COLOUR_NONE);
    table_set(t, 5, json_text(taint, "device"), COLOUR_NONE);
    table_set(t, 6, json_text(taint, "rule"), COLOUR_NONE);
    table_set(t, 7, reason, COLOUR_NONE);
}

static const TableColumn columns[] = {{"WEAKENS"}, {"SINCE"}, {"KIND"}, {"WHAT", .drop = 1, .below = true},
        {"WHO", .drop = 2, .below = true}, {"DEVICE", .drop = 3, .below = true},
        {"RULE", .drop = 4, .below = true}, {"REASON", .drop = 5, .below = true}};

static int show_taints(const Options *o, struct json_object *taints, VfiodErrorText *error) {
    _cleanup_(table_freep) Table *t = table_new(columns, ELEMENTSOF(columns));

    if (!t)
        return error_text_errno(error, ENOMEM, "Cannot show the taints");
    for (size_t i = 0; i < json_object_array_length(taints); i++)
        add_row(t, json_object_array_get_idx(taints, i));
    if (json_object_array_length(taints) == 0) {
        puts("The host is untainted.");
        return 0;
    }
    return show_sorted_table(t, o, error);
}

int verb_taint(const Options *o, VfiodErrorText *error) {
    _cleanup_object_ Object manager = OBJECT_NULL;
    _cleanup_connection_ VfiodConnection *c = NULL;
    struct json_object *taints;
    int r;

    r = check_sort(o, columns, ELEMENTSOF(columns), error);
    if (r >= 0)
        r = vfiod_connection_new(&c, error);
    if (r < 0)
        return r;
    r = call_get_manager(c, &manager, error);
    if (r < 0)
        return r;
    taints = json_list(manager.properties, "taints");
    if (!taints)
        return error_text_errno(error, EOPNOTSUPP, "This version of vfiod has no ledger of taints");
    pager_open(o);
    if (o->json) {
        r = show_json(stdout, taints, /* pretty= */ true);
        if (r < 0)
            return error_text_errno(error, r, "Cannot show the taints");
    } else {
        r = show_taints(o, taints, error);
        if (r < 0)
            return r;
    }
    return any_weakens(taints) ? exit_status_of(ERROR_NAME_TAINTED) : 0;
}
