/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/progress.h"

static const char *const member_progress_table[_MEMBER_PROGRESS_MAX] = {
        [MEMBER_NOT_BEGUN] = "not-begun",
        [MEMBER_OVERRIDE] = "override",
        [MEMBER_UNBOUND] = "unbound",
        [MEMBER_BOUND] = "bound",
        [MEMBER_RESET] = "reset",
        [MEMBER_RESTORING] = "restoring",
        [MEMBER_RESTORED] = "restored",
        [MEMBER_BAD] = "bad",
};
DEFINE_STRING_TABLE(member_progress, MemberProgress);

static const char *const member_failure_table[_MEMBER_FAILURE_MAX] = {
        [MEMBER_FAILURE_NONE] = "none",
        [MEMBER_FAILURE_TIMED_OUT] = "timed-out",
        [MEMBER_FAILURE_RESET] = "reset-failed",
        [MEMBER_FAILURE_NO_ANSWER] = "no-answer",
        [MEMBER_FAILURE_RESTORE] = "restore-failed",
        [MEMBER_FAILURE_WORKER] = "no-worker",
        [MEMBER_FAILURE_RECORD] = "record-rejected",
        [MEMBER_FAILURE_IDENTITY] = "wrong-identity",
        [MEMBER_FAILURE_OPEN] = "still-open",
        [MEMBER_FAILURE_POWER] = "no-power",
        [MEMBER_FAILURE_SCRUB] = "scrub-failed",
};
DEFINE_STRING_TABLE(member_failure, MemberFailure);

bool member_is_begun(MemberProgress p) {
    return p != MEMBER_NOT_BEGUN && p != MEMBER_RESTORED && p != MEMBER_BAD;
}

MemberProgress member_after_crash(MemberProgress p, ClaimState recorded) {
    if (p == MEMBER_NOT_BEGUN || p >= MEMBER_RESTORING)
        return p;
    if (recorded == CLAIM_BINDING || recorded == CLAIM_RESTORING)
        return MEMBER_RESTORING;
    return MAX(p, MEMBER_BOUND);
}

MemberProgress member_lifted(MemberProgress p, bool changed) {
    if (p != MEMBER_BAD)
        return p;
    return changed ? MEMBER_RESTORING : MEMBER_RESTORED;
}
