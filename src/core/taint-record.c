/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The list of taints as a document: in the ledger's file, in snapshots, and for people. The file may contain
 * any bytes. One odd entry makes the whole list invalid. */

#include <json-c/json.h>
#include <stdio.h>

#include "core/taint.h"

DEFINE_FIELD_WORDS(taint_kind, _TAINT_KIND_MAX, "a kind of taint");

static const Field taint_fields[] = {
        FIELD_WORD("kind", Taint, kind, &taint_kind_words, .flags = FIELD_REQUIRED),
        FIELD_BOOLEAN("weakens", Taint, weakens, .flags = FIELD_REQUIRED),
        FIELD_TEXT("what", Taint, what, .flags = FIELD_REQUIRED),
        FIELD_NUMBER("since", Taint, since_usec, 0, INT64_MAX),
        FIELD_TEXT("device", Taint, device),
        FIELD_TEXT("rule", Taint, rule),
        FIELD_TEXT("reason", Taint, reason),
        FIELD_NUMBER("uid", Taint, uid, 0, UINT32_MAX - 1, .flags = FIELD_OMIT),
};
static const FieldTable taint_table = FIELD_TABLE(taint_fields);

void taint_list_write(StrBuf *b, const TaintList *l) {
    strbuf_add(b, "[");
    for (size_t i = 0; i < l->n; i++) {
        if (i > 0)
            strbuf_add(b, ",");
        fields_write(b, &taint_table, &l->entries[i]);
    }
    if (l->more > 0) {
        Taint rest = {.kind = TAINT_KERNEL, .weakens = true, .uid = (uid_t) -1};

        (void) snprintf(rest.what, sizeof(rest.what), "%zu more", l->more);
        if (l->n > 0)
            strbuf_add(b, ",");
        fields_write(b, &taint_table, &rest);
    }
    strbuf_add(b, "]");
}

struct json_object *taint_list_to_json(const TaintList *l) {
    _cleanup_strbuf_ StrBuf b = {};

    taint_list_write(&b, l);
    return b.error < 0 ? NULL : json_tokener_parse(b.text);
}

/* The last entry of a list that is too long counts those that did not fit. */
static int read_taint(FieldReader *r, const JsonNode *value, TaintList *l) {
    Taint t = {.uid = (uid_t) -1};
    int e = fields_read(r, value, &taint_table, &t);

    if (e < 0)
        return e;
    if (l->n < TAINTS_MAX)
        l->entries[l->n++] = t;
    else
        l->more++;
    return 0;
}

int taint_list_read(FieldReader *r, const JsonNode *list, TaintList *ret) {
    size_t index = 0;
    int e;

    ret->n = ret->more = 0;
    e = fields_expect(r, list, JSON_ARRAY);
    for (const JsonNode *n = list->children; e >= 0 && n; n = n->next) {
        size_t depth = fields_enter_element(r, index++);

        e = read_taint(r, n, ret);
        if (e >= 0)
            fields_leave(r, depth);
    }
    if (e < 0)
        ret->n = ret->more = 0;
    return e;
}
