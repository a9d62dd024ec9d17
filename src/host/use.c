/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host/use.h"

#include <fcntl.h>
#include <fnmatch.h>
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

    size_t n = strlen(above);

    /* "mounted at /srv (dm-0, on nvme0n1p1)" */
    if (n > 0 && above[n - 1] == ')')
        return use_found(s, "%.*s, on %s)", (int) n - 1, above, name);
    return use_found(s, "%s, on %s", above, name);
}

/* Returns an error if all tables are missing, since /proc shows only processes then (ProcSubset=pid), and use
 * is unknown. */
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

static int match_below(UseSearch *s, int at, const char *pattern,
        int (*matches)(int at, const char *name, const void *arg), const void *arg) {
    _cleanup_closedir_ DIR *d = NULL;
    const char *slash = strchr(pattern, '/');
    char component[32];
    struct dirent *e = NULL;
    int r;

    if (!slash)
        return matches(at, pattern, arg);
    if (++s->n_directories > USE_DIRECTORIES_MAX)
        return -E2BIG;
    (void) snprintf(component, sizeof(component), "%.*s", (int) (slash - pattern), pattern);
    r = open_directory_at(at, ".", &d);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    while ((r = use_next_entry(d, &e)) > 0) {
        _cleanup_close_ int fd = -EBADF;

        if (fnmatch(component, e->d_name, 0) != 0)
            continue;
        fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
            continue;
        r = fd < 0 ? -errno : match_below(s, fd, slash + 1, matches, arg);
        if (r != 0)
            return r;
    }
    return r;
}

int use_match(UseSearch *s, const char *directory, const char *pattern,
        int (*matches)(int at, const char *name, const void *arg), const void *arg) {
    _cleanup_close_ int fd = openat(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
    return match_below(s, fd, pattern, matches, arg);
}

static int has_word(int at, const char *name, const void *arg) {
    char text[1024], *rest = text;
    ssize_t n = read_attribute_at(at, name, text, sizeof(text));

    if (n < 0)
        return n == -ENOENT || n == -ENODEV || n == -ENXIO || n == -EINVAL ? 0 : (int) n;
    for (char *word; (word = strsep(&rest, " ,\t\n"));)
        if (streq(word, arg))
            return 1;
    return 0;
}

int use_find_word(UseSearch *s, const char *directory, const char *pattern, const char *word) {
    return use_match(s, directory, pattern, has_word, word);
}
