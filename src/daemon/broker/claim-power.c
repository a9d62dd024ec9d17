/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/claim-power.h"

#include "daemon/broker/claim-run.h"
#include "daemon/broker/claim-work.h"
#include "host/sysfs.h"

void claim_power_plan(ClaimRun *j) {
    Plan *plan = &j->claim.plan;

    for (size_t i = 0; i < plan->n_claimed && !plan->hold.d3cold; i++) {
        PlanMember *m = &plan->members[i];

        if (m->name.kind != DEVICE_KIND_PCI || m->native || (!m->bind && !sysfs_may_lose_power(&m->name)) ||
                !sysfs_allows_d3cold(&m->name))
            continue;
        m->keep_power = true;
    }
}

static void on_woken(void *userdata, const WorkerResult *result, int *fds) {
    ClaimRun *j = userdata;
    PlanMember *m = &j->claim.plan.members[j->n_woken - 1];

    if (result->error == -ETIMEDOUT) {
        claim_work_stuck(j);
        return;
    }
    if (result->error >= 0) {
        j->go_on(j);
        return;
    }
    if (result->failure != MEMBER_FAILURE_NONE)
        claim_work_note_dead(j, m, result);
    else
        (void) refuse(&j->claim.refusal,
                result->error == -ENODEV ? VFIOD_ERROR_DEVICE_GONE : VFIOD_ERROR_OPEN_FAILED, &m->name,
                "it is without power, and could not be woken: %s", strerror(-result->error));
    claim_run_feed(j, CLAIM_EVENT_OPEN_FAILED);
}

static int wake(ClaimRun *j, const PlanMember *m) {
    WorkerOrder order = {.operation = WORKER_WAKE};
    int r;

    claim_work_fill_item(&order.item, m);
    r = claim_run_flush(j);
    if (r >= 0)
        r = claim_work_submit(j, &order, on_woken, NULL);
    if (r >= 0)
        return 0;
    return refuse(&j->claim.refusal, VFIOD_ERROR_OPEN_FAILED, &m->name,
            "it is without power, and no worker could wake it: %s", strerror(-r));
}

int claim_power_check(ClaimRun *j, void (*go_on)(ClaimRun *j)) {
    const Plan *plan = &j->claim.plan;

    while (j->n_woken < plan->n_claimed) {
        const PlanMember *m = &plan->members[j->n_woken++];

        if (m->bind || !sysfs_power_is_doubtful(&m->name))
            continue;
        j->go_on = go_on;
        return wake(j, m);
    }
    return 1;
}
