/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Turns the tables of views (core/view.h) into JSON objects. Members have the names of the fields with a
 * small first letter. A reference is the name or id of the object. */

#include "daemon/varlink/varlink-internal.h"

#define DEPTH_MAX 8U
#define TEXT_MAX 1024U

static const char *const kind_names[_VIEW_KIND_MAX] = {
        [VIEW_MANAGER] = "host",
        [VIEW_DEVICE] = "device",
        [VIEW_GROUP] = "group",
        [VIEW_CLAIM] = "claim",
};

const char *varlink_kind_name(ViewKind kind) {
    return kind_names[kind];
}

ViewKind varlink_kind_from_name(const char *name) {
    for (ViewKind k = 0; k < _VIEW_KIND_MAX; k++)
        if (streq(kind_names[k], name))
            return k;
    return _VIEW_KIND_INVALID;
}

/* ---- The sink ---- */

typedef struct Sink {
    JsonWriter *w;
    const char *members;  /* of structures, from ViewField */
    const char *member;   /* of this structure, the next one */
    char open[DEPTH_MAX]; /* open containers: [ array, { dictionary, e entry of it, r structure, v variant */
    unsigned depth;
    bool key; /* the key of an entry comes next */
} Sink;

static void write_member(Sink *s) {
    char name[32] = "";
    size_t n = strcspn(s->member, " ");

    assert(n > 0 && n < sizeof(name));
    memcpy(name, s->member, n);
    s->member += n + (s->member[n] == ' ');
    json_write_key(s->w, name);
}

static void before_value(Sink *s) {
    if (s->depth > 0 && s->open[s->depth - 1] == 'r')
        write_member(s);
}

static int sink_text(void *to, const char *text) {
    _cleanup_free_ char *sane = sanitize(text, TEXT_MAX);
    Sink *s = to;

    if (!sane)
        return -ENOMEM;
    if (s->key) {
        s->key = false;
        json_write_key(s->w, sane);
        return 0;
    }
    before_value(s);
    json_write_text(s->w, sane);
    return 0;
}

static int sink_number(void *to, char type, uint64_t value) {
    Sink *s = to;

    before_value(s);
    if (type == 'b')
        json_write_boolean(s->w, value != 0);
    else if (type == 'i')
        json_write_number(s->w, (int32_t) value);
    else
        json_write_unsigned(s->w, value);
    return 0;
}

static int sink_refer(void *to, const ViewReference *reference) {
    char name[DEVICE_NAME_MAX];
    Sink *s = to;

    before_value(s);
    if (reference->kind == VIEW_DEVICE)
        json_write_text(s->w, device_name_format(reference->device, name));
    else if (reference->kind == VIEW_GROUP)
        json_write_number(s->w, reference->group);
    else
        json_write_text(s->w, reference->kind == VIEW_CLAIM ? reference->claim : NULL);
    return 0;
}

static int sink_open(void *to, char container, const char *contents) {
    Sink *s = to;
    char open = container;

    if (container == 'a')
        open = contents[0] == '{' ? '{' : '[';
    assert(s->depth < DEPTH_MAX);
    if (open == '[' || open == '{' || open == 'r') {
        before_value(s);
        json_write_open(s->w, NULL, open == '[' ? '[' : '{');
    }
    if (open == 'r')
        s->member = s->members;
    s->key = open == 'e';
    s->open[s->depth++] = open;
    return 0;
}

static int sink_close(void *to) {
    Sink *s = to;
    char open = s->open[--s->depth];

    if (open == '[' || open == '{' || open == 'r')
        json_write_close(s->w, open == '[' ? ']' : '}');
    return 0;
}

/* ---- Objects ---- */

char *varlink_field_name(const ViewField *field, char name[static VARLINK_FIELD_MAX]) {
    assert(strlen(field->name) < VARLINK_FIELD_MAX);
    strcpy(name, field->name);
    name[0] = (char) (name[0] | 0x20);
    return name;
}

const ViewField *varlink_find_field(ViewKind kind, const char *name) {
    char buf[VARLINK_FIELD_MAX];

    for (const ViewField *f = view_tables[kind].fields; f->name; f++)
        if (streq(varlink_field_name(f, buf), name))
            return f;
    return NULL;
}

static int write_field(JsonWriter *w, ViewKind kind, const ViewField *field, const ViewQuery *q) {
    Sink s = {.w = w, .members = field->members};
    const ViewSink sink = {
            .text = sink_text,
            .number = sink_number,
            .refer = sink_refer,
            .open = sink_open,
            .close = sink_close,
            .to = &s,
    };
    char name[VARLINK_FIELD_MAX];

    json_write_key(w, varlink_field_name(field, name));
    return view_put(&view_tables[kind], field, q, &sink);
}

int varlink_write_object(
        JsonWriter *w, ViewKind kind, const ViewQuery *q, varlink_wants_field_t wants, void *userdata) {
    int r = 0;

    json_write_open(w, kind_names[kind], '{');
    for (const ViewField *f = view_tables[kind].fields; f->name && r >= 0; f++)
        if (wants(f, userdata))
            r = write_field(w, kind, f, q);
    json_write_close(w, '}');
    return r < 0 ? r : w->text.error;
}

/* A list shows only fields whose changes are announced. The others would cost a look at the host for each
 * object, and be outdated at once. */
bool varlink_is_listed(const ViewField *field, void *userdata) {
    return field->change != VIEW_SILENT && field->change != VIEW_COSTLY;
}
