/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a thing (the host, a device, a group, a claim) shows, and to whom. There is one table of fields for
 * each kind of thing. A row says the name of a field, its type, who may read it, how its changes become
 * known, and how it is got. Every face (D-Bus today) makes its answers from these tables alone, so no face
 * has to know a secret: a field that is not for the reader has its empty value, and arrives so.
 *
 * A field is written into a sink. The face provides the sink, which translates values into its own format. */

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

/* How a reader learns that a field has another value than before. */
typedef enum ViewChange {
    VIEW_CONSTANT,    /* it never has */
    VIEW_ANNOUNCED,   /* it is announced with the new value */
    VIEW_INVALIDATED, /* it is announced without the value, which depends on the reader */
    VIEW_SILENT,      /* it is not announced: the value is looked up on the host for each reader */
    VIEW_COSTLY,      /* likewise, and looking it up costs so much that it must be asked for by name */
} ViewChange;

typedef enum ViewAudience {
    VIEW_FOR_ALL,
    VIEW_FOR_OWNER, /* the user of the thing, and root */
    VIEW_FOR_OPERATOR,
} ViewAudience;

/* Refers to another thing; of the three only the one of this kind is set. */
typedef struct ViewReference {
    ViewKind kind; /* _VIEW_KIND_INVALID: to none */
    const DeviceName *device;
    int group;
    const char *claim;
} ViewReference;

/* Types are written as in D-Bus signatures: s, b, y, q, i, u, t, o (a reference), a, (), {}, v. Each function
 * returns 0 or a negative errno, which ends the field. */
typedef struct ViewSink {
    int (*text)(void *to, const char *text); /* may have hostile bytes, which the face makes harmless */
    int (*number)(void *to, char type, uint64_t value); /* i: sign-extended */
    int (*refer)(void *to, const ViewReference *reference);
    int (*open)(void *to, char container, const char *contents); /* a, r, e, v */
    int (*close)(void *to);
    void *to;
} ViewSink;

/* What the getters look at; each room that has tables says what is in it. */
typedef struct ViewHost ViewHost;

typedef struct ViewQuery {
    const ViewHost *host;
    const void *thing;
    const Subject *reader; /* NULL: unknown, or everybody, as in a signal */
    Survey *survey;        /* has the facts of the field; NULL: it has none */
    Refusal *refusal;      /* may be NULL */
    const void *found;     /* for a field that needs a search first: what was found */
} ViewQuery;

typedef struct ViewField {
    const char *name; /* as D-Bus has it */
    const char *type;
    ViewChange change;
    ViewAudience audience;
    /* Writes exactly one value of the type. 0; or a negative errno, with the refusal filled where it is one.
     */
    int (*put)(const ViewQuery *q, const ViewSink *out);
    /* A mask of DeviceFactMask that may sleep in the kernel, of the device or of the host. Whoever reads the
     * field has them looked for first, see core/survey.h. */
    unsigned facts;
    /* The names of the members of its structures, with a space between two, for faces that have names for
     * them. */
    const char *members;
} ViewField;

typedef struct ViewTable {
    ViewKind kind;
    const ViewField *fields; /* ends with one that has no name */
    /* The user whose it is, (uid_t) -1: nobody's. NULL: things of this kind have no user. */
    uid_t (*owner)(const void *thing);
} ViewTable;

const ViewField *view_find_field(const ViewTable *table, const char *name);
bool view_may_read(const ViewTable *table, const ViewField *field, const ViewQuery *q);
/* The value as this reader may see it. */
int view_put(const ViewTable *table, const ViewField *field, const ViewQuery *q, const ViewSink *out);

/* For getters: is the reader the user with this uid, or root? An unknown reader is neither. */
bool view_reader_is(const ViewQuery *q, uid_t uid);
bool view_reader_is_operator(const ViewQuery *q);

int view_text(const ViewSink *out, const char *text); /* NULL is "" */
int view_number(const ViewSink *out, char type, uint64_t value);
int view_refer_device(const ViewSink *out, const DeviceName *name); /* NULL: none */
int view_refer_group(const ViewSink *out, int id);                  /* negative: none */
int view_refer_claim(const ViewSink *out, const char *id);          /* NULL: none */
int view_open(const ViewSink *out, char container, const char *contents);
int view_close(const ViewSink *out);
/* One entry of an a{sv}. */
int view_text_entry(const ViewSink *out, const char *key, const char *text);
int view_number_entry(const ViewSink *out, const char *key, char type, uint64_t value);
