/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/user-name.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/str.h"

/* The names are for display only: users beyond this number are shown by uid. */
#define NAMES_MAX 65536U

typedef struct UserName {
    uid_t uid;
    size_t line;
    char name[USER_NAME_MAX];
} UserName;

static struct {
    UserName *items; /* owned; sorted by uid */
    size_t n;
} names;

void user_names_done(void) {
    free(names.items);
    names.items = NULL;
    names.n = 0;
}

static int compare_names(const void *a, const void *b) {
    const UserName *x = a, *y = b;

    if (x->uid != y->uid)
        return x->uid < y->uid ? -1 : 1;
    return x->line < y->line ? -1 : x->line > y->line;
}

/* "name:x:1000:…" */
static bool read_line(const char *line, size_t length, UserName *ret) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    const char *colon = memchr(line, ':', length), *uid, *end;
    size_t n = colon ? (size_t) (colon - line) : 0;
    char number[16] = "";
    uint64_t value;

    if (n == 0 || n >= USER_NAME_MAX || strspn(line, allowed) != n)
        return false;
    uid = memchr(colon + 1, ':', length - n - 1);
    end = uid ? memchr(uid + 1, ':', (size_t) (line + length - uid - 1)) : NULL;
    if (!end || (size_t) (end - uid - 1) >= sizeof(number))
        return false;
    memcpy(number, uid + 1, (size_t) (end - uid - 1));
    if (parse_unsigned(number, 10, UINT32_MAX - 1, &value) < 0)
        return false;
    ret->uid = (uid_t) value;
    memcpy(ret->name, line, n);
    ret->name[n] = '\0';
    return true;
}

int user_names_read(const char *passwd) {
    size_t allocated = 0, line = 0;

    user_names_done();
    while (*passwd && names.n < NAMES_MAX) {
        size_t length = strcspn(passwd, "\n");
        UserName found = {.line = line++};

        if (read_line(passwd, length, &found)) {
            if (names.n == allocated) {
                UserName *grown = reallocarray(names.items, allocated * 2 + 64, sizeof(*grown));

                if (!grown) {
                    user_names_done();
                    return -ENOMEM;
                }
                names.items = grown;
                allocated = allocated * 2 + 64;
            }
            names.items[names.n++] = found;
        }
        passwd += length + (passwd[length] == '\n');
    }
    if (names.n > 0)
        qsort(names.items, names.n, sizeof(*names.items), compare_names);
    return 0;
}

/* The first entry of this uid. */
static const UserName *find_name(uid_t uid) {
    size_t low = 0, high = names.n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (names.items[middle].uid < uid)
            low = middle + 1;
        else
            high = middle;
    }
    return low < names.n && names.items[low].uid == uid ? names.items + low : NULL;
}

const char *user_format(uid_t uid, char buf[static USER_TEXT_MAX]) {
    const UserName *found = find_name(uid);

    if (found)
        (void) snprintf(buf, USER_TEXT_MAX, "%s (%" PRIu32 ")", found->name, (uint32_t) uid);
    else
        (void) snprintf(buf, USER_TEXT_MAX, "uid %" PRIu32, (uint32_t) uid);
    return buf;
}

int user_names_set(uid_t uid, const char *name) {
    _cleanup_free_ char *line =
            format_string("%s:x:%" PRIu32 ":\n", strchr(name, ':') ? "" : name, (uint32_t) uid);

    return line ? user_names_read(line) : -ENOMEM;
}
