/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Builds JSON with json-c. The functions of json-c take ownership of a value only on success. These always
 * do, and they fail when the value is NULL because it could not be allocated. So an object is one chain of "<
 * 0 ||". All return 0 or -ENOMEM. */

#include <json-c/json.h>

#include "base/macro.h"

static inline void json_putp(struct json_object **o) {
    json_object_put(*o);
}
#define _cleanup_json_ _cleanup_(json_putp)

int json_add(struct json_object *o, const char *key, struct json_object *value);
/* The same without copying key and without looking for it: key is a literal that o does not have yet. */
int json_add_literal(struct json_object *o, const char *key, struct json_object *value);
/* Adds a string, or null when text is NULL. */
int json_add_string(struct json_object *o, const char *key, const char *text);
int json_append(struct json_object *array, struct json_object *value);
/* The text of o, which owns it; NULL on ENOMEM. json-c itself silently leaves out what it cannot allocate. */
const char *json_print(struct json_object *o, int flags);
