/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/user-name.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/str.h"

/* The names are for display only: accounts beyond this number are shown by number. */
#define NAMES_MAX 65536U

typedef struct Name {
    uint32_t id;
    size_t line;
    char name[USER_NAME_MAX];
} Name;

typedef struct Names {
    Name *items; /* owned; sorted by id */
    size_t n;
} Names;

static Names users, groups;

static void names_done(Names *names) {
    free(names->items);
    *names = (Names){};
}

void user_names_done(void) {
    names_done(&users);
    names_done(&groups);
}

static int compare_names(const void *a, const void *b) {
    const Name *x = a, *y = b;

    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->line < y->line ? -1 : x->line > y->line;
}

/* "name:x:1000:…" */
static bool read_line(const char *line, size_t length, Name *ret) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    const char *colon = memchr(line, ':', length), *id, *end;
    size_t n = colon ? (size_t) (colon - line) : 0;
    char number[16] = "";
    uint64_t value;

    if (n == 0 || n >= USER_NAME_MAX || strspn(line, allowed) != n)
        return false;
    id = memchr(colon + 1, ':', length - n - 1);
    end = id ? memchr(id + 1, ':', (size_t) (line + length - id - 1)) : NULL;
    if (!end || (size_t) (end - id - 1) >= sizeof(number))
        return false;
    memcpy(number, id + 1, (size_t) (end - id - 1));
    if (parse_unsigned(number, 10, UINT32_MAX - 1, &value) < 0)
        return false;
    ret->id = (uint32_t) value;
    memcpy(ret->name, line, n);
    ret->name[n] = '\0';
    return true;
}

static int read_names(Names *names, const char *text) {
    size_t allocated = 0, line = 0;

    names_done(names);
    while (*text && names->n < NAMES_MAX) {
        size_t length = strcspn(text, "\n");
        Name found = {.line = line++};

        if (read_line(text, length, &found)) {
            if (names->n == allocated) {
                Name *grown = reallocarray(names->items, allocated * 2 + 64, sizeof(*grown));

                if (!grown) {
                    names_done(names);
                    return -ENOMEM;
                }
                names->items = grown;
                allocated = allocated * 2 + 64;
            }
            names->items[names->n++] = found;
        }
        text += length + (text[length] == '\n');
    }
    if (names->n > 0)
        qsort(names->items, names->n, sizeof(*names->items), compare_names);
    return 0;
}

int user_names_read(const char *passwd) {
    return read_names(&users, passwd);
}

int group_names_read(const char *group) {
    return read_names(&groups, group);
}

/* The first entry of this id. */
static const Name *find_name(const Names *names, uint32_t id) {
    size_t low = 0, high = names->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (names->items[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < names->n && names->items[low].id == id ? names->items + low : NULL;
}

static const char *format(const Names *names, const char *kind, uint32_t id, char *buf) {
    const Name *found = find_name(names, id);

    if (found)
        (void) snprintf(buf, USER_TEXT_MAX, "%s (%" PRIu32 ")", found->name, id);
    else
        (void) snprintf(buf, USER_TEXT_MAX, "%s %" PRIu32, kind, id);
    return buf;
}

const char *user_format(uid_t uid, char buf[static USER_TEXT_MAX]) {
    return format(&users, "uid", uid, buf);
}

const char *group_format(gid_t gid, char buf[static USER_TEXT_MAX]) {
    return format(&groups, "gid", gid, buf);
}

int user_names_set(uid_t uid, const char *name) {
    _cleanup_free_ char *line =
            format_string("%s:x:%" PRIu32 ":\n", strchr(name, ':') ? "" : name, (uint32_t) uid);

    return line ? user_names_read(line) : -ENOMEM;
}
