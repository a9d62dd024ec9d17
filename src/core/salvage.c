/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/salvage.h"

#include <stdio.h>

#include "base/json-text.h"
#include "core/device-kind.h"
#include "core/record.h"

void salvaged_names_done(SalvagedNames *names) {
    free(names->names);
    *names = (SalvagedNames){};
}

static int compare(const void *a, const void *b) {
    return device_name_compare(a, b);
}

/* Parses the longest name at the beginning of the bytes. */
static bool parse_at(const char *text, size_t size, DeviceName *ret) {
    char buf[DEVICE_NAME_MAX];
    size_t n;

    for (n = MIN(size, sizeof(buf) - 1); n > 0; n--) {
        (void) snprintf(buf, sizeof(buf), "%.*s", (int) n, text);
        if (strlen(buf) == n && device_name_parse(buf, ret) >= 0)
            return true;
    }
    return false;
}

/* Does a name in a record begin here? before: the byte before it. Some kinds accept nearly any text as name,
 * so their prefix must not be part of a longer word ("map:x" is not "ap:x"). */
static bool is_prefix(char before, const char *text, size_t size) {
    for (DeviceKind kind = 0; kind < _DEVICE_KIND_MAX; kind++) {
        const char *prefix = device_kind_to_string(kind);
        size_t n = strlen(prefix);

        if (size > n && memcmp(text, prefix, n) == 0 && text[n] == ':')
            return kind == DEVICE_KIND_PCI || !device_kind_text_has(before);
    }
    return false;
}

static int add(SalvagedNames *found, size_t *allocated, const DeviceName *name) {
    if (found->n == *allocated) {
        size_t n = MAX(*allocated * 2, (size_t) 8);
        DeviceName *names = reallocarray(found->names, n, sizeof(*names));

        if (!names)
            return -ENOMEM;
        found->names = names;
        *allocated = n;
    }
    found->names[found->n++] = *name;
    return 0;
}

static void sort_and_unite(SalvagedNames *found) {
    size_t n = 0;

    if (found->n == 0)
        return;
    qsort(found->names, found->n, sizeof(*found->names), compare);
    for (size_t i = 0; i < found->n; i++)
        if (n == 0 || device_name_compare(&found->names[n - 1], &found->names[i]) != 0)
            found->names[n++] = found->names[i];
    found->n = n;
}

static const JsonNode *find_member(const JsonNode *object, const char *key) {
    for (const JsonNode *m = object->type == JSON_OBJECT ? object->children : NULL; m; m = m->next)
        if (streq(m->key, key))
            return m;
    return NULL;
}

static bool lists_members(const JsonNode *root) {
    const JsonNode *members = find_member(root, "members");

    if (!members || members->type != JSON_ARRAY || !members->children)
        return false;
    for (const JsonNode *m = members->children; m; m = m->next) {
        const JsonNode *name = find_member(m, "name");
        DeviceName ignored;

        if (!name || name->type != JSON_STRING || device_name_parse(name->string, &ignored) < 0)
            return false;
    }
    return true;
}

static int is_complete(const char *text, size_t size, bool *ret) {
    static const JsonBounds bounds = {.size = RECORD_SIZE_MAX, .nodes = RECORD_SIZE_MAX};
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    JsonError error;
    int r;

    r = json_document_parse_bounded(text, size, &bounds, &document, &error);
    if (r == -ENOMEM)
        return r;
    *ret = r >= 0 && lists_members(json_document_root(document));
    return 0;
}

/* Finds the first "id": "0123456789abcdef". */
static void find_id(const char *text, size_t size, char id[static CLAIM_ID_MAX]) {
    static const char key[] = "\"id\":";
    const size_t n = sizeof(key) - 1;

    for (size_t i = 0; i + n < size; i++) {
        size_t at = i + n;

        if (memcmp(text + i, key, n) != 0)
            continue;
        while (at < size && text[at] == ' ')
            at++;
        if (size - at <= CLAIM_ID_MAX || text[at] != '"' || text[at + CLAIM_ID_MAX] != '"')
            continue;
        (void) snprintf(id, CLAIM_ID_MAX, "%.*s", CLAIM_ID_MAX - 1, text + at + 1);
        if (claim_id_is_valid(id))
            return;
    }
    id[0] = '\0';
}

int salvage_names(const char *text, size_t size, SalvagedNames *ret) {
    _cleanup_(salvaged_names_done) SalvagedNames found = {};
    size_t allocated = 0;
    DeviceName name;
    int r;

    for (size_t i = 0; i < size; i++) {
        if (!is_prefix(i > 0 ? text[i - 1] : '"', text + i, size - i) || !parse_at(text + i, size - i, &name))
            continue;
        r = add(&found, &allocated, &name);
        if (r < 0)
            return r;
    }
    r = is_complete(text, size, &found.complete);
    if (r < 0)
        return r;
    sort_and_unite(&found);
    find_id(text, size, found.id);
    *ret = TAKE_GENERIC(found, (SalvagedNames){});
    return 0;
}
