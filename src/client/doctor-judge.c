/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/doctor-findings.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/str.h"
#include "client/show.h"
#include "core/variant-table.h"

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

Finding *finding_add(Findings *f, FindingLevel level, const char *subject, const char *format, ...) {
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

void finding_set(Findings *f, char **text, const char *format, ...) {
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

bool doctor_is_like(const DoctorFacts *facts, const char *distribution) {
    const char *at = facts->distribution ? strstr(facts->distribution, distribution) : NULL;
    size_t n = strlen(distribution);

    return at && (at == facts->distribution || at[-1] == ' ') && (at[n] == '\0' || at[n] == ' ');
}

static void set_fix_parameter(
        Findings *f, const DoctorFacts *facts, Finding *finding, const char *parameter) {
    if (doctor_is_like(facts, "fedora") || doctor_is_like(facts, "rhel"))
        finding_set(f, &finding->fix, "Run 'grubby --update-kernel=ALL --args=%s' and reboot.", parameter);
    else if (facts->has_kernel_cmdline)
        finding_set(f, &finding->fix,
                "Add %s to /etc/kernel/cmdline, run 'kernel-install add-all' and reboot.", parameter);
    else if (facts->has_grub && doctor_is_like(facts, "debian"))
        finding_set(f, &finding->fix,
                "Add %s to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, run 'update-grub' and reboot.",
                parameter);
    else if (facts->has_grub)
        finding_set(f, &finding->fix,
                "Add %s to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, run 'grub2-mkconfig -o "
                "/boot/grub2/grub.cfg' and reboot.",
                parameter);
    else
        finding_set(f, &finding->fix, "Add %s to the kernel's command line in the boot loader and reboot.",
                parameter);
}

static void set_fix_module(Findings *f, const DoctorFacts *facts, Finding *finding) {
    if (doctor_is_like(facts, "ubuntu"))
        finding_set(f, &finding->fix, "Install linux-modules-extra of this kernel.");
    else if (doctor_is_like(facts, "debian"))
        finding_set(f, &finding->fix,
                "Install the package linux-image-amd64 (or that of your architecture) in place of a "
                "kernel for the cloud, and reboot.");
    else if (doctor_is_like(facts, "fedora") || doctor_is_like(facts, "rhel"))
        finding_set(f, &finding->fix, "Install the package kernel-modules of this kernel.");
    else
        finding_set(f, &finding->fix, "Use a kernel that is configured with CONFIG_VFIO_PCI.");
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

/* What the kernel calls the IOMMU of this table in its log, and the option of its driver. */
static const char *iommu_word(const char *table) {
    return streq(table, "IVRS") ? "AMD-Vi" : streq(table, "IORT") ? "smmu" : "iommu";
}

static const char *iommu_option(const char *table) {
    return streq(table, "IVRS")    ? "CONFIG_AMD_IOMMU"
            : streq(table, "IORT") ? "CONFIG_ARM_SMMU_V3"
                                   : "CONFIG_VIRTIO_IOMMU";
}

static void judge_missing_iommu(const DoctorFacts *facts, Findings *f) {
    const char *off = off_parameter(facts);
    Finding *finding;

    finding = finding_add(
            f, FINDING_PROBLEM, "iommu", "The kernel has no IOMMU group, so no device is isolated.");
    if (off) {
        finding_set(f, &finding->why, "The kernel's command line turns the IOMMU off: %s.", off);
        finding_set(f, &finding->fix, "Remove %s from the kernel's command line and reboot.", off);
    } else if (facts->firmware_table && streq(facts->firmware_table, "DMAR")) {
        finding_set(f, &finding->why,
                "The firmware describes an IOMMU (the ACPI table DMAR), and the kernel does not use it.");
        set_fix_parameter(f, facts, finding, "intel_iommu=on");
    } else if (facts->firmware_table) {
        finding_set(f, &finding->why,
                "The firmware describes an IOMMU (the ACPI table %s), and the kernel does not use it.",
                facts->firmware_table);
        finding_set(f, &finding->fix,
                "'journalctl -k' may have the reason: look for %s. Use a kernel that is configured with %s.",
                iommu_word(facts->firmware_table), iommu_option(facts->firmware_table));
    } else if (facts->is_virtual_machine) {
        finding_set(f, &finding->why, "This is a virtual machine, and it has no virtual IOMMU.");
        finding_set(f, &finding->fix,
                "Give it one (QEMU: -device intel-iommu or virtio-iommu; libvirt: <iommu model='intel'/>). "
                "Without one, see DEVICES WITHOUT AN IOMMU in vfiod-policy(5).");
    } else {
        finding_set(f, &finding->why, "The firmware describes no IOMMU.");
        finding_set(f, &finding->fix,
                "Turn on VT-d (Intel), or AMD-Vi or IOMMU (AMD), in the setup of the firmware. Without one, "
                "see DEVICES WITHOUT AN IOMMU in vfiod-policy(5).");
    }
}

static void judge_iommu(const DoctorFacts *facts, Findings *f) {
    if (facts->n_groups == 0)
        judge_missing_iommu(facts, f);
    else if (facts->iommus && *facts->iommus)
        finding_add(f, FINDING_OK, "iommu", "%u groups (%s).", facts->n_groups, facts->iommus);
    else
        finding_add(f, FINDING_OK, "iommu", "%u groups.", facts->n_groups);
}

static void judge_interrupts(const DoctorFacts *facts, Findings *f) {
    Finding *finding;

    if (facts->n_groups == 0 || facts->interrupts_remapped != 0)
        return;
    finding = finding_add(f, FINDING_WARNING, "interrupts", "Interrupts are not remapped.");
    finding_set(f, &finding->why,
            "A device could send any interrupt to the host. VFIO refuses such devices unless "
            "allow_unsafe_interrupts is set, which taints the host.");
    finding_set(f, &finding->fix,
            "Turn on interrupt remapping (x2APIC) in the setup of the firmware, and remove intremap=off and "
            "nointremap from the kernel's command line.");
}

/* Some devices may have no IOMMU while others have one. */
static void judge_devices(const DoctorFacts *facts, Findings *f) {
    struct json_object *devices = facts->host ? json_list(facts->host, "devices") : NULL;
    size_t n = devices ? json_object_array_length(devices) : 0, n_alone = 0;
    const char *first = NULL;
    Finding *finding;

    for (size_t i = 0; i < n; i++) {
        struct json_object *device = json_object_array_get_idx(devices, i);

        if (!startswith(json_text(device, "name"), "pci:") || json_number(device, "group") >= 0)
            continue;
        first = first ?: json_text(device, "name");
        n_alone++;
    }
    if (facts->n_groups == 0 || n_alone == 0)
        return;
    finding = finding_add(f, FINDING_NOTE, "iommu", "%zu PCI device%s %s not behind an IOMMU, such as %s.",
            n_alone, n_alone == 1 ? "" : "s", n_alone == 1 ? "is" : "are", first);
    finding_set(f, &finding->why,
            "Such a device can read and write all memory of the host, so vfiod refuses to hand it out.");
    finding_set(f, &finding->fix,
            "Use other devices. To loosen the policy, a rule can allow one without isolation: see DEVICES "
            "WITHOUT AN IOMMU in vfiod-policy(5).");
}

/* ---- VFIO ---- */

static void add_unknown_module(Findings *f, const char *subject, const char *module) {
    Finding *finding =
            finding_add(f, FINDING_NOTE, subject, "It is unknown whether this kernel has %s.", module);

    finding_set(f, &finding->why,
            "%s is not loaded, and the lists of modules in /lib/modules cannot be read for the running "
            "kernel.",
            module);
    finding_set(f, &finding->fix,
            "Install the modules of the running kernel, or reboot into the kernel that is installed.");
}

static void judge_modules(const DoctorFacts *facts, Findings *f) {
    struct json_object *kernel = facts->host ? json_member(facts->host, "kernel") : NULL;
    Finding *finding;

    if (facts->vfio_pci == MODULE_MISSING) {
        finding = finding_add(f, FINDING_PROBLEM, "vfio", "This kernel has no driver vfio-pci.");
        finding_set(f, &finding->why, "vfiod binds PCI devices to this driver before it hands them out.");
        set_fix_module(f, facts, finding);
        return;
    }
    if (facts->vfio_pci == MODULE_UNKNOWN)
        add_unknown_module(f, "vfio", "vfio-pci");
    else
        finding_add(f, FINDING_OK, "vfio", "vfio-pci is %s.",
                facts->vfio_pci == MODULE_PRESENT ? "loaded" : "available, and loaded for the first claim");
    if (json_flag(kernel, "iommufd") || facts->iommufd >= MODULE_AVAILABLE)
        finding_add(f, FINDING_OK, "iommufd", "%s.",
                json_flag(kernel, "iommufd") ? "/dev/iommu is there" : "The module is available");
    else if (facts->iommufd == MODULE_UNKNOWN)
        add_unknown_module(f, "iommufd", "iommufd");
    else {
        finding = finding_add(
                f, FINDING_NOTE, "iommufd", "This kernel has no iommufd; vfiod uses VFIO groups.");
        finding_set(f, &finding->why,
                "QEMU opens a group by itself, so it needs a rule that grants nodes (\"grant\": "
                "[\"node\"]).");
        finding_set(f, &finding->fix,
                "Use a kernel that is configured with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV (Linux 6.6 "
                "or newer).");
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
        finding = finding_add(f, FINDING_NOTE, "driver",
                "This kernel has no %s, which is better than vfio-pci for %s.", variants[v].module, device);
        finding_set(f, &finding->why, "With it, a claim has more: %s.", variants[v].gain);
        finding_set(f, &finding->fix,
                "Use a kernel that has the module, or install the package with further modules of this one.");
    }
}

/* ---- Taints ---- */

typedef struct TaintAdvice {
    const char *kind, *why, *fix;
} TaintAdvice;

static const TaintAdvice *taint_advice(const char *kind) {
    static const TaintAdvice advice[] = {
            {"noiommu-claim", "The device could read and write all memory of the host.",
                    "Reboot: the taint stays in the ledger until then."},
            {"noiommu-enabled", "Programs with CAP_SYS_RAWIO can use devices without any isolation.",
                    "Write N to /sys/module/vfio/parameters/enable_unsafe_noiommu_mode when nothing needs "
                    "it."},
            {"unsafe-interrupts", "A device can send any interrupt to the host.",
                    "Remove allow_unsafe_interrupts from /etc/modprobe.d and from the kernel's command "
                    "line."},
            {"command-line",
                    "It turns off a part of the isolation of devices from each other, or from the host.",
                    "Remove it from the kernel's command line and reboot, unless you need it."},
            {"open-node", "Other users can open the device without a claim, whatever the policy says.",
                    "Remove the udev rule that gives the node to others; vfiod gives access for a claim. "
                    "Nodes that exist stay as they are until a reboot: run 'chown root:root NODE' and "
                    "'chmod 0600 NODE' for each."},
    };
    static const TaintAdvice other = {"",
            "Devices may not be isolated from each other, or the host from devices.",
            "See 'vfioctl taint' and vfiod(8)."};

    for (size_t i = 0; i < ELEMENTSOF(advice); i++)
        if (streq(advice[i].kind, kind))
            return advice + i;
    return &other;
}

/* The daemon remembers more than one look can show. */
static void judge_taints(const DoctorFacts *facts, Findings *f) {
    struct json_object *taints = json_list(facts->manager ?: facts->host, "taints");

    for (size_t i = 0; taints && i < json_object_array_length(taints); i++) {
        struct json_object *taint = json_object_array_get_idx(taints, i);
        const char *kind = json_text(taint, "kind"), *device = json_text(taint, "device");
        const TaintAdvice *advice = taint_advice(kind);
        Finding *finding;

        if (!json_flag(taint, "weakens"))
            continue;
        finding = finding_add(f, FINDING_WARNING, "taint", "%s%s%s weakens this host (%s).",
                json_text(taint, "what"), *device ? " " : "", device, kind);
        finding_set(f, &finding->why, "%s", advice->why);
        finding_set(f, &finding->fix, "%s", advice->fix);
    }
}

/* ---- vfiod ---- */

static void add_warnings(const DoctorFacts *facts, Findings *f, const char *key, const char *subject,
        const char *why, const char *fix) {
    struct json_object *warnings = json_list(facts->manager, key);

    for (size_t i = 0; warnings && i < json_object_array_length(warnings); i++) {
        Finding *finding = finding_add(f, FINDING_WARNING, subject, "%s",
                json_object_get_string(json_object_array_get_idx(warnings, i)));

        finding_set(f, &finding->why, "%s", why);
        finding_set(f, &finding->fix, "%s", fix);
    }
}

static void judge_policy(const DoctorFacts *facts, Findings *f) {
    const char *state = json_text(facts->manager, "policyState");
    int64_t rules = json_number(facts->manager, "policyRules");
    struct json_object *errors = json_list(facts->manager, "policyErrors");
    Finding *finding;

    if (!streq(state, "loaded")) {
        finding = finding_add(f, FINDING_PROBLEM, "policy", "The policy files have errors: %s",
                streq(state, "stale") ? "the policy that was loaded before them is in force."
                                      : "every request is denied.");
        finding_set(f, &finding->why, "%s",
                errors && json_object_array_length(errors) > 0
                        ? json_object_get_string(json_object_array_get_idx(errors, 0))
                        : "A set of policy files with any error is not loaded.");
        finding_set(f, &finding->fix,
                "Correct them; 'vfioctl policy check' shows all. Then run 'vfioctl reload'.");
    } else if (rules == 0) {
        finding = finding_add(
                f, FINDING_WARNING, "policy", "The policy has no rule, so every request is denied.");
        finding_set(f, &finding->why, "vfiod allows only what a rule allows.");
        finding_set(f, &finding->fix,
                "'vfioctl setup DEVICE --user USER' proposes a rule for a user, and adds it with --write; "
                "see "
                "vfiod-policy(5).");
    } else
        finding_add(f, FINDING_OK, "policy", "%lld rule%s.", (long long) rules, rules == 1 ? "" : "s");
    add_warnings(facts, f, "policyWarnings", "policy",
            "The policy is in force, but this part of it may not do what you expect.",
            "Correct the file; 'vfioctl policy check' shows all warnings. Then run 'vfioctl reload'.");
    add_warnings(facts, f, "virtualFunctionsWarnings", "virtual-functions",
            "vfiod creates the declared number once after each boot, and never changes an existing number.",
            "'vfioctl vf DEVICE --count N' changes the number.");
}

static void judge_workers(const DoctorFacts *facts, Findings *f) {
    struct json_object *stuck = json_list(facts->manager, "stuckWorkers");

    for (size_t i = 0; stuck && i < json_object_array_length(stuck); i++) {
        struct json_object *worker = json_object_array_get_idx(stuck, i);
        const char *device = json_text(worker, "device"), *step = json_text(worker, "step");
        _cleanup_free_ char *stack = json_list_text(worker, "stack");
        Finding *finding;

        finding = finding_add(f, FINDING_PROBLEM, "worker",
                "Worker %lld of vfiod is stuck in the kernel (%s%s%s%s%s).",
                (long long) json_number(worker, "pid"), json_text(worker, "operation"), *step ? ": " : "",
                step, *device ? ", " : "", device);
        finding_set(f, &finding->why,
                "A program may have the device open, or its driver or the device does not answer. No signal "
                "ends "
                "such a process; vfiod goes on when the kernel does.");
        finding_set(f, &finding->fix, "%s%s%s'journalctl -k' may say more.",
                stack && *stack ? "It waits in " : "", stack ?: "", stack && *stack ? ". " : "");
    }
}

/* The kernel gives up on such a device until it is reset or plugged in again. */
static void judge_power(const DoctorFacts *facts, Findings *f) {
    Finding *finding;

    if (!facts->power_failed || !*facts->power_failed)
        return;
    finding = finding_add(
            f, FINDING_WARNING, "power", "The kernel could not wake or suspend: %s.", facts->power_failed);
    finding_set(f, &finding->why, "They are claimed, and a program that opens such a device gets an error.");
    finding_set(f, &finding->fix,
            "'journalctl -k' may say why. After the claim, write 1 to the file remove of the device and 1 to "
            "/sys/bus/pci/rescan, or turn the host off and on.");
}

static void judge_daemon(const DoctorFacts *facts, Findings *f) {
    const char *version;
    Finding *finding;

    if (!facts->manager) {
        finding = finding_add(f, FINDING_PROBLEM, "vfiod", "vfiod does not answer.");
        finding_set(f, &finding->why, "%s", facts->unreachable ?: "The reason is unknown.");
        finding_set(f, &finding->fix,
                "'systemctl status vfiod.service' and 'journalctl -u vfiod' show what happened.");
        return;
    }
    version = json_text(facts->manager, "version");
    if (streq(version, VFIOD_VERSION))
        finding_add(f, FINDING_OK, "vfiod", "vfiod %s.", version);
    else {
        finding = finding_add(f, FINDING_WARNING, "vfiod", "vfiod %s runs, and this vfioctl is %s.", version,
                VFIOD_VERSION);
        finding_set(f, &finding->why,
                "Options, results and messages of the two versions may differ: only one was updated.");
        finding_set(f, &finding->fix, "Run 'systemctl restart vfiod.service'. Claims survive that.");
    }
    judge_policy(facts, f);
    judge_workers(facts, f);
    if (streq(json_text(facts->manager, "noiommu"), "unavailable")) {
        finding = finding_add(f, FINDING_PROBLEM, "noiommu",
                "The policy allows devices without an IOMMU, and vfiod has no CAP_SYS_RAWIO.");
        finding_set(f, &finding->why,
                "The kernel lets only a process with this capability open such a device, so vfiod refuses "
                "it.");
        finding_set(
                f, &finding->fix, "Install the drop-in vfiod-noiommu.conf, see vfiod(8), and restart vfiod.");
    }
    if (facts->quarantined && *facts->quarantined) {
        finding = finding_add(
                f, FINDING_PROBLEM, "quarantine", "Devices in quarantine: %s.", facts->quarantined);
        finding_set(f, &finding->why, "A claim of them ended, and they could not be reset or restored.");
        finding_set(f, &finding->fix,
                "'vfioctl quarantine list' shows the reason. As root, 'vfioctl quarantine retry DEVICE' "
                "tries "
                "again, and 'vfioctl quarantine clear DEVICE --reason=TEXT' frees it as it is.");
    }
}

/* ---- Pins ---- */

static const char *pin_fix(const char *state) {
    static const struct {
        const char *state, *fix;
    } fixes[] = {
            {"pending", "Load the driver of the pin ('modprobe DRIVER'), or reboot."},
            {"absent", "Put the card back, or remove the pin with 'vfioctl unpin'."},
            {"too-late", "Rebuild the initramfs if it loads that driver, and reboot."},
            {"overridden", "Remove the setting of that program, or the pin with 'vfioctl unpin'."},
            {"unknown", "Run 'vfioctl doctor' as root."},
    };

    for (size_t i = 0; i < ELEMENTSOF(fixes); i++)
        if (streq(fixes[i].state, state))
            return fixes[i].fix;
    return "See 'vfioctl pins'.";
}

static void judge_pin(Findings *f, struct json_object *pin) {
    static const char *const surprises[] = {"moved", "swapped", "too-late", "overridden"};
    const char *state = json_text(pin, "state");
    FindingLevel level = FINDING_NOTE;
    Finding *finding;

    for (size_t i = 0; i < ELEMENTSOF(surprises); i++)
        if (streq(state, surprises[i]))
            level = FINDING_WARNING;
    finding = finding_add(f, level, "pins", "The pin of %s (driver %s) is not in force: %s.",
            json_text(pin, "path"), json_text(pin, "driver"), state);
    finding_set(f, &finding->why, "%s", json_text(pin, "why"));
    if (streq(state, "moved") || streq(state, "swapped"))
        finding_set(f, &finding->fix,
                "Run 'vfioctl unpin %s', and pin the card where it is now, or put it back.",
                json_text(pin, "path"));
    else
        finding_set(f, &finding->fix, "%s", pin_fix(state));
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
        finding_add(f, FINDING_OK, "pins", "%zu pin%s in force.", n_in_force, n_in_force == 1 ? "" : "s");
    for (size_t i = 0; errors && i < json_object_array_length(errors); i++) {
        Finding *finding = finding_add(f, FINDING_WARNING, "pins", "%s",
                json_object_get_string(json_object_array_get_idx(errors, i)));

        finding_set(f, &finding->why, "A file with an error pins nothing.");
        finding_set(f, &finding->fix, "Correct the file, or remove it with 'vfioctl unpin'.");
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
    doctor_judge_users(facts, ret);
}
