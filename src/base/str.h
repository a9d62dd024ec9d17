/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text: a growing buffer, safe printing of hostile bytes, and strict parsing of numbers. */

#include <stdarg.h>

#include "base/macro.h"

/* Writes number in hex with at least `digits` digits, and a NUL. Returns the position of the NUL. It exists
 * for speed, as does put_numbered(): every claim writes such texts, and snprintf() takes as long as a system
 * call. */
char *put_hex(char *at, uint64_t number, unsigned digits);
/* Copies as much of from as fits, and a NUL. */
void put_text(char *to, size_t size, const char *from);
/* The same with number in decimal after text. */
void put_numbered(char *to, size_t size, const char *text, int64_t number);

/* A growing text that always ends with NUL. It remembers a failure: append as often as needed, then check
 * once at the end. */
typedef struct StrBuf {
    char *text; /* owned; NULL while empty */
    size_t length, allocated;
    int error; /* 0 or -ENOMEM */
} StrBuf;

bool strbuf_grow(StrBuf *b, size_t more); /* used by strbuf_reserve() only */

/* Makes room for `more` bytes and a NUL; false on failure. This and the next functions are inline, because
 * one record takes 150 calls. */
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

/* Appends any byte, also NUL, which ends a Varlink message. */
static inline void strbuf_add_byte(StrBuf *b, char c) {
    if (!strbuf_reserve(b, 1))
        return;
    b->text[b->length++] = c;
    b->text[b->length] = '\0';
}

/* Allocates room for about n bytes that will follow. */
static inline void strbuf_expect(StrBuf *b, size_t n) {
    (void) strbuf_reserve(b, n);
}

void strbuf_addf(StrBuf *b, const char *format, ...) _printf_(2, 3);
void strbuf_add_number(StrBuf *b, int64_t number);
/* Appends s as a JSON string with its quotes. Each byte that is not UTF-8 becomes U+FFFD, so that the
 * document is valid. */
void strbuf_add_json(StrBuf *b, const char *s);
/* Hands the text (never NULL on success) over to the caller and empties b. NULL after a failure. */
char *strbuf_steal(StrBuf *b);
void strbuf_done(StrBuf *b);
#define _cleanup_strbuf_ _cleanup_(strbuf_done)

/* asprintf that returns the string or NULL. */
char *format_string(const char *format, ...) _printf_(1, 2);

/* Replaces *p by a copy of s (NULL allowed). 0 or -ENOMEM; *p is untouched on failure. */
int free_and_strdup(char **p, const char *s);

/* Copies at most max bytes of s. Control characters, DEL and bytes that are not UTF-8 become \xNN, and a cut
 * text ends with "…". For text from a client, a file or sysfs that goes to a log, a terminal or a message.
 * NULL on ENOMEM. */
char *sanitize(const char *s, size_t max);

/* How many of the n bytes at s, counted from the first, are printable ASCII and neither a quote nor a
 * backslash. Most texts contain nothing else. */
size_t count_printable(const char *s, size_t n);

/* True when s is valid UTF-8 (no surrogates, noncharacters, overlong forms); D-Bus strings must be. */
bool utf8_is_valid(const char *s);

/* Digits only, no sign, no space, no leading junk; base 10 or 16 (no 0x). -EINVAL when not a number,
 * -ERANGE when above max. */
int parse_unsigned(const char *s, unsigned base, uint64_t max, uint64_t *ret);

/* A number of bytes: digits, and optionally K, M, G or T, the powers of 1024. -EINVAL when it is not a size,
 * -ERANGE when it does not fit. */
int parse_size(const char *s, uint64_t *ret);
#define FORMAT_SIZE_MAX 24U
/* The shortest form that parse_size() accepts: "16G", "4097". */
const char *format_size(uint64_t size, char buf[static FORMAT_SIZE_MAX]);

/* A glob with '*', '?' and [] ranges only. '/' is not special. The work is bounded. */
bool glob_match(const char *pattern, const char *s);

/* The candidate nearest to s by edit distance, or NULL when none is near enough, for "did you mean" in
 * messages. candidates ends with NULL. */
const char *nearest(const char *s, const char *const *candidates);
