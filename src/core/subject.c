/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/subject.h"

#include <stdio.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/user-name.h"

static const char *const namespace_kind_table[_NAMESPACE_KIND_MAX] = {
        [NAMESPACE_UNKNOWN] = "unknown",
        [NAMESPACE_HOST] = "host",
        [NAMESPACE_OTHER] = "other",
};
DEFINE_STRING_TABLE(namespace_kind, NamespaceKind);

static const char *const subject_face_table[_SUBJECT_FACE_MAX] = {
        [FACE_UNKNOWN] = "unknown",
        [FACE_DBUS] = "dbus",
        [FACE_VARLINK] = "varlink",
};
DEFINE_STRING_TABLE(subject_face, SubjectFace);

void subject_done(Subject *s) {
    (void) safe_close(s->pidfd);
    free(s->gids);
    free(s->command);
    free(s->unit);
    free(s->cgroup);
    free(s->label);
    free(s->scope);
    *s = SUBJECT_NULL;
}

bool scope_name_is_valid(const char *name) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(name);

    return n > 0 && n <= SCOPE_NAME_MAX && strspn(name, allowed) == n && *name != '.' && *name != '-';
}

static int copy_groups(const Subject *s, Subject *ret) {
    if (s->n_gids == 0 || s->n_gids > SUBJECT_COPY_GROUPS_MAX)
        return 0;
    ret->gids = malloc(s->n_gids * sizeof(*s->gids));
    if (!ret->gids)
        return -ENOMEM;
    memcpy(ret->gids, s->gids, s->n_gids * sizeof(*s->gids));
    ret->n_gids = s->n_gids;
    return 0;
}

int subject_copy(const Subject *s, Subject *ret) {
    _cleanup_(subject_done) Subject copy = SUBJECT_NULL;

    copy.uid = s->uid;
    copy.pid = s->pid;
    copy.capabilities = s->capabilities;
    copy.capabilities_unsure = s->capabilities_unsure;
    copy.capabilities_known = s->capabilities_known;
    copy.user_namespace = s->user_namespace;
    copy.pid_namespace = s->pid_namespace;
    copy.face = s->face;
    if (copy_groups(s, &copy) < 0 || free_and_strdup(&copy.unit, s->unit) < 0 ||
            free_and_strdup(&copy.cgroup, s->cgroup) < 0 || free_and_strdup(&copy.label, s->label) < 0 ||
            free_and_strdup(&copy.scope, s->scope) < 0)
        return -ENOMEM;
    *ret = TAKE_GENERIC(copy, SUBJECT_NULL);
    return 0;
}

bool subject_in_group(const Subject *s, gid_t gid) {
    for (size_t i = 0; i < s->n_gids; i++)
        if (s->gids[i] == gid)
            return true;
    return false;
}

int subject_has_capability(const Subject *s, unsigned capability) {
    if (s->user_namespace == NAMESPACE_OTHER)
        return 0;
    if (!s->capabilities_known || s->user_namespace != NAMESPACE_HOST || capability >= 64)
        return -ENODATA;
    if (s->capabilities_unsure >> capability & 1)
        return -ENODATA;
    return (s->capabilities >> capability & 1) != 0;
}

bool subject_is_operator(const Subject *s) {
    return s->uid == 0;
}

bool subject_is_bridge(const Subject *s) {
    return s->unit && (startswith(s->unit, "varlink-httpd") || startswith(s->unit, "varlink-http-bridge"));
}

const char *subject_describe(const Subject *s, char buf[static SUBJECT_DESCRIPTION_MAX]) {
    const char *through = s->scope ? " through the scope " : "", *scope = s->scope ?: "";
    const char *where = s->user_namespace == NAMESPACE_OTHER
            ? (s->pid_namespace == NAMESPACE_OTHER ? " in another user and pid namespace"
                                                   : " in another user namespace")
            : (s->pid_namespace == NAMESPACE_OTHER ? " in another pid namespace" : "");

    if (s->uid == (uid_t) -1)
        (void) snprintf(buf, SUBJECT_DESCRIPTION_MAX, "an unknown user%s%s%s", where, through, scope);
    else
        (void) snprintf(buf, SUBJECT_DESCRIPTION_MAX, "%s%s%s%s", USER_TEXT(s->uid), where, through, scope);
    return buf;
}
