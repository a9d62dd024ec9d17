/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Each entry remembers whether listeners knew the object when the entry was made. When it is announced, the
 * object's present existence is looked up, and both together decide what to announce. An object that
 * disappeared and was made again under the same name is announced as removed and added, because it is another
 * one. A removal is always announced, even if the object was not: somebody may have found it by reading, and
 * may wait for its end.
 *
 * A burst (a rescan of thousands of devices) is announced in batches, between which the loop is free.
 * While a list of all objects is being made nothing is announced, because it would be older or newer than
 * the list. */

#include <search.h>

#include "base/log.h"
#include "daemon/bus/bus-internal.h"

#define DELAY_USEC (10 * 1000ULL)
#define BATCH 128U

typedef struct Key {
    ViewKind kind;
    DeviceName device;
    int group;
    char claim[CLAIM_ID_MAX];
} Key;

typedef struct Entry Entry;
struct Entry {
    Key key; /* must be first: the tree compares it */
    bool was_known, went;
    unsigned properties;
    Entry *next; /* announcer.first … last, in order of arrival */
};

struct BusAnnouncer {
    BusFace *face; /* borrowed */
    sd_bus *bus;   /* owned reference */
    sd_event_source *timer;
    void *tree; /* tsearch(3) tree of Entry by key */
    Entry *first, *last;
};

static const char *const property_names[] = {"Driver", "Group", "VfioNode", "State", "Claim", "Devices",
        "Fingerprint", "Viable", "Failure", "QuarantineCause", "Groups", "Rule", "Tether", "QueuePosition",
        "Eviction", "EvictAt", "EvictReason", "Warnings", "EvictCause", "Deadline", "Stopping", "StopAt",
        "SleepAt", "Resume", "ResumeFailures"};

static int compare_keys(const void *pa, const void *pb) {
    const Key *a = pa, *b = pb;

    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    switch (a->kind) {
    case VIEW_DEVICE:
        return device_name_compare(&a->device, &b->device);
    case VIEW_GROUP:
        return a->group < b->group ? -1 : a->group > b->group;
    case VIEW_CLAIM:
    default:
        return strcmp(a->claim, b->claim);
    }
}

/* The object as it is now, if it exists. */
static bool find_object(BusAnnouncer *a, const Key *key, BusObject *ret) {
    const ViewHost *host = &a->face->context.host;

    ret->kind = key->kind;
    switch (key->kind) {
    case VIEW_DEVICE:
        ret->thing = inventory_find_device(host->inventory, &key->device);
        break;
    case VIEW_GROUP:
        ret->thing = inventory_find_group(host->inventory, key->group);
        break;
    case VIEW_CLAIM:
    default:
        ret->thing = broker_find_claim(host->broker, key->claim);
        break;
    }
    return ret->thing;
}

static const char *object_path(const Key *key, char buf[static BUS_OBJECT_PATH_MAX]) {
    const ViewReference reference = {
            .kind = key->kind,
            .device = &key->device,
            .group = key->group,
            .claim = key->claim,
    };

    return bus_object_path(&reference, buf);
}

static int emit_changed(BusAnnouncer *a, const char *path, const Entry *e) {
    const char *names[ELEMENTSOF(property_names) + 1] = {};
    size_t n = 0;

    for (size_t i = 0; i < ELEMENTSOF(property_names); i++)
        if (e->properties & (1U << i))
            names[n++] = property_names[i];
    if (n == 0)
        return 0;
    return sd_bus_emit_properties_changed_strv(
            a->bus, path, bus_kind_interface(e->key.kind), (char **) names);
}

/* As in GetManagedObjects: without properties that are never announced, and without standard interfaces. */
static int emit_added(BusAnnouncer *a, const char *path, const BusObject *object) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    int r;

    r = sd_bus_message_new_signal(
            a->bus, &m, BUS_FACE_PATH, "org.freedesktop.DBus.ObjectManager", "InterfacesAdded");
    if (r >= 0)
        r = sd_bus_message_append_basic(m, 'o', path);
    if (r >= 0)
        r = bus_append_interfaces(a->face, m, object, /* reader= */ NULL);
    return r < 0 ? r : sd_bus_message_send(m);
}

static void tell(BusAnnouncer *a, const Entry *e) {
    char path[BUS_OBJECT_PATH_MAX];
    BusObject object;
    bool exists = find_object(a, &e->key, &object);
    int r = 0;

    object_path(&e->key, path);
    if (e->went || (e->was_known && !exists))
        r = sd_bus_emit_interfaces_removed(a->bus, path, bus_kind_interface(e->key.kind), NULL);
    if (r >= 0 && exists && (!e->was_known || e->went))
        r = emit_added(a, path, &object);
    else if (r >= 0 && exists)
        r = emit_changed(a, path, e);
    if (r < 0)
        log_debug("Cannot announce %s: %s", path, strerror(-r));
}

static int arm(BusAnnouncer *a, uint64_t delay_usec) {
    int r;

    r = sd_event_source_set_time_relative(a->timer, delay_usec);
    if (r < 0)
        return r;
    return sd_event_source_set_enabled(a->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    BusAnnouncer *a = userdata;

    if (door_is_answering(a->face->context.door))
        return 0;
    for (unsigned i = 0; i < BATCH && a->first; i++) {
        Entry *e = a->first;

        a->first = e->next;
        if (!a->first)
            a->last = NULL;
        tdelete(e, &a->tree, compare_keys);
        tell(a, e);
        free(e);
    }
    if (!a->first)
        return 0;
    return arm(a, 0);
}

/* Finds or makes the entry of an object. */
static Entry *entry_of(BusAnnouncer *a, const Key *key, ObjectChange change) {
    Entry *e, **found;

    found = tfind(key, &a->tree, compare_keys);
    if (found)
        return *found;
    e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->key = *key;
    e->was_known = change != OBJECT_ADDED;
    if (!tsearch(e, &a->tree, compare_keys)) {
        free(e);
        return NULL;
    }
    if (a->last)
        a->last->next = e;
    else {
        a->first = e;
        (void) arm(a, DELAY_USEC);
    }
    a->last = e;
    return e;
}

static void announce(BusAnnouncer *a, const Key *key, ObjectChange change, unsigned properties) {
    Entry *e = entry_of(a, key, change);

    if (!e) {
        log_debug("Out of memory: an announcement is lost");
        return;
    }
    e->properties |= properties;
    if (change == OBJECT_REMOVED)
        e->went = true;
}

void bus_announce_device(BusAnnouncer *a, const DeviceName *name, ObjectChange change, unsigned properties) {
    announce(a, &(Key){.kind = VIEW_DEVICE, .device = *name}, change, properties);
}

void bus_announce_group(BusAnnouncer *a, int id, ObjectChange change, unsigned properties) {
    announce(a, &(Key){.kind = VIEW_GROUP, .group = id}, change, properties);
}

void bus_announce_claim(BusAnnouncer *a, const char *id, ObjectChange change, unsigned properties) {
    Key key = {.kind = VIEW_CLAIM};

    memcpy(key.claim, id, strnlen(id, sizeof key.claim - 1));
    announce(a, &key, change, properties);
}

void bus_announcer_go_on(BusAnnouncer *a) {
    if (a->first)
        (void) arm(a, 0);
}

int bus_announcer_new(BusFace *face, BusAnnouncer **ret) {
    _cleanup_(bus_announcer_freep) BusAnnouncer *a = calloc(1, sizeof *a);
    int r;

    if (!a)
        return -ENOMEM;
    r = sd_event_add_time_relative(
            face->context.event, &a->timer, CLOCK_MONOTONIC, DELAY_USEC, 1000, on_timer, a);
    if (r < 0)
        return r;
    r = sd_event_source_set_enabled(a->timer, SD_EVENT_OFF);
    if (r < 0)
        return r;
    a->face = face;
    a->bus = sd_bus_ref(face->bus);
    *ret = TAKE_PTR(a);
    return 0;
}

BusAnnouncer *bus_announcer_free(BusAnnouncer *a) {
    if (!a)
        return NULL;
    while (a->first) {
        Entry *e = a->first;

        a->first = e->next;
        tdelete(e, &a->tree, compare_keys);
        free(e);
    }
    sd_event_source_disable_unref(a->timer);
    sd_bus_unref(a->bus);
    free(a);
    return NULL;
}
