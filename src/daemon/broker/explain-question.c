/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/explain-question.h"

#include "base/json-build.h"
#include "base/str.h"
#include "base/user-name.h"
#include "core/capability.h"

void explain_question_done(ExplainQuestion *q) {
    free(TAKE_PTR(q->other.gids));
}

int explain_question_add_capability(ExplainQuestion *q, const char *name, Refusal *refusal) {
    int capability = capability_from_name(name);
    _cleanup_free_ char *shown = capability < 0 ? sanitize(name, 64) : NULL;

    if (capability < 0)
        return refuse(
                refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "there is no capability \"%s\"", shown ?: "");
    if (q->other.capabilities >> capability & 1)
        return refuse(
                refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the capability \"%s\" is given twice", name);
    q->other.capabilities |= UINT64_C(1) << capability;
    return 0;
}

/* In the words of the policy. */
int explain_question_set_namespace(ExplainQuestion *q, const char *word, Refusal *refusal) {
    if (!streq(word, "host") && !streq(word, "other"))
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "the option \"namespace\" must be \"host\" or \"other\"");
    q->other.user_namespace = q->other.pid_namespace = streq(word, "host") ? NAMESPACE_HOST : NAMESPACE_OTHER;
    return 0;
}

/* Fits the members of a Subject, which are not const because it usually owns them; this one is borrowed. */
int explain_question_set_scope(ExplainQuestion *q, const char *name, Refusal *refusal) {
    if (!scope_name_is_valid(name))
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "the option \"scope\" must be the name of a scope");
    q->other.scope = (char *) name;
    return 0;
}

int explain_question_set_gids(ExplainQuestion *q, const gid_t *gids, size_t n, Refusal *refusal) {
    if (q->other.gids)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the option \"gids\" is given twice");
    if (n > SUBJECT_COPY_GROUPS_MAX)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "there are more than %u gids",
                SUBJECT_COPY_GROUPS_MAX);
    if (n == 0)
        return 0;
    q->other.gids = malloc(n * sizeof(*gids));
    if (!q->other.gids)
        return -ENOMEM;
    memcpy(q->other.gids, gids, n * sizeof(*gids));
    q->other.n_gids = n;
    return 0;
}

int explain_check_paid(const BudgetAccount *account, Refusal *refusal) {
    if (account_is_operator(account) || budget_has_credit(account, PURSE_EXPLAIN, budget_now()))
        return 0;
    return refuse(refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL,
            "%s has asked for too many explanations just now", USER_TEXT(account->uid));
}

static int check_question(const ExplainQuestion *q, const Subject *asker, Refusal *refusal) {
    int r;

    if ((q->request.n_devices > 0) + (q->claim != NULL) + q->last_refusal != 1)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "only one of these can be explained at a time: devices, a claim, the last refusal");
    if (q->request.ticket[0])
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "a ticket cannot be explained: name its device, or show its plan");
    if (!q->about_other)
        return 0;
    if (!subject_is_operator(asker)) {
        r = refuse(refusal, VFIOD_ERROR_ACCESS_DENIED, NULL, "only root can ask about another user");
        refusal->remedy = strdup("Do it as root, or leave out the options that describe a caller.");
        return r;
    }
    if (q->other.uid == (uid_t) -1)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "the options describe a caller without a \"uid\"");
    return 0;
}

static int explain(Broker *e, const ExplainQuestion *q, BrokerInquiry *inquiry, const Subject *asker,
        struct json_object **ret, Refusal *refusal) {
    const ExplainQuery query = {
            .subject = q->about_other ? &q->other : asker,
            .request = &q->request,
            .inquiry = inquiry,
            .audience = subject_is_operator(asker) ? AUDIENCE_OPERATOR : AUDIENCE_SUBJECT,
            .user = q->user,
    };

    if (q->claim)
        return broker_explain_claim(e, inquiry, q->claim, asker, ret, refusal);
    if (q->last_refusal)
        return broker_explain_last_refusal(e, inquiry, q->other.uid, asker, ret, refusal);
    return broker_explain(e, &query, ret, refusal);
}

static int answer(Broker *e, const ExplainQuestion *q, BrokerInquiry *inquiry, const Subject *asker,
        char **ret, Refusal *refusal) {
    _cleanup_json_ struct json_object *o = NULL;
    const char *text;
    char *copy;
    int r;

    r = check_question(q, asker, refusal);
    if (r >= 0)
        r = explain(e, q, inquiry, asker, &o, refusal);
    if (r < 0)
        return r;
    text = json_print(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    copy = text ? strdup(text) : NULL;
    if (!copy)
        return -ENOMEM;
    *ret = copy;
    return 0;
}

int explain_question_answer(Broker *e, const ExplainQuestion *q, BrokerInquiry *inquiry, const Subject *asker,
        BudgetAccount *account, char **ret, Refusal *refusal) {
    uint64_t begin_usec = budget_now();
    int r;

    r = answer(e, q, inquiry, asker, ret, refusal);
    budget_spend(account, PURSE_EXPLAIN, begin_usec, budget_now() - begin_usec);
    return r;
}
