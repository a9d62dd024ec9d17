/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host/use.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define REASON_MAX 256U

int use_next_entry(DIR *d, struct dirent **ret) {
    struct dirent *e;

    do {
        errno = 0;
        e = readdir(d);
        if (!e)
            return -errno;
    } while (streq(e->d_name, ".") || streq(e->d_name, ".."));
    *ret = e;
    return 1;
}

int use_found(UseSearch *s, const char *format, ...) {
    _cleanup_free_ char *text = NULL;
    va_list args;
    int r;

    va_start(args, format);
    r = vasprintf(&text, format, args);
    va_end(args);
    if (r < 0) {
        text = NULL; /* vasprintf leaves it undefined */
        return -ENOMEM;
    }

    free(s->reason);
    s->reason = sanitize(text, REASON_MAX);
    return s->reason ? 1 : -ENOMEM;
}

int use_found_above(UseSearch *s, const char *name) {
    _cleanup_free_ char *above = TAKE_PTR(s->reason);

    return use_found(s, "%s, and lies on %s", above, name);
}

/* Unless all of them are missing, since our /proc shows processes alone (ProcSubset=pid): then nothing can be
 * told. */
int use_read_table(const char *path, char **table) {
    int r;

    if (*table)
        return 0;
    r = read_file_at(AT_FDCWD, path, USE_TABLE_MAX, table, NULL);
    if (r != -ENOENT || access("/proc/meminfo", F_OK) < 0)
        return r;
    *table = strdup("");
    return *table ? 0 : -ENOMEM;
}
