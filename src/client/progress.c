/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/progress.h"

#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/str.h"
#include "client/transport.h"

#define PATIENCE_USEC (300U * 1000) /* faster calls show no line */
#define REFRESH_USEC (1000U * 1000)
#define COLUMNS_DEFAULT 80U

void progress_begin(Progress *p, const char *format, ...) {
    va_list ap;

    *p = (Progress){.begin = monotonic_usec()};
    if (!isatty(STDERR_FILENO))
        return;
    va_start(ap, format);
    if (vasprintf(&p->text, format, ap) < 0)
        p->text = NULL;
    va_end(ap);
}

static size_t columns(void) {
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : COLUMNS_DEFAULT;
}

/* Cut to one line, because wrapped lines cannot be erased. */
static void show(Progress *p, uint64_t now) {
    _cleanup_free_ char *safe = sanitize(p->text, strlen(p->text)), *line = NULL;

    if (safe)
        line = format_string("vfioctl: %s... %" PRIu64 " s", safe, (now - p->begin) / REFRESH_USEC);
    if (!line)
        return;
    fprintf(stderr, "\r%.*s\033[K", (int) columns() - 1, line);
    p->shown = now;
}

void progress_end(Progress *p) {
    if (p->shown > 0)
        fputs("\r\033[K", stderr);
    free(p->text);
    *p = (Progress){};
}

static uint64_t next_look(const Progress *p) {
    if (!p->text)
        return UINT64_MAX;
    return p->shown > 0 ? p->shown + REFRESH_USEC : p->begin + PATIENCE_USEC;
}

int progress_wait(Progress *p, VfiodConnection *c, const bool *done, uint64_t deadline) {
    while (!*done) {
        uint64_t until, now;
        struct pollfd fd;
        int r;

        r = vfiod_connection_dispatch(c);
        if (*done)
            break;
        if (r >= 0)
            r = vfiod_connection_get_timeout(c, &until);
        if (r < 0)
            return r;
        now = monotonic_usec();
        if (now >= deadline)
            return -ETIMEDOUT;
        if (now >= next_look(p))
            show(p, now);
        until = MIN(MIN(until, deadline), next_look(p));
        fd = (struct pollfd){.fd = vfiod_connection_get_fd(c), .events = vfiod_connection_get_events(c)};
        if (poll(&fd, 1,
                    until == UINT64_MAX    ? -1
                            : until <= now ? 0
                                           : (int) MIN((until - now) / 1000 + 1, (uint64_t) INT32_MAX)) < 0 &&
                errno != EINTR)
            return -errno;
    }
    return 0;
}
