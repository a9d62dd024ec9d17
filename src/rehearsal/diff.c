/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Policies are compared by their decisions, not by their text: every device of the host for every subject of
 * cast.h. A decision has changed when its effect differs, or when both allow with different terms. */

#include <inttypes.h>
#include <stdio.h>

#include "base/str.h"
#include "rehearsal/cast.h"
#include "rehearsal/decide.h"
#include "rehearsal/rehearsal-internal.h"

#define DECISIONS_MAX (4U * 1024 * 1024)

typedef struct Diff {
    HostView *host;
    Inventory *inventory;
    const Policy *old_policy, *new_policy;
    const Cast *cast;
    uint64_t now_usec;
    size_t n_decisions;
    struct json_object *changed; /* borrowed from the result */
} Diff;

/* --- the terms of rules that allow --- */

enum {
    TERM_BACKEND,
    TERM_GRANT,
    TERM_TETHER,
    TERM_RESET,
    TERM_SIBLINGS,
    TERM_HOST_CRITICAL,
    TERM_UNTAINTED,
    TERM_REASON,
    TERM_MEMLOCK,
    TERM_WAIVER,
    TERM_LIMITS,
    TERM_NETWORK,
    TERM_PRIORITY,
    TERM_EVICTION_DELAY,
    TERM_MAX_DURATION,
    TERM_PREEMPTIBLE,
    TERM_SCRUB,
    TERM_DRIVER,
    TERM_STOP_AFTER,
    TERM_DRAIN_TIMEOUT,
    TERM_SLEEP_DELAY,
    TERM_D3COLD,
    N_TERMS,
};
static const char *const term_names[N_TERMS] = {
        [TERM_BACKEND] = "backend",
        [TERM_GRANT] = "grant",
        [TERM_TETHER] = "tether",
        [TERM_RESET] = "reset",
        [TERM_SIBLINGS] = "siblings",
        [TERM_HOST_CRITICAL] = "host-critical",
        [TERM_UNTAINTED] = "untainted",
        [TERM_REASON] = "reason",
        [TERM_MEMLOCK] = "memlock",
        [TERM_WAIVER] = "waive-cap-sys-rawio",
        [TERM_LIMITS] = "limits",
        [TERM_NETWORK] = "network",
        [TERM_PRIORITY] = "priority",
        [TERM_EVICTION_DELAY] = "eviction-delay",
        [TERM_MAX_DURATION] = "max-duration",
        [TERM_PREEMPTIBLE] = "preemptible",
        [TERM_SCRUB] = "scrub",
        [TERM_DRIVER] = "driver",
        [TERM_STOP_AFTER] = "stop-after",
        [TERM_DRAIN_TIMEOUT] = "drain-timeout",
        [TERM_SLEEP_DELAY] = "sleep-delay",
        [TERM_D3COLD] = "d3cold",
};

typedef struct TermTexts {
    char texts[N_TERMS][160];
} TermTexts;

static void describe_words(char *buf, size_t size, unsigned mask, const char *(*to_string)(int) ) {
    size_t n = 0;

    buf[0] = '\0';
    for (int i = 0; mask >> i != 0; i++)
        if (mask & 1U << i && n < size)
            n += (size_t) snprintf(buf + n, size - n, "%s%s", n > 0 ? " " : "", to_string(i));
}

static const char *backend_word(int i) {
    return backend_to_string((Backend) i);
}

static const char *grant_word(int i) {
    return grant_kind_to_string((GrantKind) i);
}

static const char *tether_word(int i) {
    return tether_kind_to_string((TetherKind) i);
}

static void describe_limits(char *buf, size_t size, const RuleLimits *l) {
    const struct {
        const char *name;
        uint64_t value;
    } limits[] = {
            {"claims", l->claims},
            {"devices", l->devices},
            {"claims-per-user", l->claims_per_user},
            {"devices-per-user", l->devices_per_user},
            {"pinned", l->pinned},
    };
    size_t n = 0;

    snprintf(buf, size, "none");
    for (size_t i = 0; i < ELEMENTSOF(limits) && n < size; i++)
        if (limits[i].value != LIMIT_NONE)
            n += (size_t) snprintf(
                    buf + n, size - n, "%s%s %" PRIu64, n > 0 ? " " : "", limits[i].name, limits[i].value);
}

static void describe_network(char *buf, size_t size, const VfBounds *b) {
    size_t n = 0;

    snprintf(buf, size, "none");
    for (VfAttribute a = 0; a < _VF_ATTRIBUTE_MAX && n < size; a++) {
        _cleanup_free_ char *values = vf_bounds_describe(b, a);

        if (values && *values)
            n += (size_t) snprintf(
                    buf + n, size - n, "%s%s %s", n > 0 ? "; " : "", vf_attribute_to_string(a), values);
    }
}

static void describe_delay(char *buf, size_t size, uint32_t seconds) {
    if (seconds > 0)
        snprintf(buf, size, "%" PRIu32, seconds);
    else
        snprintf(buf, size, "none");
}

static void describe_terms(const RuleTerms *t, TermTexts *ret) {
    const size_t size = sizeof(ret->texts[0]);

    describe_words(ret->texts[TERM_BACKEND], size, t->backends, backend_word);
    describe_words(ret->texts[TERM_GRANT], size, t->grants, grant_word);
    describe_words(ret->texts[TERM_TETHER], size, t->tethers, tether_word);
    snprintf(ret->texts[TERM_RESET], size, "%s", reset_demand_to_string(t->reset));
    snprintf(ret->texts[TERM_SIBLINGS], size, "%s", sibling_demand_to_string(t->siblings));
    snprintf(ret->texts[TERM_HOST_CRITICAL], size, "%s", host_critical_demand_to_string(t->host_critical));
    snprintf(ret->texts[TERM_UNTAINTED], size, "%s", t->untainted ? "yes" : "no");
    snprintf(ret->texts[TERM_REASON], size, "%s", t->reason_required ? "required" : "optional");
    snprintf(ret->texts[TERM_MEMLOCK], size, "%" PRIu64, t->memlock_max);
    snprintf(ret->texts[TERM_WAIVER], size, "%s", t->waive_sys_rawio ? "yes" : "no");
    describe_limits(ret->texts[TERM_LIMITS], size, &t->limits);
    describe_network(ret->texts[TERM_NETWORK], size, &t->network);
    snprintf(ret->texts[TERM_PRIORITY], size, "%d", t->priority);
    snprintf(ret->texts[TERM_EVICTION_DELAY], size, "%" PRIu32, t->hold.eviction_delay_sec);
    snprintf(ret->texts[TERM_SLEEP_DELAY], size, "%" PRIu32, t->hold.sleep_delay_sec);
    snprintf(ret->texts[TERM_D3COLD], size, "%s", t->hold.d3cold ? "yes" : "no");
    snprintf(ret->texts[TERM_PREEMPTIBLE], size, "%s", t->hold.preemptible ? "yes" : "no");
    describe_delay(ret->texts[TERM_MAX_DURATION], size, t->hold.max_duration_sec);
    describe_delay(ret->texts[TERM_STOP_AFTER], size, t->hold.stop_after_sec);
    describe_delay(ret->texts[TERM_DRAIN_TIMEOUT], size, t->hold.drain_timeout_sec);
    snprintf(ret->texts[TERM_SCRUB], size, "%s", t->scrub ?: "none");
    snprintf(ret->texts[TERM_DRIVER], size, "%s", t->driver ?: "the best of the kernel");
}

/* An array of "reset: required -> optional", empty when nothing differs. NULL on ENOMEM. */
static struct json_object *compare_terms(const RuleTerms *old, const RuleTerms *new) {
    _cleanup_json_ struct json_object *list = json_object_new_array();
    TermTexts before, after;

    if (!list || !old || !new)
        return TAKE_PTR(list);
    describe_terms(old, &before);
    describe_terms(new, &after);
    for (size_t i = 0; i < N_TERMS; i++) {
        char text[400];

        if (streq(before.texts[i], after.texts[i]))
            continue;
        snprintf(text, sizeof(text), "%s: %s -> %s", term_names[i], before.texts[i], after.texts[i]);
        if (json_append(list, json_object_new_string(text)) < 0)
            return NULL;
    }
    return TAKE_PTR(list);
}

/* --- the comparison --- */

static int add_verdict(struct json_object *o, const char *key, const Verdict *v) {
    _cleanup_json_ struct json_object *verdict = json_object_new_object();

    if (!verdict || json_add_string(verdict, "effect", effect_to_string(v->effect)) < 0 ||
            json_add_string(verdict, "rule", v->rule ? rule_origin(v->rule) : NULL) < 0)
        return -ENOMEM;
    return json_add(o, key, TAKE_PTR(verdict));
}

static int compare(Diff *d, const Device *device, const DeviceFacts *facts, const CastMember *who) {
    const PolicyQuestion question = {
            .subject = &who->subject, .device = device, .facts = facts, .now_usec = d->now_usec};
    Verdict before = policy_evaluate(d->old_policy, &question),
            after = policy_evaluate(d->new_policy, &question);
    _cleanup_json_ struct json_object *o = NULL, *terms = compare_terms(before.terms, after.terms);
    char name[DEVICE_NAME_MAX];

    if (!terms)
        return -ENOMEM;
    d->n_decisions++;
    if (before.effect == after.effect && json_object_array_length(terms) == 0)
        return 0;
    o = json_object_new_object();
    if (!o || json_add_string(o, "subject", who->text ?: who->name) < 0 ||
            json_add_string(o, "device", device_name_format(&device->name, name)) < 0 ||
            add_verdict(o, "old", &before) < 0 || add_verdict(o, "new", &after) < 0 ||
            json_add(o, "terms", TAKE_PTR(terms)) < 0)
        return -ENOMEM;
    return json_append(d->changed, TAKE_PTR(o));
}

/* The facts of a device are read once for all subjects. */
static int compare_device(Device *device, void *userdata) {
    Diff *d = userdata;
    unsigned needed = policy_needed_facts(d->old_policy) | policy_needed_facts(d->new_policy);
    _cleanup_(survey_done) Survey survey = {};
    const DeviceFacts *facts;
    int r;

    r = look_at_device(d->host, d->inventory, &survey, &device->name, needed, &facts);
    if (r < 0)
        return r;
    for (size_t i = 0; i < d->cast->n; i++) {
        int k = compare(d, device, facts, d->cast->members + i);

        if (k < 0)
            return k;
    }
    return 0;
}

static int add_texts(Cast *cast, const Accounts *accounts, const Rehearsal *r, char **ret_problem) {
    int k = 0;

    for (size_t i = 0; i < r->n_texts && k >= 0; i++)
        if (r->texts[i].fate == POLICY_FILE_READ)
            k = cast_add_policy(cast, accounts, r->texts[i].text, r->texts[i].size, ret_problem);
    return k;
}

static int gather(Cast *cast, const Accounts *accounts, const Rehearsal *old, const Rehearsal *new,
        char **ret_problem) {
    int r;

    r = cast_add_tests(cast, accounts, ret_problem);
    if (r >= 0)
        r = add_texts(cast, accounts, new, ret_problem);
    if (r >= 0)
        r = add_texts(cast, accounts, old, ret_problem);
    return r < 0 ? r : cast_add_accounts(cast, accounts, ret_problem);
}

static int load(Rehearsal *r, Accounts *accounts, PolicyLoad *ret, char **ret_problem) {
    int k;

    k = rehearsal_load_policy(r, accounts_resolve, accounts, ret);
    if (k < 0)
        return k;
    return ret->policy ? 0 : problem(ret_problem, -EINVAL, "%s", ret->n_errors > 0 ? ret->errors[0] : "?");
}

static int run(Diff *d, char **ret_problem) {
    int r;

    r = host_view_get_inventory(d->host, &d->inventory, ret_problem);
    if (r < 0)
        return r;
    if ((uint64_t) inventory_n_devices(d->inventory) * d->cast->n > DECISIONS_MAX)
        return problem(ret_problem, -E2BIG, "%u devices and %zu subjects are too many to compare",
                inventory_n_devices(d->inventory), d->cast->n);
    return inventory_foreach_device(d->inventory, compare_device, d);
}

int rehearsal_diff(Rehearsal *old, Rehearsal *new, const char *const *tests, bool for_people,
        struct json_object **ret, char **ret_problem) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    _cleanup_(policy_load_done) PolicyLoad old_load = {}, new_load = {};
    _cleanup_(test_file_done) TestFile file = {};
    _cleanup_(cast_done) Cast cast = {.for_people = for_people};
    Accounts accounts = {.host = &new->host, .test = &file};
    Diff diff = {.host = &new->host, .cast = &cast, .now_usec = time_now()};
    int r;

    *ret_problem = NULL;
    diff.changed = json_object_new_array();
    if (!o || json_add(o, "changed", diff.changed) < 0)
        return -ENOMEM;
    r = test_files_merge(tests, &file, ret_problem);
    if (r >= 0)
        r = load(old, &accounts, &old_load, ret_problem);
    if (r >= 0)
        r = load(new, &accounts, &new_load, ret_problem);
    if (r >= 0)
        r = gather(&cast, &accounts, old, new, ret_problem);
    if (r < 0)
        return r;
    diff.old_policy = old_load.policy;
    diff.new_policy = new_load.policy;
    r = run(&diff, ret_problem);
    if (r < 0)
        return r;
    if (json_add(o, "decisions", json_object_new_uint64(diff.n_decisions)) < 0 ||
            json_add(o, "subjects", json_object_new_uint64(cast.n)) < 0 ||
            json_add(o, "subjectsLeftOut", json_object_new_uint64(cast.n_left_out)) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(o);
    return 0;
}
