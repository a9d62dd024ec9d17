/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The figures, as a list of name, labels and value. Everybody sees totals, which follow from the lists of
 * claims and taints anyway. Only root sees figures by rule, because they name rules and show how often each
 * decides. */

#include "base/str.h"
#include "core/device-kind.h"
#include "core/progress.h"
#include "daemon/broker/views.h"

#define LABELS_MAX 3U

/* A label without a name is left out. */
typedef struct Label {
    const char *name, *word;
} Label;

static int put_label(const ViewSink *out, const Label *label) {
    int r;

    if (!label->name)
        return 0;
    r = view_open(out, 'e', "ss");
    if (r >= 0)
        r = view_text(out, label->name);
    if (r >= 0)
        r = view_text(out, label->word);
    return r < 0 ? r : view_close(out);
}

static int put_labelled(
        const ViewSink *out, const char *name, const Label labels[static LABELS_MAX], uint64_t value) {
    int r;

    r = view_open(out, 'r', "sa{ss}t");
    if (r >= 0)
        r = view_text(out, name);
    if (r >= 0)
        r = view_open(out, 'a', "{ss}");
    for (size_t i = 0; i < LABELS_MAX && r >= 0; i++)
        r = put_label(out, &labels[i]);
    if (r >= 0)
        r = view_close(out);
    if (r >= 0)
        r = view_number(out, 't', value);
    return r < 0 ? r : view_close(out);
}

/* label NULL: none. */
static int put(const ViewSink *out, const char *name, const char *label, const char *word, uint64_t value) {
    return put_labelled(out, name, (const Label[LABELS_MAX]){{label, word}}, value);
}

/* One figure for each word, also if it is 0. */
static int put_each(const ViewSink *out, const char *name, const char *label, const char *(*word)(int i),
        const uint64_t *values, int n) {
    int r = 0;

    for (int i = 0; i < n && r >= 0; i++)
        if (word(i))
            r = put(out, name, label, word(i), values[i]);
    return r;
}

static const char *error_word(int i) {
    return error_info((VfiodError) i)->name;
}

static const char *end_word(int i) {
    return claim_end_to_string((ClaimEnd) i);
}

static const char *failure_word(int i) {
    return i == MEMBER_FAILURE_NONE ? NULL : member_failure_to_string((MemberFailure) i);
}

static int put_results(const ViewSink *out, const char *name, uint64_t done, uint64_t failed) {
    int r = put(out, name, "result", "done", done);

    return r < 0 ? r : put(out, name, "result", "failed", failed);
}

static int put_claims(const ViewSink *out, const Figures *f) {
    int r;

    r = put(out, "grants", NULL, NULL, f->grants);
    if (r >= 0)
        r = put_each(out, "refusals", "error", error_word, f->refusals, _VFIOD_ERROR_MAX);
    if (r >= 0)
        r = put_each(out, "ended-claims", "cause", end_word, f->ends, _CLAIM_END_MAX);
    if (r >= 0)
        r = put(out, "reservations", NULL, NULL, f->reservations);
    if (r >= 0)
        r = put(out, "waits", NULL, NULL, f->waits);
    return r < 0 ? r : put(out, "authentications", NULL, NULL, f->authentications);
}

static int put_work(const ViewSink *out, const Figures *f) {
    int r;

    r = put_results(out, "binds", f->done[FIGURE_BIND], f->failed[FIGURE_BIND]);
    if (r >= 0)
        r = put_results(out, "resets", f->done[FIGURE_RESET], f->failed[FIGURE_RESET]);
    if (r >= 0)
        r = put_results(out, "restores", f->done[FIGURE_RESTORE], f->failed[FIGURE_RESTORE]);
    return r < 0 ? r
                 : put_each(out, "quarantines", "cause", failure_word, f->quarantines, _MEMBER_FAILURE_MAX);
}

static int put_limits(const ViewSink *out, const ViewHost *host) {
    uint64_t allowed, locked;
    int r = 0;

    for (BudgetLimit l = 0; l < _BUDGET_LIMIT_MAX && r >= 0; l++)
        r = put(out, "budget-refusals", "limit", budget_limit_to_string(l),
                budget_n_refused(host->budget, l));
    broker_get_memory(host->broker, &allowed, &locked);
    if (r >= 0)
        r = put(out, "locked-memory-allowed", NULL, NULL, allowed);
    return r < 0 ? r : put(out, "locked-memory", NULL, NULL, locked);
}

static int put_rule(const ViewSink *out, const char *key, const FigureRule *rule) {
    int r = put(out, "grants-by-rule", "rule", key, rule->grants);

    return r < 0 ? r : put(out, "refusals-by-rule", "rule", key, rule->refusals);
}

static int put_rules(const ViewSink *out, const Figures *f) {
    int r = 0;

    for (size_t i = 0; i < f->n_rules && r >= 0; i++)
        r = put_rule(out, f->rules[i].key, &f->rules[i]);
    if (r >= 0 && f->other_rules.grants + f->other_rules.refusals > 0)
        r = put_rule(out, FIGURES_OTHER_RULES, &f->other_rules);
    return r;
}

/* ---- Present numbers ---- */

/* For words of vfiod (kinds times states, and so on). Beyond this limit they are left out. */
#define TALLIES_MAX 256U

typedef struct Tally {
    const char *name;
    Label labels[LABELS_MAX];
    uint64_t n;
} Tally;

typedef struct Census {
    Tally tallies[TALLIES_MAX];
    size_t n;
    uint64_t oldest_usec; /* of a claim; 0: none */
} Census;

static bool is_same(const char *a, const char *b) {
    return a == b || streq_ptr(a, b);
}

static void count(Census *c, const char *name, const Label labels[static LABELS_MAX]) {
    size_t i = 0;

    while (i < c->n &&
            (c->tallies[i].name != name || !is_same(c->tallies[i].labels[0].word, labels[0].word) ||
                    !is_same(c->tallies[i].labels[1].word, labels[1].word) ||
                    !is_same(c->tallies[i].labels[2].word, labels[2].word)))
        i++;
    if (i == TALLIES_MAX)
        return;
    if (i == c->n) {
        c->tallies[c->n++] = (Tally){.name = name};
        memcpy(c->tallies[i].labels, labels, sizeof(c->tallies[i].labels));
    }
    c->tallies[i].n++;
}

static const char devices[] = "devices", quarantined[] = "quarantined-devices", groups[] = "groups",
                  claims[] = "claims", taints[] = "taints";

static int count_device(Device *d, void *userdata) {
    const char *cause = view_quarantine_cause(d);

    count(userdata, devices,
            (const Label[LABELS_MAX]){
                    {"kind", device_kind_info(d->name.kind)->name}, {"state", view_device_state(d)}});
    if (cause)
        count(userdata, quarantined, (const Label[LABELS_MAX]){{"cause", cause}});
    return 0;
}

static int count_group(Group *g, void *userdata) {
    count(userdata, groups,
            (const Label[LABELS_MAX]){
                    {"state", view_group_state(g)}, {"viable", view_group_is_viable(g) ? "yes" : "no"}});
    return 0;
}

static int count_claim(const Claim *claim, void *userdata) {
    Census *c = userdata;

    if (c->oldest_usec == 0 || claim->since_usec < c->oldest_usec)
        c->oldest_usec = claim->since_usec;
    count(c, claims,
            (const Label[LABELS_MAX]){{"state", claim_state_to_string(claim->state)},
                    {"backend", backend_to_string(claim->plan.backend) ?: ""},
                    {"grant", grant_kind_to_string(claim->plan.grant) ?: ""}});
    return 0;
}

static void count_taints(Census *c, const TaintList *list) {
    for (size_t i = 0; i < list->n; i++)
        count(c, taints,
                (const Label[LABELS_MAX]){{"kind", taint_kind_to_string(list->entries[i].kind)},
                        {"weakens", list->entries[i].weakens ? "yes" : "no"}});
}

static int put_census(const ViewSink *out, const ViewHost *host) {
    _cleanup_free_ Census *c = calloc(1, sizeof(*c));
    int r = 0;

    if (!c)
        return -ENOMEM;
    (void) inventory_foreach_device(host->inventory, count_device, c);
    (void) inventory_foreach_group(host->inventory, count_group, c);
    (void) broker_foreach_claim(host->broker, count_claim, c);
    count_taints(c, host->read_taints(host->userdata));
    for (size_t i = 0; i < c->n && r >= 0; i++)
        r = put_labelled(out, c->tallies[i].name, c->tallies[i].labels, c->tallies[i].n);
    if (r >= 0 && c->oldest_usec > 0)
        r = put(out, "oldest-claim", NULL, NULL, c->oldest_usec);
    return r;
}

static int put_policy(const ViewSink *out, const ViewHost *host, const Figures *f) {
    const PolicyLoad *p = host->policy;
    int r;

    r = put(out, "policy", "state", view_policy_state(p), 1);
    if (r >= 0)
        r = put(out, "policy-rules", NULL, NULL, p->policy ? policy_n_rules(p->policy) : 0);
    if (r >= 0)
        r = put(out, "policy-errors", NULL, NULL, p->n_errors);
    if (r >= 0)
        r = put(out, "policy-warnings", NULL, NULL, p->n_warnings);
    if (r >= 0)
        r = put_results(out, "policy-loads", f->policies_loaded, f->policies_failed);
    if (r >= 0 && f->policy_loaded_usec > 0)
        r = put(out, "policy-loaded", NULL, NULL, f->policy_loaded_usec);
    if (r >= 0)
        r = put(out, "claims-denied-by-policy", NULL, NULL, view_n_claims_denied(host));
    return r < 0 ? r : put(out, "shadow-differences", NULL, NULL, broker_shadow_differences(host->broker));
}

int view_put_figures(const ViewQuery *q, const ViewSink *out) {
    const Figures *f = broker_figures(q->host->broker);
    int r;

    r = view_open(out, 'a', "(sa{ss}t)");
    if (r >= 0)
        r = put(out, "build", "version", VFIOD_VERSION, 1);
    if (r >= 0)
        r = put(out, "started", NULL, NULL, f->started_usec);
    if (r >= 0)
        r = put_claims(out, f);
    if (r >= 0)
        r = put_work(out, f);
    if (r >= 0)
        r = put_limits(out, q->host);
    if (r >= 0)
        r = put_policy(out, q->host, f);
    if (r >= 0)
        r = put_census(out, q->host);
    if (r >= 0 && view_reader_is_operator(q))
        r = put_rules(out, f);
    return r < 0 ? r : view_close(out);
}
