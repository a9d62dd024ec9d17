/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/device-pattern.h"

#include <stdio.h>

#include "base/str.h"
#include "core/device-kind.h"
#include "core/device-spelling.h"

/* A glob that can never match is refused when it is loaded. Otherwise the mistake is silent, and in a `deny`
 * rule it lets through what it was written to stop: `06:*` looks right, but names begin with a domain.
 *
 * Whether a glob can match is decided exactly. The names of a kind are a regular language, given here by a
 * small automaton. The glob is applied to the set of states that the automaton can be in. It can match when
 * an accepting state is in the final set. */

enum {
    /* After this many digits of the domain. The kernel prints it with %04x: a fifth digit never follows a
     * leading 0. */
    STATE_START,
    STATE_ZERO_FIRST = 1, /* up to 4 digits, the first of them 0 */
    STATE_ZERO_LAST = 4,
    STATE_OTHER_FIRST,                          /* up to 8 digits */
    STATE_OTHER_ENOUGH = STATE_OTHER_FIRST + 3, /* 4 of these */
    STATE_OTHER_LAST = STATE_OTHER_FIRST + 7,
    /* Then one state after each character. */
    STATE_BUS,
    STATE_BUS_DIGIT,
    STATE_BUS_END,
    STATE_SLOT,
    STATE_SLOT_DIGIT,
    STATE_SLOT_END,
    STATE_FUNCTION,
    STATE_ACCEPT,
    N_STATES,
};

static char ascii_lower(char c) {
    return (char) (c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static bool is_lower_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static int step_domain(int state, char c) {
    if (state == STATE_START)
        return !is_lower_hex(c) ? -1 : c == '0' ? STATE_ZERO_FIRST : STATE_OTHER_FIRST;
    if (c == ':')
        return state == STATE_ZERO_LAST || state >= STATE_OTHER_ENOUGH ? STATE_BUS : -1;
    return is_lower_hex(c) && state != STATE_ZERO_LAST && state != STATE_OTHER_LAST ? state + 1 : -1;
}

/* The state after c, -1 when no PCI address goes on like this. */
static int step_pci(int state, char c) {
    if (state <= STATE_OTHER_LAST)
        return step_domain(state, c);
    switch (state) {
    case STATE_BUS:
    case STATE_BUS_DIGIT:
    case STATE_SLOT_DIGIT:
        return is_lower_hex(c) ? state + 1 : -1;
    case STATE_BUS_END:
        return c == ':' ? STATE_SLOT : -1;
    case STATE_SLOT:
        return c == '0' || c == '1' ? STATE_SLOT_DIGIT : -1;
    case STATE_SLOT_END:
        return c == '.' ? STATE_FUNCTION : -1;
    case STATE_FUNCTION:
        return c >= '0' && c <= '7' ? STATE_ACCEPT : -1;
    default:
        return -1;
    }
}

#define UUID_LENGTH 36 /* one state after each character */

static int step_uuid(int state, char c) {
    bool hyphen = state == 8 || state == 13 || state == 18 || state == 23;

    if (state == UUID_LENGTH)
        return -1;
    return (hyphen ? c == '-' : is_lower_hex(c)) ? state + 1 : -1;
}

#define TEXT_LENGTH ((int) DEVICE_TEXT_MAX - 1) /* likewise, and each of them accepts */

static int step_text(int state, char c) {
    if (state == TEXT_LENGTH || !device_kind_text_has(c) || (state == 0 && strchr("._:@,+-", c)))
        return -1;
    return state + 1;
}

/* The language of the names of one kind. */
typedef struct Language {
    const char *alphabet;
    int (*step)(int state, char c);
    int n_states;
    uint64_t accepting; /* mask of states, as all sets below */
    bool any_case;
} Language;

#define BIT(state) (UINT64_C(1) << (state))

static const Language pci_language = {
        "0123456789abcdef:.", step_pci, N_STATES, BIT(STATE_ACCEPT), /* any_case= */ true};
static const Language uuid_language = {
        "0123456789abcdef-", step_uuid, UUID_LENGTH + 1, BIT(UUID_LENGTH), /* any_case= */ true};
static const Language text_language = {
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._:@,+-", step_text, TEXT_LENGTH + 1,
        BIT(TEXT_LENGTH + 1) - 1 - BIT(0), /* any_case= */ false};
static_assert(TEXT_LENGTH < 63, "a set of states must fit into 64 bits");

static const Language *language_of(DeviceKind kind) {
    return kind == DEVICE_KIND_PCI     ? &pci_language
            : kind == DEVICE_KIND_MDEV ? &uuid_language
                                       : &text_language;
}

static uint64_t step_all(const Language *l, uint64_t states, char c) {
    uint64_t behind = 0;

    for (int s = 0; s < l->n_states; s++) {
        int next = states & BIT(s) ? l->step(s, c) : -1;

        if (next >= 0)
            behind |= BIT(next);
    }
    return behind;
}

/* The states after one element of a glob ("[0-3]", "?", "a"). glob_match() decides which characters it
 * matches. */
static uint64_t step_element(const Language *l, uint64_t states, const char *element) {
    uint64_t behind = 0;

    for (const char *c = l->alphabet; *c; c++) {
        const char text[] = {*c, '\0'};

        if (glob_match(element, text))
            behind |= step_all(l, states, *c);
    }
    return behind;
}

/* Any number of characters: all states that can be reached. */
static uint64_t step_star(const Language *l, uint64_t states) {
    for (uint64_t before = 0; before != states;) {
        before = states;
        for (const char *c = l->alphabet; *c; c++)
            states |= step_all(l, states, *c);
    }
    return states;
}

/* Length of the element at glob: a bracket expression up to its end, otherwise one character. 0: not
 * closed. */
static size_t element_length(const char *glob) {
    const char *p = glob + 1;

    if (*glob != '[')
        return 1;
    if (*p == '!' || *p == '^')
        p++;
    if (*p)
        p++;
    p = strchr(p, ']');
    return p ? (size_t) (p - glob) + 1 : 0;
}

/* Every bracket in glob is closed. */
static bool can_match(DeviceKind kind, const char *glob) {
    const Language *l = language_of(kind);
    uint64_t states = BIT(0);

    for (size_t n; *glob; glob += n) {
        char element[DEVICE_PATTERN_MAX + 1] = {};

        n = element_length(glob);
        memcpy(element, glob, n);
        states = *glob == '*' ? step_star(l, states) : step_element(l, states, element);
    }
    return states & l->accepting;
}

static bool has_open_bracket(const char *glob) {
    for (size_t n; *glob; glob += n) {
        n = element_length(glob);
        if (n == 0)
            return true;
    }
    return false;
}

static bool is_glob(const char *s) {
    return strpbrk(s, "*?[") != NULL;
}

/* --- suggestions --- */

#define N_FIELDS 4U /* domain, bus, slot, function */

typedef struct Fields {
    const char *text[N_FIELDS]; /* of the glob, without separators */
    size_t length[N_FIELDS];
    size_t n;
} Fields;

/* Length of the field at glob: up to a character that people use as separator. */
static size_t field_length(const char *glob) {
    const char *p = glob;

    while (*p && !strchr(":._", *p))
        p += MAX(element_length(p), (size_t) 1);
    return (size_t) (p - glob);
}

/* False when these are not the fields of an address. */
static bool split_fields(const char *glob, Fields *ret) {
    *ret = (Fields){};
    for (;;) {
        size_t n = field_length(glob);

        if (n == 0 || ret->n == N_FIELDS)
            return false;
        ret->text[ret->n] = glob;
        ret->length[ret->n++] = n;
        if (glob[n] == '\0')
            return true;
        glob += n + 1;
    }
}

/* A field at its place in the address, with as many leading zeros as the kernel writes. */
static void add_field(StrBuf *b, const Fields *fields, size_t i, size_t place) {
    static const size_t widths[N_FIELDS] = {4, 2, 2, 1};
    const char *text = fields->text[i], *end = text + fields->length[i];
    size_t n = 0, stars = 0;

    for (const char *p = text; p < end; p += element_length(p)) {
        stars += *p == '*';
        n += *p != '*';
    }
    for (; n > widths[place] && *text == '0'; n--)
        text++;
    for (; stars == 0 && n < widths[place]; n++)
        strbuf_add(b, "0");
    strbuf_addf(b, "%.*s", (int) (end - text), text);
}

/* The glob with its first field at this place of the address. Owned by the caller; NULL when it can never
 * match. */
static char *respell_at(const Fields *fields, size_t place) {
    static const char *const before[N_FIELDS] = {"", "0000:", "*:", "*."};
    _cleanup_strbuf_ StrBuf b = {};
    _cleanup_free_ char *text = NULL;
    char glob[DEVICE_PATTERN_MAX + 1] = {};

    strbuf_add(&b, before[place]);
    for (size_t i = 0; i < fields->n; i++) {
        if (i > 0)
            strbuf_add(&b, place + i == N_FIELDS - 1 ? "." : ":");
        add_field(&b, fields, i, place + i);
    }
    text = strbuf_steal(&b);
    if (!text || strlen(text) > DEVICE_PATTERN_MAX)
        return NULL;
    for (size_t i = 0; text[i]; i++)
        glob[i] = ascii_lower(text[i]);
    return can_match(DEVICE_KIND_PCI, glob) ? TAKE_PTR(text) : NULL;
}

/* A suggestion for a glob that can never match: leading zeros as in nvidia-smi ("00000000:3B:00.*") or
 * missing, no domain, other separators ("pci_0000_06_*"). Upper and lower case are kept. NULL: none. */
static char *respell(const char *glob) {
    static const char *const prefixes[] = {"pci:", "pci_", "PCI:", "PCI_"};
    char *text = NULL;
    size_t first;
    Fields fields;

    for (size_t i = 0; i < ELEMENTSOF(prefixes); i++)
        if (startswith(glob, prefixes[i])) {
            glob += strlen(prefixes[i]);
            break;
        }
    if (!split_fields(glob, &fields))
        return NULL;
    /* "0000:06:*" has a domain, "06:*" has none. */
    first = fields.n == N_FIELDS || fields.length[0] > 2 ? 0 : 1;
    for (size_t place = first; !text && place + fields.n <= N_FIELDS; place++)
        text = respell_at(&fields, place);
    return text;
}

/* Writes the problem and the suggestion to ret. */
static int reject(const char *text, const char *problem, char *ret, size_t size) {
    _cleanup_free_ char *explained =
            is_glob(text) ? NULL : device_spelling_explain(text, /* in_pattern= */ true);
    _cleanup_free_ char *meant = NULL, *shown = NULL;

    if (explained && explained[0]) {
        (void) snprintf(ret, size, "%s%s", problem, explained);
        return -EINVAL;
    }
    meant = respell(text);
    shown = meant ? sanitize(meant, DEVICE_PATTERN_MAX) : NULL;
    if (shown)
        (void) snprintf(ret, size, "%s, did you mean \"%s\"?", problem, shown);
    else
        (void) snprintf(ret, size, "%s", problem);
    return -EINVAL;
}

int device_pattern_parse(const char *text, DevicePattern *ret, char *problem, size_t problem_size) {
    DevicePattern p = {};
    char never[80];
    const char *rest = text;

    if (strlen(text) > DEVICE_PATTERN_MAX) {
        (void) snprintf(problem, problem_size, "is longer than %u bytes", DEVICE_PATTERN_MAX);
        return -EINVAL;
    }
    if (!is_glob(text)) {
        p.exact = true;
        if (device_name_parse(text, &p.name) < 0)
            return reject(text,
                    "is neither the name of a device, like pci:0000:06:0d.0, nor a glob over names", problem,
                    problem_size);
        *ret = p;
        return 0;
    }
    p.kind = device_kind_of(text, &rest);
    if ((int) p.kind < 0)
        p.kind = DEVICE_KIND_PCI;
    for (size_t i = 0; rest[i]; i++)
        p.glob[i] = language_of(p.kind)->any_case ? ascii_lower(rest[i]) : rest[i];
    if (has_open_bracket(p.glob)) {
        (void) snprintf(problem, problem_size, "has a '[' without ']'");
        return -EINVAL;
    }
    if (can_match(p.kind, p.glob)) {
        *ret = p;
        return 0;
    }
    (void) snprintf(
            never, sizeof(never), "can never match a name like %s", device_kind_info(p.kind)->example);
    if (p.kind == DEVICE_KIND_PCI)
        return reject(text, never, problem, problem_size);
    (void) snprintf(problem, problem_size, "%s", never);
    return -EINVAL;
}

DeviceKind device_pattern_kind(const DevicePattern *pattern) {
    return pattern->exact ? (DeviceKind) pattern->name.kind : pattern->kind;
}

bool device_pattern_match(const DevicePattern *pattern, const DeviceName *name, const char *kernel_name) {
    if (pattern->exact)
        return device_name_compare(&pattern->name, name) == 0;
    return pattern->kind == (DeviceKind) name->kind && glob_match(pattern->glob, kernel_name);
}
