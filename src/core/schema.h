/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Checks JSON that people write against tables of keys, and collects all errors with their places. What is
 * the same for all keys (unknown, missing, wrong type, empty list, repeated element) is checked here. The
 * function of a key only gets values of the right type. */

#include "base/json-text.h"

#define PROBLEMS_MAX 64U

/* The problems so far. A failed allocation is remembered, so that nothing is loaded in part. */
typedef struct Problems {
    char *texts[PROBLEMS_MAX]; /* owned; "FILE:LINE:COL: error: …" */
    size_t n;                  /* includes those that are only counted */
    char more[48];             /* the text with their count */
    bool out_of_memory;
    const char *file; /* borrowed, printable; before each problem of problems_report() */
    const char *kind; /* borrowed; "warning"; NULL: "error" */
} Problems;

void problems_done(Problems *p);
/* Takes ownership of text. NULL means ENOMEM. */
void problems_add(Problems *p, char *text);
/* Adds a problem. Quoted text from the file must have gone through problems_show(). */
void problems_report(Problems *p, unsigned line, unsigned column, const char *format, ...) _printf_(4, 5);
#define problems_report_value(p, value, ...) problems_report(p, (value)->line, (value)->column, __VA_ARGS__)
/* Hostile text for a message: sanitized and cut. Owned by the caller. NULL on ENOMEM, after which
 * problems_report() ignores its arguments. */
char *problems_show(Problems *p, const char *s);
/* words: the possible words, ended by NULL. what: "effect". */
void problems_report_unknown_word(
        Problems *p, const JsonNode *value, const char *what, const char *const *words);
/* At most PROBLEMS_MAX, and one for the count of the others. */
size_t problems_count(const Problems *p);
const char *problems_get(const Problems *p, size_t i);

typedef struct Key {
    const char *name;
    unsigned types;       /* mask of TYPE() */
    const char *expected; /* these types in words */
    bool required;
    bool list; /* a list of such values is accepted too: take is called for each */
    void (*take)(void *userdata, const JsonNode *value); /* NULL: only the type matters */
} Key;

#define TYPE(t) (1U << JSON_##t)
#define SCHEMA_KEYS_MAX 32U

/* Checks the value, or each element of a list, against the types of the key. No element may be repeated. */
void schema_take_value(Problems *problems, const Key *key, const JsonNode *value, void *userdata);
/* Checks and takes every member of object. where: "a rule". */
void schema_take_keys(Problems *problems, const JsonNode *object, const char *where, const Key *keys,
        size_t n_keys, void *userdata);
const JsonNode *schema_find_member(const JsonNode *object, const char *key);
/* "an object", "null", for messages. */
const char *schema_describe_type(JsonType type);
