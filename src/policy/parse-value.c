/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Kinds of values that several keys use. */

#include <inttypes.h>

#include "policy/parser.h"

#define WANTED_MAX 256U
#define GLOB_MAX 255U

bool parser_grow(PolicyParser *p, void **list, size_t n, size_t size) {
    void *grown;

    if ((n & (n - 1)) != 0)
        return true;
    grown = reallocarray(*list, n == 0 ? 1 : 2 * n, size);
    if (!grown) {
        p->problems.out_of_memory = true;
        return false;
    }
    *list = grown;
    return true;
}

void parser_add_string(PolicyParser *p, StringList *list, const char *s) {
    _cleanup_free_ char *copy = strdup(s);

    if (!copy)
        p->problems.out_of_memory = true;
    else if (parser_grow(p, (void **) &list->items, list->n, sizeof(*list->items)))
        list->items[list->n++] = TAKE_PTR(copy);
}

/* --- values in the words of the file --- */

static void describe_text(StrBuf *b, const char *s) {
    _cleanup_free_ char *shown = sanitize(s, WANTED_MAX);

    if (!shown)
        b->error = -ENOMEM;
    strbuf_add(b, shown ?: "");
}

static void describe_scalar(StrBuf *b, const JsonNode *value) {
    if (value->type == JSON_INTEGER)
        strbuf_addf(b, "%" PRIi64, value->integer);
    else if (value->type == JSON_BOOLEAN)
        strbuf_add(b, value->boolean ? "true" : "false");
    else if (value->type == JSON_STRING)
        describe_text(b, value->string);
}

/* "alice, bob", "ID_BUS=usb, pci": for people only. */
static void describe_value(StrBuf *b, const JsonNode *value) {
    if (value->type != JSON_ARRAY && value->type != JSON_OBJECT) {
        describe_scalar(b, value);
        return;
    }
    for (const JsonNode *e = value->children; e; e = e->next) {
        if (e != value->children)
            strbuf_add(b, ", ");
        if (b->length >= WANTED_MAX) {
            strbuf_add(b, "…");
            return;
        }
        if (e->key) {
            describe_text(b, e->key);
            strbuf_add(b, "=");
        }
        describe_value(b, e);
    }
}

void parser_note_predicate(PolicyParser *p, PredicateKind kind, const JsonNode *value) {
    _cleanup_strbuf_ StrBuf b = {};
    Rule *r = &p->rule;
    char *text;

    r->predicates |= 1U << kind;
    strbuf_add(&b, "");
    describe_value(&b, value);
    if (!parser_grow(p, (void **) &r->wanted, r->n_wanted, sizeof(*r->wanted)))
        return;
    text = strbuf_steal(&b);
    if (!text) {
        p->problems.out_of_memory = true;
        return;
    }
    r->wanted[r->n_wanted++] = (Wanted){.kind = kind, .text = text};
}

void parser_note_predicates(PolicyParser *p, const char *prefix, const JsonNode *object) {
    for (const JsonNode *m = object->children; m; m = m->next)
        for (PredicateKind kind = 0; kind < _PREDICATE_MAX; kind++) {
            const char *rest = startswith(predicate_key(kind), prefix);

            if (rest && rest[0] == '.' && streq(rest + 1, m->key))
                parser_note_predicate(p, kind, m);
        }
}

/* --- kinds of values --- */

bool parser_check_not_empty(PolicyParser *p, const JsonNode *object) {
    if (object->children)
        return true;
    report_value(p, object, "\"%s\" is empty and has no effect", object->key);
    return false;
}

static bool has_open_bracket(const char *glob) {
    for (const char *s = glob; (s = strchr(s, '[')); s++) {
        const char *first = s + 1;

        if (*first == '!' || *first == '^')
            first++;
        if (*first)
            first++;
        s = strchr(first, ']');
        if (!s)
            return true;
    }
    return false;
}

static bool is_printable(const char *s) {
    for (; *s; s++)
        if ((unsigned char) *s < ' ' || *s == 0x7f)
            return false;
    return true;
}

bool parser_take_glob(PolicyParser *p, const JsonNode *value, StringList *list) {
    _cleanup_free_ char *shown = NULL;
    size_t n = strlen(value->string);

    if (n == 0 || n > GLOB_MAX || !is_printable(value->string)) {
        report_value(p, value, "a glob must have 1 to %u bytes, all printable", GLOB_MAX);
        return false;
    }
    if (has_open_bracket(value->string)) {
        shown = show(p, value->string);
        report_value(p, value, "\"%s\" has a '[' without ']'", shown);
        return false;
    }
    if (!parser_check_foreign_glob(p, value))
        return false;
    parser_add_string(p, list, value->string);
    return true;
}

bool parser_take_size(PolicyParser *p, const JsonNode *value, uint64_t *ret) {
    _cleanup_free_ char *shown = NULL;

    if (value->type == JSON_INTEGER) {
        if (value->integer < 0) {
            report_value(p, value, "a number of bytes cannot be less than 0");
            return false;
        }
        *ret = (uint64_t) value->integer;
        return true;
    }
    if (parse_size(value->string, ret) >= 0 && *ret <= INT64_MAX)
        return true;
    shown = show(p, value->string);
    report_value(p, value,
            "\"%s\" is not a size, expected a number and an optional suffix K, M, G or T, like \"16G\"",
            shown);
    return false;
}

bool parser_take_number(PolicyParser *p, const JsonNode *value, uint64_t min, uint64_t max, uint64_t *ret) {
    if (value->integer < 0 || (uint64_t) value->integer < min || (uint64_t) value->integer > max) {
        report_value(p, value, "this must be a number from %" PRIu64 " to %" PRIu64, min, max);
        return false;
    }
    *ret = (uint64_t) value->integer;
    return true;
}

int parser_take_word(PolicyParser *p, const JsonNode *value, const char *what, const char *const *words) {
    for (int i = 0; words[i]; i++)
        if (streq(words[i], value->string))
            return i;
    problems_report_unknown_word(&p->problems, value, what, words);
    return -EINVAL;
}
