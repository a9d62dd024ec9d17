/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/bus-names.h"

#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "base/user-name.h"

#define BUS_NAME "org.freedesktop.DBus"
#define BUS_PATH "/org/freedesktop/DBus"
#define RETRY_USEC (1 * UINT64_C(1000000))

typedef struct Watched Watched;

struct Watched {
    BusNames *owner;
    Watched *next;
    char connection[CONNECTION_NAME_MAX];
    uid_t uid;
    unsigned n_users;
    bool gone;                 /* to be reported */
    sd_bus_slot *match, *last; /* last: checks whether it still exists, once the match is active */
};

struct BusNames {
    sd_event *event;
    sd_bus *bus;         /* borrowed */
    char id[40];         /* of the bus; "": not known yet */
    sd_bus_slot *lookup; /* GetId in progress */
    Watched *names;
    sd_event_source *tell, *retry;
    void (*gone)(void *userdata, const char *connection);
    void *userdata;
};

static const char *unique_name(const Watched *w) {
    return strchr(w->connection, ':');
}

static void stop_watching(Watched *w) {
    w->match = sd_bus_slot_unref(w->match);
    w->last = sd_bus_slot_unref(w->last);
}

/* ---- The end of a connection ---- */

/* The callback removes this entry, and possibly others. */
static int on_tell(sd_event_source *s, void *userdata) {
    BusNames *b = userdata;
    Watched *w = b->names;

    while (w) {
        char connection[CONNECTION_NAME_MAX];

        if (!w->gone) {
            w = w->next;
            continue;
        }
        w->gone = false;
        memcpy(connection, w->connection, sizeof(connection));
        b->gone(b->userdata, connection);
        w = b->names;
    }
    return 0;
}

static void note_gone(Watched *w) {
    w->gone = true;
    stop_watching(w);
    (void) sd_event_source_set_enabled(w->owner->tell, SD_EVENT_ONESHOT);
}

/* ---- Watching ---- */

/* See credentials.c: anybody could send us such a signal. */
static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    const char *name, *old_owner, *new_owner;
    Watched *w = userdata;

    if (!streq_ptr(sd_bus_message_get_sender(m), BUS_NAME) ||
            sd_bus_message_read(m, "sss", &name, &old_owner, &new_owner) < 0)
        return 0;
    if (streq(name, unique_name(w)) && !*new_owner)
        note_gone(w);
    return 0;
}

static void try_again(Watched *w) {
    stop_watching(w);
    (void) sd_event_source_set_time_relative(w->owner->retry, RETRY_USEC);
    (void) sd_event_source_set_enabled(w->owner->retry, SD_EVENT_ONESHOT);
}

static int on_last(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    Watched *w = userdata;
    int there;

    w->last = sd_bus_slot_unref(w->last);
    if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "b", &there) < 0)
        try_again(w);
    else if (!there)
        note_gone(w);
    return 1;
}

static int on_match(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    Watched *w = userdata;

    if (sd_bus_message_is_method_error(m, NULL) ||
            sd_bus_call_method_async(w->owner->bus, &w->last, BUS_NAME, BUS_PATH, BUS_NAME, "NameHasOwner",
                    on_last, w, "s", unique_name(w)) < 0)
        try_again(w);
    return 1;
}

static void start_watching(Watched *w) {
    BusNames *b = w->owner;
    char match[320];

    if (!b->bus || !b->id[0] || w->match || w->gone)
        return;
    if (strncmp(w->connection, b->id, strlen(b->id)) != 0) {
        note_gone(w);
        return;
    }
    (void) snprintf(match, sizeof(match),
            "type='signal',sender='" BUS_NAME "',path='" BUS_PATH "',interface='" BUS_NAME "',"
            "member='NameOwnerChanged',arg0='%s'",
            unique_name(w));
    if (sd_bus_add_match_async(b->bus, &w->match, match, on_owner_changed, on_match, w) < 0)
        try_again(w);
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata) {
    BusNames *b = userdata;

    for (Watched *w = b->names; w; w = w->next)
        start_watching(w);
    return 0;
}

static int ask_id(BusNames *b);

static int on_id(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    BusNames *b = userdata;
    const char *id;

    b->lookup = sd_bus_slot_unref(b->lookup);
    if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "s", &id) < 0 || strlen(id) != 32 ||
            strchr(id, ':')) {
        log_warning("The bus did not report its id: claims that are tied to a connection are kept");
        return 1;
    }
    (void) snprintf(b->id, sizeof(b->id), "%s", id);
    return on_retry(NULL, 0, b), 1;
}

static int ask_id(BusNames *b) {
    return sd_bus_call_method_async(
            b->bus, &b->lookup, BUS_NAME, BUS_PATH, BUS_NAME, "GetId", on_id, b, NULL);
}

void bus_names_set_bus(BusNames *b, sd_bus *bus) {
    for (Watched *w = b->names; w; w = w->next)
        stop_watching(w);
    b->lookup = sd_bus_slot_unref(b->lookup);
    b->id[0] = '\0';
    b->bus = bus;
    if (bus && ask_id(b) < 0)
        log_warning("Cannot ask the bus for its id: claims that are tied to a connection are kept");
}

/* ---- Entries ---- */

static Watched *find(BusNames *b, const char *connection) {
    for (Watched *w = b->names; w; w = w->next)
        if (streq(w->connection, connection))
            return w;
    return NULL;
}

int bus_names_resume(BusNames *b, const char *connection, uid_t uid) {
    Watched *w = find(b, connection);

    if (!w) {
        w = malloc(sizeof(*w));
        if (!w)
            return -ENOMEM;
        *w = (Watched){.owner = b, .next = b->names, .uid = uid};
        (void) snprintf(w->connection, sizeof(w->connection), "%s", connection);
        b->names = w;
    }
    w->n_users++;
    start_watching(w);
    return 0;
}

static int check_room(const BusNames *b, uid_t uid, Refusal *refusal) {
    unsigned n = 0, n_of_user = 0;

    for (const Watched *w = b->names; w; w = w->next) {
        n++;
        n_of_user += w->uid == uid;
    }
    if (n < BUS_NAMES_MAX && n_of_user < BUS_NAMES_PER_UID_MAX)
        return 0;
    (void) refuse(refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL,
            "claims of %s are tied to %u connections, and those of all users to %u", USER_TEXT(uid),
            n_of_user, n);
    refusal->remedy = strdup("Use fewer connections, or set the option \"tether\" to another tether.");
    return -error_info(VFIOD_ERROR_LIMIT_EXCEEDED)->error;
}

int bus_names_watch(
        BusNames *b, const char *name, uid_t uid, char ret[static CONNECTION_NAME_MAX], Refusal *refusal) {
    char connection[CONNECTION_NAME_MAX];
    int n, r = 0;

    n = snprintf(connection, sizeof(connection), "%s%s", b->id, name);
    if (!b->id[0] || name[0] != ':' || n < 0 || (size_t) n >= sizeof(connection))
        return refuse(refusal, VFIOD_ERROR_INTERNAL, NULL, "the bus did not report its id");
    if (!find(b, connection))
        r = check_room(b, uid, refusal);
    if (r < 0)
        return r;
    if (bus_names_resume(b, connection, uid) < 0)
        return refuse(refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
    memcpy(ret, connection, sizeof(connection));
    return 0;
}

void bus_names_unwatch(BusNames *b, const char *connection) {
    for (Watched **i = &b->names; *i; i = &(*i)->next) {
        Watched *w = *i;

        if (!streq(w->connection, connection))
            continue;
        if (--w->n_users > 0)
            return;
        *i = w->next;
        stop_watching(w);
        free(w);
        return;
    }
}

BusNames *bus_names_free(BusNames *b) {
    if (!b)
        return NULL;
    assert(!b->names);
    sd_bus_slot_unref(b->lookup);
    sd_event_source_disable_unref(b->tell);
    sd_event_source_disable_unref(b->retry);
    sd_event_unref(b->event);
    free(b);
    return NULL;
}

int bus_names_new(sd_event *event, void (*gone)(void *userdata, const char *connection), void *userdata,
        BusNames **ret) {
    _cleanup_(bus_names_freep) BusNames *b = malloc(sizeof(*b));
    int r;

    if (!b)
        return -ENOMEM;
    *b = (BusNames){.event = sd_event_ref(event), .gone = gone, .userdata = userdata};
    r = sd_event_add_defer(event, &b->tell, on_tell, b);
    if (r >= 0) /* as lifelines: before the next request */
        r = sd_event_source_set_priority(b->tell, SD_EVENT_PRIORITY_IMPORTANT);
    if (r >= 0)
        r = sd_event_source_set_enabled(b->tell, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_add_time_relative(event, &b->retry, CLOCK_MONOTONIC, RETRY_USEC, 0, on_retry, b);
    if (r >= 0)
        r = sd_event_source_set_enabled(b->retry, SD_EVENT_OFF);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(b);
    return 0;
}
