/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/log.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* systemd/sd-journal.h adds the source location to each record, which would always be this file. */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "base/str.h"

#define FIELDS_MAX 24U

static int max_level = LOG_INFO;

void log_set_max_level(int level) {
    max_level = level;
}

int log_get_max_level(void) {
    return max_level;
}

/* systemd.exec(5): $JOURNAL_STREAM names the device and inode that stderr has when the service manager
 * connected it to the journal. When stderr was redirected since, lines go where the redirection points. */
static bool stderr_is_journal(void) {
    static int known = -1;
    unsigned long long device, inode;
    const char *e;
    struct stat st;

    if (known >= 0)
        return known;
    e = getenv("JOURNAL_STREAM");
    known = e && sscanf(e, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) >= 0 &&
            st.st_dev == device && st.st_ino == inode;
    return known;
}

static void write_line(int level, const char *message, const struct iovec *fields, size_t n) {
    _cleanup_strbuf_ StrBuf b = {};

    strbuf_addf(&b, "<%d>%s", LOG_PRI(level), message);
    /* On a terminal, fields that the message does not already contain are shown too. */
    for (size_t i = 2; i < n; i++)
        strbuf_addf(&b, "%s%.*s", i == 2 ? "  [" : " ", (int) fields[i].iov_len, (char *) fields[i].iov_base);
    strbuf_add(&b, n > 2 ? "]\n" : "\n");
    if (b.error >= 0 && write(STDERR_FILENO, b.text, b.length) < 0)
        return; /* there is nowhere to report it */
}

static void send_record(int level, const char *message, struct iovec *fields, size_t n) {
    if (!stderr_is_journal() || sd_journal_sendv(fields, (int) n) < 0)
        write_line(level, message, fields, n);
}

/* Appends the field NAME=value. False when there is no room or memory. */
static bool add_field(struct iovec *fields, size_t *n, const char *name, const char *value) {
    char *text;

    if (*n >= FIELDS_MAX)
        return false;
    text = format_string("%s=%s", name, value);
    if (!text)
        return false;
    fields[(*n)++] = (struct iovec){.iov_base = text, .iov_len = strlen(text)};
    return true;
}

static void log_fields(int level, const char *message_id, const char *message, va_list *ap) {
    struct iovec fields[FIELDS_MAX];
    char priority[2] = {(char) ('0' + LOG_PRI(level)), '\0'};
    const char *name;
    size_t n = 0;

    (void) add_field(fields, &n, "MESSAGE", message);
    (void) add_field(fields, &n, "PRIORITY", priority);
    if (message_id)
        (void) add_field(fields, &n, "MESSAGE_ID", message_id);
    while (ap && (name = va_arg(*ap, const char *))) {
        const char *value = va_arg(*ap, const char *);
        _cleanup_free_ char *clean = value ? sanitize(value, 1024) : NULL;

        if (clean && !add_field(fields, &n, name, clean))
            break;
    }
    send_record(level, message, fields, n);
    for (size_t i = 0; i < n; i++)
        free(fields[i].iov_base);
}

_printf_(3, 0) static void log_linev(int level, int error, const char *format, va_list ap) {
    _cleanup_free_ char *text = NULL, *full = NULL, *clean = NULL;
    int saved = errno;

    if (LOG_PRI(level) <= max_level && vasprintf(&text, format, ap) >= 0) {
        if (error != 0)
            full = format_string("%s: %s", text, strerror(abs(error)));
        clean = sanitize(full ?: text, 2048);
        if (clean)
            log_fields(level, NULL, clean, NULL);
    } else
        text = NULL; /* vasprintf leaves it undefined when it fails */
    errno = saved;
}

void log_line(int level, const char *format, ...) {
    va_list ap;

    va_start(ap, format);
    log_linev(level, 0, format, ap);
    va_end(ap);
}

int log_error_errno(int r, const char *format, ...) {
    va_list ap;

    va_start(ap, format);
    log_linev(LOG_ERR, r, format, ap);
    va_end(ap);
    return r;
}

int log_warning_errno(int r, const char *format, ...) {
    va_list ap;

    va_start(ap, format);
    log_linev(LOG_WARNING, r, format, ap);
    va_end(ap);
    return r;
}

void log_record(int level, const char *message_id, const char *message, ...) {
    _cleanup_free_ char *clean = NULL;
    int saved = errno;
    va_list ap;

    if (LOG_PRI(level) > max_level)
        return;
    clean = sanitize(message, 2048);
    va_start(ap, message);
    if (clean)
        log_fields(level, message_id, clean, &ap);
    va_end(ap);
    errno = saved;
}
