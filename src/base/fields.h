/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* JSON documents by table. A Field gives a member's name, its type and its place in a C struct; the same
 * table reads and writes it. Reading is strict about types, ranges and lengths. A problem is one sentence
 * with the path of the member and its line. Writing appends to a text, without a tree in between.
 *
 * An absent optional field keeps the value that the target had before, so the caller fills in the defaults
 * first. */

#include "base/json-text.h"
#include "base/str.h"

typedef struct FieldTable FieldTable;

typedef struct FieldReader {
    void *userdata;   /* for the functions of custom fields */
    const char *name; /* of the document in problems: "the snapshot" */
    char path[256];   /* "devices[3].driver" */
    char *problem;    /* owned by the caller after a failure with -EBADMSG */
} FieldReader;

/* Sets r->problem, which begins with the path of value. Returns -EBADMSG or -ENOMEM. */
int fields_fail(FieldReader *r, const JsonNode *value, const char *format, ...) _printf_(3, 4);

/* For custom fields that read members and elements themselves. fields_leave() takes the returned length and
 * restores the path. */
size_t fields_enter_member(FieldReader *r, const char *key);
size_t fields_enter_element(FieldReader *r, size_t index);
static inline void fields_leave(FieldReader *r, size_t depth) {
    r->path[depth] = '\0';
}
int fields_expect(FieldReader *r, const JsonNode *value, JsonType type);

typedef enum FieldKind {
    FIELD_IGNORED, /* optional, of this type (JSON_NULL: any); not stored */
    FIELD_BOOLEAN,
    FIELD_NUMBER, /* an integer of size bytes, from min to max */
    FIELD_TEXT,   /* char[size] */
    FIELD_STRING, /* char *, owned; NULL for "" */
    FIELD_WORD,   /* an int, one of words */
    FIELD_WORDS,  /* an array of words; bits of an unsigned */
    FIELD_OBJECT, /* a struct inside, by table */
    FIELD_ARRAY,  /* of structs (table) or of plain values (element) */
    FIELD_CUSTOM, /* functions read and write it; the JSON value has this type */
} FieldKind;

/* The string table of an enum. */
typedef struct FieldWords {
    const char *(*to_string)(int value);
    int (*from_string)(const char *word); /* negative: unknown */
    int max;                              /* of the values */
    int unknown;                          /* value for an unknown word; 0: an unknown word is a problem */
    const char *what;                     /* "a state of a claim" */
} FieldWords;

typedef enum FieldFlags {
    FIELD_REQUIRED = 1 << 0,
    FIELD_OMIT = 1 << 1,      /* not written when empty: NULL, 0, false, the first word, a number out of
                               * range, no elements, or an object without facts */
    FIELD_ALLOCATED = 1 << 2, /* an array behind an owned pointer; without it, one inside the struct */
    FIELD_IF_KNOWN = 1 << 3,  /* reading sets the bool at `known`; written only when that is set */
} FieldFlags;

typedef struct Field {
    const char *name;
    const char *prefix; /* "\"name\":" as it is written, n_prefix bytes; NULL: the field is never written */
    size_t n_prefix;
    FieldKind kind;
    unsigned flags;
    size_t offset, size; /* of the member, or of an element of the array */
    int64_t min, max;    /* of a number, or of how many elements an array has */
    const FieldWords *words;
    const FieldTable *table;
    const struct Field *element; /* of an array of plain values */
    size_t count;                /* offset of the size_t with the number of elements */
    size_t known;                /* offset of a bool */
    JsonType type;               /* of a custom or ignored field */
    int (*read)(FieldReader *r, const JsonNode *value, void *place);
    void (*write)(StrBuf *b, const void *place);
    unsigned fact; /* a bit of the table's mask: set by reading, and written only when it is set */
} Field;

struct FieldTable {
    const Field *fields;
    size_t n;
    bool open;    /* unknown members are ignored, for what newer programs add */
    size_t facts; /* offset of the mask, when a field has a fact */
    /* Checks between fields. Returns 0 or fields_fail(). NULL: none. */
    int (*check)(FieldReader *r, const JsonNode *object, void *target);
};

/* Returns 0; -EBADMSG with r->problem set; or -ENOMEM. After a failure the target holds what was read so far,
 * and the caller frees it as usual. */
int fields_read(FieldReader *r, const JsonNode *object, const FieldTable *table, void *target);
/* Reads one value that is not a member of a struct. Returns like fields_read(). */
int fields_read_value(FieldReader *r, const JsonNode *value, const Field *field, void *place);
/* Appends the object to b, which remembers a failure. */
void fields_write(StrBuf *b, const FieldTable *table, const void *target);
/* Appends the members only, for an object that is made of several structs. They begin with a comma unless b
 * ends with '{'. */
void fields_write_members(StrBuf *b, const FieldTable *table, const void *target);

/* Makes a table of an array of fields. */
#define FIELD_TABLE(array, ...)                                                                              \
    { .fields = (array), .n = ELEMENTSOF(array), __VA_ARGS__ }

#define FIELD_NAME(key) .name = key, .prefix = "\"" key "\":", .n_prefix = sizeof("\"" key "\":") - 1

/* Rows of a table. t is the struct, m its member. */
#define FIELD_(key, kind_, t, m, ...)                                                                        \
    { FIELD_NAME(key), .kind = kind_, .offset = offsetof(t, m), .size = sizeof(((t *) NULL)->m), __VA_ARGS__ }
#define FIELD_BOOLEAN(key, t, m, ...) FIELD_(key, FIELD_BOOLEAN, t, m, __VA_ARGS__)
#define FIELD_NUMBER(key, t, m, low, high, ...)                                                              \
    FIELD_(key, FIELD_NUMBER, t, m, .min = low, .max = high, __VA_ARGS__)
#define FIELD_TEXT(key, t, m, ...) FIELD_(key, FIELD_TEXT, t, m, __VA_ARGS__)
#define FIELD_STRING(key, t, m, ...) FIELD_(key, FIELD_STRING, t, m, __VA_ARGS__)
#define FIELD_WORD(key, t, m, w, ...) FIELD_(key, FIELD_WORD, t, m, .words = w, __VA_ARGS__)
#define FIELD_WORDS(key, t, m, w, ...) FIELD_(key, FIELD_WORDS, t, m, .words = w, __VA_ARGS__)
#define FIELD_OBJECT(key, t, m, o, ...) FIELD_(key, FIELD_OBJECT, t, m, .table = o, __VA_ARGS__)
#define FIELD_CUSTOM(key, t, m, json, reader, writer, ...)                                                   \
    FIELD_(key, FIELD_CUSTOM, t, m, .type = json, .read = reader, .write = writer, __VA_ARGS__)
/* n is the member that holds the number of elements. */
#define FIELD_OBJECTS(key, t, m, n, o, low, high, ...)                                                       \
    {                                                                                                        \
        FIELD_NAME(key), .kind = FIELD_ARRAY, .offset = offsetof(t, m), .size = sizeof(((t *) NULL)->m[0]),  \
                         .count = offsetof(t, n), .table = o, .min = low, .max = high, __VA_ARGS__           \
    }
#define FIELD_VALUES(key, t, m, n, e, low, high, ...)                                                        \
    {                                                                                                        \
        FIELD_NAME(key), .kind = FIELD_ARRAY, .offset = offsetof(t, m), .size = sizeof(((t *) NULL)->m[0]),  \
                         .count = offsetof(t, n), .element = e, .min = low, .max = high, __VA_ARGS__         \
    }
/* The words of DEFINE_STRING_TABLE(table, …), as NAME_words. */
#define DEFINE_FIELD_WORDS(table, max_, what_, ...)                                                          \
    static const char *table##_word(int value) {                                                             \
        return table##_to_string((__typeof__(table##_from_string(""))) value);                               \
    }                                                                                                        \
    static int table##_of_word(const char *word) {                                                           \
        return (int) table##_from_string(word);                                                              \
    }                                                                                                        \
    static const FieldWords table##_words = {.to_string = table##_word,                                      \
            .from_string = table##_of_word,                                                                  \
            .max = max_,                                                                                     \
            .what = what_,                                                                                   \
                                                                                                             \
            __VA_ARGS__}
