/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Putting JSON together. json-c's functions take a value over only when they succeed; these do in any case,
 * and a value that is NULL (there was no memory for it) fails: so a whole object is one chain of "< 0 ||".
 * All return 0 or -ENOMEM. */

#include <json-c/json.h>

#include "base/macro.h"

static inline void json_putp(struct json_object **o) {
    json_object_put(*o);
}
#define _cleanup_json_ _cleanup_(json_putp)

int json_add(struct json_object *o, const char *key, struct json_object *value);
/* The same without copying and looking for the key: a literal that o does not have yet. */
int json_add_literal(struct json_object *o, const char *key, struct json_object *value);
/* A string, or null for NULL. */
int json_add_string(struct json_object *o, const char *key, const char *text);
int json_append(struct json_object *array, struct json_object *value);
/* The text of o, which owns it; NULL on ENOMEM. json-c leaves out what it has no memory for and says nothing.
 */
const char *json_print(struct json_object *o, int flags);
