/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One socket for calls and, once a claim is followed, one for Monitor, which never ends. A call is sent after
 * the answer to the previous one. Messages are split as in the daemon, see base/varlink-frame.h. The limits
 * guard against another program in the daemon's place. */

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/varlink-frame.h"
#include "client/error-text.h"
#include "client/varlink.h"

#define CONNECT_SECONDS 10
#define RECEIVED_FDS_MAX 253U /* the kernel's maximum for one message */

typedef struct Socket {
    int fd; /* owned; -EBADF: not connected */
    VarlinkFrame input;
} Socket;

typedef struct Pending {
    struct Pending *next;
    Method method;
    char *text; /* owned; NULL once it was sent */
    size_t n_text, sent;
    uint64_t patience, deadline; /* the time limit of each part of the answer; of the next one */
    answered_t answered;
    void *userdata;
} Pending;

typedef struct Watch {
    struct Watch *next;
    char *claim; /* owned; its id */
    bool seen, over;
    changed_t changed;
    void *userdata;
} Watch;

typedef struct Link {
    int epoll; /* owned */
    Socket calls, monitor;
    Pending *pending; /* in order; the first may be in progress */
    Watch *watches;
} Link;

/* ---- sockets ---- */

static void socket_close(Socket *s) {
    s->fd = safe_close(s->fd);
    varlink_frame_done(&s->input);
}

static const char *socket_path(void) {
    return secure_getenv("VFIOD_SOCKET") ?: VFIOD_SOCKET_PATH;
}

static int connect_to(const char *path, VfiodErrorText *error) {
    _cleanup_close_ int fd = -EBADF;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_sec = CONNECT_SECONDS};
    int flags;

    if (strlen(path) >= sizeof(address.sun_path))
        return error_text_set(error, ENAMETOOLONG, ERROR_NAME_UNREACHABLE, "%s: the path is too long.", path);
    memcpy(address.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_text_errno(error, errno, "Cannot make a socket");
    (void) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
        return error_text_set(error, EHOSTUNREACH, ERROR_NAME_UNREACHABLE,
                "Cannot connect to vfiod at %s: %s", path, strerrordesc_np(errno));
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return error_text_errno(error, errno, "Cannot make a socket");
    return TAKE_FD(fd);
}

static int socket_connect(Link *l, Socket *s, VfiodErrorText *error) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
    int fd = connect_to(socket_path(), error);

    if (fd < 0)
        return fd;
    s->fd = fd;
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        return error_text_errno(error, errno, "Cannot wait for vfiod");
    return 0;
}

static size_t take_fds(struct msghdr *header, int fds[static RECEIVED_FDS_MAX]) {
    size_t n_fds = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        memcpy(fds + n_fds, CMSG_DATA(c), n * sizeof(int));
        n_fds += n;
    }
    return n_fds;
}

/* Reads once. 0: nothing is available; 1: something was read; -ECONNRESET: the other side has closed. */
static int socket_read(Socket *s) {
    union {
        char buf[CMSG_SPACE(RECEIVED_FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov;
    struct msghdr header = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    int fds[RECEIVED_FDS_MAX], r;
    char *room;
    size_t n_fds;
    ssize_t n;

    r = varlink_frame_reserve(&s->input, &room, &iov.iov_len);
    if (r < 0)
        return r;
    iov.iov_base = room;
    n = recvmsg(s->fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    n_fds = take_fds(&header, fds);
    r = varlink_frame_add(&s->input, (size_t) n, fds, n_fds);
    if (r < 0)
        return r;
    if (n_fds > ANSWER_FDS_MAX || header.msg_flags & MSG_CTRUNC)
        return -EBADMSG;
    return n > 0 ? 1 : -ECONNRESET;
}

/* ---- calls ---- */

static Pending *pending_free(Pending *p) {
    if (!p)
        return NULL;
    free(p->text);
    free(p);
    return NULL;
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Pending *, pending_free);

/* Monitor has no time limit while it waits for changes. */
static uint64_t deadline_of(const Pending *p) {
    return p->method == METHOD_MONITOR ? UINT64_MAX : monotonic_usec() + p->patience;
}

static void want_output(Link *l, bool want) {
    struct epoll_event event = {.events = EPOLLIN | (want ? EPOLLOUT : 0), .data.ptr = &l->calls};

    (void) epoll_ctl(l->epoll, EPOLL_CTL_MOD, l->calls.fd, &event);
}

/* Sends as much of the first call as the socket takes. */
static int send_calls(Link *l) {
    Pending *p = l->pending;

    while (p && p->sent < p->n_text) {
        ssize_t n = send(l->calls.fd, p->text + p->sent, p->n_text - p->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            want_output(l, true);
            return 0;
        }
        if (n < 0)
            return -errno;
        p->sent += (size_t) n;
    }
    want_output(l, false);
    return 0;
}

static void answer(Link *l, Answer *a, const VfiodErrorText *error) {
    _cleanup_(pending_freep) Pending *p = l->pending;

    if (a && a->continues) {
        p->deadline = deadline_of(p);
        p->answered(p->userdata, a, NULL);
        TAKE_PTR(p);
        return;
    }
    l->pending = p->next;
    p->answered(p->userdata, a, error);
}

static void fail_all(Link *l, const VfiodErrorText *error) {
    while (l->pending)
        answer(l, NULL, error);
    for (Watch *w = l->watches; w; w = w->next)
        if (!w->over) {
            w->over = true;
            w->changed(w->userdata, NULL, error);
        }
}

static int process_calls(Link *l) {
    VarlinkFrame *input = &l->calls.input;
    const char *text;
    size_t n;

    for (;;) {
        int r = socket_read(&l->calls);

        if (r < 0)
            return r;
        if (r == 0)
            break;
        while ((text = varlink_frame_peek(input, &n))) {
            _cleanup_(answer_done) Answer a = {};
            VfiodErrorText error;

            if (!l->pending || l->pending->sent < l->pending->n_text)
                return -EBADMSG; /* an unexpected answer */
            r = varlink_read_reply(l->pending->method, text, n, input->fds, input->n_fds, &a, &error);
            varlink_frame_drop(input);
            answer(l, r < 0 ? NULL : &a, r < 0 ? &error : NULL);
        }
    }
    return send_calls(l);
}

/* ---- following claims ---- */

static void report(Watch *w, const VarlinkEvent *e) {
    bool gone = streq(e->event, "removed");
    ClaimReport r = gone ? (ClaimReport){} : e->report;

    if (w->over || !e->claim || !streq(w->claim, e->claim))
        return;
    w->seen = true;
    w->over = gone;
    if (!gone && !r.state)
        r.state = "";
    w->changed(w->userdata, &r, NULL);
}

/* The list of claims is complete: a followed claim that was not in it is gone. */
static void report_missing(Link *l) {
    for (Watch *w = l->watches; w; w = w->next)
        if (!w->seen && !w->over) {
            w->over = true;
            w->changed(w->userdata, &(ClaimReport){}, NULL);
        }
}

/* Removes the message before the callbacks, because they may follow another claim, on a new connection. */
static int take_event(Link *l, const char *text, size_t size, VfiodErrorText *error) {
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    JsonError ignored;
    VarlinkEvent e;
    int r;

    r = json_document_parse_bounded(text, size, &varlink_bounds, &document, &ignored);
    varlink_frame_drop(&l->monitor.input);
    if (r < 0)
        return error_text_errno(error, r, "Cannot read vfiod's answer");
    r = varlink_read_event(json_document_root(document), &e, error);
    /* The connection ends with the daemon, and the next daemon knows the claim. */
    if (r < 0 && streq(error->name, "ShuttingDown"))
        return error_text_set(error, EHOSTUNREACH, ERROR_NAME_UNREACHABLE, "vfiod is stopping.");
    if (r < 0)
        return r;
    if (streq(e.event, "resync"))
        for (Watch *w = l->watches; w; w = w->next)
            w->seen = false;
    else if (streq(e.event, "complete"))
        report_missing(l);
    else
        for (Watch *w = l->watches; w; w = w->next)
            report(w, &e);
    return 0;
}

static int process_monitor(Link *l, VfiodErrorText *error) {
    const char *text;
    size_t n;

    for (;;) {
        int r = socket_read(&l->monitor);

        if (r <= 0)
            return r;
        while ((text = varlink_frame_peek(&l->monitor.input, &n))) {
            r = take_event(l, text, n, error);
            if (r < 0)
                return r;
        }
    }
}

/* Each call begins with a list of all claims: known states are not reported again. */
static int start_monitor(Link *l, VfiodErrorText *error) {
    static const char call[] = VARLINK_MONITOR_CALL;
    int r;

    socket_close(&l->monitor);
    for (Watch *w = l->watches; w; w = w->next)
        w->seen = false;
    r = socket_connect(l, &l->monitor, error);
    if (r < 0)
        return r;
    if (send(l->monitor.fd, call, sizeof(call), MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t) sizeof(call))
        return error_text_errno(error, errno, "Cannot call vfiod");
    return 0;
}

/* ---- the transport ---- */

static void link_close(void *p) {
    Link *l = p;

    if (!l)
        return;
    while (l->pending) {
        Pending *first = l->pending;

        l->pending = first->next;
        (void) pending_free(first);
    }
    while (l->watches) {
        Watch *w = l->watches;

        l->watches = w->next;
        free(w->claim);
        free(w);
    }
    socket_close(&l->calls);
    socket_close(&l->monitor);
    (void) safe_close(l->epoll);
    free(l);
}

static int link_open(void **ret, VfiodErrorText *error) {
    Link *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return error_text_errno(error, ENOMEM, "Cannot connect to vfiod");
    l->calls = l->monitor = (Socket){.fd = -EBADF, .input.limit = varlink_bounds.size};
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    r = l->epoll < 0 ? error_text_errno(error, errno, "Cannot wait for vfiod")
                     : socket_connect(l, &l->calls, error);
    if (r < 0) {
        link_close(l);
        return r;
    }
    *ret = l;
    return 0;
}

static int link_call(void *p, const Call *call, answered_t answered, void *userdata, VfiodErrorText *error) {
    _cleanup_(pending_freep) Pending *pending = calloc(1, sizeof(*pending));
    Call described = *call;
    Link *l = p;
    Pending **end = &l->pending;
    int r;

    if (!pending)
        return error_text_errno(error, ENOMEM, "Cannot call vfiod");
    if (l->calls.fd < 0)
        return error_text_set(
                error, EHOSTUNREACH, ERROR_NAME_UNREACHABLE, "The connection to vfiod is closed.");
    *pending = (Pending){.method = call->method,
            .answered = answered,
            .userdata = userdata,
            .patience = call_timeout_usec(call)};
    pending->deadline = deadline_of(pending);
    r = call_describe_process(&described);
    if (r >= 0)
        r = varlink_write_call(&described, &pending->text);
    if (r < 0)
        return error_text_errno(error, r, "Cannot call vfiod");
    pending->n_text = strlen(pending->text) + 1; /* the NUL ends the message */
    while (*end)
        end = &(*end)->next;
    *end = TAKE_PTR(pending);
    /* process() notices a broken connection and reports it. */
    (void) send_calls(l);
    return 0;
}

static int link_watch(void *p, const char *claim, changed_t changed, void *userdata, VfiodErrorText *error) {
    Watch *w = calloc(1, sizeof(*w));
    Link *l = p;
    int r;

    if (w)
        w->claim = strdup(claim);
    if (!w || !w->claim) {
        free(w);
        return error_text_errno(error, ENOMEM, "Cannot follow the claim");
    }
    w->changed = changed;
    w->userdata = userdata;
    w->next = l->watches;
    l->watches = w;
    r = start_monitor(l, error);
    if (r < 0)
        w->over = true;
    return r;
}

static int link_get_fd(void *p) {
    return ((Link *) p)->epoll;
}

static short link_get_events(void *p) {
    return POLLIN;
}

static int link_get_timeout(void *p, uint64_t *ret_usec) {
    const Link *l = p;

    *ret_usec = UINT64_MAX;
    for (const Pending *i = l->pending; i; i = i->next)
        *ret_usec = MIN(*ret_usec, i->deadline);
    return 0;
}

static int link_process(void *p) {
    VfiodErrorText error = {.name = ERROR_NAME_UNREACHABLE};
    uint64_t timeout;
    Link *l = p;
    int r = 0;

    (void) link_get_timeout(l, &timeout);
    if (l->monitor.fd >= 0)
        r = process_monitor(l, &error);
    if (r >= 0)
        r = l->calls.fd >= 0 ? process_calls(l) : -ECONNRESET;
    if (r >= 0 && timeout <= monotonic_usec()) {
        r = error_text_set(&error, ETIMEDOUT, ERROR_NAME_UNREACHABLE, "vfiod did not answer.");
        fail_all(l, &error);
        socket_close(&l->calls);
        return r;
    }
    if (r >= 0)
        return 0;
    if (!*error.message) {
        bool is_none = r == -EBADMSG || r == -EMSGSIZE || r == -EPROTO;

        (void) error_text_set(&error, is_none ? EBADMSG : EHOSTUNREACH, ERROR_NAME_UNREACHABLE,
                is_none ? "vfiod's answer is not a message of Varlink: %s"
                        : "vfiod closed the connection: %s",
                strerrordesc_np(-r));
    }
    socket_close(&l->calls);
    socket_close(&l->monitor);
    fail_all(l, &error);
    return -error.error;
}

const Transport transport_varlink = {
        .name = "varlink",
        .open = link_open,
        .close = link_close,
        .call = link_call,
        .watch = link_watch,
        .get_fd = link_get_fd,
        .get_events = link_get_events,
        .get_timeout = link_get_timeout,
        .process = link_process,
};
