/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Writes JSON as text, without a tree of objects in between. Failures stick in the buffer, as with StrBuf.
 * The writer knows where commas are required, and nothing else: what is opened must be closed. */

#include "base/str.h"

typedef struct JsonWriter {
    StrBuf text; /* owned */
    bool comma;  /* before the next member or element */
} JsonWriter;

/* '{' or '['; the key of a member, NULL in an array. */
void json_write_open(JsonWriter *w, const char *key, char bracket);
void json_write_close(JsonWriter *w, char bracket);
void json_write_key(JsonWriter *w, const char *key);
/* Values; a key comes first in an object. NULL is null. */
void json_write_text(JsonWriter *w, const char *text);
void json_write_number(JsonWriter *w, int64_t number);
void json_write_unsigned(JsonWriter *w, uint64_t number);
void json_write_boolean(JsonWriter *w, bool value);
/* Something that is JSON already. */
void json_write_raw(JsonWriter *w, const char *json);
