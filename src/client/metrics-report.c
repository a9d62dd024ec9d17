/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The figures for systemd-report: io.systemd.Metrics, a Varlink interface that a service can offer on its own
 * socket in /run/systemd/report. systemd has accepted the connection, and the peer may send anything. Calls
 * are answered one by one. */

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json-text.h"
#include "base/json-write.h"
#include "base/varlink-frame.h"
#include "client/metrics.h"
#include "client/show.h"

#define SERVICE "org.varlink.service"
#define INTERFACE "io.systemd.Metrics"
/* names begin with that of the socket */
#define PREFIX "org.vfiod.Metrics."

#define MESSAGE_MAX 16384U
#define NODES_MAX 256U
#define IDLE_SEC 30U

static const struct {
    const char *interface, *text;
} descriptions[] = {
        {INTERFACE,
                "interface io.systemd.Metrics\n\n"
                "type MetricFamilyType(counter, gauge, string)\n\n"
                "method List() -> (name: string, value: any, object: ?string, fields: ?[string]string)\n\n"
                "method Describe() -> (name: string, description: string, type: MetricFamilyType)\n\n"
                "error NoSuchMetric()\n"},
        {SERVICE,
                "interface org.varlink.service\n\n"
                "method GetInfo() -> (vendor: string, product: string, version: string, url: string, "
                "interfaces: []string)\n\n"
                "method GetInterfaceDescription(interface: string) -> (description: string)\n\n"
                "error InterfaceNotFound(interface: string)\n\n"
                "error MethodNotFound(method: string)\n\n"
                "error MethodNotImplemented(method: string)\n\n"
                "error InvalidParameter(parameter: string)\n\n"
                "error PermissionDenied()\n\n"
                "error ExpectedMore()\n"},
};

/* ---- Sending ---- */

typedef struct Link {
    int fd;
    bool oneway;
    char *pending; /* owned; parameters of a reply that is not the last one; NULL: none */
} Link;

static int send_all(int fd, const char *data, size_t size) {
    (void) alarm(IDLE_SEC); /* for a peer that does not read */
    for (size_t sent = 0; sent < size;) {
        ssize_t n = write(fd, data + sent, size - sent);

        if (n <= 0)
            return -EIO;
        sent += (size_t) n;
    }
    return 0;
}

/* With the NUL at its end. */
static int send_message(Link *l, JsonWriter *w) {
    _cleanup_free_ char *text = strbuf_steal(&w->text);

    if (!text)
        return -ENOMEM;
    return l->oneway ? 0 : send_all(l->fd, text, strlen(text) + 1);
}

static int send_reply(Link *l, const char *parameters, bool continues) {
    JsonWriter w = {};

    json_write_open(&w, NULL, '{');
    json_write_key(&w, "parameters");
    json_write_raw(&w, parameters);
    if (continues) {
        json_write_key(&w, "continues");
        json_write_boolean(&w, true);
    }
    json_write_close(&w, '}');
    return send_message(l, &w);
}

/* parameter NULL: the error has none. */
static int send_error(Link *l, const char *error, const char *parameter, const char *value) {
    JsonWriter w = {};

    json_write_open(&w, NULL, '{');
    json_write_key(&w, "error");
    json_write_text(&w, error);
    json_write_open(&w, "parameters", '{');
    if (parameter) {
        json_write_key(&w, parameter);
        json_write_text(&w, value);
    }
    json_write_close(&w, '}');
    json_write_close(&w, '}');
    return send_message(l, &w);
}

/* Adds one of several replies. Only the last one is marked as such, so each waits for the next. */
static int add_reply(Link *l, JsonWriter *w) {
    char *text = strbuf_steal(&w->text);
    int r = 0;

    if (!text)
        return -ENOMEM;
    if (l->pending)
        r = send_reply(l, l->pending, /* continues= */ true);
    free(l->pending);
    l->pending = text;
    return r;
}

static int end_replies(Link *l) {
    _cleanup_free_ char *last = TAKE_PTR(l->pending);

    return last ? send_reply(l, last, /* continues= */ false)
                : send_error(l, INTERFACE ".NoSuchMetric", NULL, NULL);
}

/* ---- Figures ---- */

/* "vfiod_policy_rules" -> "org.vfiod.Metrics.PolicyRules" */
static void write_name(JsonWriter *w, const Metric *m) {
    char name[sizeof(PREFIX) + 64] = PREFIX;
    size_t n = strlen(PREFIX);
    bool capital = true;

    for (const char *s = m->name + strlen("vfiod_"); *s && n < sizeof(name) - sizeof("Total"); s++)
        if (*s == '_')
            capital = true;
        else {
            name[n++] = (char) (capital ? *s & ~0x20 : *s);
            capital = false;
        }
    strcpy(name + n, m->type == METRIC_COUNTER ? "Total" : "");
    json_write_key(w, "name");
    json_write_text(w, name);
}

static int add_figure(Link *l, const Metric *m, struct json_object *figure) {
    struct json_object *labels = json_member(figure, "labels");
    bool labelled = labels && json_object_object_length(labels) > 0;
    uint64_t value = metrics_value(m, figure);
    JsonWriter w = {};

    if (labelled && m->type == METRIC_COUNTER && value == 0)
        return 0; /* a report has room for a thousand values of all services */
    json_write_open(&w, NULL, '{');
    write_name(&w, m);
    json_write_key(&w, "value");
    json_write_unsigned(&w, value);
    if (labelled)
        json_write_open(&w, "fields", '{');
    if (labelled) {
        json_object_object_foreach(labels, key, word) {
            json_write_key(&w, key);
            json_write_text(&w, json_object_get_string(word));
        }
        json_write_close(&w, '}');
    }
    json_write_close(&w, '}');
    return add_reply(l, &w);
}

static const Metric up = {"vfiod_up", METRIC_GAUGE, "up", "Whether vfiod answered."};

static int add_up(Link *l, bool is_up) {
    JsonWriter w = {};

    json_write_open(&w, NULL, '{');
    write_name(&w, &up);
    json_write_key(&w, "value");
    json_write_unsigned(&w, is_up);
    json_write_close(&w, '}');
    return add_reply(l, &w);
}

static int run_list(Link *l, const JsonNode *parameters) {
    _cleanup_json_ struct json_object *figures = NULL;
    VfiodErrorText error = {};
    int r;

    figures = metrics_ask(&error);
    r = add_up(l, figures);
    for (const Metric *m = metrics_table; figures && m->name && r >= 0; m++) {
        struct json_object *figure;
        size_t i = 0;

        while (r >= 0 && metrics_next(m, figures, &i, &figure) > 0)
            r = add_figure(l, m, figure);
    }
    return r < 0 ? r : end_replies(l);
}

static int add_description(Link *l, const Metric *m) {
    JsonWriter w = {};

    json_write_open(&w, NULL, '{');
    write_name(&w, m);
    json_write_key(&w, "description");
    json_write_text(&w, m->help);
    json_write_key(&w, "type");
    json_write_text(&w, m->type == METRIC_COUNTER ? "counter" : "gauge");
    json_write_close(&w, '}');
    return add_reply(l, &w);
}

static int run_describe(Link *l, const JsonNode *parameters) {
    int r = add_description(l, &up);

    for (const Metric *m = metrics_table; m->name && r >= 0; m++)
        r = add_description(l, m);
    return r < 0 ? r : end_replies(l);
}

/* ---- The interface of every Varlink service ---- */

static int run_get_info(Link *l, const JsonNode *parameters) {
    JsonWriter w = {};

    json_write_open(&w, NULL, '{');
    json_write_key(&w, "vendor");
    json_write_text(&w, "vfiod");
    json_write_key(&w, "product");
    json_write_text(&w, "vfiod-metrics");
    json_write_key(&w, "version");
    json_write_text(&w, VFIOD_VERSION);
    json_write_key(&w, "url");
    json_write_text(&w, "");
    json_write_open(&w, "interfaces", '[');
    for (size_t i = 0; i < ELEMENTSOF(descriptions); i++)
        json_write_text(&w, descriptions[i].interface);
    json_write_close(&w, ']');
    json_write_close(&w, '}');
    return add_reply(l, &w) < 0 ? -EIO : end_replies(l);
}

static const JsonNode *member(const JsonNode *o, const char *key) {
    for (const JsonNode *n = o && o->type == JSON_OBJECT ? o->children : NULL; n; n = n->next)
        if (streq(n->key, key))
            return n;
    return NULL;
}

static int run_get_description(Link *l, const JsonNode *parameters) {
    const JsonNode *interface = member(parameters, "interface");
    JsonWriter w = {};

    if (!interface || interface->type != JSON_STRING)
        return send_error(l, SERVICE ".InvalidParameter", "parameter", "interface");
    for (size_t i = 0; i < ELEMENTSOF(descriptions); i++) {
        if (!streq(descriptions[i].interface, interface->string))
            continue;
        json_write_open(&w, NULL, '{');
        json_write_key(&w, "description");
        json_write_text(&w, descriptions[i].text);
        json_write_close(&w, '}');
        return add_reply(l, &w) < 0 ? -EIO : end_replies(l);
    }
    return send_error(l, SERVICE ".InterfaceNotFound", "interface", interface->string);
}

/* ---- Calls ---- */

static const struct {
    const char *name;
    int (*run)(Link *l, const JsonNode *parameters);
    const char *parameter; /* the only one; NULL: none */
    bool more;
} methods[] = {
        {INTERFACE ".List", run_list, NULL, true},
        {INTERFACE ".Describe", run_describe, NULL, true},
        {SERVICE ".GetInfo", run_get_info, NULL, false},
        {SERVICE ".GetInterfaceDescription", run_get_description, "interface", false},
};

static const char *find_unknown(const JsonNode *parameters, const char *known) {
    for (const JsonNode *n = parameters ? parameters->children : NULL; n; n = n->next)
        if (!streq_ptr(n->key, known))
            return n->key;
    return NULL;
}

static bool is_true(const JsonNode *n) {
    return n && n->type == JSON_BOOLEAN && n->boolean;
}

/* 0, or a negative errno: nothing more can be understood or sent. */
static int answer(Link *l, const JsonNode *call) {
    const JsonNode *method = member(call, "method"), *parameters = member(call, "parameters");
    const char *unknown;

    if (!method || method->type != JSON_STRING ||
            (parameters && parameters->type != JSON_OBJECT && parameters->type != JSON_NULL))
        return -EBADMSG;
    l->oneway = is_true(member(call, "oneway"));
    for (size_t i = 0; i < ELEMENTSOF(methods); i++) {
        if (!streq(methods[i].name, method->string))
            continue;
        unknown = find_unknown(parameters, methods[i].parameter);
        if (unknown)
            return send_error(l, SERVICE ".InvalidParameter", "parameter", unknown);
        if (methods[i].more && !is_true(member(call, "more")))
            return send_error(l, SERVICE ".ExpectedMore", NULL, NULL);
        return methods[i].run(l, parameters);
    }
    return send_error(l, SERVICE ".MethodNotFound", "method", method->string);
}

static int answer_text(Link *l, const char *text, size_t size) {
    static const JsonBounds bounds = {.size = MESSAGE_MAX, .nodes = NODES_MAX, .plain = true};
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    JsonError ignored;
    int r;

    r = json_document_parse_bounded(text, size, &bounds, &document, &ignored);
    return r < 0 ? r : answer(l, json_document_root(document));
}

static void on_alarm(int signal) {
    _exit(EXIT_SUCCESS);
}

int metrics_serve_report(int fd) {
    _cleanup_(varlink_frame_done) VarlinkFrame input = {.limit = MESSAGE_MAX};
    Link l = {.fd = fd};
    const char *text;
    ssize_t n = 1;
    size_t size;
    char *room;
    int r = signal(SIGALRM, on_alarm) == SIG_ERR ? -EINVAL : 0;

    while (r >= 0 && n > 0) {
        (void) alarm(IDLE_SEC);
        r = varlink_frame_reserve(&input, &room, &size);
        if (r < 0)
            break;
        n = read(fd, room, size);
        r = n > 0 ? varlink_frame_add(&input, (size_t) n, NULL, 0) : 0;
        while (r >= 0 && n > 0 && (text = varlink_frame_peek(&input, &size))) {
            r = answer_text(&l, text, size);
            varlink_frame_drop(&input);
        }
    }
    free(l.pending);
    return r < 0 && r != -EIO ? EXIT_FAILURE : EXIT_SUCCESS;
}
