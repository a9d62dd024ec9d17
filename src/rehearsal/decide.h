/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Evaluates the policy for a device, and the planner for a request, as the daemon would, on the host of a
 * view. */

#include "core/explanation.h"
#include "rehearsal/host-view.h"

/* The policy's verdict for one device. The facts of the question are borrowed from the survey, and valid
 * until it changes. */
typedef struct Decision {
    Verdict verdict;
    PolicyQuestion question;
} Decision;

/* Makes the survey read facts of a device. *ret is NULL when they cannot be read. 0 or -ENOMEM. */
int look_at_device(HostView *host, Inventory *inventory, Survey *survey, const DeviceName *name,
        unsigned what, const DeviceFacts **ret);
/* survey belongs to this request, so that policy and planner decide on the same facts; likewise below. */
int decide_device(HostView *host, Survey *survey, const Policy *policy, const Subject *subject,
        const Device *device, uint64_t now_usec, Decision *ret, char **ret_problem);

/* The answer of Acquire to the whole request. */
typedef struct Answer {
    bool granted; /* policy and planner allow it; a person may still have to be asked */
    Plan plan;
    Refusal refusal; /* unless it is granted */
} Answer;

Answer *answer_free(Answer *a);
DEFINE_TRIVIAL_CLEANUP_FUNC(Answer *, answer_free);
int decide_request(HostView *host, Survey *survey, const Policy *policy, const Subject *subject,
        const Request *request, uint64_t now_usec, Answer **ret, char **ret_problem);

uint64_t time_now(void);

/* Finds the device by name. If the host has none, the problem suggests the nearest name. */
int find_device(HostView *host, const DeviceName *name, Device **ret, char **ret_problem);
