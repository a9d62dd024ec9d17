/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reads JSON that people write. It accepts comments, and it keeps the line and column of every value for
 * error messages; json-c, which is used elsewhere, does not. Otherwise it is strict: RFC 8259, no duplicate
 * keys, valid UTF-8, bounded depth and size. */

#include "base/macro.h"

typedef enum JsonType {
    JSON_NULL,
    JSON_BOOLEAN,
    JSON_INTEGER, /* fits int64_t; other numbers are JSON_REAL */
    JSON_REAL,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
    _JSON_TYPE_MAX,
    _JSON_TYPE_INVALID = -EINVAL,
} JsonType;
DECLARE_STRING_TABLE(
        json_type, JsonType); /* "null", "boolean", "integer", "number", "string", "array", "object" */

typedef struct JsonNode JsonNode;
struct JsonNode {
    JsonType type;
    unsigned line, column; /* of the value, from 1; columns count bytes */
    const char *key;       /* owned by the document; of a member of an object, else NULL */
    unsigned key_line, key_column;
    union {
        bool boolean;
        int64_t integer;
        double real;
        const char *string; /* valid UTF-8 without NUL, owned by the document */
    };
    JsonNode *children; /* first element or member */
    JsonNode *next;     /* sibling */
};

typedef struct JsonDocument JsonDocument;

typedef struct JsonError {
    unsigned line, column;
    char message[160];
} JsonError;

#define JSON_DEPTH_MAX 32U
#define JSON_SIZE_MAX (4U * 1024 * 1024)
#define JSON_NODES_MAX (256U * 1024)

/* Parses size bytes. Returns 0; -EBADMSG with *error set to one printable sentence; or -ENOMEM. The document
 * owns every node and string. */
int json_document_parse(const char *text, size_t size, JsonDocument **ret, JsonError *error);
/* The same with other bounds, for documents that a program wrote. */
typedef struct JsonBounds {
    size_t size, nodes;
    bool plain; /* no comments */
} JsonBounds;
int json_document_parse_bounded(
        const char *text, size_t size, const JsonBounds *bounds, JsonDocument **ret, JsonError *error);
const JsonNode *json_document_root(const JsonDocument *d);
JsonDocument *json_document_free(JsonDocument *d);
DEFINE_TRIVIAL_CLEANUP_FUNC(JsonDocument *, json_document_free);
