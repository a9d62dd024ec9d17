/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The lifelines of claims: pipes whose writing end goes to the client. When its last copy closes, in whatever
 * process, the kernel tells us by a hang-up: no pid, no bus name, no namespace matters. Nothing is ever read
 * from them.
 *
 * The reading end is given to systemd's fd store before the client gets the other, so that it outlives this
 * process. Without systemd, and when it fails, nothing happens: the claim then does not survive this process,
 * and recovery treats it as ended.
 *
 * A lifeline that was cut is as good as new: nobody has its writing end, and nobody but root could open it
 * again. So it serves the next claim, and systemd, which has it already, need not be woken for each claim
 * twice. It is in the store under the id of the claim that it was made for, or one of its own, and the
 * record of a claim says under which. */

#include <systemd/sd-event.h>

#include "core/claim.h"

typedef struct Lifelines Lifelines;
typedef struct Lifeline Lifeline;

#define LIFELINE_STORE_PREFIX "claim-" /* an id follows */
#define LIFELINE_NAME_MAX 32U

/* So many may be in the fd store beside those of claims. */
#define LIFELINES_UNUSED_MAX 16U

int lifelines_new(sd_event *event, Lifelines **ret);
Lifelines *lifelines_free(Lifelines *p);
DEFINE_TRIVIAL_CLEANUP_FUNC(Lifelines *, lifelines_free);

typedef void (*lifeline_cut_t)(void *userdata);

/* For a claim of that id; *ret_theirs is the end for the client. */
int lifelines_take(
        Lifelines *p, const char *id, lifeline_cut_t cut, void *userdata, Lifeline **ret, int *ret_theirs);
/* What systemd kept for an earlier process, under this id. Takes fd over on success. */
int lifelines_adopt(Lifelines *p, const char *id, int fd, lifeline_cut_t cut, void *userdata, Lifeline **ret);

/* Those that were cut get a new writing end, so that the next claim does not wait for it. While claims follow
 * each other there will be n of them. */
void lifelines_prepare(Lifelines *p, unsigned n);
/* The next claim finds one. */
bool lifelines_is_ready(const Lifelines *p);
/* Those that no claim has go. */
void lifelines_drop_unused(Lifelines *p);

/* Under which it is in the fd store. */
const char *lifeline_id(const Lifeline *l);
/* systemd keeps it from now on. 0; -EAGAIN: soon, for it is busy. */
int lifeline_keep(Lifeline *l);
/* systemd drops it. */
void lifeline_forget(Lifeline *l);
/* For the next claim when it was cut, else it goes. No record may name it any more. */
Lifeline *lifeline_give_back(Lifeline *l);
/* Closes our copy; systemd's stays. */
Lifeline *lifeline_free(Lifeline *l);

bool lifeline_is_cut(const Lifeline *l);
