/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one entry for every question, whatever it asks and through whichever face it comes. It knows the
 * caller, charges what answering takes to that user's account, and decides when it is answered.
 *
 * A user within the budget is answered at once. A user above it waits in a queue of their own. These queues
 * are served when nothing else is to be done, in slices, the user with the smallest debt first: nobody waits
 * for somebody else's flood. A user who has many calls under way is moreover answered at a bounded rate.
 * The bus limits the calls that a client has under way, so a client that is answered later asks less.
 * Otherwise these calls would fill the queues of the bus, which are not fair. Only where the queue ends is a
 * call refused. root waits like everybody and is never refused.
 *
 * Long answers (lists of everything) are made one at a time, and so many bytes in a second.
 *
 * Every answer is charged with its bytes to the connection that it is sent to, until the face knows that they
 * were read. A user who is full waits (see budget.h): a client that never reads its answers delays only its
 * user. */

#include <systemd/sd-event.h>

#include "daemon/broker/budget.h"

typedef struct Door Door;
typedef struct DoorTask DoorTask;

typedef enum DoorKind {
    DOOR_SHORT,
    DOOR_LONG, /* an answer of unbounded length, made in slices */
    _DOOR_KIND_MAX,
} DoorKind;

/* DOOR_DONE: not to be called again; the task may be gone. DOOR_MORE: there is more to do. DOOR_WAIT:
 * likewise, but later, for the face cannot take more now. */
typedef enum DoorStep {
    DOOR_DONE,
    DOOR_MORE,
    DOOR_WAIT,
} DoorStep;

/* A face has this in its own object for a call. */
struct DoorTask {
    DoorKind kind;
    DoorStep (*step)(DoorTask *t);
    /* The door's. */
    BudgetAccount *account;
    bool queued, begun;
    DoorTask *previous, *next;
};

int door_new(sd_event *event, Budget *budget, Door **ret);
/* Every task must have left. */
Door *door_free(Door *d);
DEFINE_TRIVIAL_CLEANUP_FUNC(Door *, door_free);

/* Takes the task up: its step is called, possibly before this returns. 0, or refused: it will not be. */
int door_enter(Door *d, DoorTask *t, const Subject *subject, Refusal *refusal);
/* What a task whose step is done was waiting for elsewhere is there: its step is called again, as when it
 * entered. */
void door_resume(Door *d, DoorTask *t);
/* A task that is in its step waits for something of the face: others go on meanwhile. */
void door_pause(Door *d, DoorTask *t);
/* That is there: as door_resume(), but nobody has looked for anything. */
void door_continue(Door *d, DoorTask *t);
/* The task is over, or nobody waits for its answer any more. Once for each that was taken up; a task that has
 * not entered may leave, too. */
void door_leave(Door *d, DoorTask *t);

/* Is the time of this slice over? For steps that can stop in the middle. */
bool door_is_over(const Door *d);

/* ---- Answers that may be unread ---- */

/* So many bytes are sent to a connection of uid; a short answer may be charged by what such answers take.
 * Also before uid is known ((uid_t) -1). */
void door_charge_bytes(Door *d, BudgetReader *reader, uid_t uid, uint64_t bytes);
/* The same for file descriptors. One counts for so many bytes: with all users full, there are 48 of the 64
 * that the bus holds of one sender. */
#define DOOR_FD_BYTES (UINT64_C(512) << 10)
void door_charge_fds(Door *d, BudgetReader *reader, size_t n);
/* At most so many bytes of all that was sent to it are unread; 0 when the connection is gone. */
void door_note_unread(Door *d, BudgetReader *reader, uint64_t unread);
/* The same for what was sent to connections of uid that the face does not look after any more. */
void door_note_orphans(Door *d, uid_t uid, uint64_t unread);
/* The face looks after this connection no more. */
void door_reader_done(Door *d, BudgetReader *reader);
/* Requests of a user who is full are not even refused: nobody would read the refusal. */
bool door_is_full(const Door *d, const BudgetReader *reader);
/* Is it time to find out what this user has read? */
bool door_is_nearly_full(const Door *d, const BudgetReader *reader);
/* Called while tasks of a user wait because the user is full. For faces that have to ask what was read, each
 * of which has a userdata of its own. 0 or -ENOBUFS. */
int door_add_full(Door *d, void (*full)(void *userdata, uid_t uid), void *userdata);
void door_drop_full(Door *d, void *userdata);

/* Is a long answer being made? Then what changes should be announced after it. */
bool door_is_answering(const Door *d);
/* Called when the last one is ready. */
void door_set_answered(Door *d, void (*answered)(void *userdata), void *userdata);

/* To be called when a message has come in: serves the queues in spite of everything once in a while, so that
 * a flood does not keep the loop from ever being idle. */
void door_be_fair(Door *d);
