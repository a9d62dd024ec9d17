/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Runs the cases of a test file. A case that cannot be decided (the host has no such device, the user is
 * unknown) fails with the reason, and the others still run. */

#include <fcntl.h>

#include "base/fd.h"
#include "base/str.h"
#include "rehearsal/rehearsal-internal.h"

typedef struct Run {
    Accounts accounts;
    PolicyLoad load;
    const Policy *policy; /* borrowed from load; NULL when it has errors */
    TestFile file;
    size_t n_passed, n_failed;
    struct json_object *cases; /* owned */
} Run;

static void run_done(Run *run) {
    policy_load_done(&run->load);
    test_file_done(&run->file);
    json_object_put(run->cases);
}

/* The result of a case, got or expected. rule NULL: no rule matched. */
typedef struct Outcome {
    Effect effect;
    const Rule *rule;
    const DeviceName *device; /* borrowed from the case: the first with that effect */
    VfiodError error;
    char *refusal; /* owned; why Acquire refuses although the policy allows; NULL: it does not */
} Outcome;

static const char *error_name(VfiodError e) {
    return (int) e < 0 ? NULL : error_info(e)->name;
}

/* The rule of the result is that of the first device whose effect is the effect of the request. */
static int decide_all(Run *run, Survey *survey, const TestCase *c, const Subject *subject, Outcome *ret,
        char **ret_problem) {
    Outcome all = {.effect = EFFECT_ALLOW, .error = _VFIOD_ERROR_INVALID};

    for (size_t i = 0; i < c->request.n_devices; i++) {
        Decision decision;
        Effect effect;
        Device *device;
        int r;

        r = find_device(run->accounts.host, c->request.devices + i, &device, ret_problem);
        if (r >= 0)
            r = decide_device(run->accounts.host, survey, run->policy, subject, device, c->now_usec,
                    &decision, ret_problem);
        if (r < 0)
            return r;
        effect = effect_of_both(all.effect, decision.verdict.effect);
        if (i == 0 || effect != all.effect) {
            all.rule = decision.verdict.rule;
            all.device = c->request.devices + i;
        }
        all.effect = effect;
    }
    *ret = all;
    return 0;
}

static int get_outcome(Run *run, const TestCase *c, Outcome *ret, char **ret_problem) {
    _cleanup_(subject_done) Subject subject = SUBJECT_NULL;
    _cleanup_(answer_freep) Answer *answer = NULL;
    _cleanup_(survey_done) Survey survey = {};
    RehearsalSubject persona = persona_of_test(run->file.subjects + c->subject);
    _cleanup_free_ char *user = NULL;
    Outcome outcome;
    int r;

    r = persona_to_subject(&run->accounts, &persona, &subject, &user, ret_problem);
    if (r >= 0)
        r = decide_all(run, &survey, c, &subject, &outcome, ret_problem);
    if (r >= 0 && (c->expects_error || outcome.effect != EFFECT_DENY))
        r = decide_request(run->accounts.host, &survey, run->policy, &subject, &c->request, c->now_usec,
                &answer, ret_problem);
    if (r < 0)
        return r;
    if (answer && !answer->granted) {
        outcome.error = answer->refusal.code;
        if (outcome.effect != EFFECT_DENY)
            outcome.refusal = refusal_format(&answer->refusal);
        if (outcome.effect != EFFECT_DENY && !outcome.refusal)
            return -ENOMEM;
    }
    *ret = outcome;
    return r;
}

static bool rule_exists(const Policy *policy, const char *name) {
    for (size_t i = 0; i < policy_n_rules(policy); i++)
        if (streq(rule_name(policy_rule(policy, i)), name))
            return true;
    return false;
}

/* Explains "expected deny by a rule that …": usually the rule was removed. */
static int describe_unknown_rule(const Policy *policy, const char *name, StrBuf *b) {
    _cleanup_free_ const char **names = calloc(policy_n_rules(policy) + 1, sizeof(*names));
    const char *meant;

    if (!names)
        return -ENOMEM;
    for (size_t i = 0; i < policy_n_rules(policy); i++)
        names[i] = rule_name(policy_rule(policy, i));
    meant = nearest(name, names);
    strbuf_addf(b, "; no rule is called \"%s\"%s%s%s", name, meant ? ", did you mean \"" : "", meant ?: "",
            meant ? "\"?" : "");
    return 0;
}

static char *describe_failure(const Run *run, const TestCase *c, const Outcome *got) {
    _cleanup_strbuf_ StrBuf b = {};
    char name[DEVICE_NAME_MAX];

    strbuf_addf(&b, "expected %s", effect_to_string(c->expect));
    if (c->expects_rule)
        strbuf_addf(&b, " by %s%s%s", c->rule ? "the rule \"" : "the default", c->rule ?: "",
                c->rule ? "\"" : "");
    if (c->expects_error)
        strbuf_addf(
                &b, " and %s%s", (int) c->error < 0 ? "no error" : "the error ", error_name(c->error) ?: "");
    strbuf_addf(&b, ", got %s", effect_to_string(got->effect));
    if (c->request.n_devices > 1)
        strbuf_addf(&b, " for %s", device_name_format(got->device, name));
    strbuf_addf(&b, " by %s", got->rule ? rule_origin(got->rule) : "the default");
    if (c->expects_error)
        strbuf_addf(&b, " and %s%s", (int) got->error < 0 ? "no error" : "the error ",
                error_name(got->error) ?: "");
    if (c->rule && !rule_exists(run->policy, c->rule) && describe_unknown_rule(run->policy, c->rule, &b) < 0)
        return NULL;
    return strbuf_steal(&b);
}

static bool is_expected(const TestCase *c, const Outcome *got) {
    if (got->effect != c->expect || (c->expects_error && got->error != c->error))
        return false;
    return !c->expects_rule || streq_ptr(c->rule, got->rule ? rule_name(got->rule) : NULL);
}

static int add_expected(struct json_object *o, const TestCase *c) {
    _cleanup_json_ struct json_object *expected = json_object_new_object();

    if (!expected || json_add_string(expected, "effect", effect_to_string(c->expect)) < 0)
        return -ENOMEM;
    if (c->expects_rule && json_add_string(expected, "rule", c->rule) < 0)
        return -ENOMEM;
    if (c->expects_error && json_add_string(expected, "error", error_name(c->error)) < 0)
        return -ENOMEM;
    return json_add(o, "expected", TAKE_PTR(expected));
}

/* got: NULL when it could not be decided. */
static int add_got(struct json_object *o, const TestCase *c, const Outcome *got) {
    _cleanup_json_ struct json_object *object = got ? json_object_new_object() : NULL;

    if (!got)
        return json_add_string(o, "got", NULL);
    if (!object || json_add_string(object, "effect", effect_to_string(got->effect)) < 0 ||
            json_add_string(object, "rule", got->rule ? rule_name(got->rule) : NULL) < 0)
        return -ENOMEM;
    if (c->expects_error && json_add_string(object, "error", error_name(got->error)) < 0)
        return -ENOMEM;
    return json_add(o, "got", TAKE_PTR(object));
}

static int add_result(Run *run, const TestCase *c, const Outcome *got, bool passed, const char *message) {
    _cleanup_json_ struct json_object *o = json_object_new_object();

    if (!o || json_add_string(o, "name", c->name) < 0 ||
            json_add(o, "line", json_object_new_int64(c->line)) < 0 ||
            json_add(o, "passed", json_object_new_boolean(passed)) < 0 || add_expected(o, c) < 0 ||
            add_got(o, c, got) < 0 ||
            json_add_string(o, "rule", got && got->rule ? rule_origin(got->rule) : NULL) < 0 ||
            json_add_string(o, "origin", got && got->rule ? rule_origin(got->rule) : NULL) < 0 ||
            json_add_string(o, "message", message) < 0 ||
            json_add_string(o, "refused", got ? got->refusal : NULL) < 0)
        return -ENOMEM;
    return json_append(run->cases, TAKE_PTR(o));
}

static int run_case(Run *run, const TestCase *c) {
    _cleanup_free_ char *message = NULL;
    bool passed = false;
    Outcome got = {};
    int r;

    r = get_outcome(run, c, &got, &message);
    if (r >= 0)
        passed = is_expected(c, &got);
    if (r >= 0 && !passed)
        message = describe_failure(run, c, &got);
    run->n_passed += passed;
    run->n_failed += !passed;
    r = !passed && !message ? -ENOMEM : add_result(run, c, r >= 0 ? &got : NULL, passed, message);
    free(got.refusal);
    return r;
}

/* Names in the file's "accounts" apply to the policy too, so the policy is read again with them. errors:
 * those of the policy. */
static int load_policy(Run *run, const Rehearsal *r, struct json_object *errors) {
    int k;

    k = rehearsal_load_policy(r, accounts_resolve, &run->accounts, &run->load);
    run->policy = run->load.policy;
    for (size_t i = 0; k >= 0 && i < run->load.n_errors; i++)
        k = json_append(errors, json_object_new_string(run->load.errors[i]));
    return k;
}

int test_file_load(const char *path, TestFile *ret, struct json_object *errors, char **ret_problem) {
    _cleanup_(problems_done) Problems problems = {};
    _cleanup_free_ char *text = NULL;
    size_t size;
    int r;

    r = read_file_at(AT_FDCWD, path, JSON_SIZE_MAX, &text, &size);
    if (r < 0)
        return problem(ret_problem, r, "%s: cannot read: %s", path, strerror(-r));
    r = test_file_parse(path, text, size, ret, &problems);
    if (r != -EBADMSG)
        return r;
    for (size_t i = 0; i < problems_count(&problems); i++)
        if (json_append(errors, json_object_new_string(problems_get(&problems, i))) < 0)
            return -ENOMEM;
    return 0;
}

static int append(void **list, size_t *n, void *more, size_t n_more, size_t size) {
    void *grown;

    if (n_more == 0)
        return 0;
    grown = reallocarray(*list, *n + n_more, size);
    if (!grown)
        return -ENOMEM;
    memcpy((char *) grown + *n * size, more, n_more * size);
    *list = grown;
    *n += n_more;
    return 0;
}

/* Moves accounts and subjects; those that were moved are removed from from. */
static int merge(TestFile *into, TestFile *from) {
    if (append((void **) &into->accounts, &into->n_accounts, from->accounts, from->n_accounts,
                sizeof(*from->accounts)) < 0)
        return -ENOMEM;
    from->n_accounts = 0;
    if (append((void **) &into->subjects, &into->n_subjects, from->subjects, from->n_subjects,
                sizeof(*from->subjects)) < 0)
        return -ENOMEM;
    from->n_subjects = 0;
    return 0;
}

int test_files_merge(const char *const *paths, TestFile *ret, char **ret_problem) {
    _cleanup_(test_file_done) TestFile all = {};

    for (size_t i = 0; paths && paths[i]; i++) {
        _cleanup_json_ struct json_object *errors = json_object_new_array();
        _cleanup_(test_file_done) TestFile one = {};
        int r;

        r = errors ? test_file_load(paths[i], &one, errors, ret_problem) : -ENOMEM;
        if (r >= 0 && json_object_array_length(errors) > 0)
            r = problem(ret_problem, -EBADMSG, "%s",
                    json_object_get_string(json_object_array_get_idx(errors, 0)));
        if (r >= 0)
            r = merge(&all, &one);
        if (r < 0)
            return r;
    }
    *ret = TAKE_GENERIC(all, (TestFile){});
    return 0;
}

int rehearsal_test(Rehearsal *r, const char *path, struct json_object **ret, char **ret_problem) {
    _cleanup_json_ struct json_object *o = json_object_new_object(), *errors = json_object_new_array();
    _cleanup_(run_done) Run run = {.cases = json_object_new_array()};
    int k;

    *ret_problem = NULL;
    if (!o || !errors || !run.cases)
        return -ENOMEM;
    run.accounts = (Accounts){.host = &r->host, .test = &run.file};
    k = test_file_load(path, &run.file, errors, ret_problem);
    if (k >= 0 && json_object_array_length(errors) == 0)
        k = load_policy(&run, r, errors);
    for (size_t i = 0; k >= 0 && run.policy && i < run.file.n_cases; i++)
        k = run_case(&run, run.file.cases + i);
    if (k < 0)
        return k;
    if (json_add(o, "passed", json_object_new_uint64(run.n_passed)) < 0 ||
            json_add(o, "failed", json_object_new_uint64(run.n_failed)) < 0 ||
            json_add(o, "errors", TAKE_PTR(errors)) < 0 ||
            json_add(o, "cases", TAKE_GENERIC(run.cases, NULL)) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(o);
    return 0;
}
