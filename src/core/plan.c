/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/plan.h"

#include "base/local-time.h"
#include "base/str.h"
#include "base/user-name.h"
#include "core/claim.h"
#include "core/device-kind.h"
#include "core/queue.h"
#include "policy/explain.h"
#include "core/planner.h"

static const char *const disposition_table[_DISPOSITION_MAX] = {
        [DISPOSITION_CLAIM] = "claim",
        [DISPOSITION_PARK] = "park",
        [DISPOSITION_NONE_NEEDED] = "none-needed",
        [DISPOSITION_REFUSE] = "refuse",
};
DEFINE_STRING_TABLE(disposition, Disposition);

void plan_done(Plan *p) {
    free(p->members);
    free(p->charges);
    free(p->exposes);
    free(p->companions);
    free(p->drivers);
    free(p->resets);
    *p = PLAN_NULL;
}

/* Makes room for one more element, which is zeroed. The room is doubled whenever n is a power of two. */
static bool make_room(void **array, size_t n, size_t size) {
    void *grown;

    if ((n & (n - 1)) != 0)
        return true;
    grown = reallocarray(*array, MAX(2 * n, (size_t) 1), size);
    if (!grown)
        return false;
    *array = grown;
    return true;
}

PlanMember *plan_add_member(Plan *p) {
    if (p->n_members >= PLAN_MEMBERS_MAX ||
            !make_room((void **) &p->members, p->n_members, sizeof(*p->members)))
        return NULL;
    p->members[p->n_members] = (PlanMember){};
    return &p->members[p->n_members++];
}

PlanCharge *plan_add_charge(Plan *p) {
    if (p->n_charges >= PLAN_RULES_MAX ||
            !make_room((void **) &p->charges, p->n_charges, sizeof(*p->charges)))
        return NULL;
    p->charges[p->n_charges] = (PlanCharge){};
    return &p->charges[p->n_charges++];
}

/* "rule", "rule, other": the rules that allowed the devices. The text is never cut within a character. */
void plan_add_origin(Plan *p, const char *origin) {
    size_t n = strlen(p->rule);

    put_text(p->rule + n, sizeof(p->rule) - n, n > 0 ? ", " : "");
    n = strlen(p->rule);
    put_text(p->rule + n, sizeof(p->rule) - n, origin);
    n = strlen(p->rule);
    for (unsigned i = 0; i < 3 && n + 1 + i == sizeof(p->rule) && !utf8_is_valid(p->rule); i++)
        p->rule[--n] = '\0';
}

static bool is_known(const Planner *p, const Refusal *refusal) {
    for (size_t i = 0; i < p->found.n_obstacles; i++)
        if (refusal_is_same(&p->found.obstacles[i], refusal))
            return true;
    return refusal_is_same(&p->found, refusal);
}

/* No rule can hand out what the host uses, nor devices in its group. So a remedy that changes the policy
 * would not help. */
static void take_advice_back(Refusal *denied, const Refusal *other) {
    if ((denied->code != VFIOD_ERROR_ACCESS_DENIED && denied->code != VFIOD_ERROR_RESET_UNSUPPORTED &&
                denied->code != VFIOD_ERROR_GROUP_NOT_VIABLE) ||
            other->code != VFIOD_ERROR_HOST_CRITICAL)
        return;
    free(denied->remedy);
    denied->remedy = strdup(NO_RULE_HELPS);
}

/* Either of the two may have come first. */
static void compare_advice(Refusal *found, Refusal *refusal) {
    take_advice_back(found, refusal);
    take_advice_back(refusal, found);
    for (size_t i = 0; i < found->n_obstacles; i++) {
        take_advice_back(&found->obstacles[i], refusal);
        take_advice_back(refusal, &found->obstacles[i]);
    }
}

int planner_put_aside(Planner *p, int r) {
    if (r >= 0 || r == -EAGAIN || !p->context->all_obstacles)
        return r;
    if ((int) p->found.code < 0)
        p->found = TAKE_GENERIC(*p->refusal, REFUSAL_NULL);
    else if (is_known(p, p->refusal))
        refusal_done(p->refusal);
    else {
        compare_advice(&p->found, p->refusal);
        if (!refusal_add_obstacle(&p->found, p->refusal))
            return r;
    }
    return 0;
}

static Device *find_requested(Planner *p, size_t i) {
    const DeviceName *name = &p->request->devices[i];

    if (name->kind != DEVICE_KIND_TEMPLATE)
        return inventory_find_device(p->context->inventory, name);
    template_as_device(name, &p->templates[i]);
    return &p->templates[i];
}

static int look_up(Planner *p) {
    for (size_t i = 0; i < p->request->n_devices; i++) {
        int r;

        p->devices[i] = find_requested(p, i);
        p->settled[i] = !p->devices[i];
        if (p->devices[i])
            continue;
        r = planner_put_aside(p,
                refuse(p->refusal, VFIOD_ERROR_NO_SUCH_DEVICE, &p->request->devices[i],
                        "there is no such device on this host"));
        if (r < 0)
            return r;
    }
    return 0;
}

/* A stranger gets the same answer whether a rule denied it or none allowed it. */
static int deny(Planner *p, const Device *d, const Verdict *v) {
    bool told = v->rule && (rule_concerns(v->rule, p->subject) || subject_is_operator(p->subject));
    char who[SUBJECT_DESCRIPTION_MAX];
    int r;

    (void) subject_describe(p->subject, who);

    if (v->changed && told)
        r = refuse(p->refusal, VFIOD_ERROR_DEVICE_CHANGED, &d->name,
                "its tag in the policy expects another card in this place, or this card in another place");
    else if (told)
        r = refuse(p->refusal, VFIOD_ERROR_ACCESS_DENIED, &d->name, "the policy denies it to %s", who);
    else
        r = refuse(p->refusal, VFIOD_ERROR_ACCESS_DENIED, &d->name, "no rule of the policy allows it to %s",
                who);
    return told ? planner_name_rule(p, v->rule, r) : r;
}

/* The policy's verdict on one device. Facts that cannot be read are unknown to the policy, and unknown facts
 * never allow. */
static int judge(Planner *p, const Device *d, int (*deny_it)(Planner *p, const Device *d, const Verdict *v),
        Verdict *ret) {
    unsigned needed = policy_needed_facts(p->context->policy);
    PolicyQuestion question = {.subject = p->subject,
            .device = d,
            .now_usec = p->context->now_usec,
            .excerpt = p->context->excerpt};
    Verdict v;
    int r;

    if (needed != 0 && d->name.kind != DEVICE_KIND_TEMPLATE) {
        r = survey_get(p->context->survey, &d->name, needed, &question.facts);
        if (r == -EAGAIN)
            return r;
        if (r == -ENOMEM)
            return refuse(p->refusal, VFIOD_ERROR_INTERNAL, &d->name, "out of memory");
    }
    v = policy_evaluate(p->context->policy, &question);
    if (v.effect == EFFECT_DENY) {
        r = deny_it(p, d, &v);
        if (r < 0 && !p->context->brief)
            policy_explain_refusal(p->context->policy, &question,
                    subject_is_operator(p->subject) ? AUDIENCE_OPERATOR : AUDIENCE_SUBJECT, p->refusal);
        return r;
    }
    *ret = v;
    return 0;
}

/* Judges a denied device as if a rule without any other key allowed it, so that the operator sees what else
 * such a rule would meet. A template that no rule mentions may not exist. */
static bool assume_allowed(Planner *p, size_t i) {
    const RuleTerms *terms = &rule_terms_default;
    Verdict *v = &p->verdicts[i];

    if (!p->context->beyond_policy || v->terms || p->devices[i] == &p->templates[i])
        return false;
    *v = (Verdict){.effect = EFFECT_ALLOW, .terms = terms};
    p->grants &= terms->grants;
    p->tethers &= terms->tethers;
    p->memlock_max = MIN(p->memlock_max, terms->memlock_max);
    p->assumed = true;
    return true;
}

/* The claim gets what all rules of its devices agree on: the backends that each allows, and a reset if one
 * requires it. */
static int authorize(Planner *p) {
    unsigned needed = policy_needed_facts(p->context->policy);
    if (!p->context->policy)
        return refuse(p->refusal, VFIOD_ERROR_POLICY_BROKEN, NULL,
                "no valid policy is loaded, so everything is denied");
    p->plan->reset = RESET_OPTIONAL;
    /* Ask for the facts of all devices at once, since each look may take its time. */
    for (size_t i = 0; needed != 0 && i < p->request->n_devices; i++)
        if (p->devices[i] && p->devices[i] != &p->templates[i] &&
                survey_want(p->context->survey, &p->devices[i]->name, needed) < 0)
            return refuse(p->refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
    for (size_t i = 0; i < p->request->n_devices; i++) {
        Verdict *v = &p->verdicts[i];
        int r;

        if (p->settled[i])
            continue;
        r = judge(p, p->devices[i], deny, v);
        if (r >= 0)
            r = terms_take(p, p->devices[i], v, &p->charges[i]);
        p->settled[i] = r < 0;
        r = planner_put_aside(p, r);
        if (r < 0)
            return r;
        p->settled[i] = p->settled[i] && !assume_allowed(p, i);
        if (p->settled[i])
            continue;
        p->first = p->first ?: p->devices[i];
        p->backends &= v->terms->backends;
        if (v->rule && v->terms->reset == RESET_REQUIRED)
            p->plan->reset = RESET_REQUIRED;
    }
    return 0;
}

/* Only its group isolates such a device. */
static bool needs_group(const Device *d) {
    return device_kind_info(d->name.kind)->backends & 1U << BACKEND_GROUP;
}

/* The remedy differs if a rule already allows the backend noiommu. */
static int refuse_without_iommu(Planner *p, const Device *d) {
    int r = refuse(p->refusal, VFIOD_ERROR_NO_IOMMU_GROUP, &d->name, "it has no IOMMU");

    p->refusal->remedy = format_string("%s %s", error_info(VFIOD_ERROR_NO_IOMMU_GROUP)->remedy,
            p->backends & (1U << BACKEND_NOIOMMU)
                    ? "To use it without any isolation, request the backend noiommu by name."
                    : "To loosen the policy where there is none, a rule can allow it without isolation, see "
                      "\"noiommu\" in vfiod-policy(5).");
    return r;
}

/* d is in quarantine. The caller is told the kind of problem; the claim has the details. */
static int refuse_quarantined(Planner *p, const Device *d) {
    const char *why = "it is quarantined: it could not be restored after an earlier claim";
    const PlanMember *m = d->claim ? plan_find_member(&d->claim->plan, &d->name) : NULL;
    int r;

    if (m && m->failure == MEMBER_FAILURE_RECORD)
        why = "it is quarantined and may be in use: the record of a claim is damaged or missing";
    r = refuse(p->refusal, VFIOD_ERROR_DEVICE_QUARANTINED, &d->name, "%s", why);
    /* What to restore is unknown, so a retry is impossible. */
    if (m && m->disposition == DISPOSITION_CLAIM && !plan_member_is_known(m))
        p->refusal->remedy =
                strdup("The operator must look at it: 'vfioctl quarantine list' shows the reason, "
                       "'vfioctl quarantine clear DEVICE' ends the quarantine.");
    refusal_add_device(p->refusal, &d->name, "quarantined");
    if (d->claim)
        planner_add_claim(p, d->claim);
    return r;
}

static int refuse_reserved(Planner *p, const Device *d, const Claim *holder) {
    return refuse(p->refusal, VFIOD_ERROR_DEVICE_RESERVED, &d->name,
            "it is reserved for %s until %s (reservation %s)", USER_TEXT(holder->uid),
            LOCAL_TIME(holder->until_usec), holder->id);
}

static int refuse_claimed(Planner *p, const Device *d, const Claim *holder) {
    const char *state = claim_state_to_string(holder->state);
    int r;

    if (holder->state == CLAIM_RESERVED)
        r = refuse_reserved(p, d, holder);
    else if (!d->group)
        r = refuse(p->refusal, VFIOD_ERROR_DEVICE_CLAIMED, &d->name, "claim %s of %s holds it (%s)",
                holder->id, USER_TEXT(holder->uid), state);
    else
        r = refuse(p->refusal, VFIOD_ERROR_DEVICE_CLAIMED, &d->name,
                "claim %s of %s holds IOMMU group %d (%s)", holder->id, USER_TEXT(holder->uid), d->group->id,
                state);
    planner_add_claim(p, holder);
    return r;
}

static int refuse_member(Planner *p, const PlanMember *m) {
    const Claim *c = p->context->claim;
    int r;

    if (!m->leaving)
        return refuse(p->refusal, VFIOD_ERROR_INVALID_ARGUMENT, &m->name, "claim %s already has it", c->id);
    r = refuse(p->refusal, VFIOD_ERROR_INVALID_ARGUMENT, &m->name,
            "it was given back, and waits until claim %s gives back the rest of IOMMU group %d", c->id,
            m->group);
    p->refusal->remedy = strdup("Give back the other devices of the group, and then add them together.");
    return r;
}

/* The driver that made such a device must have bound it. vfiod cannot. */
static int refuse_unbound(Planner *p, const Device *d) {
    int r = refuse(p->refusal, VFIOD_ERROR_NODE_MISSING, &d->name,
            "it is handed out as the driver of its parent made it, and that has not registered it with VFIO");

    p->refusal->remedy = strdup("Remove the mediated device and create it again.");
    return r;
}

static bool on_vfio_driver(const Device *d) {
    return d->driver && d->vfio_index >= 0;
}

static int check_claimable(Planner *p, const Device *d) {
    const Claim *own = p->context->claim, *holder = d->claim ?: d->group ? d->group->claim : NULL;
    const PlanMember *m = own ? plan_find_member(&own->plan, &d->name) : NULL;

    if (!device_kind_info(d->name.kind)->claimable)
        return refuse(p->refusal, VFIOD_ERROR_NOT_SUPPORTED, &d->name,
                "this version of vfiod shows devices of the kind %s, but cannot hand them out yet",
                device_kind_to_string(d->name.kind));
    if (device_is_bridge(d)) {
        int r = refuse(p->refusal, VFIOD_ERROR_INVALID_ARGUMENT, &d->name,
                "it is a bridge, and bridges cannot be claimed");

        p->refusal->remedy = strdup("Claim the devices below it instead.");
        return r;
    }
    if (!device_kind_info(d->name.kind)->driver && !on_vfio_driver(d))
        return refuse_unbound(p, d);
    if (!d->group && needs_group(d) && p->request->backend != BACKEND_NOIOMMU)
        return refuse_without_iommu(p, d);
    if (d->quarantined)
        return refuse_quarantined(p, d);
    if (m && m->disposition == DISPOSITION_CLAIM)
        return refuse_member(p, m);
    return holder && holder != own ? refuse_claimed(p, d, holder) : family_check_parent(p, d);
}

/* Siblings get the strictest terms of the rules of the group's claimed devices. */
static void add_group(Planner *p, int id, const RuleTerms *terms) {
    Plan *plan = p->plan;
    size_t i = 0;

    while (i < plan->n_groups && plan->groups[i] != id)
        i++;
    if (i == plan->n_groups) {
        plan->groups[plan->n_groups++] = id;
        p->siblings[i] = terms->siblings;
        p->host_critical[i] = terms->host_critical;
        return;
    }
    if (terms->siblings == SIBLINGS_REFUSE)
        p->siblings[i] = SIBLINGS_REFUSE;
    if (terms->host_critical == HOST_CRITICAL_REFUSE)
        p->host_critical[i] = HOST_CRITICAL_REFUSE;
}

bool planner_is_requested(const Planner *p, const Device *d) {
    for (size_t i = 0; i < p->request->n_devices; i++)
        if (p->devices[i] == d)
            return true;
    return false;
}

/* A group that the claim already has: its siblings were checked then. */
static bool is_own_group(const Planner *p, const Group *g) {
    return p->context->claim && plan_has_group(&p->context->claim->plan, g->id);
}

/* The holder of a group's file can open every member on a vfio driver, parked or not. So the policy must
 * allow the subject each of them, and each is reset afterwards. */
static bool is_exposed(const Planner *p, const Device *d, Disposition disposition) {
    return p->plan->backend == BACKEND_GROUP && disposition != DISPOSITION_CLAIM &&
            (disposition == DISPOSITION_PARK || on_vfio_driver(d));
}

/* A sibling without a driver. Until the client has attached its devices, the kernel lets a driver take the
 * sibling, and the attach fails. A bridge leaves the group viable with the driver that it gets. */
static bool may_get_driver(const Device *d) {
    return !d->driver && !device_is_bridge(d) && device_kind_info(d->name.kind)->driver;
}

/* The facts that the plan needs for this member. The host does not use a device that is on its vfio driver,
 * and what is not bound is not restored. So the common claim of a prepared device takes two reads. */
static unsigned wanted_facts(
        const Device *d, Disposition disposition, bool exposed, HostCriticalDemand host_critical) {
    if (disposition != DISPOSITION_CLAIM && disposition != DISPOSITION_PARK)
        return (on_vfio_driver(d) ? DEVICE_FACT_ENABLE_COUNT : 0) |
                (may_get_driver(d) ? DEVICE_FACT_DRIVER_OVERRIDE : 0) |
                (exposed ? DEVICE_FACT_RESET_METHODS : 0);
    if (on_vfio_driver(d))
        return DEVICE_FACT_RESET_METHODS | DEVICE_FACT_ENABLE_COUNT;
    return DEVICE_FACT_RESET_METHODS | DEVICE_FACT_DRIVER_OVERRIDE | DEVICE_FACT_DESCENDANTS |
            DEVICE_FACT_DIRECT_REGION | DEVICE_FACT_LINKS |
            (host_critical == HOST_CRITICAL_REFUSE ? DEVICE_FACT_HOST_CRITICAL | DEVICE_FACT_EXCLUSIVE_USE
                                                   : 0);
}

static unsigned needed_facts(
        const Device *d, Disposition disposition, bool exposed, HostCriticalDemand host_critical) {
    const DeviceKindInfo *kind = device_kind_info(d->name.kind);

    return wanted_facts(d, disposition, exposed, host_critical) &
            ~(kind->reset && !device_is_native(d) ? 0U : (unsigned) DEVICE_FACT_RESET_METHODS) &
            ~(kind->counts_opens && !device_is_native(d) ? 0U : (unsigned) DEVICE_FACT_ENABLE_COUNT);
}

/* While a disk is open exclusively, nobody can mount it: not for a request that the policy denies. */
static unsigned without_disturbance(const Planner *p, unsigned what) {
    return what & ~(p->assumed ? (unsigned) DEVICE_FACT_EXCLUSIVE_USE : 0);
}

/* A device on its vfio driver that somebody has enabled is open in a program that did not get it from vfiod.
 * The kernel would report that only at the client's BIND (EINVAL) or open (EBUSY), without the reason.
 * Unknown counts as used. If the kernel does not count, only the open shows it. */
static int check_unused(Planner *p, const Device *d, long enable_count) {
    if (!on_vfio_driver(d) || enable_count == 0 || !device_kind_info(d->name.kind)->counts_opens ||
            device_is_native(d))
        return 0;
    /* Its file also gave the client this device. */
    if (p->plan->backend == BACKEND_GROUP && d->group && is_own_group(p, d->group))
        return 0;
    if (!d->group)
        return refuse(p->refusal, VFIOD_ERROR_GROUP_IN_USE, &d->name,
                "a program has it open that did not get it from vfiod");
    return refuse(p->refusal, VFIOD_ERROR_GROUP_IN_USE, &d->name,
            "a program has IOMMU group %d open that did not get it from vfiod", d->group->id);
}

/* The kernel does not attach such a device to any address space of a program, and reports that only at the
 * client's attach (EINVAL, EPERM). */
static int refuse_direct_region(Planner *p, const Device *d) {
    int r = refuse(p->refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, &d->name,
            "the firmware still uses memory through it (reserved region of type \"direct\"), and the kernel "
            "does not let a program use such a device");

    p->refusal->remedy = strdup("Turn that use off in the firmware (RMRR, shared memory, USB legacy "
                                "support), or choose another device.");
    return r;
}

/* The message calls a sibling a sibling, since the caller did not request it. */
static int refuse_host_critical(Planner *p, const Device *d, const char *use) {
    _cleanup_free_ char *why = sanitize(use, 200);
    int r;

    if (planner_is_requested(p, d) || !d->group)
        r = refuse(p->refusal, VFIOD_ERROR_HOST_CRITICAL, &d->name, "the host uses it: %s", why ?: "?");
    else
        r = refuse(p->refusal, VFIOD_ERROR_HOST_CRITICAL, &d->name,
                "the host uses this sibling in IOMMU group %d: %s", d->group->id, why ?: "?");
    refusal_add_device(p->refusal, &d->name, use);
    p->refusal->remedy = strdup(remedy_of_use(use));
    return r;
}

/* Returns 1; 0 if the facts are not there yet; or refuses. */
static int get_member_facts(Planner *p, const Device *d, unsigned what, const DeviceFacts **ret) {
    static const DeviceFacts none;
    const DeviceFacts *facts = &none;
    int r;

    r = what == 0 ? 0 : survey_get(p->context->survey, &d->name, what, &facts);
    if (r == -EAGAIN) {
        p->again = true;
        return 0;
    }
    if (r == -ETIMEDOUT)
        return refuse(p->refusal, VFIOD_ERROR_TIMED_OUT, &d->name,
                "whether the host uses it is unknown: the kernel did not answer in time");
    if (r < 0)
        return refuse(p->refusal, r == -ENODEV ? VFIOD_ERROR_DEVICE_GONE : VFIOD_ERROR_INTERNAL, &d->name,
                "cannot read its state: %s", strerror(-r));
    *ret = facts;
    return 1;
}

/* Adds the host's own use to the obstacles of a device that the policy denies, since no other rule would help
 * then. This costs a look at the device, so it is done only if all obstacles are wanted. Unknown facts are no
 * obstacle here. */
static int look_behind_denials(Planner *p) {
    int r = 0;

    for (size_t i = 0; r >= 0 && p->context->all_obstacles && i < p->request->n_devices; i++) {
        const Device *d = p->devices[i];
        const DeviceFacts *facts;

        if (!d || !p->settled[i] || d->name.kind == DEVICE_KIND_TEMPLATE)
            continue;
        r = get_member_facts(p, d, DEVICE_FACT_HOST_CRITICAL, &facts);
        if (r < 0)
            refusal_done(p->refusal);
        r = r > 0 && facts->host_critical
                ? planner_put_aside(p, refuse_host_critical(p, d, facts->host_critical))
                : 0;
    }
    return r;
}

/* When the kernel unbinds this device, it unbinds its consumers too, also from a vfio driver. Binding a
 * consumer before its supplier does not help. */
static int check_links(Planner *p, const Device *d, const DeviceLinks *links, bool may_be_critical) {
    for (size_t i = 0; links && i < links->n; i++) {
        const DeviceLink *l = &links->items[i];
        _cleanup_free_ char *use = NULL;
        int r;

        if (!l->unbinds)
            continue;
        r = family_check_consumer(p, d, l->name);
        if (r < 0)
            return r;
        if (may_be_critical)
            continue;
        use = format_string("%s (driver %s) depends on it, and loses its driver with it", l->name, l->driver);
        r = refuse_host_critical(p, d, use);
        free(p->refusal->remedy);
        p->refusal->remedy = format_string(
                "Unbind the driver of %s first. Request it after this device, if at all.", l->name);
        return r;
    }
    return 0;
}

/* What prevents moving the device, whatever the rule says of its group. */
static int check_movable(Planner *p, const Device *d, unsigned what, const DeviceFacts *facts) {
    int r = 0;

    if ((what & DEVICE_FACT_DIRECT_REGION) && facts->direct_region)
        r = planner_put_aside(p, refuse_direct_region(p, d));
    if (r >= 0 && (what & DEVICE_FACT_DESCENDANTS) && facts->descendants)
        r = planner_put_aside(p, family_refuse(p, d, facts->descendants));
    if (r >= 0 && (what & DEVICE_FACT_HOST_CRITICAL) && facts->host_critical)
        r = planner_put_aside(p, refuse_host_critical(p, d, facts->host_critical));
    if (r >= 0 && (what & DEVICE_FACT_LINKS))
        r = planner_put_aside(p, check_links(p, d, facts->links, !(what & DEVICE_FACT_HOST_CRITICAL)));
    return r;
}

static int refuse_large_group(Planner *p, const Device *d) {
    int r = refuse(p->refusal, VFIOD_ERROR_TOO_MANY_DEVICES, &d->name,
            "the IOMMU groups of the claim have more than %u devices", PLAN_MEMBERS_MAX);

    p->refusal->remedy = strdup("Choose a device of a smaller IOMMU group.");
    return r;
}

/* If the parent is on a vfio driver, the kernel gives a virtual function only to a program that knows the
 * parent's token. */
static bool parent_is_on_vfio(const Planner *p, const Device *d) {
    const Device *parent = inventory_find_parent(p->context->inventory, d);

    return device_is_virtual_function(d) && parent && parent->driver && parent->vfio_index >= 0 &&
            p->request->backend != BACKEND_NOIOMMU;
}

/* An override that an earlier claim of vfiod has left means nothing. */
static const char *former_override(const Planner *p, const DeviceFacts *facts) {
    return !p->context->claim && streq(facts->driver_override, OVERRIDE_PARKED) ? "" : facts->driver_override;
}

static void keep_without_driver(PlanMember *m) {
    m->kept = true;
    put_text(m->target_driver, sizeof(m->target_driver), OVERRIDE_PARKED);
}

PlanMember *plan_add_late_sibling(Plan *p, const Device *d) {
    PlanMember *m = NULL;

    for (size_t i = p->n_claimed; i < p->n_members && !m; i++)
        if (device_name_compare(&p->members[i].name, &d->name) == 0)
            m = &p->members[i];
    if (!m)
        m = plan_add_member(p);
    if (!m)
        return NULL;
    *m = (PlanMember){
            .name = d->name,
            .group = d->group->id,
            .disposition = DISPOSITION_NONE_NEEDED,
            .vendor = d->vendor,
            .device = d->device,
            .identity = device_identity(d),
            .came = true,
    };
    keep_without_driver(m);
    return m;
}

/* Returns 1 if it was added. Returns 0 if its facts are not there yet, or if it was refused and that was put
 * aside. */
static int add_member(Planner *p, const Device *d, Disposition disposition, HostCriticalDemand host_critical,
        unsigned charge) {
    bool touched = disposition == DISPOSITION_CLAIM || disposition == DISPOSITION_PARK;
    bool exposed = is_exposed(p, d, disposition);
    Plan *plan = p->plan;
    const DeviceFacts *facts = NULL;
    PlanMember *m;
    unsigned what;
    int r;

    if (plan->n_members >= PLAN_MEMBERS_MAX)
        return refuse_large_group(p, d);
    r = touched || exposed ? family_check_stable(p, d) : 0;
    if (r >= 0 && (touched || exposed))
        r = planner_put_aside(p, family_check_descendants(p, d));
    if (r >= 0 && touched && d->direct_region)
        r = planner_put_aside(p, refuse_direct_region(p, d));
    if (r < 0)
        return r;
    what = without_disturbance(p, needed_facts(d, disposition, exposed, host_critical)) |
            driver_needed_facts(p, d, disposition, charge);
    r = get_member_facts(p, d, what, &facts);
    if (r <= 0)
        return planner_put_aside(p, r);
    r = check_movable(p, d, what, facts);
    if (r < 0)
        return r;

    m = plan_add_member(plan);
    if (!m)
        return refuse(p->refusal, VFIOD_ERROR_INTERNAL, &d->name, "out of memory");
    *m = (PlanMember){
            .name = d->name,
            .group = d->group ? d->group->id : -1,
            .disposition = disposition,
            .vendor = d->vendor,
            .device = d->device,
            .identity = device_identity(d),
            .bind = touched && !on_vfio_driver(d),
            .native = device_is_native(d),
            .reset_methods = what & DEVICE_FACT_RESET_METHODS ? facts->reset_methods : 0,
            .charge = charge,
    };
    m->needs_vf_token = disposition == DISPOSITION_CLAIM && parent_is_on_vfio(p, d);
    put_text(m->original_driver, sizeof(m->original_driver), d->driver ?: "");
    m->reset = (disposition == DISPOSITION_CLAIM || exposed) && m->reset_methods != 0;
    if (what & DEVICE_FACT_DRIVER_OVERRIDE)
        put_text(m->original_override, sizeof(m->original_override), former_override(p, facts));
    r = touched || exposed ? driver_choose(p, d, facts, m) : 0;
    if (r < 0)
        return r;
    /* An override that somebody else has set has the same effect, or names the driver that they want. */
    if (!touched && may_get_driver(d) && !m->original_override[0])
        keep_without_driver(m);
    r = m->bind ? 0 : planner_put_aside(p, check_unused(p, d, facts->enable_count));
    return r < 0 ? r : 1;
}

/* The unit is started for a name of the PCI bus. */
static int take_scrub(Planner *p) {
    PlanMember *m = &p->plan->members[p->plan->n_members - 1];
    const char *scrub = m->charge > 0 ? rule_terms(p->rules[m->charge - 1])->scrub : NULL;

    if (!scrub)
        return 0;
    put_text(m->scrub, sizeof(m->scrub), scrub);
    if (m->name.kind == DEVICE_KIND_PCI)
        return 0;
    return planner_put_aside(p,
            planner_name_rules(p,
                    refuse(p->refusal, VFIOD_ERROR_RESET_UNSUPPORTED, &m->name,
                            "the rule requires a scrub by %s, and only PCI functions can be scrubbed",
                            scrub)));
}

/* Before vfio-platform opens a device, nobody can see whether it resets it at open and close. */
static int check_reset(Planner *p, ResetDemand demand) {
    const PlanMember *m = &p->plan->members[p->plan->n_members - 1];
    const DeviceKindInfo *kind = device_kind_info(m->name.kind);
    const char *rule;
    int r;

    if (demand == RESET_OPTIONAL || m->reset_methods != 0 || kind->resets_itself || m->native)
        return 0;
    rule = m->charge > 0 ? "the rule" : "a rule by default";
    if (!kind->reset)
        r = refuse(p->refusal, VFIOD_ERROR_RESET_UNSUPPORTED, &m->name,
                "%s requires a reset between owners, and it cannot be seen whether the driver %s resets the "
                "device",
                rule, m->target_driver);
    else
        r = refuse(p->refusal, VFIOD_ERROR_RESET_UNSUPPORTED, &m->name,
                "%s requires a reset between owners, and the device has no reset method", rule);
    return planner_put_aside(p, planner_name_rules(p, r));
}

/* Checks what happens to the last member when the claim ends. */
static int check_end(Planner *p, ResetDemand demand) {
    int r = take_scrub(p);

    return r < 0 ? r : check_reset(p, demand);
}

static int add_claimed(Planner *p) {
    Plan *plan = p->plan;

    for (size_t i = 0; i < p->request->n_devices; i++) {
        int r;

        if (p->settled[i])
            continue;
        if (p->devices[i] == &p->templates[i])
            r = template_add(p, i, p->charges[i]);
        else
            r = add_member(
                    p, p->devices[i], DISPOSITION_CLAIM, p->verdicts[i].terms->host_critical, p->charges[i]);
        if (r > 0)
            r = check_end(p, p->charges[i] > 0 ? plan->reset : p->verdicts[i].terms->reset);
        if (r < 0)
            return r;
    }
    plan->n_claimed = plan->n_members;
    return 0;
}

/* A bridge on a driver that itself uses DMA (shpchp) blocks its group like any device, and no vfio driver
 * takes it. */
static Disposition sibling_disposition(const Device *d, SiblingDemand demand) {
    if (device_leaves_group_viable(d))
        return DISPOSITION_NONE_NEEDED;
    if (device_is_bridge(d))
        return DISPOSITION_REFUSE;
    /* A sibling that has no driver to be parked on stays where it is. */
    return demand == SIBLINGS_PARK && device_kind_info(d->name.kind)->driver ? DISPOSITION_PARK
                                                                             : DISPOSITION_REFUSE;
}

/* Lists all siblings that block the group at once. Otherwise each try would show only the next one. */
static int refuse_group(Planner *p, const Group *g, const Device *claimed) {
    _cleanup_strbuf_ StrBuf b = {};
    char name[DEVICE_NAME_MAX];
    bool first = true, has_bridge = false;
    int r;

    FOREACH_MEMBER(d, g)
        if (!planner_is_requested(p, d) && sibling_disposition(d, SIBLINGS_REFUSE) == DISPOSITION_REFUSE) {
            has_bridge |= device_is_bridge(d);
            strbuf_addf(
                    &b, "%s%s (driver %s)", first ? "" : ", ", device_name_format(&d->name, name), d->driver);
            first = false;
        }
    r = refuse(p->refusal, VFIOD_ERROR_GROUP_NOT_VIABLE, &claimed->name,
            "its IOMMU group %d also has devices that are bound to drivers of the host: %s", g->id,
            b.text ?: "?");
    FOREACH_MEMBER(d, g)
        if (!planner_is_requested(p, d) && sibling_disposition(d, SIBLINGS_REFUSE) == DISPOSITION_REFUSE)
            refusal_add_blocker(
                    p->refusal, BLOCKER_DEVICE, device_name_format(&d->name, name), "driver %s", d->driver);
    /* Nobody can claim a bridge, and no rule parks it. */
    if (has_bridge)
        p->refusal->remedy =
                strdup("A bridge cannot be claimed or parked: unbind its driver, or choose a device of "
                       "another IOMMU group.");
    return r;
}

static int refuse_exposed(Planner *p, const Device *d, const Rule *rule) {
    bool told = rule && (rule_concerns(rule, p->subject) || subject_is_operator(p->subject));
    char who[SUBJECT_DESCRIPTION_MAX];
    int r;

    r = refuse(p->refusal, VFIOD_ERROR_ACCESS_DENIED, &d->name,
            "with the group backend %s could also open this sibling, and %s; the iommufd backend does not "
            "expose it",
            subject_describe(p->subject, who),
            told ? "the policy does not allow that" : "no rule allows that");
    return told ? planner_name_rule(p, rule, r) : r;
}

static int deny_exposed(Planner *p, const Device *d, const Verdict *v) {
    return refuse_exposed(p, d, v->rule);
}

static int add_exposed(
        Planner *p, const Device *d, Disposition disposition, HostCriticalDemand host_critical) {
    unsigned charge = 0;
    Verdict v;
    int r;

    r = judge(p, d, deny_exposed, &v);
    if (r >= 0 && !(v.terms->backends & (1U << BACKEND_GROUP)))
        r = refuse_exposed(p, d, v.rule);
    if (r >= 0)
        r = terms_take(p, d, &v, &charge);
    if (r >= 0)
        r = add_member(p, d, disposition, MIN(host_critical, v.terms->host_critical), charge);
    return r > 0 ? check_end(p, v.terms->reset) : r;
}

/* The rule of the claimed device also covers a parked sibling, unless a deny rule names that one: then the
 * sibling must not leave its driver for this subject either. */
static int deny_parked(Planner *p, const Device *d, const Verdict *v) {
    bool told = v->rule && (rule_concerns(v->rule, p->subject) || subject_is_operator(p->subject));
    char who[SUBJECT_DESCRIPTION_MAX];
    int r;

    if (!v->rule || !rule_names_devices(v->rule))
        return 0;
    r = refuse(p->refusal, VFIOD_ERROR_ACCESS_DENIED, &d->name,
            "this sibling would be unbound from its driver for the claim, and %s %s",
            told ? "a rule denies it to" : "the policy protects it from", subject_describe(p->subject, who));
    return told ? planner_name_rule(p, v->rule, r) : r;
}

static int add_parked(Planner *p, const Device *d, HostCriticalDemand host_critical) {
    Verdict v;
    int r;

    r = judge(p, d, deny_parked, &v);
    return r < 0 ? r : add_member(p, d, DISPOSITION_PARK, host_critical, 0);
}

/* A port with the kernel's own driver or none is left alone. It is listed if there is room. */
static bool is_idle_port(const Device *d) {
    return device_is_bridge(d) && device_leaves_group_viable(d);
}

static size_t count_room_for_ports(const Planner *p) {
    size_t n = 0;

    for (size_t i = 0; i < p->plan->n_groups; i++) {
        const Group *g = inventory_find_group(p->context->inventory, p->plan->groups[i]);

        FOREACH_MEMBER(d, g)
            n += !is_idle_port(d);
    }
    return PLAN_MEMBERS_MAX - MIN(n, (size_t) PLAN_MEMBERS_MAX);
}

/* If all obstacles are wanted, they include what would prevent moving this sibling. */
static int refuse_sibling(Planner *p, const Group *g, const Device *d, HostCriticalDemand host_critical) {
    const DeviceFacts *facts;
    size_t i = 0;
    unsigned what;
    int r;

    while (p->settled[i] || p->devices[i]->group != g)
        i++;
    r = planner_put_aside(p, refuse_group(p, g, p->devices[i]));
    if (r < 0 || device_is_bridge(d))
        return r;
    what = without_disturbance(p, needed_facts(d, DISPOSITION_PARK, /* exposed= */ false, host_critical));
    r = planner_put_aside(p, family_check_descendants(p, d));
    if (r >= 0)
        r = get_member_facts(p, d, what, &facts);
    return r > 0 ? check_movable(p, d, what, facts) : planner_put_aside(p, r);
}

static int add_sibling(Planner *p, size_t group, const Group *g, const Device *d) {
    Disposition disposition = sibling_disposition(d, p->siblings[group]);
    HostCriticalDemand host_critical = p->host_critical[group];

    if (d->quarantined)
        return refuse_quarantined(p, d);
    if (disposition == DISPOSITION_REFUSE)
        return refuse_sibling(p, g, d, host_critical);
    if (is_exposed(p, d, disposition))
        return add_exposed(p, d, disposition, host_critical);
    if (disposition == DISPOSITION_PARK)
        return add_parked(p, d, host_critical);
    return add_member(p, d, disposition, host_critical, 0);
}

static int add_siblings(Planner *p) {
    size_t room = count_room_for_ports(p);

    for (size_t i = 0; i < p->plan->n_groups; i++) {
        const Group *g = inventory_find_group(p->context->inventory, p->plan->groups[i]);

        FOREACH_MEMBER(d, g) {
            bool full = p->plan->n_members >= PLAN_MEMBERS_MAX;
            int r;

            if (planner_is_requested(p, d) || (is_idle_port(d) && room == 0))
                continue;
            room -= is_idle_port(d);
            r = planner_put_aside(p, add_sibling(p, i, g, d));
            if (r < 0 || full)
                return r;
        }
    }
    return 0;
}

/* Every device is on its vfio driver and has its node, so there is no need to ask whether the kernel makes
 * nodes. */
static bool nodes_are_there(const Planner *p) {
    for (size_t i = 0; i < p->request->n_devices; i++)
        if (!p->settled[i] && (!on_vfio_driver(p->devices[i]) || p->devices[i]->vfio_rdev == 0))
            return false;
    return true;
}

/* cdevs appear only with the vfio driver. Before that, the kernel as a whole must show that it makes them. */
static bool backend_offered(const Planner *p, const KernelFacts *kernel, Backend b) {
    if (b == BACKEND_GROUP)
        return kernel->container;
    if (b == BACKEND_VHOST_VDPA)
        return kernel->vhost_vdpa;
    if (b == BACKEND_COMPAT)
        return kernel->compat;
    if (b != BACKEND_IOMMUFD || !kernel->iommufd)
        return false;
    for (size_t i = 0; i < p->request->n_devices; i++)
        if (!p->settled[i] &&
                (on_vfio_driver(p->devices[i]) ? p->devices[i]->vfio_rdev == 0 : !kernel->device_cdev))
            return false;
    return true;
}

static int refuse_without_driver(Planner *p, const char *driver) {
    int r = refuse(p->refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, &p->first->name,
            "it is opened through the driver %s, which is not loaded", driver);

    p->refusal->remedy = format_string("Load it ('modprobe %s').", driver);
    return r;
}

static const char *why_not_offered(const KernelFacts *kernel, Backend wanted) {
    if (wanted == BACKEND_GROUP && kernel->compat)
        return ": its /dev/vfio/vfio is an iommufd";
    if (wanted == BACKEND_COMPAT && kernel->container)
        return ": its /dev/vfio/vfio is the container of VFIO itself";
    return "";
}

/* The remedy names a backend that would work. */
static int refuse_backend(Planner *p, const KernelFacts *kernel) {
    Backend wanted = p->request->backend, other = _BACKEND_INVALID;
    int r;

    if (p->backends & 1U << BACKEND_VHOST_VDPA)
        return refuse_without_driver(p, device_kind_info(DEVICE_KIND_VDPA)->driver);
    if (!kernel->iommufd && !kernel->container && !kernel->compat) {
        r = refuse(p->refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, &p->first->name,
                "the kernel offers neither iommufd nor a container of VFIO");
        free(p->refusal->remedy);
        p->refusal->remedy = strdup(
                "Load the modules ('modprobe vfio-pci'); 'vfioctl doctor' shows what the kernel lacks.");
        return r;
    }
    if (wanted == _BACKEND_INVALID)
        r = planner_name_rules(p,
                refuse(p->refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, &p->first->name,
                        "the rule allows no backend that the kernel supports for this device"));
    else if (p->backends & (1U << wanted))
        r = refuse(p->refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, &p->first->name,
                "the kernel does not support the backend %s for this device%s", backend_to_string(wanted),
                why_not_offered(kernel, wanted));
    else
        r = planner_name_rules(p,
                refuse(p->refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, &p->first->name,
                        "the rule does not allow the backend %s", backend_to_string(wanted)));
    for (Backend b = 0; b < _BACKEND_MAX && other < 0; b++)
        if ((p->backends & (1U << b)) && backend_offered(p, kernel, b))
            other = b;
    free(p->refusal->remedy);
    p->refusal->remedy = other == _BACKEND_INVALID
            ? strdup("To loosen the policy, the operator can allow a backend that the kernel supports. "
                     "'vfioctl status' shows what it supports.")
            : format_string("Request the backend %s, which the rule allows and the kernel supports.",
                      backend_to_string(other));
    return r;
}

/* The one rule for the backend: the requested one only, or else the first that rule and kernel both offer.
 * iommufd comes before group, and compat last. The reply names the backend, and it never changes. */
static int choose_backend(Planner *p) {
    Backend wanted = p->request->backend;
    const KernelFacts *kernel;
    int r;

    if ((wanted == _BACKEND_INVALID || wanted == BACKEND_IOMMUFD) &&
            (p->backends & (1U << BACKEND_IOMMUFD)) && nodes_are_there(p)) {
        p->plan->backend = BACKEND_IOMMUFD;
        return 0;
    }
    r = survey_get_kernel(p->context->survey, &kernel);
    if (r == -EAGAIN)
        return r;
    if (r < 0)
        return refuse(p->refusal, VFIOD_ERROR_INTERNAL, &p->first->name,
                "cannot find out what the kernel supports: %s", strerror(-r));
    for (Backend b = 0; b < _BACKEND_MAX; b++) {
        if (wanted != _BACKEND_INVALID && wanted != b)
            continue;
        if ((p->backends & (1U << b)) && backend_offered(p, kernel, b)) {
            p->plan->backend = b;
            return 0;
        }
    }
    return refuse_backend(p, kernel);
}

static int refuse_mixture(Planner *p, const Device *d) {
    char name[DEVICE_NAME_MAX];
    int r = refuse(p->refusal, VFIOD_ERROR_INVALID_ARGUMENT, &d->name,
            "a claim has one backend, and no backend opens both it and %s",
            device_name_format(&p->first->name, name));

    p->refusal->remedy = strdup("Make one claim for each kind of device.");
    return r;
}

static int refuse_kind_of_backend(Planner *p, const Device *d) {
    int r = refuse(p->refusal, VFIOD_ERROR_BACKEND_UNAVAILABLE, &d->name,
            "devices of the kind %s are not opened through the backend %s",
            device_kind_to_string(d->name.kind), backend_to_string(p->request->backend));

    p->refusal->remedy = strdup("Request it without a backend.");
    return r;
}

/* For some backends the daemon learns from `enable` that the client has closed the device. They require a
 * driver that counts opens. */
static unsigned backends_of(const Device *d) {
    unsigned backends = device_kind_info(d->name.kind)->backends;

    return device_is_native(d) ? backends & (1U << BACKEND_IOMMUFD | 1U << BACKEND_GROUP) : backends;
}

/* Of the backends that the rules allow, keeps those that can open all devices. */
static int match_backends(Planner *p) {
    unsigned backends = UINT32_MAX;

    for (size_t i = 0; i < p->request->n_devices; i++) {
        const Device *d = p->devices[i];
        unsigned of_kind;

        if (p->settled[i])
            continue;
        of_kind = backends_of(d);
        if (p->request->backend >= 0 && !(of_kind & 1U << p->request->backend))
            return refuse_kind_of_backend(p, d);
        if (!(backends & of_kind))
            return refuse_mixture(p, d);
        backends &= of_kind;
    }
    p->backends &= backends;
    return 0;
}

static int decide_backend(Planner *p) {
    int r = match_backends(p);

    if (r < 0)
        return r;
    return p->request->backend == BACKEND_NOIOMMU ? noiommu_decide(p) : choose_backend(p);
}

static bool is_settled(const Planner *p) {
    for (size_t i = 0; i < p->request->n_devices; i++)
        if (!p->settled[i])
            return false;
    return true;
}

static int choose_devices(Planner *p) {
    for (size_t i = 0; i < p->request->n_devices; i++) {
        int r;

        if (p->settled[i])
            continue;
        r = p->devices[i] == &p->templates[i] ? template_choose(p, i) : check_claimable(p, p->devices[i]);
        p->settled[i] = r < 0;
        r = planner_put_aside(p, r);
        if (r < 0)
            return r;
        if (!p->settled[i] && p->devices[i]->group && !is_own_group(p, p->devices[i]->group))
            add_group(p, p->devices[i]->group->id, p->verdicts[i].terms);
    }
    return 0;
}

static bool is_to_wait(const Planner *p, int r) {
    return r < 0 && p->request->wait_sec > 0 &&
            (p->refusal->code == VFIOD_ERROR_DEVICE_CLAIMED ||
                    p->refusal->code == VFIOD_ERROR_DEVICE_RESERVED);
}

/* Others have the devices, so the request is to wait. What the rule refuses in any case is refused now: a
 * request that waits in vain would keep others from free devices until its turn. */
static int check_wait(Planner *p, int r) {
    _cleanup_(refusal_done) Refusal in_use = TAKE_GENERIC(*p->refusal, REFUSAL_NULL);
    int wait;

    wait = terms_check_wait(p);
    if (wait < 0)
        return wait;
    *p->refusal = TAKE_GENERIC(in_use, REFUSAL_NULL);
    return r;
}

/* Checks whether the devices that the policy allows are available. */
static int go_through(Planner *p) {
    int r;

    r = choose_devices(p);
    if (is_to_wait(p, r))
        return check_wait(p, r);
    if (r >= 0 && !is_settled(p)) {
        r = planner_put_aside(p, decide_backend(p));
        if (r >= 0)
            r = add_claimed(p);
        if (r >= 0)
            r = add_siblings(p);
        if (r >= 0)
            r = caps_check(p);
        if (r >= 0)
            r = network_check(p);
    }
    if (r >= 0)
        r = terms_check(p);
    return r < 0 ? r : grant_decide(p);
}

int plan_build(const PlanContext *context, const Request *request, const Subject *subject, Plan *ret,
        Refusal *refusal) {
    _cleanup_(plan_done) Plan plan = PLAN_NULL;
    Planner p = {
            .context = context,
            .request = request,
            .subject = subject,
            .plan = &plan,
            .refusal = refusal,
            .found = REFUSAL_NULL,
            .backends = UINT32_MAX,
            .grants = UINT32_MAX,
            .tethers = UINT32_MAX,
            .memlock_max = UINT64_MAX,
            .priority = QUEUE_PRIORITY_MAX,
    };
    int r;

    r = look_up(&p);
    if (r >= 0)
        r = authorize(&p);
    if (r >= 0 && context->ret_priority)
        *context->ret_priority = p.priority;
    if (r >= 0 && context->ret_asks)
        *context->ret_asks = plan.ask;
    if (r >= 0)
        r = look_behind_denials(&p);
    if (r >= 0 && p.first)
        r = go_through(&p);
    r = planner_put_aside(&p, r);
    if (p.again || r == -EAGAIN) {
        refusal_done(&p.found);
        refusal_done(refusal); /* it may come from a check without all facts */
        return -EAGAIN;
    }
    if ((int) p.found.code >= 0) {
        refusal_done(refusal); /* found has this refusal already */
        *refusal = p.found;
        return -error_info(refusal->code)->error;
    }
    if (r < 0)
        return r;
    *ret = TAKE_GENERIC(plan, PLAN_NULL);
    return 0;
}

int plan_need(const PlanContext *context, const Request *request) {
    unsigned policy = context->policy ? policy_needed_facts(context->policy) : 0;

    for (size_t i = 0; i < request->n_devices; i++) {
        const Device *d = inventory_find_device(context->inventory, &request->devices[i]);
        unsigned what = policy;

        if (!d)
            continue;
        if (on_vfio_driver(d))
            what |= needed_facts(d, DISPOSITION_CLAIM, /* exposed= */ false, HOST_CRITICAL_REFUSE);
        if (what != 0 && survey_want(context->survey, &d->name, what) < 0)
            return -ENOMEM;
    }
    return 0;
}

int plan_build_from(const PlanContext *context, const FactSource *source, const Request *request,
        const Subject *subject, Plan *ret, Refusal *refusal) {
    int r;

    for (;;) {
        r = plan_build(context, request, subject, ret, refusal);
        if (r != -EAGAIN)
            return r;
        survey_take(context->survey, source, context->inventory, 0);
    }
}

bool plan_needs_bind(const Plan *p) {
    for (size_t i = 0; i < p->n_members; i++)
        if (p->members[i].bind || p->members[i].kept)
            return true;
    return false;
}

bool plan_needs_reset(const Plan *p) {
    for (size_t i = 0; i < p->n_members; i++)
        if (p->members[i].reset)
            return true;
    return false;
}

bool plan_member_counts_opens(const PlanMember *m) {
    return device_kind_info(m->name.kind)->counts_opens && !m->native;
}

bool plan_member_is_moved(const PlanMember *m) {
    return m->disposition == DISPOSITION_CLAIM || m->disposition == DISPOSITION_PARK;
}

bool plan_member_is(const PlanMember *m, const Device *d) {
    if (!device_identity_is_known(m->name.kind, m->identity))
        return m->vendor == d->vendor && m->device == d->device;
    return m->identity == device_identity(d);
}

bool plan_has_bad(const Plan *p) {
    for (size_t i = 0; i < p->n_members; i++)
        if (p->members[i].progress == MEMBER_BAD)
            return true;
    return false;
}

bool plan_has_vf_token(const Plan *p) {
    for (size_t i = 0; i < p->n_claimed; i++)
        if (p->members[i].vf_token[0])
            return true;
    return false;
}

static bool group_has_member(const Plan *p, int group) {
    for (size_t i = 0; i < p->n_members; i++)
        if (p->members[i].group == group)
            return true;
    return false;
}

/* Parked members come after claimed ones, so the order on which all code relies is kept. */
void plan_keep_bad(Plan *p) {
    size_t n = 0;

    p->n_claimed = 0;
    for (size_t i = 0; i < p->n_members; i++) {
        if (p->members[i].progress != MEMBER_BAD)
            continue;
        p->members[n] = p->members[i];
        if (n < REQUEST_DEVICES_MAX) {
            p->members[n].disposition = DISPOSITION_CLAIM;
            p->n_claimed++;
        }
        n++;
    }
    p->n_members = n;
    n = 0;
    for (size_t i = 0; i < p->n_groups; i++)
        if (group_has_member(p, p->groups[i]))
            p->groups[n++] = p->groups[i];
    p->n_groups = n;
}
