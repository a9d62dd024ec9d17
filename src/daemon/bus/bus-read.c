/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reading: properties, the list of all objects, introspection. sd-bus could answer all of that itself, but at
 * once, for everybody, however long it takes. So these calls are intercepted before sd-bus, and go through
 * the door like all others.
 *
 * GetManagedObjects is made in slices, between which the loop is free. Changes during that time are announced
 * after the answer, so that answer and signals together are right. Properties that are not announced are left
 * out: they would be outdated at once, and each costs a read of the host for each object. Get and GetAll have
 * them. */

#include "base/log.h"
#include "base/str.h"
#include "daemon/broker/view-walk.h"
#include "daemon/bus/bus-internal.h"

#define PROPERTIES "org.freedesktop.DBus.Properties"
#define OBJECT_MANAGER "org.freedesktop.DBus.ObjectManager"
#define INTROSPECTABLE "org.freedesktop.DBus.Introspectable"

/* The size of an object's path and interfaces in a list, roughly. */
#define OBJECT_BYTES 128U
/* With so many unsent messages, long answers wait until the bus takes them, instead of using more memory. */
#define MESSAGES_WAITING_MAX 16U
#define PROPERTY_SHOWN_MAX 64U

struct BusReading {
    sd_bus_message *reply;  /* owned; under construction */
    const ViewField *field; /* GetAll: the next one */
    ViewWalk walk;          /* a list: its position */
    uint64_t fields;        /* ListDevices: mask of the rows of the table */
    StrBuf text;            /* introspection */
    uint64_t bytes;
};

BusReading *bus_reading_free(BusReading *reading) {
    if (!reading)
        return NULL;
    sd_bus_message_unref(reading->reply);
    strbuf_done(&reading->text);
    view_walk_done(&reading->walk);
    free(reading);
    return NULL;
}

static BusReading *get_reading(BusCall *call) {
    if (!call->reading)
        call->reading = calloc(1, sizeof(*call->reading));
    return call->reading;
}

static int fail(BusCall *call, const char *name, const char *text) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *answer = NULL;
    const sd_bus_error error = SD_BUS_ERROR_MAKE_CONST(name, text);
    int r;

    r = sd_bus_message_new_method_error(call->message, &answer, &error);
    if (r >= 0)
        r = bus_call_send_error(call, answer, strlen(text));
    return r;
}

static int fail_unknown_object(BusCall *call) {
    return fail(call, SD_BUS_ERROR_UNKNOWN_OBJECT, "There is no such object.");
}

/* An error for a value that is not available. Programs know these errors by the names that sd-bus uses. */
static int fail_value(BusCall *call, int r, const Refusal *refusal) {
    _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;

    if (refusal && (int) refusal->code >= 0)
        return r;
    (void) sd_bus_error_set_errno(&error, r);
    return fail(call, error.name, error.message);
}

/* ---- One property ---- */

/* -EAGAIN: the call is run again when they are read. */
static int look_for_facts(BusCall *call, const BusObject *object, const ViewField *field) {
    if (field->facts == 0)
        return 0;
    return broker_look_at(call->face->context.host.broker, &call->inquiry,
            object->kind == VIEW_DEVICE ? &((const Device *) object->thing)->name : NULL, field->facts);
}

static int run_get(BusCall *call, const Subject *subject, Refusal *refusal);

/* The call is run from the beginning, because the claim may be gone by now. */
static void on_holders(void *userdata, const HolderAnswer *answer) {
    BusCall *call = userdata;
    Refusal refusal = REFUSAL_NULL;
    int r;

    call->holders = NULL;
    call->found = answer;
    view_charge_holders(&call->face->context.host, call->subject, answer);
    (void) sd_bus_message_rewind(call->message, /* complete= */ true);
    r = run_get(call, call->subject, &refusal);
    if (r < 0)
        bus_call_refuse(call, r, &refusal);
    refusal_done(&refusal);
    bus_call_free(call);
}

static int search_holders(BusCall *call, const Subject *subject, Refusal *refusal) {
    const ViewHost *host = &call->face->context.host;
    int r;

    r = view_check_holders(host, subject, refusal);
    if (r >= 0)
        r = holder_search_ask(broker_holders(host->broker), on_holders, call, &call->holders);
    return r < 0 ? r : BUS_CALL_PENDING;
}

static int run_get(BusCall *call, const Subject *subject, Refusal *refusal) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    const char *interface, *property;
    const ViewField *field = NULL;
    BusObject object;
    uint64_t before;
    int r;

    r = sd_bus_message_read(call->message, "ss", &interface, &property);
    if (r < 0)
        return r;
    if (!bus_find_object(call->face, sd_bus_message_get_path(call->message), &object))
        return fail_unknown_object(call);
    if (streq(interface, bus_kind_interface(object.kind)))
        field = view_find_field(&view_tables[object.kind], property);
    if (!field)
        return fail(call, SD_BUS_ERROR_UNKNOWN_PROPERTY, "Unknown property or interface.");
    r = look_for_facts(call, &object, field);
    if (r < 0)
        return r;
    if (view_needs_holders(field) && !call->found)
        return search_holders(call, subject, refusal);
    object.found = call->found;
    r = sd_bus_message_new_method_return(call->message, &reply);
    if (r < 0)
        return r;
    before = call->face->written;
    r = bus_append_value(call->face, reply, &object, field, subject, &call->inquiry.survey, refusal);
    if (r < 0)
        return fail_value(call, r, refusal);
    return bus_call_send(call, reply, call->face->written - before);
}

/* ---- All properties of an object ---- */

/* Interfaces without properties that every object has. */
static bool is_standard_interface(const char *interface) {
    return streq(interface, PROPERTIES) || streq(interface, INTROSPECTABLE) ||
            streq(interface, OBJECT_MANAGER) || streq(interface, "org.freedesktop.DBus.Peer");
}

static const ViewField no_field = {};

static int begin_get_all(BusCall *call, BusReading *reading, const BusObject *object) {
    const char *interface;
    int r;

    r = sd_bus_message_read(call->message, "s", &interface);
    if (r < 0)
        return r;
    if (*interface && !is_standard_interface(interface) &&
            !streq(interface, bus_kind_interface(object->kind)))
        return fail(call, SD_BUS_ERROR_UNKNOWN_INTERFACE, "Unknown interface.");
    r = sd_bus_message_new_method_return(call->message, &reading->reply);
    if (r >= 0)
        r = sd_bus_message_open_container(reading->reply, 'a', "{sv}");
    reading->field = is_standard_interface(interface) ? &no_field : view_tables[object->kind].fields;
    return r < 0 ? r : BUS_CALL_MORE;
}

static int run_get_all(BusCall *call, const Subject *subject, Refusal *refusal) {
    BusReading *reading = get_reading(call);
    BusObject object;
    uint64_t before;
    int r;

    if (!reading)
        return -ENOMEM;
    if (!bus_find_object(call->face, sd_bus_message_get_path(call->message), &object))
        return fail_unknown_object(call);
    r = reading->reply ? BUS_CALL_MORE : begin_get_all(call, reading, &object);
    if (r != BUS_CALL_MORE)
        return r;
    for (; reading->field->name; reading->field++) {
        if (door_is_over(call->face->context.door))
            return BUS_CALL_MORE;
        if (reading->field->change == VIEW_COSTLY)
            continue;
        before = call->face->written;
        r = bus_append_property(call->face, reading->reply, &object, reading->field, subject, refusal);
        if (r < 0)
            return fail_value(call, r, refusal);
        reading->bytes += call->face->written - before;
    }
    r = sd_bus_message_close_container(reading->reply);
    return r < 0 ? r : bus_call_send(call, reading->reply, reading->bytes);
}

/* ---- Lists ---- */

/* The next object of the current kind. 1; 0: there are no more; -ENOMEM. */
static int next_object(BusFace *b, BusReading *reading, BusObject *ret, ViewReference *ret_reference) {
    *ret = (BusObject){.kind = reading->walk.kind};
    return view_walk_next(&reading->walk, &b->context.host, &ret->thing, ret_reference);
}

static bool must_wait(BusFace *b) {
    uint64_t n = 0;

    return sd_bus_get_n_queued_write(b->bus, &n) >= 0 && n > MESSAGES_WAITING_MAX;
}

/* ---- GetManagedObjects and ListDevices ---- */

typedef struct {
    const char *entry; /* the signature of an entry, without braces */
    ViewKind end;      /* the kinds from VIEW_DEVICE to before this one are listed */
    int (*append)(BusCall *call, const BusObject *object);
} Listing;

static int append_interfaces(BusCall *call, const BusObject *object) {
    return bus_append_interfaces(call->face, call->reading->reply, object, call->subject);
}

static const Listing all_objects = {"oa{sa{sv}}", _VIEW_KIND_MAX, append_interfaces};

static int append_fields(BusCall *call, const BusObject *object) {
    const ViewField *fields = view_tables[VIEW_DEVICE].fields;
    sd_bus_message *reply = call->reading->reply;
    int r;

    r = sd_bus_message_open_container(reply, 'a', "{sv}");
    for (uint64_t rest = call->reading->fields; rest != 0 && r >= 0; rest &= rest - 1)
        r = bus_append_property(
                call->face, reply, object, &fields[__builtin_ctzll(rest)], call->subject, NULL);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static const Listing all_devices = {"oa{sv}", VIEW_DEVICE + 1, append_fields};

static int begin_list(BusCall *call, const Listing *listing) {
    BusReading *reading = call->reading;
    char type[16];
    int r;

    r = sd_bus_message_new_method_return(call->message, &reading->reply);
    if (r < 0)
        return r;
    view_walk_begin(&reading->walk, VIEW_DEVICE);
    (void) snprintf(type, sizeof(type), "{%s}", listing->entry);
    return sd_bus_message_open_container(reading->reply, 'a', type);
}

static int append_entry(
        BusCall *call, const Listing *listing, const BusObject *object, const ViewReference *reference) {
    sd_bus_message *reply = call->reading->reply;
    char path[BUS_OBJECT_PATH_MAX];
    int r;

    r = sd_bus_message_open_container(reply, 'e', listing->entry);
    if (r >= 0)
        r = sd_bus_message_append_basic(reply, 'o', bus_object_path(reference, path));
    if (r >= 0)
        r = listing->append(call, object);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* Continues a list. */
static int run_list(BusCall *call, const Listing *listing) {
    BusReading *reading = call->reading;
    BusFace *b = call->face;
    ViewReference reference;
    BusObject object;
    uint64_t before;
    int r = 0;

    while (r >= 0 && reading->walk.kind < listing->end) {
        if (door_is_over(b->context.door))
            return BUS_CALL_MORE;
        r = next_object(b, reading, &object, &reference);
        if (r == 0)
            view_walk_begin(&reading->walk, reading->walk.kind + 1);
        else if (r > 0) {
            before = b->written;
            r = append_entry(call, listing, &object, &reference);
            reading->bytes += OBJECT_BYTES + b->written - before;
        }
    }
    if (r >= 0)
        r = sd_bus_message_close_container(reading->reply);
    return r < 0 ? r : bus_call_send(call, reading->reply, reading->bytes);
}

static int run_objects(BusCall *call, const Subject *subject, Refusal *refusal) {
    BusReading *reading = get_reading(call);
    int r = 0;

    if (!reading)
        return -ENOMEM;
    if (must_wait(call->face))
        return BUS_CALL_WAIT;
    if (!reading->reply)
        r = begin_list(call, &all_objects);
    return r < 0 ? r : run_list(call, &all_objects);
}

static int read_fields(sd_bus_message *m, uint64_t *ret, Refusal *refusal) {
    const ViewTable *table = &view_tables[VIEW_DEVICE];
    const char *name;
    int r;

    *ret = 0;
    r = sd_bus_message_enter_container(m, 'a', "s");
    while (r >= 0 && (r = sd_bus_message_read_basic(m, 's', &name)) > 0) {
        const ViewField *field = view_find_field(table, name);
        _cleanup_free_ char *shown = field ? NULL : sanitize(name, PROPERTY_SHOWN_MAX);

        if (!field)
            return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "devices have no property \"%s\"",
                    shown ?: "");
        if (field->change == VIEW_COSTLY)
            return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                    "%s is costly to read: read it of each device", field->name);
        *ret |= UINT64_C(1) << (field - table->fields);
    }
    return r;
}

int bus_list_devices(BusCall *call, const Subject *subject, Refusal *refusal) {
    BusReading *reading = get_reading(call);
    int r = 0;

    if (!reading)
        return -ENOMEM;
    if (must_wait(call->face))
        return BUS_CALL_WAIT;
    if (!reading->reply) {
        r = read_fields(call->message, &reading->fields, refusal);
        if (r >= 0)
            r = begin_list(call, &all_devices);
    }
    return r < 0 ? r : run_list(call, &all_devices);
}

/* ---- Introspection ---- */

/* The text is the same for all objects of a kind, and sd-bus makes it. */
static const char *text_of_kind(BusFace *b, ViewKind kind) {
    char path[BUS_OBJECT_PATH_MAX];

    if (b->introspection[kind])
        return b->introspection[kind];
    (void) snprintf(path, sizeof(path), "%s%s", bus_kind_prefix(kind), kind == VIEW_MANAGER ? "" : "/0");
    return bus_introspect(path, &b->introspection[kind]) < 0 ? NULL : b->introspection[kind];
}

static void add_node(StrBuf *text, const char *name) {
    strbuf_addf(text, " <node name=\"%s\"/>\n", name);
}

static int reply_text(BusCall *call, StrBuf *text) {
    strbuf_addf(text, "</node>\n");
    return text->error != 0 ? text->error : bus_call_reply(call, 's', text->text);
}

/* The manager, and the objects below it. */
static int introspect_manager(BusCall *call) {
    _cleanup_strbuf_ StrBuf text = {};
    const char *manager = text_of_kind(call->face, VIEW_MANAGER);
    const char *end = manager ? strstr(manager, "</node>") : NULL;

    if (!end)
        return -ENOMEM;
    strbuf_addf(&text, "%.*s", (int) (end - manager), manager);
    add_node(&text, "claim");
    add_node(&text, "device");
    add_node(&text, "group");
    return reply_text(call, &text);
}

static int introspect_object(BusCall *call) {
    const char *text;
    BusObject object;

    if (!bus_find_object(call->face, sd_bus_message_get_path(call->message), &object))
        return fail_unknown_object(call);
    text = text_of_kind(call->face, object.kind);
    return text ? bus_call_reply(call, 's', text) : -ENOMEM;
}

static int run_introspect(BusCall *call, const Subject *subject, Refusal *refusal) {
    return streq(sd_bus_message_get_path(call->message), BUS_FACE_PATH) ? introspect_manager(call)
                                                                        : introspect_object(call);
}

/* The nodes above all objects of a kind have standard interfaces only. */
static int begin_nodes(BusCall *call, BusReading *reading, ViewKind kind) {
    const char *object = text_of_kind(call->face, kind);
    const char *end = object ? strstr(object, " <interface name=\"" BUS_FACE_NAME ".") : NULL;

    if (!end)
        return -ENOMEM;
    strbuf_addf(&reading->text, "%.*s", (int) (end - object), object);
    view_walk_begin(&reading->walk, kind);
    return reading->text.error;
}

static int run_nodes(BusCall *call, const Subject *subject, Refusal *refusal) {
    BusReading *reading = get_reading(call);
    BusFace *b = call->face;
    char path[BUS_OBJECT_PATH_MAX];
    ViewReference reference;
    BusObject object;
    const char *name;
    ViewKind kind = bus_path_kind(sd_bus_message_get_path(call->message), &name);
    int r = 0;

    if (!reading)
        return -ENOMEM;
    if (must_wait(b))
        return BUS_CALL_WAIT;
    if (!reading->text.text)
        r = begin_nodes(call, reading, kind);
    if (r < 0)
        return r;
    while ((r = next_object(b, reading, &object, &reference)) > 0) {
        add_node(&reading->text,
                bus_object_path(&reference, path) + strlen(bus_kind_prefix(kind)) + strlen("/"));
        if (door_is_over(b->context.door))
            return BUS_CALL_MORE;
    }
    return r < 0 ? r : reply_text(call, &reading->text);
}

/* ---- Which call is which ---- */

typedef struct Read {
    const char *interface, *member, *signature;
    bus_call_run_t run;
    DoorKind kind;
} Read;

static const Read reads[] = {
        {PROPERTIES, "Get", "ss", run_get, DOOR_SHORT},
        {PROPERTIES, "GetAll", "s", run_get_all, DOOR_SHORT},
        {OBJECT_MANAGER, "GetManagedObjects", "", run_objects, DOOR_LONG},
        {INTROSPECTABLE, "Introspect", "", run_introspect, DOOR_SHORT},
};
static const Read read_nodes = {.run = run_nodes, .kind = DOOR_LONG};

static const Read *find_read(sd_bus_message *m) {
    const char *name, *path = sd_bus_message_get_path(m);
    ViewKind kind = bus_path_kind(path, &name);
    const Read *read = NULL;

    for (size_t i = 0; i < ELEMENTSOF(reads) && !read; i++)
        if (sd_bus_message_is_method_call(m, reads[i].interface, reads[i].member) > 0)
            read = &reads[i];
    if (!read || kind < 0 || !sd_bus_message_has_signature(m, read->signature))
        return NULL;
    if (kind == VIEW_MANAGER)
        return read;
    if (read->run == run_objects)
        return NULL;
    if (name)
        return read;
    return read->run == run_introspect ? &read_nodes : NULL;
}

int bus_read_begin(BusFace *b, sd_bus_message *m, sd_bus_error *error) {
    const Read *read = find_read(m);

    return read ? bus_call_ask(b, m, read->kind, read->run, error) : 0;
}
