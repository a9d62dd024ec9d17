/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text: a growing buffer, safe printing of hostile bytes, and number parsing that refuses everything it
 * does not fully understand. */

#include <stdarg.h>

#include "base/macro.h"

/* Puts number in hex, with at least so many digits, and a NUL. Returns the place of the NUL. For what every
 * claim writes: snprintf() takes as long as a system call. */
char *put_hex(char *at, uint64_t number, unsigned digits);
/* As much of from as fits, and a NUL. */
void put_text(char *to, size_t size, const char *from);
/* The same of text with the number behind it. */
void put_numbered(char *to, size_t size, const char *text, int64_t number);

/* A growing, always NUL-terminated text. Failures stick: append as often as you like, ask once at the end. */
typedef struct StrBuf {
    char *text; /* owned; NULL while empty */
    size_t length, allocated;
    int error; /* 0 or -ENOMEM */
} StrBuf;

bool strbuf_grow(StrBuf *b, size_t more); /* for the next function */

/* Is there room for so many bytes more, and a NUL? Here and not in str.c, as is what follows: a record is 150
 * of these. */
static inline bool strbuf_reserve(StrBuf *b, size_t more) {
    return b->length + more + 1 <= b->allocated || strbuf_grow(b, more);
}

static inline void strbuf_add_bytes(StrBuf *b, const char *s, size_t n) {
    if (!strbuf_reserve(b, n))
        return;
    memcpy(b->text + b->length, s, n);
    b->length += n;
    b->text[b->length] = '\0';
}

static inline void strbuf_add(StrBuf *b, const char *s) {
    strbuf_add_bytes(b, s, strlen(s));
}

/* Any byte: for a protocol whose texts end with one. */
static inline void strbuf_add_byte(StrBuf *b, char c) {
    if (!strbuf_reserve(b, 1))
        return;
    b->text[b->length++] = c;
    b->text[b->length] = '\0';
}

/* So much will follow, about: it is put in one place at once. */
static inline void strbuf_expect(StrBuf *b, size_t n) {
    (void) strbuf_reserve(b, n);
}

void strbuf_addf(StrBuf *b, const char *format, ...) _printf_(2, 3);
void strbuf_add_number(StrBuf *b, int64_t number);
/* s as a JSON string, with its quotes. Bytes that are not UTF-8 become U+FFFD each: a document is always one.
 */
void strbuf_add_json(StrBuf *b, const char *s);
/* Returns the text (never NULL on success) to the caller and empties b; NULL on an earlier -ENOMEM. */
char *strbuf_steal(StrBuf *b);
void strbuf_done(StrBuf *b);
#define _cleanup_strbuf_ _cleanup_(strbuf_done)

/* asprintf that returns the string or NULL. */
char *format_string(const char *format, ...) _printf_(1, 2);

/* Replaces *p by a copy of s (NULL allowed). 0 or -ENOMEM; *p is untouched on failure. */
int free_and_strdup(char **p, const char *s);

/* A copy of at most max bytes of s in which every control character, DEL and invalid UTF-8 byte is written
 * \xNN, and a cut is marked "…". For anything that came from a client, a file or sysfs and goes to a log, a
 * terminal or a message. NULL on ENOMEM. */
char *sanitize(const char *s, size_t max);

/* How many of these n bytes, from the first on, are printable ASCII and neither quote nor backslash: most
 * texts are nothing else. */
size_t count_printable(const char *s, size_t n);

/* True when s is valid UTF-8 (no surrogates, noncharacters, overlong forms); D-Bus strings must be. */
bool utf8_is_valid(const char *s);

/* Digits only, no sign, no space, no leading junk; base 10 or 16 (no 0x). -EINVAL when not a number,
 * -ERANGE when above max. */
int parse_unsigned(const char *s, unsigned base, uint64_t max, uint64_t *ret);

/* Bytes: digits, and at most one of K, M, G, T behind them, the powers of 1024. -EINVAL when not a size,
 * -ERANGE when it does not fit. */
int parse_size(const char *s, uint64_t *ret);
#define FORMAT_SIZE_MAX 24U
/* The shortest form that parse_size() reads back: "16G", "4097". */
const char *format_size(uint64_t size, char buf[static FORMAT_SIZE_MAX]);

/* A shell-like glob with only '*', '?' and [] ranges, no path semantics; bounded work. */
bool glob_match(const char *pattern, const char *s);

/* The candidate nearest to s by edit distance, or NULL when none is near enough to be meant: for "did you
 * mean" in error messages. candidates ends with NULL. */
const char *nearest(const char *s, const char *const *candidates);
