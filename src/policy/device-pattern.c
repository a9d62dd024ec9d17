/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/device-pattern.h"

#include <stdio.h>

#include "base/str.h"

/* A glob that can never match is refused when it is loaded, because the mistake is silent otherwise and in a
 * `deny` rule it lets through what it was written to stop: `06:*` looks right, but names begin with a domain.
 *
 * Whether a glob can match is decided exactly. The names of a bus are a regular language, here a small
 * automaton; the glob runs over the SET of states that the automaton may be in, and it can match when the
 * accepting state is in the set that remains. */

enum {
    /* 0..8: so many digits of the domain were seen; then one state behind each character. */
    STATE_DOMAIN_MIN = 4,
    STATE_DOMAIN_MAX = 8,
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

static const char alphabet[] = "0123456789abcdef:.";

static bool is_lower_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* The state behind c, -1 when no PCI address goes on like this. */
static int step(int state, char c) {
    if (state <= STATE_DOMAIN_MAX) {
        if (c == ':' && state >= STATE_DOMAIN_MIN)
            return STATE_BUS;
        return is_lower_hex(c) && state < STATE_DOMAIN_MAX ? state + 1 : -1;
    }
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

/* The states behind one element of a glob ("[0-3]", "?", "a"); glob_match() itself says what it matches. */
static unsigned step_element(unsigned states, const char *element) {
    unsigned behind = 0;

    for (const char *c = alphabet; *c; c++) {
        const char text[] = {*c, '\0'};

        if (!glob_match(element, text))
            continue;
        for (int s = 0; s < N_STATES; s++) {
            int next = states & 1U << s ? step(s, *c) : -1;

            if (next >= 0)
                behind |= 1U << next;
        }
    }
    return behind;
}

/* Any number of characters: everything that can be reached. any[s] is what one character leads to from s. */
static unsigned step_star(unsigned states, const unsigned any[static N_STATES]) {
    for (unsigned before = 0; before != states;) {
        before = states;
        for (int s = 0; s < N_STATES; s++)
            if (before & 1U << s)
                states |= any[s];
    }
    return states;
}

/* Length of the element at glob: a bracket expression to its end, else one character. 0: never closed. */
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

/* glob has no open bracket. */
static bool can_match(const char *glob) {
    unsigned states = 1, any[N_STATES];

    for (int s = 0; s < N_STATES; s++)
        any[s] = step_element(1U << s, "?");
    for (size_t n; *glob; glob += n) {
        char element[DEVICE_PATTERN_MAX + 1] = {};

        n = element_length(glob);
        memcpy(element, glob, n);
        states = *glob == '*' ? step_star(states, any) : step_element(states, element);
    }
    return states & 1U << STATE_ACCEPT;
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

static int check_glob(const char *glob, char *problem, size_t problem_size) {
    char with_domain[DEVICE_PATTERN_MAX + 6];

    if (has_open_bracket(glob)) {
        (void) snprintf(problem, problem_size, "has a '[' without ']'");
        return -EINVAL;
    }
    if (can_match(glob))
        return 0;
    (void) snprintf(with_domain, sizeof(with_domain), "0000:%s", glob);
    if (strlen(with_domain) <= DEVICE_PATTERN_MAX && can_match(with_domain))
        (void) snprintf(problem, problem_size,
                "can never match a name like 0000:06:0d.0, did you mean \"%s\"?", with_domain);
    else
        (void) snprintf(problem, problem_size, "can never match a name like 0000:06:0d.0");
    return -EINVAL;
}

int device_pattern_parse(const char *text, DevicePattern *ret, char *problem, size_t problem_size) {
    DevicePattern p = {};
    const char *rest;
    int r;

    if (strlen(text) > DEVICE_PATTERN_MAX) {
        (void) snprintf(problem, problem_size, "is longer than %u bytes", DEVICE_PATTERN_MAX);
        return -EINVAL;
    }
    if (!is_glob(text)) {
        p.exact = true;
        if (device_name_parse(text, &p.name) < 0) {
            (void) snprintf(problem, problem_size,
                    "is neither the name of a device, like pci:0000:06:0d.0, nor a glob over names");
            return -EINVAL;
        }
        *ret = p;
        return 0;
    }
    rest = startswith(text, "pci:");
    p.bus = rest ? BUS_PCI : _BUS_INVALID;
    rest = rest ?: text;
    for (size_t i = 0; rest[i]; i++)
        p.glob[i] = (char) (rest[i] >= 'A' && rest[i] <= 'Z' ? rest[i] - 'A' + 'a' : rest[i]);
    r = check_glob(p.glob, problem, problem_size);
    if (r < 0)
        return r;
    *ret = p;
    return 0;
}

bool device_pattern_match(const DevicePattern *pattern, const DeviceName *name, const char *kernel_name) {
    if (pattern->exact)
        return device_name_compare(&pattern->name, name) == 0;
    if ((int) pattern->bus >= 0 && pattern->bus != name->bus)
        return false;
    return glob_match(pattern->glob, kernel_name);
}
