/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/json-build.h"

#include <errno.h>

static int add(struct json_object *o, const char *key, struct json_object *value, unsigned options) {
    if (!value)
        return -ENOMEM;
    if (json_object_object_add_ex(o, key, value, options) >= 0)
        return 0;
    json_object_put(value);
    return -ENOMEM;
}

int json_add(struct json_object *o, const char *key, struct json_object *value) {
    return add(o, key, value, /* options= */ 0);
}

int json_add_literal(struct json_object *o, const char *key, struct json_object *value) {
    return add(o, key, value, JSON_C_OBJECT_ADD_KEY_IS_NEW | JSON_C_OBJECT_KEY_IS_CONSTANT);
}

int json_add_string(struct json_object *o, const char *key, const char *text) {
    if (text)
        return json_add(o, key, json_object_new_string(text));
    return json_object_object_add(o, key, NULL) < 0 ? -ENOMEM : 0;
}

int json_append(struct json_object *array, struct json_object *value) {
    if (!value)
        return -ENOMEM;
    if (json_object_array_add(array, value) >= 0)
        return 0;
    json_object_put(value);
    return -ENOMEM;
}

/* Is every bracket closed, the outermost one with the last character? */
static bool is_whole(const char *text) {
    bool in_string = false;
    unsigned depth = 0;

    for (const char *p = text; *p; p++) {
        if (in_string && *p == '\\' && p[1])
            p++;
        else if (*p == '"')
            in_string = !in_string;
        else if (!in_string && (*p == '{' || *p == '['))
            depth++;
        else if (!in_string && (*p == '}' || *p == ']') && (depth == 0 || --depth == 0))
            return p[1] == '\0';
    }
    return false;
}

const char *json_print(struct json_object *o, int flags) {
    const char *text = json_object_to_json_string_ext(o, flags);

    return text && is_whole(text) ? text : NULL;
}
