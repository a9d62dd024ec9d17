/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Explanations for `vfioctl policy explain`, from a running daemon. They are always made of the present
 * policy and host; what was recorded for a claim or a refusal is added. The format is that of
 * core/explanation.h. */

#include <json-c/json.h>

#include "policy/explain.h"
#include "daemon/broker/broker.h"

typedef struct ExplainQuery {
    const Subject *subject;
    const Request *request;
    Audience audience;
    BrokerInquiry *inquiry;
    const char *user; /* the subject's name; NULL: the uid is used */
} ExplainQuery;

/* Each returns 0; -EAGAIN as for any inquiry; or a negative errno, with the refusal set unless it is a system
 * error. *ret is owned by the caller. */
int broker_explain(Broker *e, const ExplainQuery *query, struct json_object **ret, Refusal *refusal);
/* For the claim's owner and root. */
int broker_explain_claim(Broker *e, BrokerInquiry *inquiry, const char *name, const Subject *asker,
        struct json_object **ret, Refusal *refusal);
/* The last refusal of the asker. For root that of uid, or with (uid_t) -1 the latest of all users. */
int broker_explain_last_refusal(Broker *e, BrokerInquiry *inquiry, uid_t uid, const Subject *asker,
        struct json_object **ret, Refusal *refusal);
