/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/bus/bus-unread.h"

#include "base/str.h"

typedef struct Stats {
    uint32_t in_bytes, in_fds, out_bytes, out_fds;
} Stats;

static int read_number(sd_bus_message *m, Stats *stats) {
    const struct {
        const char *name;
        uint32_t *number;
    } numbers[] = {
            {"IncomingBytes", &stats->in_bytes},
            {"IncomingFDs", &stats->in_fds},
            {"OutgoingBytes", &stats->out_bytes},
            {"OutgoingFDs", &stats->out_fds},
    };
    const char *name;
    int r;

    r = sd_bus_message_read(m, "s", &name);
    if (r < 0)
        return r;
    for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
        if (streq(name, numbers[i].name))
            return sd_bus_message_read(m, "v", "u", numbers[i].number);
    return sd_bus_message_skip(m, "v");
}

static Stats read_stats(sd_bus_message *m) {
    Stats stats = {};

    if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_enter_container(m, 'a', "{sv}") < 0)
        return stats;
    while (sd_bus_message_enter_container(m, 'e', "sv") > 0)
        if (read_number(m, &stats) < 0 || sd_bus_message_exit_container(m) < 0)
            break;
    return stats;
}

static int ask(sd_bus *bus, sd_bus_slot **slot, sd_bus_message_handler_t answered, void *userdata,
        const char *name) {
    return sd_bus_call_method_async(bus, slot, "org.freedesktop.DBus", "/org/freedesktop/DBus",
            "org.freedesktop.DBus.Debug.Stats", "GetConnectionStats", answered, userdata, "s", name);
}

/* The answer does not include what was sent after the question. */
static int on_stats(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    BusUnread *u = userdata;
    Stats stats = read_stats(m);

    u->question = sd_bus_slot_unref(u->question);
    door_note_unread(u->door, &u->reader,
            stats.out_bytes + stats.out_fds * DOOR_FD_BYTES + (u->reader.unread - u->unread_when_asked));
    return 1;
}

void bus_unread_ask(BusUnread *u, sd_bus *bus, const char *name) {
    if (u->question || u->reader.unread == 0)
        return;
    u->unread_when_asked = u->reader.unread;
    (void) ask(bus, &u->question, on_stats, u, name);
}

void bus_unread_done(BusUnread *u, bool gone) {
    u->question = sd_bus_slot_unref(u->question);
    if (!u->door)
        return;
    if (gone)
        door_note_unread(u->door, &u->reader, 0);
    door_reader_done(u->door, &u->reader);
    u->door = NULL;
}

/* ---- Without a connection ---- */

/* All our messages that the bus keeps, for any receiver. */
static int on_own_stats(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    BusOrphans *o = userdata;
    Stats stats = read_stats(m);

    o->question = sd_bus_slot_unref(o->question);
    door_note_orphans(o->door, o->uid, stats.in_bytes + stats.in_fds * DOOR_FD_BYTES);
    return 1;
}

void bus_orphans_ask(BusOrphans *o, sd_bus *bus, uid_t uid) {
    const char *name;

    if (o->question || sd_bus_get_unique_name(bus, &name) < 0)
        return;
    o->uid = uid;
    (void) ask(bus, &o->question, on_own_stats, o, name);
}
