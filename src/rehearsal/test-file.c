/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rehearsal/test-file.h"

#include <inttypes.h>

#include "base/str.h"
#include "base/timestamp.h"
#include "core/capability.h"

/* One table of keys for each kind of object, as in policy/parse.c. "cases" may refer to subjects that come
 * later in the file, so the members of the file are taken in a fixed order. */

#define TEXT_MAX 4096U /* of any string: paths of cgroups are the longest */
#define NAME_MAX_SHOWN 120U

typedef struct Parser {
    Problems *problems;
    TestFile file;
    TestSubject subject; /* filled by the functions of the keys */
    TestCase test;       /* likewise */
} Parser;

static void strings_free(char **list, size_t n) {
    for (size_t i = 0; i < n; i++)
        free(list[i]);
    free(list);
}

static void subject_free_members(TestSubject *s) {
    free(s->name);
    free(s->user);
    strings_free(s->groups, s->n_groups);
    free(s->unit);
    free(s->cgroup);
    free(s->label);
    free(s->scope);
    strings_free(s->capabilities, s->n_capabilities);
    *s = (TestSubject){};
}

static void case_free_members(TestCase *c) {
    free(c->name);
    free(c->rule);
    *c = (TestCase){};
}

void test_file_done(TestFile *f) {
    for (size_t i = 0; i < f->n_accounts; i++)
        free(f->accounts[i].name);
    for (size_t i = 0; i < f->n_subjects; i++)
        subject_free_members(f->subjects + i);
    for (size_t i = 0; i < f->n_cases; i++)
        case_free_members(f->cases + i);
    free(f->accounts);
    free(f->subjects);
    free(f->cases);
    *f = (TestFile){};
}

static void parser_done(Parser *p) {
    test_file_done(&p->file);
    subject_free_members(&p->subject);
    case_free_members(&p->test);
}

/* Makes room for element n of a list, and for the NULL that ends it; lists double. */
static bool grow(Parser *p, void **list, size_t n, size_t size) {
    void *grown;

    if (n > 0 && (n & (n - 1)) != 0)
        return true;
    grown = reallocarray(*list, 2 * n + 2, size);
    if (!grown) {
        p->problems->out_of_memory = true;
        return false;
    }
    *list = grown;
    return true;
}

/* A copy; NULL when it is too long or empty, which is reported. */
static char *take_text(Parser *p, const JsonNode *value) {
    char *copy;

    if (value->string[0] == '\0' || strlen(value->string) > TEXT_MAX) {
        problems_report_value(p->problems, value, "a text must have 1 to %u bytes", TEXT_MAX);
        return NULL;
    }
    copy = strdup(value->string);
    if (!copy)
        p->problems->out_of_memory = true;
    return copy;
}

/* A name or number of an account; the number as text, as on a command line. */
static char *take_account_text(Parser *p, const JsonNode *value) {
    char *text;

    if (value->type == JSON_STRING)
        return take_text(p, value);
    if (value->integer < 0 || value->integer >= UINT32_MAX) {
        problems_report_value(p->problems, value, "a uid or gid is a number from 0 to %u", UINT32_MAX - 1);
        return NULL;
    }
    text = format_string("%" PRIi64, value->integer);
    if (!text)
        p->problems->out_of_memory = true;
    return text;
}

/* Takes ownership of text. NULL: a problem was reported before. */
static void add_string(Parser *p, char ***list, size_t *n, char *text) {
    if (!text || !grow(p, (void **) list, *n, sizeof(**list))) {
        free(text);
        return;
    }
    (*list)[(*n)++] = text;
    (*list)[*n] = NULL;
}

/* --- accounts --- */

const TestAccount *test_file_find_account(const TestFile *f, bool is_group, const char *name) {
    for (size_t i = 0; i < f->n_accounts; i++)
        if (f->accounts[i].is_group == is_group && streq(f->accounts[i].name, name))
            return f->accounts + i;
    return NULL;
}

static void take_account(Parser *p, bool is_group, const JsonNode *value) {
    TestAccount account = {.is_group = is_group};

    if (value->type != JSON_INTEGER || value->integer < 0 || value->integer >= UINT32_MAX) {
        problems_report_value(p->problems, value, "%s is a number from 0 to %u", is_group ? "a gid" : "a uid",
                UINT32_MAX - 1);
        return;
    }
    account.id = (uint32_t) value->integer;
    account.name = strdup(value->key);
    if (!account.name)
        p->problems->out_of_memory = true;
    else if (grow(p, (void **) &p->file.accounts, p->file.n_accounts, sizeof(account)))
        p->file.accounts[p->file.n_accounts++] = account;
    else
        free(account.name);
}

static void take_users(void *userdata, const JsonNode *value) {
    for (const JsonNode *m = value->children; m; m = m->next)
        take_account(userdata, false, m);
}

static void take_account_groups(void *userdata, const JsonNode *value) {
    for (const JsonNode *m = value->children; m; m = m->next)
        take_account(userdata, true, m);
}

static const Key account_keys[] = {
        {.name = "users",
                .types = TYPE(OBJECT),
                .expected = "an object of names and uids",
                .take = take_users},
        {.name = "groups",
                .types = TYPE(OBJECT),
                .expected = "an object of names and gids",
                .take = take_account_groups},
};

/* --- subjects --- */

static void set_text(Parser *p, char **text, const JsonNode *value) {
    free(*text);
    *text = take_text(p, value);
}

static void take_user(void *userdata, const JsonNode *value) {
    Parser *p = userdata;

    free(p->subject.user);
    p->subject.user = take_account_text(p, value);
}

static void take_group(void *userdata, const JsonNode *value) {
    Parser *p = userdata;

    add_string(p, &p->subject.groups, &p->subject.n_groups, take_account_text(p, value));
}

static void take_unit(void *userdata, const JsonNode *value) {
    Parser *p = userdata;

    set_text(p, &p->subject.unit, value);
}

static void take_cgroup(void *userdata, const JsonNode *value) {
    Parser *p = userdata;

    set_text(p, &p->subject.cgroup, value);
}

static void take_label(void *userdata, const JsonNode *value) {
    Parser *p = userdata;

    set_text(p, &p->subject.label, value);
}

static void take_capability(void *userdata, const JsonNode *value) {
    Parser *p = userdata;

    if (capability_from_name(value->string) < 0)
        problems_report_unknown_word(p->problems, value, "capability", capability_names());
    else
        add_string(p, &p->subject.capabilities, &p->subject.n_capabilities, take_text(p, value));
}

static void take_namespace(void *userdata, const JsonNode *value) {
    static const char *const words[] = {"host", "other", NULL};
    Parser *p = userdata;

    if (streq(value->string, words[0]) || streq(value->string, words[1]))
        p->subject.foreign_namespace = streq(value->string, words[1]);
    else
        problems_report_unknown_word(p->problems, value, "namespace", words);
}

static void take_scope(void *userdata, const JsonNode *value) {
    Parser *p = userdata;

    if (scope_name_is_valid(value->string))
        set_text(p, &p->subject.scope, value);
    else
        problems_report_value(p->problems, value, "this is not the name of a scope");
}

static const Key subject_keys[] = {
        {.name = "user",
                .types = TYPE(STRING) | TYPE(INTEGER),
                .expected = "a user name or a uid",
                .required = true,
                .take = take_user},
        {.name = "groups",
                .types = TYPE(STRING) | TYPE(INTEGER),
                .expected = "a group name or a gid",
                .list = true,
                .take = take_group},
        {.name = "unit", .types = TYPE(STRING), .expected = "the name of a unit", .take = take_unit},
        {.name = "cgroup", .types = TYPE(STRING), .expected = "the path of a cgroup", .take = take_cgroup},
        {.name = "label", .types = TYPE(STRING), .expected = "the label of an LSM", .take = take_label},
        {.name = "capabilities",
                .types = TYPE(STRING),
                .expected = "the name of a capability",
                .list = true,
                .take = take_capability},
        {.name = "namespace",
                .types = TYPE(STRING),
                .expected = "\"host\" or \"other\"",
                .take = take_namespace},
        {.name = "scope", .types = TYPE(STRING), .expected = "the name of a scope", .take = take_scope},
};

/* Appends the subject that value describes. name: NULL for a subject inside a case. */
static void add_subject(Parser *p, const JsonNode *value, const char *name) {
    TestFile *f = &p->file;

    schema_take_keys(p->problems, value, "a subject", subject_keys, ELEMENTSOF(subject_keys), p);
    if (name) {
        p->subject.name = strdup(name);
        if (!p->subject.name)
            p->problems->out_of_memory = true;
    }
    if (grow(p, (void **) &f->subjects, f->n_subjects, sizeof(*f->subjects)))
        f->subjects[f->n_subjects++] = TAKE_GENERIC(p->subject, (TestSubject){});
    else
        subject_free_members(&p->subject);
}

static void take_subjects(Parser *p, const JsonNode *object) {
    for (const JsonNode *m = object->children; m; m = m->next) {
        if (m->type == JSON_OBJECT)
            add_subject(p, m, m->key);
        else
            problems_report_value(
                    p->problems, m, "a subject must be an object, found %s", schema_describe_type(m->type));
    }
}

/* --- cases --- */

static void report_refusal(Parser *p, const JsonNode *value, Refusal *refusal) {
    problems_report_value(p->problems, value, "%s", refusal->reason ?: "out of memory");
    refusal_done(refusal);
}

static void take_device(void *userdata, const JsonNode *value) {
    Parser *p = userdata;
    Refusal refusal = REFUSAL_NULL;

    if (request_add_device(&p->test.request, value->string, &refusal) < 0)
        report_refusal(p, value, &refusal);
}

static void set_option(Parser *p, const JsonNode *value, const char *text) {
    Refusal refusal = REFUSAL_NULL;

    if (request_set_option(&p->test.request, value->key, text, &refusal) < 0)
        report_refusal(p, value, &refusal);
}

static void take_option(void *userdata, const JsonNode *value) {
    set_option(userdata, value, value->string);
}

static void take_memlock(void *userdata, const JsonNode *value) {
    Parser *p = userdata;
    _cleanup_free_ char *number = NULL;

    if (value->type == JSON_STRING) {
        set_option(p, value, value->string);
        return;
    }
    number = format_string("%" PRIi64, value->integer);
    if (number)
        set_option(p, value, number);
    else
        p->problems->out_of_memory = true;
}

static void take_untainted(void *userdata, const JsonNode *value) {
    set_option(userdata, value, value->boolean ? "yes" : "no");
}

static const Key request_keys[] = {
        {.name = "backend", .types = TYPE(STRING), .expected = "a backend", .take = take_option},
        {.name = "grant", .types = TYPE(STRING), .expected = "a grant", .take = take_option},
        {.name = "tether", .types = TYPE(STRING), .expected = "a tether", .take = take_option},
        {.name = "reason", .types = TYPE(STRING), .expected = "a string", .take = take_option},
        {.name = "memlock",
                .types = TYPE(STRING) | TYPE(INTEGER),
                .expected = "bytes as a number or a size like \"16G\"",
                .take = take_memlock},
        {.name = "require", .types = TYPE(STRING), .expected = "a string", .take = take_option},
        {.name = "network", .types = TYPE(STRING), .expected = "a string", .take = take_option},
        {.name = "untainted", .types = TYPE(BOOLEAN), .expected = "a boolean", .take = take_untainted},
};

static void take_request(void *userdata, const JsonNode *value) {
    Parser *p = userdata;

    schema_take_keys(p->problems, value, "\"request\"", request_keys, ELEMENTSOF(request_keys), p);
}

static void report_unknown_subject(Parser *p, const JsonNode *value) {
    _cleanup_free_ const char **names = calloc(p->file.n_subjects + 1, sizeof(*names));
    const char *meant;
    _cleanup_free_ char *shown = problems_show(p->problems, value->string);
    size_t n = 0;

    if (!names) {
        p->problems->out_of_memory = true;
        return;
    }
    for (size_t i = 0; i < p->file.n_subjects; i++)
        if (p->file.subjects[i].name)
            names[n++] = p->file.subjects[i].name;
    meant = nearest(value->string, names);
    if (meant) {
        _cleanup_free_ char *near = problems_show(p->problems, meant);

        problems_report_value(
                p->problems, value, "unknown subject \"%s\", did you mean \"%s\"?", shown, near);
    } else
        problems_report_value(p->problems, value,
                "unknown subject \"%s\"; \"subjects\" describes them, or an object in this place", shown);
}

static void take_case_subject(void *userdata, const JsonNode *value) {
    Parser *p = userdata;

    if (value->type == JSON_OBJECT) {
        p->test.subject = p->file.n_subjects;
        add_subject(p, value, NULL);
        return;
    }
    for (size_t i = 0; i < p->file.n_subjects; i++)
        if (streq_ptr(p->file.subjects[i].name, value->string)) {
            p->test.subject = i;
            return;
        }
    report_unknown_subject(p, value);
}

static void take_case_name(void *userdata, const JsonNode *value) {
    Parser *p = userdata;
    _cleanup_free_ char *sane = sanitize(value->string, NAME_MAX_SHOWN);

    if (!sane || free_and_strdup(&p->test.name, value->string) < 0)
        p->problems->out_of_memory = true;
    else if (value->string[0] == '\0' || !streq(sane, value->string))
        problems_report_value(p->problems, value, "the name of a case must have 1 to %u bytes, all printable",
                NAME_MAX_SHOWN);
}

static void take_now(void *userdata, const JsonNode *value) {
    Parser *p = userdata;

    if (timestamp_parse(value->string, &p->test.now_usec) < 0)
        problems_report_value(
                p->problems, value, "\"now\" must be a time with its zone, like \"2026-12-31T18:00:00Z\"");
}

static void take_expect(void *userdata, const JsonNode *value) {
    const char *const words[] = {effect_to_string(EFFECT_ALLOW), effect_to_string(EFFECT_DENY),
            effect_to_string(EFFECT_ASK), NULL};
    Parser *p = userdata;
    Effect effect = effect_from_string(value->string);

    if ((int) effect >= 0)
        p->test.expect = effect;
    else
        problems_report_unknown_word(p->problems, value, "effect", words);
}

static void take_expected_rule(void *userdata, const JsonNode *value) {
    Parser *p = userdata;

    p->test.expects_rule = true;
    if (value->type == JSON_STRING)
        set_text(p, &p->test.rule, value);
}

static void take_expected_error(void *userdata, const JsonNode *value) {
    const char *names[_VFIOD_ERROR_MAX + 1] = {};
    Parser *p = userdata;

    p->test.expects_error = true;
    if (value->type == JSON_NULL)
        return;
    for (VfiodError e = 0; e < _VFIOD_ERROR_MAX; e++) {
        names[e] = error_info(e)->name;
        if (streq(names[e], value->string)) {
            p->test.error = e;
            return;
        }
    }
    problems_report_unknown_word(p->problems, value, "error", names);
}

static const Key case_keys[] = {
        {.name = "name", .types = TYPE(STRING), .expected = "a string", .take = take_case_name},
        {.name = "subject",
                .types = TYPE(STRING) | TYPE(OBJECT),
                .expected = "the name of a subject or an object",
                .required = true,
                .take = take_case_subject},
        {.name = "devices",
                .types = TYPE(STRING),
                .expected = "the name of a device",
                .required = true,
                .list = true,
                .take = take_device},
        {.name = "request", .types = TYPE(OBJECT), .expected = "an object", .take = take_request},
        {.name = "now", .types = TYPE(STRING), .expected = "a time", .take = take_now},
        {.name = "expect",
                .types = TYPE(STRING),
                .expected = "\"allow\", \"deny\" or \"ask\"",
                .required = true,
                .take = take_expect},
        {.name = "rule",
                .types = TYPE(STRING) | TYPE(NULL),
                .expected = "the name of a rule, or null for the default",
                .take = take_expected_rule},
        {.name = "error",
                .types = TYPE(STRING) | TYPE(NULL),
                .expected = "the name of an error, or null for none",
                .take = take_expected_error},
};

static void take_case(Parser *p, const JsonNode *value) {
    TestFile *f = &p->file;

    p->test = (TestCase){.line = value->line, .request = REQUEST_NULL, .error = _VFIOD_ERROR_INVALID};
    schema_take_keys(p->problems, value, "a case", case_keys, ELEMENTSOF(case_keys), p);
    if (!p->test.name)
        p->test.name = format_string("case %zu", f->n_cases + 1);
    if (!p->test.name)
        p->problems->out_of_memory = true;
    if (grow(p, (void **) &f->cases, f->n_cases, sizeof(*f->cases)))
        f->cases[f->n_cases++] = TAKE_GENERIC(p->test, (TestCase){});
    else
        case_free_members(&p->test);
}

static void take_cases(Parser *p, const JsonNode *list) {
    for (const JsonNode *e = list->children; e; e = e->next) {
        if (p->file.n_cases >= TEST_CASES_MAX) {
            problems_report_value(p->problems, e, "the file has more than %u cases", TEST_CASES_MAX);
            return;
        }
        if (e->type == JSON_OBJECT)
            take_case(p, e);
        else
            problems_report_value(
                    p->problems, e, "a case must be an object, found %s", schema_describe_type(e->type));
    }
}

/* --- the file --- */

static const Key file_keys[] = {
        /* for editors */
        {.name = "$schema", .types = TYPE(STRING), .expected = "a string"},
        {.name = "description", .types = TYPE(STRING), .expected = "a string"},
        /* taken by take_file() */
        {.name = "accounts", .types = TYPE(OBJECT), .expected = "an object"},
        {.name = "subjects", .types = TYPE(OBJECT), .expected = "an object of subjects by their names"},
        {.name = "cases", .types = TYPE(ARRAY), .expected = "an array of cases", .required = true},
};

static const JsonNode *find_typed(const JsonNode *object, const char *key, JsonType type) {
    const JsonNode *m = schema_find_member(object, key);

    return m && m->type == type ? m : NULL;
}

static void take_file(Parser *p, const JsonNode *root) {
    const JsonNode *accounts, *subjects, *cases;

    schema_take_keys(p->problems, root, "a test file", file_keys, ELEMENTSOF(file_keys), p);
    accounts = find_typed(root, "accounts", JSON_OBJECT);
    subjects = find_typed(root, "subjects", JSON_OBJECT);
    cases = find_typed(root, "cases", JSON_ARRAY);
    if (accounts)
        schema_take_keys(p->problems, accounts, "\"accounts\"", account_keys, ELEMENTSOF(account_keys), p);
    if (subjects)
        take_subjects(p, subjects);
    if (cases)
        take_cases(p, cases);
}

int test_file_parse(const char *file, const char *text, size_t size, TestFile *ret, Problems *problems) {
    _cleanup_(json_document_freep) JsonDocument *document = NULL;
    _cleanup_(parser_done) Parser p = {.problems = problems};
    _cleanup_free_ char *shown = sanitize(file, SIZE_MAX);
    const JsonNode *root;
    JsonError error;
    int r;

    if (!shown)
        return -ENOMEM;
    problems->file = shown;
    r = json_document_parse(text, size, &document, &error);
    if (r == -EBADMSG)
        problems_report(problems, error.line, error.column, "%s", error.message);
    if (r >= 0) {
        root = json_document_root(document);
        if (root->type == JSON_OBJECT)
            take_file(&p, root);
        else
            problems_report_value(problems, root, "a test file must be an object, found %s",
                    schema_describe_type(root->type));
    }
    problems->file = NULL;
    if (r == -ENOMEM || problems->out_of_memory)
        return -ENOMEM;
    if (problems_count(problems) > 0)
        return -EBADMSG;
    *ret = TAKE_GENERIC(p.file, (TestFile){});
    return 0;
}
