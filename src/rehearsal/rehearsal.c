/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rehearsal/rehearsal-internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/str.h"

/* Keeps the texts of the policy, because "show" prints what the operator wrote. */

static const char *const directories[] = {POLICY_DIRECTORIES, NULL};

const char *const *rehearsal_directories(void) {
    return directories;
}

Rehearsal *rehearsal_free(Rehearsal *r) {
    if (!r)
        return NULL;
    for (size_t i = 0; i < r->n_texts; i++) {
        free(r->texts[i].path);
        free(r->texts[i].hidden_by);
        free(r->texts[i].text);
    }
    for (size_t i = 0; r->names && r->names[i]; i++)
        free(r->names[i]);
    free(r->names);
    free(r->texts);
    policy_load_done(&r->load);
    host_view_done(&r->host);
    free(r);
    return NULL;
}

static int fill_text(PolicyText *t, const PolicyFileInfo *info) {
    t->fate = info->fate;
    t->path = strdup(info->path);
    if (!t->path || free_and_strdup(&t->hidden_by, info->hidden_by) < 0)
        return -ENOMEM;
    if (info->fate != POLICY_FILE_READ)
        return 0;
    t->size = info->size;
    t->text = malloc(info->size + 1);
    if (!t->text)
        return -ENOMEM;
    memcpy(t->text, info->text, info->size);
    t->text[info->size] = '\0';
    return 0;
}

static int keep_text(void *userdata, const PolicyFileInfo *info) {
    Rehearsal *r = userdata;
    PolicyText *grown;

    grown = reallocarray(r->texts, r->n_texts + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    r->texts = grown;
    grown[r->n_texts] = (PolicyText){};
    return fill_text(&grown[r->n_texts++], info);
}

static int copy_names(Rehearsal *r, const char *const *names) {
    size_t n = 0;

    while (names && names[n])
        n++;
    if (n == 0)
        return 0;
    r->names = calloc(n + 1, sizeof(*r->names));
    for (size_t i = 0; r->names && i < n; i++) {
        r->names[i] = strdup(names[i]);
        if (!r->names[i])
            return -ENOMEM;
    }
    return r->names ? 0 : -ENOMEM;
}

PolicySource rehearsal_source(void) {
    static const char *const with_credentials[] = {POLICY_DIRECTORIES_WITH(POLICY_CREDENTIALS), NULL};
    bool has_credentials = access(POLICY_CREDENTIALS, R_OK | X_OK) >= 0;

    return (PolicySource){.directories = has_credentials ? with_credentials : directories,
            .credentials = has_credentials ? POLICY_CREDENTIALS : NULL};
}

static PolicySource policy_source(const Rehearsal *r, resolve_name_t resolve, void *userdata) {
    PolicySource source = rehearsal_source();

    source.names = (const char *const *) r->names;
    source.stand_in = r->stand_in.name ? &r->stand_in : NULL;
    source.resolve = resolve;
    source.resolve_userdata = userdata;
    return source;
}

int rehearsal_load_policy(const Rehearsal *r, resolve_name_t resolve, void *userdata, PolicyLoad *ret) {
    const PolicySource source = policy_source(r, resolve, userdata);

    return policy_files_load_from(&source, ret);
}

int rehearsal_new(const RehearsalConfig *config, Rehearsal **ret, char **ret_problem) {
    _cleanup_(rehearsal_freep) Rehearsal *r = calloc(1, sizeof(*r));
    PolicySource source;
    int k;

    *ret_problem = NULL;
    if (!r || copy_names(r, config->policy) < 0)
        return -ENOMEM;
    k = host_view_open(config->host, &r->host, ret_problem);
    if (k < 0)
        return k;
    if (config->file)
        r->stand_in = (PolicyStandIn){
                config->file->directory, config->file->name, config->file->text, config->file->size};
    source = policy_source(r, host_view_resolve, &r->host);
    source.visit = keep_text;
    source.visit_userdata = r;
    k = policy_files_load_from(&source, &r->load);
    if (k < 0)
        return problem(ret_problem, k, "cannot read the policy: %s", strerror(-k));
    *ret = TAKE_PTR(r);
    return 0;
}

static int add_texts(struct json_object *o, const char *key, char *const *texts, size_t n) {
    _cleanup_json_ struct json_object *list = json_object_new_array();

    if (!list)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        if (json_append(list, json_object_new_string(texts[i])) < 0)
            return -ENOMEM;
    return json_add(o, key, TAKE_PTR(list));
}

int rehearsal_check(Rehearsal *r, struct json_object **ret, char **ret_problem) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    const PolicyLoad *l = &r->load;
    char digest[17];

    *ret_problem = NULL;
    (void) snprintf(digest, sizeof(digest), "%016" PRIx64, l->digest);
    if (!o || json_add_string(o, "digest", digest) < 0 ||
            json_add(o, "files", json_object_new_uint64(l->n_files)) < 0 ||
            json_add(o, "rules", json_object_new_uint64(policy_n_rules(l->policy))) < 0 ||
            add_texts(o, "errors", l->errors, l->n_errors) < 0 ||
            add_texts(o, "warnings", l->warnings, l->n_warnings) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(o);
    return 0;
}

int rehearsal_get_policy(Rehearsal *r, const Policy **ret, char **ret_problem) {
    const PolicyLoad *l = &r->load;

    if (!l->policy)
        return problem(ret_problem, -EINVAL,
                "the policy has errors, so that nothing of it is loaded ('vfioctl policy check' shows them): "
                "%s",
                l->n_errors > 0 ? l->errors[0] : "?");
    *ret = l->policy;
    return 0;
}
