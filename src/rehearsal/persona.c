/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rehearsal/persona.h"

#include <fcntl.h>
#include <inttypes.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/user-name.h"
#include "core/capability.h"
#include "core/cgroup.h"
#include "host/cgroup-layout.h"
#include "rehearsal/rehearsal.h"

#define ID_MAX (UINT32_MAX - 1)
#define CGROUP_FILE_MAX ((size_t) 64 * 1024)

int accounts_resolve(void *userdata, bool is_group, const char *name, uint32_t *ret) {
    const Accounts *a = userdata;
    const TestAccount *account = a->test ? test_file_find_account(a->test, is_group, name) : NULL;

    if (!account)
        return host_view_resolve(a->host, is_group, name, ret);
    *ret = account->id;
    return 0;
}

/* The first line of a gid counts. */
int accounts_name_groups(const Accounts *accounts, const Subject *subject) {
    const TestFile *test = accounts->test;
    _cleanup_strbuf_ StrBuf lines = {};
    _cleanup_free_ char *text = NULL;

    for (size_t i = 0; test && i < test->n_accounts; i++)
        if (test->accounts[i].is_group && !strpbrk(test->accounts[i].name, ":\n"))
            strbuf_addf(&lines, "%s:x:%" PRIu32 ":\n", test->accounts[i].name, test->accounts[i].id);
    host_view_add_group_lines(accounts->host, subject->gids, subject->n_gids, &lines);
    text = strbuf_steal(&lines);
    return text ? group_names_read(text) : -ENOMEM;
}

typedef struct Names {
    bool of_groups;
    char **names; /* owned, ended by NULL */
    size_t n;
} Names;

static void names_done(Names *n) {
    for (size_t i = 0; i < n->n; i++)
        free(n->names[i]);
    free(n->names);
}

static int note_name(void *userdata, bool is_group, const char *name, _unused_ uint32_t id) {
    Names *n = userdata;

    if (is_group != n->of_groups || n->n >= ACCOUNTS_MAX)
        return 0;
    n->names[n->n] = strdup(name);
    if (!n->names[n->n])
        return -ENOMEM;
    n->n++;
    return 0;
}

static int unknown_account(const Accounts *a, bool is_group, const char *name, char **ret_problem) {
    _cleanup_(names_done) Names known = {.of_groups = is_group};
    const char *what = is_group ? "group" : "user", *meant = NULL;

    known.names = calloc((size_t) ACCOUNTS_MAX + 1, sizeof(*known.names));
    if (!known.names)
        return -ENOMEM;
    for (size_t i = 0; a->test && i < a->test->n_accounts; i++)
        if (note_name(&known, a->test->accounts[i].is_group, a->test->accounts[i].name, 0) < 0)
            return -ENOMEM;
    if (host_view_foreach_account(a->host, note_name, &known) == -ENOMEM)
        return -ENOMEM;
    meant = nearest(name, (const char *const *) known.names);
    if (meant)
        return problem(
                ret_problem, -ENOENT, "there is no %s \"%s\", did you mean \"%s\"?", what, name, meant);
    return problem(ret_problem, -ENOENT,
            "there is no %s \"%s\" %s; use a number if the account does not exist here", what, name,
            a->host->snapshot ? "in the record of the host" : "on this host");
}

static int find_account(
        const Accounts *a, bool is_group, const char *text, uint32_t *ret, char **ret_problem) {
    uint64_t number;
    int r, k;

    /* As in the policy, a name wins over the number that it looks like. */
    r = accounts_resolve((void *) a, is_group, text, ret);
    if (r != -ENOENT)
        return r < 0 ? problem(ret_problem, r, "cannot look up %s: %s", text, strerror(-r)) : 0;
    k = parse_unsigned(text, 10, ID_MAX, &number);
    if (k == -ERANGE)
        return problem(ret_problem, -EINVAL, "%s is not a %s: it must be at most %u", text,
                is_group ? "gid" : "uid", (unsigned) ID_MAX);
    if (k < 0)
        return unknown_account(a, is_group, text, ret_problem);
    *ret = (uint32_t) number;
    return 0;
}

static int set_groups(const Accounts *a, const RehearsalSubject *persona, Subject *s, char **ret_problem) {
    size_t n = 0;
    int r;

    if (!persona->groups) {
        /* The groups of an account of the test file are unknown unless given. */
        if (a->test && test_file_find_account(a->test, false, persona->user))
            return 0;
        r = host_view_user_groups(a->host, s->uid, &s->gids, &s->n_gids);
        if (r >= 0 || r == -ENOENT)
            return 0;
        return problem(ret_problem, r, "cannot read the groups of %s: %s", persona->user, strerror(-r));
    }
    while (persona->groups[n])
        n++;
    s->gids = calloc(MAX(n, (size_t) 1), sizeof(*s->gids));
    if (!s->gids)
        return -ENOMEM;
    for (; s->n_gids < n; s->n_gids++) {
        r = find_account(a, true, persona->groups[s->n_gids], s->gids + s->n_gids, ret_problem);
        if (r < 0)
            return r;
    }
    return 0;
}

static int unknown_capability(const char *name, char **ret_problem) {
    _cleanup_free_ char *prefixed = format_string("CAP_%s", name);
    const char *meant;

    if (!prefixed)
        return -ENOMEM;
    meant = capability_from_name(prefixed) >= 0 ? prefixed : nearest(name, capability_names());
    return problem(ret_problem, -EINVAL, "there is no capability \"%s\"%s%s%s", name,
            meant ? ", did you mean \"" : "", meant ?: "", meant ? "\"?" : "");
}

/* Numbers are accepted too: a kernel may have capabilities without a name here. */
static int find_capability(const char *text, unsigned *ret, char **ret_problem) {
    uint64_t number;
    int c = capability_from_name(text);

    if (c < 0 && parse_unsigned(text, 10, 63, &number) < 0)
        return unknown_capability(text, ret_problem);
    *ret = c >= 0 ? (unsigned) c : (unsigned) number;
    return 0;
}

static int set_scope(const RehearsalSubject *persona, Subject *s, char **ret_problem) {
    if (persona->scope && !scope_name_is_valid(persona->scope))
        return problem(ret_problem, -EINVAL, "\"%s\" is not the name of a scope", persona->scope);
    return free_and_strdup(&s->scope, persona->scope);
}

static int set_capabilities(const RehearsalSubject *persona, Subject *s, char **ret_problem) {
    s->capabilities_known = true;
    for (size_t i = 0; persona->capabilities && persona->capabilities[i]; i++) {
        unsigned c = 0;
        int r;

        r = find_capability(persona->capabilities[i], &c, ret_problem);
        if (r < 0)
            return r;
        s->capabilities |= UINT64_C(1) << c;
    }
    return 0;
}

/* Derives the cgroup of a unit. A unit without a cgroup is taken to be where systemd puts services. */
static int set_unit(const RehearsalSubject *persona, Subject *s) {
    char unit[UNIT_NAME_SIZE];

    if (persona->cgroup) {
        s->cgroup = strdup(persona->cgroup);
        if (!s->cgroup)
            return -ENOMEM;
        if (persona->unit)
            return free_and_strdup(&s->unit, persona->unit);
        return cgroup_find_unit(persona->cgroup, "", unit) < 0 ? 0 : free_and_strdup(&s->unit, unit);
    }
    if (!persona->unit)
        return 0;
    s->cgroup = format_string("/system.slice/%s", persona->unit);
    return s->cgroup ? free_and_strdup(&s->unit, persona->unit) : -ENOMEM;
}

static int find_user_name(const Accounts *a, uid_t uid, char **ret) {
    for (size_t i = 0; a->test && i < a->test->n_accounts; i++)
        if (!a->test->accounts[i].is_group && a->test->accounts[i].id == uid)
            return free_and_strdup(ret, a->test->accounts[i].name);
    return host_view_user_name(a->host, uid, ret);
}

int persona_to_subject(const Accounts *accounts, const RehearsalSubject *persona, Subject *ret,
        char **ret_name, char **ret_problem) {
    _cleanup_(subject_done) Subject s = SUBJECT_NULL;
    _cleanup_free_ char *name = NULL;
    int r;

    *ret_problem = NULL;
    r = find_account(accounts, false, persona->user, &s.uid, ret_problem);
    if (r >= 0)
        r = set_groups(accounts, persona, &s, ret_problem);
    if (r >= 0)
        r = set_capabilities(persona, &s, ret_problem);
    if (r >= 0)
        r = set_unit(persona, &s);
    if (r >= 0)
        r = set_scope(persona, &s, ret_problem);
    if (r >= 0)
        r = free_and_strdup(&s.label, persona->label);
    if (r < 0)
        return r;
    s.user_namespace = s.pid_namespace = persona->foreign_namespace ? NAMESPACE_OTHER : NAMESPACE_HOST;
    if (parse_unsigned(persona->user, 10, ID_MAX, &(uint64_t){0}) < 0)
        r = free_and_strdup(&name, persona->user);
    else
        r = find_user_name(accounts, s.uid, &name);
    /* For messages of the planner that name this subject. */
    if (r >= 0 && name)
        r = user_names_set(s.uid, name);
    if (r < 0)
        return r;
    *ret_name = TAKE_PTR(name);
    *ret = TAKE_GENERIC(s, SUBJECT_NULL);
    return 0;
}

RehearsalSubject persona_of_test(const TestSubject *s) {
    return (RehearsalSubject){
            .user = s->user,
            .groups = (const char *const *) s->groups,
            .unit = s->unit,
            .cgroup = s->cgroup,
            .label = s->label,
            .capabilities = (const char *const *) s->capabilities,
            .foreign_namespace = s->foreign_namespace,
            .scope = s->scope,
    };
}

int rehearsal_own_cgroup(char **ret) {
    _cleanup_free_ char *text = NULL;
    bool unified;
    int r;

    r = cgroup_layout_is_unified(&unified);
    if (r >= 0)
        r = read_file_at(AT_FDCWD, "/proc/self/cgroup", CGROUP_FILE_MAX, &text, NULL);
    return r < 0 ? r : cgroup_of_process(text, unified, ret);
}
