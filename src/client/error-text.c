/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/error-text.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/str.h"
#include "core/error-table.h"

#define VFIOD_MESSAGE_MAX sizeof(((VfiodErrorText *) NULL)->message)

typedef struct ErrorRow {
    const char *name;
    int error, exit_status;
} ErrorRow;

#define ERROR_ROW(code, name, error, exit_status, remedy) {name, error, exit_status},
static const ErrorRow error_rows[] = {
        VFIOD_ERROR_TABLE(ERROR_ROW)
        /* vfioctl's own */
        {ERROR_NAME_FAILED, EIO, 1},
        {ERROR_NAME_USAGE, EINVAL, 2},
        /* 1 is a result about the policy, as for diff(1): "there are differences" */
        {ERROR_NAME_REHEARSAL, EIO, 2},
        {ERROR_NAME_UNREACHABLE, EHOSTUNREACH, 3},
        {ERROR_NAME_PROBLEMS, EINVAL, 4},
        /* as for the shell and env(1) */
        {ERROR_NAME_NOT_EXECUTABLE, EACCES, 126},
        {ERROR_NAME_NOT_FOUND, ENOENT, 127},
};

static const ErrorRow *error_row(const char *name) {
    for (size_t i = 0; i < ELEMENTSOF(error_rows); i++)
        if (streq(error_rows[i].name, name))
            return error_rows + i;
    return NULL;
}

int exit_status_of(const char *name) {
    const ErrorRow *row = error_row(name);

    return row ? row->exit_status : 1;
}

/* Copies at most size - 1 bytes, without cutting a character. */
static void copy_text(char *buf, size_t size, const char *s) {
    size_t n = strnlen(s, size - 1);

    if (s[n] != '\0')
        while (n > 0 && ((unsigned char) s[n] & 0xc0) == 0x80)
            n--;
    memcpy(buf, s, n);
    buf[n] = '\0';
}

/* Sanitizes each line: ReloadPolicy() returns one line per error, so newlines are kept. */
static char *sanitize_lines(const char *s) {
    _cleanup_strbuf_ StrBuf b = {};

    for (;;) {
        size_t n = strcspn(s, "\n");
        _cleanup_free_ char *line = strndup(s, n), *safe = NULL;

        safe = line ? sanitize(line, VFIOD_MESSAGE_MAX) : NULL;
        if (!safe)
            return NULL;
        strbuf_add(&b, safe);
        s += n;
        s += strspn(s, "\n");
        if (!*s)
            return strbuf_steal(&b);
        strbuf_add(&b, "\n");
    }
}

static void fill(VfiodErrorText *e, int error, const char *name, const char *message) {
    _cleanup_free_ char *safe = sanitize_lines(message);

    e->error = error;
    copy_text(e->name, sizeof(e->name), name);
    copy_text(e->message, sizeof(e->message), safe ? safe : "Out of memory");
}

int error_text_set(VfiodErrorText *e, int error, const char *name, const char *format, ...) {
    _cleanup_free_ char *message = NULL;
    va_list ap;

    assert(error > 0);

    if (!e)
        return -error;
    va_start(ap, format);
    if (vasprintf(&message, format, ap) < 0)
        message = NULL;
    va_end(ap);
    fill(e, error, name, message ? message : "Out of memory");
    return -error;
}

int error_text_errno(VfiodErrorText *e, int error, const char *what) {
    error = error < 0 ? -error : error;
    return error_text_set(e, error, ERROR_NAME_FAILED, "%s: %s", what, strerrordesc_np(error));
}

int error_text_of_daemon(VfiodErrorText *e, const char *name, const char *message) {
    const ErrorRow *row = error_row(name);

    return error_text_set(e, row ? row->error : EIO, name, "%s", message);
}
