/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/view.h"

const ViewField *view_find_field(const ViewTable *table, const char *name) {
    for (const ViewField *f = table->fields; f->name; f++)
        if (streq(f->name, name))
            return f;
    return NULL;
}

bool view_reader_is_operator(const ViewQuery *q) {
    return q->reader && subject_is_operator(q->reader);
}

bool view_reader_is(const ViewQuery *q, uid_t uid) {
    if (!q->reader)
        return false;
    return subject_is_operator(q->reader) || (uid != (uid_t) -1 && q->reader->uid == uid);
}

bool view_may_read(const ViewTable *table, const ViewField *field, const ViewQuery *q) {
    switch (field->audience) {
    case VIEW_FOR_ALL:
        return true;
    case VIEW_FOR_OWNER:
        return view_reader_is(q, table->owner ? table->owner(q->thing) : (uid_t) -1);
    case VIEW_FOR_OPERATOR:
    default:
        return view_reader_is_operator(q);
    }
}

/* Writes the empty value of the type. */
static int put_empty(const char *type, const ViewSink *out) {
    int r;

    switch (type[0]) {
    case 'a':
        r = view_open(out, 'a', type + 1);
        return r < 0 ? r : view_close(out);
    case 's':
        return view_text(out, NULL);
    case 'o':
        return view_refer_claim(out, NULL);
    default:
        return view_number(out, type[0], 0);
    }
}

int view_put(const ViewTable *table, const ViewField *field, const ViewQuery *q, const ViewSink *out) {
    return view_may_read(table, field, q) ? field->put(q, out) : put_empty(field->type, out);
}

int view_text(const ViewSink *out, const char *text) {
    return out->text(out->to, text ?: "");
}

int view_number(const ViewSink *out, char type, uint64_t value) {
    return out->number(out->to, type, value);
}

int view_refer_device(const ViewSink *out, const DeviceName *name) {
    return out->refer(
            out->to, &(ViewReference){.kind = name ? VIEW_DEVICE : _VIEW_KIND_INVALID, .device = name});
}

int view_refer_group(const ViewSink *out, int id) {
    return out->refer(
            out->to, &(ViewReference){.kind = id < 0 ? _VIEW_KIND_INVALID : VIEW_GROUP, .group = id});
}

int view_refer_claim(const ViewSink *out, const char *id) {
    return out->refer(out->to, &(ViewReference){.kind = id ? VIEW_CLAIM : _VIEW_KIND_INVALID, .claim = id});
}

int view_open(const ViewSink *out, char container, const char *contents) {
    return out->open(out->to, container, contents);
}

int view_close(const ViewSink *out) {
    return out->close(out->to);
}

static int open_entry(const ViewSink *out, const char *key, const char *type) {
    int r;

    r = view_open(out, 'e', "sv");
    if (r >= 0)
        r = view_text(out, key);
    return r < 0 ? r : view_open(out, 'v', type);
}

static int close_entry(const ViewSink *out) {
    int r = view_close(out);

    return r < 0 ? r : view_close(out);
}

int view_text_entry(const ViewSink *out, const char *key, const char *text) {
    int r;

    r = open_entry(out, key, "s");
    if (r >= 0)
        r = view_text(out, text);
    return r < 0 ? r : close_entry(out);
}

int view_number_entry(const ViewSink *out, const char *key, char type, uint64_t value) {
    const char signature[] = {type, '\0'};
    int r;

    r = open_entry(out, key, signature);
    if (r >= 0)
        r = view_number(out, type, value);
    return r < 0 ? r : close_entry(out);
}
