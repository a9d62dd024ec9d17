/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Objects on the bus: writing and parsing their paths, and turning the tables of views (core/view.h) into
 * properties. sd-bus needs vtables for what it does itself (methods, introspection, signals); their rows are
 * made from the same tables. */

#include <stdio.h>

#include "base/str.h"
#include "daemon/bus/bus-internal.h"

/* The longest table of fields and methods, with start and end rows. */
#define VTABLE_MAX 64U

static const struct {
    const char *prefix, *interface;
    const sd_bus_vtable *methods; /* ended by a row without a handler */
} kinds[_VIEW_KIND_MAX] = {
        [VIEW_MANAGER] = {BUS_FACE_PATH, BUS_MANAGER_INTERFACE, bus_manager_methods},
        [VIEW_DEVICE] = {BUS_FACE_PATH "/device", BUS_DEVICE_INTERFACE, NULL},
        [VIEW_GROUP] = {BUS_FACE_PATH "/group", BUS_GROUP_INTERFACE, NULL},
        [VIEW_CLAIM] = {BUS_FACE_PATH "/claim", BUS_CLAIM_INTERFACE, bus_claim_methods},
};

const char *bus_kind_interface(ViewKind kind) {
    return kinds[kind].interface;
}

const char *bus_kind_prefix(ViewKind kind) {
    return kinds[kind].prefix;
}

ViewKind bus_kind_from_interface(const char *interface) {
    for (ViewKind k = 0; k < _VIEW_KIND_MAX; k++)
        if (streq(kinds[k].interface, interface))
            return k;
    return _VIEW_KIND_INVALID;
}

/* ---- Paths ---- */

const char *bus_device_path(const DeviceName *name, char buf[static BUS_OBJECT_PATH_MAX]) {
    char text[DEVICE_NAME_MAX];
    char *out = stpcpy(buf, BUS_FACE_PATH "/device/");

    /* Like sd_bus_path_encode(3) without its allocation; the first character is always a letter. */
    for (const char *p = device_name_format(name, text); *p; p++)
        if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z'))
            *out++ = *p;
        else
            out = put_hex(stpcpy(out, "_"), (unsigned char) *p, 2);
    *out = '\0';
    return buf;
}

const char *bus_group_path(int id, char buf[static BUS_OBJECT_PATH_MAX]) {
    snprintf(buf, BUS_OBJECT_PATH_MAX, BUS_FACE_PATH "/group/%d", id);
    return buf;
}

const char *bus_claim_path(const char *id, char buf[static BUS_OBJECT_PATH_MAX]) {
    static const char prefix[] = BUS_FACE_PATH "/claim/";

    memcpy(buf, prefix, sizeof(prefix) - 1);
    put_text(buf + sizeof(prefix) - 1, BUS_OBJECT_PATH_MAX - sizeof(prefix) + 1, id);
    return buf;
}

const char *bus_object_path(const ViewReference *reference, char buf[static BUS_OBJECT_PATH_MAX]) {
    switch (reference->kind) {
    case VIEW_DEVICE:
        return bus_device_path(reference->device, buf);
    case VIEW_GROUP:
        return bus_group_path(reference->group, buf);
    case VIEW_CLAIM:
        return bus_claim_path(reference->claim, buf);
    default:
        return "/";
    }
}

ViewKind bus_path_kind(const char *path, const char **ret_name) {
    for (ViewKind k = VIEW_DEVICE; k < _VIEW_KIND_MAX; k++) {
        const char *rest = startswith(path, kinds[k].prefix);

        if (!rest || (*rest != '\0' && *rest != '/'))
            continue;
        *ret_name = *rest ? rest + 1 : NULL;
        return k;
    }
    *ret_name = NULL;
    return streq(path, BUS_FACE_PATH) ? VIEW_MANAGER : _VIEW_KIND_INVALID;
}

/* Only our own spelling is a path: "06:0d.0" names a device, but is no object. */
static const void *find_device(BusFace *b, const char *path) {
    char canonical[BUS_OBJECT_PATH_MAX];
    _cleanup_free_ char *text = NULL;
    DeviceName name;

    if (sd_bus_path_decode(path, kinds[VIEW_DEVICE].prefix, &text) <= 0 ||
            device_name_parse(text, &name) < 0 || !streq(bus_device_path(&name, canonical), path))
        return NULL;
    return inventory_find_device(b->context.host.inventory, &name);
}

static const void *find_group(BusFace *b, const char *path, const char *name) {
    char canonical[BUS_OBJECT_PATH_MAX];
    uint64_t id;

    if (parse_unsigned(name, 10, INT32_MAX, &id) < 0 || !streq(bus_group_path((int) id, canonical), path))
        return NULL;
    return inventory_find_group(b->context.host.inventory, (int) id);
}

bool bus_find_object(BusFace *b, const char *path, BusObject *ret) {
    const char *name;
    const void *thing = b;
    ViewKind kind = bus_path_kind(path, &name);

    if (kind < 0 || (kind != VIEW_MANAGER && !name))
        return false;
    if (kind == VIEW_DEVICE)
        thing = find_device(b, path);
    else if (kind == VIEW_GROUP)
        thing = find_group(b, path, name);
    else if (kind == VIEW_CLAIM)
        thing = broker_find_claim(b->context.host.broker, name);
    *ret = (BusObject){.kind = kind, .thing = thing};
    return thing;
}

/* ---- Values ---- */

int bus_append_text(sd_bus_message *reply, const char *text) {
    _cleanup_free_ char *sane = NULL;

    if (!text || !*text)
        return sd_bus_message_append(reply, "s", "");
    sane = sanitize(text, 1024);
    if (!sane)
        return -ENOMEM;
    return sd_bus_message_append(reply, "s", sane);
}

/* A message and its number of written bytes. */
typedef struct Sink {
    sd_bus_message *message;
    uint64_t *written;
} Sink;

static int sink_text(void *to, const char *text) {
    const Sink *sink = to;

    *sink->written += sizeof(uint64_t) + (text ? strlen(text) : 0);
    return bus_append_text(sink->message, text);
}

static int sink_number(void *to, char type, uint64_t value) {
    const Sink *sink = to;
    union {
        uint8_t y;
        int b;
        uint16_t q;
        int32_t i;
        uint32_t u;
        uint64_t t;
    } v;

    switch (type) {
    case 'y':
        v.y = (uint8_t) value;
        break;
    case 'b':
        v.b = value != 0;
        break;
    case 'q':
        v.q = (uint16_t) value;
        break;
    case 'i':
        v.i = (int32_t) value;
        break;
    case 'u':
        v.u = (uint32_t) value;
        break;
    default:
        v.t = value;
        break;
    }
    *sink->written += sizeof(uint64_t);
    return sd_bus_message_append_basic(sink->message, type, &v);
}

static int sink_refer(void *to, const ViewReference *reference) {
    const Sink *sink = to;
    char buf[BUS_OBJECT_PATH_MAX];
    const char *path = bus_object_path(reference, buf);

    *sink->written += sizeof(uint64_t) + strlen(path);
    return sd_bus_message_append_basic(sink->message, 'o', path);
}

static int sink_open(void *to, char container, const char *contents) {
    const Sink *sink = to;

    *sink->written += sizeof(uint64_t);
    return sd_bus_message_open_container(sink->message, container, contents);
}

static int sink_close(void *to) {
    return sd_bus_message_close_container(((const Sink *) to)->message);
}

static ViewSink message_sink(Sink *sink) {
    return (ViewSink){
            .text = sink_text,
            .number = sink_number,
            .refer = sink_refer,
            .open = sink_open,
            .close = sink_close,
            .to = sink,
    };
}

static int put_field(BusFace *b, sd_bus_message *m, const BusObject *object, const ViewField *field,
        const Subject *reader, Survey *survey, Refusal *refusal) {
    Sink to = {.message = m, .written = &b->written};
    const ViewSink sink = message_sink(&to);
    const ViewQuery query = {
            .host = &b->context.host,
            .thing = object->thing,
            .reader = reader,
            .survey = survey,
            .refusal = refusal,
            .found = object->found,
    };

    return view_put(&view_tables[object->kind], field, &query, &sink);
}

int bus_append_value(BusFace *b, sd_bus_message *m, const BusObject *object, const ViewField *field,
        const Subject *reader, Survey *survey, Refusal *refusal) {
    int r;

    r = sd_bus_message_open_container(m, 'v', field->type);
    if (r >= 0)
        r = put_field(b, m, object, field, reader, survey, refusal);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

int bus_append_property(BusFace *b, sd_bus_message *m, const BusObject *object, const ViewField *field,
        const Subject *reader, Refusal *refusal) {
    int r;

    b->written += sizeof(uint64_t) + strlen(field->name);
    r = sd_bus_message_open_container(m, 'e', "sv");
    if (r >= 0)
        r = sd_bus_message_append_basic(m, 's', field->name);
    if (r >= 0)
        r = bus_append_value(b, m, object, field, reader, /* survey= */ NULL, refusal);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static bool is_listed(const ViewField *field) {
    return field->change != VIEW_SILENT && field->change != VIEW_COSTLY;
}

int bus_append_interfaces(BusFace *b, sd_bus_message *m, const BusObject *object, const Subject *reader) {
    int r;

    r = sd_bus_message_open_container(m, 'a', "{sa{sv}}");
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'e', "sa{sv}");
    if (r >= 0)
        r = sd_bus_message_append_basic(m, 's', kinds[object->kind].interface);
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'a', "{sv}");
    for (const ViewField *f = view_tables[object->kind].fields; r >= 0 && f->name; f++)
        if (is_listed(f))
            r = bus_append_property(b, m, object, f, reader, NULL);
    for (unsigned level = 0; level < 3 && r >= 0; level++)
        r = sd_bus_message_close_container(m);
    return r < 0 ? r : 0;
}

/* ---- What sd-bus does by itself ---- */

BusFace *bus_face_current(sd_bus *bus) {
    return sd_bus_slot_get_userdata(sd_bus_get_current_slot(bus));
}

/* Only for signals, which everybody can receive: bus-read.c answers reads of properties. */
static int get_property(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const BusObject object = {.kind = bus_kind_from_interface(interface), .thing = userdata};
    const ViewField *field = view_find_field(&view_tables[object.kind], property);

    return put_field(bus_face_current(bus), reply, &object, field, /* reader= */ NULL, NULL, NULL);
}

static uint64_t property_flags(ViewChange change) {
    switch (change) {
    case VIEW_CONSTANT:
        return SD_BUS_VTABLE_PROPERTY_CONST;
    case VIEW_ANNOUNCED:
        return SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE;
    case VIEW_INVALIDATED:
        return SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION;
    case VIEW_COSTLY:
        return SD_BUS_VTABLE_PROPERTY_EXPLICIT;
    case VIEW_SILENT:
    default:
        return 0;
    }
}

const sd_bus_vtable *bus_kind_vtable(ViewKind kind) {
    static sd_bus_vtable vtables[_VIEW_KIND_MAX][VTABLE_MAX];
    sd_bus_vtable *v = vtables[kind];
    size_t n = 0;

    if (v[0].type != 0)
        return v;
    v[n++] = (sd_bus_vtable) SD_BUS_VTABLE_START(0);
    for (const sd_bus_vtable *m = kinds[kind].methods; m && m->x.method.handler; m++)
        v[n++] = *m;
    for (const ViewField *f = view_tables[kind].fields; f->name; f++) {
        assert(n < VTABLE_MAX - 1);
        v[n++] =
                (sd_bus_vtable) SD_BUS_PROPERTY(f->name, f->type, get_property, 0, property_flags(f->change));
    }
    v[n] = (sd_bus_vtable) SD_BUS_VTABLE_END;
    return v;
}

bool bus_is_method(sd_bus_message *m) {
    const char *name;
    ViewKind kind = bus_path_kind(sd_bus_message_get_path(m), &name);

    if (kind < 0)
        return false;
    for (const sd_bus_vtable *v = kinds[kind].methods; v && v->x.method.handler; v++)
        if (sd_bus_message_is_method_call(m, kinds[kind].interface, v->x.method.member) > 0)
            return sd_bus_message_has_signature(m, v->x.method.signature) > 0;
    return false;
}

static int find_object(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found,
        sd_bus_error *error) {
    BusObject object;

    if (!bus_find_object(userdata, path, &object))
        return 0;
    *ret_found = (void *) object.thing; /* getters do not change it */
    return 1;
}

int bus_objects_export(BusFace *b) {
    int r;

    r = sd_bus_add_object_manager(b->bus, NULL, BUS_FACE_PATH);
    if (r >= 0)
        r = sd_bus_add_object_vtable(
                b->bus, NULL, BUS_FACE_PATH, BUS_MANAGER_INTERFACE, bus_kind_vtable(VIEW_MANAGER), b);
    for (ViewKind k = VIEW_DEVICE; k < _VIEW_KIND_MAX && r >= 0; k++)
        r = sd_bus_add_fallback_vtable(
                b->bus, NULL, kinds[k].prefix, kinds[k].interface, bus_kind_vtable(k), find_object, b);
    return r;
}
