/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/json-text.h"

#include <locale.h>
#include <stdio.h>

#include "base/str.h"

/* A recursive descent over the bytes that keeps the line and column of the next byte. The depth of recursion
 * is bounded, as is the nesting of the text. Nodes and strings live in an arena, because a document is freed
 * as a whole.
 *
 * Duplicate keys are refused: readers disagree about which one counts, and a policy must have one meaning.
 * They are found by sorting the members when their object closes. A hash table could be made to collide by
 * the file's author.
 *
 * The first error ends the parse. It reports what was expected and what was found. */

static const char *const json_type_table[_JSON_TYPE_MAX] = {
        [JSON_NULL] = "null",
        [JSON_BOOLEAN] = "boolean",
        [JSON_INTEGER] = "integer",
        [JSON_REAL] = "number",
        [JSON_STRING] = "string",
        [JSON_ARRAY] = "array",
        [JSON_OBJECT] = "object",
};
DEFINE_STRING_TABLE(json_type, JsonType);

/* People do not write longer numbers, and strtod() of a million digits is slow. */
#define NUMBER_LENGTH_MAX 64U

#define ARENA_CHUNK_SIZE ((size_t) 16 * 1024)

typedef struct ArenaChunk ArenaChunk;
struct ArenaChunk {
    ArenaChunk *next;
    size_t used, size;
    max_align_t data[];
};

struct JsonDocument {
    ArenaChunk *chunks; /* the first one is being filled */
    JsonNode *root;
};

typedef struct Parser {
    const char *p, *end;
    unsigned line, column; /* of *p */
    unsigned depth;
    size_t n_nodes;
    const JsonBounds *bounds; /* borrowed */
    JsonDocument *document;
    JsonError *error;
} Parser;

static void *arena_allocate(JsonDocument *d, size_t size) {
    ArenaChunk *c = d->chunks;
    void *p;

    size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (!c || c->size - c->used < size) {
        size_t room = MAX(size, ARENA_CHUNK_SIZE);

        c = malloc(sizeof(*c) + room);
        if (!c)
            return NULL;
        *c = (ArenaChunk){.next = d->chunks, .size = room};
        d->chunks = c;
    }
    p = (char *) c->data + c->used;
    c->used += size;
    return memset(p, 0, size);
}

static int fail_at(Parser *p, unsigned line, unsigned column, const char *format, ...) _printf_(4, 5);
static int fail_at(Parser *p, unsigned line, unsigned column, const char *format, ...) {
    va_list ap;

    p->error->line = line;
    p->error->column = column;
    va_start(ap, format);
    (void) vsnprintf(p->error->message, sizeof(p->error->message), format, ap);
    va_end(ap);
    return -EBADMSG;
}
#define fail_here(p, ...) fail_at(p, (p)->line, (p)->column, __VA_ARGS__)

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
            c == '-' || c == '+' || c == '.';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

#define FOUND_MAX 48U

/* Describes what stands at the parser's position, in printable ASCII. */
static const char *found(const Parser *p, char buf[static FOUND_MAX]) {
    size_t left = (size_t) (p->end - p->p), n = 0;
    unsigned char c;

    if (left == 0)
        return "the end of the file";
    c = (unsigned char) *p->p;
    if (c == '"')
        return "a string";
    while (n < left && n < 20 && is_word(p->p[n]))
        n++;
    if (n > 0)
        (void) snprintf(buf, FOUND_MAX, "'%.*s%s'", (int) n, p->p, n < left && is_word(p->p[n]) ? "..." : "");
    else if (c > 0x20 && c < 0x7f)
        (void) snprintf(buf, FOUND_MAX, "'%c'", c);
    else
        (void) snprintf(buf, FOUND_MAX, "byte 0x%02x", c);
    return buf;
}

static bool at(const Parser *p, char c) {
    return p->p < p->end && *p->p == c;
}

static int fail_expected(Parser *p, const char *expected) {
    char buf[FOUND_MAX];

    return fail_here(p, "expected %s, found %s%s", expected, found(p, buf),
            at(p, '#') ? ": comments begin with //" : "");
}

/* A trailing comma, which JavaScript allows and JSON does not. */
static int fail_last_comma(Parser *p, const char *expected) {
    char buf[FOUND_MAX];

    return fail_here(p, "expected %s, found %s: trailing comma", expected, found(p, buf));
}

static bool at_pair(const Parser *p, const char *pair) {
    return p->end - p->p >= 2 && p->p[0] == pair[0] && p->p[1] == pair[1];
}

static void advance(Parser *p) {
    if (*p->p == '\n') {
        p->line++;
        p->column = 1;
    } else
        p->column++;
    p->p++;
}

static bool take(Parser *p, char c) {
    if (!at(p, c))
        return false;
    advance(p);
    return true;
}

/* Takes one character of any length. String literals and comments may contain every character but NUL. */
static int take_character(Parser *p) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char c = (unsigned char) *p->p;
    size_t n = c < 0x80 ? 1 : c >= 0xf8 ? 0 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 0;
    uint32_t code = n > 1 ? c & (0xffU >> (n + 1)) : c;

    if (c == 0)
        return fail_here(p, "NUL byte");
    if (n == 0 || (size_t) (p->end - p->p) < n)
        return fail_here(p, "invalid UTF-8: byte 0x%02x", c);
    for (size_t i = 1; i < n; i++) {
        unsigned char d = (unsigned char) p->p[i];

        if ((d & 0xc0) != 0x80)
            return fail_here(p, "invalid UTF-8: byte 0x%02x", c);
        code = code << 6 | (d & 0x3f);
    }
    /* overlong forms, surrogates, and values beyond Unicode */
    if (n > 1 && (code < least[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)))
        return fail_here(p, "invalid UTF-8: byte 0x%02x", c);
    for (size_t i = 0; i < n; i++)
        advance(p);
    return 0;
}

static int take_line_comment(Parser *p) {
    int r = 0;

    while (r >= 0 && p->p < p->end && *p->p != '\n')
        r = take_character(p);
    return r;
}

static int take_block_comment(Parser *p) {
    unsigned line = p->line, column = p->column;
    int r;

    advance(p);
    advance(p);
    while (!at_pair(p, "*/")) {
        if (p->p == p->end)
            return fail_at(p, line, column, "the comment that begins here has no end");
        r = take_character(p);
        if (r < 0)
            return r;
    }
    advance(p);
    advance(p);
    return 0;
}

static int skip_space(Parser *p) {
    int r = 0;

    while (r >= 0 && p->p < p->end) {
        if (*p->p == ' ' || *p->p == '\t' || *p->p == '\r' || *p->p == '\n')
            advance(p);
        else if (p->bounds->plain)
            break;
        else if (at_pair(p, "//"))
            r = take_line_comment(p);
        else if (at_pair(p, "/*"))
            r = take_block_comment(p);
        else
            break;
    }
    return r;
}

static int take_hex4(Parser *p, unsigned *ret) {
    unsigned v = 0;

    for (unsigned i = 0; i < 4; i++) {
        char digit[2] = {};
        uint64_t d;

        if (p->p < p->end)
            digit[0] = *p->p;
        if (parse_unsigned(digit, 16, 15, &d) < 0)
            return fail_expected(p, "four hex digits after '\\u'");
        v = v << 4 | (unsigned) d;
        advance(p);
    }
    *ret = v;
    return 0;
}

static char *put_utf8(char *out, unsigned code) {
    if (code < 0x80)
        *out++ = (char) code;
    else if (code < 0x800) {
        *out++ = (char) (0xc0 | code >> 6);
        *out++ = (char) (0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *out++ = (char) (0xe0 | code >> 12);
        *out++ = (char) (0x80 | (code >> 6 & 0x3f));
        *out++ = (char) (0x80 | (code & 0x3f));
    } else {
        *out++ = (char) (0xf0 | code >> 18);
        *out++ = (char) (0x80 | (code >> 12 & 0x3f));
        *out++ = (char) (0x80 | (code >> 6 & 0x3f));
        *out++ = (char) (0x80 | (code & 0x3f));
    }
    return out;
}

/* After "\u". line and column are those of the backslash. */
static int take_unicode_escape(Parser *p, unsigned line, unsigned column, char **out) {
    unsigned code, low;
    int r;

    r = take_hex4(p, &code);
    if (r < 0)
        return r;
    if (code == 0)
        return fail_at(p, line, column, "'\\u0000' is not allowed");
    if (code >= 0xdc00 && code <= 0xdfff)
        return fail_at(p, line, column, "the second half of a surrogate pair has no first half");
    if (code >= 0xd800 && code <= 0xdbff) {
        if (!at_pair(p, "\\u"))
            return fail_at(p, line, column, "the first half of a surrogate pair has no second half");
        advance(p);
        advance(p);
        r = take_hex4(p, &low);
        if (r < 0)
            return r;
        if (low < 0xdc00 || low > 0xdfff)
            return fail_at(p, line, column, "the first half of a surrogate pair has no second half");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    *out = put_utf8(*out, code);
    return 0;
}

static int take_escape(Parser *p, char **out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    unsigned line = p->line, column = p->column;
    const char *known;

    advance(p);
    if (take(p, 'u'))
        return take_unicode_escape(p, line, column, out);
    known = p->p < p->end && *p->p ? strchr(from, *p->p) : NULL;
    if (!known)
        return fail_expected(p, "one of \" \\ / b f n r t u after '\\'");
    *(*out)++ = to[known - from];
    advance(p);
    return 0;
}

/* After the opening quote. An escape is never shorter than the character it stands for, so a buffer of the
 * raw length is large enough. */
static size_t string_room(const Parser *p) {
    const char *s = p->p;

    while (s < p->end && *s != '"' && *s != '\n')
        s += *s == '\\' && s + 1 < p->end ? 2 : 1;
    return (size_t) (s - p->p);
}

static int take_string(Parser *p, const char **ret) {
    unsigned line = p->line, column = p->column;
    char *text, *out;
    int r;

    advance(p);
    text = out = arena_allocate(p->document, string_room(p) + 1);
    if (!text)
        return -ENOMEM;
    while (!at(p, '"')) {
        const char *from = p->p;
        size_t n = count_printable(from, (size_t) (p->end - from));

        if (n > 0) {
            out = mempcpy(out, from, n);
            p->p += n;
            p->column += (unsigned) n;
            continue;
        }
        if (p->p == p->end || *p->p == '\n')
            return fail_at(p, line, column, "the string that begins here has no end on its line");
        if (*p->p == '\\')
            r = take_escape(p, &out);
        else if ((unsigned char) *p->p < 0x20)
            r = fail_here(
                    p, "control character 0x%02x in a string: write it as an escape", (unsigned char) *p->p);
        else {
            r = take_character(p);
            if (r >= 0)
                out = mempcpy(out, from, (size_t) (p->p - from));
        }
        if (r < 0)
            return r;
    }
    advance(p);
    *out = '\0';
    *ret = text;
    return 0;
}

/* RFC 8259, section 6. Copies the number's text into buf and terminates it with NUL. */
static int take_number_text(Parser *p, char buf[static NUMBER_LENGTH_MAX + 1], bool *ret_integer) {
    unsigned line = p->line, column = p->column;
    const char *begin = p->p;
    bool integer = true;
    size_t n;

    (void) take(p, '-');
    if (take(p, '0')) {
        if (p->p < p->end && is_digit(*p->p))
            return fail_at(p, line, column, "a number must not begin with 0");
    } else if (p->p == p->end || !is_digit(*p->p))
        return fail_expected(p, "a digit after '-'");
    while (p->p < p->end && is_digit(*p->p))
        advance(p);
    if (take(p, '.')) {
        integer = false;
        if (p->p == p->end || !is_digit(*p->p))
            return fail_expected(p, "a digit after '.'");
        while (p->p < p->end && is_digit(*p->p))
            advance(p);
    }
    if (take(p, 'e') || take(p, 'E')) {
        integer = false;
        if (!take(p, '-'))
            (void) take(p, '+');
        if (p->p == p->end || !is_digit(*p->p))
            return fail_expected(p, "a digit in the exponent");
        while (p->p < p->end && is_digit(*p->p))
            advance(p);
    }
    n = (size_t) (p->p - begin);
    if (n > NUMBER_LENGTH_MAX)
        return fail_at(p, line, column, "the number has more than %u characters", NUMBER_LENGTH_MAX);
    memcpy(buf, begin, n);
    buf[n] = '\0';
    *ret_integer = integer;
    return 0;
}

static int take_number(Parser *p, JsonNode *n) {
    char buf[NUMBER_LENGTH_MAX + 1];
    bool integer = false, negative = *p->p == '-';
    locale_t c_locale;
    uint64_t v;
    int r;

    r = take_number_text(p, buf, &integer);
    if (r < 0)
        return r;
    if (integer && parse_unsigned(buf + negative, 10, (uint64_t) INT64_MAX + negative, &v) >= 0) {
        n->type = JSON_INTEGER;
        n->integer = negative ? (int64_t) -v : (int64_t) v;
        return 0;
    }
    /* The program's own locale may want another decimal point. */
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t) 0);
    if (!c_locale)
        return -ENOMEM;
    n->type = JSON_REAL;
    n->real = strtod_l(buf, NULL, c_locale);
    freelocale(c_locale);
    if (n->real > __DBL_MAX__ || n->real < -__DBL_MAX__)
        return fail_at(p, n->line, n->column, "the number is out of range");
    return 0;
}

static int take_literal(Parser *p, const char *expected, JsonNode *n) {
    static const struct {
        const char *word;
        JsonType type;
        bool boolean;
    } literals[] = {
            {"null", JSON_NULL, false},
            {"true", JSON_BOOLEAN, true},
            {"false", JSON_BOOLEAN, false},
    };
    size_t length = 0;

    while (p->p + length < p->end && is_word(p->p[length]))
        length++;
    for (size_t i = 0; i < ELEMENTSOF(literals); i++) {
        if (length != strlen(literals[i].word) || memcmp(p->p, literals[i].word, length) != 0)
            continue;
        while (length-- > 0)
            advance(p);
        n->type = literals[i].type;
        n->boolean = literals[i].boolean;
        return 0;
    }
    return fail_expected(p, expected);
}

static int take_value(Parser *p, const char *expected, JsonNode **ret);

/* After '['. */
static int take_array(Parser *p, JsonNode *array) {
    JsonNode **tail = &array->children;
    const char *expected = "a value or ']'";
    int r;

    for (;;) {
        r = skip_space(p);
        if (r < 0)
            return r;
        if (!array->children && take(p, ']'))
            return 0;
        if (array->children && at(p, ']'))
            return fail_last_comma(p, expected);
        r = take_value(p, expected, tail);
        if (r < 0)
            return r;
        tail = &(*tail)->next;
        r = skip_space(p);
        if (r < 0)
            return r;
        if (take(p, ']'))
            return 0;
        if (!take(p, ','))
            return fail_expected(p, "',' or ']' after the value");
        expected = "a value after ','";
    }
}

static int take_member(Parser *p, bool first, JsonNode **ret) {
    unsigned line = p->line, column = p->column;
    const char *key;
    int r;

    if (!first && at(p, '}'))
        return fail_last_comma(p, "a key in double quotes after ','");
    if (!at(p, '"'))
        return fail_expected(p, first ? "a key in double quotes or '}'" : "a key in double quotes after ','");
    r = take_string(p, &key);
    if (r < 0)
        return r;
    r = skip_space(p);
    if (r < 0)
        return r;
    if (!take(p, ':'))
        return fail_expected(p, "':' after the key");
    r = skip_space(p);
    if (r < 0)
        return r;
    r = take_value(p, "a value after ':'", ret);
    if (r < 0)
        return r;
    (*ret)->key = key;
    (*ret)->key_line = line;
    (*ret)->key_column = column;
    return 0;
}

static int compare_places(const JsonNode *a, const JsonNode *b) {
    if (a->key_line != b->key_line)
        return a->key_line < b->key_line ? -1 : 1;
    return a->key_column == b->key_column ? 0 : a->key_column < b->key_column ? -1 : 1;
}

static int compare_members(const void *a, const void *b) {
    const JsonNode *x = *(const JsonNode *const *) a, *y = *(const JsonNode *const *) b;
    int r = strcmp(x->key, y->key);

    return r != 0 ? r : compare_places(x, y);
}

/* Refuses the first member in the text whose key an earlier member has. */
static int check_duplicates(Parser *p, const JsonNode *object, size_t n_members) {
    _cleanup_free_ const JsonNode **members = NULL;
    const JsonNode *first = NULL, *again = NULL;
    _cleanup_free_ char *key = NULL;
    size_t n = 0;

    if (n_members < 2)
        return 0;
    members = malloc(n_members * sizeof(*members));
    if (!members)
        return -ENOMEM;
    for (const JsonNode *m = object->children; m; m = m->next)
        members[n++] = m;
    qsort(members, n, sizeof(*members), compare_members);
    for (size_t i = 1; i < n; i++) {
        if (!streq(members[i - 1]->key, members[i]->key) || (again && compare_places(again, members[i]) < 0))
            continue;
        first = members[i - 1];
        again = members[i];
    }
    if (!again)
        return 0;
    key = sanitize(again->key, 40);
    if (!key)
        return -ENOMEM;
    return fail_at(p, again->key_line, again->key_column, "duplicate key \"%s\", first at %u:%u", key,
            first->key_line, first->key_column);
}

/* After '{'. */
static int take_object(Parser *p, JsonNode *object) {
    JsonNode **tail = &object->children;
    size_t n = 0;
    int r;

    for (;;) {
        r = skip_space(p);
        if (r < 0)
            return r;
        if (n == 0 && take(p, '}'))
            return 0;
        r = take_member(p, n == 0, tail);
        if (r < 0)
            return r;
        tail = &(*tail)->next;
        n++;
        r = skip_space(p);
        if (r < 0)
            return r;
        if (take(p, '}'))
            return check_duplicates(p, object, n);
        if (!take(p, ','))
            return fail_expected(p, "',' or '}' after the value");
    }
}

static int take_nested(Parser *p, JsonNode *n) {
    int r;

    if (p->depth >= JSON_DEPTH_MAX)
        return fail_here(p, "nested more than %u deep", JSON_DEPTH_MAX);
    p->depth++;
    n->type = *p->p == '[' ? JSON_ARRAY : JSON_OBJECT;
    advance(p);
    r = n->type == JSON_ARRAY ? take_array(p, n) : take_object(p, n);
    p->depth--;
    return r;
}

/* *ret may be set when an error follows. The document is discarded then. */
static int take_value(Parser *p, const char *expected, JsonNode **ret) {
    JsonNode *n;

    if (p->n_nodes++ >= p->bounds->nodes)
        return fail_here(p, "more than %zu values", p->bounds->nodes);
    n = arena_allocate(p->document, sizeof(*n));
    if (!n)
        return -ENOMEM;
    n->line = p->line;
    n->column = p->column;
    *ret = n;
    if (at(p, '{') || at(p, '['))
        return take_nested(p, n);
    if (at(p, '"')) {
        n->type = JSON_STRING;
        return take_string(p, &n->string);
    }
    if (at(p, '-') || (p->p < p->end && is_digit(*p->p)))
        return take_number(p, n);
    if (p->p < p->end && *p->p >= 'a' && *p->p <= 'z')
        return take_literal(p, expected, n);
    return fail_expected(p, expected);
}

static int check_encoding(Parser *p, size_t size) {
    if (size > p->bounds->size)
        return fail_here(p, "larger than %zu bytes", p->bounds->size);
    if (size >= 3 && memcmp(p->p, "\xef\xbb\xbf", 3) == 0)
        return fail_here(p, "begins with a byte order mark: save the file without one");
    if (size >= 2 && (memcmp(p->p, "\xff\xfe", 2) == 0 || memcmp(p->p, "\xfe\xff", 2) == 0))
        return fail_here(p, "is UTF-16: save the file as UTF-8");
    return 0;
}

static int parse_whole(Parser *p, size_t size) {
    int r;

    r = check_encoding(p, size);
    if (r < 0)
        return r;
    r = skip_space(p);
    if (r < 0)
        return r;
    r = take_value(p, "a value", &p->document->root);
    if (r < 0)
        return r;
    r = skip_space(p);
    if (r < 0)
        return r;
    if (p->p < p->end)
        return fail_expected(p, "the end of the file after the value");
    return 0;
}

int json_document_parse(const char *text, size_t size, JsonDocument **ret, JsonError *error) {
    static const JsonBounds bounds = {.size = JSON_SIZE_MAX, .nodes = JSON_NODES_MAX};

    return json_document_parse_bounded(text, size, &bounds, ret, error);
}

int json_document_parse_bounded(
        const char *text, size_t size, const JsonBounds *bounds, JsonDocument **ret, JsonError *error) {
    _cleanup_(json_document_freep) JsonDocument *d = NULL;
    Parser p;
    int r;

    d = calloc(1, sizeof(*d));
    if (!d)
        return -ENOMEM;
    p = (Parser){.p = text,
            .end = text + size,
            .line = 1,
            .column = 1,
            .bounds = bounds,
            .document = d,
            .error = error};
    r = parse_whole(&p, size);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(d);
    return 0;
}

const JsonNode *json_document_root(const JsonDocument *d) {
    return d->root;
}

JsonDocument *json_document_free(JsonDocument *d) {
    if (!d)
        return NULL;
    while (d->chunks) {
        ArenaChunk *next = d->chunks->next;

        free(d->chunks);
        d->chunks = next;
    }
    free(d);
    return NULL;
}
