/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pins/pin-files.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

void pin_files_done(PinFiles *f) {
    for (size_t i = 0; i < f->n; i++)
        free(f->items[i].name);
    free(f->items);
    problems_done(&f->problems);
    *f = (PinFiles){};
}

/* Adds a problem of a file or directory as a whole. */
static void add_problem(PinFiles *f, const char *file, const char *what) {
    problems_add(&f->problems, format_string("%s:1:1: error: %s", file, what));
}

static void add_errno(PinFiles *f, const char *file, const char *what, int r) {
    _cleanup_free_ char *text = format_string("%s: %s", what, strerrordesc_np(-r) ?: "unknown error");

    add_problem(f, file, text ?: what);
}

/* ---- Reading ---- */

/* Hidden files and leftovers of editors and package managers do not end in ".json". */
static bool is_pin_name(const char *name) {
    size_t n = strlen(name);

    return name[0] != '.' && n > strlen(".json") && streq(name + n - strlen(".json"), ".json");
}

static bool is_trusted(const struct stat *st) {
    return (st->st_uid == 0 || st->st_uid == geteuid()) && (st->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static int compare(const void *a, const void *b) {
    return strcmp(((const PinFile *) a)->name, ((const PinFile *) b)->name);
}

static int add_name(PinFiles *f, const char *name) {
    PinFile *grown = reallocarray(f->items, f->n + 1, sizeof(*grown));

    if (!grown)
        return -ENOMEM;
    f->items = grown;
    f->items[f->n] = (PinFile){.name = strdup(name)};
    return f->items[f->n].name ? (f->n++, 0) : -ENOMEM;
}

static int list_names(PinFiles *f, const char *directory, DIR *dir) {
    struct dirent *e;

    while ((e = readdir(dir))) {
        int r;

        if (!is_pin_name(e->d_name))
            continue;
        if (f->n >= PINS_MAX) {
            add_problem(f, directory, "too many files of pins");
            return 0;
        }
        r = add_name(f, e->d_name);
        if (r < 0)
            return r;
    }
    return 0;
}

/* 0; -EBADMSG after adding a problem; or -ENOMEM. */
static int read_text(
        PinFiles *f, int dir, const char *name, const char *shown, char **ret, size_t *ret_size) {
    _cleanup_close_ int fd = -EBADF;
    struct stat st;
    int r;

    fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0) {
        add_errno(f, shown, "cannot open", -errno);
        return -EBADMSG;
    }
    if (!is_trusted(&st)) {
        add_problem(f, shown, "the file must belong to root and be writable only by root");
        return -EBADMSG;
    }
    r = read_file(fd, PIN_FILE_MAX, ret, ret_size);
    if (r == -ENOMEM)
        return r;
    if (r < 0) {
        add_errno(f, shown, "cannot read", r);
        return -EBADMSG;
    }
    return 0;
}

/* Returns like read_text(). */
static int read_pin(PinFiles *f, const char *directory, int dir, const char *name, Pin *ret) {
    _cleanup_free_ char *path = format_string("%s/%s", directory, name), *text = NULL;
    _cleanup_free_ char *shown = path ? sanitize(path, 2 * NAME_MAX) : NULL;
    size_t size;
    int r;

    if (!shown)
        return -ENOMEM;
    r = read_text(f, dir, name, shown, &text, &size);
    return r < 0 ? r : pin_parse(shown, text, size, ret, &f->problems);
}

/* There is one pin for each place: the first by file name counts. */
static bool is_taken(PinFiles *f, size_t n, const char *directory, const PinFile *file) {
    for (size_t i = 0; i < n; i++)
        if (streq(f->items[i].pin.path, file->pin.path)) {
            _cleanup_free_ char *path = format_string("%s/%s", directory, file->name);
            _cleanup_free_ char *shown = path ? sanitize(path, 2 * NAME_MAX) : NULL;
            _cleanup_free_ char *other = sanitize(f->items[i].name, NAME_MAX);

            problems_add(&f->problems,
                    shown && other ? format_string("%s:1:1: error: %s is already pinned by %s", shown,
                                             file->pin.path, other)
                                   : NULL);
            return true;
        }
    return false;
}

/* Pins without errors stay. */
static int read_pins(PinFiles *f, const char *directory, int dir) {
    size_t n = 0;
    int r = 0;

    for (size_t i = 0; i < f->n; i++) {
        PinFile file = TAKE_GENERIC(f->items[i], (PinFile){});

        if (r != -ENOMEM)
            r = read_pin(f, directory, dir, file.name, &file.pin);
        if (r >= 0 && !is_taken(f, n, directory, &file))
            f->items[n++] = file;
        else
            free(file.name);
    }
    f->n = n;
    return r == -ENOMEM || f->problems.out_of_memory ? -ENOMEM : 0;
}

/* Limits what a hostile directory can cost. */
static int load(const char *directory, PinFiles *f) {
    _cleanup_closedir_ DIR *dir = NULL;
    struct stat st;
    int r;

    r = open_directory_at(AT_FDCWD, directory, &dir);
    if (r == -ENOENT)
        return 0;
    if (r >= 0 && fstat(dirfd(dir), &st) < 0)
        r = -errno;
    if (r < 0) {
        add_errno(f, directory, "cannot open the directory", r);
        return r == -ENOMEM ? r : 0;
    }
    if (!is_trusted(&st)) {
        add_problem(f, directory, "the directory must belong to root and be writable only by root");
        return 0;
    }
    r = list_names(f, directory, dir);
    if (r < 0)
        return r;
    if (f->n > 0)
        qsort(f->items, f->n, sizeof(*f->items), compare);
    return read_pins(f, directory, dirfd(dir));
}

int pin_files_load(const char *directory, PinFiles *ret) {
    int r;

    *ret = (PinFiles){};
    r = load(directory, ret);
    if (r < 0)
        pin_files_done(ret);
    return r;
}

const PinFile *pin_files_find(const PinFiles *f, const char *path) {
    for (size_t i = 0; i < f->n; i++)
        if (streq(f->items[i].pin.path, path))
            return f->items + i;
    return NULL;
}

/* ---- Writing ---- */

/* Opens the directory, and makes it and its parents if they are missing. */
static int open_for_writing(const char *directory) {
    _cleanup_free_ char *parent = strdup(directory);
    char *slash = parent ? strrchr(parent, '/') : NULL;
    int fd;

    if (!parent)
        return -ENOMEM;
    if (slash && slash > parent) {
        *slash = '\0';
        if (mkdir(parent, 0755) < 0 && errno != EEXIST)
            return -errno;
    }
    if (mkdir(directory, 0755) < 0 && errno != EEXIST)
        return -errno;
    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int pin_files_save(const char *directory, const Pin *pin) {
    _cleanup_strbuf_ StrBuf b = {};
    _cleanup_close_ int fd = -EBADF;
    char name[PIN_FILE_NAME_MAX];
    int r;

    pin_write(&b, pin);
    if (b.error < 0)
        return b.error;
    fd = open_for_writing(directory);
    if (fd < 0)
        return fd;
    r = write_file_atomic_at(fd, pin_file_name(pin->path, name), b.text, b.length, 0644);
    /* On a disk, unlike in /run, the name can become durable before the content. */
    return r >= 0 && syncfs(fd) < 0 ? -errno : r;
}

/* Also removes an empty directory: while it exists, udev starts a program for each device. */
int pin_files_remove(const char *directory, const char *name) {
    _cleanup_close_ int fd = -EBADF;

    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || unlinkat(fd, name, 0) < 0)
        return -errno;
    if (fsync(fd) < 0)
        return -errno;
    (void) rmdir(directory);
    return 0;
}
