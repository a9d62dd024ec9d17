/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Shows the policy in force: every rule as it was written, in order and with its place, and the files that do
 * not count. A forgotten override is the usual answer to "but I changed it". */

#include "base/json-text.h"
#include "base/str.h"
#include "rehearsal/rehearsal-internal.h"

static struct json_object *json_of_node(const JsonNode *node);

/* Adds the result of json_of_node(), which is NULL both for null and on ENOMEM. */
static int add_child(struct json_object *o, const JsonNode *child) {
    struct json_object *value = json_of_node(child);
    int r;

    if (!value && child->type != JSON_NULL)
        return -ENOMEM;
    r = child->key ? json_object_object_add(o, child->key, value) : json_object_array_add(o, value);
    if (r < 0)
        json_object_put(value);
    return r < 0 ? -ENOMEM : 0;
}

static struct json_object *json_of_children(const JsonNode *node) {
    _cleanup_json_ struct json_object *o =
            node->type == JSON_OBJECT ? json_object_new_object() : json_object_new_array();

    if (!o)
        return NULL;
    for (const JsonNode *child = node->children; child; child = child->next)
        if (add_child(o, child) < 0)
            return NULL;
    return TAKE_PTR(o);
}

/* The depth of a document is bounded by JSON_DEPTH_MAX. */
static struct json_object *json_of_node(const JsonNode *node) {
    switch (node->type) {
    case JSON_BOOLEAN:
        return json_object_new_boolean(node->boolean);
    case JSON_INTEGER:
        return json_object_new_int64(node->integer);
    case JSON_REAL:
        return json_object_new_double(node->real);
    case JSON_STRING:
        return json_object_new_string(node->string);
    case JSON_ARRAY:
    case JSON_OBJECT:
        return json_of_children(node);
    default:
        return NULL;
    }
}

typedef struct Shown {
    const Policy *policy;
    size_t n_rules; /* that were shown: the index of the next one in the policy */
    struct json_object *tags, *rules;
} Shown;

static int show_tag(Shown *s, const PolicyText *t, const JsonNode *node) {
    _cleanup_json_ struct json_object *tag = json_object_new_object();

    if (!tag || json_add_string(tag, "tag", node->key) < 0 || json_add_string(tag, "file", t->path) < 0 ||
            json_add(tag, "line", json_object_new_int64(node->key_line)) < 0 ||
            json_add(tag, "devices", json_of_node(node)) < 0)
        return -ENOMEM;
    return json_append(s->tags, TAKE_PTR(tag));
}

static int show_rule(Shown *s, const JsonNode *node) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    const Rule *rule;

    if (s->n_rules >= policy_n_rules(s->policy))
        return -EBADMSG;
    rule = policy_rule(s->policy, s->n_rules++);
    if (!o || json_add_string(o, "rule", rule_name(rule)) < 0 ||
            json_add_string(o, "file", rule_file(rule)) < 0 ||
            json_add(o, "line", json_object_new_int64(rule_line(rule))) < 0)
        return -ENOMEM;
    for (const JsonNode *key = node->children; key; key = key->next)
        if (!streq(key->key, "name") && add_child(o, key) < 0)
            return -ENOMEM;
    return json_append(s->rules, TAKE_PTR(o));
}

static int show_text(Shown *s, const PolicyText *t) {
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    JsonError error;
    int r;

    if (t->fate != POLICY_FILE_READ)
        return 0;
    r = json_document_parse(t->text, t->size, &document, &error);
    if (r < 0)
        return r;
    for (const JsonNode *m = json_document_root(document)->children; m && r >= 0; m = m->next) {
        if (streq(m->key, "tags"))
            for (const JsonNode *tag = m->children; tag && r >= 0; tag = tag->next)
                r = show_tag(s, t, tag);
        if (streq(m->key, "rules"))
            for (const JsonNode *rule = m->children; rule && r >= 0; rule = rule->next)
                r = show_rule(s, rule);
    }
    return r;
}

static int add_file(struct json_object *files, const PolicyText *t) {
    _cleanup_json_ struct json_object *o = json_object_new_object();

    if (!o || json_add_string(o, "file", t->path) < 0 ||
            json_add_string(o, "state", policy_file_fate_to_string(t->fate)) < 0 ||
            json_add_string(o, "hiddenBy", t->hidden_by) < 0)
        return -ENOMEM;
    return json_append(files, TAKE_PTR(o));
}

/* FILE:LINE:COLUMN as it is, its older form, and in parts. */
static int add_place(struct json_object *o, const char *place) {
    _cleanup_free_ char *file = strdup(place);
    char *column = file ? strrchr(file, ':') : NULL, *line;

    if (!column)
        return -ENOMEM;
    *column = '\0';
    line = strrchr(file, ':');
    if (!line)
        return -EINVAL;
    *line++ = '\0';
    return json_add_string(o, "place", place) < 0 || json_add_string(o, "file", file) < 0 ||
                    json_add(o, "line", json_object_new_int64(strtol(line, NULL, 10))) < 0
            ? -ENOMEM
            : 0;
}

static int add_functions(struct json_object *host, const Policy *policy) {
    struct json_object *list = json_object_new_array();
    size_t n = policy_n_functions(policy);

    if (json_add(host, "virtualFunctions", list) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const DeclaredFunctions *f = policy_functions(policy, i);
        _cleanup_json_ struct json_object *o = json_object_new_object();

        if (!o || json_add_string(o, "device", f->text) < 0 ||
                json_add(o, "count", json_object_new_int64(f->count)) < 0 ||
                (f->autoprobe >= 0 && json_add(o, "autoprobe", json_object_new_boolean(f->autoprobe)) < 0) ||
                add_place(o, f->place) < 0 || json_append(list, TAKE_PTR(o)) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int add_host(struct json_object *o, const Policy *policy) {
    _cleanup_json_ struct json_object *host = json_object_new_object();
    HostSettings settings = policy_host_settings(policy);

    if (!host || json_add_string(host, "noiommu", noiommu_mode_to_string(settings.noiommu)) < 0)
        return -ENOMEM;
    if (settings.reservations_limited &&
            json_add(host, "reservationTtl", json_object_new_int64(settings.reservation_ttl_sec)) < 0)
        return -ENOMEM;
    if (policy_n_functions(policy) > 0 && add_functions(host, policy) < 0)
        return -ENOMEM;
    return json_add(o, "host", TAKE_PTR(host));
}

static int add_list(struct json_object *o, const char *key, struct json_object **ret) {
    *ret = json_object_new_array();
    return json_add(o, key, *ret);
}

int rehearsal_show(Rehearsal *r, struct json_object **ret, char **ret_problem) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    struct json_object *files;
    Shown shown = {};
    int k;

    *ret_problem = NULL;
    k = rehearsal_get_policy(r, &shown.policy, ret_problem);
    if (k < 0)
        return k;
    if (!o || add_host(o, shown.policy) < 0 || add_list(o, "tags", &shown.tags) < 0 ||
            add_list(o, "rules", &shown.rules) < 0 || add_list(o, "files", &files) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < r->n_texts; i++) {
        k = show_text(&shown, r->texts + i);
        if (k >= 0)
            k = add_file(files, r->texts + i);
        if (k < 0)
            return problem(ret_problem, k, "cannot show %s: %s", r->texts[i].path, strerror(-k));
    }
    *ret = TAKE_PTR(o);
    return 0;
}
