/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A connection carries calls for a program with an event loop. A blocking function makes a connection for
 * itself and closes it: a claim depends on its lifeline and not on a connection, so a restart of the daemon
 * does no harm. Only with the tether "connection" the claim keeps it.
 *
 * The claim is handed over last. If anything fails before, its fds are closed, the lifeline among them, which
 * ends the claim. */

#include <poll.h>

#include "base/str.h"
#include "client/claim.h"
#include "client/error-text.h"

/* A call that waits for its answer. */
typedef struct Operation {
    struct Operation *next; /* connection.operations */
    VfiodConnection *connection;
    VfiodClaim *claim; /* borrowed from the caller; NULL: a new one is made */
    VfiodClaim *made;  /* owned; has the caller's spellings of devices */
    bool needs_lifeline;
    bool takes_over; /* the answer names the tether */
    VfiodClaimFunction function;
    void *userdata;
} Operation;

/* A caller that follows a claim. */
typedef struct Follower {
    struct Follower *next; /* connection.followers */
    VfiodConnection *connection;
    char *claim; /* owned */
    VfiodEventFunction function;
    void *userdata;
} Follower;

struct VfiodConnection {
    const Transport *transport;
    void *link;
    Operation *operations; /* owned */
    Follower *followers;   /* owned */
};

static Operation *operation_free(Operation *o) {
    if (!o)
        return NULL;
    for (Operation **i = &o->connection->operations; *i; i = &(*i)->next)
        if (*i == o) {
            *i = o->next;
            break;
        }
    (void) vfiod_claim_free(o->made);
    free(o);
    return NULL;
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Operation *, operation_free);

int vfiod_connection_new(VfiodConnection **ret, VfiodErrorText *ret_error) {
    _cleanup_free_ VfiodConnection *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return error_text_errno(ret_error, ENOMEM, "Cannot connect to vfiod");
    r = transport_open(&c->transport, &c->link, ret_error);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(c);
    return 0;
}

VfiodConnection *vfiod_connection_free(VfiodConnection *c) {
    if (!c)
        return NULL;
    c->transport->close(c->link);
    while (c->operations)
        (void) operation_free(c->operations);
    while (c->followers) {
        Follower *f = c->followers;

        c->followers = f->next;
        free(f->claim);
        free(f);
    }
    free(c);
    return NULL;
}

const char *vfiod_connection_transport(const VfiodConnection *c) {
    return c->transport->name;
}

int vfiod_connection_get_fd(const VfiodConnection *c) {
    return c->transport->get_fd(c->link);
}

short vfiod_connection_get_events(const VfiodConnection *c) {
    return c->transport->get_events(c->link);
}

int vfiod_connection_get_timeout(const VfiodConnection *c, uint64_t *ret_usec) {
    return c->transport->get_timeout(c->link, ret_usec);
}

int vfiod_connection_dispatch(VfiodConnection *c) {
    return c->transport->process(c->link);
}

void *connection_link(const VfiodConnection *c) {
    return c->link;
}

/* ---- calls with a claim ---- */

static bool is_lifeline(const char *tether) {
    return !tether || streq(tether, "lifeline");
}

static void on_answer(void *userdata, Answer *a, const VfiodErrorText *error) {
    _cleanup_(operation_freep) Operation *o = userdata;
    VfiodClaim *claim = o->claim ?: o->made;
    VfiodErrorText unreadable;
    int r;

    if (a) {
        r = o->claim ? claim_add_spellings(claim, o->made, a) : 0;
        if (r >= 0)
            r = claim_take_answer(claim, a, o->needs_lifeline || (o->takes_over && is_lifeline(a->tether)));
        if (r < 0) {
            (void) error_text_errno(&unreadable, r, "Cannot read vfiod's answer");
            error = &unreadable;
        }
    }
    if (!error && claim == o->made)
        TAKE_PTR(o->made);
    o->function(o->connection, error ? NULL : claim, error, o->userdata);
}

static int start(VfiodConnection *c, const Call *call, VfiodClaim *claim, VfiodClaimFunction function,
        void *userdata, VfiodErrorText *ret_error) {
    _cleanup_(operation_freep) Operation *o = calloc(1, sizeof(*o));
    const VfiodRequest *request = call->request;
    int r;

    if (!o)
        return error_text_errno(ret_error, ENOMEM, "Cannot call vfiod");
    *o = (Operation){.next = c->operations,
            .connection = c,
            .claim = claim,
            .needs_lifeline = call->method == METHOD_ACQUIRE && is_lifeline(request->tether),
            .takes_over = call->method == METHOD_TRANSFER && call->pidfd < 0,
            .function = function,
            .userdata = userdata};
    c->operations = o;
    r = claim_new(request ? request->devices : NULL, request ? request->n_devices : 0, &o->made);
    if (r < 0)
        return error_text_errno(ret_error, r, "Cannot call vfiod");
    r = c->transport->call(c->link, call, on_answer, o, ret_error);
    if (r >= 0)
        TAKE_PTR(o); /* on_answer() frees it */
    return r;
}

#define REQUEST_MORE_MAX 4096U

/* Members of a later version have meanings that this version would not honour. */
static bool more_is_known(const VfiodRequestMore *more) {
    const char *bytes = (const char *) more;

    if (more->size < offsetof(VfiodRequestMore, require) || more->size > REQUEST_MORE_MAX ||
            more->reserved != 0)
        return false;
    for (size_t i = sizeof(*more); i < more->size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

static int check_request(const VfiodRequest *request, VfiodErrorText *ret_error) {
    if (request->more && !more_is_known(request->more))
        return error_text_errno(ret_error, EINVAL,
                "Cannot call vfiod: a reserved member is not zero, or the size of a structure is wrong");
    return request_check(request, ret_error);
}

static int pidfd_of(const VfiodRequest *request) {
    return request->more && request->more->pidfd > 0 ? request->more->pidfd : -EBADF;
}

int vfiod_connection_acquire(VfiodConnection *c, const VfiodRequest *request, VfiodClaimFunction function,
        void *userdata, VfiodErrorText *ret_error) {
    Call call = {.method = METHOD_ACQUIRE, .request = request};
    int r = check_request(request, ret_error);

    if (r < 0)
        return r;
    call.pidfd = pidfd_of(request);
    return start(c, &call, NULL, function, userdata, ret_error);
}

int vfiod_connection_add_request(VfiodConnection *c, VfiodClaim *claim, const VfiodRequest *request,
        VfiodClaimFunction function, void *userdata, VfiodErrorText *ret_error) {
    const Call call = {.method = METHOD_ADD_DEVICES,
            .claim = vfiod_claim_id(claim),
            .request = request,
            .pidfd = -EBADF};
    int r;

    r = check_request(request, ret_error);
    if (r < 0)
        return r;
    if (request->backend || request->grant || request->tether || request->cookie || pidfd_of(request) >= 0)
        return error_text_set(ret_error, EINVAL, "InvalidArgument",
                "Devices are added by the backend, grant, tether and cookie that the claim has.");
    return start(c, &call, claim, function, userdata, ret_error);
}

int vfiod_connection_add_devices(VfiodConnection *c, VfiodClaim *claim, const char *const *devices,
        size_t n_devices, VfiodClaimFunction function, void *userdata, VfiodErrorText *ret_error) {
    const VfiodRequest request = {.devices = devices, .n_devices = n_devices};

    return vfiod_connection_add_request(c, claim, &request, function, userdata, ret_error);
}

/* ---- blocking ---- */

/* What a blocking function waits for. */
typedef struct Wait {
    bool done;
    int r;
    VfiodClaim *claim;
    VfiodErrorText *error;
    take_text_t take;
    void *userdata;
} Wait;

static void fail(Wait *w, const VfiodErrorText *error) {
    w->done = true;
    w->r = -error->error;
    if (w->error)
        *w->error = *error;
}

static void on_claim(VfiodConnection *c, VfiodClaim *claim, const VfiodErrorText *error, void *userdata) {
    Wait *w = userdata;

    if (error) {
        fail(w, error);
        return;
    }
    *w = (Wait){.done = true, .claim = claim};
}

static void on_text(void *userdata, Answer *a, const VfiodErrorText *error) {
    Wait *w = userdata;

    if (error) {
        fail(w, error);
        return;
    }
    if (w->take)
        w->r = w->take(w->userdata, a->text);
    w->done = w->r < 0 || !a->continues;
}

static int poll_timeout(const VfiodConnection *c) {
    uint64_t until, now = monotonic_usec();

    if (vfiod_connection_get_timeout(c, &until) < 0 || until == UINT64_MAX)
        return -1;
    return until <= now ? 0 : (int) MIN((until - now) / 1000 + 1, (uint64_t) INT32_MAX);
}

int connection_wait(const VfiodConnection *c) {
    struct pollfd p = {.fd = vfiod_connection_get_fd(c), .events = vfiod_connection_get_events(c)};

    return poll(&p, 1, poll_timeout(c)) < 0 && errno != EINTR ? -errno : 0;
}

static int wait_for(VfiodConnection *c, Wait *w, VfiodErrorText *ret_error) {
    int r;

    for (;;) {
        r = vfiod_connection_dispatch(c);
        if (w->done)
            return w->r;
        if (r < 0)
            return error_text_set(
                    ret_error, EHOSTUNREACH, ERROR_NAME_UNREACHABLE, "The connection to vfiod broke.");
        r = connection_wait(c);
        if (r < 0)
            return error_text_errno(ret_error, r, "Cannot wait for vfiod");
    }
}

int vfiod_acquire_request(const VfiodRequest *request, VfiodClaim **ret_claim, VfiodErrorText *ret_error) {
    _cleanup_(vfiod_connection_freep) VfiodConnection *c = NULL;
    Wait w = {.error = ret_error};
    int r;

    r = check_request(request, ret_error);
    if (r >= 0)
        r = vfiod_connection_new(&c, ret_error);
    if (r >= 0)
        r = vfiod_connection_acquire(c, request, on_claim, &w, ret_error);
    if (r >= 0)
        r = wait_for(c, &w, ret_error);
    if (r < 0)
        return r;
    if (request->tether && streq(request->tether, "connection"))
        w.claim->connection = TAKE_PTR(c);
    *ret_claim = w.claim;
    return 0;
}

int vfiod_acquire(const char *const *devices, size_t n_devices, const char *backend, const char *reason,
        VfiodClaim **ret_claim, VfiodErrorText *ret_error) {
    const VfiodRequest request = {
            .devices = devices, .n_devices = n_devices, .backend = backend, .reason = reason};

    return vfiod_acquire_request(&request, ret_claim, ret_error);
}

int vfiod_claim_add_request(VfiodClaim *claim, const VfiodRequest *request, VfiodErrorText *ret_error) {
    _cleanup_(vfiod_connection_freep) VfiodConnection *c = NULL;
    Wait w = {.error = ret_error};
    int r;

    r = vfiod_connection_new(&c, ret_error);
    if (r >= 0)
        r = vfiod_connection_add_request(c, claim, request, on_claim, &w, ret_error);
    return r < 0 ? r : wait_for(c, &w, ret_error);
}

int vfiod_claim_add_devices(
        VfiodClaim *claim, const char *const *devices, size_t n_devices, VfiodErrorText *ret_error) {
    const VfiodRequest request = {.devices = devices, .n_devices = n_devices};

    return vfiod_claim_add_request(claim, &request, ret_error);
}

int vfiod_transfer(const char *claim_id, int pidfd, VfiodClaim **ret_claim, VfiodErrorText *ret_error) {
    const Call call = {.method = METHOD_TRANSFER, .claim = claim_id, .pidfd = pidfd};
    _cleanup_(vfiod_connection_freep) VfiodConnection *c = NULL;
    _cleanup_(vfiod_claim_freep) VfiodClaim *claim = NULL;
    Wait w = {.error = ret_error};
    int r;

    if (!utf8_is_valid(claim_id))
        return error_text_set(ret_error, EINVAL, "InvalidArgument", "The claim's id is not UTF-8.");
    r = vfiod_connection_new(&c, ret_error);
    if (r >= 0)
        r = start(c, &call, NULL, on_claim, &w, ret_error);
    if (r >= 0)
        r = wait_for(c, &w, ret_error);
    if (r < 0)
        return r;
    claim = w.claim;
    if (!claim->id)
        claim->id = strdup(claim_id);
    if (!claim->id)
        return error_text_errno(ret_error, ENOMEM, "Cannot take the claim over");
    if (pidfd < 0 && streq_ptr(claim->tether, "connection"))
        claim->connection = TAKE_PTR(c);
    if (ret_claim)
        *ret_claim = TAKE_PTR(claim);
    return 0;
}

int connection_call(
        VfiodConnection *c, const Call *call, take_text_t take, void *userdata, VfiodErrorText *ret_error) {
    Wait w = {.error = ret_error, .take = take, .userdata = userdata};
    int r = c->transport->call(c->link, call, on_text, &w, ret_error);

    return r < 0 ? r : wait_for(c, &w, ret_error);
}

static int keep_text(void *userdata, const char *text) {
    return free_and_strdup(userdata, text);
}

/* Calls whose answer contains no claim. */
static int call_for_text(const Call *call, char **ret_text, VfiodErrorText *ret_error) {
    _cleanup_(vfiod_connection_freep) VfiodConnection *c = NULL;
    _cleanup_free_ char *text = NULL;
    int r;

    r = vfiod_connection_new(&c, ret_error);
    if (r >= 0)
        r = connection_call(c, call, keep_text, &text, ret_error);
    if (r < 0)
        return r;
    if (ret_text && !text)
        return error_text_errno(ret_error, ENOMEM, "Cannot call vfiod");
    if (ret_text)
        *ret_text = TAKE_PTR(text);
    return 0;
}

int vfiod_claim_release_devices(
        VfiodClaim *claim, const char *const *devices, size_t n_devices, VfiodErrorText *ret_error) {
    const VfiodRequest request = {.devices = devices, .n_devices = n_devices};
    const Call call = {.method = METHOD_RELEASE_DEVICES,
            .claim = vfiod_claim_id(claim),
            .request = &request,
            .pidfd = -EBADF};
    int r = request_check(&request, ret_error);

    /* fds of an unknown device could not be closed here, so it would never be restored */
    for (size_t i = 0; r >= 0 && i < n_devices; i++)
        if (!claim_has_device(claim, devices[i]))
            r = error_text_set(ret_error, ENOENT, "InvalidArgument",
                    "The claim has no device \"%s\". Name it as in the request, or by its full name.",
                    devices[i]);
    if (r >= 0)
        r = call_for_text(&call, NULL, ret_error);
    if (r >= 0)
        claim_drop_devices(claim, devices, n_devices);
    return r;
}

static int ask_about(Method m, const VfiodRequest *request, char **ret_json, VfiodErrorText *ret_error) {
    Call call = {.method = m, .request = request};
    int r = check_request(request, ret_error);

    if (r < 0)
        return r;
    call.pidfd = pidfd_of(request);
    return call_for_text(&call, ret_json, ret_error);
}

int vfiod_plan(const VfiodRequest *request, char **ret_json, VfiodErrorText *ret_error) {
    return ask_about(METHOD_PLAN, request, ret_json, ret_error);
}

int vfiod_explain(const VfiodRequest *request, char **ret_json, VfiodErrorText *ret_error) {
    return ask_about(METHOD_EXPLAIN, request, ret_json, ret_error);
}

int vfiod_release(const char *claim_id, VfiodErrorText *ret_error) {
    const Call call = {.method = METHOD_RELEASE, .claim = claim_id, .pidfd = -EBADF};

    if (!utf8_is_valid(claim_id))
        return error_text_set(ret_error, EINVAL, "InvalidArgument", "The claim's id is not UTF-8.");
    return call_for_text(&call, NULL, ret_error);
}

int vfiod_claim_answer_eviction(const VfiodClaim *claim, uint64_t more, VfiodErrorText *ret_error) {
    const Call call = {
            .method = METHOD_ANSWER_EVICTION, .claim = vfiod_claim_id(claim), .more = more, .pidfd = -EBADF};

    return call_for_text(&call, NULL, ret_error);
}

int vfiod_claim_ready_to_sleep(const VfiodClaim *claim, VfiodErrorText *ret_error) {
    const Call call = {.method = METHOD_READY_TO_SLEEP, .claim = vfiod_claim_id(claim), .pidfd = -EBADF};

    return call_for_text(&call, NULL, ret_error);
}

/* ---- events ---- */

static void on_changed(void *userdata, const ClaimReport *report, const VfiodErrorText *error) {
    Follower *f = userdata;
    VfiodEventMore more = {.size = sizeof(more)};
    VfiodEvent event = {.claim = f->claim, .more = &more};

    if (report) {
        more.evict_at = report->evict_at;
        more.sleep_at = report->sleep_at;
        more.resume = report->resume ?: "none";
        event.state = report->state;
        event.failure = report->failure ?: "";
        event.eviction = report->eviction && !streq(report->eviction, "none") ? report->eviction : NULL;
    }
    f->function(f->connection, report ? &event : NULL, error, f->userdata);
}

int vfiod_connection_watch(VfiodConnection *c, const char *claim_id, VfiodEventFunction function,
        void *userdata, VfiodErrorText *ret_error) {
    Follower *f = calloc(1, sizeof(*f));

    if (!f)
        return error_text_errno(ret_error, ENOMEM, "Cannot follow the claim");
    *f = (Follower){.next = c->followers, .connection = c, .function = function, .userdata = userdata};
    c->followers = f;
    f->claim = strdup(claim_id);
    if (!f->claim)
        return error_text_errno(ret_error, ENOMEM, "Cannot follow the claim");
    return c->transport->watch(c->link, f->claim, on_changed, f, ret_error);
}
