/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How far each device of a claim is on its way to the vfio driver and back. Only what was begun is undone. */

#include "core/machine.h"

/* A step is noted before it is taken. So each value means "may have happened", and nothing that was begun is
 * missed. */
typedef enum MemberProgress {
    MEMBER_NOT_BEGUN, /* not touched */
    MEMBER_OVERRIDE,  /* driver_override is set by us */
    MEMBER_UNBOUND,   /* the original driver was unbound */
    MEMBER_BOUND,     /* the target driver was asked to bind */
    MEMBER_RESET,     /* reset after its use */
    MEMBER_RESTORING, /* driver_override names the original driver, which is asked to bind */
    MEMBER_RESTORED,  /* everything is restored */
    MEMBER_BAD,       /* it could not be restored; see PlanMember.failure */
    _MEMBER_PROGRESS_MAX,
    _MEMBER_PROGRESS_INVALID = -EINVAL,
} MemberProgress;
DECLARE_STRING_TABLE(member_progress, MemberProgress); /* "not-begun", "override", ... */

/* Is there something to undo that can still be undone? */
bool member_is_begun(MemberProgress p);
/* The progress to assume after a crash: a worker may have got further than was recorded. recorded: the state
 * of the claim. If it was binding, nobody had got the device, so that it only has to be restored. */
MemberProgress member_after_crash(MemberProgress p, ClaimState recorded);
/* The progress after an operator has cleared a quarantine. changed: the device was bound, or made. */
MemberProgress member_lifted(MemberProgress p, bool changed);

/* Why a device is quarantined. */
typedef enum MemberFailure {
    MEMBER_FAILURE_NONE,
    MEMBER_FAILURE_TIMED_OUT, /* the kernel did not return */
    MEMBER_FAILURE_RESET,     /* the reset failed */
    MEMBER_FAILURE_NO_ANSWER, /* it does not answer after its reset */
    MEMBER_FAILURE_RESTORE,   /* the original driver or driver_override could not be restored */
    MEMBER_FAILURE_WORKER,    /* no worker could be run */
    MEMBER_FAILURE_RECORD,    /* its claim's record could not be read */
    MEMBER_FAILURE_IDENTITY,  /* it came back from its reset as another device */
    MEMBER_FAILURE_OPEN,      /* somebody opened it again before it was reset */
    MEMBER_FAILURE_POWER,     /* it did not come back to full power */
    MEMBER_FAILURE_SCRUB,     /* the operator's scrub unit failed */
    _MEMBER_FAILURE_MAX,
    _MEMBER_FAILURE_INVALID = -EINVAL,
} MemberFailure;
DECLARE_STRING_TABLE(member_failure, MemberFailure); /* "none", "timed-out", "reset-failed", ... */
