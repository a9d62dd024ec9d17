/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two plans become one when devices join a claim, and one becomes two when they leave it. The kernel isolates
 * groups, so a group is never divided. If the claim keeps another device of the group, a device that is given
 * back is only marked, and leaves with the last of them. */

#include <stdio.h>

#include "core/plan.h"

const PlanMember *plan_find_member(const Plan *p, const DeviceName *name) {
    for (size_t i = 0; i < p->n_members; i++)
        if (device_name_compare(&p->members[i].name, name) == 0)
            return &p->members[i];
    return NULL;
}

bool plan_has_group(const Plan *p, int group) {
    for (size_t i = 0; i < p->n_groups; i++)
        if (p->groups[i] == group)
            return true;
    return false;
}

bool plan_member_leaves_with(const PlanMember *m, const PlanMember *other) {
    return m->group < 0 ? device_name_compare(&m->name, &other->name) == 0 : m->group == other->group;
}

/* ---- Charges ---- */

typedef unsigned ChargeMap[PLAN_RULES_MAX + 1]; /* maps PlanMember.charge of one plan to that of another */

/* Adds the devices to this rule. Returns 1 + the index of the rule in p; 0: out of memory or room. */
static unsigned add_charge(Plan *p, const char *rule, unsigned devices) {
    PlanCharge *c = NULL;

    for (size_t i = 0; i < p->n_charges && !c; i++)
        if (streq(p->charges[i].rule, rule))
            c = &p->charges[i];
    if (!c) {
        c = plan_add_charge(p);
        if (!c)
            return 0;
        (void) snprintf(c->rule, sizeof(c->rule), "%s", rule);
    }
    c->devices += devices;
    return (unsigned) (c - p->charges) + 1;
}

static int add_charges(Plan *p, const Plan *from, ChargeMap ret) {
    for (size_t i = 0; i < from->n_charges; i++) {
        ret[i + 1] = add_charge(p, from->charges[i].rule, from->charges[i].devices);
        if (ret[i + 1] == 0)
            return -E2BIG;
    }
    return 0;
}

/* ---- Members ---- */

static int add_member(Plan *p, const PlanMember *m, const ChargeMap map) {
    PlanMember *added = plan_add_member(p);

    if (!added)
        return -E2BIG;
    *added = *m;
    added->charge = m->charge <= PLAN_RULES_MAX ? map[m->charge] : 0;
    if (m->disposition == DISPOSITION_CLAIM)
        p->n_claimed++;
    return 0;
}

/* Copies everything but members, groups and charges. */
static void copy_terms(Plan *p, const Plan *from) {
    const Plan empty = *p;

    *p = *from;
    p->members = empty.members;
    p->charges = empty.charges;
    p->n_members = p->n_claimed = p->n_groups = p->n_charges = 0;
}

/* ---- Two become one ---- */

/* A device that was parked for the claim, or left alone, is handed out now. Its original state stays on
 * record. */
static PlanMember hand_out(const PlanMember *had, const PlanMember *m) {
    PlanMember handed = *m;

    if (had && had->kept) {
        memcpy(handed.original_override, had->original_override, sizeof(handed.original_override));
        handed.came = had->came;
    }
    if (!had || !plan_member_is_moved(had))
        return handed;
    handed.bind = had->bind;
    handed.progress = had->progress;
    memcpy(handed.target_driver, had->target_driver, sizeof(handed.target_driver));
    memcpy(handed.original_driver, had->original_driver, sizeof(handed.original_driver));
    memcpy(handed.original_override, had->original_override, sizeof(handed.original_override));
    return handed;
}

static int join_members(Plan *p, const Plan *a, const ChargeMap map_a, const Plan *b, const ChargeMap map_b) {
    int r = 0;

    for (size_t i = 0; i < a->n_claimed && r >= 0; i++)
        r = add_member(p, &a->members[i], map_a);
    for (size_t i = 0; i < b->n_claimed && r >= 0; i++) {
        const PlanMember m = hand_out(plan_find_member(a, &b->members[i].name), &b->members[i]);

        r = add_member(p, &m, map_b);
    }
    for (size_t i = a->n_claimed; i < a->n_members && r >= 0; i++)
        if (!plan_find_member(b, &a->members[i].name))
            r = add_member(p, &a->members[i], map_a);
    for (size_t i = b->n_claimed; i < b->n_members && r >= 0; i++)
        r = add_member(p, &b->members[i], map_b);
    return r;
}

int plan_join(const Plan *a, const Plan *b, Plan *ret) {
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    ChargeMap map_a = {}, map_b = {};
    int r;

    if (a->n_claimed + b->n_claimed > REQUEST_DEVICES_MAX || a->n_groups + b->n_groups > PLAN_GROUPS_MAX)
        return -E2BIG;
    copy_terms(&p, a);
    p.tethers &= b->tethers;
    r = add_charges(&p, a, map_a);
    if (r >= 0)
        r = add_charges(&p, b, map_b);
    if (r >= 0)
        r = join_members(&p, a, map_a, b, map_b);
    if (r < 0)
        return r;
    for (size_t i = 0; i < a->n_groups; i++)
        p.groups[p.n_groups++] = a->groups[i];
    for (size_t i = 0; i < b->n_groups; i++)
        p.groups[p.n_groups++] = b->groups[i];
    if (!strstr(p.rule, b->rule))
        plan_add_origin(&p, b->rule);
    p.reset = a->reset == RESET_REQUIRED || b->reset == RESET_REQUIRED ? RESET_REQUIRED : RESET_OPTIONAL;
    p.ask = a->ask || b->ask;
    p.tethers = a->tethers & b->tethers;
    p.memlock = MIN(a->memlock + b->memlock, REQUEST_MEMLOCK_MAX);
    p.hold = hold_terms_meet(&a->hold, &b->hold);
    p.priority = MIN(a->priority, b->priority);
    *ret = TAKE_GENERIC(p, PLAN_NULL);
    return 0;
}

/* ---- One becomes two ---- */

static bool is_named(const DeviceName *name, const DeviceName *names, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (device_name_compare(name, &names[i]) == 0)
            return true;
    return false;
}

static bool is_leaving(const PlanMember *m, const DeviceName *names, size_t n) {
    return m->leaving || is_named(&m->name, names, n);
}

static bool member_leaves(const Plan *p, const PlanMember *m, const DeviceName *names, size_t n) {
    bool leaves = false;

    for (size_t i = 0; i < p->n_claimed; i++) {
        if (!plan_member_leaves_with(m, &p->members[i]))
            continue;
        leaves = is_leaving(&p->members[i], names, n);
        if (!leaves)
            return false;
    }
    return leaves;
}

static bool group_leaves(const Plan *p, int group, const DeviceName *names, size_t n) {
    return member_leaves(p, &(PlanMember){.group = group}, names, n);
}

/* Older records have no charge: then the only rule counts. */
static unsigned charge_of(const Plan *p, const PlanMember *m) {
    return m->charge == 0 && p->n_charges == 1 && m->disposition == DISPOSITION_CLAIM ? 1 : m->charge;
}

/* Devices that leave take their charges with them. */
static int part_charges(const Plan *p, Plan *kept, Plan *gone, ChargeMap map_kept, ChargeMap map_gone,
        const DeviceName *names, size_t n) {
    for (size_t i = 0; i < p->n_charges; i++) {
        const PlanCharge *c = &p->charges[i];
        unsigned going = 0;

        for (size_t k = 0; k < p->n_members; k++)
            going += charge_of(p, &p->members[k]) == i + 1 && member_leaves(p, &p->members[k], names, n);
        going = MIN(going, c->devices);
        if (going > 0 && (map_gone[i + 1] = add_charge(gone, c->rule, going)) == 0)
            return -ENOMEM;
        if (going < c->devices && (map_kept[i + 1] = add_charge(kept, c->rule, c->devices - going)) == 0)
            return -ENOMEM;
    }
    return 0;
}

int plan_part(const Plan *p, const DeviceName *names, size_t n, Plan *ret_kept, Plan *ret_gone) {
    _cleanup_(plan_done) Plan kept = PLAN_NULL, gone = PLAN_NULL;
    ChargeMap map_kept = {}, map_gone = {};
    int r;

    copy_terms(&kept, p);
    copy_terms(&gone, p);
    gone.memlock = 0; /* it counts for the claim as a whole */
    r = part_charges(p, &kept, &gone, map_kept, map_gone, names, n);
    for (size_t i = 0; i < p->n_members && r >= 0; i++) {
        PlanMember m = p->members[i];
        bool goes = member_leaves(p, &m, names, n);

        m.leaving = !goes && i < p->n_claimed && is_leaving(&m, names, n);
        m.charge = charge_of(p, &m);
        r = goes ? add_member(&gone, &m, map_gone) : add_member(&kept, &m, map_kept);
    }
    if (r < 0)
        return -ENOMEM;
    for (size_t i = 0; i < p->n_groups; i++) {
        Plan *to = group_leaves(p, p->groups[i], names, n) ? &gone : &kept;

        to->groups[to->n_groups++] = p->groups[i];
    }
    *ret_kept = TAKE_GENERIC(kept, PLAN_NULL);
    *ret_gone = TAKE_GENERIC(gone, PLAN_NULL);
    return 0;
}

/* ---- After a crash ---- */

void plan_leave_to(Plan *p, const Plan *other) {
    size_t n = 0;

    p->n_claimed = 0;
    for (size_t i = 0; i < p->n_members; i++) {
        const PlanMember *had = plan_find_member(other, &p->members[i].name);

        if (had && plan_member_is_moved(had))
            continue;
        p->n_claimed += p->members[i].disposition == DISPOSITION_CLAIM;
        p->members[n++] = p->members[i];
    }
    p->n_members = n;
    n = 0;
    for (size_t i = 0; i < p->n_groups; i++)
        if (!plan_has_group(other, p->groups[i]))
            p->groups[n++] = p->groups[i];
    p->n_groups = n;
}
