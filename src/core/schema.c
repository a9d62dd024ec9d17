/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/schema.h"

#include <stdio.h>

#include "base/str.h"

#define SHOWN_MAX 64U

void problems_add(Problems *p, char *text) {
    if (!text) {
        p->out_of_memory = true;
        return;
    }
    if (p->n < PROBLEMS_MAX)
        p->texts[p->n] = text;
    else
        free(text);
    p->n++;
    if (p->n > PROBLEMS_MAX)
        (void) snprintf(
                p->more, sizeof(p->more), "and %zu more %ss", p->n - PROBLEMS_MAX, p->kind ?: "error");
}

char *problems_show(Problems *p, const char *s) {
    char *shown = sanitize(s, SHOWN_MAX);

    if (!shown)
        p->out_of_memory = true;
    return shown;
}

void problems_report(Problems *p, unsigned line, unsigned column, const char *format, ...) {
    _cleanup_free_ char *message = NULL;
    va_list ap;
    int r;

    if (p->out_of_memory)
        return;
    va_start(ap, format);
    r = vasprintf(&message, format, ap);
    va_end(ap);
    if (r < 0)
        message = NULL;
    problems_add(p,
            message ? format_string("%s:%u:%u: %s: %s", p->file, line, column, p->kind ?: "error", message)
                    : NULL);
}

void problems_report_unknown_word(
        Problems *p, const JsonNode *value, const char *what, const char *const *words) {
    _cleanup_free_ char *shown = problems_show(p, value->string);
    _cleanup_strbuf_ StrBuf known = {};
    const char *meant = nearest(value->string, words);

    if (meant) {
        problems_report_value(p, value, "unknown %s \"%s\", did you mean \"%s\"?", what, shown, meant);
        return;
    }
    for (size_t i = 0; words[i]; i++)
        strbuf_addf(&known, "%s\"%s\"", i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
    problems_report_value(p, value, "unknown %s \"%s\", expected %s", what, shown, known.text ?: "");
}

size_t problems_count(const Problems *p) {
    return MIN(p->n, (size_t) PROBLEMS_MAX + 1);
}

const char *problems_get(const Problems *p, size_t i) {
    assert(i < problems_count(p));

    return i < PROBLEMS_MAX ? p->texts[i] : p->more;
}

void problems_done(Problems *p) {
    for (size_t i = 0; i < MIN(p->n, (size_t) PROBLEMS_MAX); i++)
        free(p->texts[i]);
    *p = (Problems){};
}

const char *schema_describe_type(JsonType type) {
    static const char *const names[_JSON_TYPE_MAX] = {
            [JSON_NULL] = "null",
            [JSON_BOOLEAN] = "a boolean",
            [JSON_INTEGER] = "an integer",
            [JSON_REAL] = "a number that is not a 64-bit integer",
            [JSON_STRING] = "a string",
            [JSON_ARRAY] = "an array",
            [JSON_OBJECT] = "an object",
    };

    return names[type];
}

static int compare_elements(const void *a, const void *b) {
    const JsonNode *x = *(const JsonNode *const *) a, *y = *(const JsonNode *const *) b;
    int r = 0;

    if (x->type != y->type)
        return x->type < y->type ? -1 : 1;
    if (x->type == JSON_STRING)
        r = strcmp(x->string, y->string);
    else if (x->type == JSON_INTEGER && x->integer != y->integer)
        r = x->integer < y->integer ? -1 : 1;
    if (r != 0)
        return r;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    return x->column < y->column ? -1 : x->column > y->column;
}

static bool same_element(const JsonNode *x, const JsonNode *y) {
    if (x->type != y->type)
        return false;
    if (x->type == JSON_STRING)
        return streq(x->string, y->string);
    return x->type == JSON_INTEGER && x->integer == y->integer;
}

/* A repeated element was probably meant to be another one. */
static void check_repeated(Problems *p, const JsonNode *list) {
    _cleanup_free_ const JsonNode **elements = NULL;
    size_t n = 0;

    for (const JsonNode *e = list->children; e; e = e->next)
        n++;
    elements = malloc(n * sizeof(*elements));
    if (!elements) {
        p->out_of_memory = true;
        return;
    }
    n = 0;
    for (const JsonNode *e = list->children; e; e = e->next)
        elements[n++] = e;
    qsort(elements, n, sizeof(*elements), compare_elements);
    for (size_t i = 1; i < n; i++)
        if (same_element(elements[i - 1], elements[i]))
            problems_report_value(p, elements[i], "repeated in the list, first at %u:%u",
                    elements[i - 1]->line, elements[i - 1]->column);
}

static void take_one(const Key *key, const JsonNode *value, void *userdata) {
    if (key->take)
        key->take(userdata, value);
}

static void take_list(Problems *p, const Key *key, const JsonNode *list, void *userdata) {
    if (!list->children) {
        problems_report_value(p, list, "\"%s\" is an empty list, which matches nothing", key->name);
        return;
    }
    check_repeated(p, list);
    for (const JsonNode *e = list->children; e; e = e->next) {
        if (key->types & 1U << e->type)
            take_one(key, e, userdata);
        else
            problems_report_value(p, e, "an element of \"%s\" must be %s, found %s", key->name, key->expected,
                    schema_describe_type(e->type));
    }
}

void schema_take_value(Problems *p, const Key *key, const JsonNode *value, void *userdata) {
    if (key->types & 1U << value->type)
        take_one(key, value, userdata);
    else if (key->list && value->type == JSON_ARRAY)
        take_list(p, key, value, userdata);
    else
        problems_report_value(p, value, "\"%s\" must be %s%s, found %s", key->name, key->expected,
                key->list ? ", or a list of these" : "", schema_describe_type(value->type));
}

static const Key *find_key(const Key *keys, size_t n_keys, const char *name) {
    for (size_t i = 0; i < n_keys; i++)
        if (streq(keys[i].name, name))
            return keys + i;
    return NULL;
}

/* NULL: none is near. */
static const char *nearest_key(const char *name, const Key *keys, size_t n_keys) {
    const char *names[SCHEMA_KEYS_MAX + 1] = {};

    assert(n_keys <= SCHEMA_KEYS_MAX);

    for (size_t i = 0; i < n_keys; i++)
        names[i] = keys[i].name;
    return nearest(name, names);
}

static void report_unknown_key(
        Problems *p, const JsonNode *member, const char *where, const Key *keys, size_t n_keys) {
    _cleanup_free_ char *shown = problems_show(p, member->key);
    const char *meant = nearest_key(member->key, keys, n_keys);
    _cleanup_strbuf_ StrBuf known = {};

    for (size_t i = 0; i < n_keys; i++)
        strbuf_addf(&known, "%s\"%s\"", i == 0 ? "" : ", ", keys[i].name);
    if (meant)
        problems_report(p, member->key_line, member->key_column,
                "unknown key \"%s\" in %s, did you mean \"%s\"?", shown, where, meant);
    else
        problems_report(p, member->key_line, member->key_column, "unknown key \"%s\" in %s, known are %s",
                shown, where, known.text ?: "");
}

const JsonNode *schema_find_member(const JsonNode *object, const char *key) {
    for (const JsonNode *m = object->children; m; m = m->next)
        if (streq(m->key, key))
            return m;
    return NULL;
}

/* One mistake gives one error: when "efect" is reported, the missing "effect" is not. */
static bool is_misspelt(const JsonNode *object, const char *name, const Key *keys, size_t n_keys) {
    for (const JsonNode *m = object->children; m; m = m->next)
        if (!find_key(keys, n_keys, m->key) && streq_ptr(nearest_key(m->key, keys, n_keys), name))
            return true;
    return false;
}

void schema_take_keys(Problems *p, const JsonNode *object, const char *where, const Key *keys, size_t n_keys,
        void *userdata) {
    for (const JsonNode *m = object->children; m; m = m->next) {
        const Key *key = find_key(keys, n_keys, m->key);

        if (key)
            schema_take_value(p, key, m, userdata);
        else
            report_unknown_key(p, m, where, keys, n_keys);
    }
    for (size_t i = 0; i < n_keys; i++) {
        if (keys[i].required && !schema_find_member(object, keys[i].name) &&
                !is_misspelt(object, keys[i].name, keys, n_keys))
            problems_report_value(p, object, "%s requires the key \"%s\"", where, keys[i].name);
    }
}
