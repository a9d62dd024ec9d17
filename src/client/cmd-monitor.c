/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One line for each thing that changes. */

#include <time.h>

#include "base/clock.h"
#include "base/str.h"
#include "client/follow.h"
#include "client/show.h"

static void print_property(const char *key, struct json_object *value) {
    _cleanup_free_ char *safe = NULL, *text = NULL;
    bool number = json_object_is_type(value, json_type_int);

    if (number && streq(key, "uid"))
        text = show_owner(json_object_get_int64(value));
    else if (number && is_time_member(key) && json_object_get_int64(value) > 0)
        text = show_time(json_object_get_int64(value));
    else
        safe = sanitize(value ? json_object_get_string(value) : "-", 256);
    if (text)
        safe = sanitize(text, 256);
    printf(" %s=%s", number && streq(key, "uid") ? "owner" : key, safe && *safe ? safe : "-");
}

/* Prints key=value for each property, or only for those in the list. */
static void print_properties(struct json_object *properties, const char *const *only) {
    json_object_object_foreach(properties, key, value) {
        bool wanted = !only;

        for (size_t i = 0; only && only[i]; i++)
            wanted = wanted || streq(only[i], key);
        if (wanted)
            print_property(key, value);
    }
}

static int print_text(const char *event, ObjectKind kind, const char *name, struct json_object *properties) {
    static const char *const announced[_OBJECT_KIND_MAX][6] = {
            [OBJECT_MANAGER] = {"version", "policyState", "devices", "claims"},
            [OBJECT_DEVICE] = {"driver", "group", "state"},
            [OBJECT_GROUP] = {"devices", "state"},
            [OBJECT_CLAIM] = {"state", "devices", "backend", "uid", "command"},
    };
    _cleanup_free_ char *safe = sanitize(name, 256);
    _cleanup_free_ char *when = show_time((int64_t) clock_usec(CLOCK_REALTIME));

    printf("%s %s", when ? when : "-", event);
    if (kind >= 0)
        printf(" %s", object_kind_to_string(kind));
    if (safe && *safe)
        printf(" %s", safe);
    if (properties)
        print_properties(properties, streq(event, "changed") ? NULL : announced[kind]);
    puts("");
    return fflush(stdout) == 0 ? 0 : -errno;
}

/* The name as in --json: a number for a group. */
static struct json_object *json_name(ObjectKind kind, const char *name) {
    uint64_t number;

    if (kind == OBJECT_GROUP && parse_unsigned(name, 10, UINT32_MAX, &number) >= 0)
        return json_object_new_int64((int64_t) number);
    return json_object_new_string(name);
}

static int print_json(const char *event, ObjectKind kind, const char *name, struct json_object *properties) {
    _cleanup_json_ struct json_object *line = json_object_new_object();

    if (!line || json_add(line, "timestamp", json_object_new_uint64(clock_usec(CLOCK_REALTIME))) < 0 ||
            json_add(line, "event", json_object_new_string(event)) < 0)
        return -ENOMEM;
    if (kind >= 0 && json_add(line, "kind", json_object_new_string(object_kind_to_string(kind))) < 0)
        return -ENOMEM;
    if (name && json_add(line, "name", json_name(kind, name)) < 0)
        return -ENOMEM;
    if (properties && json_add(line, "properties", json_object_get(properties)) < 0)
        return -ENOMEM;
    return show_json(stdout, line, /* pretty= */ false);
}

static int report(void *userdata, const char *event, ObjectKind kind, const char *name,
        struct json_object *properties) {
    const Options *o = userdata;

    if (o->json)
        return print_json(event, kind, name, properties);
    return print_text(event, kind, name ? name : "", properties);
}

int verb_monitor(const Options *o, VfiodErrorText *error) {
    const Follower follower = {.report = report, .userdata = (void *) o};

    return follow(&follower, error);
}
