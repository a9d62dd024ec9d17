/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/varlink/varlink-message.h"

/* More than any method uses, and few enough that a message costs little. */
#define VALUES_MAX 8192U

void varlink_message_done(VarlinkMessage *m) {
    json_document_free(m->document);
    *m = (VarlinkMessage){};
}

/* ---- The header ---- */

static int take_method(VarlinkMessage *m, const JsonNode *value) {
    if (value->type != JSON_STRING)
        return -EBADMSG;
    m->method = value->string;
    return 0;
}

static int take_parameters(VarlinkMessage *m, const JsonNode *value) {
    if (value->type != JSON_OBJECT && value->type != JSON_NULL)
        return -EBADMSG;
    m->parameters = value->type == JSON_OBJECT ? value : NULL;
    return 0;
}

static int take_flag(bool *flag, const JsonNode *value) {
    if (value->type != JSON_BOOLEAN && value->type != JSON_NULL)
        return -EBADMSG;
    *flag = value->type == JSON_BOOLEAN && value->boolean;
    return 0;
}

/* Names with a dot are extensions of vendors, which are ignored. */
static int take_member(VarlinkMessage *m, const JsonNode *member) {
    if (streq(member->key, "method"))
        return take_method(m, member);
    if (streq(member->key, "parameters"))
        return take_parameters(m, member);
    if (streq(member->key, "oneway"))
        return take_flag(&m->oneway, member);
    if (streq(member->key, "more"))
        return take_flag(&m->more, member);
    if (streq(member->key, "upgrade"))
        return take_flag(&m->upgrade, member);
    return strchr(member->key, '.') ? 0 : -EBADMSG;
}

int varlink_message_parse(const char *text, size_t size, VarlinkMessage *ret) {
    const JsonBounds bounds = {.size = size, .nodes = VALUES_MAX, .plain = true};
    _cleanup_(varlink_message_done) VarlinkMessage m = {};
    const JsonNode *root;
    JsonError error;
    int r;

    r = json_document_parse_bounded(text, size, &bounds, &m.document, &error);
    if (r < 0)
        return r;
    root = json_document_root(m.document);
    if (root->type != JSON_OBJECT)
        return -EBADMSG;
    for (const JsonNode *n = root->children; n; n = n->next) {
        r = take_member(&m, n);
        if (r < 0)
            return r;
    }
    if (!m.method || m.oneway + m.more + m.upgrade > 1)
        return -EBADMSG;
    *ret = TAKE_GENERIC(m, (VarlinkMessage){});
    return 0;
}

/* ---- Parameters ---- */

static bool has_element_type(const JsonNode *value, char type) {
    switch (type) {
    case 's':
        return value->type == JSON_STRING;
    case 'b':
        return value->type == JSON_BOOLEAN;
    default:
        return value->type == JSON_INTEGER;
    }
}

bool varlink_value_has_type(const JsonNode *value, const char *type) {
    if (type[0] != 'a')
        return has_element_type(value, type[0]);
    if (value->type != JSON_ARRAY)
        return false;
    for (const JsonNode *n = value->children; n; n = n->next)
        if (!has_element_type(n, type[1]))
            return false;
    return true;
}

const JsonNode *varlink_member(const JsonNode *object, const char *name) {
    for (const JsonNode *n = object ? object->children : NULL; n; n = n->next)
        if (streq(n->key, name))
            return n->type == JSON_NULL ? NULL : n;
    return NULL;
}

static const char *type_of(const char *name, const VarlinkParameter *table, varlink_other_type_t other_type) {
    for (const VarlinkParameter *p = table; p->name; p++)
        if (streq(p->name, name))
            return p->type;
    return other_type ? other_type(name) : NULL;
}

const char *varlink_find_invalid(
        const JsonNode *parameters, const VarlinkParameter *table, varlink_other_type_t other_type) {
    for (const JsonNode *n = parameters ? parameters->children : NULL; n; n = n->next) {
        const char *type = type_of(n->key, table, other_type);

        if (!type || (n->type != JSON_NULL && !varlink_value_has_type(n, type)))
            return n->key;
    }
    for (const VarlinkParameter *p = table; p->name; p++)
        if (p->required && !varlink_member(parameters, p->name))
            return p->name;
    return NULL;
}
