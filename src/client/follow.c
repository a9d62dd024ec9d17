/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* On the bus, listening starts before the first call, so that nothing is missed. That call also makes this
 * process a listener of the daemon, which then does not exit when idle. Only signals from the owner of the
 * name count. Over the socket whole objects arrive; their former state is kept here, and the difference is
 * reported. */

#include "client/follow.h"

#include <poll.h>

#include "base/str.h"
#include "client/calls-bus.h"
#include "client/show.h"

#define RECONNECTS_MAX 3U

typedef struct Monitor {
    const Follower *follower;
    VfiodErrorText *error;
    int result; /* negative: end */
    /* on the bus */
    sd_bus *bus;
    char *owner; /* owned; the daemon's unique name, NULL while there is none */
    /* over the socket */
    VfiodConnection *reports, *questions; /* borrowed */
    struct json_object *known, *then;     /* owned; objects by kind and name; those from before a new list */
    bool connected;
    unsigned reconnects; /* since the last event */
} Monitor;

static int report(
        Monitor *m, const char *event, ObjectKind kind, const char *name, struct json_object *properties) {
    return m->follower->report(m->follower->userdata, event, kind, name, properties);
}

static int be_idle(Monitor *m) {
    return m->follower->idle ? m->follower->idle(m->follower->userdata) : 0;
}

static bool is_from_daemon(const Monitor *m, sd_bus_message *message) {
    const char *sender = sd_bus_message_get_sender(message);

    return m->owner && sender && streq(m->owner, sender);
}

/* A signal that cannot be read is skipped; errors of this process end the loop. */
static int finish(Monitor *m, int r) {
    if (r == -ENOMEM || r == -EPIPE || r == -ENOSPC || r == -EIO)
        m->result = error_text_errno(m->error, r, "Cannot show what changes");
    return 0;
}

/* An object that appeared, with its properties, or one that disappeared. */
static int on_object(Monitor *m, sd_bus_message *message, const char *event, bool has_properties) {
    _cleanup_json_ struct json_object *properties = NULL;
    _cleanup_free_ char *name = NULL;
    ObjectKind kind;
    const char *path;
    int r;

    if (!is_from_daemon(m, message))
        return 0;
    r = sd_bus_message_read_basic(message, 'o', &path);
    if (r >= 0)
        r = object_path_parse(path, &kind, &name);
    if (r >= 0 && has_properties)
        r = json_from_interfaces(message, &properties);
    if (r >= 0)
        r = report(m, event, kind, name, properties);
    return finish(m, r);
}

static int on_added(sd_bus_message *message, void *userdata, sd_bus_error *bus_error) {
    return on_object(userdata, message, "added", true);
}

static int on_removed(sd_bus_message *message, void *userdata, sd_bus_error *bus_error) {
    return on_object(userdata, message, "removed", false);
}

/* Properties that changed without a value in the signal are shown as null. */
static int add_invalidated(sd_bus_message *message, struct json_object *properties) {
    const char *property;
    int r;

    r = sd_bus_message_enter_container(message, 'a', "s");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_read_basic(message, 's', &property)) > 0) {
        _cleanup_free_ char *name = json_property_name(property);

        if (!name || json_object_object_add(properties, name, NULL) < 0)
            return -ENOMEM;
    }
    return r;
}

static int on_changed(sd_bus_message *message, void *userdata, sd_bus_error *bus_error) {
    _cleanup_json_ struct json_object *properties = NULL;
    _cleanup_free_ char *name = NULL;
    Monitor *m = userdata;
    const char *interface;
    ObjectKind kind;
    int r;

    if (!is_from_daemon(m, message))
        return 0;
    r = sd_bus_message_read_basic(message, 's', &interface);
    if (r < 0 || object_kind_from_interface(interface) < 0)
        return 0;
    r = object_path_parse(sd_bus_message_get_path(message), &kind, &name);
    if (r >= 0)
        r = json_from_properties(message, &properties);
    if (r >= 0)
        r = add_invalidated(message, properties);
    if (r >= 0)
        r = report(m, "changed", kind, name, properties);
    return finish(m, r);
}

/* Calls the daemon, which starts it if necessary and makes this process a listener. */
static int greet(Monitor *m) {
    _cleanup_bus_error_ sd_bus_error bus_error = SD_BUS_ERROR_NULL;
    _cleanup_json_ struct json_object *properties = NULL;
    _cleanup_message_ sd_bus_message *reply = NULL;
    int r;

    r = sd_bus_call_method(m->bus, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH, "org.freedesktop.DBus.Properties",
            "GetAll", &bus_error, &reply, "s", VFIOD_MANAGER_INTERFACE);
    if (r < 0)
        return error_text_from_bus(m->error, &bus_error, r);
    r = free_and_strdup(&m->owner, sd_bus_message_get_sender(reply));
    if (r >= 0)
        r = json_from_properties(reply, &properties);
    if (r >= 0)
        r = report(m, "connected", OBJECT_MANAGER, "", properties);
    return r < 0 ? error_text_errno(m->error, r, "Cannot show what changes") : 0;
}

/* Claims outlive the daemon, its objects do not. The next daemon is called when it has the name. */
static int on_owner_changed(sd_bus_message *message, void *userdata, sd_bus_error *bus_error) {
    const char *name, *old_owner, *new_owner;
    Monitor *m = userdata;
    int r;

    /* sd-bus does not check the sender of signals that were sent only to us. */
    if (!streq_ptr(sd_bus_message_get_sender(message), "org.freedesktop.DBus"))
        return 0;
    r = sd_bus_message_read(message, "sss", &name, &old_owner, &new_owner);
    if (r < 0 || streq_ptr(m->owner, *new_owner ? new_owner : NULL))
        return 0;
    if (m->owner) {
        free(TAKE_PTR(m->owner));
        r = report(m, "disconnected", OBJECT_MANAGER, "", NULL);
    }
    if (r >= 0 && *new_owner)
        m->result = greet(m);
    return finish(m, r);
}

static int listen_for_signals(Monitor *m) {
    int r;

    r = sd_bus_match_signal(m->bus, NULL, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH,
            "org.freedesktop.DBus.ObjectManager", "InterfacesAdded", on_added, m);
    if (r >= 0)
        r = sd_bus_match_signal(m->bus, NULL, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH,
                "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved", on_removed, m);
    if (r >= 0)
        r = sd_bus_add_match(m->bus, NULL,
                "type='signal',sender='" VFIOD_BUS_NAME "',path_namespace='" VFIOD_OBJECT_PATH "',"
                "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'",
                on_changed, m);
    if (r >= 0)
        r = sd_bus_add_match(m->bus, NULL,
                "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
                "member='NameOwnerChanged',arg0='" VFIOD_BUS_NAME "'",
                on_owner_changed, m);
    return r < 0 ? error_text_from_bus(m->error, NULL, r) : 0;
}

/* Until the bus or a call fails. */
static int follow_bus(Monitor *m) {
    int r;

    r = listen_for_signals(m);
    if (r >= 0)
        r = greet(m);
    while (r >= 0) {
        r = sd_bus_process(m->bus, NULL);
        if (r == 0) {
            r = be_idle(m);
            if (r < 0)
                return r;
        }
        if (r == 0)
            r = sd_bus_wait(m->bus, UINT64_MAX);
        if (r < 0)
            return error_text_from_bus(m->error, NULL, r);
        r = m->result;
    }
    return r;
}

/* ---- over the socket ---- */

/* NULL on ENOMEM. */
static struct json_object *difference(struct json_object *old, struct json_object *new) {
    struct json_object *changed = json_object_new_object();

    json_object_object_foreach(new, key, value) {
        if (changed && !json_object_equal(json_member(old, key), value) &&
                json_object_object_add(changed, key, json_object_get(value)) < 0) {
            json_object_put(changed);
            return NULL;
        }
    }
    return changed;
}

/* o is the present state; old is NULL when it was unknown. */
static int print_object(Monitor *m, const Object *o, struct json_object *old) {
    _cleanup_json_ struct json_object *changed = NULL;

    if (!old)
        return report(m, "added", o->kind, o->name, o->properties);
    changed = difference(old, o->properties);
    if (!changed)
        return -ENOMEM;
    return json_object_object_length(changed) > 0 ? report(m, "changed", o->kind, o->name, changed) : 0;
}

static char *known_key(ObjectKind kind, const char *name) {
    return format_string("%s %s", object_kind_to_string(kind), name);
}

static int take_object(Monitor *m, const Object *o) {
    _cleanup_free_ char *key = known_key(o->kind, o->name);
    int r = 0;

    if (!key)
        return -ENOMEM;
    if (m->then || m->connected)
        r = print_object(m, o, json_member(m->then ?: m->known, key));
    if (m->then)
        json_object_object_del(m->then, key);
    return r < 0 ? r : json_add(m->known, key, json_object_get(o->properties));
}

static int take_removed(Monitor *m, struct json_object *parameters) {
    const char *name = json_text(parameters, "name");
    ObjectKind kind = object_kind_from_string(json_text(parameters, "kind"));
    _cleanup_free_ char *key = NULL;

    if (kind < 0)
        return 0; /* an event of a later version */
    key = known_key(kind, name);
    if (!key)
        return -ENOMEM;
    json_object_object_del(m->known, key);
    return report(m, "removed", kind, name, NULL);
}

/* All objects were reported: former objects that are not among them are gone. */
static int take_complete(Monitor *m) {
    _cleanup_json_ struct json_object *then = TAKE_PTR(m->then);
    _cleanup_object_ Object manager = OBJECT_NULL;
    int r = 0;

    if (then) {
        json_object_object_foreach(then, key, value) {
            _cleanup_free_ char *kind = strndup(key, strcspn(key, " "));

            if (r >= 0)
                r = kind ? report(m, "removed", object_kind_from_string(kind), strchr(key, ' ') + 1, NULL)
                         : -ENOMEM;
        }
        return r;
    }
    r = call_get_manager(m->questions, &manager, m->error);
    if (r < 0)
        return r;
    m->connected = true;
    return report(m, "connected", OBJECT_MANAGER, "", manager.properties);
}

/* No message is waiting. One that was received with others may be handled later, and then it is idle
 * again. */
static bool is_idle(const Monitor *m) {
    struct pollfd p = {.fd = vfiod_connection_get_fd(m->reports), .events = POLLIN};

    return poll(&p, 1, 0) == 0;
}

static int on_report(void *userdata, const char *text) {
    _cleanup_json_ struct json_object *reply = json_tokener_parse(text);
    struct json_object *parameters = json_member(reply, "parameters");
    const char *event = json_text(parameters, "event");
    _cleanup_object_ Object object = OBJECT_NULL;
    Monitor *m = userdata;
    int r;

    m->reconnects = 0;
    r = object_from_reply(parameters, &object);
    if (r >= 0 && streq(event, "complete"))
        r = take_complete(m);
    else if (r >= 0 && streq(event, "removed"))
        r = take_removed(m, parameters);
    else if (r >= 0 && streq(event, "resync")) {
        json_object_put(m->then);
        m->then = TAKE_PTR(m->known);
        m->known = json_object_new_object();
        r = m->known ? 0 : -ENOMEM;
    } else if (r >= 0 && object.kind >= 0)
        r = take_object(m, &object);
    if (r >= 0 && m->connected && is_idle(m))
        r = be_idle(m);
    if (r < 0 && !*m->error->message)
        (void) error_text_errno(m->error, r, "Cannot show what changes");
    return r;
}

static void forget_objects(Monitor *m) {
    json_object_put(m->known);
    json_object_put(m->then);
    m->known = m->then = NULL;
}

/* Until the connection or a call fails. */
static int listen(Monitor *m) {
    const Call call = {.method = METHOD_MONITOR, .pidfd = -EBADF};
    _cleanup_connection_ VfiodConnection *c = NULL, *questions = NULL;
    int r;

    *m->error = (VfiodErrorText){};
    forget_objects(m);
    m->known = json_object_new_object();
    r = m->known ? vfiod_connection_new(&c, m->error) : error_text_errno(m->error, ENOMEM, "Cannot monitor");
    if (r >= 0)
        r = vfiod_connection_new(&questions, m->error);
    m->reports = c;
    m->questions = questions;
    if (r >= 0)
        r = connection_call(c, &call, on_report, m, m->error);
    m->reports = m->questions = NULL;
    if (r >= 0)
        r = error_text_set(m->error, EHOSTUNREACH, ERROR_NAME_UNREACHABLE, "vfiod reports no more.");
    return r;
}

/* Claims outlive the daemon, its objects do not. A new connection starts the next daemon. */
static int follow_socket(Monitor *m) {
    int r, k = 0;

    do {
        r = listen(m);
        if (m->connected)
            k = report(m, "disconnected", OBJECT_MANAGER, "", NULL);
        if (m->connected && k >= 0)
            k = be_idle(m);
        m->connected = false;
        if (k < 0)
            return error_text_errno(m->error, k, "Cannot show what changes");
    } while ((streq(m->error->name, ERROR_NAME_UNREACHABLE) || streq(m->error->name, "ShuttingDown")) &&
            m->reconnects++ < RECONNECTS_MAX);
    return r;
}

static void monitor_done(Monitor *m) {
    forget_objects(m);
    free(m->owner);
}

int follow(const Follower *f, VfiodErrorText *error) {
    _cleanup_(monitor_done) Monitor m = {.follower = f, .error = error};
    _cleanup_connection_ VfiodConnection *c = NULL;
    int r;

    r = vfiod_connection_new(&c, error);
    if (r < 0)
        return r;
    m.bus = bus_of(c);
    return m.bus ? follow_bus(&m) : follow_socket(&m);
}
