/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/recover-quarantine.h"

#include <stdio.h>

#include "base/str.h"
#include "core/device-kind.h"
#include "daemon/broker/grant.h"

static bool is_accounted_for(const Device *d) {
    return d->claim || (d->group && d->group->claim);
}

void quarantine_finish(Quarantine *q) {
    ClaimRun *j = TAKE_PTR(q->run);
    Claim *c;

    if (!j)
        return;
    c = &j->claim;
    (void) refuse(&c->refusal, VFIOD_ERROR_DEVICE_QUARANTINED,
            c->plan.n_members == 1 ? &c->plan.members[0].name : NULL, "%s", q->reason);
    c->refusal.remedy = format_string(
            "The operator must make sure that no program uses the devices, and then lift the quarantine "
            "('vfioctl release %s').",
            c->id);
    claim_run_attach(j);
    j->granted = j->dirty = true;
    claim_run_feed(j, CLAIM_EVENT_RECOVERED_QUARANTINED);
    if (j->save_failed)
        q->error = -EIO;
}

static int quarantine_begin(Quarantine *q) {
    ClaimRun *j = claim_run_new(q->broker);
    int r = 0;

    if (!j)
        return -ENOMEM;
    if (q->id[0])
        (void) snprintf(j->claim.id, sizeof(j->claim.id), "%s", q->id);
    else
        r = claims_make_id(j->claim.id);
    if (r < 0) {
        (void) claim_run_free(j);
        return r;
    }
    q->id[0] = '\0';
    j->claim.uid = 0; /* root owns it, since the previous owner may be unknown */
    j->claim.subject.uid = 0;
    j->claim.since_usec = q->since_usec != 0 ? q->since_usec : broker_now_usec();
    q->run = j;
    return 0;
}

static void quarantine_add_group(Plan *plan, const Group *g) {
    plan->backend = BACKEND_IOMMUFD;
    for (size_t i = 0; i < plan->n_groups; i++)
        if (plan->groups[i] == g->id)
            return;
    plan->groups[plan->n_groups++] = g->id;
}

/* Nothing is known that could be restored, so ending the quarantine does not touch the device. */
int quarantine_add(Quarantine *q, const Device *d) {
    PlanMember *m;
    Plan *plan;
    int r;

    if (q->run && (q->run->claim.plan.n_members == REQUEST_DEVICES_MAX || !d->group))
        quarantine_finish(q);
    if (!q->run) {
        r = quarantine_begin(q);
        if (r < 0)
            return r;
    }
    plan = &q->run->claim.plan;
    m = plan_add_member(plan);
    if (!m)
        return -ENOMEM;
    *m = (PlanMember){
            .name = d->name,
            .group = d->group ? d->group->id : -1,
            .disposition = DISPOSITION_CLAIM,
            .vendor = d->vendor,
            .device = d->device,
            .identity = device_identity(d),
            .progress = MEMBER_BAD,
            .failure = q->failure != MEMBER_FAILURE_NONE ? q->failure : MEMBER_FAILURE_RECORD,
    };
    plan->n_claimed = plan->n_members;
    grant_lock_out(d);
    if (d->group) {
        quarantine_add_group(plan, d->group);
        return 0;
    }
    plan->backend = device_kind_info(d->name.kind)->backends & 1U << BACKEND_VHOST_VDPA ? BACKEND_VHOST_VDPA
                                                                                        : BACKEND_NOIOMMU;
    quarantine_finish(q);
    return 0;
}

int quarantine_named(Quarantine *q, const DeviceName *name) {
    const Device *d = inventory_find_device(q->broker->inventory, name);

    q->added = d && !device_is_bridge(d) && !is_accounted_for(d);
    return q->added ? quarantine_add(q, d) : 0;
}

static int add_unaccounted(Device *d, void *userdata) {
    /* Not every kernel announces that a device is registered with VFIO. */
    bool on_vfio = d->driver && (d->vfio_index >= 0 || strstr(d->driver, "vfio"));

    if (!on_vfio || device_is_bridge(d) || is_accounted_for(d))
        return 0;
    return quarantine_add(userdata, d);
}

int quarantine_unaccounted(Broker *e) {
    Quarantine q = {.broker = e,
            .reason = "it is on a vfio driver, and a record that may have named it is damaged or missing, so "
                      "it may be in use"};
    int r;

    r = inventory_foreach_device(e->inventory, add_unaccounted, &q);
    quarantine_finish(&q);
    return r < 0 ? r : q.error;
}
