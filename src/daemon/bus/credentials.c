/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Identifies the caller of a bus connection.
 *
 * The bus daemon captured uid, groups, pid and label from the kernel when the client connected. So one
 * question per connection is enough: org.freedesktop.DBus.GetConnectionCredentials, asynchronously.
 * sd_bus_query_sender_creds() would ask several questions in turn and block the loop.
 *
 * Facts about the process itself are read in caller-process.c. When it is not certain that this is the
 * process that connected, nothing is known about it; uid and groups still count.
 *
 * The order keeps requests fast and misses no death. First ask for credentials; answer the waiting requests;
 * then watch the name (NameOwnerChanged); when the watch is active, check once that the name still exists. If
 * the name died before the first question, that question fails; if it died before the watch, the check shows
 * it; if later, the signal reports it. */

#include <fcntl.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/user-name.h"
#include "daemon/bus/credentials.h"
#include "daemon/kernel/caller-process.h"

#define N_BUCKETS 256U
#define GROUPS_MAX 65536U

#define BUS_NAME "org.freedesktop.DBus"
#define BUS_PATH "/org/freedesktop/DBus"

/* Announced connections of others are remembered up to this number. */
#define ARRIVALS_MAX 256U

/* ":1.42". The bus numbers connections in order. */
typedef struct Number {
    unsigned epoch;
    unsigned long long number;
} Number;

typedef struct Arrival {
    Number number;
    uint64_t seen_usec; /* CLOCK_BOOTTIME */
} Arrival;

typedef struct Connection Connection;
typedef struct Waiter Waiter;

struct Waiter {
    sd_bus_message *message; /* owned reference */
    credentials_ready_t ready;
    void *userdata;
    Waiter *next; /* connection.waiters, in order of arrival */
};

struct Connection {
    Credentials *owner; /* NULL when it is no longer in the table */
    char *name;         /* ":1.42" */
    bool known;         /* the bus has answered, and subject is complete */
    uint64_t seen_usec; /* CLOCK_BOOTTIME by which it had connected */
    Subject subject;
    BusUnread unread;
    Waiter *waiters;
    unsigned n_calls;          /* waiters, and subjects in use */
    sd_bus_slot *lookup;       /* GetConnectionCredentials under way */
    sd_bus_slot *watch;        /* NameOwnerChanged of this name */
    sd_bus_slot *last_check;   /* NameHasOwner under way */
    Connection *bucket_next;   /* credentials.buckets */
    Connection *newer, *older; /* credentials.newest … oldest, by last use */
};

struct Credentials {
    sd_bus *bus; /* owned reference */
    Door *door;  /* borrowed */
    BusOrphans orphans;
    Connection *buckets[N_BUCKETS];
    Connection *newest, *oldest;
    unsigned n_connections, n_waiting;
    ProcessReader processes;
    sd_bus_slot *own_lookup;     /* asks whether this bus provides pidfds */
    sd_bus_slot *arrivals_match; /* if the bus provides no pidfds */
    Arrival arrivals[ARRIVALS_MAX];
    size_t n_arrivals;      /* in total; the last ones are kept */
    uint64_t own_seen_usec; /* like Connection.seen_usec, for ourselves */
    void (*idle)(void *userdata);
    void *idle_userdata;
    void (*vanished)(void *userdata, const Subject *subject);
    void *vanished_userdata;
};

static Waiter *waiter_free(Waiter *w) {
    if (!w)
        return NULL;
    sd_bus_message_unref(w->message);
    free(w);
    return NULL;
}

static Connection *connection_free(Connection *k) {
    if (!k)
        return NULL;
    assert(!k->owner);
    while (k->waiters) {
        Waiter *w = k->waiters;

        k->waiters = w->next;
        waiter_free(w);
    }
    sd_bus_slot_unref(k->lookup);
    sd_bus_slot_unref(k->watch);
    sd_bus_slot_unref(k->last_check);
    subject_done(&k->subject);
    free(k->name);
    free(k);
    return NULL;
}

static Connection **bucket_of(const Credentials *c, const char *name) {
    uint32_t hash = 2166136261U; /* FNV-1a; the bus chooses the names, not the client */

    for (const char *p = name; *p; p++)
        hash = (hash ^ (uint8_t) *p) * 16777619U;
    return (Connection **) &c->buckets[hash % N_BUCKETS];
}

static Connection *find_connection(const Credentials *c, const char *name) {
    for (Connection *k = *bucket_of(c, name); k; k = k->bucket_next)
        if (streq(k->name, name))
            return k;
    return NULL;
}

static void unlink_by_use(Credentials *c, Connection *k) {
    if (k->newer)
        k->newer->older = k->older;
    else
        c->newest = k->older;
    if (k->older)
        k->older->newer = k->newer;
    else
        c->oldest = k->newer;
    k->newer = k->older = NULL;
}

static void link_newest(Credentials *c, Connection *k) {
    k->older = c->newest;
    if (c->newest)
        c->newest->newer = k;
    else
        c->oldest = k;
    c->newest = k;
}

static void mark_used(Credentials *c, Connection *k) {
    if (c->newest == k)
        return;
    unlink_by_use(c, k);
    link_newest(c, k);
}

/* Removes a connection from the table. It is freed after the last call that uses it. */
static void forget_connection(Connection *k) {
    Credentials *c = k->owner;
    Connection **p = bucket_of(c, k->name);

    while (*p != k)
        p = &(*p)->bucket_next;
    *p = k->bucket_next;
    unlink_by_use(c, k);
    c->n_connections--;
    for (const Waiter *w = k->waiters; w; w = w->next)
        c->n_waiting--;
    k->owner = NULL;
    bus_unread_done(&k->unread, /* gone= */ false);
    k->watch = sd_bus_slot_unref(k->watch);
    k->last_check = sd_bus_slot_unref(k->last_check);
    if (k->n_calls == 0)
        connection_free(k);
    if (c->n_connections == 0 && c->idle)
        c->idle(c->idle_userdata);
}

static void connection_vanished(Connection *k) {
    Credentials *c = k->owner;

    k->n_calls++; /* the callback may put the last subject back */
    if (k->n_calls > 1 && c->vanished)
        c->vanished(c->vanished_userdata, &k->subject);
    k->n_calls--;
    bus_unread_done(&k->unread, /* gone= */ true);
    forget_connection(k);
}

/* The known connection of uid that was used longest ago; NULL: none. */
static Connection *oldest_of(const Credentials *c, uid_t uid, bool idle, const Connection *spare) {
    for (Connection *k = c->oldest; k; k = k->newer)
        if (k != spare && k->known && k->subject.uid == uid && (!idle || k->n_calls == 0))
            return k;
    return NULL;
}

static int compare_uids(const void *pa, const void *pb) {
    uid_t a = *(const uid_t *) pa, b = *(const uid_t *) pb;

    return a < b ? -1 : a > b;
}

/* The uid with the most connections; (uid_t) -1: none is known. */
static uid_t busiest_uid(const Credentials *c) {
    uid_t uids[CONNECTIONS_MAX], busiest = (uid_t) -1;
    size_t n = 0, most = 0, begin = 0;

    for (const Connection *k = c->oldest; k && n < CONNECTIONS_MAX; k = k->newer)
        if (k->known)
            uids[n++] = k->subject.uid;
    qsort(uids, n, sizeof(uids[0]), compare_uids);
    for (size_t i = 0; i < n; i++) {
        if (uids[i] != uids[begin])
            begin = i;
        if (i - begin + 1 > most) {
            most = i - begin + 1;
            busiest = uids[i];
        }
    }
    return busiest;
}

/* Makes room for one more connection: the user with the most connections loses an idle one, or else one with
 * calls. These are still answered, but the end of the connection is not noticed, and its next call is looked
 * up again. So no number of connections locks another user out. */
static bool make_room(Credentials *c) {
    uid_t uid = busiest_uid(c);
    Connection *k = oldest_of(c, uid, /* idle= */ true, NULL) ?: oldest_of(c, uid, /* idle= */ false, NULL);

    if (k)
        forget_connection(k);
    return k;
}

/* Makes room for k among the connections of its user: an idle one is removed. */
static bool make_room_of_user(Credentials *c, const Connection *k) {
    Connection *idle = oldest_of(c, k->subject.uid, /* idle= */ true, k);

    if (idle)
        forget_connection(idle);
    return idle;
}

static unsigned count_connections_of(const Credentials *c, uid_t uid) {
    unsigned n = 0;

    for (const Connection *k = c->oldest; k; k = k->newer)
        n += k->known && k->subject.uid == uid;
    return n;
}

/* ---- Answers of the bus ---- */

static int parse_groups(sd_bus_message *m, Subject *s) {
    const void *data;
    size_t size;
    int r;

    r = sd_bus_message_enter_container(m, 'v', "au");
    if (r < 0)
        return r;
    r = sd_bus_message_read_array(m, 'u', &data, &size);
    if (r < 0)
        return r;
    if (size / sizeof(uint32_t) > GROUPS_MAX)
        return -E2BIG;
    free(s->gids);
    s->n_gids = 0;
    s->gids = calloc(size / sizeof(uint32_t) + 1, sizeof *s->gids);
    if (!s->gids)
        return -ENOMEM;
    for (size_t i = 0; i < size / sizeof(uint32_t); i++)
        s->gids[s->n_gids++] = ((const uint32_t *) data)[i];
    return sd_bus_message_exit_container(m);
}

static int parse_label(sd_bus_message *m, Subject *s) {
    const void *data;
    size_t size;
    int r;

    r = sd_bus_message_enter_container(m, 'v', "ay");
    if (r < 0)
        return r;
    r = sd_bus_message_read_array(m, 'y', &data, &size);
    if (r < 0)
        return r;
    free(s->label);
    s->label = strndup(data ? data : "", size); /* the bus appends a NUL */
    if (!s->label)
        return -ENOMEM;
    return sd_bus_message_exit_container(m);
}

static int parse_process_fd(sd_bus_message *m, Subject *s) {
    int fd, r;

    r = sd_bus_message_read(m, "v", "h", &fd);
    if (r < 0)
        return r;
    safe_close(s->pidfd);
    s->pidfd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return s->pidfd < 0 ? -errno : 0;
}

static int parse_field(sd_bus_message *m, const char *key, Subject *s) {
    uint32_t number;
    int r;

    if (streq(key, "UnixUserID")) {
        r = sd_bus_message_read(m, "v", "u", &number);
        if (r >= 0)
            s->uid = number;
    } else if (streq(key, "ProcessID")) {
        r = sd_bus_message_read(m, "v", "u", &number);
        if (r >= 0)
            s->pid = number <= INT32_MAX ? (pid_t) number : 0;
    } else if (streq(key, "UnixGroupIDs"))
        r = parse_groups(m, s);
    else if (streq(key, "LinuxSecurityLabel"))
        r = parse_label(m, s);
    else if (streq(key, "ProcessFD"))
        r = parse_process_fd(m, s);
    else
        r = sd_bus_message_skip(m, "v");
    return r;
}

static bool parse_number(const char *name, Number *ret) {
    return sscanf(name, ":%u.%llu", &ret->epoch, &ret->number) == 2;
}

static bool is_later(const Number *a, const Number *b) {
    return a->epoch != b->epoch ? a->epoch > b->epoch : a->number > b->number;
}

static bool was_before(const char *name, const char *other) {
    Number a, b;

    return parse_number(name, &a) && parse_number(other, &b) && is_later(&b, &a);
}

/* The time at which the first of those connections was announced that came as late as this one, or later. */
static uint64_t first_arrival(const Credentials *c, const Connection *k) {
    size_t first = c->n_arrivals > ARRIVALS_MAX ? c->n_arrivals - ARRIVALS_MAX : 0;
    Number own;

    if (!parse_number(k->name, &own))
        return UINT64_MAX;
    for (size_t i = first; i < c->n_arrivals; i++) {
        const Arrival *a = &c->arrivals[i % ARRIVALS_MAX];

        if (!is_later(&own, &a->number))
            return a->seen_usec;
    }
    return UINT64_MAX;
}

static int on_arrival(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    const char *name, *old_owner, *new_owner;
    Credentials *c = userdata;
    Number number;

    if (!streq_ptr(sd_bus_message_get_sender(m), BUS_NAME) ||
            sd_bus_message_read(m, "sss", &name, &old_owner, &new_owner) < 0)
        return 0;
    if (*new_owner && parse_number(name, &number))
        c->arrivals[c->n_arrivals++ % ARRIVALS_MAX] =
                (Arrival){.number = number, .seen_usec = process_reader_now()};
    return 0;
}

/* If the bus reports only the pid, the time of connecting decides whether it still is the same process. So
 * from now on the bus announces each new connection. */
static void watch_arrivals(Credentials *c) {
    (void) sd_bus_add_match_async(c->bus, &c->arrivals_match,
            "type='signal',sender='" BUS_NAME "',path='" BUS_PATH "',interface='" BUS_NAME "',"
            "member='NameOwnerChanged',arg1=''",
            on_arrival, NULL, c);
}

static bool has_process_fd(sd_bus_message *m) {
    const char *key = "";

    if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_enter_container(m, 'a', "{sv}") < 0)
        return false;
    while (sd_bus_message_enter_container(m, 'e', "sv") > 0)
        if (sd_bus_message_read(m, "s", &key) < 0 || streq(key, "ProcessFD") ||
                sd_bus_message_skip(m, "v") < 0 || sd_bus_message_exit_container(m) < 0)
            break;
    return streq(key, "ProcessFD");
}

static int on_own_credentials(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    Credentials *c = userdata;

    c->own_lookup = sd_bus_slot_unref(c->own_lookup);
    if (!has_process_fd(m))
        watch_arrivals(c);
    return 1;
}

/* The latest time at which k can have connected: before any later connection was seen. */
static uint64_t latest_connect(const Credentials *c, const Connection *k) {
    uint64_t latest = MIN(k->seen_usec, first_arrival(c, k));
    const char *own = NULL;

    if (c->own_seen_usec > 0 && sd_bus_get_unique_name(c->bus, &own) >= 0 && was_before(k->name, own))
        latest = MIN(latest, c->own_seen_usec);
    for (const Connection *other = c->oldest; other; other = other->newer)
        if (other->seen_usec < latest && was_before(k->name, other->name))
            latest = other->seen_usec;
    return latest;
}

/* Groups that the bus does not report stay empty. The user database or /proc would answer for another
 * moment. */
static int parse_credentials(Credentials *c, sd_bus_message *m, Connection *k) {
    Subject *s = &k->subject;
    int r;

    r = sd_bus_message_enter_container(m, 'a', "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        const char *key;

        r = sd_bus_message_read(m, "s", &key);
        if (r < 0)
            return r;
        r = parse_field(m, key, s);
        if (r < 0)
            return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    if (s->uid == (uid_t) -1)
        return -ENODATA;
    if (s->pid > 0)
        process_reader_read(&c->processes, s, latest_connect(c, k));
    else
        s->pidfd = safe_close(s->pidfd);
    return 0;
}

/* ---- Watching a name ---- */

/* sd-bus does not compare the sender of a match with that of a signal that was sent only to us. So anybody
 * could report the death of another connection. */
static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    Connection *k = userdata;
    const char *name, *old_owner, *new_owner;

    if (!streq_ptr(sd_bus_message_get_sender(m), BUS_NAME))
        return 0;
    if (sd_bus_message_read(m, "sss", &name, &old_owner, &new_owner) < 0)
        return 0;
    if (streq(name, k->name) && !*new_owner)
        connection_vanished(k);
    return 0;
}

static int on_last_check(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    Connection *k = userdata;
    int alive = 0;

    k->last_check = sd_bus_slot_unref(k->last_check);
    if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "b", &alive) < 0 || !alive)
        connection_vanished(k);
    return 1;
}

static int on_watch_installed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    Connection *k = userdata;

    /* Without a watch (the bus limits them) the connection is not remembered, and its next call is looked up
     * again. */
    if (sd_bus_message_is_method_error(m, NULL) ||
            sd_bus_call_method_async(k->owner->bus, &k->last_check, BUS_NAME, BUS_PATH, BUS_NAME,
                    "NameHasOwner", on_last_check, k, "s", k->name) < 0)
        forget_connection(k);
    return 1;
}

static void watch_connection(Connection *k) {
    char match[256];

    snprintf(match, sizeof match,
            "type='signal',sender='" BUS_NAME "',path='" BUS_PATH "',interface='" BUS_NAME "',"
            "member='NameOwnerChanged',arg0='%s'",
            k->name);
    if (sd_bus_add_match_async(k->owner->bus, &k->watch, match, on_owner_changed, on_watch_installed, k) < 0)
        forget_connection(k);
}

/* ---- Requests ---- */

static void answer_waiters(Connection *k, const Refusal *refusal) {
    while (k->waiters) {
        Waiter *w = k->waiters;

        k->waiters = w->next;
        if (k->owner)
            k->owner->n_waiting--;
        if (refusal)
            k->n_calls--;
        w->ready(w->userdata, refusal ? NULL : &k->subject, refusal);
        waiter_free(w);
    }
}

static int judge_reply(Connection *k, sd_bus_message *reply, Refusal *refusal) {
    Credentials *c = k->owner;

    if (sd_bus_message_is_method_error(reply, NULL) || parse_credentials(c, reply, k) < 0)
        return refuse(refusal, VFIOD_ERROR_ACCESS_DENIED, NULL, "the bus does not identify the caller");
    if (count_connections_of(c, k->subject.uid) >= CONNECTIONS_PER_UID_MAX && !make_room_of_user(c, k))
        return refuse(refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL, "%s already has %u busy connections",
                USER_TEXT(k->subject.uid), CONNECTIONS_PER_UID_MAX);
    k->known = true;
    return 0;
}

static int on_credentials(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    Refusal refusal = REFUSAL_NULL;
    Connection *k = userdata;
    bool refused;

    k->lookup = sd_bus_slot_unref(k->lookup);
    refused = judge_reply(k, reply, &refusal) < 0;
    k->n_calls++; /* kept while waiters are answered */
    answer_waiters(k, refused ? &refusal : NULL);
    refusal_done(&refusal);
    k->n_calls--;

    if (!k->owner) { /* a waiter caused it to be forgotten */
        if (k->n_calls == 0)
            connection_free(k);
    } else if (refused)
        forget_connection(k);
    else
        watch_connection(k);
    return 1;
}

/* 0; -EBUSY with *ret untouched when there is no room; or -ENOMEM. */
static int add_connection(Credentials *c, const char *name, Connection **ret) {
    Connection *k, **bucket;
    int r;

    if (c->n_connections >= CONNECTIONS_MAX && !make_room(c))
        return -EBUSY;
    k = calloc(1, sizeof *k);
    if (!k)
        return -ENOMEM;
    k->subject = SUBJECT_NULL;
    k->subject.face = FACE_DBUS;
    k->subject.serial = process_reader_next_serial();
    k->unread.door = c->door;
    k->name = strdup(name);
    if (!k->name) {
        connection_free(k);
        return -ENOMEM;
    }
    r = sd_bus_call_method_async(c->bus, &k->lookup, BUS_NAME, BUS_PATH, BUS_NAME, "GetConnectionCredentials",
            on_credentials, k, "s", name);
    if (r < 0) {
        connection_free(k);
        return r;
    }
    k->owner = c;
    k->seen_usec = process_reader_now();
    bucket = bucket_of(c, name);
    k->bucket_next = *bucket;
    *bucket = k;
    link_newest(c, k);
    c->n_connections++;
    *ret = k;
    return 0;
}

static int add_waiter(Connection *k, sd_bus_message *message, credentials_ready_t ready, void *userdata) {
    Waiter *w = calloc(1, sizeof *w), **tail = &k->waiters;

    if (!w)
        return -ENOMEM;
    w->message = sd_bus_message_ref(message);
    w->ready = ready;
    w->userdata = userdata;
    while (*tail)
        tail = &(*tail)->next;
    *tail = w;
    k->n_calls++;
    k->owner->n_waiting++;
    return 0;
}

static void refuse_limit(credentials_ready_t ready, void *userdata, const char *what) {
    Refusal refusal = REFUSAL_NULL;

    (void) refuse(&refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL, "%s", what);
    ready(userdata, NULL, &refusal);
    refusal_done(&refusal);
}

/* Can one more call of this connection wait until its sender is known? Each connection gets a fraction of the
 * remaining room, so that many connections do not use up what a new one needs. */
static bool has_room(const Credentials *c, const Connection *k) {
    return k->n_calls <
            MIN(CONNECTION_CALLS_MAX, (WAITING_CALLS_MAX - MIN(c->n_waiting, WAITING_CALLS_MAX)) / 8);
}

int credentials_get(Credentials *c, sd_bus_message *message, credentials_ready_t ready, void *userdata) {
    const char *sender = sd_bus_message_get_sender(message);
    Connection *k;
    int r;

    if (!sender)
        return -ENODATA;
    k = find_connection(c, sender);
    if (!k) {
        r = add_connection(c, sender, &k);
        if (r == -EBUSY) {
            refuse_limit(ready, userdata, "too many connections are busy");
            return 0;
        }
        if (r < 0)
            return r;
    }
    mark_used(c, k);
    if (!k->known && !has_room(c, k)) {
        refuse_limit(ready, userdata, "too many calls wait until their callers are identified");
        return 0;
    }
    if (!k->known)
        return add_waiter(k, message, ready, userdata);
    k->n_calls++;
    ready(userdata, &k->subject, NULL);
    return 0;
}

void credentials_put(Credentials *c, const Subject *subject) {
    Connection *k = container_of(subject, Connection, subject);

    assert(k->n_calls > 0);
    if (--k->n_calls == 0 && !k->owner)
        connection_free(k);
}

void credentials_notice(Credentials *c, sd_bus_message *message) {
    const char *sender = sd_bus_message_get_sender(message);
    Connection *k;

    if (!sender)
        return;
    k = find_connection(c, sender);
    if (k)
        mark_used(c, k);
    else
        (void) add_connection(c, sender, &k);
}

const Subject *credentials_peek(const Credentials *c, const char *sender) {
    const Connection *k = find_connection(c, sender);

    return k && k->known ? &k->subject : NULL;
}

BusUnread *credentials_unread(Credentials *c, const char *sender, uid_t *ret_uid) {
    Connection *k = sender ? find_connection(c, sender) : NULL;

    if (!k)
        return NULL;
    *ret_uid = k->known ? k->subject.uid : (uid_t) -1;
    return &k->unread;
}

void credentials_ask_unread(Credentials *c, uid_t uid) {
    uint64_t orphans = 0;

    for (Connection *k = c->oldest; k; k = k->newer) {
        const BudgetAccount *account = k->unread.reader.account;

        if (!account || account->uid != uid)
            continue;
        bus_unread_ask(&k->unread, c->bus, k->name);
        orphans = account->orphans;
    }
    if (orphans > 0)
        bus_orphans_ask(&c->orphans, c->bus, uid);
}

unsigned credentials_n_connections(const Credentials *c) {
    return c->n_connections;
}

void credentials_set_idle_callback(Credentials *c, void (*idle)(void *userdata), void *userdata) {
    c->idle = idle;
    c->idle_userdata = userdata;
}

void credentials_set_vanished_callback(
        Credentials *c, void (*vanished)(void *userdata, const Subject *subject), void *userdata) {
    c->vanished = vanished;
    c->vanished_userdata = userdata;
}

void credentials_note_connected(Credentials *c) {
    const char *own;

    if (c->own_seen_usec > 0)
        return;
    c->own_seen_usec = process_reader_now();
    if (sd_bus_get_unique_name(c->bus, &own) >= 0)
        (void) sd_bus_call_method_async(c->bus, &c->own_lookup, BUS_NAME, BUS_PATH, BUS_NAME,
                "GetConnectionCredentials", on_own_credentials, c, "s", own);
}

int credentials_new(sd_bus *bus, Door *door, Credentials **ret) {
    Credentials *c = calloc(1, sizeof *c);

    if (!c)
        return -ENOMEM;
    c->bus = sd_bus_ref(bus);
    c->door = c->orphans.door = door;
    *ret = c;
    return 0;
}

Credentials *credentials_free(Credentials *c) {
    if (!c)
        return NULL;
    c->idle = NULL;
    while (c->oldest) {
        Connection *k = c->oldest;

        while (k->waiters) {
            Waiter *w = k->waiters;

            k->waiters = w->next;
            k->n_calls--;
            c->n_waiting--;
            waiter_free(w);
        }
        assert(k->n_calls == 0);
        bus_unread_done(&k->unread, /* gone= */ true); /* together with the queues of this bus */
        forget_connection(k);
    }
    sd_bus_slot_unref(c->orphans.question);
    sd_bus_slot_unref(c->own_lookup);
    sd_bus_slot_unref(c->arrivals_match);
    sd_bus_unref(c->bus);
    process_reader_done(&c->processes);
    free(c);
    return NULL;
}
