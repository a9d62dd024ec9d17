/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Checks JSON that people write against tables of keys, and collects everything that is wrong with it, each
 * with its place. What is the same for all keys (unknown, missing, wrong type, empty list, the same element
 * twice) is said here once; the function of a key only sees values of the right type. */

#include "base/json-text.h"

#define PROBLEMS_MAX 64U

/* What is wrong so far. An allocation that failed sticks, so that nothing is ever loaded in part. */
typedef struct Problems {
    char *texts[PROBLEMS_MAX]; /* owned; "FILE:LINE:COL: error: …" */
    size_t n;                  /* also those that are only counted */
    char more[48];             /* the count of these */
    bool out_of_memory;
    const char *file; /* borrowed, printable; what problems_report() puts in front */
    const char *kind; /* borrowed; "warning"; NULL: "error" */
} Problems;

void problems_done(Problems *p);
/* Takes ownership of text; NULL stands for ENOMEM. */
void problems_add(Problems *p, char *text);
/* What comes from the file and is quoted in the message must have gone through problems_show(). */
void problems_report(Problems *p, unsigned line, unsigned column, const char *format, ...) _printf_(4, 5);
#define problems_report_value(p, value, ...) problems_report(p, (value)->line, (value)->column, __VA_ARGS__)
/* Hostile text for a message: sanitized and cut. Owned by the caller; NULL after ENOMEM, when
 * problems_report() does not look at its arguments. */
char *problems_show(Problems *p, const char *s);
/* words: what could have been meant, ended by NULL. what: "effect". */
void problems_report_unknown_word(
        Problems *p, const JsonNode *value, const char *what, const char *const *words);
/* At most PROBLEMS_MAX and then the count of the others. */
size_t problems_count(const Problems *p);
const char *problems_get(const Problems *p, size_t i);

typedef struct Key {
    const char *name;
    unsigned types;       /* mask of TYPE() */
    const char *expected; /* these types in words */
    bool required;
    bool list; /* or a list of values of these types: take is called for each */
    void (*take)(void *userdata, const JsonNode *value); /* NULL: only the type matters */
} Key;

#define TYPE(t) (1U << JSON_##t)
#define SCHEMA_KEYS_MAX 32U

/* Is it of the types of the key? The elements of a list each, and none twice. */
void schema_take_value(Problems *problems, const Key *key, const JsonNode *value, void *userdata);
/* Looks at every member of object. where: "a rule". */
void schema_take_keys(Problems *problems, const JsonNode *object, const char *where, const Key *keys,
        size_t n_keys, void *userdata);
const JsonNode *schema_find_member(const JsonNode *object, const char *key);
/* "an object", "null": for messages. */
const char *schema_describe_type(JsonType type);
