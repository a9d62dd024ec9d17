/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Connection, name, door, and announcing changes. Methods are in bus-manager.c and bus-claim.c, objects and
 * their properties in bus-object.c, reading in bus-read.c, the queue of announcements in bus-announce.c.
 *
 * Every method goes through bus_call_begin(): the caller is identified first (at once if it is known), then
 * the arguments are read, then the broker is called. The message stays referenced until the answer. Every
 * path sends exactly one answer, or none when the caller is gone. */

#include <linux/sockios.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/bus/bus-internal.h"

#define BACKOFF_MIN_USEC (100 * 1000ULL)
#define BACKOFF_MAX_USEC (5 * 1000 * 1000ULL)

/* The bus's answers to RequestName; the numbers are from the specification. */
#define NAME_IS_OURS 1U
#define NAME_WILL_BE_OURS 2U /* when those before us in the queue have released it */
#define NAME_WAS_OURS 4U

/* A busy bus may notice late that the former daemon has died. */
#define NAME_WAIT_USEC (10 * 1000 * 1000ULL)

/* A bus that does not read our messages for so long counts as deaf; and how often this is checked. */
#define DEAF_USEC (5 * 1000 * 1000ULL)
#define PROBE_USEC (1 * 1000 * 1000ULL)

/* The size of any answer with its header, roughly. */
#define ANSWER_BYTES 256U
/* How often the bus is asked about users who are nearly full. For full users, the door asks. */
#define ASK_USEC (10 * 1000U)
/* Pings do not count as interest, but more than this per second are charged. */
#define PINGS_MAX 100U
#define PINGS_USEC (1000 * 1000U)
/* An error of sd-bus repeats names that the caller has chosen. */
#define ECHO_BYTES 512U
/* The maximum size of an obstacle in the details of a refusal, roughly. */
#define OBSTACLE_BYTES 1024U

/* ---- Answers ---- */

static BusUnread *unread_of(BusFace *b, sd_bus_message *call, uid_t *ret_uid) {
    return b->credentials ? credentials_unread(b->credentials, sd_bus_message_get_sender(call), ret_uid)
                          : NULL;
}

static void charge(BusFace *b, sd_bus_message *call, uint64_t bytes) {
    BusUnread *u;
    uid_t uid;

    if (sd_bus_message_get_expect_reply(call) == 0)
        return;
    u = unread_of(b, call, &uid);
    if (!u)
        return;
    door_charge_bytes(b->context.door, &u->reader, uid, ANSWER_BYTES + bytes);
    if (door_is_nearly_full(b->context.door, &u->reader) && budget_now() >= b->asked_usec + ASK_USEC) {
        b->asked_usec = budget_now();
        credentials_ask_unread(b->credentials, u->reader.account->uid);
    }
}

void bus_call_charge_fds(BusCall *call, size_t n) {
    uid_t uid;
    BusUnread *u = unread_of(call->face, call->message, &uid);

    if (u)
        door_charge_fds(call->face->context.door, &u->reader, n);
}

int bus_call_send(BusCall *call, sd_bus_message *reply, uint64_t bytes) {
    int r;

    charge(call->face, call->message, bytes);
    r = sd_bus_message_send(reply);
    return r < 0 ? r : BUS_CALL_ANSWERED;
}

int bus_call_reply(BusCall *call, char type, const char *text) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    int r;

    r = sd_bus_message_new_method_return(call->message, &reply);
    if (r >= 0 && type)
        r = sd_bus_message_append_basic(reply, type, text);
    return r < 0 ? r : bus_call_send(call, reply, text ? strlen(text) : 0);
}

int bus_call_send_error(BusCall *call, sd_bus_message *error, uint64_t bytes) {
    int r;

    charge(call->face, call->message, bytes);
    r = bus_pacer_send(call->face->pacer, error);
    return r < 0 ? r : BUS_CALL_ANSWERED;
}

/* sd-bus answers these itself, at once. If the caller is full, it does not: the call becomes a task that
 * waits. */
static bool is_answered_at_once(BusFace *b, sd_bus_message *m, uint64_t bytes) {
    uid_t uid;
    BusUnread *u = unread_of(b, m, &uid);

    if (u && door_is_full(b->context.door, &u->reader) && u->reader.unread > 0)
        return false;
    charge(b, m, bytes);
    return true;
}

static bool is_ping_answered(BusFace *b, sd_bus_message *m) {
    if (budget_now() >= b->pings_usec + PINGS_USEC) {
        b->pings_usec = budget_now();
        b->n_pings = 0;
    }
    if (++b->n_pings > PINGS_MAX)
        credentials_notice(b->credentials, m);
    return is_answered_at_once(b, m, 0);
}

static void on_full(void *userdata, uid_t uid) {
    BusFace *b = userdata;

    if (b->credentials)
        credentials_ask_unread(b->credentials, uid);
}

/* ---- The door ---- */

BusCall *bus_call_free(BusCall *call) {
    if (!call)
        return NULL;
    if (call->with_engine)
        broker_forget_caller(call->face->context.host.broker, call);
    door_leave(call->face->context.door, &call->task);
    broker_inquiry_done(&call->inquiry);
    call->holders = holder_query_cancel(call->holders);
    if (call->subject)
        credentials_put(call->face->credentials, call->subject);
    if (call->previous)
        call->previous->next = call->next;
    else
        call->face->calls = call->next;
    if (call->next)
        call->next->previous = call->previous;
    bus_reading_free(call->reading);
    sd_bus_message_unref(call->message);
    free(call);
    return NULL;
}

/* The sentence, and again as parts. */
static uint64_t bytes_of_refusal(sd_bus_message *answer, const Refusal *refusal) {
    return 2 * strlen(sd_bus_message_get_error(answer)->message) +
            (refusal ? OBSTACLE_BYTES * refusal->n_obstacles : 0);
}

void bus_call_refuse(BusCall *call, int r, const Refusal *refusal) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *answer = NULL;

    if (sd_bus_message_get_expect_reply(call->message) == 0)
        return;
    r = bus_error_reply(call->message, r, refusal, &answer);
    if (r >= 0)
        r = bus_call_send_error(call, answer, bytes_of_refusal(answer, refusal));
    if (r < 0)
        log_debug("Cannot send a refusal: %s", strerror(-r));
}

/* The call may be freed when this returns. */
static DoorStep run_call(DoorTask *task) {
    BusCall *call = container_of(task, BusCall, task);
    Refusal refusal = REFUSAL_NULL;
    int r;

    r = call->run(call, call->subject, &refusal);
    if (r == BUS_CALL_PENDING || (r == -EAGAIN && call->inquiry.task))
        return DOOR_DONE;
    if (r == BUS_CALL_MORE || r == BUS_CALL_WAIT)
        return r == BUS_CALL_MORE ? DOOR_MORE : DOOR_WAIT;
    if (r < 0)
        bus_call_refuse(call, r, &refusal);
    refusal_done(&refusal);
    bus_call_free(call);
    return DOOR_DONE;
}

/* The method is run from the beginning and reads the message again. */
static void on_facts(void *userdata) {
    BusCall *call = userdata;

    (void) sd_bus_message_rewind(call->message, /* complete= */ true);
    door_resume(call->face->context.door, &call->task);
}

static bool is_full(BusCall *call) {
    uid_t uid;
    BusUnread *u = unread_of(call->face, call->message, &uid);

    return u && door_is_full(call->face->context.door, &u->reader);
}

static void on_subject(void *userdata, const Subject *subject, const Refusal *why_not) {
    Refusal refusal = REFUSAL_NULL;
    BusCall *call = userdata;
    int r;

    if (!subject) {
        bus_call_refuse(call, -EACCES, why_not);
        bus_call_free(call);
        return;
    }
    call->subject = subject;
    r = door_enter(call->face->context.door, &call->task, subject, &refusal);
    if (r < 0) {
        if (!is_full(call)) /* a caller that does not read is not even refused */
            bus_call_refuse(call, r, &refusal);
        bus_call_free(call);
    }
    refusal_done(&refusal);
}

int bus_call_begin(BusFace *b, sd_bus_message *m, DoorKind kind, const char *claim, bus_call_run_t run,
        sd_bus_error *error) {
    BusCall *call = calloc(1, sizeof *call);
    int r;

    if (!call)
        return -ENOMEM;
    call->task = (DoorTask){.kind = kind, .step = run_call};
    call->face = b;
    call->message = sd_bus_message_ref(m);
    call->run = run;
    call->inquiry = (BrokerInquiry){.ready = on_facts, .userdata = call};
    if (claim)
        memcpy(call->claim, claim, strnlen(claim, sizeof call->claim - 1));
    call->next = b->calls;
    if (b->calls)
        b->calls->previous = call;
    b->calls = call;

    r = credentials_get(b->credentials, m, on_subject, call);
    if (r < 0) {
        bus_call_free(call);
        return bus_error_from_refusal(error, r, NULL);
    }
    return 1; /* answered, or it will be; call may be freed */
}

int bus_call_ask(BusFace *b, sd_bus_message *m, DoorKind kind, bus_call_run_t run, sd_bus_error *error) {
    if (sd_bus_message_get_expect_reply(m) == 0)
        return 1;
    return bus_call_begin(b, m, kind, NULL, run, error);
}

/* request_set_option() takes every value as text, and knows all options. */
static const char *option_type(const char *name) {
    return request_option_type(name) ?: "s";
}

/* For an option of the wrong type: reports an unknown name first. */
static int refuse_option_type(Request *request, const char *name, Refusal *refusal) {
    const char *type = option_type(name);
    Request scratch = *request;
    int r;

    r = request_set_option(&scratch, name, "", refusal);
    if (r < 0 && refusal->code == VFIOD_ERROR_UNKNOWN_OPTION)
        return r;
    return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the option \"%s\" must be %s", name,
            streq(type, "t")           ? "a number (t)"
                    : streq(type, "b") ? "a boolean"
                                       : "a string");
}

static int read_value(sd_bus_message *m, const char *type, char number[static 24], const char **ret) {
    uint64_t u;
    int r, b;

    if (streq(type, "s"))
        return sd_bus_message_read(m, "v", "s", ret);
    r = streq(type, "t") ? sd_bus_message_read(m, "v", "t", &u) : sd_bus_message_read(m, "v", "b", &b);
    if (r < 0)
        return r;
    if (streq(type, "t"))
        (void) snprintf(number, 24, "%llu", (unsigned long long) u);
    *ret = streq(type, "t") ? number : b ? "yes" : "no";
    return 0;
}

/* A message can contain a million options, so a repeated option is refused. */
typedef struct GivenOptions {
    const char *names[BUS_OPTIONS_MAX]; /* borrowed from the message */
    size_t n;
} GivenOptions;

static int note_option(GivenOptions *given, const char *name, Refusal *refusal) {
    for (size_t i = 0; i < given->n; i++)
        if (streq(given->names[i], name)) {
            _cleanup_free_ char *shown = sanitize(name, 64);

            return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the option \"%s\" is given twice",
                    shown ?: "");
        }
    if (given->n == ELEMENTSOF(given->names))
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "there are more than %u options",
                BUS_OPTIONS_MAX);
    given->names[given->n++] = name;
    return 0;
}

/* For every method; bus-error.c reads it again if there is an error. */
static int read_details(sd_bus_message *m, Refusal *refusal) {
    const char *type;
    int r;

    r = sd_bus_message_peek_type(m, NULL, &type);
    if (r < 0)
        return r;
    if (!streq(type, "b"))
        return refuse(
                refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the option \"details\" must be a boolean");
    return sd_bus_message_skip(m, "v");
}

static int read_option(sd_bus_message *m, GivenOptions *given, Request *request, bus_read_option_t read_other,
        void *userdata, Refusal *refusal) {
    const char *name, *type, *value;
    char number[24];
    int r;

    r = sd_bus_message_read(m, "s", &name);
    if (r >= 0)
        r = note_option(given, name, refusal);
    if (r < 0)
        return r;
    if (bus_is_details_option(name))
        return read_details(m, refusal);
    r = read_other ? read_other(m, name, userdata, refusal) : 0;
    if (r != 0)
        return r;
    if (!request) {
        _cleanup_free_ char *shown = sanitize(name, 64);

        return refuse(refusal, VFIOD_ERROR_UNKNOWN_OPTION, NULL,
                read_other ? "this method has no option \"%s\""
                           : "there is no option \"%s\", this method knows none",
                shown ?: "");
    }
    r = sd_bus_message_peek_type(m, NULL, &type);
    if (r < 0)
        return r;
    if (!streq(type, option_type(name)))
        return refuse_option_type(request, name, refusal);
    r = read_value(m, type, number, &value);
    if (r < 0)
        return r;
    return request_set_option(request, name, value, refusal);
}

int bus_read_options_with(
        sd_bus_message *m, Request *request, bus_read_option_t read_other, void *userdata, Refusal *refusal) {
    GivenOptions given = {};
    int r;

    r = sd_bus_message_enter_container(m, 'a', "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        r = read_option(m, &given, request, read_other, userdata, refusal);
        if (r < 0)
            return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    return sd_bus_message_exit_container(m);
}

int bus_read_options(sd_bus_message *m, Request *request, Refusal *refusal) {
    return bus_read_options_with(m, request, NULL, NULL, refusal);
}

int bus_read_devices(sd_bus_message *m, Request *request, Refusal *refusal) {
    const char *spelling;
    int r;

    r = sd_bus_message_enter_container(m, 'a', "s");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_read(m, "s", &spelling)) > 0) {
        r = request_add_device(request, spelling, refusal);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* ---- Changes ---- */

static void on_changed(void *userdata, const ViewReference *what, ObjectChange change, unsigned properties) {
    BusFace *b = userdata;

    switch (what->kind) {
    case VIEW_DEVICE:
        bus_announce_device(b->announcer, what->device, change, properties);
        break;
    case VIEW_GROUP:
        bus_announce_group(b->announcer, what->group, change, properties);
        break;
    default:
        bus_announce_claim(b->announcer, what->claim, change, properties);
        break;
    }
}

static ViewListener listener(BusFace *b) {
    return (ViewListener){.inventory = b->context.host.inventory, .changed = on_changed, .userdata = b};
}

void bus_face_device_changed(BusFace *b, const Device *d, int changes, int old_group) {
    const ViewListener l = listener(b);

    if (b->announcer)
        view_device_changed(&l, d, changes, old_group);
}

void bus_face_claim_changed(BusFace *b, const Claim *claim, ClaimChange change) {
    const ViewListener l = listener(b);

    if (!b->announcer)
        return;
    if (claim->denied)
        (void) sd_bus_emit_properties_changed(
                b->bus, BUS_FACE_PATH, BUS_MANAGER_INTERFACE, "ClaimsDeniedByPolicy", NULL);
    view_claim_changed(&l, claim, change);
}

void bus_face_policy_changed(BusFace *b) {
    if (b->bus)
        (void) sd_bus_emit_properties_changed(b->bus, BUS_FACE_PATH, BUS_MANAGER_INTERFACE, "PolicyState",
                "PolicyErrors", "PolicyWarnings", "PolicyRules", "ClaimsDeniedByPolicy", "ShadowState",
                "ShadowErrors", "ShadowRules", "Noiommu", NULL);
}

void bus_face_taints_changed(BusFace *b) {
    if (b->bus)
        (void) sd_bus_emit_properties_changed(b->bus, BUS_FACE_PATH, BUS_MANAGER_INTERFACE, "Taints", NULL);
}

unsigned bus_face_n_listeners(const BusFace *b) {
    return b->credentials ? credentials_n_connections(b->credentials) : 0;
}

/* ---- The connection ---- */

static void say_ready(BusFace *b) {
    if (b->was_ready)
        return;
    b->was_ready = true;
    if (b->context.ready)
        b->context.ready(b->context.userdata);
}

/* Every caller gets an answer: those with a call in progress, and those whose refusal waits. Do it while the
 * loop runs, because sd-bus closes its connection when the loop ends. */
static void answer_all(BusFace *b) {
    while (b->calls) {
        Refusal refusal = REFUSAL_NULL;

        bus_call_refuse(
                b->calls, refuse(&refusal, VFIOD_ERROR_SHUTTING_DOWN, NULL, "vfiod is stopping"), &refusal);
        refusal_done(&refusal);
        bus_call_free(b->calls);
    }
    if (b->pacer)
        bus_pacer_flush(b->pacer);
    if (b->bus)
        (void) sd_bus_flush(b->bus);
}

static void say_stopped(BusFace *b) {
    if (b->stopped)
        return;
    b->stopped = true;
    answer_all(b);
    if (b->context.stopped)
        b->context.stopped(b->context.userdata);
}

static void disconnect(BusFace *b) {
    while (b->calls)
        bus_call_free(b->calls);
    broker_set_bus(b->context.host.broker, NULL);
    b->announcer = bus_announcer_free(b->announcer);
    b->pacer = bus_pacer_free(b->pacer);
    b->credentials = credentials_free(b->credentials);
    b->name_deadline = sd_event_source_disable_unref(b->name_deadline);
    b->probe = sd_bus_slot_unref(b->probe);
    b->bus = sd_bus_close_unref(b->bus);
}

static void try_to_connect(BusFace *b);

static int on_reconnect(sd_event_source *source, uint64_t usec, void *userdata) {
    try_to_connect(userdata);
    return 0;
}

static void connect_later(BusFace *b) {
    int r;

    if (b->stopping)
        return;
    b->reconnect = sd_event_source_disable_unref(b->reconnect);
    r = sd_event_add_time_relative(
            b->context.event, &b->reconnect, CLOCK_MONOTONIC, b->backoff_usec, 0, on_reconnect, b);
    b->backoff_usec = MIN(b->backoff_usec * 2, BACKOFF_MAX_USEC);
    if (r < 0) {
        log_error_errno(r, "Cannot set a timer to connect to the bus");
        sd_event_exit(b->context.event, EXIT_FAILURE);
    }
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    BusFace *b = userdata;

    if (!streq_ptr(sd_bus_message_get_sender(m), "org.freedesktop.DBus.Local"))
        return 0;
    if (b->stopping)
        log_debug("The bus is gone");
    else
        log_warning("Lost the connection to the bus, connecting again. Claims are kept");
    disconnect(b);
    connect_later(b);
    say_ready(b);
    if (b->stopping)
        say_stopped(b);
    else if (b->context.idle)
        b->context.idle(b->context.userdata);
    return 1;
}

static void take_name(BusFace *b) {
    b->name_deadline = sd_event_source_disable_unref(b->name_deadline);
    if (b->was_ready)
        log_info("Connected to the bus again");
    b->backoff_usec = BACKOFF_MIN_USEC;
    say_ready(b);
}

/* Anybody can send such a signal to us; see credentials.c. */
static bool gives_name(sd_bus_message *m) {
    const char *name;

    return sd_bus_message_is_signal(m, "org.freedesktop.DBus", "NameAcquired") > 0 &&
            streq_ptr(sd_bus_message_get_sender(m), "org.freedesktop.DBus") &&
            sd_bus_message_read(m, "s", &name) >= 0 && streq(name, BUS_FACE_NAME);
}

static int on_name_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
    BusFace *b = userdata;

    log_error("Another process owns " BUS_FACE_NAME " on the bus, giving up");
    return sd_event_exit(b->context.event, EXIT_FAILURE);
}

/* A bus that does not read notices the end of a connection only when it writes to it. */
static void wake_the_other(BusFace *b) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

    if (sd_bus_message_new_method_call(
                b->bus, &m, BUS_FACE_NAME, BUS_FACE_PATH, "org.freedesktop.DBus.Peer", "Ping") >= 0)
        (void) sd_bus_send(b->bus, m, NULL);
}

/* on_message() sees when we get the name. A match could miss a signal that comes before the bus has confirmed
 * the match. */
static int wait_for_name(BusFace *b) {
    log_notice("Another process owns " BUS_FACE_NAME " on the bus, waiting for it to end");
    wake_the_other(b);
    return sd_event_add_time_relative(
            b->context.event, &b->name_deadline, CLOCK_MONOTONIC, NAME_WAIT_USEC, 0, on_name_deadline, b);
}

static int on_name(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    BusFace *b = userdata;
    uint32_t answer = 0;
    int r;

    if (sd_bus_message_is_method_error(m, NULL)) {
        const sd_bus_error *e = sd_bus_message_get_error(m);

        if (sd_bus_is_open(b->bus) <= 0)
            return 1; /* on_disconnected() follows */
        if (sd_bus_error_has_name(e, SD_BUS_ERROR_NO_REPLY)) {
            log_warning("The bus does not answer, connecting again");
            disconnect(b);
            connect_later(b);
            return 1;
        }
        log_error("The bus does not let vfiod own " BUS_FACE_NAME ": %s", e->message);
        return sd_event_exit(b->context.event, EXIT_FAILURE);
    }
    credentials_note_connected(b->credentials);
    r = sd_bus_message_read(m, "u", &answer);
    if (r >= 0 && answer == NAME_WILL_BE_OURS)
        r = wait_for_name(b);
    else if (r >= 0 && (answer == NAME_IS_OURS || answer == NAME_WAS_OURS))
        take_name(b);
    else if (r >= 0)
        r = -EBADMSG;
    if (r >= 0)
        return 1;
    log_error_errno(r, "Cannot become " BUS_FACE_NAME " on the bus");
    return sd_event_exit(b->context.event, EXIT_FAILURE);
}

/* ---- A bus that is deaf ---- */

/* dbus-daemon keeps what a client does not read, limits how much it keeps of each sender, and then reads
 * nothing more from that sender. So a client that keeps calling and never reads could stop our answers to
 * everybody. dbus-daemon counts per connection, and a new connection starts at zero. */
static int on_probed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    BusFace *b = userdata;

    b->probe = sd_bus_slot_unref(b->probe);
    if (!sd_bus_message_is_method_error(m, SD_BUS_ERROR_NO_REPLY) || sd_bus_is_open(b->bus) <= 0)
        return 1;
    log_warning("The bus takes no more messages, as when a client does not read its answers; connecting "
                "again, claims are kept");
    disconnect(b);
    connect_later(b);
    return 1;
}

/* Are there messages that the bus has not read? */
static bool is_behind(sd_bus *bus) {
    int fd = sd_bus_get_fd(bus), n = 0;

    return fd >= 0 && ioctl(fd, SIOCOUTQ, &n) >= 0 && n > 0;
}

/* The bus answers this after it has read everything before it. */
static void probe(BusFace *b) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    uint64_t now_usec = 0;

    (void) sd_event_now(b->context.event, CLOCK_MONOTONIC, &now_usec);
    if (b->probe || b->stopping || now_usec < b->probed_usec + PROBE_USEC)
        return;
    b->probed_usec = now_usec;
    if (is_behind(b->bus) &&
            sd_bus_message_new_method_call(b->bus, &m, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                    "org.freedesktop.DBus", "GetId") >= 0)
        (void) sd_bus_call_async(b->bus, &b->probe, m, on_probed, b, DEAF_USEC);
}

/* A connection that calls any method counts as a listener, so that the daemon does not exit. A ping does not.
 *
 * A call with a path longer than any of ours is answered here: sd-bus looks up every prefix of the path, so
 * 64 KB of "/a/a/a" would cost half a second, and a few of them would delay everybody. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    BusFace *b = userdata;
    const char *path = sd_bus_message_get_path(m);
    int r;

    if (b->name_deadline && gives_name(m))
        take_name(b);
    probe(b);
    if (!sd_bus_message_is_method_call(m, NULL, NULL))
        return 0;
    if (path && strnlen(path, BUS_OBJECT_PATH_MAX) == BUS_OBJECT_PATH_MAX)
        return is_answered_at_once(b, m, 0) ? sd_bus_error_set(error, SD_BUS_ERROR_UNKNOWN_OBJECT,
                                                      "There is no object with such a long name")
                                            : 1;
    door_be_fair(b->context.door);
    if (sd_bus_message_is_method_call(m, "org.freedesktop.DBus.Peer", NULL))
        return !is_ping_answered(b, m);
    credentials_notice(b->credentials, m);
    r = path ? bus_read_begin(b, m, error) : 0;
    return r == 0 && !bus_is_method(m) ? !is_answered_at_once(b, m, ECHO_BYTES) : r;
}

/* Changes during a long answer are announced after it. */
static void on_answered(void *userdata) {
    BusFace *b = userdata;

    if (b->announcer)
        bus_announcer_go_on(b->announcer);
}

static void on_last_listener_gone(void *userdata) {
    BusFace *b = userdata;

    if (b->context.idle)
        b->context.idle(b->context.userdata);
}

static void on_caller_vanished(void *userdata, const Subject *subject) {
    BusFace *b = userdata;

    for (BusCall *call = b->calls, *next; call; call = next) {
        next = call->next;
        if (call->subject == subject)
            bus_call_free(call);
    }
}

static int connect_to_bus(BusFace *b) {
    int r;

    r = sd_bus_open_system_with_description(&b->bus, "vfiod");
    if (r < 0)
        return r;
    r = sd_bus_set_exit_on_disconnect(b->bus, false);
    if (r < 0)
        return r;
    r = credentials_new(b->bus, b->context.door, &b->credentials);
    if (r < 0)
        return r;
    credentials_set_idle_callback(b->credentials, on_last_listener_gone, b);
    credentials_set_vanished_callback(b->credentials, on_caller_vanished, b);
    r = bus_announcer_new(b, &b->announcer);
    if (r < 0)
        return r;
    r = bus_pacer_new(b->context.event, &b->pacer);
    if (r < 0)
        return r;
    r = bus_objects_export(b);
    if (r < 0)
        return r;
    r = sd_bus_add_filter(b->bus, NULL, on_message, b);
    if (r < 0)
        return r;
    r = sd_bus_match_signal_async(b->bus, NULL, "org.freedesktop.DBus.Local", "/org/freedesktop/DBus/Local",
            "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, NULL, b);
    if (r < 0)
        return r;
    r = sd_bus_request_name_async(b->bus, NULL, BUS_FACE_NAME, SD_BUS_NAME_QUEUE, on_name, b);
    if (r < 0)
        return r;
    broker_set_bus(b->context.host.broker, b->bus);
    return sd_bus_attach_event(b->bus, b->context.event, SD_EVENT_PRIORITY_NORMAL);
}

static void try_to_connect(BusFace *b) {
    int r;

    r = connect_to_bus(b);
    if (r >= 0)
        return;
    disconnect(b);
    if (b->was_ready)
        log_debug("Still no bus: %s", strerror(-r));
    else
        log_warning_errno(r, "Cannot connect to the bus, trying again");
    connect_later(b);
    say_ready(b);
}

static int on_name_released(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    say_stopped(userdata);
    return 1;
}

void bus_face_stop(BusFace *b) {
    if (b->stopping)
        return;
    b->stopping = true;
    b->reconnect = sd_event_source_disable_unref(b->reconnect);
    b->name_deadline = sd_event_source_disable_unref(b->name_deadline);
    if (!b->bus || sd_bus_release_name_async(b->bus, NULL, BUS_FACE_NAME, on_name_released, b) < 0)
        say_stopped(b);
}

int bus_face_new(const BusContext *context, BusFace **ret) {
    BusFace *b = calloc(1, sizeof *b);

    if (!b)
        return -ENOMEM;
    b->context = *context;
    b->backoff_usec = BACKOFF_MIN_USEC;
    door_set_answered(context->door, on_answered, b);
    (void) door_add_full(context->door, on_full, b);
    try_to_connect(b);
    *ret = b;
    return 0;
}

BusFace *bus_face_free(BusFace *b) {
    if (!b)
        return NULL;
    answer_all(b);
    b->context.idle = NULL;
    disconnect(b);
    sd_event_source_disable_unref(b->reconnect);
    door_set_answered(b->context.door, NULL, NULL);
    door_drop_full(b->context.door, b);
    for (ViewKind k = 0; k < _VIEW_KIND_MAX; k++)
        free(b->introspection[k]);
    free(b);
    return NULL;
}

/* ---- Introspection without a bus ---- */

/* Two ends of a socket pair in one loop: one exports the vtables, the other introspects. So the text is what
 * a client on the bus gets. Getters are not called, so no objects are needed. */

static int on_introspected(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    sd_event *event = sd_bus_get_event(sd_bus_message_get_bus(m));
    char **ret = userdata;
    const char *xml;

    if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "s", &xml) < 0)
        return sd_event_exit(event, -EIO);
    *ret = strdup(xml);
    return sd_event_exit(event, *ret ? 0 : -ENOMEM);
}

static int export_kind(sd_bus *bus, const char *path) {
    const char *name;
    ViewKind kind = bus_path_kind(path, &name);
    int r = 0;

    if (kind < 0)
        return -ENOENT;
    if (kind == VIEW_MANAGER)
        r = sd_bus_add_object_manager(bus, NULL, path);
    if (r < 0)
        return r;
    return sd_bus_add_object_vtable(bus, NULL, path, bus_kind_interface(kind), bus_kind_vtable(kind), NULL);
}

/* Takes ownership of *fd. */
static int start_peer(sd_bus *bus, int *fd, bool server, sd_event *event) {
    sd_id128_t id;
    int r;

    r = sd_bus_set_fd(bus, *fd, *fd);
    if (r < 0)
        return r;
    TAKE_FD(*fd);
    if (server) {
        r = sd_id128_randomize(&id);
        if (r < 0)
            return r;
        r = sd_bus_set_server(bus, true, id);
        if (r < 0)
            return r;
    }
    r = sd_bus_start(bus);
    if (r < 0)
        return r;
    return sd_bus_attach_event(bus, event, SD_EVENT_PRIORITY_NORMAL);
}

int bus_introspect(const char *path, char **ret) {
    _cleanup_(sd_bus_close_unrefp) sd_bus *server = NULL, *client = NULL;
    _cleanup_(sd_event_unrefp) sd_event *event = NULL;
    _cleanup_close_ int server_fd = -EBADF, client_fd = -EBADF;
    _cleanup_free_ char *xml = NULL;
    int pair[2], r;

    if (!sd_bus_object_path_is_valid(path))
        return -EINVAL;
    r = sd_event_new(&event);
    if (r < 0)
        return r;
    r = sd_bus_new(&server);
    if (r < 0)
        return r;
    r = sd_bus_new(&client);
    if (r < 0)
        return r;
    r = export_kind(server, path);
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    server_fd = pair[0];
    client_fd = pair[1];
    r = start_peer(server, &server_fd, true, event);
    if (r < 0)
        return r;
    r = start_peer(client, &client_fd, false, event);
    if (r < 0)
        return r;
    r = sd_bus_call_method_async(client, NULL, NULL, path, "org.freedesktop.DBus.Introspectable",
            "Introspect", on_introspected, &xml, NULL);
    if (r < 0)
        return r;
    r = sd_event_loop(event);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(xml);
    return 0;
}

int bus_face_introspect(const char *path) {
    _cleanup_free_ char *xml = NULL;
    int r;

    r = bus_introspect(path, &xml);
    if (r < 0)
        return r;
    return fputs(xml, stdout) < 0 || fflush(stdout) != 0 ? -EIO : 0;
}
