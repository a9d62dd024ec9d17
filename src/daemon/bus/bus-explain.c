/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Manager.Explain: of a request, of a claim, or of the last refusal. Everybody may ask about himself, as the
 * kernel and the bus know him; root may describe somebody else. */

#include "base/json-build.h"
#include "base/str.h"
#include "core/capability.h"
#include "daemon/bus/bus-internal.h"
#include "daemon/broker/broker-explain.h"

typedef struct Question {
    Request request;
    Subject other; /* whom root describes; only gids is owned, the rest is borrowed from the message */
    bool about_other, last_refusal;
    const char *user, *claim; /* borrowed from the message; NULL: not given */
} Question;

static int read_string(sd_bus_message *m, const char **ret) {
    return sd_bus_message_read(m, "v", "s", ret);
}

static int read_bool(sd_bus_message *m, bool *ret) {
    int value, r;

    r = sd_bus_message_read(m, "v", "b", &value);
    if (r >= 0)
        *ret = value != 0;
    return r;
}

static int read_gids(sd_bus_message *m, Subject *s, Refusal *refusal) {
    const uint32_t *gids;
    size_t size;
    int r;

    if (s->gids)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the option \"gids\" is given twice");
    r = sd_bus_message_enter_container(m, 'v', "au");
    if (r >= 0)
        r = sd_bus_message_read_array(m, 'u', (const void **) &gids, &size);
    if (r < 0)
        return r;
    if (size / sizeof(*gids) > SUBJECT_COPY_GROUPS_MAX)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "there are more than %u gids",
                SUBJECT_COPY_GROUPS_MAX);
    if (size > 0) {
        s->gids = malloc(size);
        if (!s->gids)
            return -ENOMEM;
        memcpy(s->gids, gids, size);
        s->n_gids = size / sizeof(*gids);
    }
    return sd_bus_message_exit_container(m);
}

static int read_capabilities(sd_bus_message *m, Subject *s, Refusal *refusal) {
    const char *name;
    int r;

    r = sd_bus_message_enter_container(m, 'v', "as");
    if (r >= 0)
        r = sd_bus_message_enter_container(m, 'a', "s");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_read(m, "s", &name)) > 0) {
        int capability = capability_from_name(name);
        _cleanup_free_ char *shown = capability < 0 ? sanitize(name, 64) : NULL;

        if (capability < 0)
            return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "there is no capability \"%s\"",
                    shown ?: "");
        if (s->capabilities >> capability & 1)
            return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the capability \"%s\" is given twice",
                    name);
        s->capabilities |= UINT64_C(1) << capability;
    }
    if (r >= 0)
        r = sd_bus_message_exit_container(m);
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_uid(sd_bus_message *m, Subject *s) {
    return sd_bus_message_read(m, "v", "u", &s->uid);
}

/* The pointers of a Subject are not const, because it owns them; this one does not. */
static int read_text(sd_bus_message *m, char **ret) {
    const char *text;
    int r;

    r = read_string(m, &text);
    if (r >= 0)
        *ret = (char *) text;
    return r;
}

/* In the words of the policy. */
static int read_namespace_word(sd_bus_message *m, Subject *s, Refusal *refusal) {
    const char *word;
    int r;

    r = read_string(m, &word);
    if (r < 0)
        return r;
    if (!streq(word, "host") && !streq(word, "other"))
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "the option \"namespace\" must be \"host\" or \"other\"");
    s->user_namespace = s->pid_namespace = streq(word, "host") ? NAMESPACE_HOST : NAMESPACE_OTHER;
    return r;
}

static int read_foreign_namespace(sd_bus_message *m, Subject *s) {
    bool foreign = false;
    int r;

    r = read_bool(m, &foreign);
    if (foreign)
        s->user_namespace = s->pid_namespace = NAMESPACE_OTHER;
    return r;
}

static int read_scope(sd_bus_message *m, Subject *s, Refusal *refusal) {
    int r = read_text(m, &s->scope);

    if (r < 0 || scope_name_is_valid(s->scope))
        return r;
    return refuse(
            refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the option \"scope\" must be the name of a scope");
}

typedef enum Option {
    OPTION_CLAIM,
    OPTION_LAST_REFUSAL,
    OPTION_UID, /* from here on: about another */
    OPTION_USER,
    OPTION_GIDS,
    OPTION_UNIT,
    OPTION_CGROUP,
    OPTION_LABEL,
    OPTION_CAPABILITIES,
    OPTION_NAMESPACE,
    OPTION_FOREIGN_NAMESPACE, /* the same, of older programs */
    OPTION_SCOPE,
    _OPTION_MAX,
} Option;

static const struct {
    const char *name, *type;
} option_table[_OPTION_MAX] = {
        [OPTION_CLAIM] = {"claim", "s"},
        [OPTION_LAST_REFUSAL] = {"lastRefusal", "b"},
        [OPTION_UID] = {"uid", "u"},
        [OPTION_USER] = {"user", "s"},
        [OPTION_GIDS] = {"gids", "au"},
        [OPTION_UNIT] = {"unit", "s"},
        [OPTION_CGROUP] = {"cgroup", "s"},
        [OPTION_LABEL] = {"label", "s"},
        [OPTION_CAPABILITIES] = {"capabilities", "as"},
        [OPTION_NAMESPACE] = {"namespace", "s"},
        [OPTION_FOREIGN_NAMESPACE] = {"foreignNamespace", "b"},
        [OPTION_SCOPE] = {"scope", "s"},
};

static int read_own_option(sd_bus_message *m, Option option, Question *q, Refusal *refusal) {
    if (option >= OPTION_UID)
        q->about_other = true;
    switch (option) {
    case OPTION_CLAIM:
        return read_string(m, &q->claim);
    case OPTION_LAST_REFUSAL:
        return read_bool(m, &q->last_refusal);
    case OPTION_UID:
        return read_uid(m, &q->other);
    case OPTION_USER:
        return read_string(m, &q->user);
    case OPTION_GIDS:
        return read_gids(m, &q->other, refusal);
    case OPTION_UNIT:
        return read_text(m, &q->other.unit);
    case OPTION_CGROUP:
        return read_text(m, &q->other.cgroup);
    case OPTION_LABEL:
        return read_text(m, &q->other.label);
    case OPTION_CAPABILITIES:
        return read_capabilities(m, &q->other, refusal);
    case OPTION_NAMESPACE:
        return read_namespace_word(m, &q->other, refusal);
    case OPTION_FOREIGN_NAMESPACE:
        return read_foreign_namespace(m, &q->other);
    default:
        return read_scope(m, &q->other, refusal);
    }
}

/* For bus_read_options_with(): 1 when the option is one of ours. */
static int read_option(sd_bus_message *m, const char *name, void *userdata, Refusal *refusal) {
    const char *type;
    int r;

    for (Option i = 0; i < _OPTION_MAX; i++) {
        if (!streq(option_table[i].name, name))
            continue;
        r = sd_bus_message_peek_type(m, NULL, &type);
        if (r < 0)
            return r;
        if (!streq(type, option_table[i].type))
            return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                    "the option \"%s\" must have the type %s", name, option_table[i].type);
        r = read_own_option(m, i, userdata, refusal);
        return r < 0 ? r : 1;
    }
    return 0;
}

static int read_question(sd_bus_message *m, Question *q, Refusal *refusal) {
    int r;

    r = bus_read_devices(m, &q->request, refusal);
    if (r >= 0)
        r = bus_read_options_with(m, &q->request, read_option, q, refusal);
    if (r < 0)
        return r;
    if ((q->request.n_devices > 0) + (q->claim != NULL) + q->last_refusal != 1)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "only one of these can be explained at a time: devices, a claim, the last refusal");
    return 0;
}

static int check_about_other(const Question *q, const Subject *subject, Refusal *refusal) {
    int r;

    if (!q->about_other)
        return 0;
    if (!subject_is_operator(subject)) {
        r = refuse(refusal, VFIOD_ERROR_ACCESS_DENIED, NULL, "only root can ask about another user");
        refusal->remedy = strdup("Do it as root, or leave out the options that describe a caller.");
        return r;
    }
    if (q->other.uid == (uid_t) -1)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "the options describe a caller without a \"uid\"");
    return 0;
}

/* The longer the policy, the longer an explanation takes, and everybody may ask for one. */
static int check_paid(const BudgetAccount *account, uint64_t now_usec, Refusal *refusal) {
    if (account_is_operator(account) || budget_has_credit(account, PURSE_EXPLAIN, now_usec))
        return 0;
    return refuse(refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL,
            "uid %u has asked for too many explanations just now", (unsigned) account->uid);
}

static int answer_question(BusCall *call, const Question *q, const Subject *subject, Refusal *refusal) {
    Broker *e = call->face->context.host.broker;
    const ExplainQuery query = {
            .subject = q->about_other ? &q->other : subject,
            .request = &q->request,
            .inquiry = &call->inquiry,
            .audience = subject_is_operator(subject) ? AUDIENCE_OPERATOR : AUDIENCE_SUBJECT,
            .user = q->user,
    };
    struct json_object *o = NULL;
    const char *text;
    int r;

    if (q->claim)
        r = broker_explain_claim(e, &call->inquiry, q->claim, subject, &o, refusal);
    else if (q->last_refusal)
        r = broker_explain_last_refusal(e, &call->inquiry, q->other.uid, subject, &o, refusal);
    else
        r = broker_explain(e, &query, &o, refusal);
    if (r < 0)
        return r;
    text = json_print(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    r = text ? bus_call_reply(call, 's', text) : -ENOMEM;
    json_object_put(o);
    return r;
}

int bus_call_run_explain(BusCall *call, const Subject *subject, Refusal *refusal) {
    Question q = {
            .request = REQUEST_NULL,
            .other = {.uid = (uid_t) -1,
                    .pidfd = -EBADF,
                    .capabilities_known = true,
                    .user_namespace = NAMESPACE_HOST,
                    .pid_namespace = NAMESPACE_HOST},
    };
    BudgetAccount *account = call->task.account;
    uint64_t begin = budget_now();
    int r;

    r = check_paid(account, begin, refusal);
    if (r >= 0)
        r = read_question(call->message, &q, refusal);
    if (r >= 0)
        r = check_about_other(&q, subject, refusal);
    if (r >= 0)
        r = answer_question(call, &q, subject, refusal);
    free(q.other.gids);
    budget_spend(account, PURSE_EXPLAIN, begin, budget_now() - begin);
    return r;
}
