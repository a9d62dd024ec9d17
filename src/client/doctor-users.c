/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The users of devices: how much memory they may lock, and the programs that they have. */

#include "base/str.h"
#include "client/doctor-findings.h"
#include "client/doctor-memory.h"
#include "client/show.h"

#define BUDGETS_MAX 8U /* shown at most: further ones show nothing new */
#define MEMLOCK_FOR_A_GUEST (UINT64_C(1) << 30)

static void judge_memory(const DoctorFacts *facts, Findings *f) {
    char size[FORMAT_SIZE_MAX];
    Finding *finding;

    if (facts->uid == 0 || facts->memlock >= MEMLOCK_FOR_A_GUEST)
        return;
    finding = finding_add(f, FINDING_NOTE, "memory", "Your programs may lock %s of memory.",
            format_size(facts->memlock, size));
    finding_set(f, &finding->why,
            "A virtual machine with a device locks all of its memory; see 'vfioctl memlock-for'.");
    finding_set(f, &finding->fix,
            "To loosen the policy, set \"memlock\" of the rule. Then claim with --memlock: vfiod raises the "
            "limit.");
}

/* The kind of names that a rule has in "who". */
typedef struct BudgetKind {
    const char *key, *limits;           /* keys in "who" and in the facts */
    const char *before, *after;         /* around the name, in the fact */
    const char *fix_before, *fix_after; /* around the name, in the fix */
} BudgetKind;

static const BudgetKind budget_unit = {
        "unit", "units", "unit ", "", "run 'systemctl edit ", "' and set LimitMEMLOCK= in [Service]."};
static const BudgetKind budget_user = {"user", "users", "user ", "", "put the line '",
        " - memlock KILOBYTES' into /etc/security/limits.d/vfiod.conf; it counts for new logins."};
static const BudgetKind budget_group = {"group", "groups", "members of group ", "", "put the line '@",
        " - memlock KILOBYTES' into /etc/security/limits.d/vfiod.conf; it counts for new logins."};
static const BudgetKind budget_session = {"user", "sessions", "user ",
        " that systemd starts (user@.service, such as QEMU of qemu:///session)",
        "run 'systemctl edit user@.service' and set LimitMEMLOCK= in [Service]; it counts for ",
        " after their next login."};

/* What their programs may lock under a rule: their own limit, or the limit up to which vfiod raises it. */
typedef struct Budget {
    const DoctorFacts *facts;
    Findings *findings;
    struct json_object *rule;
    const BudgetKind *kind;
    uint64_t memlock;
    unsigned *shown; /* counts the findings of all rules */
} Budget;

static bool read_own_limit(const Budget *b, const BudgetKind *kind, const char *name, uint64_t *ret) {
    struct json_object *limit = json_member(json_member(b->facts->limits, kind->limits), name);

    *ret = limit ? (uint64_t) json_object_get_int64(limit) : UINT64_MAX;
    return limit;
}

static void add_budget(Budget *b, const char *name, uint64_t own) {
    const BudgetKind *k = b->kind;
    char size[FORMAT_SIZE_MAX];
    Finding *finding;

    ++*b->shown;
    finding = finding_add(b->findings, FINDING_NOTE, "memory",
            "Rule %s (%s:%lld): programs of %s%s%s may lock %s of memory%s.", json_text(b->rule, "rule"),
            json_text(b->rule, "file"), (long long) json_number(b->rule, "line"), k->before, name, k->after,
            format_size(MAX(own, b->memlock), size), b->memlock > own ? ", with --memlock" : "");
    finding_set(b->findings, &finding->why,
            "What a program maps for a device is locked: of a virtual machine, all of its memory.");
    finding_set(b->findings, &finding->fix,
            "If they need more: to loosen the policy, set \"memlock\" of the rule ('vfioctl memlock-for' "
            "shows how much); or %s%s%s",
            k->fix_before, name, k->fix_after);
}

/* Programs that systemd starts for a user are reported separately only if their limit differs. */
static int judge_budget(void *userdata, const char *name) {
    Budget *b = userdata;
    uint64_t own, login;
    bool known = read_own_limit(b, b->kind, name, &own);

    if (!known || MAX(own, b->memlock) >= MEMLOCK_FOR_A_GUEST || streq(name, "root") || streq(name, "0") ||
            *b->shown >= BUDGETS_MAX)
        return 0;
    if (b->kind == &budget_session && read_own_limit(b, &budget_user, name, &login) && login == own)
        return 0;
    add_budget(b, name, own);
    return 0;
}

/* A number, or a size as in options. */
static uint64_t memlock_of(struct json_object *rule) {
    struct json_object *value = json_member(rule, "memlock");
    uint64_t bytes = 0;

    if (value && json_object_is_type(value, json_type_int))
        return (uint64_t) MAX(json_object_get_int64(value), INT64_C(0));
    return value && parse_size(json_object_get_string(value), &bytes) >= 0 ? bytes : 0;
}

/* A rule for a unit is about that unit, whatever its user is. A rule for a user is about that user. */
static const BudgetKind *kind_of_rule(struct json_object *rule) {
    struct json_object *who = json_member(rule, "who");

    return json_member(who, budget_unit.key)    ? &budget_unit
            : json_member(who, budget_user.key) ? &budget_user
                                                : &budget_group;
}

static void judge_budgets(const DoctorFacts *facts, Findings *f) {
    size_t n = facts->rules && facts->limits ? json_object_array_length(facts->rules) : 0;
    unsigned shown = 0;

    for (size_t i = 0; i < n; i++) {
        struct json_object *rule = json_object_array_get_idx(facts->rules, i);
        Budget b = {.facts = facts,
                .findings = f,
                .rule = rule,
                .kind = kind_of_rule(rule),
                .memlock = memlock_of(rule),
                .shown = &shown};

        if (streq(json_text(rule, "effect"), "deny"))
            continue;
        (void) memory_each_name(rule, b.kind->key, judge_budget, &b);
        if (b.kind != &budget_user)
            continue;
        b.kind = &budget_session;
        (void) memory_each_name(rule, b.kind->key, judge_budget, &b);
    }
}

/* QEMU reports this too, but only after the device was bound. */
static void judge_kvm(const DoctorFacts *facts, Findings *f) {
    Finding *finding;

    if (!facts->qemu || facts->may_use_kvm)
        return;
    if (facts->has_kvm) {
        finding = finding_add(f, FINDING_NOTE, "kvm", "You may not open /dev/kvm.");
        finding_set(f, &finding->why, "A virtual machine with -accel kvm does not start.");
        finding_set(f, &finding->fix,
                "As root, run 'usermod --append --groups kvm USER'. It counts for new logins of that user.");
        return;
    }
    finding = finding_add(f, FINDING_NOTE, "kvm", "This host has no /dev/kvm.");
    finding_set(f, &finding->why, "Virtual machines are emulated, and slow.");
    finding_set(f, &finding->fix, "%s, and load the module kvm_intel or kvm_amd.",
            facts->is_virtual_machine
                    ? "Allow nested virtualization for this virtual machine"
                    : "On x86, turn on virtualization in the firmware (VT-x, AMD-V or SVM)");
}

static const char *polkit_package(const DoctorFacts *facts) {
    return doctor_is_like(facts, "debian") ? "polkitd, or policykit-1 in older versions" : "polkit";
}

static void judge_programs(const DoctorFacts *facts, Findings *f) {
    Finding *finding;

    if (facts->qemu && !facts->qemu_takes_fds) {
        finding = finding_add(f, FINDING_NOTE, "qemu",
                "%s takes no file descriptors; it can use VFIO groups only.", facts->qemu);
        finding_set(f, &finding->why,
                "It opens a VFIO group by itself, so its user must be able to open the node of the group.");
        finding_set(f, &finding->fix,
                "Install QEMU 9.0 or newer. To loosen the policy, a rule can grant nodes (\"grant\": "
                "[\"node\"]) for claims with --backend=group.");
    } else if (facts->qemu)
        finding_add(f, FINDING_OK, "qemu", "%s.", facts->qemu);
    judge_kvm(facts, f);
    if (facts->libvirt)
        finding_add(f, FINDING_OK, "libvirt", "%s.", facts->libvirt);
    if (facts->podman)
        finding_add(f, FINDING_OK, "podman", "%s.", facts->podman);
    if (!facts->polkit) {
        finding = finding_add(f, FINDING_NOTE, "polkit", "polkit is not installed.");
        finding_set(f, &finding->why, "Requests that match a rule with the effect ask are denied.");
        finding_set(f, &finding->fix, "If the policy has such a rule, install the package %s.",
                polkit_package(facts));
    } else if (!facts->polkit_agent) {
        finding = finding_add(
                f, FINDING_NOTE, "polkit", "There is no pkttyagent, with which polkit asks on a terminal.");
        finding_set(f, &finding->why,
                "Where the effect of a rule is ask, a person can answer only in a desktop session that has "
                "an agent.");
        finding_set(f, &finding->fix, "Install the package that has it: %s.", polkit_package(facts));
    }
}

void doctor_judge_users(const DoctorFacts *facts, Findings *f) {
    judge_memory(facts, f);
    judge_budgets(facts, f);
    judge_programs(facts, f);
}
