/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/json-write.h"

static void begin(JsonWriter *w) {
    if (w->comma)
        strbuf_add_byte(&w->text, ',');
    w->comma = true;
}

void json_write_key(JsonWriter *w, const char *key) {
    begin(w);
    strbuf_add_json(&w->text, key);
    strbuf_add_byte(&w->text, ':');
    w->comma = false;
}

void json_write_open(JsonWriter *w, const char *key, char bracket) {
    if (key)
        json_write_key(w, key);
    begin(w);
    strbuf_add_byte(&w->text, bracket);
    w->comma = false;
}

void json_write_close(JsonWriter *w, char bracket) {
    strbuf_add_byte(&w->text, bracket);
    w->comma = true;
}

void json_write_text(JsonWriter *w, const char *text) {
    begin(w);
    if (text)
        strbuf_add_json(&w->text, text);
    else
        strbuf_add(&w->text, "null");
}

void json_write_number(JsonWriter *w, int64_t number) {
    begin(w);
    strbuf_add_number(&w->text, number);
}

void json_write_unsigned(JsonWriter *w, uint64_t number) {
    begin(w);
    if (number <= INT64_MAX)
        strbuf_add_number(&w->text, (int64_t) number);
    else
        strbuf_addf(&w->text, "%llu", (unsigned long long) number);
}

void json_write_boolean(JsonWriter *w, bool value) {
    begin(w);
    strbuf_add(&w->text, value ? "true" : "false");
}

void json_write_raw(JsonWriter *w, const char *json) {
    begin(w);
    strbuf_add(&w->text, json);
}
