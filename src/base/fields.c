/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/fields.h"

#include <inttypes.h>
#include <stdio.h>

#define FIELDS_MAX 48U

/* ---- Reading ---- */

int fields_fail(FieldReader *r, const JsonNode *value, const char *format, ...) {
    char message[512];
    va_list ap;

    va_start(ap, format);
    (void) vsnprintf(message, sizeof(message), format, ap);
    va_end(ap);
    free(r->problem);
    r->problem = format_string("%s (line %u): %s", r->path[0] ? r->path : r->name, value->line, message);
    return r->problem ? -EBADMSG : -ENOMEM;
}

/* Enters a member or element. fields_leave() takes the returned length, which restores the path. */
size_t fields_enter_member(FieldReader *r, const char *key) {
    size_t n = strlen(r->path);
    char *printable = sanitize(key, 40);

    (void) snprintf(r->path + n, sizeof(r->path) - n, "%s%s", n > 0 ? "." : "", printable ?: "?");
    free(printable);
    return n;
}

size_t fields_enter_element(FieldReader *r, size_t index) {
    size_t n = strlen(r->path);

    (void) snprintf(r->path + n, sizeof(r->path) - n, "[%zu]", index);
    return n;
}

int fields_expect(FieldReader *r, const JsonNode *value, JsonType type) {
    if (value->type == type)
        return 0;
    return fields_fail(
            r, value, "expected %s, found %s", json_type_to_string(type), json_type_to_string(value->type));
}

static void put_number(void *place, size_t size, int64_t number) {
    switch (size) {
    case 1:
        *(uint8_t *) place = (uint8_t) number;
        break;
    case 2:
        *(uint16_t *) place = (uint16_t) number;
        break;
    case 4:
        *(uint32_t *) place = (uint32_t) number;
        break;
    default:
        assert(size == 8);
        *(uint64_t *) place = (uint64_t) number;
    }
}

static int read_number(FieldReader *r, const JsonNode *value, const Field *f, void *place) {
    if (value->integer < f->min || value->integer > f->max)
        return fields_fail(
                r, value, "%" PRId64 " is not from %" PRId64 " to %" PRId64, value->integer, f->min, f->max);
    put_number(place, f->size, value->integer);
    return 0;
}

static int read_text(FieldReader *r, const JsonNode *value, const Field *f, void *place) {
    if (strlen(value->string) >= f->size)
        return fields_fail(r, value, "longer than %zu bytes", f->size - 1);
    strcpy(place, value->string);
    return 0;
}

static int find_word(FieldReader *r, const JsonNode *value, const FieldWords *words) {
    int v = words->from_string(value->string);

    if (v >= 0)
        return v;
    return words->unknown > 0 ? words->unknown : fields_fail(r, value, "not %s", words->what);
}

static int read_word(FieldReader *r, const JsonNode *value, const Field *f, void *place) {
    int v = find_word(r, value, f->words);

    if (v < 0)
        return v;
    *(int *) place = v;
    return 0;
}

static int read_words(FieldReader *r, const JsonNode *list, const Field *f, void *place) {
    unsigned mask = 0;
    size_t index = 0;

    for (const JsonNode *n = list->children; n; n = n->next) {
        size_t depth = fields_enter_element(r, index++);
        int v = fields_expect(r, n, JSON_STRING);

        if (v >= 0)
            v = find_word(r, n, f->words);
        if (v < 0)
            return v;
        mask |= 1U << v;
        fields_leave(r, depth);
    }
    *(unsigned *) place = mask;
    return 0;
}

/* Room for a power of two, because the lists are grown by doubling later. */
static int allocate(const Field *f, size_t n, void *place) {
    size_t room = 1;

    while (room < n)
        room *= 2;
    *(void **) place = calloc(room, f->size);
    return *(void **) place ? 0 : -ENOMEM;
}

static size_t count_children(const JsonNode *n) {
    size_t count = 0;

    for (const JsonNode *c = n->children; c; c = c->next)
        count++;
    return count;
}

static int read_array(FieldReader *r, const JsonNode *list, const Field *f, void *place, size_t *count) {
    size_t n = count_children(list);
    char *elements = place;
    int e;

    if (n < (size_t) f->min || n > (size_t) f->max)
        return fields_fail(r, list, "%zu elements are not from %" PRId64 " to %" PRId64, n, f->min, f->max);
    if (f->flags & FIELD_ALLOCATED) {
        if (n == 0)
            return 0;
        e = allocate(f, n, place);
        if (e < 0)
            return e;
        elements = *(void **) place;
    }
    for (const JsonNode *c = list->children; c; c = c->next) {
        size_t depth = fields_enter_element(r, *count);
        void *element = elements + f->size * (*count)++;

        e = f->table ? fields_read(r, c, f->table, element) : fields_read_value(r, c, f->element, element);
        if (e < 0)
            return e;
        fields_leave(r, depth);
    }
    return 0;
}

static JsonType type_of(const Field *f) {
    static const JsonType types[] = {
            [FIELD_BOOLEAN] = JSON_BOOLEAN,
            [FIELD_NUMBER] = JSON_INTEGER,
            [FIELD_TEXT] = JSON_STRING,
            [FIELD_STRING] = JSON_STRING,
            [FIELD_WORD] = JSON_STRING,
            [FIELD_WORDS] = JSON_ARRAY,
            [FIELD_OBJECT] = JSON_OBJECT,
            [FIELD_ARRAY] = JSON_ARRAY,
    };

    return f->kind == FIELD_CUSTOM || f->kind == FIELD_IGNORED ? f->type : types[f->kind];
}

/* place points to the value itself, not to a struct around it. */
int fields_read_value(FieldReader *r, const JsonNode *value, const Field *f, void *place) {
    bool any = f->kind == FIELD_IGNORED && f->type == JSON_NULL;
    int e = any ? 0 : fields_expect(r, value, type_of(f));

    if (e < 0)
        return e;
    switch (f->kind) {
    case FIELD_IGNORED:
        return 0;
    case FIELD_BOOLEAN:
        *(bool *) place = value->boolean;
        return 0;
    case FIELD_NUMBER:
        return read_number(r, value, f, place);
    case FIELD_TEXT:
        return read_text(r, value, f, place);
    case FIELD_STRING:
        return free_and_strdup(place, value->string[0] ? value->string : NULL);
    case FIELD_WORD:
        return read_word(r, value, f, place);
    case FIELD_WORDS:
        return read_words(r, value, f, place);
    case FIELD_OBJECT:
        return fields_read(r, value, f->table, place);
    case FIELD_CUSTOM:
        return f->read(r, value, place);
    case FIELD_ARRAY:
        break; /* custom fields work on the struct around them */
    }
    return -EINVAL;
}

static int fail_unknown(FieldReader *r, const JsonNode *value, const FieldTable *t) {
    const char *names[FIELDS_MAX + 1] = {}, *meant;

    assert(t->n <= FIELDS_MAX);
    for (size_t i = 0; i < t->n; i++)
        names[i] = t->fields[i].name;
    meant = nearest(value->key, names);
    return fields_fail(r, value, "unknown member%s%s%s", meant ? "; did you mean '" : "", meant ?: "",
            meant ? "'?" : "");
}

static int read_member(FieldReader *r, const JsonNode *m, const FieldTable *t, char *target, bool *seen) {
    size_t i = 0;
    const Field *f;
    int e;

    while (i < t->n && !streq(t->fields[i].name, m->key))
        i++;
    if (i == t->n)
        return t->open ? 0 : fail_unknown(r, m, t);
    f = &t->fields[i];
    seen[i] = true;
    if (f->kind == FIELD_ARRAY) {
        e = fields_expect(r, m, JSON_ARRAY);
        if (e >= 0)
            e = read_array(r, m, f, target + f->offset, (size_t *) (void *) (target + f->count));
    } else
        e = fields_read_value(r, m, f, target + f->offset);
    if (e >= 0 && f->flags & FIELD_IF_KNOWN)
        *(bool *) (target + f->known) = true;
    if (e >= 0 && f->fact)
        *(unsigned *) (void *) (target + t->facts) |= f->fact;
    return e;
}

int fields_read(FieldReader *r, const JsonNode *object, const FieldTable *t, void *target) {
    bool seen[FIELDS_MAX] = {};
    int e;

    assert(t->n <= FIELDS_MAX);
    e = fields_expect(r, object, JSON_OBJECT);
    for (const JsonNode *m = object->children; e >= 0 && m; m = m->next) {
        size_t depth = fields_enter_member(r, m->key);

        e = read_member(r, m, t, target, seen);
        if (e >= 0)
            fields_leave(r, depth);
    }
    for (size_t i = 0; e >= 0 && i < t->n; i++)
        if (t->fields[i].flags & FIELD_REQUIRED && !seen[i])
            e = fields_fail(r, object, "\"%s\" is missing", t->fields[i].name);
    return e >= 0 && t->check ? t->check(r, object, target) : e;
}

/* ---- Writing ---- */

static int64_t get_number(const void *place, size_t size, bool is_signed) {
    switch (size) {
    case 1:
        return is_signed ? (int64_t) * (const int8_t *) place : (int64_t) * (const uint8_t *) place;
    case 2:
        return is_signed ? (int64_t) * (const int16_t *) place : (int64_t) * (const uint16_t *) place;
    case 4:
        return is_signed ? (int64_t) * (const int32_t *) place : (int64_t) * (const uint32_t *) place;
    default:
        assert(size == 8);
        return *(const int64_t *) place;
    }
}

/* The table does not know whether the member is signed. That makes no difference where the range fits the
 * signed type, for -1 (unknown) is out of range both ways. */
static int64_t number_of(const Field *f, const void *place) {
    return get_number(place, f->size, f->min < 0 || (uint64_t) f->max < UINT64_C(1) << (f->size * 8 - 1));
}

static size_t count_of(const Field *f, const char *target) {
    return *(const size_t *) (const void *) (target + f->count);
}

/* Would FIELD_OMIT leave this member out? */
static bool is_omitted(const Field *f, const char *target) {
    const void *place = target + f->offset;
    int64_t number;

    if (f->flags & FIELD_IF_KNOWN && !*(const bool *) (target + f->known))
        return true;
    if (!(f->flags & FIELD_OMIT))
        return false;
    switch (f->kind) {
    case FIELD_BOOLEAN:
        return !*(const bool *) place;
    case FIELD_NUMBER:
        number = number_of(f, place);
        return number < f->min || number > f->max;
    case FIELD_TEXT:
        return !*(const char *) place;
    case FIELD_STRING:
        return !*(char *const *) place;
    case FIELD_WORD:
        return *(const int *) place <= 0;
    case FIELD_WORDS:
        return *(const unsigned *) place == 0;
    case FIELD_ARRAY:
        return count_of(f, target) == 0;
    case FIELD_OBJECT:
        return *(const unsigned *) (const void *) ((const char *) place + f->table->facts) == 0;
    default:
        return false;
    }
}

static void write_words(StrBuf *b, const Field *f, unsigned mask) {
    const char *separator = "";

    strbuf_add_byte(b, '[');
    for (int v = 0; v < f->words->max; v++) {
        if (!(mask & (1U << v)))
            continue;
        strbuf_add(b, separator);
        strbuf_add_json(b, f->words->to_string(v));
        separator = ",";
    }
    strbuf_add_byte(b, ']');
}

static void write_field(StrBuf *b, const Field *f, const void *place) {
    switch (f->kind) {
    case FIELD_BOOLEAN:
        strbuf_add(b, *(const bool *) place ? "true" : "false");
        break;
    case FIELD_NUMBER:
        strbuf_add_number(b, number_of(f, place));
        break;
    case FIELD_TEXT:
        strbuf_add_json(b, place);
        break;
    case FIELD_STRING:
        strbuf_add_json(b, *(char *const *) place ?: "");
        break;
    case FIELD_WORD:
        strbuf_add_json(b, f->words->to_string(*(const int *) place) ?: "");
        break;
    case FIELD_WORDS:
        write_words(b, f, *(const unsigned *) place);
        break;
    case FIELD_OBJECT:
        fields_write(b, f->table, place);
        break;
    case FIELD_CUSTOM:
        f->write(b, place);
        break;
    case FIELD_ARRAY: /* these work on the struct around them */
    case FIELD_IGNORED:
        break;
    }
}

static void write_array(StrBuf *b, const Field *f, const char *target) {
    const char *place = target + f->offset;
    const char *elements = f->flags & FIELD_ALLOCATED ? *(char *const *) (const void *) place : place;

    strbuf_add_byte(b, '[');
    for (size_t i = 0; i < count_of(f, target); i++) {
        if (i > 0)
            strbuf_add_byte(b, ',');
        if (f->table)
            fields_write(b, f->table, elements + i * f->size);
        else
            write_field(b, f->element, elements + i * f->size);
    }
    strbuf_add_byte(b, ']');
}

void fields_write_members(StrBuf *b, const FieldTable *t, const void *target) {
    const char *base = target;

    for (size_t i = 0; i < t->n; i++) {
        const Field *f = &t->fields[i];

        if (f->kind == FIELD_IGNORED || is_omitted(f, base))
            continue;
        if (f->fact && !(*(const unsigned *) (const void *) (base + t->facts) & f->fact))
            continue;
        if (b->length > 0 && b->text[b->length - 1] != '{')
            strbuf_add_byte(b, ',');
        assert(f->prefix);
        strbuf_add_bytes(b, f->prefix, f->n_prefix);
        if (f->kind == FIELD_ARRAY)
            write_array(b, f, base);
        else
            write_field(b, f, base + f->offset);
    }
}

void fields_write(StrBuf *b, const FieldTable *t, const void *target) {
    strbuf_add_byte(b, '{');
    fields_write_members(b, t, target);
    strbuf_add_byte(b, '}');
}
