/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one entry for every call, through any face. It knows the caller, charges the cost of the answer to that
 * user's account, and decides when to answer.
 *
 * A user within the budget is answered at once. Calls of a user above it wait in a queue of that user. These
 * queues are served when nothing else is to be done, in slices, the user with the smallest debt first, so
 * nobody waits for another user's flood. A user with many calls in progress is also answered at a limited
 * rate. The bus limits the calls that a client has in progress, so a client that is answered later calls
 * less. Otherwise these calls would fill the queues of the bus, which are not fair. A call is refused only
 * when its queue is full. root waits like everybody, but is never refused.
 *
 * Long answers (lists of everything) are made one at a time and at a limited number of bytes per second.
 *
 * Every answer is charged with its bytes to its connection until the face knows that they were read. Calls of
 * a full user wait (see budget.h): a client that never reads its answers delays only its own user. */

#include <systemd/sd-event.h>

#include "daemon/broker/budget.h"

typedef struct Door Door;
typedef struct DoorTask DoorTask;

typedef enum DoorKind {
    DOOR_SHORT,
    DOOR_LONG, /* an answer of any length, made in slices */
    _DOOR_KIND_MAX,
} DoorKind;

/* DOOR_DONE: do not call it again; the task may be freed. DOOR_MORE: there is more to do. DOOR_WAIT:
 * likewise, but later, because the face cannot take more now. */
typedef enum DoorStep {
    DOOR_DONE,
    DOOR_MORE,
    DOOR_WAIT,
} DoorStep;

/* A face has this in its object for a call. */
struct DoorTask {
    DoorKind kind;
    DoorStep (*step)(DoorTask *t);
    /* Set by the door. */
    BudgetAccount *account;
    bool queued, begun;
    DoorTask *previous, *next;
};

int door_new(sd_event *event, Budget *budget, Door **ret);
/* All tasks must have left. */
Door *door_free(Door *d);
DEFINE_TRIVIAL_CLEANUP_FUNC(Door *, door_free);

/* Takes the task: its step is called, possibly before this returns. 0, or refused: it is not called. */
int door_enter(Door *d, DoorTask *t, const Subject *subject, Refusal *refusal);
/* For a task whose step has ended to wait for something else: that is available, and the step is called again
 * as on entry. */
void door_resume(Door *d, DoorTask *t);
/* A task in its step waits for something of the face; others continue meanwhile. */
void door_pause(Door *d, DoorTask *t);
/* That is available: like door_resume(), but no facts were read. */
void door_continue(Door *d, DoorTask *t);
/* The task is over, or nobody waits for its answer. Once for each task that entered; also allowed for one
 * that did not. */
void door_leave(Door *d, DoorTask *t);

/* Is the time of this slice over? For steps that can pause. */
bool door_is_over(const Door *d);

/* ---- Answers that may be unread ---- */

/* This many bytes are sent to a connection of uid, which may not be known yet ((uid_t) -1). For a short
 * answer an estimate is enough. */
void door_charge_bytes(Door *d, BudgetReader *reader, uid_t uid, uint64_t bytes);
/* Charges file descriptors, each as this many bytes: with all users full, that makes 48 of the 64 that the
 * bus holds of one sender. */
#define DOOR_FD_BYTES (UINT64_C(512) << 10)
void door_charge_fds(Door *d, BudgetReader *reader, size_t n);
/* At most this many bytes of what was sent are unread; 0 when the connection is gone. */
void door_note_unread(Door *d, BudgetReader *reader, uint64_t unread);
/* The same for what was sent to connections of uid that the face does not track any more. */
void door_note_orphans(Door *d, uid_t uid, uint64_t unread);
/* The face does not track this connection any more. */
void door_reader_done(Door *d, BudgetReader *reader);
/* Calls of a full user are not even refused, because the user would not read it. */
bool door_is_full(const Door *d, const BudgetReader *reader);
/* Should the face find out what this user has read? */
bool door_is_nearly_full(const Door *d, const BudgetReader *reader);
/* full is called while tasks of a full user wait, for faces that have to ask what was read. Each face adds
 * its own. 0 or -ENOBUFS. */
int door_add_full(Door *d, void (*full)(void *userdata, uid_t uid), void *userdata);
void door_drop_full(Door *d, void *userdata);

/* Is a long answer in progress? Then changes should be announced after it. */
bool door_is_answering(const Door *d);
/* Called when the last one is finished. */
void door_set_answered(Door *d, void (*answered)(void *userdata), void *userdata);

/* Call it for each incoming message: occasionally serves the queues even when the loop is never idle because
 * of a flood. */
void door_be_fair(Door *d);
