/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Manager.Explain: for a request, a claim, or the last refusal. Callers ask about themselves, as the kernel
 * and the bus know them; root can describe another caller. */

#include "daemon/broker/explain-question.h"
#include "daemon/bus/bus-internal.h"

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

static int read_gids(sd_bus_message *m, ExplainQuestion *q, Refusal *refusal) {
    const uint32_t *gids;
    size_t size;
    int r;

    r = sd_bus_message_enter_container(m, 'v', "au");
    if (r >= 0)
        r = sd_bus_message_read_array(m, 'u', (const void **) &gids, &size);
    if (r >= 0)
        r = explain_question_set_gids(q, gids, size / sizeof(*gids), refusal);
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_capabilities(sd_bus_message *m, ExplainQuestion *q, Refusal *refusal) {
    const char *name;
    int r;

    r = sd_bus_message_enter_container(m, 'v', "as");
    if (r >= 0)
        r = sd_bus_message_enter_container(m, 'a', "s");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_read(m, "s", &name)) > 0) {
        r = explain_question_add_capability(q, name, refusal);
        if (r < 0)
            return r;
    }
    if (r >= 0)
        r = sd_bus_message_exit_container(m);
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_uid(sd_bus_message *m, Subject *s) {
    return sd_bus_message_read(m, "v", "u", &s->uid);
}

/* Fits the members of a Subject, which are not const because it usually owns them; here they are borrowed. */
static int read_text(sd_bus_message *m, char **ret) {
    const char *text;
    int r;

    r = read_string(m, &text);
    if (r >= 0)
        *ret = (char *) text;
    return r;
}

static int read_namespace_word(sd_bus_message *m, ExplainQuestion *q, Refusal *refusal) {
    const char *word;
    int r;

    r = read_string(m, &word);
    return r < 0 ? r : explain_question_set_namespace(q, word, refusal);
}

static int read_foreign_namespace(sd_bus_message *m, Subject *s) {
    bool foreign = false;
    int r;

    r = read_bool(m, &foreign);
    if (foreign)
        s->user_namespace = s->pid_namespace = NAMESPACE_OTHER;
    return r;
}

static int read_scope(sd_bus_message *m, ExplainQuestion *q, Refusal *refusal) {
    const char *name;
    int r;

    r = read_string(m, &name);
    return r < 0 ? r : explain_question_set_scope(q, name, refusal);
}

typedef enum Option {
    OPTION_CLAIM,
    OPTION_LAST_REFUSAL,
    OPTION_UID, /* from here on: about another caller */
    OPTION_USER,
    OPTION_GIDS,
    OPTION_UNIT,
    OPTION_CGROUP,
    OPTION_LABEL,
    OPTION_CAPABILITIES,
    OPTION_NAMESPACE,
    OPTION_FOREIGN_NAMESPACE, /* an older name of the same */
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

static int read_own_option(sd_bus_message *m, Option option, ExplainQuestion *q, Refusal *refusal) {
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
        return read_gids(m, q, refusal);
    case OPTION_UNIT:
        return read_text(m, &q->other.unit);
    case OPTION_CGROUP:
        return read_text(m, &q->other.cgroup);
    case OPTION_LABEL:
        return read_text(m, &q->other.label);
    case OPTION_CAPABILITIES:
        return read_capabilities(m, q, refusal);
    case OPTION_NAMESPACE:
        return read_namespace_word(m, q, refusal);
    case OPTION_FOREIGN_NAMESPACE:
        return read_foreign_namespace(m, &q->other);
    default:
        return read_scope(m, q, refusal);
    }
}

/* 1 when the option is one of ours, from `first` on. */
static int read_option_from(
        Option first, sd_bus_message *m, const char *name, void *userdata, Refusal *refusal) {
    const char *type;
    int r;

    for (Option i = first; i < _OPTION_MAX; i++) {
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

static int read_option(sd_bus_message *m, const char *name, void *userdata, Refusal *refusal) {
    return read_option_from(OPTION_CLAIM, m, name, userdata, refusal);
}

int bus_read_caller_option(sd_bus_message *m, const char *name, void *userdata, Refusal *refusal) {
    return read_option_from(OPTION_UID, m, name, userdata, refusal);
}

int bus_call_run_explain(BusCall *call, const Subject *subject, Refusal *refusal) {
    _cleanup_(explain_question_done) ExplainQuestion q = EXPLAIN_QUESTION_NULL;
    BudgetAccount *account = call->task.account;
    _cleanup_free_ char *text = NULL;
    int r;

    r = explain_check_paid(account, refusal);
    if (r >= 0)
        r = bus_read_devices(call->message, &q.request, refusal);
    if (r >= 0)
        r = bus_read_options_with(call->message, &q.request, read_option, &q, refusal);
    if (r >= 0)
        r = explain_question_answer(
                call->face->context.host.broker, &q, &call->inquiry, subject, account, &text, refusal);
    return r < 0 ? r : bus_call_reply(call, 's', text);
}
