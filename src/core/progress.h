/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How far each device of a claim is on its way to the vfio driver and back. Only what was begun is undone. */

#include "core/machine.h"

/* "May have happened": a step is noted before it is taken, so that nothing that was begun is ever missed. */
typedef enum MemberProgress {
    MEMBER_NOT_BEGUN, /* nothing of it was touched */
    MEMBER_OVERRIDE,  /* its driver_override is ours */
    MEMBER_UNBOUND,   /* its original driver was taken away */
    MEMBER_BOUND,     /* the target driver was asked to take it */
    MEMBER_RESET,     /* reset after its use: done */
    MEMBER_RESTORING, /* its driver_override names its original driver, which is asked to take it back */
    MEMBER_RESTORED,  /* everything is back: done */
    MEMBER_BAD,       /* it could not be put right; PlanMember.failure says why */
    _MEMBER_PROGRESS_MAX,
    _MEMBER_PROGRESS_INVALID = -EINVAL,
} MemberProgress;
DECLARE_STRING_TABLE(member_progress, MemberProgress); /* "not-begun", "override", ... */

/* Is there something to undo, and nothing that keeps it from being undone? */
bool member_is_begun(MemberProgress p);
/* What a record leaves to expect: a worker that had begun with a device may have got further than was written
 * down. recorded: the state of its claim: while it was binding, nobody had got it, and all that is left is to
 * put it back. */
MemberProgress member_after_crash(MemberProgress p, ClaimState recorded);
/* After an operator has lifted a quarantine. changed: the device was bound, or made. */
MemberProgress member_lifted(MemberProgress p, bool changed);

/* Why a device is in quarantine. */
typedef enum MemberFailure {
    MEMBER_FAILURE_NONE,
    MEMBER_FAILURE_TIMED_OUT, /* the kernel did not come back */
    MEMBER_FAILURE_RESET,     /* the reset failed */
    MEMBER_FAILURE_NO_ANSWER, /* it does not answer after its reset */
    MEMBER_FAILURE_RESTORE,   /* its original driver or driver_override could not be put back */
    MEMBER_FAILURE_WORKER,    /* no worker could do it */
    MEMBER_FAILURE_RECORD,    /* its claim's record could not be read */
    MEMBER_FAILURE_IDENTITY,  /* it came back from its reset as another device */
    MEMBER_FAILURE_OPEN,      /* somebody had opened it again before it was reset */
    MEMBER_FAILURE_POWER,     /* it did not come back to full power */
    MEMBER_FAILURE_SCRUB,     /* the operator's unit did not scrub it */
    _MEMBER_FAILURE_MAX,
    _MEMBER_FAILURE_INVALID = -EINVAL,
} MemberFailure;
DECLARE_STRING_TABLE(member_failure, MemberFailure); /* "none", "timed-out", "reset-failed", ... */
