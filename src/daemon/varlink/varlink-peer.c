/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One connection: what it sends and reads, and when that takes too long. A peer is freed only in its own
 * turn. Other code that finds it broken marks and wakes it. */

#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "daemon/kernel/socket-peer.h"
#include "daemon/varlink/varlink-internal.h"

/* A message must be complete within this time, however slowly its bytes arrive. */
#define MESSAGE_USEC (10 * UINT64_C(1000000))
/* A peer must read its answer. Each time that it has read a part, the time begins again. */
#define READ_USEC (30 * UINT64_C(1000000))
#define FDS_MAX 16U
/* With more unread bytes than this, as far as is known, the kernel is asked for the exact number. */
#define UNREAD_BYTES ((uint64_t) 64 * 1024)

/* ---- Output ---- */

static void drop_output_fds(VarlinkPeer *p) {
    for (size_t i = 0; i < p->n_output_fds; i++)
        (void) safe_close(p->output_fds[i]);
    free(TAKE_PTR(p->output_fds));
    p->n_output_fds = 0;
}

static void drop_output(VarlinkPeer *p) {
    drop_output_fds(p);
    strbuf_done(&p->output);
    p->written = 0;
}

/* Returns the number of bytes, or negative errno. The fds are sent with the first byte. */
static ssize_t send_some(int fd, const char *data, size_t size, const int *fds, size_t n_fds) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
    } control;
    struct iovec vector = {.iov_base = (char *) data, .iov_len = size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    ssize_t n;

    assert(n_fds <= FDS_MAX);
    if (n_fds > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        control.header = (struct cmsghdr){
                .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int) * n_fds)};
        memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * n_fds);
    }
    n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

static int keep_fds(VarlinkPeer *p, const int *fds, size_t n_fds) {
    p->output_fds = malloc(n_fds * sizeof(*fds));
    if (!p->output_fds)
        return -ENOMEM;
    for (; p->n_output_fds < n_fds; p->n_output_fds++) {
        int fd = fcntl(fds[p->n_output_fds], F_DUPFD_CLOEXEC, 3);

        if (fd < 0)
            return -errno;
        p->output_fds[p->n_output_fds] = fd;
    }
    return 0;
}

void varlink_peer_note_unread(VarlinkPeer *p) {
    uint64_t kept = p->output.length - p->written;
    int n = 0;

    if (ioctl(p->fd, SIOCOUTQ, &n) >= 0)
        door_note_unread(p->face->context.door, &p->reader, MIN(p->reader.unread, kept + (uint64_t) n));
}

static void charge(VarlinkPeer *p, size_t bytes) {
    door_charge_bytes(p->face->context.door, &p->reader, p->account->uid, bytes);
    if (p->reader.unread > UNREAD_BYTES)
        varlink_peer_note_unread(p);
}

/* Keeps what the socket does not take. */
static int write_text(VarlinkPeer *p, StrBuf *text, const int *fds, size_t n_fds) {
    ssize_t n;
    int r = 0;

    n = send_some(p->fd, text->text, text->length, fds, n_fds);
    if (n < 0 && n != -EAGAIN)
        return (int) n;
    if ((size_t) n == text->length)
        return 0;
    if (n < 0 && n_fds > 0)
        r = keep_fds(p, fds, n_fds);
    if (r < 0) {
        drop_output_fds(p);
        return r;
    }
    p->output = TAKE_GENERIC(*text, (StrBuf){});
    p->written = n > 0 ? (size_t) n : 0;
    return 0;
}

int varlink_peer_write(VarlinkPeer *p, StrBuf *text, const int *fds, size_t n_fds) {
    size_t length = text->length;
    int r;

    assert(!varlink_peer_is_behind(p));
    r = p->broken ? -EPIPE : write_text(p, text, fds, n_fds);
    strbuf_done(text);
    if (r >= 0)
        charge(p, length);
    return r;
}

static void flush(VarlinkPeer *p) {
    ssize_t n;

    if (p->broken || !varlink_peer_is_behind(p))
        return;
    n = send_some(p->fd, p->output.text + p->written, p->output.length - p->written, p->output_fds,
            p->n_output_fds);
    if (n == -EAGAIN)
        return;
    if (n < 0) {
        p->broken = true;
        return;
    }
    drop_output_fds(p);
    p->deadline_usec = 0;
    p->written += (size_t) n;
    if (p->written == p->output.length)
        drop_output(p);
}

/* ---- Input ---- */

void varlink_peer_blame(VarlinkPeer *p, const char *why) {
    broker_note_cut_off(p->face->context.host.broker, p->account->uid, why);
    p->broken = true;
}

static void break_off(VarlinkPeer *p, int r) {
    log_debug("Closing a connection of uid %u: %s", (unsigned) p->account->uid, strerror(-r));
    p->broken = true;
}

/* Such a message has no end, so it cannot be parsed. All earlier messages were answered, so the next reply
 * belongs to this one, unless it is a oneway call. That reply ends the connection, and a client that sent too
 * much by mistake learns the reason. sd-varlink closes the connection without a reply, but its limit is too
 * high to matter. */
static void refuse_long_message(VarlinkPeer *p) {
    if (!p->call && !varlink_peer_is_behind(p))
        varlink_peer_refuse_message(p);
    varlink_peer_blame(p, "it sent a message that is too long");
}

/* Fds are not received: no method takes any, and to close a stranger's file may take as long as the stranger
 * likes. Data with fds is not read either, since the kernel would close them here. If the socket may have
 * some, the first look takes nothing. */
static ssize_t receive_some(const VarlinkPeer *p, char *room, size_t size) {
    struct iovec vector = {.iov_base = room, .iov_len = size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    ssize_t n;

    if (p->takes_no_fds)
        return recv(p->fd, room, size, MSG_DONTWAIT);
    n = recvmsg(p->fd, &message, MSG_PEEK | MSG_DONTWAIT);
    if (n <= 0)
        return n;
    if (message.msg_flags & MSG_CTRUNC) {
        errno = EBADMSG;
        return -1;
    }
    return recv(p->fd, room, (size_t) n, MSG_DONTWAIT);
}

static void receive(VarlinkPeer *p) {
    size_t size;
    ssize_t n;
    char *room;
    int r;

    if (varlink_frame_peek(&p->input, &size))
        return;
    r = varlink_frame_reserve(&p->input, &room, &size);
    if (r == -EMSGSIZE)
        return refuse_long_message(p);
    if (r < 0)
        return break_off(p, r);
    n = receive_some(p, room, size);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        if (varlink_frame_is_empty(&p->input))
            varlink_frame_done(&p->input);
        return;
    }
    if (n < 0 && errno == EBADMSG)
        varlink_peer_blame(p, "it sent files");
    else if (n < 0)
        break_off(p, -errno);
    p->eof = n == 0;
    if (n <= 0)
        return;
    (void) varlink_frame_add(&p->input, (size_t) n, NULL, 0);
}

/* Takes at most one message. Then others get their turn. */
static void take_message(VarlinkPeer *p) {
    const char *text;
    size_t size;
    int r;

    if (p->broken || p->call || varlink_peer_is_behind(p))
        return;
    text = varlink_frame_peek(&p->input, &size);
    if (!text)
        return;
    p->deadline_usec = 0;
    r = varlink_call_begin(p, text, size);
    varlink_frame_drop(&p->input);
    if (r == -EBADMSG)
        varlink_peer_blame(p, "it sent a message that is not a method call");
    else if (r < 0)
        break_off(p, r);
}

/* ---- Its turn ---- */

static void set_deadline(VarlinkPeer *p, uint64_t now_usec, uint64_t delay_usec) {
    if (p->deadline_usec != 0)
        return;
    p->deadline_usec = now_usec + delay_usec;
    varlink_face_arm_deadline(p->face, p->deadline_usec);
}

static void wait_for_events(VarlinkPeer *p, uint32_t events) {
    if (p->events == events)
        return;
    if (sd_event_source_set_io_events(p->io, events) < 0)
        p->broken = true;
    p->events = events;
}

static bool is_over(VarlinkPeer *p) {
    size_t size;

    return p->broken ||
            (p->eof && !p->call && !varlink_peer_is_behind(p) && !varlink_frame_peek(&p->input, &size));
}

static void settle(VarlinkPeer *p) {
    size_t size;

    if (varlink_peer_is_behind(p)) {
        set_deadline(p, budget_now(), READ_USEC);
        wait_for_events(p, EPOLLOUT);
    } else if (p->call) {
        wait_for_events(p, 0);
        if (p->call->parked)
            varlink_peer_wake(p);
    } else if (varlink_frame_peek(&p->input, &size))
        varlink_peer_wake(p);
    else {
        if (!varlink_frame_is_empty(&p->input))
            set_deadline(p, budget_now(), MESSAGE_USEC);
        wait_for_events(p, EPOLLIN);
    }
}

void varlink_peer_go_on(VarlinkPeer *p) {
    p->handling = true;
    flush(p);
    if (p->call && p->call->parked && !p->broken && !varlink_peer_is_behind(p))
        varlink_call_go_on(p->call);
    take_message(p);
    p->handling = false;
    if (!is_over(p))
        settle(p);
    if (is_over(p))
        varlink_peer_free(p);
}

/* A peer that hung up reads no answer. What it sent before is still read, since it may require no answer. */
static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
    VarlinkPeer *p = userdata;

    door_be_fair(p->face->context.door);
    if (events & EPOLLIN)
        receive(p);
    else if (events & (EPOLLHUP | EPOLLERR))
        p->broken = true;
    varlink_peer_go_on(p);
    return 0;
}

void varlink_peer_wake(VarlinkPeer *p) {
    VarlinkFace *v = p->face;

    if (p->handling || p->listed)
        return;
    p->listed = true;
    p->next_ready = NULL;
    *v->last_ready = p;
    v->last_ready = &p->next_ready;
    if (sd_event_source_set_enabled(v->turn, SD_EVENT_ONESHOT) < 0)
        (void) sd_event_exit(v->context.event, -ENOMEM);
}

/* ---- Beginning and end ---- */

static void leave_ready(VarlinkPeer *p) {
    VarlinkPeer **i = &p->face->ready;

    if (!p->listed)
        return;
    while (*i != p)
        i = &(*i)->next_ready;
    *i = p->next_ready;
    if (!*i)
        p->face->last_ready = i;
}

VarlinkPeer *varlink_peer_free(VarlinkPeer *p) {
    VarlinkFace *v = p->face;

    varlink_call_free(p->call);
    leave_ready(p);
    *(p->previous ? &p->previous->next : &v->peers) = p->next;
    if (p->next)
        p->next->previous = p->previous;
    sd_event_source_disable_unref(p->io);
    if (!v->stopping) /* claims that are tied to the connection have copies, and outlive the daemon */
        (void) shutdown(p->fd, SHUT_RDWR);
    varlink_face_close(v, p->fd);
    varlink_frame_done(&p->input);
    drop_output(p);
    if (p->subject)
        subject_done(p->subject);
    free(p->subject);
    door_note_unread(v->context.door, &p->reader, 0);
    door_reader_done(v->context.door, &p->reader);
    budget_end_peer(v->context.host.budget, p->account);
    varlink_listener_unref(p->listener);
    free(p);
    if (--v->n_peers == 0 && v->context.idle)
        v->context.idle(v->context.userdata);
    return NULL;
}

/* A connection inherits this from the listening socket when it is made. If fds are off, they were off for all
 * that was sent. */
static bool takes_no_fds(int fd) {
    socklen_t size = sizeof(int);
    int on = 1;

    return getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &on, &size) >= 0 && on == 0;
}

/* Only fds may come with data, since receive_some() does not distinguish. The kernel would drop out-of-band
 * data, with its fds, between a look and a read. Credentials and labels come with data if the socket unit has
 * PassCredentials= or PassSecurity=. */
static int prepare_socket(VarlinkPeer *p) {
    int on = 1, off = 0;

    p->takes_no_fds = takes_no_fds(p->fd);
    if (setsockopt(p->fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)) < 0)
        return -errno;
    if (p->takes_no_fds)
        return 0;
    if (setsockopt(p->fd, SOL_SOCKET, SO_PASSCRED, &off, sizeof(off)) < 0 ||
            setsockopt(p->fd, SOL_SOCKET, SO_PASSSEC, &off, sizeof(off)) < 0)
        return -errno;
    return 0;
}

int varlink_peer_new(VarlinkListener *listener, int fd) {
    VarlinkFace *v = listener->face;
    struct ucred credentials;
    VarlinkPeer *p;
    int r;

    r = socket_peer_credentials(fd, &credentials);
    if (r < 0)
        return r;
    p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    p->fd = fd;
    p->credentials = credentials;
    r = prepare_socket(p);
    if (r >= 0)
        r = sd_event_add_io(v->context.event, &p->io, fd, EPOLLIN, on_io, p);
    if (r >= 0)
        r = budget_begin_peer(v->context.host.budget, credentials.uid, &p->account);
    if (r < 0) {
        sd_event_source_disable_unref(p->io);
        free(p);
        return r;
    }
    p->events = EPOLLIN;
    p->face = v;
    p->accepted_usec = process_reader_now();
    p->input.limit = VARLINK_MESSAGE_MAX;
    p->listener = listener;
    listener->n_users++;
    p->next = v->peers;
    if (p->next)
        p->next->previous = p;
    v->peers = p;
    v->n_peers++;
    return 0;
}
