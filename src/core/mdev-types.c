/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/mdev-types.h"

#include "base/json-text.h"
#include "core/mdev-types-fields.h"

void mdev_types_done(MdevTypes *t) {
    for (size_t i = 0; i < t->n; i++) {
        free(t->types[i].name);
        free(t->types[i].devices);
    }
    free(t->types);
    *t = (MdevTypes){};
}

SharedMdevTypes *mdev_types_share(MdevTypes *t) {
    SharedMdevTypes *s = malloc(sizeof(*s));

    if (!s) {
        mdev_types_done(t);
        return NULL;
    }
    *s = (SharedMdevTypes){.n_refs = 1, .list = TAKE_GENERIC(*t, (MdevTypes){})};
    return s;
}

SharedMdevTypes *mdev_types_ref(SharedMdevTypes *s) {
    s->n_refs++;
    return s;
}

SharedMdevTypes *mdev_types_unref(SharedMdevTypes *s) {
    if (!s || --s->n_refs > 0)
        return NULL;
    mdev_types_done(&s->list);
    free(s);
    return NULL;
}

MdevType *mdev_types_add(MdevTypes *t) {
    MdevType *grown = t->n < MDEV_TYPES_MAX ? reallocarray(t->types, t->n + 1, sizeof(*grown)) : NULL;

    if (!grown)
        return NULL;
    t->types = grown;
    t->types[t->n] = (MdevType){.available = -1};
    return &t->types[t->n++];
}

int mdev_type_add_device(MdevType *t, const DeviceName *name) {
    DeviceName *grown;

    if (t->n_devices >= MDEV_DEVICES_MAX)
        return -E2BIG;
    grown = reallocarray(t->devices, t->n_devices + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    t->devices = grown;
    t->devices[t->n_devices++] = *name;
    return 0;
}

static int copy_type(const MdevType *from, MdevTypes *to) {
    MdevType *t = mdev_types_add(to);
    int r = 0;

    if (!t || free_and_strdup(&t->name, from->name) < 0)
        return -ENOMEM;
    memcpy(t->parent, from->parent, sizeof(t->parent));
    memcpy(t->id, from->id, sizeof(t->id));
    memcpy(t->api, from->api, sizeof(t->api));
    t->available = from->available;
    for (size_t i = 0; i < from->n_devices && r >= 0; i++)
        r = mdev_type_add_device(t, &from->devices[i]);
    return r;
}

int mdev_types_copy(const MdevTypes *t, MdevTypes *ret) {
    _cleanup_(mdev_types_done) MdevTypes copy = {};

    for (size_t i = 0; i < t->n; i++)
        if (copy_type(&t->types[i], &copy) < 0)
            return -ENOMEM;
    copy.incomplete = t->incomplete;
    copy.silent = t->silent;
    *ret = TAKE_GENERIC(copy, (MdevTypes){});
    return 0;
}

static int compare_names(const void *a, const void *b) {
    return device_name_compare(a, b);
}

static int compare_types(const void *a, const void *b) {
    const MdevType *x = a, *y = b;

    return strcmp(x->parent, y->parent) ?: strcmp(x->id, y->id);
}

/* Directories are not sorted. */
void mdev_types_sort(MdevTypes *t) {
    for (size_t i = 0; i < t->n; i++)
        if (t->types[i].n_devices > 0)
            qsort(t->types[i].devices, t->types[i].n_devices, sizeof(DeviceName), compare_names);
    if (t->n > 0)
        qsort(t->types, t->n, sizeof(*t->types), compare_types);
}

bool mdev_name_is_safe(const char *s) {
    if (!*s || *s == '.')
        return false;
    for (; *s; s++)
        if (*s <= ' ' || *s >= 0x7f || *s == '/')
            return false;
    return true;
}

/* ---- The document ---- */

static int check_type(FieldReader *r, const JsonNode *object, void *target) {
    const MdevType *t = target;

    if (!mdev_name_is_safe(t->parent) || !mdev_name_is_safe(t->id))
        return fields_fail(r, object, "not the name of a parent or of a type");
    return 0;
}

static const Field device_name_value = {.kind = FIELD_CUSTOM,
        .size = sizeof(DeviceName),
        .type = JSON_STRING,
        .read = document_read_name,
        .write = document_write_name};

static const Field type_fields[] = {
        FIELD_TEXT("parent", MdevType, parent, .flags = FIELD_REQUIRED),
        FIELD_TEXT("type", MdevType, id, .flags = FIELD_REQUIRED),
        FIELD_STRING("name", MdevType, name),
        FIELD_TEXT("deviceApi", MdevType, api),
        FIELD_NUMBER("available", MdevType, available, -1, INT32_MAX, .flags = FIELD_REQUIRED),
        FIELD_VALUES("devices", MdevType, devices, n_devices, &device_name_value, 0, MDEV_DEVICES_MAX,
                .flags = FIELD_ALLOCATED),
};
const FieldTable mdev_type_table = FIELD_TABLE(type_fields, .check = check_type);

static const Field types_fields[] = {
        FIELD_OBJECTS("mediatedTypes", MdevTypes, types, n, &mdev_type_table, 0, MDEV_TYPES_MAX,
                .flags = FIELD_REQUIRED | FIELD_ALLOCATED),
        FIELD_BOOLEAN("incomplete", MdevTypes, incomplete, .flags = FIELD_OMIT),
        FIELD_BOOLEAN("silent", MdevTypes, silent, .flags = FIELD_OMIT),
};
static const FieldTable types_table = FIELD_TABLE(types_fields);

char *mdev_types_to_text(const MdevTypes *t) {
    _cleanup_strbuf_ StrBuf b = {};

    fields_write(&b, &types_table, t);
    return strbuf_steal(&b);
}

int mdev_types_from_text(const char *text, size_t size, MdevTypes *ret) {
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    _cleanup_(mdev_types_done) MdevTypes types = {};
    FieldReader reader = {.name = "the list of types"};
    JsonError error;
    int r;

    r = json_document_parse(text, size, &document, &error);
    if (r >= 0)
        r = fields_read(&reader, json_document_root(document), &types_table, &types);
    free(reader.problem);
    if (r < 0)
        return r;
    *ret = TAKE_GENERIC(types, (MdevTypes){});
    return 0;
}
