/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rehearsal/cast.h"

#include <inttypes.h>

#include "base/json-text.h"
#include "base/str.h"
#include "base/user-name.h"

/* Anything that a rule does not mention is assumed as for an ordinary login session. If it were unknown,
 * every deny rule with a unit would match everybody. */
#define SESSION_CGROUP "/user.slice/user-1000.slice/session-1.scope"
#define SESSION_LABEL "unconfined"
#define STRANGER "65534" /* nobody(5) */
#define UID_PERSON_MIN 1000U
#define UID_PERSON_MAX 60000U

void cast_done(Cast *c) {
    for (size_t i = 0; i < c->n; i++) {
        free(c->members[i].name);
        free(c->members[i].text);
        subject_done(&c->members[i].subject);
    }
    free(c->members);
    *c = (Cast){};
}

static void describe_user(StrBuf *b, const char *user, const Subject *s) {
    bool is_name = parse_unsigned(user, 10, UINT32_MAX, &(uint64_t){0}) < 0;
    const char *text = s ? USER_TEXT(s->uid) : "";

    if (strchr(text, '(') || (s && !is_name))
        strbuf_add(b, text);
    else
        strbuf_addf(b, "%s%s", is_name ? "" : "uid ", user);
}

/* The subject has the groups in the same order. */
static void describe_groups(StrBuf *b, const char *const *groups, const Subject *s) {
    for (size_t i = 0; groups && groups[i]; i++) {
        const char *text = s ? GROUP_TEXT(s->gids[i]) : groups[i];

        strbuf_addf(b, "%s%s", i == 0 ? ", group " : " ", s && strchr(text, '(') ? text : groups[i]);
    }
}

/* s: the same for people, with names and numbers; NULL: as the description has them. */
static char *describe(const RehearsalSubject *p, const Subject *s) {
    _cleanup_strbuf_ StrBuf b = {};

    if (streq(p->user, STRANGER))
        strbuf_add(&b, "another user");
    else
        describe_user(&b, p->user, s);
    if (!streq(p->user, STRANGER) || (p->groups && !streq_ptr(p->groups[0], STRANGER)))
        describe_groups(&b, p->groups, s);
    if (p->unit)
        strbuf_addf(&b, ", unit %s", p->unit);
    else if (p->cgroup && !streq(p->cgroup, SESSION_CGROUP))
        strbuf_addf(&b, ", cgroup %s", p->cgroup);
    if (p->label && !streq(p->label, SESSION_LABEL))
        strbuf_addf(&b, ", label %s", p->label);
    for (size_t i = 0; p->capabilities && p->capabilities[i]; i++)
        strbuf_addf(&b, ", %s", p->capabilities[i]);
    if (p->foreign_namespace)
        strbuf_add(&b, ", other namespace");
    if (p->scope)
        strbuf_addf(&b, ", scope %s", p->scope);
    return strbuf_steal(&b);
}

static bool has(const Cast *c, const char *name) {
    for (size_t i = 0; i < c->n; i++)
        if (streq(c->members[i].name, name))
            return true;
    return false;
}

static int add(Cast *c, const Accounts *accounts, const RehearsalSubject *persona, char **ret_problem) {
    _cleanup_free_ char *name = describe(persona, NULL), *text = NULL, *user = NULL;
    _cleanup_(subject_done) Subject subject = SUBJECT_NULL;
    int r;

    if (!name)
        return -ENOMEM;
    if (has(c, name))
        return 0;
    if (c->n >= CAST_MAX) {
        c->n_left_out++;
        return 0;
    }
    if (!c->members)
        c->members = calloc(CAST_MAX, sizeof(*c->members));
    if (!c->members)
        return -ENOMEM;
    r = persona_to_subject(accounts, persona, &subject, &user, ret_problem);
    if (r >= 0 && c->for_people && persona->groups)
        r = accounts_name_groups(accounts, &subject);
    if (r < 0)
        return r;
    text = c->for_people ? describe(persona, &subject) : NULL;
    if (c->for_people && !text)
        return -ENOMEM;
    c->members[c->n++] = (CastMember){
            .name = TAKE_PTR(name), .text = TAKE_PTR(text), .subject = TAKE_GENERIC(subject, SUBJECT_NULL)};
    return 0;
}

/* --- accounts --- */

typedef struct AccountVisit {
    Cast *cast;
    const Accounts *accounts;
    char **ret_problem;
} AccountVisit;

static int add_account(void *userdata, bool is_group, const char *name, uint32_t id) {
    AccountVisit *v = userdata;
    const RehearsalSubject persona = {.user = name, .cgroup = SESSION_CGROUP, .label = SESSION_LABEL};

    if (is_group || (id != 0 && (id < UID_PERSON_MIN || id > UID_PERSON_MAX)))
        return 0;
    return add(v->cast, v->accounts, &persona, v->ret_problem);
}

int cast_add_accounts(Cast *c, const Accounts *accounts, char **ret_problem) {
    static const char *const stranger_groups[] = {STRANGER, NULL};
    const RehearsalSubject stranger = {
            .user = STRANGER, .groups = stranger_groups, .cgroup = SESSION_CGROUP, .label = SESSION_LABEL};
    AccountVisit visit = {.cast = c, .accounts = accounts, .ret_problem = ret_problem};
    int r;

    r = add(c, accounts, &stranger, ret_problem);
    return r < 0 ? r : host_view_foreach_account(accounts->host, add_account, &visit);
}

/* --- rules --- */

/* The first element of a member that is a value or a list. */
static const JsonNode *first_of(const JsonNode *who, const char *key) {
    for (const JsonNode *m = who->children; m; m = m->next)
        if (streq(m->key, key))
            return m->type == JSON_ARRAY ? m->children : m;
    return NULL;
}

/* The siblings of a member that is not a list are other keys. */
static const JsonNode *next_of(const JsonNode *element) {
    return element->key ? NULL : element->next;
}

static char *account_text(const JsonNode *value) {
    if (!value || value->type == JSON_STRING)
        return strdup(value ? value->string : STRANGER);
    return value->type == JSON_INTEGER ? format_string("%" PRIi64, value->integer) : NULL;
}

/* A text that the glob matches, owned by the caller. NULL where none is easily found. */
static char *sample_of(const JsonNode *glob) {
    _cleanup_free_ char *sample = NULL;

    if (!glob || glob->type != JSON_STRING)
        return NULL;
    sample = strdup(glob->string);
    for (char *s = sample; s && *s; s++)
        if (*s == '*' || *s == '?')
            *s = 'x';
    return sample && glob_match(glob->string, sample) ? TAKE_PTR(sample) : NULL;
}

/* The texts that a persona points to. */
typedef struct Sample {
    char *unit, *slice, *cgroup, *label; /* owned */
    const char *capabilities[2];
    bool foreign_namespace;
    const char *scope;
} Sample;

static void sample_done(Sample *s) {
    free(s->unit);
    free(s->slice);
    free(s->cgroup);
    free(s->label);
}

static int sample_who(const JsonNode *who, Sample *ret) {
    const JsonNode *capability = first_of(who, "capability"), *namespace = first_of(who, "namespace");
    const JsonNode *scope = first_of(who, "scope");

    ret->unit = sample_of(first_of(who, "unit"));
    ret->slice = sample_of(first_of(who, "slice"));
    ret->cgroup = sample_of(first_of(who, "cgroup"));
    ret->label = sample_of(first_of(who, "label"));
    if (!ret->cgroup && (ret->slice || ret->unit)) {
        ret->cgroup = format_string("/%s/%s", ret->slice ?: "system.slice", ret->unit ?: "session-1.scope");
        if (!ret->cgroup)
            return -ENOMEM;
    }
    if (capability && capability->type == JSON_STRING)
        ret->capabilities[0] = capability->string;
    ret->foreign_namespace = namespace && namespace->type == JSON_STRING && streq(namespace->string, "other");
    ret->scope = scope && scope->type == JSON_STRING ? scope->string : NULL;
    return 0;
}

static int add_pair(Cast *c, const Accounts *accounts, const JsonNode *user, const JsonNode *group,
        const Sample *sample, char **ret_problem) {
    _cleanup_free_ char *user_text = account_text(user),
                        *group_text = group || !user ? account_text(group) : NULL;
    const char *const groups[] = {group_text, NULL};
    const RehearsalSubject persona = {
            .user = user_text,
            .groups = group_text ? groups : NULL,
            .unit = sample->unit,
            .cgroup = sample->cgroup ?: SESSION_CGROUP,
            .label = sample->label ?: SESSION_LABEL,
            .capabilities = sample->capabilities,
            .foreign_namespace = sample->foreign_namespace,
            .scope = sample->scope,
    };

    if (!user_text || (group && !group_text))
        return -ENOMEM;
    return add(c, accounts, &persona, ret_problem);
}

static int add_rule(Cast *c, const Accounts *accounts, const JsonNode *who, char **ret_problem) {
    const JsonNode *user = first_of(who, "user"), *groups = first_of(who, "group");
    _cleanup_(sample_done) Sample sample = {};
    int r;

    r = sample_who(who, &sample);
    do {
        const JsonNode *group = groups;

        do {
            if (r >= 0)
                r = add_pair(c, accounts, user, group, &sample, ret_problem);
            group = group ? next_of(group) : NULL;
        } while (r >= 0 && group);
        user = user ? next_of(user) : NULL;
    } while (r >= 0 && user);
    return r;
}

static const JsonNode *find_member(const JsonNode *object, const char *key, JsonType type) {
    for (const JsonNode *m = object->type == JSON_OBJECT ? object->children : NULL; m; m = m->next)
        if (streq(m->key, key) && m->type == type)
            return m;
    return NULL;
}

int cast_add_policy(Cast *c, const Accounts *accounts, const char *text, size_t size, char **ret_problem) {
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    const JsonNode *rules;
    JsonError error;
    int r;

    r = json_document_parse(text, size, &document, &error);
    if (r < 0)
        return r == -ENOMEM ? r : problem(ret_problem, r, "the policy is not JSON any more");
    rules = find_member(json_document_root(document), "rules", JSON_ARRAY);
    for (const JsonNode *rule = rules ? rules->children : NULL; rule && r >= 0; rule = rule->next) {
        const JsonNode *who = find_member(rule, "who", JSON_OBJECT);

        if (who && who->children)
            r = add_rule(c, accounts, who, ret_problem);
    }
    return r;
}

int cast_add_tests(Cast *c, const Accounts *accounts, char **ret_problem) {
    int r = 0;

    for (size_t i = 0; accounts->test && i < accounts->test->n_subjects && r >= 0; i++) {
        const RehearsalSubject persona = persona_of_test(accounts->test->subjects + i);

        r = add(c, accounts, &persona, ret_problem);
    }
    return r;
}
