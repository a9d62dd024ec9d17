/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/str.h"

#include <stdio.h>

char *put_hex(char *at, uint64_t number, unsigned digits) {
    while (digits < 16 && number >> (4 * digits) != 0)
        digits++;
    for (unsigned i = digits; i > 0; i--) {
        at[i - 1] = "0123456789abcdef"[number & 0xf];
        number >>= 4;
    }
    at[digits] = '\0';
    return at + digits;
}

void put_text(char *to, size_t size, const char *from) {
    size_t n = strnlen(from, size - 1);

    memcpy(to, from, n);
    to[n] = '\0';
}

#define DIGITS_MAX 24U

/* Writes the digits at the end of buf, with a NUL after them. */
static const char *format_digits(int64_t number, char buf[static DIGITS_MAX]) {
    uint64_t rest = number < 0 ? -(uint64_t) number : (uint64_t) number;
    char *at = buf + DIGITS_MAX - 1;

    *at = '\0';
    do
        *--at = (char) ('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (number < 0)
        *--at = '-';
    return at;
}

void put_numbered(char *to, size_t size, const char *text, int64_t number) {
    char digits[DIGITS_MAX];
    size_t n;

    put_text(to, size, text);
    n = strlen(to);
    put_text(to + n, size - n, format_digits(number, digits));
}

bool strbuf_grow(StrBuf *b, size_t more) {
    size_t want = b->length + more + 1;
    char *text;

    if (b->error < 0)
        return false;
    want = MAX(want, b->allocated * 2);
    want = MAX(want, (size_t) 64);
    text = realloc(b->text, want);
    if (!text) {
        b->error = -ENOMEM;
        return false;
    }
    b->text = text;
    b->allocated = want;
    return true;
}

void strbuf_addf(StrBuf *b, const char *format, ...) {
    va_list ap, again;
    int n;

    va_start(ap, format);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    if (n < 0)
        b->error = -ENOMEM;
    else if (strbuf_reserve(b, (size_t) n)) {
        vsnprintf(b->text + b->length, (size_t) n + 1, format, again);
        b->length += (size_t) n;
    }
    va_end(again);
}

void strbuf_add_number(StrBuf *b, int64_t number) {
    char buf[DIGITS_MAX];
    const char *digits;

    if (number >= 0 && number <= 9) { /* most are */
        strbuf_add_byte(b, (char) ('0' + number));
        return;
    }
    digits = format_digits(number, buf);
    strbuf_add_bytes(b, digits, (size_t) (buf + DIGITS_MAX - 1 - digits));
}

char *strbuf_steal(StrBuf *b) {
    char *text;

    if (b->error >= 0 && !b->text)
        strbuf_add_bytes(b, "", 0);
    if (b->error < 0) {
        strbuf_done(b);
        return NULL;
    }
    text = TAKE_PTR(b->text);
    *b = (StrBuf){};
    return text;
}

void strbuf_done(StrBuf *b) {
    free(b->text);
    *b = (StrBuf){};
}

char *format_string(const char *format, ...) {
    va_list ap;
    char *s;
    int n;

    va_start(ap, format);
    n = vasprintf(&s, format, ap);
    va_end(ap);
    return n < 0 ? NULL : s;
}

int free_and_strdup(char **p, const char *s) {
    char *copy = NULL;

    if (s) {
        copy = strdup(s);
        if (!copy)
            return -ENOMEM;
    }
    free(*p);
    *p = copy;
    return 0;
}

/* Code points that are permanently reserved. RFC 3629 allows them, sd-bus does not send them. */
static bool is_noncharacter(uint32_t c) {
    return (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe;
}

/* Length of the valid UTF-8 sequence at s (1..4), 0 when there is none: no overlong forms, surrogates or
 * noncharacters, nothing above U+10FFFF. The NUL that ends s stops every look ahead. */
static size_t utf8_sequence(const char *s) {
    const unsigned char *u = (const unsigned char *) s;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = u[0] < 0x80 ? 1 : u[0] >= 0xf0 && u[0] < 0xf8 ? 4 : u[0] >= 0xe0 ? 3 : u[0] >= 0xc0 ? 2 : 0;
    uint32_t c;

    if (u[0] >= 0xf8)
        return 0;
    if (n <= 1)
        return n;
    c = u[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (u[i] & 0x3f);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) || is_noncharacter(c))
        return 0;
    return n;
}

bool utf8_is_valid(const char *s) {
    while (*s) {
        size_t n = utf8_sequence(s);

        if (n == 0)
            return false;
        s += n;
    }
    return true;
}

#define BYTES(value) (UINT64_C(0x0101010101010101) * (value))

/* Is one of these 8 bytes a quote, a backslash, below 0x20 or above 0x7e? The subtraction borrows across
 * bytes, so that the answer can be wrongly true, but never wrongly false. */
static bool has_special(uint64_t bytes) {
    uint64_t quote = bytes ^ BYTES('"'), backslash = bytes ^ BYTES('\\');

    return ((bytes | (bytes - BYTES(0x20)) | (bytes + BYTES(1)) | (quote - BYTES(1)) |
                    (backslash - BYTES(1))) &
                   BYTES(0x80)) != 0;
}

/* Copies fewer bytes than a word has. Is a byte of them special? */
static bool copy_few(char *to, const char *s, size_t n) {
    uint64_t bytes = BYTES(' ');

    if (n >= 4) { /* copies overlap */
        uint32_t first, last;

        memcpy(&first, s, sizeof(first));
        memcpy(&last, s + n - sizeof(last), sizeof(last));
        memcpy(to, &first, sizeof(first));
        memcpy(to + n - sizeof(last), &last, sizeof(last));
        bytes = (uint64_t) first << 32 | last;
    } else
        for (size_t i = 0; i < n; i++) {
            to[i] = s[i];
            bytes = bytes << 8 | (unsigned char) s[i];
        }
    return has_special(bytes);
}

/* Copies n bytes. Is one of them special? */
static bool copy_and_look(char *to, const char *s, size_t n) {
    bool special = false;
    uint64_t bytes;
    size_t i;

    if (n < sizeof(bytes))
        return copy_few(to, s, n);
    for (i = 0; i + sizeof(bytes) <= n; i += sizeof(bytes)) {
        memcpy(&bytes, s + i, sizeof(bytes));
        memcpy(to + i, &bytes, sizeof(bytes));
        special |= has_special(bytes);
    }
    memcpy(&bytes, s + n - sizeof(bytes), sizeof(bytes)); /* the last word, which overlaps the one before */
    memcpy(to + n - sizeof(bytes), &bytes, sizeof(bytes));
    return special || has_special(bytes);
}

size_t count_printable(const char *s, size_t n) {
    uint64_t bytes;
    size_t i = 0;

    for (; i + sizeof(bytes) <= n; i += sizeof(bytes)) {
        memcpy(&bytes, s + i, sizeof(bytes));
        if (has_special(bytes))
            break;
    }
    if (i > 0 && i + sizeof(bytes) > n) { /* the last word, which overlaps the one before */
        memcpy(&bytes, s + n - sizeof(bytes), sizeof(bytes));
        if (!has_special(bytes))
            return n;
    }
    while (i < n && s[i] >= 0x20 && s[i] < 0x7f && s[i] != '"' && s[i] != '\\')
        i++;
    return i;
}

/* How many bytes from s to end can be written to a JSON string unchanged. */
static size_t count_plain(const char *s, const char *end) {
    const char *start = s;

    s += count_printable(s, (size_t) (end - s));
    while ((unsigned char) *s >= 0x20 && *s != '"' && *s != '\\') {
        size_t n = (unsigned char) *s < 0x80 ? 1 : utf8_sequence(s);

        if (n == 0)
            break;
        s += n;
    }
    return (size_t) (s - start);
}

static void add_escaped(StrBuf *b, char c) {
    static const char shorts[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
    const char *found = strchr(shorts, c);

    if (found)
        strbuf_addf(b, "\\%c", letters[found - shorts]);
    else if ((unsigned char) c < 0x20)
        strbuf_addf(b, "\\u%04x", (unsigned char) c);
    else
        strbuf_add(b, "\xef\xbf\xbd");
}

static void add_json_slowly(StrBuf *b, const char *s, const char *end) {
    size_t n = count_plain(s, end);

    strbuf_add_byte(b, '"');
    strbuf_add_bytes(b, s, n);
    while ((s += n) < end) {
        add_escaped(b, *s++);
        n = count_plain(s, end);
        strbuf_add_bytes(b, s, n);
    }
    strbuf_add_byte(b, '"');
}

void strbuf_add_json(StrBuf *b, const char *s) {
    size_t n = strlen(s);
    char *to;

    if (!strbuf_reserve(b, n + 2))
        return;
    to = b->text + b->length;
    if (copy_and_look(to + 1, s, n)) { /* most texts need no escape */
        add_json_slowly(b, s, s + n);
        return;
    }
    to[0] = '"';
    memcpy(to + n + 1, "\"", 2); /* with the NUL */
    b->length += n + 2;
}

/* Characters that are invisible and change how the rest is read: C1 controls, marks that change the direction
 * of writing (a name could read as another), line and paragraph separators. n is the length of the valid
 * sequence at s. */
static bool is_deceptive(const char *s, size_t n) {
    const unsigned char *u = (const unsigned char *) s;

    if (n == 2)
        return (u[0] == 0xc2 && u[1] < 0xa0) || (u[0] == 0xd8 && u[1] == 0x9c);
    if (n != 3 || u[0] != 0xe2)
        return false;
    return (u[1] == 0x80 && ((u[2] >= 0x8b && u[2] <= 0x8f) || (u[2] >= 0xa8 && u[2] <= 0xae))) ||
            (u[1] == 0x81 && u[2] >= 0xa0 && u[2] <= 0xaf);
}

char *sanitize(const char *s, size_t max) {
    _cleanup_strbuf_ StrBuf b = {};
    const char *end = s + strnlen(s, max);

    while (s < end) {
        unsigned char c = (unsigned char) *s;
        size_t n = count_printable(s, (size_t) (end - s));

        if (n == 0)
            n = utf8_sequence(s);
        if (n == 0 || c < 0x20 || c == 0x7f || is_deceptive(s, n)) {
            strbuf_addf(&b, "\\x%02x", c);
            s++;
            continue;
        }
        if (s + n > end)
            break;
        strbuf_add_bytes(&b, s, n);
        s += n;
    }
    if (*s)
        strbuf_add(&b, "…");
    return strbuf_steal(&b);
}

static int digit_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int parse_unsigned(const char *s, unsigned base, uint64_t max, uint64_t *ret) {
    uint64_t v = 0;

    assert(base == 10 || base == 16);

    if (!*s)
        return -EINVAL;
    for (; *s; s++) {
        int d = digit_value(*s);

        if (d < 0 || (unsigned) d >= base)
            return -EINVAL;
        if (v > (UINT64_MAX - (unsigned) d) / base)
            return -ERANGE;
        v = v * base + (unsigned) d;
    }
    if (v > max)
        return -ERANGE;
    *ret = v;
    return 0;
}

static const char size_units[] = "KMGT";

int parse_size(const char *s, uint64_t *ret) {
    char digits[FORMAT_SIZE_MAX];
    size_t n = strspn(s, "0123456789");
    const char *unit = s[n] ? strchr(size_units, s[n]) : NULL;
    unsigned shift = unit ? 10 * (unsigned) (unit - size_units + 1) : 0;
    uint64_t v;
    int r;

    if (s[n] && (!unit || s[n + 1]))
        return -EINVAL;
    if (n >= sizeof(digits))
        return -ERANGE;
    memcpy(digits, s, n);
    digits[n] = '\0';
    r = parse_unsigned(digits, 10, UINT64_MAX >> shift, &v);
    if (r < 0)
        return r;
    *ret = v << shift;
    return 0;
}

const char *format_size(uint64_t size, char buf[static FORMAT_SIZE_MAX]) {
    unsigned unit = 0;

    while (size != 0 && size % 1024 == 0 && unit < strlen(size_units)) {
        size /= 1024;
        unit++;
    }
    (void) snprintf(buf, FORMAT_SIZE_MAX, "%llu%.1s", (unsigned long long) size,
            unit > 0 ? size_units + unit - 1 : "");
    return buf;
}

/* Does the bracket expression at p (after '[') contain c? *ret_end is the position after its ']', or NULL
 * when it is not closed. */
static bool glob_bracket(const char *p, char c, const char **ret_end) {
    bool negated = *p == '!' || *p == '^', found = false;

    if (negated)
        p++;
    for (bool first = true; *p && (first || *p != ']'); first = false) {
        if (p[1] == '-' && p[2] && p[2] != ']') {
            found |= (unsigned char) p[0] <= (unsigned char) c && (unsigned char) c <= (unsigned char) p[2];
            p += 3;
        } else
            found |= *p++ == c;
    }
    *ret_end = *p ? p + 1 : NULL;
    return found != negated;
}

/* Matches one pattern element with one character. *ret_next is the rest of the pattern. */
static bool glob_one(const char *p, char c, const char **ret_next) {
    const char *end;
    bool match;

    if (*p == '[') {
        match = glob_bracket(p + 1, c, &end);
        if (end) {
            *ret_next = end;
            return match;
        }
    }
    *ret_next = p + 1;
    return *p == '?' || *p == c;
}

/* Backtracks only to the last '*', so the work is bounded by the product of both lengths. fnmatch(3) has no
 * such bound, and patterns come from files. */
bool glob_match(const char *pattern, const char *s) {
    const char *star = NULL, *mark = NULL, *next;

    while (*s) {
        if (*pattern == '*') {
            star = ++pattern;
            mark = s;
        } else if (*pattern && glob_one(pattern, *s, &next)) {
            pattern = next;
            s++;
        } else if (star) {
            pattern = star;
            s = ++mark;
            /* A literal character after '*': skip to its next occurrence at once. */
            if (!strchr("*?[", *star)) {
                s = mark = strchr(s, *star);
                if (!s)
                    return false;
            }
        } else
            return false;
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

#define NEAREST_LENGTH_MAX 32U

/* Damerau-Levenshtein distance (optimal string alignment) of two short strings. */
static size_t edit_distance(const char *a, const char *b) {
    size_t d[NEAREST_LENGTH_MAX + 1][NEAREST_LENGTH_MAX + 1];
    size_t n = strlen(a), m = strlen(b);

    for (size_t i = 0; i <= n; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= m; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= n; i++)
        for (size_t j = 1; j <= m; j++) {
            d[i][j] = MIN(MIN(d[i - 1][j], d[i][j - 1]) + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = MIN(d[i][j], d[i - 2][j - 2] + 1);
        }
    return d[n][m];
}

const char *nearest(const char *s, const char *const *candidates) {
    const char *best = NULL;
    /* When more than a third of the word differs, another word was meant. */
    size_t limit = MAX(strlen(s) / 3, (size_t) 1);

    if (strlen(s) > NEAREST_LENGTH_MAX)
        return NULL;
    for (; *candidates; candidates++) {
        size_t distance;

        if (strlen(*candidates) > NEAREST_LENGTH_MAX)
            continue;
        distance = edit_distance(s, *candidates);
        if (distance <= limit && (!best || distance < limit)) {
            best = *candidates;
            limit = distance;
        }
    }
    return best;
}
