/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The face as a whole: who may connect, whose turn it is, and whose time is over. */

#include "daemon/varlink/varlink.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "daemon/varlink/varlink-internal.h"

/* The delay if there is no fd or memory for another peer. */
#define ACCEPT_AGAIN_USEC (1 * UINT64_C(1000000))
/* Connections in a row, before others get their turn. */
#define ACCEPT_MAX 16U

/* ---- Turns ---- */

static int on_turn(sd_event_source *source, void *userdata) {
    VarlinkFace *v = userdata;
    VarlinkPeer *list = TAKE_PTR(v->ready);

    v->last_ready = &v->ready;
    while (list) {
        VarlinkPeer *p = list;

        list = p->next_ready;
        p->listed = false;
        varlink_peer_go_on(p);
    }
    return 0;
}

/* ---- Deadlines ---- */

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
    VarlinkFace *v = userdata;
    uint64_t now_usec = budget_now(), next_usec = UINT64_MAX;

    for (VarlinkPeer *p = v->peers, *next; p; p = next) {
        next = p->next;
        if (p->deadline_usec == 0)
            continue;
        if (p->deadline_usec > now_usec) {
            next_usec = MIN(next_usec, p->deadline_usec);
            continue;
        }
        varlink_peer_blame(p,
                varlink_peer_is_behind(p) ? "it does not read its answer"
                                          : "it does not send the rest of a message");
        varlink_peer_free(p);
    }
    if (next_usec != UINT64_MAX)
        varlink_face_arm_deadline(v, next_usec);
    return 0;
}

void varlink_face_arm_deadline(VarlinkFace *v, uint64_t when_usec) {
    uint64_t due_usec;
    int enabled;

    if (sd_event_source_get_enabled(v->deadline, &enabled) > 0 &&
            sd_event_source_get_time(v->deadline, &due_usec) >= 0 && due_usec <= when_usec)
        return;
    if (sd_event_source_set_time(v->deadline, when_usec) < 0 ||
            sd_event_source_set_enabled(v->deadline, SD_EVENT_ONESHOT) < 0)
        (void) sd_event_exit(v->context.event, -ENOMEM);
}

/* ---- Readers ---- */

static void on_full(void *userdata, uid_t uid) {
    VarlinkFace *v = userdata;

    for (VarlinkPeer *p = v->peers; p; p = p->next)
        if (p->account->uid == uid && p->reader.unread > 0)
            varlink_peer_note_unread(p);
}

/* ---- Connecting ---- */

static void set_accepting(VarlinkFace *v, bool accepting) {
    for (VarlinkListener *l = v->listeners; l; l = l->next)
        (void) sd_event_source_set_enabled(l->source, accepting ? SD_EVENT_ON : SD_EVENT_OFF);
}

static int on_accept_again(sd_event_source *source, uint64_t usec, void *userdata) {
    set_accepting(userdata, true);
    return 0;
}

/* Meanwhile peers wait in the kernel's queue. */
static void accept_later(VarlinkFace *v, int r) {
    log_warning_errno(r, "Cannot accept a connection, trying again");
    set_accepting(v, false);
    if (sd_event_source_set_time_relative(v->accept_again, ACCEPT_AGAIN_USEC) < 0 ||
            sd_event_source_set_enabled(v->accept_again, SD_EVENT_ONESHOT) < 0)
        set_accepting(v, true);
}

/* An accept() without a peer takes six times as long, since the kernel makes a file first. */
static bool has_another(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

static int on_connection(sd_event_source *source, int fd, uint32_t events, void *userdata) {
    VarlinkListener *l = userdata;
    VarlinkFace *v = l->face;

    for (unsigned i = 0; i < ACCEPT_MAX && (i == 0 || has_another(fd)); i++) {
        _cleanup_close_ int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        int r;

        if (peer < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
            accept_later(v, -errno);
        if (peer < 0)
            return 0;
        r = varlink_peer_new(l, peer);
        if (r < 0) {
            log_debug("Refusing a connection: %s", strerror(-r));
            varlink_face_close(v, peer);
        }
        TAKE_FD(peer);
    }
    return 0;
}

/* ---- Listeners ---- */

VarlinkListener *varlink_listener_unref(VarlinkListener *l) {
    if (--l->n_users > 0)
        return NULL;
    free(l->scope);
    free(l);
    return NULL;
}

int varlink_face_listen(VarlinkFace *v, int fd, const char *scope, bool read_only) {
    VarlinkListener *l = calloc(1, sizeof(*l));
    int r, off = 0;

    if (!l)
        return -ENOMEM;
    l->scope = scope ? strdup(scope) : NULL;
    r = scope && !l->scope ? -ENOMEM : 0;
    if (r >= 0 && (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0))
        r = -errno;
    if (r >= 0)
        r = sd_event_add_io(v->context.event, &l->source, fd, EPOLLIN, on_connection, l);
    if (r >= 0)
        r = sd_event_source_set_io_fd_own(l->source, true);
    if (r < 0) {
        sd_event_source_disable_unref(l->source);
        free(l->scope);
        free(l);
        return r;
    }
    (void) setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
    l->face = v;
    l->read_only = read_only;
    l->n_users = 1;
    l->next = v->listeners;
    v->listeners = l;
    return 0;
}

static void stop_listening(VarlinkFace *v) {
    while (v->listeners) {
        VarlinkListener *l = v->listeners;

        v->listeners = l->next;
        l->source = sd_event_source_disable_unref(l->source);
        varlink_listener_unref(l);
    }
}

/* ---- The face ---- */

/* Answers every call that waits. */
static void answer_all(VarlinkFace *v) {
    for (VarlinkPeer *p = v->peers; p; p = p->next) {
        Refusal refusal = REFUSAL_NULL;

        if (!p->call || varlink_peer_is_behind(p))
            continue;
        varlink_call_refuse(
                p->call, refuse(&refusal, VFIOD_ERROR_SHUTTING_DOWN, NULL, "vfiod is stopping"), &refusal);
        refusal_done(&refusal);
        varlink_call_free(p->call);
    }
}

void varlink_face_stop(VarlinkFace *v) {
    v->stopping = true;
    stop_listening(v);
}

unsigned varlink_face_n_peers(const VarlinkFace *v) {
    return v->n_peers;
}

int varlink_face_new(const VarlinkContext *context, VarlinkFace **ret) {
    _cleanup_(varlink_face_freep) VarlinkFace *v = calloc(1, sizeof(*v));
    int r;

    if (!v)
        return -ENOMEM;
    v->context = *context;
    v->last_ready = &v->ready;
    r = sd_event_add_defer(context->event, &v->turn, on_turn, v);
    if (r >= 0)
        r = sd_event_source_set_enabled(v->turn, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_add_time(context->event, &v->deadline, CLOCK_MONOTONIC, 0, 0, on_deadline, v);
    if (r >= 0)
        r = sd_event_source_set_enabled(v->deadline, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_add_time(context->event, &v->accept_again, CLOCK_MONOTONIC, 0, 0, on_accept_again, v);
    if (r >= 0)
        r = sd_event_source_set_enabled(v->accept_again, SD_EVENT_OFF);
    if (r >= 0)
        r = varlink_face_init_closing(v);
    if (r < 0)
        return r;
    r = varlink_journal_new(v, &v->journal);
    if (r < 0)
        return r;
    r = door_add_full(context->door, on_full, v);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(v);
    return 0;
}

VarlinkFace *varlink_face_free(VarlinkFace *v) {
    if (!v)
        return NULL;
    v->context.idle = NULL;
    answer_all(v);
    stop_listening(v);
    while (v->peers)
        varlink_peer_free(v->peers);
    door_drop_full(v->context.door, v);
    varlink_journal_free(v->journal);
    sd_event_source_disable_unref(v->turn);
    sd_event_source_disable_unref(v->deadline);
    sd_event_source_disable_unref(v->accept_again);
    varlink_face_done_closing(v);
    process_reader_done(&v->processes);
    free(v);
    return NULL;
}
