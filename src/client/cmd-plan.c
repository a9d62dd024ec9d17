/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>

#include "base/str.h"
#include "client/calls.h"
#include "client/pager.h"
#include "client/show-explanation.h"

/* What happens to the device before it is handed out. */
static const char *claim_action(const char *grant, const char *first) {
    bool bind = streq(first, "bind"), create = streq(first, "create");

    if (streq(grant, "node"))
        return create ? "create, open node" : bind ? "bind, open node" : "open node";
    if (streq(grant, "none"))
        return create ? "create, reserve" : bind ? "bind, reserve" : "reserve";
    return create ? "create, hand out" : bind ? "bind, hand out" : "hand out";
}

static bool is_made(struct json_object *member) {
    return *json_text(member, "mediatedType") != '\0';
}

static const char *member_action(struct json_object *member, const char *grant) {
    const char *disposition = json_text(member, "disposition");

    if (streq(disposition, "claim"))
        return claim_action(grant, is_made(member) ? "create" : json_flag(member, "bind") ? "bind" : "");
    if (streq(disposition, "park"))
        return json_flag(member, "bind") ? "bind, park" : "park";
    if (json_flag(member, "kept"))
        return "keep without driver";
    return streq(disposition, "none-needed") ? "leave alone" : disposition;
}

static const char *member_reset(struct json_object *member) {
    if (!streq(json_text(member, "disposition"), "claim"))
        return "";
    if (startswith(json_text(member, "name"), "vdpa:")) /* reset whenever it is opened or closed */
        return "by kernel";
    if (json_flag(member, "native"))
        return "by driver";
    if (is_made(member)) /* nobody had it before, and nobody gets it later */
        return "new";
    return json_flag(member, "reset") ? "yes" : "NO";
}

static void add_member(Table *t, struct json_object *member, const char *grant) {
    const char *reset = member_reset(member);
    int64_t number = json_number(member, "group");
    char group[24] = "";

    if (number >= 0)
        snprintf(group, sizeof(group), "%" PRIi64, number);
    table_add_row(t);
    table_set(t, 0, json_text(member, "name"), COLOUR_NONE);
    table_set(t, 1, group, COLOUR_NONE);
    table_set(t, 2, member_action(member, grant), COLOUR_NONE);
    table_set(t, 3, json_text(member, "originalDriver"), COLOUR_NONE);
    table_set(t, 4, json_flag(member, "bind") ? json_text(member, "targetDriver") : "", COLOUR_NONE);
    table_set(t, 5, reset, streq(reset, "NO") ? COLOUR_YELLOW : COLOUR_NONE);
}

static void show_memlock(const Options *o, int64_t memlock) {
    char size[FORMAT_SIZE_MAX];

    if (memlock > 0)
        show_fieldf(o, "Memlock", "%s (raises the locked-memory limit of the caller)",
                format_size((uint64_t) memlock, size));
}

/* "mac=52:54:00:12:34:56 vlan=12", in the order of the document. */
static char *network_text(struct json_object *network) {
    _cleanup_strbuf_ StrBuf b = {};

    json_object_object_foreach(network, key, value) {
        bool is_switch = json_object_is_type(value, json_type_boolean);

        strbuf_addf(&b, "%s%s=%s", b.length > 0 ? "," : "", key,
                !is_switch                               ? json_object_get_string(value)
                        : json_object_get_boolean(value) ? "on"
                                                         : "off");
    }
    return strbuf_steal(&b);
}

static void show_each(const Options *o, struct json_object *members) {
    for (size_t i = 0; members && i < json_object_array_length(members); i++) {
        struct json_object *member = json_object_array_get_idx(members, i),
                           *network = json_member(member, "network");
        _cleanup_free_ char *text =
                json_object_is_type(network, json_type_object) ? network_text(network) : NULL;

        if (text)
            show_fieldf(o, "Network", "%s (%s)", text, json_text(member, "name"));
        if (*json_text(member, "scrub"))
            show_fieldf(o, "Scrub", "%s runs when the claim ends (%s)", json_text(member, "scrub"),
                    json_text(member, "name"));
        if (json_flag(member, "needsVfToken"))
            show_fieldf(o, "VF token", "comes with the claim (%s)", json_text(member, "name"));
    }
}

/* A line for each device. */
static void show_lines(const Options *o, const char *label, const char *lines) {
    for (size_t n; *lines; lines += n + (lines[n] == '\n')) {
        n = strcspn(lines, "\n");
        show_fieldf(o, label, "%.*s", (int) n, lines);
    }
}

static int show_plan(const Options *o, struct json_object *plan) {
    const char *tether = json_text(plan, "tether");
    static const TableColumn columns[] = {
            {"DEVICE"}, {"GROUP", .drop = 1}, {"ACTION"}, {"DRIVER NOW"}, {"DRIVER THEN"}, {"RESET"}};
    struct json_object *members = json_list(plan, "members");
    _cleanup_(table_freep) Table *t = table_new(columns, ELEMENTSOF(columns));
    _cleanup_free_ char *groups = json_list_text(plan, "groups");
    int r;

    if (!t)
        return -ENOMEM;
    for (size_t i = 0; members && i < json_object_array_length(members); i++)
        add_member(t, json_object_array_get_idx(members, i), json_text(plan, "grant"));
    r = show_table(t, o);
    if (r < 0)
        return r;
    puts("");
    show_field(o, "Backend", COLOUR_NONE, json_text(plan, "backend"));
    show_field(o, "Grant", COLOUR_NONE, json_text(plan, "grant"));
    if (!streq(tether, "lifeline"))
        show_field(o, "Tether", COLOUR_NONE, tether);
    show_made(o, plan);
    show_memlock(o, json_number(plan, "memlock"));
    show_each(o, members);
    show_lines(o, "Driver", json_text(plan, "drivers"));
    show_lines(o, "Reset", json_text(plan, "resets"));
    show_field(o, "Companions", COLOUR_YELLOW, json_text(plan, "companions"));
    show_field(o, "Exposes", COLOUR_NONE, json_text(plan, "exposes"));
    show_field(o, "Allowed by", COLOUR_NONE, json_text(plan, "rule"));
    if (streq(json_text(plan, "backend"), "noiommu")) {
        show_field(o, "No IOMMU", COLOUR_RED,
                "the program that has the device can read and write all memory of this host");
        show_field(o, "Accepted for", COLOUR_NONE, json_text(plan, "noiommuReason"));
    }
    if (json_flag(plan, "ask"))
        show_field(o, "Asks", COLOUR_NONE, "requires authentication");
    if (groups && *groups)
        show_fieldf(o, "Groups", "%s (locked for everyone else during the claim)", groups);
    return 0;
}

/* One document with the error and all further obstacles. */
static int show_refusal(const Options *o, const VfiodErrorText *error, struct json_object *obstacles) {
    _cleanup_json_ struct json_object *shown = json_object_new_object();

    if (!shown || json_add(shown, "error", json_object_new_string(error->name)) < 0 ||
            json_add(shown, "message", json_object_new_string(error->message)) < 0 ||
            json_add(shown, "obstacles", json_object_get(obstacles)) < 0)
        return -ENOMEM;
    return show_json(stdout, shown, /* pretty= */ true);
}

/* An error has one cause, an explanation has all. Best effort: otherwise only the error is shown. With --json
 * this has shown everything. */
static int explain_refusal(
        const Options *o, const VfiodRequest *request, const VfiodErrorText *error, int r) {
    _cleanup_json_ struct json_object *explanation = NULL;
    _cleanup_free_ char *text = NULL;
    struct json_object *obstacles;

    if (vfiod_explain(request, &text, NULL) < 0)
        return r;
    explanation = json_tokener_parse(text);
    obstacles =
            json_object_is_type(explanation, json_type_object) ? json_list(explanation, "obstacles") : NULL;
    if (!obstacles || json_object_array_length(obstacles) == 0)
        return r;
    if (o->json)
        return show_refusal(o, error, obstacles) < 0 ? r : exit_status_of(error->name);
    show_obstacles(o, obstacles);
    return r;
}

int verb_plan(const Options *o, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *plan = NULL;
    VfiodRequest request = options_request(o, (const char *const *) o->arguments, o->n_arguments);
    int r;

    r = call_plan(&request, &plan, error);
    if (r < 0)
        return explain_refusal(o, &request, error, r);
    pager_open(o);
    r = o->json ? show_json(stdout, plan, /* pretty= */ true) : show_plan(o, plan);
    return r < 0 ? error_text_errno(error, r, "Cannot show the plan") : 0;
}
