/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"
#include "client/doctor.h"
#include "client/doctor-memory.h"
#include "client/show.h"

#define MANAGER(more)                                                                                        \
    "{\"version\": \"" VFIOD_VERSION "\", \"policyState\": \"loaded\", \"policyRules\": 3" more "}"

/* A host without problems. A test changes one fact. */
static DoctorFacts healthy(void) {
    return (DoctorFacts){
            .host = json_tokener_parse("{\"kernel\": {\"iommufd\": true}, \"devices\": [], \"taints\": []}"),
            .manager = json_tokener_parse(MANAGER("")),
            .command_line = strdup("quiet intel_iommu=on"),
            .iommus = strdup("dmar0 dmar1"),
            .n_groups = 12,
            .firmware_table = "DMAR",
            .interrupts_remapped = 1,
            .vfio_pci = MODULE_AVAILABLE,
            .iommufd = MODULE_PRESENT,
            .uid = 1000,
            .memlock = UINT64_MAX,
            .qemu = strdup("QEMU 10.0"),
            .qemu_takes_fds = true,
            .has_kvm = true,
            .may_use_kvm = true,
            .polkit = true,
            .polkit_agent = true,
            .distribution = strdup("debian"),
            .has_grub = true,
    };
}

static void set_text(char **text, const char *value) {
    free(*text);
    *text = value ? strdup(value) : NULL;
}

static void set_json(struct json_object **o, const char *value) {
    json_object_put(*o);
    *o = json_tokener_parse(value);
    assert_non_null(*o);
}

static const Finding *find(const Findings *f, FindingLevel level, const char *subject) {
    for (size_t i = 0; i < f->n; i++)
        if (f->items[i].level == level && streq(f->items[i].subject, subject))
            return f->items + i;
    return NULL;
}

static void assert_has(const char *text, const char *part) {
    if (part && (!text || !strstr(text, part)))
        fail_msg("\"%s\" is not in \"%s\"", part, text ? text : "(nothing)");
}

/* Every finding of every test that is worse than ok has a reason and a fix. */
static void judge(const DoctorFacts *facts, Findings *ret) {
    doctor_judge(facts, ret);
    for (size_t i = 0; i < ret->n; i++) {
        const Finding *found = ret->items + i;

        assert_non_null(found->fact);
        if (found->level > FINDING_OK && (!found->why || !*found->why || !found->fix || !*found->fix))
            fail_msg("%s \"%s\": why: %s, fix: %s", found->subject, found->fact, found->why ?: "none",
                    found->fix ?: "none");
    }
}

/* Takes the facts. */
static void assert_finding(DoctorFacts *facts, FindingLevel level, const char *subject, const char *fact,
        const char *why, const char *fix) {
    const Finding *found;
    Findings f;

    judge(facts, &f);
    assert_int_equal(f.error, 0);
    found = find(&f, level, subject);
    if (!found)
        fail_msg("no %s about %s", finding_level_to_string(level), subject);
    assert_has(found->fact, fact);
    assert_has(found->why, why);
    assert_has(found->fix, fix);
    assert_true(findings_worst(&f) >= level);
    findings_done(&f);
    doctor_facts_done(facts);
}

static void test_a_healthy_host(void **state) {
    DoctorFacts facts = healthy();
    Findings f;

    judge(&facts, &f);
    assert_int_equal(findings_worst(&f), FINDING_OK);
    assert_has(find(&f, FINDING_OK, "iommu")->fact, "12 groups (dmar0 dmar1)");
    assert_non_null(find(&f, FINDING_OK, "policy"));
    findings_done(&f);
    doctor_facts_done(&facts);
}

static void test_no_iommu(void **state) {
    const struct {
        const char *command_line, *table, *distribution;
        bool is_virtual_machine, has_kernel_cmdline;
        const char *why, *fix;
    } cases[] = {
            {"quiet", "DMAR", "debian", false, false, "table DMAR", "update-grub"},
            {"quiet", "DMAR", "ubuntu debian", false, true, "table DMAR", "/etc/kernel/cmdline"},
            {"quiet", "DMAR", "centos rhel fedora", false, false, "table DMAR", "grubby --update-kernel=ALL"},
            {"quiet", "DMAR", "opensuse-leap suse opensuse", false, false, "table DMAR", "grub2-mkconfig"},
            {"quiet", "IVRS", "debian", false, false, "table IVRS", "look for AMD-Vi"},
            {"quiet", "IORT", "debian", false, false, "table IORT", "CONFIG_ARM_SMMU_V3"},
            {"quiet", "VIOT", "debian", true, false, "table VIOT", "CONFIG_VIRTIO_IOMMU"},
            {"quiet", NULL, "debian", false, false, "describes no IOMMU", "VT-d"},
            {"quiet", NULL, "debian", true, false, "virtual machine", "intel-iommu"},
            {"intel_iommu=off", "DMAR", "debian", false, false, "intel_iommu=off", "Remove intel_iommu=off"},
            {"quiet intel_iommu=on,off x", "DMAR", "debian", false, false, "intel_iommu=off", "Remove"},
            {"amd_iommu=off", NULL, "debian", false, false, "amd_iommu=off", "Remove amd_iommu=off"},
            {"iommu=off", "DMAR", "debian", false, false, "iommu=off", "Remove iommu=off"},
            {"xiommu=off intel_iommu=on foo=off", "DMAR", "debian", false, false, "table DMAR",
                    "intel_iommu=on"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        DoctorFacts facts = healthy();

        facts.n_groups = 0;
        facts.firmware_table = cases[i].table;
        facts.is_virtual_machine = cases[i].is_virtual_machine;
        facts.has_kernel_cmdline = cases[i].has_kernel_cmdline;
        set_text(&facts.command_line, cases[i].command_line);
        set_text(&facts.distribution, cases[i].distribution);
        assert_finding(&facts, FINDING_PROBLEM, "iommu", "no IOMMU group", cases[i].why, cases[i].fix);
    }
}

static void test_the_kernel(void **state) {
    DoctorFacts facts = healthy();
    Findings f;

    facts.interrupts_remapped = 0;
    assert_finding(&facts, FINDING_WARNING, "interrupts", "not remapped", "any interrupt", "x2APIC");

    facts = healthy();
    facts.vfio_pci = MODULE_MISSING;
    assert_finding(
            &facts, FINDING_PROBLEM, "vfio", "no driver vfio-pci", "binds PCI devices", "linux-image-amd64");

    facts = healthy();
    facts.vfio_pci = facts.iommufd = MODULE_UNKNOWN;
    set_json(&facts.host, "{\"kernel\": {\"iommufd\": false}}");
    judge(&facts, &f);
    assert_has(find(&f, FINDING_NOTE, "vfio")->fact, "unknown whether this kernel has vfio-pci");
    assert_has(find(&f, FINDING_NOTE, "iommufd")->fact, "unknown whether this kernel has iommufd");
    assert_int_equal(findings_worst(&f), FINDING_NOTE);
    findings_done(&f);
    doctor_facts_done(&facts);

    facts = healthy();
    facts.iommufd = MODULE_MISSING;
    set_json(&facts.host, "{\"kernel\": {\"iommufd\": false}}");
    assert_finding(&facts, FINDING_NOTE, "iommufd", "no iommufd", "grants nodes", "CONFIG_IOMMUFD");

    facts = healthy();
    set_json(&facts.host,
            "{\"devices\": [{\"name\": \"pci:0000:00:02.0\", \"group\": 3}, "
            "{\"name\": \"pci:0000:00:1f.0\", \"group\": -1}]}");
    assert_finding(&facts, FINDING_NOTE, "iommu",
            "1 PCI device is not behind an IOMMU, such as pci:0000:00:1f.0", "all memory of the host",
            "To loosen the policy");
}

static void test_the_daemon(void **state) {
    DoctorFacts facts = healthy();
    Findings f;

    json_object_put(TAKE_PTR(facts.manager));
    judge(&facts, &f); /* a reason that nobody knows */
    findings_done(&f);
    set_text(&facts.unreachable, "No such file or directory");
    assert_finding(&facts, FINDING_PROBLEM, "vfiod", "does not answer", "No such file", "systemctl status");

    facts = healthy();
    set_json(&facts.manager, "{\"version\": \"0.0.1\", \"policyState\": \"loaded\", \"policyRules\": 1}");
    assert_finding(&facts, FINDING_WARNING, "vfiod", "vfiod 0.0.1 runs", "may differ", "restart");

    facts = healthy();
    set_json(
            &facts.manager, "{\"policyState\": \"broken\", \"policyErrors\": [\"x.json:3:1: error: what\"]}");
    assert_finding(
            &facts, FINDING_PROBLEM, "policy", "every request is denied", "x.json:3:1", "policy check");

    facts = healthy();
    set_json(&facts.manager, "{\"policyState\": \"loaded\", \"policyRules\": 0, \"policyWarnings\": []}");
    assert_finding(&facts, FINDING_WARNING, "policy", "every request is denied", "only what a rule allows",
            "vfioctl setup");

    facts = healthy();
    set_json(&facts.manager, MANAGER(", \"policyWarnings\": [\"y.json:1:2: warning: who\"]"));
    assert_finding(&facts, FINDING_WARNING, "policy", "y.json:1:2", "in force", "policy check");

    facts = healthy();
    set_json(&facts.manager,
            MANAGER(", \"virtualFunctionsWarnings\": [\"y.json:1:2: warning: 0 and not 8\"]"));
    assert_finding(
            &facts, FINDING_WARNING, "virtual-functions", "0 and not 8", "after each boot", "vfioctl vf");

    facts = healthy();
    set_json(&facts.manager,
            MANAGER(", \"stuckWorkers\": [{\"pid\": 818, \"device\": \"pci:0000:06:00.0\", "
                    "\"operation\": \"restore\", \"step\": \"unbind\", \"since\": 1, "
                    "\"stack\": [\"wait_for\", \"unbind_store\"]}]"));
    assert_finding(&facts, FINDING_PROBLEM, "worker",
            "Worker 818 of vfiod is stuck in the kernel (restore: unbind, pci:", "No signal ends",
            "It waits in wait_for unbind_store.");

    facts = healthy();
    set_json(&facts.manager, MANAGER(", \"noiommu\": \"unavailable\""));
    assert_finding(&facts, FINDING_PROBLEM, "noiommu", "CAP_SYS_RAWIO", "refuses it", "vfiod-noiommu.conf");

    facts = healthy();
    set_text(&facts.quarantined, "pci:0000:06:00.0");
    assert_finding(&facts, FINDING_PROBLEM, "quarantine", "pci:0000:06:00.0", "reset or restored",
            "quarantine retry");
}

#define TAINTS                                                                                               \
    ", \"taints\": [{\"kind\": \"command-line\", \"what\": \"pcie_acs_override\", \"weakens\": true}, "      \
    "{\"kind\": \"kernel\", \"what\": \"TAINT_WARN\", \"weakens\": false}]"

#define PIN(state)                                                                                           \
    "{\"path\": \"0000:00:1c.0/00.0\", \"driver\": \"vfio-pci\", \"state\": \"" state                        \
    "\", \"why\": \"Therefore.\"}"

static void test_pins(void **state) {
    DoctorFacts facts = healthy();

    facts.pins = json_tokener_parse("{\"pins\": [" PIN("in-force") ", " PIN("in-force") "], \"errors\": []}");
    assert_finding(&facts, FINDING_OK, "pins", "2 pins in force", NULL, NULL);
    facts = healthy();
    facts.pins = json_tokener_parse("{\"pins\": [" PIN("absent") "], \"errors\": []}");
    assert_finding(&facts, FINDING_NOTE, "pins",
            "0000:00:1c.0/00.0 (driver vfio-pci) is not in force: absent", "Therefore.", "Put the card back");
    facts = healthy();
    facts.pins = json_tokener_parse("{\"pins\": [" PIN("too-late") "], \"errors\": []}");
    assert_finding(&facts, FINDING_WARNING, "pins", "too-late", "Therefore.", "reboot");
    facts = healthy();
    facts.pins = json_tokener_parse("{\"pins\": [" PIN("swapped") "], \"errors\": []}");
    assert_finding(
            &facts, FINDING_WARNING, "pins", "swapped", "Therefore.", "vfioctl unpin 0000:00:1c.0/00.0");
    facts = healthy();
    facts.pins = json_tokener_parse("{\"pins\": [], \"errors\": [\"f:1:2: error: x\"]}");
    assert_finding(&facts, FINDING_WARNING, "pins", "f:1:2: error: x", "pins nothing", "Correct the file");
}

#define DEVICE(name, parent, product, more)                                                                  \
    "{\"name\": \"" name "\", \"parent\": \"" parent "\", \"vendor\": 5555, \"product\": " product more "}"
#define VIRTUAL(more) DEVICE("pci:0000:06:00.2", "pci:0000:06:00.0", "4126", more)

static void assert_no_better_driver(const char *device) {
    DoctorFacts facts = healthy();
    _cleanup_free_ char *text = format_string("{\"devices\": [%s]}", device);
    Findings f;

    set_json(&facts.host, text);
    judge(&facts, &f);
    assert_null(find(&f, FINDING_NOTE, "driver"));
    findings_done(&f);
    doctor_facts_done(&facts);
}

static void test_better_drivers(void **state) {
    DoctorFacts facts = healthy();

    set_json(&facts.host, "{\"devices\": [" VIRTUAL(", \"variant\": \"\"") "]}");
    assert_finding(&facts, FINDING_NOTE, "driver",
            "no mlx5_vfio_pci, which is better than vfio-pci for "
            "pci:0000:06:00.2",
            "live migration", "kernel that has the module");
    assert_no_better_driver(VIRTUAL(", \"variant\": \"mlx5_vfio_pci\""));
    assert_no_better_driver(VIRTUAL("")); /* unknown */
    assert_no_better_driver(DEVICE("pci:0000:06:00.2", "", "4126", ", \"variant\": \"\""));
    assert_no_better_driver(DEVICE("pci:0001:06:00.2", "pci:0000:06:00.0", "4126", ", \"variant\": \"\""));
    assert_no_better_driver(DEVICE("pci:0000:06:00.2", "pci:0000:06:00.0", "1", ", \"variant\": \"\""));
}

/* If the daemon answers, its ledger counts. If not, what doctor finds itself counts. */
static void test_taints(void **state) {
    DoctorFacts facts = healthy();

    set_json(&facts.manager, MANAGER(TAINTS));
    assert_finding(&facts, FINDING_WARNING, "taint", "pcie_acs_override weakens this host (command-line)",
            "a part of the isolation", "kernel's command line");

    facts = healthy();
    json_object_put(TAKE_PTR(facts.manager));
    set_json(&facts.host, "{\"kernel\": {}" TAINTS "}");
    assert_finding(&facts, FINDING_WARNING, "taint", "pcie_acs_override", "isolation", "reboot");
}

/* What depends on a word of the daemon or the pins, also on a word of a later version. judge() checks them.
 */
static void test_every_word_has_a_reason_and_a_fix(void **state) {
    static const char *const taints[] = {"noiommu-claim", "noiommu-enabled", "unsafe-interrupts",
            "command-line", "kernel", "open-node", "a-later-one"};
    static const char *const pins[] = {
            "pending", "absent", "moved", "swapped", "too-late", "overridden", "unknown", "a-later-one"};
    Findings f;

    for (size_t i = 0; i < ELEMENTSOF(taints); i++) {
        _cleanup_free_ char *text = format_string(
                MANAGER(", \"taints\": [{\"kind\": \"%s\", \"what\": \"x\", \"weakens\": true}]"), taints[i]);
        DoctorFacts facts = healthy();

        set_json(&facts.manager, text);
        judge(&facts, &f);
        assert_non_null(find(&f, FINDING_WARNING, "taint"));
        findings_done(&f);
        doctor_facts_done(&facts);
    }
    for (size_t i = 0; i < ELEMENTSOF(pins); i++) {
        _cleanup_free_ char *text = format_string("{\"pins\": [" PIN("%s") "]}", pins[i]);
        DoctorFacts facts = healthy();

        facts.pins = json_tokener_parse(text);
        judge(&facts, &f);
        assert_true(find(&f, FINDING_WARNING, "pins") || find(&f, FINDING_NOTE, "pins"));
        findings_done(&f);
        doctor_facts_done(&facts);
    }
}

static void test_versions(void **state) {
    const struct {
        const char *text, *version;
    } cases[] = {
            {"podman version 4.3.1\n", "x 4.3.1"},
            {"10.0.0\n", "x 10.0.0"},
            {"tool 2 for libvirt 9.0.0-4+deb12u2\n", "x 9.0.0"},
            {"1.2.3.4.5.6.7.8.9.10.11\n", "x 1.2.3.4.5.6.7.8."},
            {"version unknown\n", "x"},
            {"7", "x"},
            {"", "x"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *found = doctor_name_version("x", cases[i].text);

        assert_string_equal(found, cases[i].version);
    }
}

static void test_users_and_programs(void **state) {
    DoctorFacts facts = healthy();
    Findings f;

    facts.memlock = UINT64_C(8) << 20;
    assert_finding(&facts, FINDING_NOTE, "memory", "may lock 8M", "memlock-for",
            "To loosen the policy, set \"memlock\" of the rule. Then claim with --memlock");

    facts = healthy();
    facts.qemu_takes_fds = false;
    set_text(&facts.qemu, "QEMU 7.2");
    assert_finding(&facts, FINDING_NOTE, "qemu", "QEMU 7.2 takes no file descriptors", "by itself", "9.0");

    facts = healthy();
    facts.may_use_kvm = false;
    assert_finding(&facts, FINDING_NOTE, "kvm", "You may not open /dev/kvm", "-accel kvm", "groups kvm");
    facts = healthy();
    facts.has_kvm = facts.may_use_kvm = false;
    assert_finding(&facts, FINDING_NOTE, "kvm", "no /dev/kvm", "emulated", "SVM");
    facts = healthy();
    facts.may_use_kvm = false;
    set_text(&facts.qemu, NULL);
    judge(&facts, &f);
    assert_null(find(&f, FINDING_NOTE, "kvm"));
    findings_done(&f);
    doctor_facts_done(&facts);

    facts = healthy();
    facts.polkit = false;
    assert_finding(&facts, FINDING_NOTE, "polkit", "not installed", "effect ask", "polkitd");
}

/* There are more than fit: the last ones are lost, and nothing else happens. */
static void test_a_flood_of_warnings(void **state) {
    struct json_object *warnings = json_object_new_array();
    DoctorFacts facts = healthy();
    Findings f;

    for (unsigned i = 0; i < 3 * FINDINGS_MAX; i++)
        json_object_array_add(warnings, json_object_new_string("z.json:1:1: warning: again"));
    json_object_object_add(facts.manager, "policyWarnings", warnings);
    judge(&facts, &f);
    assert_int_equal(f.n, FINDINGS_MAX);
    assert_int_equal(f.error, 0);
    findings_done(&f);
    doctor_facts_done(&facts);
}

#define RULES(more)                                                                                          \
    "[{\"rule\": \"vm\", \"file\": \"/p/a.json\", \"line\": 3, \"effect\": \"allow\", " more "}]"

static void test_memory_of_rules(void **state) {
    static const char limits[] = "{\"users\": {\"alice\": 8388608, \"bob\": 9223372036854775807},"
                                 " \"units\": {\"vm.service\": 65536}, \"groups\": {\"vm\": 65536},"
                                 " \"sessions\": {\"alice\": 8388608, \"bob\": 65536}}";
    const struct {
        const char *rules, *fact, *fix; /* NULL: nothing is wrong */
    } cases[] = {
            {RULES("\"who\": {\"user\": \"alice\"}"),
                    "Rule vm (/p/a.json:3): programs of user alice may lock 8M", "limits.d/vfiod.conf"},
            {RULES("\"who\": {\"user\": [\"bob\", \"alice\"]}, \"memlock\": \"64M\""),
                    "alice may lock 64M of memory, with", "to loosen the policy, set \"memlock\""},
            {RULES("\"who\": {\"user\": \"alice\"}, \"memlock\": \"4M\""), "alice may lock 8M of memory.",
                    "memlock-for"},
            {RULES("\"who\": {\"user\": \"alice\"}, \"memlock\": \"16G\""), NULL, NULL},
            {RULES("\"who\": {\"user\": \"alice\"}, \"memlock\": 17179869184"), NULL, NULL},
            {RULES("\"who\": {\"user\": \"bob\"}"),
                    "user bob that systemd starts (user@.service, such as QEMU of qemu:///session) may lock "
                    "64K",
                    "systemctl edit user@.service"},
            {RULES("\"who\": {\"user\": \"bob\"}, \"memlock\": \"16G\""), NULL, NULL},
            {RULES("\"who\": {\"group\": [\"vm\"]}"), "members of group vm may lock 64K", "'@vm - memlock"},
            {RULES("\"who\": {\"group\": \"kvm\"}"), NULL, NULL}, /* unknown */
            {RULES("\"who\": {\"group\": \"vm\", \"user\": \"carol\"}"), NULL, NULL},
            {RULES("\"who\": {\"user\": \"carol\"}"), NULL, NULL}, /* unknown */
            {RULES("\"who\": {\"user\": \"root\"}"), NULL, NULL},
            {RULES("\"who\": {}"), NULL, NULL},
            {RULES("\"who\": {\"user\": \"alice\", \"unit\": \"vm.service\"}"),
                    "unit vm.service may lock 64K", "systemctl edit vm.service"},
            {RULES("\"who\": {\"user\": \"alice\", \"unit\": \"vm-*.service\"}"), NULL, NULL},
            {"[{\"rule\": \"no\", \"effect\": \"deny\", \"who\": {\"user\": \"alice\"}}]", NULL, NULL},
            {"[{\"rule\": 5, \"effect\": \"allow\", \"who\": [3], \"memlock\": {}}, 7, null]", NULL, NULL},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        DoctorFacts facts = healthy();
        Findings f;

        set_json(&facts.rules, cases[i].rules);
        set_json(&facts.limits, limits);
        if (cases[i].fact) {
            assert_finding(&facts, FINDING_NOTE, "memory", cases[i].fact, "locked", cases[i].fix);
            continue;
        }
        judge(&facts, &f);
        assert_null(find(&f, FINDING_NOTE, "memory"));
        findings_done(&f);
        doctor_facts_done(&facts);
    }
}

static void test_power_and_agent(void **state) {
    DoctorFacts facts = healthy();

    set_text(&facts.power_failed, "pci:0000:06:00.0");
    assert_finding(&facts, FINDING_WARNING, "power", "pci:0000:06:00.0", "claimed", "rescan");
    facts = healthy();
    facts.polkit_agent = false;
    assert_finding(&facts, FINDING_NOTE, "polkit", "pkttyagent", "ask", "polkitd");
}

static void test_limits_of_logins(void **state) {
    static const struct {
        const char *text;
        int found;
        int64_t bytes;
    } cases[] = {
            {"", 0, 0},
            {"# alice - memlock 64\n", 0, 0},
            {"alice - memlock 64\n", 1, 65536},
            {"alice\thard\tmemlock\tunlimited", 1, LIMIT_INFINITE},
            {"alice soft memlock 64\n", 0, 0},
            {"alice - nofile 64\n", 0, 0},
            {"bob - memlock 64\n", 0, 0},
            {"* - memlock 32 # all\n", 1, 32768},
            {"alice - memlock 64\n* - memlock 32\n", 1, 65536},
            {"* - memlock 32\nalice - memlock 64\n", 1, 65536},
            {"@vm - memlock 64\n", -EAGAIN, 0},
            {"@vm - memlock 64\nalice - memlock 128\n", -EAGAIN, 131072},
            {"alice - memlock many\n", 0, 0},
            {"alice - memlock 99999999999999999999\n", 0, 0},
            {"alice - memlock\nalice -\nalice\n \n", 0, 0},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        int64_t bytes = 0;
        int rank = 0;

        assert_int_equal(limits_find_memlock(cases[i].text, "alice", &rank, &bytes), cases[i].found);
        assert_int_equal(bytes, cases[i].bytes);
    }
}

static void test_limits_of_groups(void **state) {
    static const struct {
        const char *text;
        int found;
        int64_t bytes;
    } cases[] = {
            {"@vm - memlock 64\n", 1, 65536},
            {"@vm soft memlock 64\n", 0, 0},
            {"* - memlock 32\n@vm - memlock 64\n* - memlock 16\n", 1, 65536},
            {"vm - memlock 64\n", 0, 0}, /* a user of that name */
            {"@kvm - memlock 64\n", -EAGAIN, 0},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        int64_t bytes = 0;
        int rank = 0;

        assert_int_equal(limits_find_memlock(cases[i].text, "@vm", &rank, &bytes), cases[i].found);
        assert_int_equal(bytes, cases[i].bytes);
    }
}

static void test_uid_of_user(void **state) {
    static const char passwd[] = "root:x:0:0::/:/bin/sh\nal:x:7:7::/:\nalice:x:1000:1000::/home:/bin/sh\n"
                                 "bob:x:many:1::/:\ncarol:x:12345678901:1::/:\ndave\nerin:x:5";
    static const char *const without[] = {"bob", "carol", "dave", "erin", "frank", ""};
    char uid[11];

    assert_true(limits_take_uid(passwd, "alice", uid, sizeof(uid)));
    assert_string_equal(uid, "1000");
    assert_true(limits_take_uid(passwd, "al", uid, sizeof(uid)));
    assert_string_equal(uid, "7");
    for (size_t i = 0; i < ELEMENTSOF(without); i++)
        assert_false(limits_take_uid(passwd, without[i], uid, sizeof(uid)));
}

static void test_limits_of_units(void **state) {
    struct json_object *units = json_object_new_object();
    int64_t bytes = 0;

    assert_int_equal(
            limits_take_units("Id=a.service\nLimitMEMLOCK=65536\n\nLimitMEMLOCK=infinity\nId=b.service\n\n"
                              "Id=c.service\n\nLimitMEMLOCK=12\n\nLimitMEMLOCK=many\nId=d.service\n",
                    units),
            0);
    assert_int_equal(json_object_object_length(units), 2);
    assert_int_equal(json_number(units, "a.service"), 65536);
    assert_true(json_number(units, "b.service") == LIMIT_INFINITE);
    json_object_put(units);
    assert_true(limits_take_line("x=1\nDefaultLimitMEMLOCK=8388608\n", "DefaultLimitMEMLOCK", &bytes));
    assert_int_equal(bytes, 8388608);
    assert_true(limits_take_line("DefaultLimitMEMLOCK=18446744073709551615", "DefaultLimitMEMLOCK", &bytes));
    assert_true(bytes == LIMIT_INFINITE);
    assert_false(limits_take_line("DefaultLimitMEMLOCK=", "DefaultLimitMEMLOCK", &bytes));
    assert_false(limits_take_line("", "DefaultLimitMEMLOCK", &bytes));
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_memory_of_rules),
            cmocka_unit_test(test_power_and_agent),
            cmocka_unit_test(test_limits_of_logins),
            cmocka_unit_test(test_limits_of_groups),
            cmocka_unit_test(test_uid_of_user),
            cmocka_unit_test(test_limits_of_units),
            cmocka_unit_test(test_pins),
            cmocka_unit_test(test_better_drivers),
            cmocka_unit_test(test_a_healthy_host),
            cmocka_unit_test(test_no_iommu),
            cmocka_unit_test(test_the_kernel),
            cmocka_unit_test(test_the_daemon),
            cmocka_unit_test(test_taints),
            cmocka_unit_test(test_every_word_has_a_reason_and_a_fix),
            cmocka_unit_test(test_versions),
            cmocka_unit_test(test_users_and_programs),
            cmocka_unit_test(test_a_flood_of_warnings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
