/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/doctor.h"
#include "client/doctor-memory.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/str.h"
#include "client/show.h"
#include "core/variant-table.h"

#define BUDGETS_MAX 8U /* shown at most: further ones show nothing new */
#define MEMLOCK_FOR_A_GUEST (UINT64_C(1) << 30)

static const char *const finding_level_table[_FINDING_LEVEL_MAX] = {
        [FINDING_OK] = "ok",
        [FINDING_NOTE] = "note",
        [FINDING_WARNING] = "warning",
        [FINDING_PROBLEM] = "problem",
};
DEFINE_STRING_TABLE(finding_level, FindingLevel);

void doctor_facts_done(DoctorFacts *f) {
    json_object_put(f->host);
    json_object_put(f->manager);
    json_object_put(f->pins);
    json_object_put(f->rules);
    json_object_put(f->limits);
    free(f->unreachable);
    free(f->quarantined);
    free(f->power_failed);
    free(f->command_line);
    free(f->iommus);
    free(f->qemu);
    free(f->libvirt);
    free(f->podman);
    free(f->distribution);
    *f = (DoctorFacts){};
}

void findings_done(Findings *f) {
    for (size_t i = 0; i < f->n; i++) {
        free(f->items[i].fact);
        free(f->items[i].why);
        free(f->items[i].fix);
    }
    *f = (Findings){};
}

FindingLevel findings_worst(const Findings *f) {
    FindingLevel worst = FINDING_OK;

    for (size_t i = 0; i < f->n; i++)
        worst = MAX(worst, f->items[i].level);
    return worst;
}

/* ---- Adding ---- */

/* With too many findings, the last one becomes a note that there are more. */
static _printf_(4, 5) Finding *add(
        Findings *f, FindingLevel level, const char *subject, const char *format, ...) {
    Finding *finding;
    va_list ap;
    int r;

    if (f->n == FINDINGS_MAX)
        return f->items + f->n - 1;
    finding = f->items + f->n++;
    *finding = (Finding){.level = level, .subject = subject};
    va_start(ap, format);
    r = vasprintf(&finding->fact, format, ap);
    va_end(ap);
    if (r < 0) {
        finding->fact = NULL;
        f->error = -ENOMEM;
    }
    return finding;
}

static _printf_(3, 4) void set(Findings *f, char **text, const char *format, ...) {
    va_list ap;
    int r;

    free(*text);
    va_start(ap, format);
    r = vasprintf(text, format, ap);
    va_end(ap);
    if (r < 0) {
        *text = NULL;
        f->error = -ENOMEM;
    }
}

/* ---- This distribution ---- */

static bool is_like(const DoctorFacts *facts, const char *distribution) {
    const char *at = facts->distribution ? strstr(facts->distribution, distribution) : NULL;
    size_t n = strlen(distribution);

    return at && (at == facts->distribution || at[-1] == ' ') && (at[n] == '\0' || at[n] == ' ');
}

static void set_fix_parameter(
        Findings *f, const DoctorFacts *facts, Finding *finding, const char *parameter) {
    if (is_like(facts, "fedora") || is_like(facts, "rhel"))
        set(f, &finding->fix, "Run 'grubby --update-kernel=ALL --args=%s' and reboot.", parameter);
    else if (facts->has_kernel_cmdline)
        set(f, &finding->fix, "Add %s to /etc/kernel/cmdline, run 'kernel-install add-all' and reboot.",
                parameter);
    else if (facts->has_grub && is_like(facts, "debian"))
        set(f, &finding->fix,
                "Add %s to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, run 'update-grub' and reboot.",
                parameter);
    else if (facts->has_grub)
        set(f, &finding->fix,
                "Add %s to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, run 'grub2-mkconfig -o "
                "/boot/grub2/grub.cfg' and reboot.",
                parameter);
    else
        set(f, &finding->fix, "Add %s to the kernel's command line in the boot loader and reboot.",
                parameter);
}

static void set_fix_module(Findings *f, const DoctorFacts *facts, Finding *finding) {
    if (is_like(facts, "ubuntu"))
        set(f, &finding->fix, "Install linux-modules-extra of this kernel.");
    else if (is_like(facts, "debian"))
        set(f, &finding->fix,
                "Install the package linux-image-amd64 (or that of your architecture) in place of a "
                "kernel for the cloud, and reboot.");
    else if (is_like(facts, "fedora") || is_like(facts, "rhel"))
        set(f, &finding->fix, "Install the package kernel-modules of this kernel.");
    else
        set(f, &finding->fix, "Use a kernel that is configured with CONFIG_VFIO_PCI.");
}

/* ---- The IOMMU ---- */

/* Is name=…word… on the command line? */
static bool has_parameter(const DoctorFacts *facts, const char *name, const char *word) {
    size_t n = strlen(name);

    for (const char *at = facts->command_line; at && (at = strstr(at, name)); at += n) {
        size_t end = strcspn(at, " \n");
        const char *found = strstr(at + n, word);

        if ((at == facts->command_line || at[-1] == ' ') && at[n] == '=' && found && found < at + end)
            return true;
    }
    return false;
}

static const char *off_parameter(const DoctorFacts *facts) {
    return has_parameter(facts, "intel_iommu", "off")  ? "intel_iommu=off"
            : has_parameter(facts, "amd_iommu", "off") ? "amd_iommu=off"
            : has_parameter(facts, "iommu", "off")     ? "iommu=off"
                                                       : NULL;
}

static void judge_missing_iommu(const DoctorFacts *facts, Findings *f) {
    const char *off = off_parameter(facts);
    Finding *finding;

    finding = add(f, FINDING_PROBLEM, "iommu", "The kernel has no IOMMU group, so no device is isolated.");
    if (off) {
        set(f, &finding->why, "The kernel's command line turns the IOMMU off: %s.", off);
        set(f, &finding->fix, "Remove %s from the kernel's command line and reboot.", off);
    } else if (facts->firmware_table && streq(facts->firmware_table, "DMAR")) {
        set(f, &finding->why,
                "The firmware describes an IOMMU (the ACPI table DMAR), and the kernel does not use it.");
        set_fix_parameter(f, facts, finding, "intel_iommu=on");
    } else if (facts->firmware_table)
        set(f, &finding->why,
                "The firmware describes an IOMMU (the ACPI table %s), and the kernel does not use it. Its "
                "log "
                "(journalctl -k) may say why.",
                facts->firmware_table);
    else if (facts->is_virtual_machine) {
        set(f, &finding->why, "This is a virtual machine, and it has no virtual IOMMU.");
        set(f, &finding->fix,
                "Give it one (QEMU: -device intel-iommu or virtio-iommu; libvirt: <iommu model='intel'/>). "
                "Without one, see DEVICES WITHOUT AN IOMMU in vfiod-policy(5).");
    } else {
        set(f, &finding->why, "The firmware describes no IOMMU.");
        set(f, &finding->fix,
                "Turn on VT-d (Intel), or AMD-Vi or IOMMU (AMD), in the setup of the firmware. Without one, "
                "see DEVICES WITHOUT AN IOMMU in vfiod-policy(5).");
    }
}

static void judge_iommu(const DoctorFacts *facts, Findings *f) {
    if (facts->n_groups == 0)
        judge_missing_iommu(facts, f);
    else if (facts->iommus && *facts->iommus)
        add(f, FINDING_OK, "iommu", "%u groups (%s).", facts->n_groups, facts->iommus);
    else
        add(f, FINDING_OK, "iommu", "%u groups.", facts->n_groups);
}

static void judge_interrupts(const DoctorFacts *facts, Findings *f) {
    Finding *finding;

    if (facts->n_groups == 0 || facts->interrupts_remapped != 0)
        return;
    finding = add(f, FINDING_WARNING, "interrupts", "Interrupts are not remapped.");
    set(f, &finding->why,
            "A device could send any interrupt to the host. VFIO refuses such devices unless "
            "allow_unsafe_interrupts is set, which taints the host.");
    set(f, &finding->fix,
            "Turn on interrupt remapping (x2APIC) in the setup of the firmware, and remove intremap=off and "
            "nointremap from the kernel's command line.");
}

/* Some devices may have no IOMMU while others have one. */
static void judge_devices(const DoctorFacts *facts, Findings *f) {
    struct json_object *devices = facts->host ? json_list(facts->host, "devices") : NULL;
    size_t n = devices ? json_object_array_length(devices) : 0, n_alone = 0;
    const char *first = NULL;

    for (size_t i = 0; i < n; i++) {
        struct json_object *device = json_object_array_get_idx(devices, i);

        if (!startswith(json_text(device, "name"), "pci:") || json_number(device, "group") >= 0)
            continue;
        first = first ?: json_text(device, "name");
        n_alone++;
    }
    if (facts->n_groups > 0 && n_alone > 0)
        add(f, FINDING_NOTE, "iommu", "%zu PCI device%s %s not behind an IOMMU, such as %s.", n_alone,
                n_alone == 1 ? "" : "s", n_alone == 1 ? "is" : "are", first);
}

/* ---- VFIO ---- */

static void judge_modules(const DoctorFacts *facts, Findings *f) {
    struct json_object *kernel = facts->host ? json_member(facts->host, "kernel") : NULL;
    Finding *finding;

    if (facts->vfio_pci == MODULE_MISSING) {
        finding = add(f, FINDING_PROBLEM, "vfio", "This kernel has no driver vfio-pci.");
        set_fix_module(f, facts, finding);
        return;
    }
    if (facts->vfio_pci != MODULE_UNKNOWN)
        add(f, FINDING_OK, "vfio", "vfio-pci is %s.",
                facts->vfio_pci == MODULE_PRESENT ? "loaded" : "available, and loaded for the first claim");
    if (json_flag(kernel, "iommufd") || facts->iommufd == MODULE_AVAILABLE)
        add(f, FINDING_OK, "iommufd", "%s.",
                json_flag(kernel, "iommufd") ? "/dev/iommu is there" : "The module is available");
    else if (facts->iommufd == MODULE_MISSING) {
        finding = add(f, FINDING_NOTE, "iommufd", "This kernel has no iommufd; vfiod uses VFIO groups.");
        set(f, &finding->why,
                "QEMU opens a group by itself, so it needs a rule that grants nodes (\"grant\": "
                "[\"node\"]).");
    }
}

/* ---- Variant drivers ---- */

typedef struct Variant {
    const char *module, *gain;
    bool only_virtual;
    int vendor, first, last;
} Variant;
#define VARIANT(module_, driver_, gain_, only_virtual_, vendor_, first_, last_)                              \
    {module_, gain_, only_virtual_, vendor_, first_, last_},
static const Variant variants[] = {VARIANT_TABLE(VARIANT)};

/* The kernel has no better driver for the device than vfio-pci. Unknown does not count. */
static bool lacks(struct json_object *device, const Variant *v) {
    const char *name = json_text(device, "name"), *parent = json_text(device, "parent");
    size_t n_domain = startswith(name, "pci:") ? strlen("pci:") + strcspn(name + strlen("pci:"), ":") : 0;

    return json_number(device, "vendor") == v->vendor && json_number(device, "product") >= v->first &&
            json_number(device, "product") <= v->last && json_member(device, "variant") &&
            !*json_text(device, "variant") &&
            (!v->only_virtual || (*parent && strncmp(name, parent, n_domain + 1) == 0));
}

static void judge_variants(const DoctorFacts *facts, Findings *f) {
    struct json_object *devices = facts->host ? json_list(facts->host, "devices") : NULL;

    for (size_t v = 0; v < ELEMENTSOF(variants); v++) {
        const char *device = NULL;
        Finding *finding;

        for (size_t i = 0; devices && !device && i < json_object_array_length(devices); i++)
            if (lacks(json_object_array_get_idx(devices, i), &variants[v]))
                device = json_text(json_object_array_get_idx(devices, i), "name");
        if (!device)
            continue;
        finding = add(f, FINDING_NOTE, "driver",
                "This kernel has no %s, which is better than vfio-pci for %s.", variants[v].module, device);
        set(f, &finding->why, "With it, a claim has more: %s.", variants[v].gain);
        set(f, &finding->fix,
                "Use a kernel that has the module, or install the package with further modules of this one.");
    }
}

/* ---- Taints ---- */

static const char *taint_fix(const char *kind) {
    static const struct {
        const char *kind, *fix;
    } fixes[] = {
            {"noiommu-claim", "It stays in the ledger until the next boot."},
            {"noiommu-enabled",
                    "Write N to /sys/module/vfio/parameters/enable_unsafe_noiommu_mode when nothing needs "
                    "it."},
            {"unsafe-interrupts",
                    "Remove allow_unsafe_interrupts from /etc/modprobe.d and from the kernel's command "
                    "line."},
            {"command-line", "Remove it from the kernel's command line and reboot, unless you need it."},
            {"open-node",
                    "Remove the udev rule that gives the node to others; vfiod gives access for a claim."},
    };

    for (size_t i = 0; i < ELEMENTSOF(fixes); i++)
        if (streq(fixes[i].kind, kind))
            return fixes[i].fix;
    return "See 'vfioctl taint' and vfiod(8).";
}

/* The daemon remembers more than one look can show. */
static void judge_taints(const DoctorFacts *facts, Findings *f) {
    struct json_object *taints = json_list(facts->manager ?: facts->host, "taints");

    for (size_t i = 0; taints && i < json_object_array_length(taints); i++) {
        struct json_object *taint = json_object_array_get_idx(taints, i);
        const char *kind = json_text(taint, "kind"), *device = json_text(taint, "device");
        Finding *finding;

        if (!json_flag(taint, "weakens"))
            continue;
        finding = add(f, FINDING_WARNING, "taint", "%s%s%s weakens this host (%s).", json_text(taint, "what"),
                *device ? " " : "", device, kind);
        set(f, &finding->fix, "%s", taint_fix(kind));
    }
}

/* ---- vfiod ---- */

/* fix: NULL if the line contains it. */
static void add_warnings(
        const DoctorFacts *facts, Findings *f, const char *key, const char *subject, const char *fix) {
    struct json_object *warnings = json_list(facts->manager, key);

    for (size_t i = 0; warnings && i < json_object_array_length(warnings); i++) {
        Finding *finding = add(f, FINDING_WARNING, subject, "%s",
                json_object_get_string(json_object_array_get_idx(warnings, i)));

        if (fix)
            set(f, &finding->fix, "%s", fix);
    }
}

static void judge_policy(const DoctorFacts *facts, Findings *f) {
    const char *state = json_text(facts->manager, "policyState");
    int64_t rules = json_number(facts->manager, "policyRules");
    struct json_object *errors = json_list(facts->manager, "policyErrors");
    Finding *finding;

    if (!streq(state, "loaded")) {
        finding = add(f, FINDING_PROBLEM, "policy", "The policy files have errors: %s",
                streq(state, "stale") ? "the policy that was loaded before them is in force."
                                      : "every request is denied.");
        if (errors && json_object_array_length(errors) > 0)
            set(f, &finding->why, "%s", json_object_get_string(json_object_array_get_idx(errors, 0)));
        set(f, &finding->fix, "Correct them; 'vfioctl policy check' shows all. Then run 'vfioctl reload'.");
    } else if (rules == 0) {
        finding = add(f, FINDING_WARNING, "policy", "The policy has no rule, so every request is denied.");
        set(f, &finding->fix,
                "'vfioctl setup DEVICE --user USER' writes a rule for a user; see vfiod-policy(5).");
    } else
        add(f, FINDING_OK, "policy", "%lld rule%s.", (long long) rules, rules == 1 ? "" : "s");
    add_warnings(facts, f, "policyWarnings", "policy", NULL);
    add_warnings(facts, f, "virtualFunctionsWarnings", "virtual-functions",
            "'vfioctl vf DEVICE --count N' changes the number.");
}

static void judge_workers(const DoctorFacts *facts, Findings *f) {
    struct json_object *stuck = json_list(facts->manager, "stuckWorkers");

    for (size_t i = 0; stuck && i < json_object_array_length(stuck); i++) {
        struct json_object *worker = json_object_array_get_idx(stuck, i);
        const char *device = json_text(worker, "device"), *step = json_text(worker, "step");
        Finding *finding;

        finding = add(f, FINDING_PROBLEM, "worker", "Process %lld of vfiod hangs in the kernel (%s%s%s%s%s).",
                (long long) json_number(worker, "pid"), json_text(worker, "operation"), *step ? ": " : "",
                step, *device ? ", " : "", device);
        set(f, &finding->why,
                "A program may have the device open, or its driver or the device does not answer. No signal "
                "ends "
                "such a process; vfiod goes on when the kernel does.");
        set(f, &finding->fix, "As root, /proc/%lld/stack and 'journalctl -k' show where the kernel waits.",
                (long long) json_number(worker, "pid"));
    }
}

/* The kernel gives up on such a device until it is reset or plugged in again. */
static void judge_power(const DoctorFacts *facts, Findings *f) {
    Finding *finding;

    if (!facts->power_failed || !*facts->power_failed)
        return;
    finding = add(
            f, FINDING_WARNING, "power", "The kernel could not wake or suspend: %s.", facts->power_failed);
    set(f, &finding->why, "They are claimed, and a program that opens such a device gets an error.");
    set(f, &finding->fix,
            "'journalctl -k' may say why. After the claim, write 1 to the file remove of the device and 1 to "
            "/sys/bus/pci/rescan, or turn the host off and on.");
}

static void judge_daemon(const DoctorFacts *facts, Findings *f) {
    const char *version;
    Finding *finding;

    if (!facts->manager) {
        finding = add(f, FINDING_PROBLEM, "vfiod", "vfiod does not answer.");
        if (facts->unreachable)
            set(f, &finding->why, "%s", facts->unreachable);
        set(f, &finding->fix,
                "'systemctl status vfiod.service' and 'journalctl -u vfiod' show what happened.");
        return;
    }
    version = json_text(facts->manager, "version");
    if (streq(version, VFIOD_VERSION))
        add(f, FINDING_OK, "vfiod", "vfiod %s.", version);
    else {
        finding = add(f, FINDING_WARNING, "vfiod", "vfiod %s runs, and this vfioctl is %s.", version,
                VFIOD_VERSION);
        set(f, &finding->fix, "Run 'systemctl restart vfiod.service'; claims live through it.");
    }
    judge_policy(facts, f);
    judge_workers(facts, f);
    if (streq(json_text(facts->manager, "noiommu"), "unavailable")) {
        finding = add(f, FINDING_PROBLEM, "noiommu",
                "The policy allows devices without an IOMMU, and vfiod has no CAP_SYS_RAWIO.");
        set(f, &finding->fix, "Install the drop-in vfiod-noiommu.conf, see vfiod(8), and restart vfiod.");
    }
    if (facts->quarantined && *facts->quarantined) {
        finding = add(f, FINDING_PROBLEM, "quarantine", "Devices in quarantine: %s.", facts->quarantined);
        set(f, &finding->why, "A claim of them ended, and they could not be reset or restored.");
        set(f, &finding->fix,
                "'vfioctl quarantine list' shows the reason. As root, 'vfioctl quarantine retry DEVICE' "
                "tries "
                "again, and 'vfioctl quarantine clear DEVICE --reason=TEXT' frees it as it is.");
    }
}

/* ---- Pins ---- */

static void judge_pin(Findings *f, struct json_object *pin) {
    static const char *const surprises[] = {"moved", "swapped", "too-late", "overridden"};
    const char *state = json_text(pin, "state");
    FindingLevel level = FINDING_NOTE;
    Finding *finding;

    for (size_t i = 0; i < ELEMENTSOF(surprises); i++)
        if (streq(state, surprises[i]))
            level = FINDING_WARNING;
    finding = add(f, level, "pins", "The pin of %s (driver %s) is not in force: %s.", json_text(pin, "path"),
            json_text(pin, "driver"), state);
    set(f, &finding->why, "%s", json_text(pin, "why"));
    if (streq(state, "moved") || streq(state, "swapped"))
        set(f, &finding->fix, "Run 'vfioctl unpin %s', and pin the card where it is now, or put it back.",
                json_text(pin, "path"));
}

static void judge_pins(const DoctorFacts *facts, Findings *f) {
    struct json_object *pins = json_list(facts->pins, "pins"), *errors = json_list(facts->pins, "errors");
    size_t n = pins ? json_object_array_length(pins) : 0, n_in_force = 0;

    for (size_t i = 0; i < n; i++) {
        struct json_object *pin = json_object_array_get_idx(pins, i);

        if (streq(json_text(pin, "state"), "in-force"))
            n_in_force++;
        else
            judge_pin(f, pin);
    }
    if (n_in_force > 0)
        add(f, FINDING_OK, "pins", "%zu pin%s in force.", n_in_force, n_in_force == 1 ? "" : "s");
    for (size_t i = 0; errors && i < json_object_array_length(errors); i++)
        set(f,
                &add(f, FINDING_WARNING, "pins", "%s",
                        json_object_get_string(json_object_array_get_idx(errors, i)))
                         ->fix,
                "Correct the file, or remove it with 'vfioctl unpin'.");
}

/* ---- Users and programs ---- */

static void judge_memory(const DoctorFacts *facts, Findings *f) {
    char size[FORMAT_SIZE_MAX];
    Finding *finding;

    if (facts->uid == 0 || facts->memlock >= MEMLOCK_FOR_A_GUEST)
        return;
    finding = add(f, FINDING_NOTE, "memory", "Your programs may lock %s of memory.",
            format_size(facts->memlock, size));
    set(f, &finding->why,
            "A virtual machine with a device locks all of its memory; see 'vfioctl memlock-for'.");
    set(f, &finding->fix,
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
    finding = add(b->findings, FINDING_NOTE, "memory",
            "Rule %s (%s:%lld): programs of %s%s%s may lock %s of memory%s.", json_text(b->rule, "rule"),
            json_text(b->rule, "file"), (long long) json_number(b->rule, "line"), k->before, name, k->after,
            format_size(MAX(own, b->memlock), size), b->memlock > own ? ", with --memlock" : "");
    set(b->findings, &finding->why,
            "What a program maps for a device is locked: of a virtual machine, all of its memory.");
    set(b->findings, &finding->fix,
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
        finding = add(f, FINDING_NOTE, "kvm", "You may not open /dev/kvm.");
        set(f, &finding->why, "A virtual machine with -accel kvm does not start.");
        set(f, &finding->fix,
                "As root, run 'usermod --append --groups kvm USER'. It counts for new logins of that user.");
        return;
    }
    finding = add(f, FINDING_NOTE, "kvm", "This host has no /dev/kvm.");
    set(f, &finding->why, "Virtual machines are emulated, and slow.");
    set(f, &finding->fix, "%s, and load the module kvm_intel or kvm_amd.",
            facts->is_virtual_machine
                    ? "Allow nested virtualization for this virtual machine"
                    : "On x86, turn on virtualization in the firmware (VT-x, AMD-V or SVM)");
}

static void judge_programs(const DoctorFacts *facts, Findings *f) {
    Finding *finding;

    if (facts->qemu && !facts->qemu_takes_fds) {
        finding = add(f, FINDING_NOTE, "qemu", "%s takes no file descriptors; it can use VFIO groups only.",
                facts->qemu);
        set(f, &finding->fix, "QEMU 9.0 or newer, or --backend=group with a rule that grants nodes.");
    } else if (facts->qemu)
        add(f, FINDING_OK, "qemu", "%s.", facts->qemu);
    judge_kvm(facts, f);
    if (facts->libvirt)
        add(f, FINDING_OK, "libvirt", "%s.", facts->libvirt);
    if (facts->podman)
        add(f, FINDING_OK, "podman", "%s.", facts->podman);
    if (!facts->polkit) {
        finding = add(f, FINDING_NOTE, "polkit", "polkit is not installed.");
        set(f, &finding->why, "Rules with the effect ask refuse everybody.");
    } else if (!facts->polkit_agent) {
        finding = add(
                f, FINDING_NOTE, "polkit", "There is no pkttyagent, with which polkit asks on a terminal.");
        set(f, &finding->why,
                "Where the effect of a rule is ask, a person can answer only in a desktop session that has "
                "an agent.");
        set(f, &finding->fix, "Install the package that has it: %s.",
                is_like(facts, "debian") ? "polkitd, or policykit-1 in older versions" : "polkit");
    }
}

static void judge_service(const DoctorFacts *facts, Findings *f) {
    judge_daemon(facts, f);
    judge_power(facts, f);
    judge_taints(facts, f);
}

void doctor_judge_service(const DoctorFacts *facts, Findings *ret) {
    *ret = (Findings){};
    judge_service(facts, ret);
}

void doctor_judge(const DoctorFacts *facts, Findings *ret) {
    *ret = (Findings){};
    judge_iommu(facts, ret);
    judge_devices(facts, ret);
    judge_interrupts(facts, ret);
    judge_modules(facts, ret);
    judge_variants(facts, ret);
    judge_pins(facts, ret);
    judge_service(facts, ret);
    judge_memory(facts, ret);
    judge_budgets(facts, ret);
    judge_programs(facts, ret);
}
