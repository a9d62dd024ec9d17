/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/claim-caps.h"

#include "base/str.h"
#include "daemon/broker/caps-store.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/claim-work.h"
#include "host/seen-caps.h"

/* The device was probed under this driver for the first time, or could not be opened. */
static int refuse_look(ClaimRun *j, const PlanMember *m, int error) {
    char wanted[DEVICE_NEEDS_TEXT_MAX];

    return refuse(&j->claim.refusal,
            error == -ENODEV          ? VFIOD_ERROR_DEVICE_GONE
                    : error == -EBUSY ? VFIOD_ERROR_GROUP_IN_USE
                                      : VFIOD_ERROR_OPEN_FAILED,
            &m->name,
            "the request requires %s, and it could not be opened to find out whether it has that: %s",
            device_needs_format(&j->claim.plan.needs, wanted), strerror(-error));
}

static void on_looked(void *userdata, const WorkerResult *result, int *fds) {
    ClaimRun *j = userdata;
    const PlanMember *m = &j->claim.plan.members[j->n_looked - 1];
    int r = result->error;

    /* The events of that open must not be taken for those of the next one. */
    node_watch_catch_up(j->broker->nodes);
    if (r == -ETIMEDOUT) {
        claim_work_stuck(j);
        return;
    }
    if (r >= 0)
        r = claim_run_find_device(j, m) ? caps_store_remember(j->broker->config.state_directory,
                                                  j->broker->inventory, &m->name, &result->facts.caps)
                                        : -ENODEV;
    if (r >= 0) {
        j->go_on(j);
        return;
    }
    (void) refuse_look(j, m, r);
    claim_run_feed(j, CLAIM_EVENT_OPEN_FAILED);
}

static int look(ClaimRun *j, const PlanMember *m) {
    WorkerOrder order = {.operation = WORKER_SURVEY, .facts = DEVICE_FACT_CAPS};
    int r;

    claim_work_fill_item(&order.item, m);
    r = claim_run_flush(j);
    if (r >= 0)
        r = claim_work_submit(j, &order, on_looked, NULL);
    return r < 0 ? refuse_look(j, m, r) : 0;
}

int claim_caps_check(ClaimRun *j, void (*go_on)(ClaimRun *j)) {
    const Plan *plan = &j->claim.plan;

    for (size_t i = 0; i < plan->n_claimed && plan->needs.caps != 0; i++) {
        const PlanMember *m = &plan->members[i];
        const DeviceCaps *caps;
        NeedsAnswer answer;
        DeviceCap cap;

        if (i >= j->n_looked)
            seen_caps_check(j->broker->inventory, &m->name);
        caps = inventory_find_caps(j->broker->inventory, &m->name);
        answer = caps_answer(&plan->needs, caps, m->target_driver, &cap);

        if (answer == NEEDS_MET)
            continue;
        if (answer == NEEDS_NOT_MET || i < j->n_looked)
            return caps_refuse(&m->name, &plan->needs, caps, cap, &j->claim.refusal);
        j->n_looked = i + 1;
        j->go_on = go_on;
        return look(j, m);
    }
    return 1;
}
