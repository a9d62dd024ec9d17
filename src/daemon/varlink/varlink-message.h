/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a client says, without any action: the header of a call and the parameters of a method. The rules are
 * those of UAPI.20 (Varlink 0.1). A header that is wrong has no answer, the connection is closed; a parameter
 * that is wrong has one. */

#include "base/json-text.h"

typedef struct VarlinkMessage {
    JsonDocument *document;
    const char *method;         /* "org.vfiod.Broker.Acquire"; owned by the document */
    const JsonNode *parameters; /* an object; NULL: there are none */
    bool oneway, more, upgrade; /* one of them at most */
} VarlinkMessage;

/* 0; -EBADMSG: no call; -ENOMEM. */
int varlink_message_parse(const char *text, size_t size, VarlinkMessage *ret);
void varlink_message_done(VarlinkMessage *m);

/* A parameter of a method. Types are written as in D-Bus signatures: s, b, i (any number), as, ai. */
typedef struct VarlinkParameter {
    const char *name, *type;
    bool required;
} VarlinkParameter;

bool varlink_value_has_type(const JsonNode *value, const char *type);
/* The member of this name, NULL: it is not there, or null, which is the same. */
const JsonNode *varlink_member(const JsonNode *object, const char *name);
/* For parameters that the table does not have: their type, NULL: there is no such parameter. May be NULL. */
typedef const char *(*varlink_other_type_t)(const char *name);
/* The name of the first parameter that is unknown, missing or of another type; NULL: there is none. table
 * ends with an entry without name. */
const char *varlink_find_invalid(
        const JsonNode *parameters, const VarlinkParameter *table, varlink_other_type_t other_type);
