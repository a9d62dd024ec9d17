/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/rule-changes.h"

#include "base/json-build.h"
#include "base/str.h"
#include "client/show.h"

#define NOT_FOUND SIZE_MAX

typedef struct RuleText {
    const char *name; /* borrowed */
    char *text;       /* owned: the whole rule without its place */
    bool taken;       /* it is paired with a rule of the other policy */
} RuleText;

typedef struct RuleTexts {
    RuleText *items;
    size_t n;
} RuleTexts;

static void rule_texts_done(RuleTexts *l) {
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i].text);
    free(l->items);
}

static int read_rule(struct json_object *rule, RuleText *ret) {
    _cleanup_strbuf_ StrBuf b = {};

    json_object_object_foreach(rule, key, value) {
        if (!streq(key, "file") && !streq(key, "line"))
            strbuf_addf(&b, "%s=%s\n", key, json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
    }
    *ret = (RuleText){.name = json_text(rule, "rule"), .text = strbuf_steal(&b)};
    return ret->text ? 0 : -ENOMEM;
}

static int read_texts(struct json_object *policy, const char *key, RuleTexts *ret) {
    struct json_object *rules = policy ? json_list(policy, key) : NULL;
    size_t n = rules ? json_object_array_length(rules) : 0;

    ret->items = calloc(MAX(n, (size_t) 1), sizeof(*ret->items));
    if (!ret->items)
        return -ENOMEM;
    for (; ret->n < n; ret->n++)
        if (read_rule(json_object_array_get_idx(rules, ret->n), &ret->items[ret->n]) < 0)
            return -ENOMEM;
    return 0;
}

static size_t find(const RuleTexts *l, const RuleText *rule, bool by_name) {
    for (size_t i = 0; i < l->n; i++)
        if (!l->items[i].taken &&
                (by_name ? streq(l->items[i].name, rule->name) : streq(l->items[i].text, rule->text)))
            return i;
    return NOT_FOUND;
}

/* Pairs rules that are equal in both. *ret: their order differs. */
static void pair_same(RuleTexts *before, RuleTexts *after, bool *ret) {
    size_t last = 0;

    *ret = false;
    for (size_t i = 0; i < after->n; i++) {
        size_t k = find(before, &after->items[i], /* by_name= */ false);

        if (k == NOT_FOUND)
            continue;
        before->items[k].taken = after->items[i].taken = true;
        *ret = *ret || k < last;
        last = MAX(k, last);
    }
}

static int add_name(struct json_object *list, const RuleText *rule) {
    return json_append(list, json_object_new_string(rule->name));
}

static int fill(RuleTexts *before, RuleTexts *after, struct json_object *added, struct json_object *removed,
        struct json_object *changed) {
    int r = 0;

    for (size_t i = 0; i < after->n && r >= 0; i++) {
        size_t k = after->items[i].taken ? 0 : find(before, &after->items[i], /* by_name= */ true);

        if (after->items[i].taken)
            continue;
        r = add_name(k == NOT_FOUND ? added : changed, &after->items[i]);
        if (k != NOT_FOUND)
            before->items[k].taken = true;
    }
    for (size_t i = 0; i < before->n && r >= 0; i++)
        if (!before->items[i].taken)
            r = add_name(removed, &before->items[i]);
    return r;
}

/* *ret: tags or settings of the host differ. */
static int compare_rest(struct json_object *before, struct json_object *after, bool *ret) {
    struct json_object *host[] = {
            before ? json_member(before, "host") : NULL, after ? json_member(after, "host") : NULL};
    _cleanup_(rule_texts_done) RuleTexts old = {}, new = {};
    int r;

    r = read_texts(before, "tags", &old);
    if (r >= 0)
        r = read_texts(after, "tags", &new);
    if (r < 0)
        return r;
    *ret = old.n != new.n || (before && after && !json_object_equal(host[0], host[1]));
    for (size_t i = 0; i < new.n && !*ret; i++)
        *ret = find(&old, &new.items[i], /* by_name= */ false) == NOT_FOUND;
    return 0;
}

int rule_changes_add(struct json_object *o, struct json_object *before, struct json_object *after) {
    static const char *const keys[] = {"rulesAdded", "rulesRemoved", "rulesChanged"};
    _cleanup_(rule_texts_done) RuleTexts old = {}, new = {};
    bool moved, rest = false;
    int r;

    for (size_t i = 0; i < ELEMENTSOF(keys); i++)
        if (json_add(o, keys[i], json_object_new_array()) < 0)
            return -ENOMEM;
    r = read_texts(before, "rules", &old);
    if (r >= 0)
        r = read_texts(after, "rules", &new);
    if (r >= 0)
        r = compare_rest(before, after, &rest);
    if (r < 0)
        return r;
    pair_same(&old, &new, &moved);
    r = fill(&old, &new, json_list(o, keys[0]), json_list(o, keys[1]), json_list(o, keys[2]));
    if (r < 0 || json_add(o, "orderChanged", json_object_new_boolean(moved)) < 0)
        return -ENOMEM;
    return json_add(o, "settingsChanged", json_object_new_boolean(rest));
}
