/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Puts a question to the policy, and a request to the planner, as the daemon would, on the host of a view. */

#include "core/explanation.h"
#include "rehearsal/host-view.h"

/* What the policy says of one device. The question has the facts that its rules ask about; they are in the
 * survey, and only there until that changes. */
typedef struct Decision {
    Verdict verdict;
    PolicyQuestion question;
} Decision;

/* Has the survey look for facts of a device. *ret: NULL when they cannot be told. 0 or -ENOMEM. */
int look_at_device(HostView *host, Inventory *inventory, Survey *survey, const DeviceName *name,
        unsigned what, const DeviceFacts **ret);
/* survey: of this request, so that policy and planner decide on the same facts; likewise below. */
int decide_device(HostView *host, Survey *survey, const Policy *policy, const Subject *subject,
        const Device *device, uint64_t now_usec, Decision *ret, char **ret_problem);

/* What Acquire would say of the whole request. */
typedef struct Answer {
    bool granted; /* as far as it is for policy and planner; a person may still say no */
    Plan plan;
    Refusal refusal; /* when it is not granted */
} Answer;

Answer *answer_free(Answer *a);
DEFINE_TRIVIAL_CLEANUP_FUNC(Answer *, answer_free);
int decide_request(HostView *host, Survey *survey, const Policy *policy, const Subject *subject,
        const Request *request, uint64_t now_usec, Answer **ret, char **ret_problem);

uint64_t time_now(void);

/* Fails with the name of the nearest device when the host has none of this name. */
int find_device(HostView *host, const DeviceName *name, Device **ret, char **ret_problem);
