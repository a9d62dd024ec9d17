/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The last refusal of each user, for later explanation. It must be cheap, because a refused caller may ask
 * again at once. So only the question and the answer are kept, and the explanation is made on request. A
 * limited number of users is kept; the one that was refused longest ago is dropped first. An entry is limited
 * by the sizes of a Subject copy and a Request. */

#include "core/error.h"
#include "core/request.h"
#include "core/subject.h"

#define REFUSAL_MEMORY_USERS 64U

typedef struct RefusalNote {
    Subject subject; /* a copy, see subject_copy(); its uid is the key */
    Request request;
    VfiodError code;
    char *message;              /* owned; as the client got it */
    uint64_t when_usec;         /* CLOCK_REALTIME */
    uint64_t policy_generation; /* of the policy that refused it */
} RefusalNote;

typedef struct RefusalMemory {
    RefusalNote *notes[REFUSAL_MEMORY_USERS]; /* owned; the latest first */
    size_t n_notes;
} RefusalMemory;

void refusal_memory_done(RefusalMemory *m);
/* On ENOMEM the former note of this user, if any, stays. */
void refusal_memory_keep(RefusalMemory *m, const Subject *subject, const Request *request,
        const Refusal *refusal, uint64_t now_usec, uint64_t policy_generation);
/* Borrowed until the next refusal; NULL: none. */
const RefusalNote *refusal_memory_find(const RefusalMemory *m, uid_t uid);
/* The latest of all users. */
const RefusalNote *refusal_memory_latest(const RefusalMemory *m);
