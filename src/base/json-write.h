/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Writes JSON as text, without a tree of objects in between. The buffer remembers a failure, as StrBuf does.
 * The writer adds the commas; the caller closes what it opens. */

#include "base/str.h"

typedef struct JsonWriter {
    StrBuf text; /* owned */
    bool comma;  /* one is needed before the next member or element */
} JsonWriter;

/* bracket is '{' or '['. key is that of the member, NULL in an array. */
void json_write_open(JsonWriter *w, const char *key, char bracket);
void json_write_close(JsonWriter *w, char bracket);
void json_write_key(JsonWriter *w, const char *key);
/* Values. In an object a key is written first. NULL becomes null. */
void json_write_text(JsonWriter *w, const char *text);
void json_write_number(JsonWriter *w, int64_t number);
void json_write_unsigned(JsonWriter *w, uint64_t number);
void json_write_boolean(JsonWriter *w, bool value);
/* A value that is JSON already. */
void json_write_raw(JsonWriter *w, const char *json);
