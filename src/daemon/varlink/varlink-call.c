/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A call, from its message to its last reply. Every call goes through the door, also one that fails: to look
 * up its method costs time, too. */

#include "base/log.h"
#include "daemon/kernel/socket-peer.h"
#include "daemon/varlink/varlink-internal.h"

/* The reply for a claim of one device. */
#define REPLY_SIZE_USUAL 511U

static Door *door_of(const VarlinkCall *call) {
    return call->peer->face->context.door;
}

static Broker *broker_of(const VarlinkCall *call) {
    return call->peer->face->context.host.broker;
}

VarlinkCall *varlink_call_free(VarlinkCall *call) {
    if (!call)
        return NULL;
    if (call->with_broker)
        broker_forget_caller(broker_of(call), call);
    door_leave(door_of(call), &call->task);
    broker_inquiry_done(&call->inquiry);
    call->holders = holder_query_cancel(call->holders);
    if (call->free_state)
        call->free_state(call->state);
    varlink_message_done(&call->message);
    call->peer->call = NULL;
    free(call);
    return NULL;
}

void varlink_call_done(VarlinkCall *call) {
    VarlinkPeer *p = call->peer;

    varlink_call_free(call);
    varlink_peer_wake(p);
}

/* ---- Which method ---- */

static const VarlinkInterface *find_interface(const char *name, size_t n) {
    for (const VarlinkInterface *i = varlink_interfaces; i->name; i++)
        if (strlen(i->name) == n && memcmp(i->name, name, n) == 0)
            return i;
    return NULL;
}

static const VarlinkMethod *find_method(const char *name) {
    const char *dot = strrchr(name, '.');
    const VarlinkInterface *interface = dot ? find_interface(name, (size_t) (dot - name)) : NULL;

    for (const VarlinkMethod *m = interface ? interface->methods : NULL; m && m->name; m++)
        if (streq(m->name, dot + 1))
            return m;
    return NULL;
}

static int fail_unknown(VarlinkCall *call) {
    const char *name = call->message.method, *dot = strrchr(name, '.');
    size_t n = dot ? (size_t) (dot - name) : 0;
    _cleanup_free_ char *interface = strndup(name, n);

    if (!interface)
        return -ENOMEM;
    return dot && find_interface(name, n)
            ? varlink_reply_error(call, VARLINK_SERVICE ".MethodNotFound", "method", name)
            : varlink_reply_error(
                      call, VARLINK_SERVICE ".InterfaceNotFound", "interface", dot ? interface : name);
}

/* ---- Running it ---- */

/* A bridge that runs as root may offer registered sockets (/run/varlink/registry) on the network. It could
 * not pass fds on, and the policy would judge the bridge, not the real caller. */
static int check_may_act(const VarlinkPeer *p, Refusal *refusal) {
    if (p->listener->read_only)
        return refuse(refusal, VFIOD_ERROR_READ_ONLY, NULL, "this socket is for questions only");
    if (subject_is_bridge(p->subject))
        return refuse(refusal, VFIOD_ERROR_READ_ONLY, NULL,
                "%s offers sockets on the network: it may only ask questions", p->subject->unit);
    return 0;
}

static int run_method(VarlinkCall *call, Refusal *refusal) {
    const VarlinkMethod *m = call->method;
    const char *invalid;

    if (!m)
        return fail_unknown(call);
    if (call->message.upgrade)
        return varlink_reply_error(
                call, VARLINK_SERVICE ".MethodNotImplemented", "method", call->message.method);
    if (call->message.oneway && !(m->flags & VARLINK_EFFECT))
        return VARLINK_ANSWERED;
    if (m->flags & VARLINK_ACTS && check_may_act(call->peer, refusal) < 0)
        return -EPERM;
    invalid = varlink_find_invalid(
            call->message.parameters, m->parameters, m->flags & VARLINK_REQUEST ? request_option_type : NULL);
    if (invalid)
        return varlink_reply_error(call, VARLINK_SERVICE ".InvalidParameter", "parameter", invalid);
    if (m->flags & VARLINK_NEEDS_MORE && !call->message.more)
        return varlink_reply_error(call, VARLINK_SERVICE ".ExpectedMore", NULL, NULL);
    return m->run(call, call->peer->subject, refusal);
}

/* Meanwhile it is not in the door, and must wait for credit again. */
static void wait_for_peer(VarlinkCall *call) {
    door_pause(door_of(call), &call->task);
    call->parked = true;
    varlink_peer_wake(call->peer);
}

/* May free the call. */
static DoorStep run_call(DoorTask *task) {
    VarlinkCall *call = container_of(task, VarlinkCall, task);
    Refusal refusal = REFUSAL_NULL;
    int r;

    r = run_method(call, &refusal);
    if (r == VARLINK_PENDING || (r == -EAGAIN && call->inquiry.task))
        return DOOR_DONE;
    if (r == VARLINK_MORE)
        return DOOR_MORE;
    if (r == VARLINK_WRITTEN) {
        wait_for_peer(call);
        return DOOR_DONE;
    }
    if (r == VARLINK_WAITING) {
        door_pause(door_of(call), task);
        call->waits_for_change = true;
        return DOOR_DONE;
    }
    if (r < 0)
        varlink_call_refuse(call, r, &refusal);
    refusal_done(&refusal);
    varlink_call_done(call);
    return DOOR_DONE;
}

void varlink_call_run(VarlinkCall *call) {
    (void) run_call(&call->task);
}

static void on_facts(void *userdata) {
    VarlinkCall *call = userdata;

    door_resume(door_of(call), &call->task);
}

void varlink_call_go_on(VarlinkCall *call) {
    if (!call->parked && !call->waits_for_change)
        return;
    call->parked = call->waits_for_change = false;
    door_continue(door_of(call), &call->task);
}

/* ---- Its beginning ---- */

/* Look at the peer at its first call: one that only connects is not worth the cost. */
static int know_peer(VarlinkPeer *p) {
    _cleanup_free_ Subject *s = NULL;
    int r;

    if (p->subject)
        return 0;
    s = malloc(sizeof(*s));
    if (!s)
        return -ENOMEM;
    r = peer_subject_from_socket(
            &p->face->processes, p->fd, &p->credentials, p->accepted_usec, p->listener->scope, s);
    if (r < 0)
        return r;
    p->subject = TAKE_PTR(s);
    return 0;
}

static int parse(VarlinkPeer *p, const char *text, size_t size, VarlinkMessage *ret) {
    uint64_t begin_usec = budget_now();
    int r;

    r = varlink_message_parse(text, size, ret);
    budget_spend(p->account, PURSE_LOOP, begin_usec, budget_now() - begin_usec);
    return r;
}

int varlink_call_begin(VarlinkPeer *p, const char *text, size_t size) {
    _cleanup_(varlink_message_done) VarlinkMessage message = {};
    Refusal refusal = REFUSAL_NULL;
    VarlinkCall *call;
    int r;

    r = parse(p, text, size, &message);
    if (r >= 0)
        r = know_peer(p);
    if (r < 0)
        return r;
    call = calloc(1, sizeof(*call));
    if (!call)
        return -ENOMEM;
    call->message = TAKE_GENERIC(message, (VarlinkMessage){});
    call->method = find_method(call->message.method);
    call->task = (DoorTask){
            .kind = call->method && call->method->flags & VARLINK_LONG && call->message.more ? DOOR_LONG
                                                                                             : DOOR_SHORT,
            .step = run_call,
    };
    call->inquiry = (BrokerInquiry){.ready = on_facts, .userdata = call};
    call->peer = p;
    p->call = call;
    r = door_enter(p->face->context.door, &call->task, p->subject, &refusal);
    if (r < 0) {
        varlink_call_refuse(call, r, &refusal);
        varlink_call_done(call);
    }
    refusal_done(&refusal);
    return 0;
}

const JsonNode *varlink_call_parameter(const VarlinkCall *call, const char *name) {
    return varlink_member(call->message.parameters, name);
}

const char *varlink_call_text(const VarlinkCall *call, const char *name) {
    const JsonNode *n = varlink_call_parameter(call, name);

    return n ? n->string : NULL;
}

/* ---- Replies ---- */

void varlink_reply_begin(JsonWriter *w) {
    *w = (JsonWriter){};
    strbuf_expect(&w->text, REPLY_SIZE_USUAL);
    json_write_open(w, NULL, '{');
    json_write_open(w, "parameters", '{');
}

static int send_text(VarlinkCall *call, StrBuf *text, const int *fds, size_t n_fds) {
    int r;

    strbuf_add_byte(text, '\0');
    r = text->error;
    if (r >= 0 && !call->message.oneway)
        r = varlink_peer_write(call->peer, text, fds, n_fds);
    strbuf_done(text);
    return r;
}

int varlink_reply_send(VarlinkCall *call, JsonWriter *w, const int *fds, size_t n_fds) {
    json_write_close(w, '}');
    json_write_close(w, '}');
    return send_text(call, &w->text, fds, n_fds);
}

int varlink_reply_empty(VarlinkCall *call) {
    _cleanup_strbuf_ StrBuf text = {};

    strbuf_add(&text, "{}");
    return send_text(call, &text, NULL, 0);
}
