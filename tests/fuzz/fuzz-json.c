/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include "base/json-text.h"
#include "base/str.h"

/* Every line is below the number of newlines, every column below the size. */
static void expect_place(unsigned line, unsigned column, size_t size) {
    EXPECT(line >= 1 && line <= size + 1);
    EXPECT(column >= 1 && column <= size + 1);
}

static size_t expect_node(const JsonNode *n, bool member, unsigned depth, size_t size) {
    size_t count = 1;

    EXPECT(n->type >= 0 && n->type < _JSON_TYPE_MAX);
    expect_place(n->line, n->column, size);
    EXPECT((n->key != NULL) == member);
    if (member) {
        EXPECT(utf8_is_valid(n->key));
        expect_place(n->key_line, n->key_column, size);
        EXPECT(n->key_line < n->line || (n->key_line == n->line && n->key_column < n->column));
    }
    if (n->type == JSON_STRING)
        EXPECT(n->string && utf8_is_valid(n->string) && strlen(n->string) < size);
    if (n->type == JSON_REAL)
        EXPECT(n->real == n->real);
    if (n->type != JSON_ARRAY && n->type != JSON_OBJECT) {
        EXPECT(!n->children);
        return count;
    }
    EXPECT(depth < JSON_DEPTH_MAX);
    for (const JsonNode *c = n->children; c; c = c->next)
        count += expect_node(c, n->type == JSON_OBJECT, depth + 1, size);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    _cleanup_(json_document_freep) JsonDocument *d = NULL;
    JsonError error = {};
    int r;

    r = json_document_parse((const char *) data, size, &d, &error);
    if (r < 0) {
        EXPECT(r == -EBADMSG && !d);
        EXPECT(error.message[0] && is_printable(error.message) && utf8_is_valid(error.message));
        expect_place(error.line, error.column, size);
        return 0;
    }
    EXPECT(size <= JSON_SIZE_MAX);
    EXPECT(!json_document_root(d)->next);
    EXPECT(expect_node(json_document_root(d), false, 0, size) <= JSON_NODES_MAX);
    return 0;
}
