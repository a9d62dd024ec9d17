/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The fields of things (the host, a device, a group, a claim) as a reader may see them. Each kind of thing
 * has one table. A row has the field's name, its type, who may read it, how changes are announced, and how
 * its value is made. All faces (D-Bus, Varlink) answer from these tables, so no face has to keep secrets: a
 * field that the reader may not see is written with its empty value.
 *
 * A field is written into a sink of the face, which converts values to its own format. */

#include "core/device-name.h"
#include "core/error.h"
#include "core/subject.h"
#include "core/survey.h"

typedef enum ViewKind {
    VIEW_MANAGER,
    VIEW_DEVICE,
    VIEW_GROUP,
    VIEW_CLAIM,
    _VIEW_KIND_MAX,
    _VIEW_KIND_INVALID = -EINVAL,
} ViewKind;

/* How a reader learns that a field has changed. */
typedef enum ViewChange {
    VIEW_CONSTANT,    /* it never changes */
    VIEW_ANNOUNCED,   /* announced with the new value */
    VIEW_INVALIDATED, /* announced without the value, which depends on the reader */
    VIEW_SILENT,      /* not announced: the value is read from the host for each reader */
    VIEW_COSTLY,      /* likewise, and so costly that it must be requested by name */
} ViewChange;

typedef enum ViewAudience {
    VIEW_FOR_ALL,
    VIEW_FOR_OWNER, /* the thing's user, and root */
    VIEW_FOR_OPERATOR,
} ViewAudience;

/* Refers to another thing; only the member of its kind is set. */
typedef struct ViewReference {
    ViewKind kind; /* _VIEW_KIND_INVALID: none */
    const DeviceName *device;
    int group;
    const char *claim;
} ViewReference;

/* Types are those of D-Bus signatures: s, b, y, q, i, u, t, o (a reference), a, (), {}, v. Each function
 * returns 0 or a negative errno, which ends the field. */
typedef struct ViewSink {
    int (*text)(void *to, const char *text);            /* may be hostile, the face makes it safe */
    int (*number)(void *to, char type, uint64_t value); /* i: sign-extended */
    int (*refer)(void *to, const ViewReference *reference);
    int (*open)(void *to, char container, const char *contents); /* a, r, e, v */
    int (*close)(void *to);
    void *to;
} ViewSink;

/* What the getters use; defined by the code that has the tables. */
typedef struct ViewHost ViewHost;

typedef struct ViewQuery {
    const ViewHost *host;
    const void *thing;
    const Subject *reader; /* NULL: unknown, or everybody, as in a signal */
    Survey *survey;        /* has the facts of the field; NULL: it needs none */
    Refusal *refusal;      /* may be NULL */
    const void *found;     /* the result of a search, for fields that need one */
} ViewQuery;

typedef struct ViewField {
    const char *name; /* the name on D-Bus */
    const char *type;
    ViewChange change;
    ViewAudience audience;
    /* Writes exactly one value of the type. 0; or a negative errno, with the refusal set if it is one. */
    int (*put)(const ViewQuery *q, const ViewSink *out);
    /* Facts of the device or the host that can sleep in the kernel, a mask of DeviceFactMask. The caller
     * collects them first, see core/survey.h. */
    unsigned facts;
    /* The names of its structures' members, separated by spaces, for faces that name members. */
    const char *members;
} ViewField;

typedef struct ViewTable {
    ViewKind kind;
    const ViewField *fields; /* ended by a row without a name */
    /* The uid of the thing's user, (uid_t) -1: nobody. NULL: things of this kind have no user. */
    uid_t (*owner)(const void *thing);
} ViewTable;

const ViewField *view_find_field(const ViewTable *table, const char *name);
bool view_may_read(const ViewTable *table, const ViewField *field, const ViewQuery *q);
/* Writes the value as this reader may see it. 0 or negative errno. */
int view_put(const ViewTable *table, const ViewField *field, const ViewQuery *q, const ViewSink *out);

/* For getters: is the reader this user, or root? False for an unknown reader. */
bool view_reader_is(const ViewQuery *q, uid_t uid);
bool view_reader_is_operator(const ViewQuery *q);

int view_text(const ViewSink *out, const char *text); /* NULL becomes "" */
int view_number(const ViewSink *out, char type, uint64_t value);
int view_refer_device(const ViewSink *out, const DeviceName *name); /* NULL: none */
int view_refer_group(const ViewSink *out, int id);                  /* negative: none */
int view_refer_claim(const ViewSink *out, const char *id);          /* NULL: none */
int view_open(const ViewSink *out, char container, const char *contents);
int view_close(const ViewSink *out);
/* Writes one entry of an a{sv}. */
int view_text_entry(const ViewSink *out, const char *key, const char *text);
int view_number_entry(const ViewSink *out, const char *key, char type, uint64_t value);
