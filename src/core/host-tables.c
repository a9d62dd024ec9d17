/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdio.h>

#include "base/str.h"
#include "core/host-tables.h"

/* The rest of a line, without its newline. */
typedef struct Line {
    const char *p, *end;
} Line;

static Line next_line(const char **cursor) {
    Line l = {.p = *cursor, .end = *cursor + strcspn(*cursor, "\n")};

    *cursor = *l.end ? l.end + 1 : l.end;
    return l;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

/* The next word, still escaped. */
static bool take_word(Line *l, Line *ret) {
    while (l->p < l->end && is_blank(*l->p))
        l->p++;
    if (l->p == l->end)
        return false;

    ret->p = l->p;
    while (l->p < l->end && !is_blank(*l->p))
        l->p++;
    ret->end = l->p;
    return true;
}

static bool skip_words(Line *l, unsigned n) {
    Line word;

    while (n-- > 0)
        if (!take_word(l, &word))
            return false;
    return true;
}

static bool word_is(const Line *word, const char *s) {
    size_t n = (size_t) (word->end - word->p);

    return strlen(s) == n && memcmp(word->p, s, n) == 0;
}

static bool is_octal(char c) {
    return c >= '0' && c <= '7';
}

/* The kernel writes space, tab, newline and backslash in paths as three octal digits (mangle_path). */
static bool word_unescape(const Line *word, char *ret, size_t size) {
    size_t n = 0;

    for (const char *p = word->p; p < word->end; p++) {
        unsigned char c = (unsigned char) *p;

        if (c == '\\' && word->end - p > 3 && is_octal(p[1]) && is_octal(p[2]) && is_octal(p[3])) {
            c = (unsigned char) ((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
            p += 3;
        }
        if (c == '\0' || n + 1 >= size)
            return false;
        ret[n++] = (char) c;
    }
    ret[n] = '\0';
    return true;
}

int parse_device_number(const char *s, unsigned *ret_major, unsigned *ret_minor) {
    const char *colon = strchr(s, ':');
    uint64_t major, minor;
    char digits[16];

    if (!colon || (size_t) (colon - s) >= sizeof(digits))
        return -EINVAL;
    memcpy(digits, s, (size_t) (colon - s));
    digits[colon - s] = '\0';
    /* the kernel has 12 and 20 bits */
    if (parse_unsigned(digits, 10, 0xfff, &major) < 0 || parse_unsigned(colon + 1, 10, 0xfffff, &minor) < 0)
        return -EINVAL;

    *ret_major = (unsigned) major;
    *ret_minor = (unsigned) minor;
    return 0;
}

/* 36 35 98:0 /root /target rw,noatime master:1 … - ext4 /dev/sda1 rw */
static bool parse_mount(Line *l, MountEntry *ret) {
    char number[32];
    Line word;

    if (!skip_words(l, 2) || !take_word(l, &word) || !word_unescape(&word, number, sizeof(number)) ||
            parse_device_number(number, &ret->major, &ret->minor) < 0)
        return false;
    if (!skip_words(l, 1) || !take_word(l, &word) ||
            !word_unescape(&word, ret->target, sizeof(ret->target)) || !skip_words(l, 1))
        return false;

    /* any number of tags, then "-" */
    do
        if (!take_word(l, &word))
            return false;
    while (!word_is(&word, "-"));

    if (!take_word(l, &word) || !word_unescape(&word, ret->type, sizeof(ret->type)))
        return false;
    return take_word(l, &word) && word_unescape(&word, ret->source, sizeof(ret->source));
}

int mountinfo_next(const char **cursor, MountEntry *ret) {
    Line l;

    if (!**cursor)
        return 0;
    l = next_line(cursor);
    return parse_mount(&l, ret) ? 1 : -EBADMSG;
}

int swaps_next(const char **cursor, char path[static PATH_MAX]) {
    while (**cursor) {
        Line l = next_line(cursor), word;

        if (!take_word(&l, &word))
            return -EBADMSG;
        if (word_is(&word, "Filename"))
            continue;
        return word_unescape(&word, path, PATH_MAX) ? 1 : -EBADMSG;
    }
    return 0;
}

/* Iface Destination Gateway Flags RefCnt Use Metric Mask … */
int route_table_has_default(const char *text, const char *interface) {
    const char *cursor = text;

    while (*cursor) {
        Line l = next_line(&cursor), name, destination, mask;

        if (!take_word(&l, &name) || !take_word(&l, &destination) || !skip_words(&l, 5) ||
                !take_word(&l, &mask))
            return -EBADMSG;
        if (word_is(&name, interface) && word_is(&destination, "00000000") && word_is(&mask, "00000000"))
            return 1;
    }
    return 0;
}

/* destination length source length gateway metric references use flags interface */
int ipv6_route_table_has_default(const char *text, const char *interface) {
    const char *cursor = text;

    while (*cursor) {
        Line l = next_line(&cursor), destination, length, name;

        if (!take_word(&l, &destination) || !take_word(&l, &length) || !skip_words(&l, 7) ||
                !take_word(&l, &name))
            return -EBADMSG;
        if (word_is(&name, interface) && word_is(&length, "00") &&
                word_is(&destination, "00000000000000000000000000000000"))
            return 1;
    }
    return 0;
}

/* Takes a letter and the number after it. */
static bool take_numbered(const char **p, const char *prefix, size_t *ret_length) {
    const char *s = startswith(*p, prefix);
    size_t n;

    if (!s)
        return false;
    n = strspn(s, "0123456789");
    if (n == 0)
        return false;
    *ret_length = n;
    *p = s + n;
    return true;
}

int nvme_path_to_head(const char *name, char *ret, size_t size) {
    size_t subsystem, controller, namespace;
    const char *p = name;
    int n;

    if (!take_numbered(&p, "nvme", &subsystem) || !take_numbered(&p, "c", &controller) ||
            !take_numbered(&p, "n", &namespace) || *p)
        return -EINVAL;

    n = snprintf(ret, size, "%.*s%s", (int) (strlen("nvme") + subsystem), name, p - namespace - strlen("n"));
    return n < 0 || (size_t) n >= size ? -EINVAL : 0;
}

/* Takes a number that ends with this byte. Returns the position after the byte, or NULL. */
static const char *take_number(const char *text, unsigned base, char end, uint64_t max, uint64_t *ret) {
    char digits[17]; /* a mask of 64 bits in hex; uids are shorter */
    size_t n = 0;

    while (n < sizeof(digits) && text[n] && text[n] != end)
        n++;
    if (n == sizeof(digits) || text[n] != end)
        return NULL;
    memcpy(digits, text, n);
    digits[n] = '\0';
    return parse_unsigned(digits, base, max, ret) < 0 ? NULL : text + n + 1;
}

/* The kernel escapes newlines in the process name, so a line always is what it seems to be. */
static bool take_uids(const char *text, ProcessStatus *ret) {
    unsigned *const uids[] = {
            &ret->uids.real, &ret->uids.effective, &ret->uids.saved, &ret->uids.file_system};
    const char *line = strstr(text, "\nUid:\t"), *p = line ? line + strlen("\nUid:\t") : NULL;

    for (size_t i = 0; p && i < ELEMENTSOF(uids); i++) {
        uint64_t uid = 0;

        p = take_number(p, 10, i + 1 < ELEMENTSOF(uids) ? '\t' : '\n', UINT32_MAX, &uid);
        *uids[i] = (unsigned) uid;
    }
    return p;
}

static bool take_mask(const char *text, const char *key, uint64_t *ret) {
    const char *line = strstr(text, key);

    return line && take_number(line + strlen(key), 16, '\n', UINT64_MAX, ret);
}

int process_status_parse(const char *text, ProcessStatus *ret) {
    ProcessStatus s;

    if (!take_uids(text, &s) || !take_mask(text, "\nCapEff:\t", &s.effective) ||
            !take_mask(text, "\nCapAmb:\t", &s.ambient))
        return -EBADMSG;
    *ret = s;
    return 0;
}

bool process_has_uid(const ProcessStatus *s, uid_t uid) {
    return s->uids.real == uid || s->uids.effective == uid;
}

bool process_needs_ambient(const ProcessStatus *s, uid_t uid) {
    return uid != 0 && s->effective != 0;
}

int process_capabilities(const ProcessStatus *s, uid_t uid, uint64_t *ret_sure, uint64_t *ret_unsure) {
    if (s->uids.real != uid || s->uids.effective != uid || s->uids.saved != uid || s->uids.file_system != uid)
        return -EPERM;
    *ret_sure = process_needs_ambient(s, uid) ? s->effective & s->ambient : s->effective;
    *ret_unsure = s->effective & ~*ret_sure;
    return 0;
}

int stat_start_ticks(const char *text, uint64_t *ret) {
    const char *p = strrchr(text, ')'); /* the name before it can contain any character */
    unsigned long long ticks;

    /* The third field follows; the start time is the 22nd. */
    for (unsigned field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    if (!p || sscanf(p, " %llu ", &ticks) != 1)
        return -EBADMSG;
    *ret = ticks;
    return 0;
}

char *status_command(const char *text) {
    const char *name = startswith(text, "Name:\t");
    size_t n = name ? strcspn(name, "\n") : 0;
    char *command = name ? malloc(n + 1) : NULL, *out = command;

    /* The kernel writes a newline as "\n" and a backslash as "\\". */
    for (size_t i = 0; command && i < n; i++) {
        bool escaped = name[i] == '\\' && i + 1 < n;

        if (escaped)
            i++;
        *out++ = escaped && name[i] == 'n' ? '\n' : name[i];
    }
    if (out)
        *out = '\0';
    return command;
}
