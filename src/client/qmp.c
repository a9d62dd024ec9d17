/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Each line is a message. QEMU serves one client of a socket at a time: others wait in connect(2) or for the
 * greeting. So everything here has a time limit. */

#include "client/qmp.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json-build.h"
#include "base/str.h"
#include "client/show.h"
#include "client/transport.h"

#define ANSWER_USEC (30ULL * 1000 * 1000)
#define GREETING_USEC (5ULL * 1000 * 1000)
#define LINE_MAX_SIZE (4U * 1024 * 1024)

struct Qmp {
    char *path; /* owned; for messages */
    int fd;     /* owned */
    StrBuf input;
    char version[64];
    qmp_event_t on_event;
    void *userdata;
};

Qmp *qmp_close(Qmp *q) {
    if (!q)
        return NULL;
    (void) safe_close(q->fd);
    strbuf_done(&q->input);
    free(q->path);
    free(q);
    return NULL;
}

int qmp_fd(const Qmp *q) {
    return q->fd;
}

const char *qmp_version(const Qmp *q) {
    return q->version;
}

/* ---- messages ---- */

/* The first whole message, owned by the caller; NULL: there is none. */
static struct json_object *next_message(Qmp *q) {
    char *end = q->input.text ? memchr(q->input.text, '\n', q->input.length) : NULL;
    struct json_object *message;
    size_t n;

    if (!end)
        return NULL;
    n = (size_t) (end - q->input.text) + 1;
    *end = '\0';
    message = json_tokener_parse(q->input.text);
    memmove(q->input.text, q->input.text + n, q->input.length - n + 1);
    q->input.length -= n;
    return message ?: json_object_new_object();
}

static int read_more(Qmp *q) {
    char buf[4096];
    ssize_t n = recv(q->fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n == 0)
        return -ECONNRESET;
    if (memchr(buf, '\0', (size_t) n) || q->input.length > LINE_MAX_SIZE)
        return -EBADMSG;
    buf[n] = '\0';
    strbuf_add(&q->input, buf);
    return q->input.error < 0 ? q->input.error : 0;
}

/* True if it was an event, which is handled then. */
static bool take_event(Qmp *q, struct json_object *message) {
    const char *event = json_text(message, "event");

    if (!*event)
        return false;
    q->on_event(q->userdata, event, json_member(message, "data"));
    return true;
}

int qmp_process(Qmp *q) {
    int r = read_more(q);

    for (;;) {
        _cleanup_json_ struct json_object *message = next_message(q);

        if (!message)
            return r;
        (void) take_event(q, message);
    }
}

static int wait_for_message(Qmp *q, uint64_t usec, struct json_object **ret) {
    uint64_t end = monotonic_usec() + usec;

    for (;;) {
        struct json_object *message = next_message(q);
        struct pollfd p = {.fd = q->fd, .events = POLLIN};
        uint64_t now = monotonic_usec();
        int r;

        if (message && !take_event(q, message)) {
            *ret = message;
            return 0;
        }
        if (message) {
            json_object_put(message);
            continue;
        }
        if (now >= end)
            return -ETIMEDOUT;
        r = poll(&p, 1, (int) ((end - now) / 1000 + 1));
        r = r < 0 && errno != EINTR ? -errno : read_more(q);
        if (r < 0)
            return r;
    }
}

static int send_message(Qmp *q, const char *text, int fd) {
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {};
    struct iovec iov = {.iov_base = (char *) text, .iov_len = strlen(text)};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (fd >= 0) {
        header.msg_control = &control;
        header.msg_controllen = sizeof(control);
        *CMSG_FIRSTHDR(&header) = (struct cmsghdr){
                .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&header)), &fd, sizeof(int));
    }
    n = sendmsg(q->fd, &header, MSG_NOSIGNAL);
    return n < 0 ? -errno : n < (ssize_t) iov.iov_len ? -EIO : 0;
}

static int trouble(const Qmp *q, int r, VfiodErrorText *error) {
    return error_text_set(error, -r, ERROR_NAME_FAILED, "%s: %s", q->path,
            r == -ETIMEDOUT ? "QEMU does not answer. Another program may be connected to this socket."
                    : r == -ECONNRESET ? "QEMU has closed the connection."
                                       : strerrordesc_np(-r));
}

int qmp_execute(Qmp *q, const char *command, struct json_object *arguments, int fd, struct json_object **ret,
        VfiodErrorText *error) {
    _cleanup_json_ struct json_object *call = json_object_new_object(), *given = arguments, *answer = NULL;
    struct json_object *failure;
    _cleanup_free_ char *line = NULL;
    int r;

    r = !call ? -ENOMEM : json_add(call, "execute", json_object_new_string(command));
    if (r >= 0 && given)
        r = json_add(call, "arguments", TAKE_PTR(given));
    if (r >= 0) {
        line = format_string("%s\n", json_object_to_json_string_ext(call, JSON_C_TO_STRING_PLAIN));
        r = line ? send_message(q, line, fd) : -ENOMEM;
    }
    if (r >= 0)
        r = wait_for_message(q, ANSWER_USEC, &answer);
    if (r < 0)
        return trouble(q, r, error);
    failure = json_member(answer, "error");
    if (failure)
        return error_text_set(
                error, EPROTO, ERROR_NAME_FAILED, "QEMU: %s: %s", command, json_text(failure, "desc"));
    if (ret)
        *ret = json_object_get(json_member(answer, "return"));
    return 0;
}

/* ---- connecting ---- */

static int connect_to(Qmp *q, VfiodErrorText *error) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_sec = GREETING_USEC / 1000000};

    if (strlen(q->path) >= sizeof(address.sun_path))
        return error_text_set(error, ENAMETOOLONG, ERROR_NAME_FAILED, "%s: the path is too long.", q->path);
    memcpy(address.sun_path, q->path, strlen(q->path));
    q->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (q->fd < 0)
        return trouble(q, -errno, error);
    (void) setsockopt(q->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(q->fd, (struct sockaddr *) &address, sizeof(address)) < 0)
        return trouble(q, -errno, error);
    return 0;
}

static int take_greeting(Qmp *q, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *greeting = NULL;
    struct json_object *version;
    int r;

    r = wait_for_message(q, GREETING_USEC, &greeting);
    if (r < 0)
        return trouble(q, r, error);
    version = json_member(json_member(json_member(greeting, "QMP"), "version"), "qemu");
    if (!version)
        return error_text_set(error, EPROTO, ERROR_NAME_FAILED, "%s: not a QMP socket of QEMU.", q->path);
    snprintf(q->version, sizeof(q->version), "QEMU emulator version %d.%d",
            (int) json_number(version, "major"), (int) json_number(version, "minor"));
    return 0;
}

int qmp_open(const char *path, qmp_event_t on_event, void *userdata, Qmp **ret, VfiodErrorText *error) {
    _cleanup_(qmp_closep) Qmp *q = calloc(1, sizeof(*q));
    int r;

    if (q) {
        *q = (Qmp){.path = strdup(path), .fd = -EBADF, .on_event = on_event, .userdata = userdata};
    }
    if (!q || !q->path)
        return error_text_errno(error, ENOMEM, "Cannot connect to QEMU");
    r = connect_to(q, error);
    if (r >= 0)
        r = take_greeting(q, error);
    if (r >= 0)
        r = qmp_execute(q, "qmp_capabilities", NULL, -EBADF, NULL, error);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(q);
    return 0;
}
