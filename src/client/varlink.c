/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/varlink.h"

#include <inttypes.h>

#include "base/str.h"
#include "client/error-text.h"

const JsonBounds varlink_bounds = {.size = 4U * 1024 * 1024, .nodes = 256U * 1024};

/* ---- calls ---- */

static void add_member(StrBuf *b, const char *name) {
    strbuf_add(b, b->length > 0 && b->text[b->length - 1] != '{' ? "," : "");
    strbuf_add_json(b, name);
    strbuf_add(b, ":");
}

static void add_text(StrBuf *b, const char *name, const char *value) {
    if (!value)
        return;
    add_member(b, name);
    strbuf_add_json(b, value);
}

static void add_number(StrBuf *b, const char *name, uint64_t value) {
    if (value == 0)
        return;
    add_member(b, name);
    strbuf_addf(b, "%" PRIu64, value);
}

static void add_flag(StrBuf *b, const char *name, bool value) {
    if (!value)
        return;
    add_member(b, name);
    strbuf_add(b, "true");
}

static void add_devices(StrBuf *b, const VfiodRequest *request) {
    add_member(b, "devices");
    strbuf_add(b, "[");
    for (size_t i = 0; i < request->n_devices; i++) {
        strbuf_add(b, i > 0 ? "," : "");
        strbuf_add_json(b, request->devices[i]);
    }
    strbuf_add(b, "]");
}

static void add_request(StrBuf *b, const VfiodRequest *request, bool may_ask) {
    add_text(b, "backend", request->backend);
    add_text(b, "reason", request->reason);
    add_text(b, "grant", request->grant);
    add_text(b, "tether", request->tether);
    add_text(b, "cookie", request->cookie);
    add_number(b, "memlock", request->memlock);
    add_flag(b, "untainted", request->untainted);
    add_text(b, "require", request_requirement(request));
    add_text(b, "network", request_network(request));
    add_text(b, "ticket", request_ticket(request));
    add_number(b, "wait", request_wait(request));
    add_number(b, "duration", request_duration(request));
    add_flag(b, "allowInteractiveAuthentication", may_ask && request->interactive);
}

/* The name of a group is its number as text. */
static void add_object(StrBuf *b, const Call *call) {
    add_member(b, call->kind);
    if (streq(call->kind, "host"))
        strbuf_add(b, "true");
    else if (streq(call->kind, "group"))
        strbuf_addf(b, "%lu", strtoul(call->name, NULL, 10));
    else
        strbuf_add_json(b, call->name);
    if (!call->field)
        return;
    add_member(b, "fields");
    strbuf_add(b, "[");
    strbuf_add_json(b, call->field);
    strbuf_add(b, "]");
}

static void add_field_of_devices(StrBuf *b, const char *field) {
    strbuf_add(b, b->text[b->length - 1] == '{' ? "" : ",");
    strbuf_add(b, "\"kinds\":[\"device\"],\"fields\":[\"name\",");
    strbuf_add_json(b, field);
    strbuf_add(b, "]");
}

static void add_count(StrBuf *b, const Call *call) {
    add_member(b, "count");
    strbuf_addf(b, "%" PRIu64, call->count);
    if (call->autoprobe < 0)
        return;
    add_member(b, "autoprobe");
    strbuf_add(b, call->autoprobe ? "true" : "false");
}

static void add_reservation(StrBuf *b, const Call *call) {
    add_number(b, "ttl", call->ttl);
    if (!call->for_other)
        return;
    add_member(b, "uid");
    strbuf_addf(b, "%" PRIu32, call->uid);
    add_member(b, "gids");
    strbuf_add(b, "[");
    for (size_t i = 0; i < call->n_gids; i++)
        strbuf_addf(b, "%s%" PRIu32, i > 0 ? "," : "", call->gids[i]);
    strbuf_add(b, "]");
}

static void add_eviction(StrBuf *b, const Call *call) {
    add_text(b, "reason", call->reason);
    add_flag(b, "cancel", call->cancel);
    if (call->in_sec < 0 || call->cancel)
        return;
    add_member(b, "in");
    strbuf_addf(b, "%" PRId64, call->in_sec);
}

int varlink_write_call(const Call *call, char **ret) {
    _cleanup_strbuf_ StrBuf b = {};

    strbuf_addf(&b, "{\"method\":\"" VARLINK_INTERFACE ".%s\",\"parameters\":{", method_name(call->method));
    if (call->kind)
        add_object(&b, call);
    if (call->method == METHOD_LIST_ALL && call->field)
        add_field_of_devices(&b, call->field);
    if (call->method == METHOD_SET_VIRTUAL_FUNCTIONS)
        add_count(&b, call);
    if (call->method == METHOD_RESERVE)
        add_reservation(&b, call);
    add_text(&b, "claim", call->claim);
    add_flag(&b, "lastRefusal", call->last_refusal);
    if (method_has_devices(call->method))
        add_devices(&b, call->request);
    if (method_has_request(call->method))
        add_request(&b, call->request, method_gives_claim(call->method) || call->method == METHOD_RESERVE);
    if (call->method == METHOD_CLEAR_QUARANTINE)
        add_text(&b, "reason", call->reason);
    if (call->method == METHOD_EVICT)
        add_eviction(&b, call);
    add_number(&b, "more", call->more);
    add_text(&b, "tether", call_tether(call));
    add_number(&b, "pid", call->pid);
    add_number(&b, "pidfdId", call->pidfd_id);
    strbuf_add(&b, "}");
    add_flag(&b, "more", method_gives_more(call->method));
    strbuf_add(&b, "}");
    *ret = strbuf_steal(&b);
    return *ret ? 0 : -ENOMEM;
}

/* ---- replies ---- */

static const JsonNode *member(const JsonNode *object, const char *key, JsonType type) {
    if (!object || object->type != JSON_OBJECT)
        return NULL;
    for (const JsonNode *n = object->children; n; n = n->next)
        if (streq(n->key, key))
            return n->type == type ? n : NULL;
    return NULL;
}

static const char *text_of(const JsonNode *object, const char *key) {
    const JsonNode *n = member(object, key, JSON_STRING);

    return n ? n->string : NULL;
}

static uint64_t number_of(const JsonNode *object, const char *key) {
    const JsonNode *n = member(object, key, JSON_INTEGER);

    return n && n->integer > 0 ? (uint64_t) n->integer : 0;
}

static int take_text(const JsonNode *object, const char *key, char **p) {
    const char *text = text_of(object, key);

    return text ? free_and_strdup(p, text) : 0;
}

static int read_names(
        const JsonNode *parameters, const char *key, int (*add)(Answer *, const char *), Answer *a) {
    const JsonNode *list = member(parameters, key, JSON_ARRAY);
    int r = 0;

    for (const JsonNode *n = list ? list->children : NULL; r >= 0 && n; n = n->next)
        r = n->type == JSON_STRING ? add(a, n->string) : -EBADMSG;
    return r;
}

static int read_fds(const JsonNode *parameters, const int *fds, size_t n_fds, Answer *a) {
    const JsonNode *list = member(parameters, "fds", JSON_ARRAY);
    int r = 0;

    for (const JsonNode *n = list ? list->children : NULL; r >= 0 && n; n = n->next) {
        const JsonNode *index = member(n, "fileDescriptorIndex", JSON_INTEGER);
        const char *name = text_of(n, "name");

        if (!name || !index || index->integer < 0 || (uint64_t) index->integer >= n_fds)
            return -EBADMSG;
        r = answer_add_fd(a, name, fds[index->integer]);
    }
    return r;
}

/* Writes text again: the daemon's plan has members that only the caller knows. */
static void write_node(StrBuf *b, const JsonNode *n) {
    switch (n->type) {
    case JSON_BOOLEAN:
        strbuf_add(b, n->boolean ? "true" : "false");
        break;
    case JSON_INTEGER:
        strbuf_addf(b, "%" PRIi64, n->integer);
        break;
    case JSON_REAL:
        strbuf_addf(b, "%.17g", n->real);
        break;
    case JSON_STRING:
        strbuf_add_json(b, n->string);
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        strbuf_add(b, n->type == JSON_ARRAY ? "[" : "{");
        for (const JsonNode *child = n->children; child; child = child->next) {
            if (child != n->children)
                strbuf_add(b, ",");
            if (n->type == JSON_OBJECT) {
                strbuf_add_json(b, child->key);
                strbuf_add(b, ":");
            }
            write_node(b, child);
        }
        strbuf_add(b, n->type == JSON_ARRAY ? "]" : "}");
        break;
    default:
        strbuf_add(b, "null");
    }
}

static int read_document(const JsonNode *parameters, Method m, Answer *a) {
    const JsonNode *document = m == METHOD_RESERVE
            ? parameters
            : member(parameters, m == METHOD_PLAN ? "plan" : "explanation", JSON_OBJECT);
    _cleanup_strbuf_ StrBuf b = {};

    if (!document)
        return -EBADMSG;
    write_node(&b, document);
    a->text = strbuf_steal(&b);
    return a->text ? 0 : -ENOMEM;
}

static int read_parameters(Method m, const JsonNode *parameters, const int *fds, size_t n_fds, Answer *a) {
    int r;

    if (m == METHOD_PLAN || m == METHOD_EXPLAIN || m == METHOD_RESERVE)
        return read_document(parameters, m, a);
    if (!method_gives_claim(m))
        return 0;
    r = take_text(parameters, "claim", &a->claim);
    if (r >= 0)
        r = take_text(parameters, "backend", &a->backend);
    if (r >= 0)
        r = take_text(parameters, "tether", &a->tether);
    if (r >= 0)
        r = take_text(parameters, "rule", &a->rule);
    if (r >= 0)
        r = read_names(parameters, "devices", answer_add_device, a);
    if (r >= 0)
        r = read_names(parameters, "nodes", answer_add_node, a);
    if (r >= 0)
        r = read_names(parameters, "vfTokens", answer_add_vf_token, a);
    if (r >= 0)
        r = read_fds(parameters, fds, n_fds, a);
    return r;
}

static int take_error(const char *name, const JsonNode *parameters, VfiodErrorText *error) {
    const char *ours = startswith(name, VARLINK_INTERFACE "."), *message = text_of(parameters, "message");

    if (ours)
        return error_text_of_daemon(error, ours, message ?: ours);
    if (streq(name, "org.varlink.service.PermissionDenied"))
        return error_text_set(error, EACCES, "AccessDenied", "vfiod refuses this peer.");
    return error_text_set(error, EOPNOTSUPP, name, "vfiod does not know the call: %s %s", name,
            text_of(parameters, "parameter") ?: text_of(parameters, "method") ?: "");
}

/* Reads the members that every message has. */
static int read_message(const JsonNode *root, const JsonNode **ret_parameters, VfiodErrorText *error) {
    const char *name = text_of(root, "error");
    const JsonNode *parameters = member(root, "parameters", JSON_OBJECT);

    if (root->type != JSON_OBJECT || (name && !*name))
        return error_text_errno(error, EBADMSG, "Cannot read vfiod's answer");
    if (name)
        return take_error(name, parameters, error);
    *ret_parameters = parameters;
    return 0;
}

int varlink_read_reply(Method m, const char *text, size_t size, const int *fds, size_t n_fds, Answer *ret,
        VfiodErrorText *error) {
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    _cleanup_(answer_done) Answer a = {};
    const JsonNode *root, *parameters, *continues;
    JsonError ignored;
    int r;

    r = json_document_parse_bounded(text, size, &varlink_bounds, &document, &ignored);
    if (r < 0)
        return error_text_errno(error, r, "Cannot read vfiod's answer");
    root = json_document_root(document);
    r = read_message(root, &parameters, error);
    if (r < 0)
        return r;
    continues = member(root, "continues", JSON_BOOLEAN);
    a.continues = continues && continues->boolean;
    r = a.continues && !method_gives_more(m) ? -EBADMSG : read_parameters(m, parameters, fds, n_fds, &a);
    if (r >= 0 && method_gives_text(m) && !a.text) { /* numbers unchanged */
        _cleanup_strbuf_ StrBuf copy = {};           /* text does not end with NUL */

        strbuf_add_bytes(&copy, text, size);
        a.text = strbuf_steal(&copy);
        r = a.text ? 0 : -ENOMEM;
    }
    if (r >= 0)
        r = answer_check(&a, m);
    if (r < 0)
        return error_text_errno(error, r, "Cannot read vfiod's answer");
    *ret = a;
    a = (Answer){};
    return 0;
}

int varlink_read_event(const JsonNode *root, VarlinkEvent *ret, VfiodErrorText *error) {
    const JsonNode *parameters, *claim;
    int r;

    r = read_message(root, &parameters, error);
    if (r < 0)
        return r;
    claim = member(parameters, "claim", JSON_OBJECT);
    *ret = (VarlinkEvent){
            .event = text_of(parameters, "event"),
            .claim = text_of(claim, "id") ?: text_of(parameters, "name"),
            .report = {.state = text_of(claim, "state"),
                    .failure = text_of(claim, "failure"),
                    .eviction = text_of(claim, "eviction"),
                    .resume = text_of(claim, "resume"),
                    .evict_at = number_of(claim, "evictAt"),
                    .sleep_at = number_of(claim, "sleepAt")},
    };
    return ret->event ? 0 : error_text_errno(error, EBADMSG, "Cannot read vfiod's answer");
}
