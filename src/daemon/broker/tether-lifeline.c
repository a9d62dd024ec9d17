/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The claim ends when the last copy of its lifeline's writing end closes (lifelines.h). */

#include "daemon/broker/tether.h"

#include "base/fd.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/grant.h"

static void on_cut(void *userdata) {
    claim_run_feed(userdata, CLAIM_EVENT_RELEASE);
}

static int tie_lifeline(ClaimRun *j) {
    _cleanup_close_ int theirs = -EBADF;
    Claim *c = &j->claim;
    int r;

    r = lifelines_take(j->broker->lifelines, claim_lifeline(c), on_cut, j, &j->lifeline, &theirs);
    if (r < 0)
        return refuse(&c->refusal, VFIOD_ERROR_INTERNAL, NULL, "cannot make a lifeline: %s", strerror(-r));
    tether_set_lifeline(c, lifeline_id(j->lifeline));
    return grant_add(j, &theirs, "lifeline", "");
}

static int keep_lifeline(ClaimRun *j) {
    return lifeline_keep(j->lifeline);
}

static int adopt_lifeline(ClaimRun *j, int fd) {
    if (fd < 0)
        return -EBADF;
    return lifelines_adopt(j->broker->lifelines, claim_lifeline(&j->claim), fd, on_cut, j, &j->lifeline);
}

static void forget_lifeline(ClaimRun *j) {
    if (j->lifeline && !lifeline_is_cut(j->lifeline))
        lifeline_forget(j->lifeline);
}

static void end_lifeline(ClaimRun *j, bool record_left) {
    Lifeline *l = TAKE_PTR(j->lifeline);

    if (!l)
        return;
    if (record_left)
        lifeline_forget(l);
    (void) lifeline_give_back(l);
    spare_prepare(j->broker->spare);
}

static void free_lifeline(ClaimRun *j) {
    if (j->claim.state == CLAIM_GONE)
        end_lifeline(j, /* record_left= */ false);
    j->lifeline = lifeline_free(j->lifeline);
}

const TetherType tether_lifeline = {
        .tie = tie_lifeline,
        .keep = keep_lifeline,
        .adopt = adopt_lifeline,
        .forget = forget_lifeline,
        .end = end_lifeline,
        .free = free_lifeline,
};
