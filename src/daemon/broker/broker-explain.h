/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Why the broker says what it says: what `vfioctl policy explain` shows of a running daemon. Always asked of
 * the policy and the host as they are now; what was recorded at the time of a claim or of a refusal stands
 * next to it. The shape is that of core/explanation.h. */

#include <json-c/json.h>

#include "policy/explain.h"
#include "daemon/broker/broker.h"

typedef struct ExplainQuery {
    const Subject *subject;
    const Request *request;
    Audience audience;
    BrokerInquiry *inquiry;
    const char *user; /* how to call the subject; NULL: by its uid */
} ExplainQuery;

/* Each: 0; -EAGAIN as whatever takes an inquiry; or a negative errno with the refusal filled (or not: it is
 * system trouble then). */
int broker_explain(Broker *e, const ExplainQuery *query, struct json_object **ret, Refusal *refusal);
/* For the owner of the claim and for root. */
int broker_explain_claim(Broker *e, BrokerInquiry *inquiry, const char *name, const Subject *asker,
        struct json_object **ret, Refusal *refusal);
/* The last refusal of the asker; for root that of uid, or, when that is (uid_t) -1, the latest of all. */
int broker_explain_last_refusal(Broker *e, BrokerInquiry *inquiry, uid_t uid, const Subject *asker,
        struct json_object **ret, Refusal *refusal);
