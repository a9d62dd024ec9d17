/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Turns a Refusal into a Varlink error: a name, and the sentence and its parts as parameters. The code that
 * made the refusal decided what this caller may learn. */

#include "daemon/varlink/varlink-internal.h"

#define DETAIL_MAX 2048U

static void write_detail(JsonWriter *w, const char *key, const char *text) {
    _cleanup_free_ char *clean = text && text[0] ? sanitize(text, DETAIL_MAX) : NULL;

    if (!text || !text[0])
        return;
    json_write_key(w, key);
    json_write_text(w, clean);
    if (!clean)
        w->text.error = -ENOMEM;
}

static void write_blockers(JsonWriter *w, const Refusal *refusal) {
    if (refusal->n_blockers == 0)
        return;
    json_write_open(w, "blockers", '[');
    for (size_t i = 0; i < refusal->n_blockers; i++) {
        const Blocker *b = refusal->blockers + i;

        json_write_open(w, NULL, '{');
        json_write_key(w, "kind");
        json_write_text(w, blocker_kind_to_string(b->kind));
        json_write_key(w, "name");
        json_write_text(w, b->name);
        json_write_key(w, "why");
        json_write_text(w, b->why);
        json_write_close(w, '}');
    }
    json_write_close(w, ']');
}

static void write_details(JsonWriter *w, const Refusal *refusal) {
    write_detail(w, "reason", refusal->reason);
    write_detail(w, "device", refusal->device);
    write_detail(w, "rule", refusal->rule);
    write_detail(w, "file", refusal->file);
    if (refusal->line > 0) {
        json_write_key(w, "line");
        json_write_number(w, refusal->line);
    }
    write_detail(w, "nearest", refusal->nearest);
    write_detail(w, "predicate", refusal->predicate);
    write_detail(w, "wanted", refusal->wanted);
    write_detail(w, "seen", refusal->seen);
    write_detail(w, "remedy", refusal->remedy ?: error_info(refusal->code)->remedy);
    write_blockers(w, refusal);
}

static void write_obstacles(JsonWriter *w, const Refusal *refusal) {
    if (refusal->n_obstacles == 0)
        return;
    json_write_open(w, "obstacles", '[');
    for (size_t i = 0; i < refusal->n_obstacles; i++) {
        json_write_open(w, NULL, '{');
        json_write_key(w, "error");
        json_write_text(w, error_info(refusal->obstacles[i].code)->name);
        write_details(w, &refusal->obstacles[i]);
        json_write_close(w, '}');
    }
    json_write_close(w, ']');
}

static void write_message(JsonWriter *w, const Refusal *refusal) {
    _cleanup_free_ char *text = refusal_format(refusal);

    json_write_key(w, "message");
    json_write_text(w, text ?: error_info(refusal->code)->remedy);
}

/* {"error": NAME, "parameters": { */
static void begin_error(JsonWriter *w, const char *prefix, const char *name) {
    strbuf_add(&w->text, "{\"error\":\"");
    strbuf_add(&w->text, prefix);
    strbuf_add(&w->text, name);
    strbuf_add(&w->text, "\"");
    w->comma = true;
}

static int write_error(VarlinkPeer *p, JsonWriter *w, bool wanted) {
    int r;

    json_write_close(w, '}');
    strbuf_add_byte(&w->text, '\0');
    r = w->text.error;
    if (r >= 0 && wanted)
        r = varlink_peer_write(p, &w->text, NULL, 0);
    strbuf_done(&w->text);
    return r;
}

static int send_error(VarlinkCall *call, JsonWriter *w) {
    return write_error(call->peer, w, !call->message.oneway);
}

int varlink_reply_error(VarlinkCall *call, const char *error, const char *parameter, const char *value) {
    JsonWriter w = {};

    begin_error(&w, "", error);
    if (parameter) {
        _cleanup_free_ char *clean = sanitize(value, 256);

        json_write_open(&w, "parameters", '{');
        json_write_key(&w, parameter);
        json_write_text(&w, clean ?: "");
        json_write_close(&w, '}');
    }
    return send_error(call, &w);
}

static void write_refusal(JsonWriter *w, const Refusal *refusal) {
    begin_error(w, VARLINK_INTERFACE ".", error_info(refusal->code)->name);
    json_write_open(w, "parameters", '{');
    write_message(w, refusal);
    write_details(w, refusal);
    write_obstacles(w, refusal);
    json_write_close(w, '}');
}

static int reply_refusal(VarlinkCall *call, const Refusal *refusal) {
    JsonWriter w = {};

    write_refusal(&w, refusal);
    return send_error(call, &w);
}

void varlink_peer_refuse_message(VarlinkPeer *p) {
    Refusal refusal = REFUSAL_NULL;
    JsonWriter w = {};

    (void) refuse(&refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL, "the message is longer than %zu bytes",
            VARLINK_MESSAGE_MAX);
    refusal.remedy = strdup("Send a shorter one, on a new connection.");
    write_refusal(&w, &refusal);
    (void) write_error(p, &w, true);
    refusal_done(&refusal);
}

/* Without any answer the peer would wait forever, so its connection is closed. */
void varlink_call_refuse(VarlinkCall *call, int r, const Refusal *refusal) {
    Refusal trouble = REFUSAL_NULL;

    if (!refusal || (int) refusal->code < 0) {
        (void) refuse(&trouble, VFIOD_ERROR_INTERNAL, NULL, "%s", strerror(-r));
        refusal = &trouble;
    }
    if (reply_refusal(call, refusal) < 0)
        call->peer->broken = true;
    refusal_done(&trouble);
}
