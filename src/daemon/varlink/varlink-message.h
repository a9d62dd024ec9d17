/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Parses messages of a client: the header of a call and the parameters of a method. The rules are those of
 * UAPI.20 (Varlink 0.1). An invalid header gets no answer, and the connection is closed. An invalid parameter
 * gets an error. */

#include "base/json-text.h"

typedef struct VarlinkMessage {
    JsonDocument *document;
    const char *method;         /* "org.vfiod.Broker.Acquire"; owned by the document */
    const JsonNode *parameters; /* an object; NULL: the call has none */
    bool oneway, more, upgrade; /* at most one of these */
} VarlinkMessage;

/* Returns 0; -EBADMSG: it is no call; -ENOMEM. */
int varlink_message_parse(const char *text, size_t size, VarlinkMessage *ret);
void varlink_message_done(VarlinkMessage *m);

/* A parameter of a method. Types are those of D-Bus signatures: s, b, i (any number), as, ai. */
typedef struct VarlinkParameter {
    const char *name, *type;
    bool required;
} VarlinkParameter;

bool varlink_value_has_type(const JsonNode *value, const char *type);
/* The member with this name; NULL: it is missing or null, which mean the same. */
const JsonNode *varlink_member(const JsonNode *object, const char *name);
/* The type of a parameter that is not in the table; NULL: there is no such parameter. May be NULL. */
typedef const char *(*varlink_other_type_t)(const char *name);
/* The first parameter that is unknown, missing or of another type; NULL: there is none. An entry without a
 * name ends the table. */
const char *varlink_find_invalid(
        const JsonNode *parameters, const VarlinkParameter *table, varlink_other_type_t other_type);
