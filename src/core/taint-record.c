/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The way back from taint_list_to_json(), for the ledger's file. It lies in a directory of root's, but bytes
 * from a file are bytes: whatever is odd makes the whole list bad, and no entry is believed in part. */

#include <stdio.h>

#include "base/str.h"
#include "core/taint.h"

/* "" for a key that is not there. */
static int get_text(struct json_object *o, const char *key, char *buf, size_t size) {
    struct json_object *value;
    const char *s;

    buf[0] = '\0';
    if (!json_object_object_get_ex(o, key, &value) || !value)
        return 0;
    if (!json_object_is_type(value, json_type_string))
        return -EBADMSG;
    s = json_object_get_string(value);
    if (strlen(s) != (size_t) json_object_get_string_len(value) || strlen(s) >= size || !utf8_is_valid(s))
        return -EBADMSG;
    (void) snprintf(buf, size, "%s", s);
    return 0;
}

static int get_integer(struct json_object *o, const char *key, int64_t missing, int64_t max, int64_t *ret) {
    struct json_object *value;

    *ret = missing;
    if (!json_object_object_get_ex(o, key, &value) || !value)
        return 0;
    if (!json_object_is_type(value, json_type_int))
        return -EBADMSG;
    *ret = json_object_get_int64(value);
    return *ret < missing || *ret > max ? -EBADMSG : 0;
}

static int get_taint(struct json_object *o, Taint *t) {
    struct json_object *weakens;
    int64_t since, uid;
    char kind[32];
    int r;

    *t = (Taint){};
    if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, "weakens", &weakens) ||
            !json_object_is_type(weakens, json_type_boolean))
        return -EBADMSG;
    t->weakens = json_object_get_boolean(weakens);
    r = get_text(o, "kind", kind, sizeof(kind));
    if (r >= 0)
        r = get_text(o, "what", t->what, sizeof(t->what));
    if (r >= 0)
        r = get_text(o, "device", t->device, sizeof(t->device));
    if (r >= 0)
        r = get_text(o, "rule", t->rule, sizeof(t->rule));
    if (r >= 0)
        r = get_text(o, "reason", t->reason, sizeof(t->reason));
    if (r >= 0)
        r = get_integer(o, "since", 0, INT64_MAX, &since);
    if (r >= 0)
        r = get_integer(o, "uid", -1, UINT32_MAX - 1, &uid);
    if (r < 0)
        return r;
    t->kind = taint_kind_from_string(kind);
    t->since_usec = (uint64_t) since;
    t->uid = (uid_t) uid;
    return (int) t->kind < 0 ? -EBADMSG : 0;
}

int taint_list_from_json(struct json_object *o, TaintList *ret) {
    size_t n;

    if (!json_object_is_type(o, json_type_array))
        return -EBADMSG;
    n = json_object_array_length(o);
    if (n > TAINTS_MAX + 1)
        return -EBADMSG;
    /* The last of a list that is too long stands for those that did not fit. */
    ret->more = n > TAINTS_MAX;
    n -= ret->more;
    for (size_t i = 0; i < n; i++) {
        int r = get_taint(json_object_array_get_idx(o, i), &ret->entries[i]);

        if (r < 0) {
            ret->n = ret->more = 0;
            return r;
        }
    }
    ret->n = n;
    return 0;
}
