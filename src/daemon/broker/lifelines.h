/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Lifelines of claims: pipes whose writing end goes to the client. When the last copy of it is closed, in
 * whatever process, the kernel reports a hang-up. This depends on no pid, bus name or namespace. Nothing is
 * ever read from the pipe.
 *
 * systemd's fd store gets the reading end before the client gets the other, so that it outlives this process.
 * Without systemd, or if that fails, the claim does not survive this process, and recovery treats it as
 * ended.
 *
 * After a hang-up nobody has the writing end, and only root could open it again. So the lifeline is reused
 * for the next claim, and systemd, which has it already, need not be woken twice for each claim. It is in
 * the store under the id of the claim that it was made for, or an id of its own; the claim's record has
 * that id. */

#include <systemd/sd-event.h>

#include "core/claim.h"

typedef struct Lifelines Lifelines;
typedef struct Lifeline Lifeline;

#define LIFELINE_STORE_PREFIX "claim-" /* an id follows */
#define LIFELINE_NAME_MAX 32U

/* At most so many may be in the fd store besides those of claims. */
#define LIFELINES_UNUSED_MAX 16U

int lifelines_new(sd_event *event, Lifelines **ret);
Lifelines *lifelines_free(Lifelines *p);
DEFINE_TRIVIAL_CLEANUP_FUNC(Lifelines *, lifelines_free);

typedef void (*lifeline_cut_t)(void *userdata);

/* For a claim of that id; *ret_theirs is the client's end. */
int lifelines_take(
        Lifelines *p, const char *id, lifeline_cut_t cut, void *userdata, Lifeline **ret, int *ret_theirs);
/* For the fd that systemd kept for an earlier process under this id. Takes ownership of fd on success. */
int lifelines_adopt(Lifelines *p, const char *id, int fd, lifeline_cut_t cut, void *userdata, Lifeline **ret);

/* Gives unused lifelines a new writing end, so that the next claim need not wait for it. While claims follow
 * each other, n of them are kept. */
void lifelines_prepare(Lifelines *p, unsigned n);
/* Is one ready for the next claim? */
bool lifelines_is_ready(const Lifelines *p);
/* Frees unused lifelines. */
void lifelines_drop_unused(Lifelines *p);

/* Its id in the fd store. */
const char *lifeline_id(const Lifeline *l);
/* systemd keeps it from now on. 0; -EAGAIN: soon, because it is busy. */
int lifeline_keep(Lifeline *l);
/* systemd drops it. */
void lifeline_forget(Lifeline *l);
/* Keeps it for the next claim if it was hung up, otherwise frees it. No record may name it any more. */
Lifeline *lifeline_give_back(Lifeline *l);
/* Closes our copy; systemd's stays. */
Lifeline *lifeline_free(Lifeline *l);

bool lifeline_is_cut(const Lifeline *l);
