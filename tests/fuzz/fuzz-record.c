/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Claim records as a crash, a full disk or a hand in /run may leave them. What is taken must print and parse
 * to the same again, and whatever uses a claim afterwards must be able to: its texts go to the bus and to the
 * journal, its names of drivers into paths, its state into the table. What is not taken must still yield the
 * names in it. */

#include "base/json-build.h"
#include "base/str.h"
#include "core/record.h"
#include "core/salvage.h"
#include "fuzz.h"

static bool is_path_component(const char *s) {
    return !strchr(s, '/') && !streq(s, ".") && !streq(s, "..");
}

static unsigned count_charged(const Plan *p) {
    unsigned n = 0;

    for (size_t i = 0; i < p->n_charges; i++)
        n += p->charges[i].devices;
    return n;
}

/* Nothing is lost, and nothing is there twice, when devices leave and come back. */
static void part_and_join(const Plan *p) {
    _cleanup_(plan_done) Plan kept = PLAN_NULL, gone = PLAN_NULL, again = PLAN_NULL;

    EXPECT(plan_part(p, &p->members[0].name, 1, &kept, &gone) >= 0);
    EXPECT(kept.n_members + gone.n_members == p->n_members);
    EXPECT(kept.n_claimed + gone.n_claimed == p->n_claimed);
    EXPECT(kept.n_groups + gone.n_groups == p->n_groups);
    EXPECT(count_charged(&kept) + count_charged(&gone) == count_charged(p));
    EXPECT(gone.n_members > 0 || kept.members[0].leaving);
    if (plan_join(&kept, &gone, &again) < 0)
        return;
    EXPECT(again.n_members == p->n_members && again.n_claimed == p->n_claimed);
    EXPECT(again.n_groups == p->n_groups && count_charged(&again) == count_charged(p));
    plan_leave_to(&again, p);
    EXPECT(again.n_claimed == 0 && again.n_groups == 0);
}

static void use_plan(const Plan *p) {
    _cleanup_json_ struct json_object *o = plan_to_json(p);

    EXPECT(o);
    EXPECT(p->n_claimed > 0 && p->n_claimed <= REQUEST_DEVICES_MAX && p->n_claimed <= p->n_members);
    EXPECT(p->n_groups <= PLAN_GROUPS_MAX && p->n_charges <= PLAN_RULES_MAX);
    for (size_t i = 0; i < p->n_members; i++) {
        const PlanMember *m = &p->members[i];

        EXPECT((m->disposition == DISPOSITION_CLAIM) == (i < p->n_claimed));
        EXPECT(is_path_component(m->target_driver) && is_path_component(m->original_driver));
        EXPECT(!m->bind || m->target_driver[0]);
        EXPECT(m->group >= 0 || p->backend == BACKEND_NOIOMMU);
    }
    part_and_join(p);
}

static void use_claim(const Claim *c) {
    const char *const texts[] = {c->command, c->unit, c->reason, c->subject.unit, c->subject.cgroup,
            c->subject.label, c->subject.scope, c->plan.rule, c->plan.noiommu_reason};
    _cleanup_free_ char *failure = refusal_format(&c->refusal);
    Transition t;

    for (size_t i = 0; i < ELEMENTSOF(texts); i++)
        EXPECT(!texts[i] || utf8_is_valid(texts[i]));
    EXPECT(failure && utf8_is_valid(failure));
    EXPECT(c->state != CLAIM_QUARANTINED || error_info(c->refusal.code));
    t = machine_step(CLAIM_REQUESTED,
            c->state == CLAIM_QUARANTINED ? CLAIM_EVENT_RECOVERED_QUARANTINED : CLAIM_EVENT_RECOVERED_ENDED);
    EXPECT(!(t.effects & CLAIM_EFFECT_IMPOSSIBLE));
    use_plan(&c->plan);
}

static void salvage(const uint8_t *data, size_t size, const Claim *c) {
    _cleanup_(salvaged_names_done) SalvagedNames found = {};

    EXPECT(salvage_names((const char *) data, size, &found) >= 0);
    for (size_t i = 1; i < found.n; i++)
        EXPECT(device_name_compare(&found.names[i - 1], &found.names[i]) < 0);
    EXPECT(found.n <= size);
    /* Of a good record, all names are found. */
    for (size_t i = 0; c && i < c->plan.n_members; i++) {
        bool there = false;

        for (size_t k = 0; k < found.n; k++)
            there = there || device_name_compare(&found.names[k], &c->plan.members[i].name) == 0;
        EXPECT(there || !found.complete);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    _cleanup_(claim_done) Claim c = CLAIM_NULL, again = CLAIM_NULL;
    _cleanup_free_ char *text = NULL;

    if (claim_from_record((const char *) data, size, "boot", &c, NULL) < 0) {
        salvage(data, size, NULL);
        return 0;
    }
    use_claim(&c);
    text = claim_to_record(&c, "boot");
    EXPECT(text && claim_from_record(text, strlen(text), "boot", &again, NULL) >= 0);
    EXPECT(again.plan.n_members == c.plan.n_members);
    salvage((const uint8_t *) text, strlen(text), &c);
    return 0;
}
