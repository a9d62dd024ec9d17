/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <unistd.h>

#include "base/str.h"
#include "client/calls.h"
#include "client/policy-door.h"

enum {
    COLUMN_RULE,
    COLUMN_EFFECT,
    COLUMN_WHO,
    COLUMN_WHAT,
    COLUMN_TERMS,
    COLUMN_PLACE,
    N_COLUMNS,
    COLUMN_LOADED_PLACE = COLUMN_TERMS, /* the daemon does not show terms */
};

static Colour effect_colour(const char *effect) {
    if (streq(effect, "allow"))
        return COLOUR_GREEN;
    return streq(effect, "deny") ? COLOUR_RED : COLOUR_YELLOW;
}

/* For people, not as JSON: "alice bob", "claims 1 devices 4", "16". */
static void add_value(StrBuf *b, struct json_object *value) {
    size_t n = 0;

    if (json_object_is_type(value, json_type_object)) {
        json_object_object_foreach(value, key, member) {
            strbuf_addf(b, "%s%s ", n++ > 0 ? " " : "", key);
            add_value(b, member);
        }
    } else if (json_object_is_type(value, json_type_array)) {
        for (; n < json_object_array_length(value); n++) {
            strbuf_add(b, n > 0 ? " " : "");
            add_value(b, json_object_array_get_idx(value, n));
        }
    } else
        strbuf_add(b, json_object_get_string(value) ? json_object_get_string(value) : "null");
}

/* "user alice, unit vm-*.service"; empty: the text for an empty object. Owned by the caller. */
static char *predicates_text(struct json_object *object, const char *empty) {
    _cleanup_strbuf_ StrBuf b = {};

    json_object_object_foreach(object, key, value) {
        strbuf_addf(&b, "%s%s ", b.length > 0 ? ", " : "", key);
        add_value(&b, value);
    }
    if (b.length == 0)
        strbuf_add(&b, empty);
    return strbuf_steal(&b);
}

/* All other keys of the rule: its terms. */
static char *terms_text(struct json_object *rule) {
    static const char *const elsewhere[] = {"rule", "file", "line", "effect", "who", "what", NULL};
    _cleanup_strbuf_ StrBuf b = {};

    json_object_object_foreach(rule, key, value) {
        bool shown = false;

        for (size_t i = 0; elsewhere[i]; i++)
            shown = shown || streq(elsewhere[i], key);
        if (shown)
            continue;
        strbuf_addf(&b, "%s%s ", b.length > 0 ? ", " : "", key);
        add_value(&b, value);
    }
    return strbuf_steal(&b);
}

static struct json_object *member(struct json_object *o, const char *key) {
    struct json_object *value = NULL;

    (void) json_object_object_get_ex(o, key, &value);
    return value;
}

static int add_rule(Table *t, struct json_object *rule) {
    _cleanup_free_ char *who = predicates_text(member(rule, "who"), "anybody");
    _cleanup_free_ char *what = predicates_text(member(rule, "what"), "any device");
    _cleanup_free_ char *terms = terms_text(rule), *place = NULL;
    const char *effect = json_text(rule, "effect");

    place = format_string("%s:%" PRIi64, json_text(rule, "file"), json_number(rule, "line"));
    if (!who || !what || !terms || !place)
        return -ENOMEM;
    table_add_row(t);
    table_set(t, COLUMN_RULE, json_text(rule, "rule"), COLOUR_NONE);
    table_set(t, COLUMN_EFFECT, effect, effect_colour(effect));
    table_set(t, COLUMN_WHO, who, COLOUR_NONE);
    table_set(t, COLUMN_WHAT, what, COLOUR_NONE);
    table_set(t, COLUMN_TERMS, terms, COLOUR_NONE);
    table_set(t, COLUMN_PLACE, place, COLOUR_GREY);
    return 0;
}

static void show_files(const Options *o, struct json_object *files) {
    for (size_t i = 0; i < json_object_array_length(files); i++) {
        struct json_object *file = json_object_array_get_idx(files, i);
        const char *state = json_text(file, "state"), *by = json_text(file, "hiddenBy");

        if (streq(state, "overridden"))
            show_fieldf(o, "Overridden", "%s, by %s", json_text(file, "file"), by);
        else if (streq(state, "masked"))
            show_fieldf(o, "Masked", "%s", json_text(file, "file"));
    }
}

static void show_functions(const Options *o, struct json_object *list) {
    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        struct json_object *f = json_object_array_get_idx(list, i);

        show_fieldf(o, "Virtual functions", "%" PRIi64 " of %s (%s)", json_number(f, "count"),
                json_text(f, "device"), json_text(f, "place"));
    }
}

static int show_policy(const Options *o, struct json_object *result) {
    static const TableColumn columns[N_COLUMNS] = {{"RULE"}, {"EFFECT"}, {"WHO", .drop = 1, .below = true},
            {"WHAT", .drop = 2, .below = true}, {"TERMS", .drop = 3, .below = true}, {"PLACE"}};
    struct json_object *rules = json_list(result, "rules"), *tags = json_list(result, "tags");
    _cleanup_(table_freep) Table *t = table_new(columns, N_COLUMNS);
    size_t n = json_object_array_length(rules);
    int r = t ? 0 : -ENOMEM;

    for (size_t i = 0; i < n && r >= 0; i++)
        r = add_rule(t, json_object_array_get_idx(rules, i));
    if (r >= 0 && n > 0)
        r = show_table(t, o);
    if (r < 0)
        return r;
    printf("%s%s\n", n > 0 ? "\n" : "",
            n > 0 ? "The first rule that matches decides. Where none matches, the request is denied."
                  : "There are no rules: everything is denied to everybody.");
    show_field(o, "No IOMMU", COLOUR_NONE, json_text(member(result, "host"), "noiommu"));
    show_functions(o, json_list(member(result, "host"), "virtualFunctions"));
    for (size_t i = 0; i < json_object_array_length(tags); i++) {
        struct json_object *tag = json_object_array_get_idx(tags, i);

        show_fieldf(o, "Tag", "%s (%s:%" PRIi64 ")", json_text(tag, "tag"), json_text(tag, "file"),
                json_number(tag, "line"));
    }
    show_files(o, json_list(result, "files"));
    return 0;
}

/* ---- The policy in force ---- */

static int add_loaded_rule(Table *t, struct json_object *rule) {
    _cleanup_strbuf_ StrBuf who = {}, what = {};
    const char *effect = json_text(rule, "effect"), *rest;
    _cleanup_free_ char *place =
            format_string("%s:%" PRIi64, json_text(rule, "file"), json_number(rule, "line"));

    json_object_object_foreach(member(rule, "predicates"), key, wanted) {
        StrBuf *b = startswith(key, "who.") ? &who : &what;

        rest = startswith(key, "who.") ?: startswith(key, "what.") ?: key;
        strbuf_addf(b, "%s%s %s", b->length > 0 ? ", " : "", rest, json_object_get_string(wanted));
    }
    if (!place || who.error < 0 || what.error < 0)
        return -ENOMEM;
    table_add_row(t);
    table_set(t, COLUMN_RULE, json_text(rule, "rule"), COLOUR_NONE);
    table_set(t, COLUMN_EFFECT, effect, effect_colour(effect));
    table_set(t, COLUMN_WHO, who.length > 0 ? who.text : "anybody", COLOUR_NONE);
    table_set(t, COLUMN_WHAT, what.length > 0 ? what.text : "any device", COLOUR_NONE);
    table_set(t, COLUMN_LOADED_PLACE, place, COLOUR_GREY);
    return 0;
}

static void show_loaded_state(const Options *o, struct json_object *result) {
    _cleanup_free_ char *since = show_time(json_number(result, "policyLoaded"));
    struct json_object *differ = member(result, "filesDiffer");

    if (json_number(result, "policyLoaded") > 0)
        show_fieldf(o, "Loaded", "%s (generation %" PRIi64 ")", since ? since : "?",
                json_number(result, "policyGeneration"));
    if (streq(json_text(result, "policyState"), "stale"))
        puts("The files have errors now, so this policy stays in force. 'vfioctl policy check' shows them.");
    else if (streq(json_text(result, "policyState"), "broken"))
        puts("The files have errors, so everything is denied. 'vfioctl policy check' shows them.");
    else if (differ && json_object_get_boolean(differ))
        puts("The files have changed since. 'vfioctl policy check' checks them, 'vfioctl reload' loads "
             "them.");
}

static int show_loaded(const Options *o, struct json_object *result) {
    static const TableColumn columns[] = {{"RULE"}, {"EFFECT"}, {"WHO", .drop = 1, .below = true},
            {"WHAT", .drop = 2, .below = true}, {"PLACE"}};
    struct json_object *rules = json_list(result, "rules");
    _cleanup_(table_freep) Table *t = table_new(columns, ELEMENTSOF(columns));
    int64_t all = json_number(result, "policyRules");
    size_t n = json_object_array_length(rules);
    int r = t ? 0 : -ENOMEM;

    for (size_t i = 0; i < n && r >= 0; i++)
        r = add_loaded_rule(t, json_object_array_get_idx(rules, i));
    if (r >= 0 && n > 0)
        r = show_table(t, o);
    if (r < 0)
        return r;
    if (n > 0)
        puts("");
    if (all == 0)
        puts("There are no rules: everything is denied to everybody.");
    else if ((int64_t) n < all)
        printf("%" PRIi64 " rule%s not shown: %s.\n", all - (int64_t) n,
                all - (int64_t) n == 1 ? " is" : "s are",
                geteuid() == 0 ? "vfiod shows only the first"
                               : "vfiod shows only root those that do not concern you");
    show_loaded_state(o, result);
    return 0;
}

/* Only root can read the digest and files that others may not read. */
static struct json_object *files_differ(const Options *o, const char *digest) {
    _cleanup_json_ struct json_object *check = NULL;
    _cleanup_rehearsal_ Rehearsal *rehearsal = NULL;
    char *problem = NULL;

    if (!*digest || policy_open(o, NULL, &rehearsal, NULL) < 0)
        return NULL;
    if (rehearsal_check(rehearsal, &check, &problem) < 0) {
        free(problem);
        return NULL;
    }
    return json_object_new_boolean(!streq(json_text(check, "digest"), digest));
}

static int make_loaded(const Options *o, struct json_object *manager, struct json_object *result) {
    static const char *const keys[] = {
            "rules", "policyState", "policyRules", "policyGeneration", "policyLoaded"};

    for (size_t i = 0; i < ELEMENTSOF(keys); i++)
        if (json_add(result, keys[i], json_object_get(member(manager, keys[i]))) < 0)
            return -ENOMEM;
    return json_object_object_add(
                   result, "filesDiffer", files_differ(o, json_text(manager, "policyDigest"))) < 0
            ? -ENOMEM
            : 0;
}

static int show_policy_in_force(const Options *o, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *result = json_object_new_object();
    _cleanup_object_ Object manager = OBJECT_NULL;
    _cleanup_connection_ VfiodConnection *c = NULL;
    int r;

    if (o->n_arguments > 0 || o->host)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "--loaded shows the policy of the daemon: it takes neither a file nor --host.");
    r = vfiod_connection_new(&c, error);
    if (r >= 0)
        r = call_get_manager(c, &manager, error);
    if (r >= 0)
        r = call_add_property(c, &manager, "rules", error);
    if (r < 0)
        return r;
    if (!result || make_loaded(o, manager.properties, result) < 0)
        return error_text_errno(error, ENOMEM, "Cannot show the policy");
    return policy_show(o, result, show_loaded, error);
}

int verb_policy_show(const Options *o, VfiodErrorText *error) {
    _cleanup_rehearsal_ Rehearsal *rehearsal = NULL;
    _cleanup_json_ struct json_object *result = NULL;
    char *problem = NULL;
    int r;

    if (o->loaded)
        return show_policy_in_force(o, error);
    r = policy_open(o, (const char *const *) o->arguments, &rehearsal, error);
    if (r < 0)
        return r;
    r = rehearsal_show(rehearsal, &result, &problem);
    return r < 0 ? policy_failed(r, problem, error) : policy_show(o, result, show_policy, error);
}
