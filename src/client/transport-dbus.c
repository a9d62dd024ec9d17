/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Fds of a reply belong to the bus message; they are copied, and the message is freed.
 *
 * Signals only show when to look: the state of a followed claim is read anew each time, so lost, late or
 * forged signals do no harm. */

#include <inttypes.h>
#include <poll.h>

#include "base/str.h"
#include "client/libvfiod-internal.h"

static int open_bus(sd_bus **ret, VfiodErrorText *ret_error) {
    _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
    int r;

    r = sd_bus_open_system(&bus);
    if (r < 0)
        return error_text_set(ret_error, EHOSTUNREACH, ERROR_NAME_UNREACHABLE,
                "Cannot connect to the system bus: %s.", strerrordesc_np(-r));
    *ret = TAKE_PTR(bus);
    return 0;
}

/* ---- calls ---- */

static int append_option(sd_bus_message *m, const char *name, const char *value) {
    return value ? sd_bus_message_append(m, "{sv}", name, "s", value) : 0;
}

static int append_options(sd_bus_message *m, const VfiodRequest *request) {
    int r;

    r = append_option(m, "backend", request->backend);
    if (r >= 0)
        r = append_option(m, "reason", request->reason);
    if (r >= 0)
        r = append_option(m, "grant", request->grant);
    if (r >= 0)
        r = append_option(m, "tether", request->tether);
    if (r >= 0)
        r = append_option(m, "cookie", request->cookie);
    if (r >= 0 && request->memlock > 0)
        r = sd_bus_message_append(m, "{sv}", "memlock", "t", request->memlock);
    if (r >= 0 && request->untainted)
        r = sd_bus_message_append(m, "{sv}", "untainted", "b", 1);
    if (r >= 0)
        r = append_option(m, "require", request_requirement(request));
    if (r >= 0)
        r = append_option(m, "network", request_network(request));
    if (r >= 0)
        r = append_option(m, "ticket", request_ticket(request));
    if (r >= 0 && request_wait(request) > 0)
        r = sd_bus_message_append(m, "{sv}", "wait", "t", request_wait(request));
    if (r >= 0 && request_duration(request) > 0)
        r = sd_bus_message_append(m, "{sv}", "duration", "t", request_duration(request));
    return r;
}

static int append_reservation(sd_bus_message *m, const Call *call) {
    int r = 0;

    if (call->ttl > 0)
        r = sd_bus_message_append(m, "{sv}", "ttl", "t", call->ttl);
    if (r < 0 || !call->for_other)
        return r;
    r = sd_bus_message_append(m, "{sv}", "uid", "u", call->uid);
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'e', "sv");
    if (r >= 0)
        r = sd_bus_message_append(m, "s", "gids");
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'v', "au");
    if (r >= 0)
        r = sd_bus_message_append_array(m, 'u', call->gids, call->n_gids * sizeof(*call->gids));
    for (unsigned level = 0; r >= 0 && level < 2; level++) /* v, e */
        r = sd_bus_message_close_container(m);
    return r;
}

static int append_eviction(sd_bus_message *m, const Call *call) {
    int r = append_option(m, "reason", call->reason);

    if (r >= 0 && call->in_sec >= 0 && !call->cancel)
        r = sd_bus_message_append(m, "{sv}", "in", "t", (uint64_t) call->in_sec);
    if (r >= 0 && call->cancel)
        r = sd_bus_message_append(m, "{sv}", "cancel", "b", 1);
    return r;
}

static int append_devices(sd_bus_message *m, const VfiodRequest *request) {
    int r;

    r = sd_bus_message_open_container(m, 'a', "s");
    for (size_t i = 0; r >= 0 && i < request->n_devices; i++)
        r = sd_bus_message_append_basic(m, 's', request->devices[i]);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_call(sd_bus_message *m, const Call *call) {
    int r = 0;

    if (method_has_request(call->method))
        r = sd_bus_message_set_allow_interactive_authorization(m, call->request->interactive != 0);
    if (r >= 0 && method_has_claim(call->method))
        r = sd_bus_message_append_basic(m, 's', call->claim);
    if (r >= 0 && method_has_devices(call->method))
        r = append_devices(m, call->request);
    if (r >= 0 && call->method == METHOD_SET_VIRTUAL_FUNCTIONS)
        r = sd_bus_message_append(m, "su", call->name, (uint32_t) call->count);
    if (r >= 0 && (call->method == METHOD_PROBE_CAPABILITIES || call->method == METHOD_RESERVE))
        r = sd_bus_message_append(m, "s", call->name);
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'a', "{sv}");
    if (r >= 0 && call->method == METHOD_SET_VIRTUAL_FUNCTIONS && call->autoprobe >= 0)
        r = sd_bus_message_append(m, "{sv}", "autoprobe", "b", call->autoprobe);
    if (r >= 0 && method_has_request(call->method))
        r = append_options(m, call->request);
    if (r >= 0 && call->method == METHOD_RESERVE)
        r = append_reservation(m, call);
    if (r >= 0 && call->method == METHOD_EXPLAIN)
        r = append_option(m, "claim", call->claim);
    if (r >= 0 && call->method == METHOD_CLEAR_QUARANTINE)
        r = append_option(m, "reason", call->reason);
    if (r >= 0 && call->method == METHOD_EVICT)
        r = append_eviction(m, call);
    if (r >= 0 && call->method == METHOD_ANSWER_EVICTION)
        r = sd_bus_message_append(m, "{sv}", "more", "t", call->more);
    if (r >= 0 && call->last_refusal)
        r = sd_bus_message_append(m, "{sv}", "lastRefusal", "b", 1);
    if (r >= 0)
        r = append_option(m, "tether", call_tether(call));
    if (r >= 0 && call->pid > 0)
        r = sd_bus_message_append(m, "{sv}", "pid", "t", call->pid);
    if (r >= 0 && call->pidfd_id > 0)
        r = sd_bus_message_append(m, "{sv}", "pidfdId", "t", call->pidfd_id);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static int new_call(sd_bus *bus, const char *member, const Call *call, sd_bus_message **ret) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    int r;

    r = sd_bus_message_new_method_call(
            bus, &m, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH, VFIOD_MANAGER_INTERFACE, member);
    if (r >= 0)
        r = append_call(m, call);
    if (r >= 0)
        *ret = TAKE_PTR(m);
    return r;
}

/* ---- answers ---- */

static int take_string(char **p, sd_bus_message *m) {
    const char *s;
    int r;

    r = sd_bus_message_read(m, "v", "s", &s);
    return r < 0 ? r : free_and_strdup(p, s);
}

static int read_names(Answer *a, sd_bus_message *m, int (*add)(Answer *, const char *)) {
    const char *s;
    int r;

    r = sd_bus_message_enter_container(m, 'v', "as");
    if (r >= 0)
        r = sd_bus_message_enter_container(m, 'a', "s");
    while (r >= 0) {
        r = sd_bus_message_read_basic(m, 's', &s);
        if (r <= 0)
            break;
        r = add(a, s);
    }
    if (r >= 0)
        r = sd_bus_message_exit_container(m);
    if (r >= 0)
        r = sd_bus_message_exit_container(m);
    return r;
}

static int take_claim(Answer *a, const char *path) {
    _cleanup_free_ char *id = NULL;
    int r;

    r = sd_bus_path_decode(path, VFIOD_OBJECT_PATH "/claim", &id);
    return r < 0 ? r : r == 0 ? -EBADMSG : free_and_strdup(&a->claim, id);
}

static int read_claim_path(Answer *a, sd_bus_message *m) {
    const char *path;
    int r;

    r = sd_bus_message_read_basic(m, 'o', &path);
    return r < 0 ? r : take_claim(a, path);
}

/* The extra results of Transfer. */
static int read_claim_result(Answer *a, sd_bus_message *m) {
    const char *path;
    int r;

    r = sd_bus_message_read(m, "v", "o", &path);
    return r < 0 ? r : take_claim(a, path);
}

/* Unknown keys are skipped, because later versions may add some. */
static int read_result(Answer *a, sd_bus_message *m) {
    const char *key;
    int r;

    r = sd_bus_message_enter_container(m, 'a', "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        r = sd_bus_message_read_basic(m, 's', &key);
        if (r < 0)
            return r;
        if (streq(key, "backend"))
            r = take_string(&a->backend, m);
        else if (streq(key, "tether"))
            r = take_string(&a->tether, m);
        else if (streq(key, "rule"))
            r = take_string(&a->rule, m);
        else if (streq(key, "devices"))
            r = read_names(a, m, answer_add_device);
        else if (streq(key, "nodes"))
            r = read_names(a, m, answer_add_node);
        else if (streq(key, "vfTokens"))
            r = read_names(a, m, answer_add_vf_token);
        else if (streq(key, "claim"))
            r = read_claim_result(a, m);
        else
            r = sd_bus_message_skip(m, "v");
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_fds(Answer *a, sd_bus_message *m) {
    const char *name;
    int r, fd;

    r = sd_bus_message_enter_container(m, 'a', "(sh)");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_read(m, "(sh)", &name, &fd)) > 0) {
        r = answer_add_fd(a, name, fd);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_text(Answer *a, sd_bus_message *m) {
    const char *text;
    int r;

    r = sd_bus_message_read_basic(m, 's', &text);
    return r < 0 ? r : free_and_strdup(&a->text, text);
}

/* Converts each value to JSON, as the socket has it. */
static int add_value(StrBuf *b, const char *key, sd_bus_message *m) {
    const char *type, *text;
    uint64_t number = 0;
    uint32_t small;
    int r;

    r = sd_bus_message_peek_type(m, NULL, &type);
    if (r < 0)
        return r;
    if (!streq(type, "s") && !streq(type, "u") && !streq(type, "t"))
        return sd_bus_message_skip(m, "v");
    strbuf_add(b, ",");
    strbuf_add_json(b, key);
    strbuf_add(b, ":");
    if (*type == 's') {
        r = sd_bus_message_read(m, "v", "s", &text);
        if (r >= 0)
            strbuf_add_json(b, text);
        return r;
    }
    r = *type == 't' ? sd_bus_message_read(m, "v", "t", &number) : sd_bus_message_read(m, "v", "u", &small);
    if (r >= 0)
        strbuf_addf(b, "%" PRIu64, *type == 't' ? number : small);
    return r;
}

static int read_ticket(Answer *a, sd_bus_message *m) {
    _cleanup_strbuf_ StrBuf b = {};
    const char *ticket, *key;
    int r;

    r = read_claim_path(a, m);
    if (r >= 0)
        r = sd_bus_message_read(m, "s", &ticket);
    if (r >= 0)
        r = sd_bus_message_enter_container(m, 'a', "{sv}");
    if (r < 0)
        return r;
    strbuf_add(&b, "{\"claim\":");
    strbuf_add_json(&b, a->claim);
    strbuf_add(&b, ",\"ticket\":");
    strbuf_add_json(&b, ticket);
    while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        r = sd_bus_message_read(m, "s", &key);
        if (r >= 0)
            r = add_value(&b, key, m);
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    strbuf_add(&b, "}");
    a->text = strbuf_steal(&b);
    return r < 0 ? r : a->text ? sd_bus_message_exit_container(m) : -ENOMEM;
}

static int read_answer(Answer *a, Method method, sd_bus_message *m) {
    int r = 0;

    if (method == METHOD_ACQUIRE)
        r = read_claim_path(a, m);
    if (r >= 0 && method_gives_claim(method))
        r = read_result(a, m);
    if (r >= 0 && method_gives_claim(method))
        r = read_fds(a, m);
    if (method == METHOD_RESERVE)
        r = read_ticket(a, m);
    else if (r >= 0 && method_gives_text(method))
        r = read_text(a, m);
    return r < 0 ? r : answer_check(a, method);
}

/* ---- the link ---- */

typedef struct Link Link;

typedef struct Pending {
    Link *link;
    Method method;
    answered_t answered;
    void *userdata;
} Pending;

/* The last known state of a claim. */
typedef struct Seen {
    char *state, *failure, *eviction, *resume; /* owned */
    uint64_t evict_at, sleep_at;
} Seen;

static void seen_done(Seen *s) {
    free(s->state);
    free(s->failure);
    free(s->eviction);
    free(s->resume);
}

static bool seen_equal(const Seen *a, const Seen *b) {
    return streq_ptr(a->state, b->state) && streq_ptr(a->eviction, b->eviction) &&
            streq_ptr(a->resume, b->resume) && a->evict_at == b->evict_at && a->sleep_at == b->sleep_at;
}

typedef struct Watch {
    struct Watch *next;
    Link *link;
    char *path; /* owned */
    Seen seen;  /* as it was reported last */
    bool over;
    changed_t changed;
    void *userdata;
} Watch;

struct Link {
    sd_bus *bus; /* owned */
    Watch *watches;
};

static void link_close(void *p) {
    Link *l = p;

    if (!l)
        return;
    sd_bus_flush_close_unref(l->bus);
    while (l->watches) {
        Watch *w = l->watches;

        l->watches = w->next;
        free(w->path);
        seen_done(&w->seen);
        free(w);
    }
    free(l);
}

static int link_open(void **ret, VfiodErrorText *error) {
    Link *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return error_text_errno(error, ENOMEM, "Cannot connect to vfiod");
    r = open_bus(&l->bus, error);
    if (r < 0) {
        free(l);
        return r;
    }
    *ret = l;
    return 0;
}

sd_bus *transport_dbus_bus(void *link) {
    return ((Link *) link)->bus;
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *ignored) {
    _cleanup_(answer_done) Answer a = {};
    Pending *p = userdata;
    VfiodErrorText error;
    int r;

    if (sd_bus_message_is_method_error(m, NULL))
        r = error_text_from_bus(&error, sd_bus_message_get_error(m), -EIO);
    else {
        r = read_answer(&a, p->method, m);
        if (r < 0)
            r = error_text_errno(&error, r, "Cannot read vfiod's answer");
    }
    p->answered(p->userdata, r < 0 ? NULL : &a, r < 0 ? &error : NULL);
    return 0;
}

static int link_call(void *p, const Call *call, answered_t answered, void *userdata, VfiodErrorText *error) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    _cleanup_free_ Pending *pending = calloc(1, sizeof(*pending));
    Call described = *call;
    sd_bus_slot *slot;
    Link *l = p;
    int r;

    assert(call->method < METHOD_LIST_ONE);
    r = pending ? call_describe_process(&described) : -ENOMEM;
    if (r >= 0)
        r = new_call(l->bus, method_name(call->method), &described, &m);
    if (r >= 0) {
        *pending = (Pending){.link = l, .method = call->method, .answered = answered, .userdata = userdata};
        r = sd_bus_call_async(l->bus, &slot, m, on_answer, pending, call_timeout_usec(call));
    }
    if (r < 0)
        return error_text_from_bus(error, NULL, r);
    (void) sd_bus_slot_set_destroy_callback(slot, free);
    TAKE_PTR(pending);
    (void) sd_bus_slot_set_floating(slot, true);
    sd_bus_slot_unref(slot);
    return 0;
}

/* ---- following claims ---- */

static void report_end(Watch *w, const VfiodErrorText *error) {
    if (w->over)
        return;
    w->over = true;
    w->changed(w->userdata, error ? NULL : &(ClaimReport){}, error);
}

/* Takes ownership of the contents of *s. */
static void report(Watch *w, Seen *s) {
    if (w->over || seen_equal(s, &w->seen))
        return;
    seen_done(&w->seen);
    w->seen = TAKE_GENERIC(*s, (Seen){});
    w->changed(w->userdata,
            &(ClaimReport){.state = w->seen.state,
                    .failure = w->seen.failure,
                    .eviction = w->seen.eviction,
                    .resume = w->seen.resume,
                    .evict_at = w->seen.evict_at,
                    .sleep_at = w->seen.sleep_at},
            NULL);
}

static int read_seen(sd_bus_message *m, Seen *s) {
    const char *key;
    int r;

    r = sd_bus_message_enter_container(m, 'a', "{sv}");
    while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        r = sd_bus_message_read_basic(m, 's', &key);
        if (r >= 0 && streq(key, "State"))
            r = take_string(&s->state, m);
        else if (r >= 0 && streq(key, "Failure"))
            r = take_string(&s->failure, m);
        else if (r >= 0 && streq(key, "Eviction"))
            r = take_string(&s->eviction, m);
        else if (r >= 0 && streq(key, "EvictAt"))
            r = sd_bus_message_read(m, "v", "t", &s->evict_at);
        else if (r >= 0 && streq(key, "SleepAt"))
            r = sd_bus_message_read(m, "v", "t", &s->sleep_at);
        else if (r >= 0 && streq(key, "Resume"))
            r = take_string(&s->resume, m);
        else if (r >= 0)
            r = sd_bus_message_skip(m, "v");
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
    }
    return r < 0 ? r : s->state ? 0 : -EBADMSG;
}

static int on_properties(sd_bus_message *m, void *userdata, sd_bus_error *ignored) {
    _cleanup_(seen_done) Seen seen = {};
    VfiodErrorText error;
    Watch *w = userdata;
    int r;

    if (sd_bus_message_is_method_error(m, NULL)) {
        const sd_bus_error *bus_error = sd_bus_message_get_error(m);

        if (bus_error_is_unknown_object(bus_error)) {
            report_end(w, NULL);
            return 0;
        }
        /* The daemon ended during the call. The change of the name's owner follows, which causes another
         * call. */
        r = error_text_from_bus(&error, bus_error, -EIO);
        if (!streq(error.name, "ShuttingDown") &&
                (r != -ETIMEDOUT || !streq(error.name, ERROR_NAME_UNREACHABLE)))
            report_end(w, &error);
        return 0;
    }
    r = read_seen(m, &seen);
    if (r < 0) {
        (void) error_text_errno(&error, r, "Cannot read vfiod's answer");
        report_end(w, &error);
        return 0;
    }
    report(w, &seen);
    return 0;
}

static int look(Watch *w) {
    return sd_bus_call_method_async(w->link->bus, NULL, VFIOD_BUS_NAME, w->path,
            "org.freedesktop.DBus.Properties", "GetAll", on_properties, w, "s", "org.vfiod1.Claim");
}

/* The bus checks the senders of broadcasts. It does not check signals that were sent only to us, and no such
 * signal matters here. */
static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *ignored) {
    Watch *w = userdata;

    if (!sd_bus_message_get_destination(m) && !w->over)
        (void) look(w);
    return 0;
}

/* Also InterfacesAdded: a caller may know a claim before it is announced, and changes until then come with
 * it. */
static int listen_for_signals(Watch *w) {
    _cleanup_free_ char *changed = NULL, *came_or_went = NULL;
    sd_bus *bus = w->link->bus;
    int r;

    changed = format_string("type='signal',sender='" VFIOD_BUS_NAME "',path='%s',"
                            "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'",
            w->path);
    came_or_went = format_string("type='signal',sender='" VFIOD_BUS_NAME "',path='" VFIOD_OBJECT_PATH "',"
                                 "interface='org.freedesktop.DBus.ObjectManager',arg0path='%s'",
            w->path);
    if (!changed || !came_or_went)
        return -ENOMEM;
    r = sd_bus_add_match(bus, NULL, changed, on_signal, w);
    if (r >= 0)
        r = sd_bus_add_match(bus, NULL, came_or_went, on_signal, w);
    if (r >= 0)
        r = sd_bus_add_match(bus, NULL,
                "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
                "member='NameOwnerChanged',arg0='" VFIOD_BUS_NAME "'",
                on_signal, w);
    return r;
}

static int link_watch(void *p, const char *claim, changed_t changed, void *userdata, VfiodErrorText *error) {
    Watch *w = calloc(1, sizeof(*w));
    Link *l = p;
    int r;

    if (!w)
        return error_text_errno(error, ENOMEM, "Cannot follow the claim");
    *w = (Watch){.next = l->watches, .link = l, .changed = changed, .userdata = userdata};
    l->watches = w;
    w->path = format_string("%s/claim/%s", VFIOD_OBJECT_PATH, claim);
    r = w->path ? listen_for_signals(w) : -ENOMEM;
    if (r >= 0)
        r = look(w);
    if (r < 0) {
        w->over = true;
        return error_text_from_bus(error, NULL, r);
    }
    return 0;
}

static int link_get_fd(void *p) {
    return sd_bus_get_fd(((Link *) p)->bus);
}

static short link_get_events(void *p) {
    int events = sd_bus_get_events(((Link *) p)->bus);

    return events < 0 ? POLLIN : (short) events;
}

static int link_get_timeout(void *p, uint64_t *ret_usec) {
    int r = sd_bus_get_timeout(((Link *) p)->bus, ret_usec);

    if (r == 0)
        *ret_usec = UINT64_MAX;
    return MIN(r, 0);
}

/* When the connection breaks, sd-bus answers all calls with an error. */
static int link_process(void *p) {
    VfiodErrorText error;
    Link *l = p;
    int r;

    do
        r = sd_bus_process(l->bus, NULL);
    while (r > 0);
    if (r >= 0)
        return 0;
    (void) error_text_set(&error, EHOSTUNREACH, ERROR_NAME_UNREACHABLE, "The connection to the bus broke: %s",
            strerrordesc_np(-r));
    for (Watch *w = l->watches; w; w = w->next)
        report_end(w, &error);
    return -error.error;
}

/* libvfiod finds it by this name in the separate object. */
extern const Transport vfiod_transport_dbus;
const Transport vfiod_transport_dbus = {
        .name = "dbus",
        .open = link_open,
        .close = link_close,
        .call = link_call,
        .watch = link_watch,
        .get_fd = link_get_fd,
        .get_events = link_get_events,
        .get_timeout = link_get_timeout,
        .process = link_process,
};
