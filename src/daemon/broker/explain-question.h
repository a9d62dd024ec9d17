/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A parsed call of Explain: about a request, a claim, or the last refusal. Callers can ask about themselves
 * as the kernel knows them; root can describe another caller. */

#include "daemon/broker/broker-explain.h"

typedef struct ExplainQuestion {
    Request request;
    Subject other; /* described by root; only gids is owned, the rest is borrowed from the message */
    bool about_other, last_refusal;
    const char *user, *claim; /* borrowed from the message; NULL: not given */
} ExplainQuestion;

#define EXPLAIN_QUESTION_NULL                                                                                \
    (ExplainQuestion) {                                                                                      \
        .request = REQUEST_NULL, .other = {                                                                  \
            .uid = (uid_t) -1,                                                                               \
            .pidfd = -EBADF,                                                                                 \
            .capabilities_known = true,                                                                      \
            .user_namespace = NAMESPACE_HOST,                                                                \
            .pid_namespace = NAMESPACE_HOST                                                                  \
        }                                                                                                    \
    }

void explain_question_done(ExplainQuestion *q);
/* Parts of the description that are words. 0, or refused. */
int explain_question_add_capability(ExplainQuestion *q, const char *name, Refusal *refusal);
int explain_question_set_namespace(ExplainQuestion *q, const char *word, Refusal *refusal);
int explain_question_set_scope(ExplainQuestion *q, const char *name, Refusal *refusal);
int explain_question_set_gids(ExplainQuestion *q, const gid_t *gids, size_t n, Refusal *refusal);

/* Refuses a caller that asks too often, before anything is read. Everybody can ask, and a longer policy makes
 * the answer slower. */
int explain_check_paid(const BudgetAccount *account, Refusal *refusal);
/* The answer as JSON, owned by the caller and charged to the account. Returns like broker_explain(). */
int explain_question_answer(Broker *e, const ExplainQuestion *q, BrokerInquiry *inquiry, const Subject *asker,
        BudgetAccount *account, char **ret, Refusal *refusal);
