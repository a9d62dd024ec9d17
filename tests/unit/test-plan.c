/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/claim.h"
#include "policy/parse.h"
#include "policy/rule.h" /* for setting terms directly */
#include "core/family.h"
#include "core/planner.h"
#include "core/record.h"

/* A small host, like the VM's: an edu device alone (no reset), an edu and a NIC behind one PCI bridge, a NIC
 * with FLR, a NIC on its vfio driver already, a disk that is mounted, and a device behind no IOMMU. */
static const DeviceSnapshot host[] = {
        {.name = {.slot = 4},
                .vendor = 0x1234,
                .device = 0x11e8,
                .class_code = 0x00ff00,
                .group = 1,
                .vfio_index = -1},
        {.name = {.pci_bus = 2},
                .vendor = 0x1b36,
                .device = 0xe,
                .class_code = 0x060400,
                .group = 2,
                .vfio_index = -1},
        {.name = {.pci_bus = 3, .slot = 1},
                .vendor = 0x8086,
                .device = 0x100e,
                .class_code = 0x020000,
                .group = 2,
                .driver = "e1000",
                .vfio_index = -1},
        {.name = {.pci_bus = 3, .slot = 2},
                .vendor = 0x1234,
                .device = 0x11e8,
                .class_code = 0x00ff00,
                .group = 2,
                .vfio_index = -1},
        {.name = {.pci_bus = 4},
                .vendor = 0x8086,
                .device = 0x10d3,
                .class_code = 0x020000,
                .group = 4,
                .driver = "e1000e",
                .vfio_index = -1},
        {.name = {.pci_bus = 5},
                .vendor = 0x8086,
                .device = 0x10d3,
                .class_code = 0x020000,
                .group = 5,
                .driver = "vfio-pci",
                .vfio_index = 0,
                .vfio_rdev = 0x1234},
        {.name = {.pci_bus = 6},
                .vendor = 0x1b36,
                .device = 0x10,
                .class_code = 0x010802,
                .group = 6,
                .driver = "nvme",
                .vfio_index = -1},
        {.name = {.pci_bus = 7},
                .vendor = 0x8086,
                .device = 0x10d3,
                .class_code = 0x020000,
                .group = -1,
                .vfio_index = -1},
};
#define EDU "0000:00:04.0"
#define NIC_SHARED "0000:03:01.0"
#define EDU_SHARED "0000:03:02.0"
#define NIC "0000:04:00.0"
#define PREPARED "0000:05:00.0"
#define DISK "0000:06:00.0"
#define NO_IOMMU "0000:07:00.0"

typedef struct World {
    Inventory *inventory;
    RuleTerms *terms;     /* of the first rule, in place of those in its text */
    HostSettings host;    /* of the policy */
    const char *weakness; /* of the host */
    int weakness_error;
    RuleUsage usage;
    const char *serial; /* of every card */
    Request request;
    Subject subject;
    long enable_count;
    const char *descendants; /* of every device */
    bool direct_region;      /* likewise */
    const char *override;    /* likewise */
    int read_error;
    unsigned asked; /* masks of all reads together */
    bool all_obstacles, beyond_policy, describe;
    const char *variant; /* of every device; NULL: unknown, "": none */
    bool variant_blocked;
} World;

static KernelFacts kernel; /* of the world under test */
static MdevTypes mdev_types;
static int mdev_types_error;

static int read_mdev_types(void *userdata, MdevTypes *ret) {
    return mdev_types_error < 0 ? mdev_types_error : mdev_types_copy(&mdev_types, ret);
}

static int read_kernel_facts(void *userdata, KernelFacts *ret) {
    *ret = kernel;
    return 0;
}

static int read_weakness(void *userdata, char **ret) {
    const World *w = userdata;

    if (w->weakness_error < 0)
        return w->weakness_error;
    *ret = w->weakness ? strdup(w->weakness) : NULL;
    return 0;
}

static void count_usage(void *userdata, const char *rule_key, const Subject *subject, RuleUsage *ret) {
    const World *w = userdata;

    assert_true(streq(rule_key, "r") || streq(rule_key, "other"));
    assert_int_equal(subject->uid, 1000);
    *ret = w->usage;
}

static Claim promise = {.id = "00000000000000aa", .uid = 8, .state = CLAIM_RESERVED};
static unsigned n_promised; /* promised instances of t-1, of every parent that has some left */

static unsigned count_promised(void *userdata, const MdevType *type, const Claim **ret_first) {
    unsigned n = streq(type->id, "t-1") && type->available > 0 ? n_promised : 0;

    if (n > 0)
        *ret_first = &promise;
    return n;
}

static int read_facts(void *userdata, const Device *d, unsigned what, DeviceFacts *ret) {
    World *w = userdata;

    w->asked |= what;
    if (w->read_error < 0)
        return w->read_error;
    if (d->device != 0x11e8)
        ret->reset_methods = 1U << RESET_METHOD_FLR;
    if (d->device == 0x10 && (what & DEVICE_FACT_HOST_CRITICAL))
        ret->host_critical = strdup("nvme0n1p1 is mounted on /srv");
    if (d->device == 0x10d3)
        (void) snprintf(ret->driver_override, sizeof(ret->driver_override), "mine");
    if (w->override)
        (void) snprintf(ret->driver_override, sizeof(ret->driver_override), "%s", w->override);
    if (w->serial && (what & DEVICE_FACT_SERIAL)) {
        (void) snprintf(ret->serial, sizeof(ret->serial), "%s", w->serial);
        ret->known |= DEVICE_FACT_SERIAL;
    }
    if (w->variant && (what & DEVICE_FACT_VARIANT)) {
        put_text(ret->variant, sizeof(ret->variant), w->variant);
        (void) snprintf(ret->variant_driver, sizeof(ret->variant_driver), "%s", w->variant);
        ret->variant_blocked = w->variant_blocked;
        ret->known |= DEVICE_FACT_VARIANT;
    }
    if (what & DEVICE_FACT_SLOT_PATH) {
        bool is_root = d->name.pci_bus == 0;

        (void) snprintf(
                ret->slot_path, sizeof(ret->slot_path), is_root ? "0000:00:04.0" : "0000:00:1c.0/00.0");
        ret->known |= DEVICE_FACT_SLOT_PATH;
    }
    ret->enable_count = w->enable_count;
    ret->direct_region = w->direct_region;
    if (w->descendants && what & DEVICE_FACT_DESCENDANTS)
        ret->descendants = strdup(w->descendants);
    return 0;
}

static int set_up(void **state) {
    World *w = calloc(1, sizeof(*w));

    w->inventory = inventory_new();
    w->request = REQUEST_NULL;
    w->subject = SUBJECT_NULL;
    w->subject.uid = 1000;
    kernel = (KernelFacts){.iommufd = true, .device_cdev = true, .container = true, .iommu = true};
    for (size_t i = 0; i < ELEMENTSOF(host); i++) {
        Device *d;
        int old_group;

        if (inventory_update(w->inventory, &host[i], &d, &old_group) < 0)
            return -1;
    }
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    World *w = *state;

    inventory_free(w->inventory);
    free(w);
    return 0;
}

static int resolve(void *userdata, bool is_group, const char *name, uint32_t *ret) {
    return -ENOENT;
}

static const char *tags = ""; /* of the policy under test: "\"tags\":{…}," */

static Policy *compile(const char *rules) {
    _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
    _cleanup_free_ char *text = format_string("{%s\"rules\":[%s]}", tags, rules);
    Policy *policy = NULL;

    assert_int_equal(policy_parser_add(p, "f", text, strlen(text)), 0);
    if (policy_parser_n_errors(p) > 0)
        fail_msg("%s", policy_parser_error(p, 0));
    assert_int_equal(policy_parser_finish(p, &policy), 0);
    return policy;
}

#define RULE(extra)                                                                                          \
    "{\"name\":\"r\",\"effect\":\"allow\",\"who\":{\"user\":1000},\"what\":{\"device\":\"*\"}" extra "}"
#define OPTIONAL ",\"reset\":\"optional\""

/* Plans for uid 1000. Spaces separate devices. Returns the error code, or _VFIOD_ERROR_INVALID if it is
 * allowed. */
static VfiodError plan(
        World *w, const char *rules, const char *devices, Backend backend, Plan *ret, Refusal *refusal) {
    _cleanup_(policy_freep) Policy *policy = rules ? compile(rules) : NULL;
    _cleanup_free_ char *copy = strdup(devices);
    Request request = w->request;
    const FactSource source = {read_facts, read_kernel_facts, read_weakness, read_mdev_types, .userdata = w};
    _cleanup_(survey_done) Survey survey = {};
    PlanContext context = {
            .inventory = w->inventory,
            .policy = policy,
            .survey = &survey,
            .count_usage = w->terms ? count_usage : NULL,
            .usage_userdata = w,
            .count_promised = n_promised > 0 ? count_promised : NULL,
            .all_obstacles = w->all_obstacles,
            .beyond_policy = w->beyond_policy,
            .describe = w->describe,
    };
    int r;

    if (w->terms) {
        char *reason = w->terms->noiommu_reason ? strdup(w->terms->noiommu_reason) : NULL;

        policy->rules[0].terms = *w->terms;
        policy->rules[0].terms.noiommu_reason = reason;
        policy->host = w->host;
    }
    plan_done(ret); /* of the previous plan */
    request.backend = backend;
    for (char *rest = copy, *s; (s = strsep(&rest, " "));)
        assert_int_equal(request_add_device(&request, s, refusal), 0);
    r = plan_build_from(&context, &source, &request, &w->subject, ret, refusal);
    assert_int_equal(r < 0, refusal->code != _VFIOD_ERROR_INVALID);
    return refusal->code;
}

static void expect(World *w, const char *rules, const char *devices, Backend backend, VfiodError code,
        const char *says) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    VfiodError got = plan(w, rules, devices, backend, &p, &refusal);

    if (got != code || (says && (!refusal.reason || !strstr(refusal.reason, says))))
        fail_msg("%s: got %s: %s", devices, got < 0 ? "yes" : error_info(got)->name, refusal.reason ?: "");
}

static void test_refusals(void **state) {
    World *w = *state;
    const Backend any = _BACKEND_INVALID;

    expect(w, RULE(OPTIONAL), "0000:00:1f.0", any, VFIOD_ERROR_NO_SUCH_DEVICE, NULL);
    expect(w, NULL, EDU, any, VFIOD_ERROR_POLICY_BROKEN, NULL);
    expect(w, "", EDU, any, VFIOD_ERROR_ACCESS_DENIED, "no rule");
    expect(w, RULE(), EDU, any, VFIOD_ERROR_RESET_UNSUPPORTED, "reset");
    expect(w, RULE(OPTIONAL), NO_IOMMU, any, VFIOD_ERROR_NO_IOMMU_GROUP, NULL);
    expect(w, RULE(OPTIONAL), "0000:02:00.0", any, VFIOD_ERROR_INVALID_ARGUMENT, "bridge");
    expect(w, RULE(OPTIONAL), EDU_SHARED, any, VFIOD_ERROR_GROUP_NOT_VIABLE,
            "pci:0000:03:01.0 (driver e1000)");
    expect(w, RULE(OPTIONAL), DISK, any, VFIOD_ERROR_HOST_CRITICAL, "mounted on /srv");
    expect(w, RULE(",\"backend\":\"group\""), NIC, BACKEND_IOMMUFD, VFIOD_ERROR_BACKEND_UNAVAILABLE,
            "the rule does not allow");

    /* One refused device refuses the whole request. */
    expect(w, RULE(OPTIONAL), EDU " " NO_IOMMU, any, VFIOD_ERROR_NO_IOMMU_GROUP, NULL);

    w->read_error = -EIO;
    expect(w, RULE(OPTIONAL), NIC, any, VFIOD_ERROR_INTERNAL, NULL);
    w->read_error = -ENODEV;
    expect(w, RULE(OPTIONAL), NIC, any, VFIOD_ERROR_DEVICE_GONE, NULL);
}

/* A parked disk is as unusable as a claimed one. */
static void test_host_critical_sibling(void **state) {
    World *w = *state;
    DeviceSnapshot disk = host[6];
    int old_group;
    Device *d;

    disk.group = 2;
    assert_true(inventory_update(w->inventory, &disk, &d, &old_group) >= 0);
    expect(w, RULE(OPTIONAL ",\"siblings\":\"park\""), EDU_SHARED, _BACKEND_INVALID,
            VFIOD_ERROR_HOST_CRITICAL, "/srv");
}

/* Bridges block nothing unless their driver uses DMA itself. Such a bridge cannot be parked. */
static void test_bridge_on_a_host_driver(void **state) {
    DeviceSnapshot bridge = host[1];
    World *w = *state;
    int old_group;
    Device *d;

    (void) snprintf(bridge.driver, sizeof(bridge.driver), "shpchp");
    assert_true(inventory_update(w->inventory, &bridge, &d, &old_group) >= 0);
    expect(w, RULE(OPTIONAL ",\"siblings\":\"park\""), EDU_SHARED, _BACKEND_INVALID,
            VFIOD_ERROR_GROUP_NOT_VIABLE, "pci:0000:02:00.0 (driver shpchp)");
}

static void test_in_use(void **state) {
    World *w = *state;

    w->enable_count = 1;
    expect(w, RULE(), PREPARED, _BACKEND_INVALID, VFIOD_ERROR_GROUP_IN_USE, "group 5");
    w->enable_count = -1; /* unreadable counts as in use */
    expect(w, RULE(), PREPARED, _BACKEND_INVALID, VFIOD_ERROR_GROUP_IN_USE, NULL);
}

static void test_claimed(void **state) {
    World *w = *state;
    Claim other = {.id = "0123456789abcdef", .uid = 7, .state = CLAIM_HELD};
    Group *g = inventory_find_group(w->inventory, 2);

    g->claim = &other;
    expect(w, RULE(OPTIONAL), EDU_SHARED, _BACKEND_INVALID, VFIOD_ERROR_DEVICE_CLAIMED,
            "claim 0123456789abcdef of uid 7");
    /* A caller whom the policy denies does not learn that. */
    expect(w, "", EDU_SHARED, _BACKEND_INVALID, VFIOD_ERROR_ACCESS_DENIED, "no rule");
    g->claim = NULL;
    g->members->next->quarantined = true; /* the NIC beside it */
    expect(w, RULE(OPTIONAL), EDU_SHARED, _BACKEND_INVALID, VFIOD_ERROR_DEVICE_QUARANTINED, NULL);
}

static Device *make_child(World *w, const char *name, const char *parent, int group, const char *driver) {
    DeviceSnapshot s = {
            .vendor = 0x8086, .device = 0x10d3, .class_code = 0x020000, .group = group, .vfio_index = -1};
    Device *d;

    assert_int_equal(device_name_parse(name, &s.name), 0);
    assert_int_equal(device_name_parse(parent, &s.parent), 0);
    s.has_parent = true;
    (void) snprintf(s.driver, sizeof(s.driver), "%s", driver);
    if (streq(driver, "vfio-pci"))
        s.vfio_index = 7;
    assert_true(inventory_update(w->inventory, &s, &d, NULL) >= 0);
    return d;
}

#define ANYTHING RULE(",\"siblings\":\"park\",\"reset\":\"optional\",\"host-critical\":\"allow\"")

/* Virtual functions vanish if their physical function's driver is unbound, whatever it is. No rule waives
 * that. */
static void test_virtual_functions(void **state) {
    World *w = *state;
    Claim other = {.id = "0123456789abcdef", .uid = 7, .state = CLAIM_HELD};
    Device *vf;

    vf = make_child(w, "0000:05:01.0", PREPARED, 20, "");
    expect(w, ANYTHING, PREPARED, _BACKEND_INVALID, VFIOD_ERROR_HOST_CRITICAL, "pci:0000:05:01.0");
    vf->group->claim = &other;
    expect(w, ANYTHING, PREPARED, _BACKEND_INVALID, VFIOD_ERROR_DEVICE_CLAIMED,
            "claim 0123456789abcdef of uid 7 holds pci:0000:05:01.0");
    expect(w, "", PREPARED, _BACKEND_INVALID, VFIOD_ERROR_ACCESS_DENIED, "no rule");

    /* nor is a sibling parked that has virtual functions */
    make_child(w, "0000:03:01.1", NIC_SHARED, 21, "iavf");
    expect(w, ANYTHING, EDU_SHARED, _BACKEND_INVALID, VFIOD_ERROR_HOST_CRITICAL, "pci:0000:03:01.1");
}

static void expect_no_change(World *w, const Device *pf, VfiodError error, const char *word) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;

    assert_int_equal(family_check_reshaping(w->inventory, pf, &refusal), -error_info(error)->error);
    assert_int_equal(refusal.code, error);
    assert_non_null(strstr(refusal.reason, word));
}

/* Their number does not change while somebody has one, and nobody gets one while it changes. */
static void test_number_of_virtual_functions(void **state) {
    Claim other = {.id = "0123456789abcdef", .uid = 7, .state = CLAIM_DRAINING};
    Refusal none = REFUSAL_NULL;
    World *w = *state;
    Device *pf, *vf;

    vf = make_child(w, "0000:05:01.0", PREPARED, 20, "vfio-pci");
    make_child(w, "10000:e1:00.0", PREPARED, 22, "nvme"); /* in a domain behind it */
    pf = inventory_find_parent(w->inventory, vf);
    assert_non_null(pf);
    assert_int_equal(family_count_functions(w->inventory, pf), 1);
    assert_int_equal(family_count_functions(w->inventory, vf), 0);
    assert_int_equal(family_check_reshaping(w->inventory, pf, &none), 0);
    expect_no_change(w, vf, VFIOD_ERROR_NO_VIRTUAL_FUNCTIONS, "a virtual function itself");

    vf->group->claim = &other; /* the same for a sibling */
    expect_no_change(w, pf, VFIOD_ERROR_DEVICE_CLAIMED, "holds pci:0000:05:01.0 (draining)");
    vf->group->claim = NULL;
    vf->quarantined = true;
    expect_no_change(w, pf, VFIOD_ERROR_DEVICE_QUARANTINED, "pci:0000:05:01.0");
    vf->quarantined = false;
    pf->claim = &other;
    expect_no_change(w, pf, VFIOD_ERROR_DEVICE_CLAIMED, "holds it");
    pf->claim = NULL;

    pf->reshaping = true;
    expect_no_change(w, pf, VFIOD_ERROR_DEVICE_BUSY, "is being changed");
    expect(w, ANYTHING, PREPARED, _BACKEND_INVALID, VFIOD_ERROR_DEVICE_BUSY, "its virtual functions");
    expect(w, ANYTHING, "0000:05:01.0", _BACKEND_INVALID, VFIOD_ERROR_DEVICE_BUSY, "pci:0000:05:00.0");
    expect(w, "", "0000:05:01.0", _BACKEND_INVALID, VFIOD_ERROR_ACCESS_DENIED, "no rule");
    pf->reshaping = false;
}

/* A use of an NVMe controller behind VMD is left to the host-critical fact, but a claim of it counts here. */
static void test_devices_of_a_domain(void **state) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    World *w = *state;
    Device *nvme;

    nvme = make_child(w, "10000:e1:00.0", NIC, 20, "nvme");
    assert_int_equal(plan(w, ANYTHING, NIC, _BACKEND_INVALID, &p, &refusal), _VFIOD_ERROR_INVALID);
    nvme->quarantined = true;
    expect(w, ANYTHING, NIC, _BACKEND_INVALID, VFIOD_ERROR_HOST_CRITICAL, "pci:10000:e1:00.0");
    nvme->quarantined = false;
    make_child(w, "10000:e1:00.1", NIC, 21, "vfio-pci");
    expect(w, ANYTHING, NIC, _BACKEND_INVALID, VFIOD_ERROR_HOST_CRITICAL, "pci:10000:e1:00.1");
}

/* Descendants that are not PCI devices. */
static void test_other_descendants(void **state) {
    World *w = *state;

    w->descendants = "the mediated device 1234";
    expect(w, ANYTHING, NIC, _BACKEND_INVALID, VFIOD_ERROR_HOST_CRITICAL, "the mediated device 1234");
    assert_true(w->asked & DEVICE_FACT_DESCENDANTS);
}

/* The kernel would refuse it, but only after its driver was unbound. */
static void test_direct_region(void **state) {
    DeviceSnapshot prepared = host[5];
    World *w = *state;

    w->direct_region = true;
    expect(w, ANYTHING, NIC, _BACKEND_INVALID, VFIOD_ERROR_BACKEND_UNAVAILABLE, "direct");
    w->direct_region = false;
    prepared.direct_region = true;
    assert_true(inventory_update(w->inventory, &prepared, NULL, NULL) >= 0);
    expect(w, ANYTHING, PREPARED, _BACKEND_INVALID, VFIOD_ERROR_BACKEND_UNAVAILABLE, "direct");
    expect(w, ANYTHING, PREPARED, BACKEND_GROUP, VFIOD_ERROR_BACKEND_UNAVAILABLE, "direct");
}

/* The end of the parent's claim resets it and its virtual functions. */
static void test_claimed_parent(void **state) {
    PlanMember member = {.group = 5, .disposition = DISPOSITION_CLAIM};
    Claim other = {.id = "0123456789abcdef", .uid = 7, .state = CLAIM_HELD};
    World *w = *state;
    Device *pf;

    make_child(w, "0000:05:01.0", PREPARED, 20, "vfio-pci");
    pf = inventory_find_group(w->inventory, 5)->members;
    member.name = pf->name;
    other.plan.members = &member;
    other.plan.n_members = 1;
    pf->group->claim = &other;
    expect(w, ANYTHING, "0000:05:01.0", _BACKEND_INVALID, VFIOD_ERROR_DEVICE_CLAIMED,
            "claim 0123456789abcdef of uid 7 holds its parent pci:0000:05:00.0");
}

static void test_backends(void **state) {
    static const struct {
        bool iommufd, cdev, container;
        const char *rule, *device;
        Backend wanted, chosen; /* chosen is invalid if refused */
        bool compat;            /* the container is an iommufd */
        const char *other;      /* the one that the remedy names */
    } cases[] = {
            {true, true, true, RULE(), NIC, _BACKEND_INVALID, BACKEND_IOMMUFD},
            {true, true, true, RULE(), NIC, BACKEND_GROUP, BACKEND_GROUP},
            {false, false, true, RULE(), NIC, _BACKEND_INVALID, BACKEND_GROUP},
            {false, false, true, RULE(), NIC, BACKEND_IOMMUFD, _BACKEND_INVALID},
            {true, false, true, RULE(), NIC, _BACKEND_INVALID, BACKEND_GROUP},
            {true, true, true, RULE(",\"backend\":\"group\""), NIC, _BACKEND_INVALID, BACKEND_GROUP},
            {false, false, true, RULE(",\"backend\":[\"iommufd\"]"), NIC, _BACKEND_INVALID, _BACKEND_INVALID},
            {false, false, false, RULE(), NIC, _BACKEND_INVALID, _BACKEND_INVALID},
            /* It is on its driver and has its node: the kernel's general support does not matter. */
            {true, false, true, RULE(), PREPARED, _BACKEND_INVALID, BACKEND_IOMMUFD},
            /* compat is chosen if nothing else is left, or if it is requested. */
            {true, true, false, RULE(), NIC, _BACKEND_INVALID, BACKEND_IOMMUFD, true},
            {true, false, false, RULE(), NIC, _BACKEND_INVALID, BACKEND_COMPAT, true},
            {false, false, false, RULE(), NIC, _BACKEND_INVALID, BACKEND_COMPAT, true},
            {true, true, false, RULE(), NIC, BACKEND_COMPAT, BACKEND_COMPAT, true},
            {true, true, false, RULE(), PREPARED, BACKEND_COMPAT, BACKEND_COMPAT, true},
            {true, true, false, RULE(",\"backend\":\"compat\""), NIC, _BACKEND_INVALID, BACKEND_COMPAT, true},
            {true, true, false, RULE(",\"backend\":[\"group\",\"compat\"]"), NIC, _BACKEND_INVALID,
                    BACKEND_COMPAT, true},
            {false, false, false, RULE(), NIC, BACKEND_GROUP, _BACKEND_INVALID, true, "compat"},
            {true, true, false, RULE(), NIC, BACKEND_GROUP, _BACKEND_INVALID, true, "iommufd"},
            {true, true, false, RULE(",\"backend\":\"group\""), NIC, _BACKEND_INVALID, _BACKEND_INVALID,
                    true},
            {false, false, true, RULE(), NIC, BACKEND_COMPAT, _BACKEND_INVALID, false},
            {false, false, true, RULE(",\"backend\":\"compat\""), NIC, _BACKEND_INVALID, _BACKEND_INVALID},
    };
    World *w = *state;

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
        VfiodError code;
        _cleanup_(plan_done) Plan p = PLAN_NULL;
        char remedy[64];

        kernel = (KernelFacts){.iommufd = cases[i].iommufd,
                .device_cdev = cases[i].cdev,
                .container = cases[i].container,
                .compat = cases[i].compat};
        code = plan(w, cases[i].rule, cases[i].device, cases[i].wanted, &p, &refusal);
        if (cases[i].chosen < 0) {
            assert_int_equal(code, VFIOD_ERROR_BACKEND_UNAVAILABLE);
            (void) snprintf(remedy, sizeof(remedy), "Request the backend %s, which the rule",
                    cases[i].other ?: "group");
            assert_non_null(strstr(refusal.remedy,
                    !cases[i].iommufd && !cases[i].container && !cases[i].compat ? "modprobe vfio-pci"
                            : cases[i].wanted < 0                                ? "To loosen the policy"
                                                                                 : remedy));
        } else {
            assert_int_equal(code, _VFIOD_ERROR_INVALID);
            assert_int_equal(p.backend, cases[i].chosen);
        }
    }
}

#define VDPA_RULE(extra)                                                                                     \
    "{\"name\":\"r\",\"effect\":\"allow\",\"who\":{\"user\":1000},\"what\":{\"device\":[\"vdpa:*\",\"*\"]"   \
    "}" extra "}"

static void add_vdpa(World *w, const char *name, const char *driver, int index) {
    DeviceSnapshot s = {.group = -1, .vfio_index = index, .vfio_rdev = index >= 0 ? 7 : 0};
    Device *d;

    assert_int_equal(device_name_parse(name, &s.name), 0);
    (void) snprintf(s.driver, sizeof(s.driver), "%s", driver);
    assert_true(inventory_update(w->inventory, &s, &d, NULL) >= 0);
}

/* It has no group, no reset of its own and no count of its users. The planner neither requires nor reads
 * them. */
static void test_vdpa(void **state) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    const Backend any = _BACKEND_INVALID;
    World *w = *state;

    add_vdpa(w, "vdpa:v0", "virtio_vdpa", -1);
    add_vdpa(w, "vdpa:v1", "vhost_vdpa", 3);
    w->enable_count = 1;
    expect(w, VDPA_RULE(), "vdpa:v0", any, VFIOD_ERROR_BACKEND_UNAVAILABLE,
            "vhost_vdpa, which is not loaded");
    kernel.vhost_vdpa = true;
    w->asked = 0;
    assert_int_equal(plan(w, VDPA_RULE(), "vdpa:v0 vdpa:v1", any, &p, &refusal), _VFIOD_ERROR_INVALID);
    assert_false(w->asked & (DEVICE_FACT_RESET_METHODS | DEVICE_FACT_ENABLE_COUNT));
    assert_int_equal(p.backend, BACKEND_VHOST_VDPA);
    assert_int_equal(p.n_groups, 0);
    assert_int_equal(p.n_claimed, 2);
    assert_true(p.members[0].bind && !p.members[1].bind);
    assert_true(!p.members[0].reset && !p.members[1].reset);
    assert_string_equal(p.members[0].target_driver, "vhost_vdpa");
    assert_string_equal(p.members[0].original_driver, "virtio_vdpa");

    expect(w, VDPA_RULE(), "vdpa:v0", BACKEND_IOMMUFD, VFIOD_ERROR_BACKEND_UNAVAILABLE, "the kind vdpa");
    expect(w, VDPA_RULE(), "vdpa:v0", BACKEND_NOIOMMU, VFIOD_ERROR_BACKEND_UNAVAILABLE, "the kind vdpa");
    expect(w, VDPA_RULE(), NIC, BACKEND_VHOST_VDPA, VFIOD_ERROR_BACKEND_UNAVAILABLE, "the kind pci");
    expect(w, VDPA_RULE(), NIC " vdpa:v0", any, VFIOD_ERROR_INVALID_ARGUMENT, "both it and pci:" NIC);
    expect(w, VDPA_RULE(",\"backend\":\"group\""), "vdpa:v0", any, VFIOD_ERROR_BACKEND_UNAVAILABLE,
            "allows no backend");
    expect(w, RULE(), "vdpa:v0", any, VFIOD_ERROR_ACCESS_DENIED, NULL); /* a plain glob means PCI */
}

#define UUID "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"
#define MDEV_RULE(extra)                                                                                     \
    "{\"name\":\"r\",\"effect\":\"allow\",\"who\":{\"user\":1000},\"what\":{\"device\":[\"mdev:*\",\"*\"]"   \
    "}" extra "}"

static void add_mdev(World *w, const char *uuid, const char *driver, int index) {
    DeviceSnapshot s = {.group = 90, .vfio_index = index, .vfio_rdev = index >= 0 ? 7 : 0};
    Device *d;

    assert_int_equal(device_name_parse(uuid, &s.name), 0);
    (void) snprintf(s.driver, sizeof(s.driver), "%s", driver);
    s.has_parent = true;
    assert_int_equal(device_name_parse(NIC, &s.parent), 0);
    assert_true(inventory_update(w->inventory, &s, &d, NULL) >= 0);
}

/* It is handed out unchanged, and none of its facts are read: its driver resets it, and nothing counts its
 * users. */
static void test_mdev(void **state) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    const Backend any = _BACKEND_INVALID;
    World *w = *state;

    add_mdev(w, UUID, "", -1);
    expect(w, MDEV_RULE(), UUID, any, VFIOD_ERROR_NODE_MISSING, "as the driver of its parent made it");
    add_mdev(w, UUID, "mtty", 3);
    w->asked = 0;
    assert_int_equal(plan(w, MDEV_RULE(), "mdev:" UUID, any, &p, &refusal), _VFIOD_ERROR_INVALID);
    assert_int_equal(w->asked, 0);
    assert_int_equal(p.backend, BACKEND_IOMMUFD);
    assert_int_equal(p.n_groups, 1);
    assert_int_equal(p.n_members, 1);
    assert_false(p.members[0].bind || p.members[0].reset);
    assert_string_equal(p.members[0].target_driver, "mtty");
    expect(w, MDEV_RULE(), UUID, BACKEND_NOIOMMU, VFIOD_ERROR_BACKEND_UNAVAILABLE, "the kind mdev");
    expect(w, MDEV_RULE(), NIC, any, VFIOD_ERROR_HOST_CRITICAL, UUID); /* its parent */
    expect(w, RULE(), UUID, any, VFIOD_ERROR_ACCESS_DENIED, NULL);     /* a plain glob means PCI */
}

#define TEMPLATES                                                                                            \
    "\"host\":{\"templates\":[{\"name\":\"a\",\"parent\":\"0000:0*\",\"type\":\"t-1\"},"                     \
    "{\"name\":\"b\",\"parent\":\"mtty\",\"type\":\"Type two\"}]},"
#define TEMPLATE_RULE                                                                                        \
    "{\"name\":\"r\",\"effect\":\"allow\",\"who\":{\"user\":1000},\"what\":{\"device\":"                     \
    "[\"template:*\",\"*\"]}}"

static MdevType *add_type(const char *parent, const char *id, const char *name, int64_t available) {
    MdevType *t = mdev_types_add(&mdev_types);

    assert_non_null(t);
    (void) snprintf(t->parent, sizeof(t->parent), "%s", parent);
    (void) snprintf(t->id, sizeof(t->id), "%s", id);
    t->name = strdup(name);
    t->available = available;
    return t;
}

static void test_template(void **state) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    const Backend any = _BACKEND_INVALID;
    World *w = *state;

    tags = TEMPLATES;
    mdev_types_error = -ETIMEDOUT;
    expect(w, TEMPLATE_RULE, "template:a", any, VFIOD_ERROR_TIMED_OUT, NULL);
    mdev_types_error = -EIO;
    expect(w, TEMPLATE_RULE, "template:a", any, VFIOD_ERROR_NO_INSTANCE, "unknown");
    mdev_types_error = 0;
    expect(w, TEMPLATE_RULE, "template:a", any, VFIOD_ERROR_NO_SUCH_DEVICE, "t-1");
    expect(w, TEMPLATE_RULE, "template:c", any, VFIOD_ERROR_NO_SUCH_DEVICE, "no template");
    /* Only callers that the policy allows learn whether there is an instance. */
    expect(w, RULE(), "template:a", any, VFIOD_ERROR_ACCESS_DENIED, NULL);
    expect(w, RULE(), "template:c", any, VFIOD_ERROR_ACCESS_DENIED, NULL);

    add_type(NIC, "t-1", "", 0);
    add_type("mtty", "t-1", "", 5); /* of another parent */
    add_type("mtty", "t-2", "Type two", -1);
    expect(w, TEMPLATE_RULE, "template:a", any, VFIOD_ERROR_NO_INSTANCE, "none is in use");
    expect(w, TEMPLATE_RULE, "template:b", any, VFIOD_ERROR_NO_INSTANCE, "unknown");
    mdev_types.incomplete = true;
    expect(w, TEMPLATE_RULE, "template:a", any, VFIOD_ERROR_NO_INSTANCE, "more types than are listed");
    mdev_types.incomplete = false;
    mdev_types.types[2].available = 1;
    add_type(PREPARED, "t-1", "", 1);
    assert_int_equal(plan(w, TEMPLATE_RULE, "template:a template:b " EDU, any, &p, &refusal),
            VFIOD_ERROR_RESET_UNSUPPORTED);
    refusal_done(&refusal);
    assert_int_equal(
            plan(w, TEMPLATE_RULE, "template:a template:b " NIC, any, &p, &refusal), _VFIOD_ERROR_INVALID);
    assert_int_equal(p.n_claimed, 3);
    assert_string_equal(p.members[0].made.parent, PREPARED);
    assert_string_equal(p.members[1].made.type, "t-2");
    assert_string_equal(p.members[1].made.template, "b");
    assert_true(plan_member_is_made(&p.members[0]) && !p.members[0].bind);
    assert_false(plan_member_is_made(&p.members[2]));
    assert_int_equal(p.n_groups, 1);
    assert_int_equal(p.charges[0].devices, 3);
    expect(w, TEMPLATE_RULE, "template:a", BACKEND_NOIOMMU, VFIOD_ERROR_BACKEND_UNAVAILABLE, "template");
    mdev_types_done(&mdev_types);
    tags = "";
}

/* A promised instance is not available to others, although the driver still counts it. */
static void test_promised_instances(void **state) {
    const Backend any = _BACKEND_INVALID;
    World *w = *state;

    tags = TEMPLATES;
    add_type(NIC, "t-1", "", 1);
    n_promised = 1;
    expect(w, TEMPLATE_RULE, "template:a", any, VFIOD_ERROR_NO_INSTANCE, promise.id);
    expect(w, TEMPLATE_RULE, "template:a", any, VFIOD_ERROR_NO_INSTANCE,
            "left; 1 reserved or being made (claim");
    mdev_types.types[0].available = 2;
    expect(w, TEMPLATE_RULE, "template:a", any, _VFIOD_ERROR_INVALID, NULL);
    n_promised = 2;
    expect(w, TEMPLATE_RULE, "template:a", any, VFIOD_ERROR_NO_INSTANCE, "uid 8 and others");
    add_type(PREPARED, "t-1", "", 3); /* another parent has one more */
    expect(w, TEMPLATE_RULE, "template:a", any, _VFIOD_ERROR_INVALID, NULL);
    n_promised = 0;
    mdev_types_done(&mdev_types);
    tags = "";
}

/* The device does not exist yet, but its parent must already keep its driver. */
static void test_parent_of_a_template(void **state) {
    static Claim holder = {.id = "0123456789abcdef", .uid = 7, .state = CLAIM_HELD};
    PlanMember m = {.disposition = DISPOSITION_CLAIM};
    World *w = *state;
    DeviceName name;
    Device *d;

    tags = TEMPLATES;
    add_type(NIC, "t-1", "", 1);
    assert_int_equal(device_name_parse(NIC, &m.name), 0);
    holder.plan = (Plan){.members = &m, .n_members = 1, .n_claimed = 1};
    d = inventory_find_device(w->inventory, &m.name);
    d->claim = &holder;
    expect(w, TEMPLATE_RULE, "template:a", _BACKEND_INVALID, VFIOD_ERROR_DEVICE_CLAIMED, holder.id);
    d->claim = NULL;
    d->quarantined = true;
    expect(w, TEMPLATE_RULE, "template:a", _BACKEND_INVALID, VFIOD_ERROR_DEVICE_QUARANTINED, NULL);
    d->quarantined = false;
    strcpy(m.made.parent, NIC);
    assert_false(plan_member_is_made_of(&m, &d->name));
    strcpy(m.made.type, "t-1");
    strcpy(m.made.template, "a");
    assert_true(plan_member_is_made_of(&m, &d->name));
    name = plan_member_asked(&m);
    assert_int_equal(name.kind, DEVICE_KIND_TEMPLATE);
    assert_string_equal(name.text, "a");
    mdev_types_done(&mdev_types);
    tags = "";
}

/* During the claim no driver could bind such a sibling, whatever a recorded host says. */
static void test_a_sibling_without_a_vfio_driver(void **state) {
    DeviceSnapshot s = {.group = 2, .vfio_index = -1, .driver = "mtty"};
    World *w = *state;
    Device *d;

    assert_int_equal(device_name_parse(UUID, &s.name), 0);
    assert_true(inventory_update(w->inventory, &s, &d, NULL) >= 0);
    expect(w, RULE(OPTIONAL ",\"siblings\":\"park\""), EDU_SHARED, _BACKEND_INVALID,
            VFIOD_ERROR_GROUP_NOT_VIABLE, UUID);
}

/* A native vfio driver answers for its device, and for whether the device is in use. */
static void test_native(void **state) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    World *w = *state;
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    DeviceSnapshot s = {
            .vendor = 0x10de, .device = 0x20f1, .class_code = 0x030200, .group = 92, .driver = "nvidia"};
    Device *d;

    assert_int_equal(device_name_parse("0000:41:00.4", &s.name), 0);
    s.vfio_rdev = 0x4321;
    assert_true(inventory_update(w->inventory, &s, &d, NULL) >= 0);
    assert_true(device_is_native(d));
    w->enable_count = 1;
    assert_int_equal(plan(w, RULE(), "0000:41:00.4", _BACKEND_INVALID, &p, &refusal), _VFIOD_ERROR_INVALID);
    assert_true(p.members[0].native);
    assert_false(p.members[0].bind || p.members[0].reset);
    assert_string_equal(p.members[0].target_driver, "nvidia");
    assert_false(plan_needs_bind(&p) || plan_needs_reset(&p));
    expect(w, RULE(), "0000:41:00.4", BACKEND_COMPAT, VFIOD_ERROR_BACKEND_UNAVAILABLE, "compat");
    /* a driver of the family of vfio-pci is not native */
    expect(w, RULE(), PREPARED, _BACKEND_INVALID, VFIOD_ERROR_GROUP_IN_USE, NULL);
}

/* A driver could bind it before the client attaches the group. */
static void test_a_sibling_without_a_driver(void **state) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    World *w = *state;
    const PlanMember *m;
    DeviceSnapshot s;
    DeviceName name;
    Device *d;

    assert_int_equal(device_name_parse(NIC_SHARED, &name), 0);
    d = inventory_find_device(w->inventory, &name);
    s = (DeviceSnapshot){.name = name,
            .vendor = d->vendor,
            .device = d->device,
            .class_code = d->class_code,
            .group = d->group->id,
            .vfio_index = -1};
    assert_true(inventory_update(w->inventory, &s, NULL, NULL) >= 0);
    w->override = "mine";
    assert_int_equal(
            plan(w, RULE(OPTIONAL), EDU_SHARED, _BACKEND_INVALID, &p, &refusal), _VFIOD_ERROR_INVALID);
    m = plan_find_member(&p, &name);
    assert_non_null(m);
    assert_int_equal(m->disposition, DISPOSITION_NONE_NEEDED);
    /* somebody has set an override, which decides which driver may bind */
    assert_false(m->kept);
    assert_string_equal(m->original_override, "mine");

    plan_done(&p);
    p = PLAN_NULL;
    w->override = OVERRIDE_PARKED; /* left from an earlier claim */
    assert_int_equal(
            plan(w, RULE(OPTIONAL), EDU_SHARED, _BACKEND_INVALID, &p, &refusal), _VFIOD_ERROR_INVALID);
    m = plan_find_member(&p, &name);
    assert_true(m->kept);
    assert_false(m->bind || m->reset || m->came || plan_member_is_moved(m));
    assert_true(plan_member_is_changed(m));
    assert_string_equal(m->target_driver, OVERRIDE_PARKED);
    assert_string_equal(m->original_override, "");
}

/* Nobody gets a device while its functions are being created, nor one whose claim would move it. */
static void test_changing_functions(void **state) {
    static const char *const changing[] = {EDU_SHARED, NIC_SHARED};
    World *w = *state;

    for (size_t i = 0; i < ELEMENTSOF(changing); i++) {
        DeviceName name;
        Device *d;

        assert_int_equal(device_name_parse(changing[i], &name), 0);
        d = inventory_find_device(w->inventory, &name);
        assert_non_null(d);
        d->reshaping = true;
        expect(w, RULE(OPTIONAL ",\"siblings\":\"park\""), EDU_SHARED, _BACKEND_INVALID,
                VFIOD_ERROR_DEVICE_BUSY, "is being changed");
        d->reshaping = false;
    }
}

/* It is unknown whether its driver resets it: a rule has to accept that. */
static void test_platform(void **state) {
    static const char required[] = "{\"name\":\"r\",\"effect\":\"allow\",\"who\":{\"user\":1000},"
                                   "\"what\":{\"device\":\"platform:*\"}}";
    static const char optional[] = "{\"name\":\"r\",\"effect\":\"allow\",\"who\":{\"user\":1000},"
                                   "\"what\":{\"device\":\"platform:*\"},\"reset\":\"optional\"}";
    static const char driver[] = "{\"name\":\"r\",\"effect\":\"allow\",\"who\":{\"user\":1000},\"what\":{"
                                 "\"device\":\"platform:*\"},"
                                 "\"reset\":\"optional\",\"driver\":\"mlx5_vfio_pci\"}";
    DeviceSnapshot s = {.group = 91, .vfio_index = -1, .driver = "xgmac"};
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    const char *name = "platform:fff51000.ethernet";
    const Backend any = _BACKEND_INVALID;
    World *w = *state;
    Device *d;

    assert_int_equal(device_name_parse(name, &s.name), 0);
    assert_true(inventory_update(w->inventory, &s, &d, NULL) >= 0);
    expect(w, required, name, any, VFIOD_ERROR_RESET_UNSUPPORTED, "driver vfio-platform resets the device");
    assert_int_equal(plan(w, optional, name, any, &p, &refusal), _VFIOD_ERROR_INVALID);
    assert_true(p.members[0].bind);
    assert_false(p.members[0].reset);
    assert_string_equal(p.members[0].target_driver, "vfio-platform");
    assert_string_equal(p.members[0].original_driver, "xgmac");
    plan_done(&p);
    p = PLAN_NULL;
    assert_int_equal(plan(w, driver, name, any, &p, &refusal), _VFIOD_ERROR_INVALID);
    assert_string_equal(p.members[0].target_driver, "vfio-platform"); /* "driver" is for PCI only */
    assert_string_equal(p.members[0].module, "");
    expect(w, RULE(), name, any, VFIOD_ERROR_ACCESS_DENIED, NULL); /* a plain glob means PCI */
}

/* None of these kinds can be handed out, whatever the rule allows. A caller without a rule does not learn
 * that. */
static void test_kinds_that_are_only_shown(void **state) {
    static const char *const names[] = {"ap:00.0001", "ccw:0.0.1234", "fsl-mc:dpni.3", "cdx:cdx-00:00"};
    static const char rule[] =
            "{\"name\":\"r\",\"effect\":\"allow\",\"who\":{\"user\":1000},\"what\":{\"bus\":["
            "\"ap\",\"ccw\",\"fsl-mc\",\"cdx\"]}}";
    World *w = *state;

    for (size_t i = 0; i < ELEMENTSOF(names); i++) {
        add_vdpa(w, names[i], "driver", -1);
        expect(w, rule, names[i], _BACKEND_INVALID, VFIOD_ERROR_NOT_SUPPORTED, "devices of the kind");
        expect(w, RULE(), names[i], _BACKEND_INVALID, VFIOD_ERROR_ACCESS_DENIED, NULL);
    }
}

static void test_record_of_vdpa(void **state) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(claim_done) Claim c = CLAIM_NULL, back = CLAIM_NULL;
    _cleanup_free_ char *text = NULL;
    World *w = *state;

    kernel.vhost_vdpa = true;
    add_vdpa(w, "vdpa:v0", "virtio_vdpa", -1);
    assert_int_equal(
            plan(w, VDPA_RULE(), "vdpa:v0", _BACKEND_INVALID, &c.plan, &refusal), _VFIOD_ERROR_INVALID);
    (void) snprintf(c.id, sizeof(c.id), "0123456789abcdef");
    c.state = CLAIM_HELD;
    c.uid = 1000;
    text = claim_to_record(&c, "boot");
    assert_non_null(text);
    assert_int_equal(claim_from_record(text, strlen(text), "boot", &back, NULL), 0);
    assert_int_equal(back.plan.backend, BACKEND_VHOST_VDPA);
    assert_int_equal(back.plan.members[0].group, -1);
    assert_int_equal(device_name_compare(&back.plan.members[0].name, &c.plan.members[0].name), 0);
}

static void test_plan_of_a_shared_group(void **state) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    World *w = *state;
    _cleanup_(plan_done) Plan p = PLAN_NULL;

    assert_int_equal(
            plan(w, RULE(OPTIONAL ",\"siblings\":\"park\""), EDU_SHARED, _BACKEND_INVALID, &p, &refusal),
            _VFIOD_ERROR_INVALID);
    assert_int_equal(p.n_members, 3);
    assert_int_equal(p.n_claimed, 1);
    assert_int_equal(p.n_groups, 1);
    assert_int_equal(p.members[0].disposition, DISPOSITION_CLAIM);
    assert_true(p.members[0].bind);
    assert_false(p.members[0].reset); /* it has no reset, and the rule accepts that */
    assert_int_equal(p.members[1].disposition, DISPOSITION_NONE_NEEDED); /* the bridge */
    assert_false(p.members[1].bind);
    assert_int_equal(p.members[2].disposition, DISPOSITION_PARK);
    assert_string_equal(p.members[2].original_driver, "e1000");
    assert_string_equal(p.members[2].target_driver, "vfio-pci");
    assert_true(plan_needs_bind(&p));
    assert_false(plan_needs_reset(&p));
    assert_non_null(strstr(p.rule, "r (f:1)"));
}

static void add_devices(World *w, const DeviceSnapshot *like, uint8_t bus, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        DeviceSnapshot s = *like;
        int old_group;
        Device *d;

        s.name = (DeviceName){.pci_bus = (uint8_t) (bus + i / 32), .slot = i % 32};
        assert_true(inventory_update(w->inventory, &s, &d, &old_group) >= 0);
    }
}

/* A switch without ACS puts all of its ports into one group. The ports need no action. */
static void test_idle_ports_are_not_counted(void **state) {
    static const DeviceSnapshot port = {
            .class_code = 0x060400, .group = 4, .driver = "pcieport", .vfio_index = -1};
    DeviceSnapshot nic = host[4];
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    World *w = *state;

    /* In the order of names they come before and after the device and its siblings. */
    add_devices(w, &port, 0x01, 32);
    add_devices(w, &port, 0x80, 48);
    add_devices(w, &nic, 0x40, 20);
    assert_int_equal(plan(w, RULE(",\"siblings\":\"park\""), NIC, _BACKEND_INVALID, &p, &refusal),
            _VFIOD_ERROR_INVALID);
    assert_int_equal(p.n_members, PLAN_MEMBERS_MAX);
    add_devices(w, &nic, 0x50, 50);
    assert_int_equal(plan(w, RULE(",\"siblings\":\"park\""), NIC, _BACKEND_INVALID, &p, &refusal),
            VFIOD_ERROR_TOO_MANY_DEVICES);
    assert_string_equal(refusal.remedy, "Choose a device of a smaller IOMMU group.");
}

/* The claimed virtual function and its physical function share a group. */
static void test_descendants_of_a_sibling(void **state) {
    DeviceSnapshot nic = host[4];
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    World *w = *state;

    add_devices(w, &nic, 0x40, 1);
    w->descendants = "its virtual functions";
    assert_int_equal(plan(w, RULE(",\"siblings\":\"park\""), NIC, _BACKEND_INVALID, &p, &refusal),
            VFIOD_ERROR_HOST_CRITICAL);
    assert_non_null(strstr(refusal.remedy, "Claim one of them instead"));
    {
        const Request request = {.devices = {{.pci_bus = 4}}, .n_devices = 1};
        Planner planner = {.request = &request, .refusal = &refusal};
        const DeviceName sibling = {.pci_bus = 0x40};
        Device *d = inventory_find_device(w->inventory, &sibling);

        assert_int_equal(family_refuse(&planner, d, "0000:04:00.1"), -EBUSY);
    }
    assert_non_null(strstr(refusal.reason, "this sibling in IOMMU group 4"));
    assert_string_equal(refusal.remedy, "Choose a device of another IOMMU group.");
}

/* A remedy follows from the cause, and not from the error's name. */
static void test_remedies(void **state) {
    static const DeviceSnapshot bridge = {
            .class_code = 0x060400, .group = 4, .driver = "shpchp", .vfio_index = -1};
    DeviceSnapshot disk = host[6];
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    World *w = *state;
    int old_group;
    Device *d;

    assert_int_equal(plan(w, RULE(OPTIONAL), EDU_SHARED, _BACKEND_INVALID, &p, &refusal),
            VFIOD_ERROR_GROUP_NOT_VIABLE);
    assert_null(refusal.remedy);
    disk.group = 4;
    assert_true(inventory_update(w->inventory, &disk, &d, &old_group) >= 0);
    assert_int_equal(plan(w, RULE(",\"siblings\":\"park\""), NIC, _BACKEND_INVALID, &p, &refusal),
            VFIOD_ERROR_HOST_CRITICAL);
    assert_string_equal(
            refusal.reason, "the host uses this sibling in IOMMU group 4: nvme0n1p1 is mounted on /srv");
    assert_string_equal(refusal.remedy, "Unmount it first, or choose another device.");
    add_devices(w, &bridge, 0x01, 1);
    assert_int_equal(plan(w, RULE(",\"siblings\":\"park\""), NIC, _BACKEND_INVALID, &p, &refusal),
            VFIOD_ERROR_GROUP_NOT_VIABLE);
    assert_non_null(strstr(refusal.remedy, "A bridge cannot be claimed or parked"));
}

static void test_remedies_of_uses(void **state) {
    static const struct {
        const char *use, *remedy;
    } cases[] = {
            {"eth0 has the address 10.0.0.1", "Remove the address first"},
            {"it is the boot display, driven by efifb", "shows its console there"},
            {"eDP-1 is an internal panel that is lit", "shows its console there"},
            {"sda is held by dm-0", "Stop what holds it first"},
            {"sda is a member of the zfs pool tank", "zpool export"},
            {"watchdog0 is a watchdog that runs", "Stop the watchdog"},
            {"its interface is in another network namespace", "namespace that uses it"},
            {"something new", "Stop that use first"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++)
        assert_non_null(strstr(remedy_of_use(cases[i].use), cases[i].remedy));
}

/* A group's file can open every member on a vfio driver, so the caller needs permission for a parked sibling,
 * too. */
static void test_group_backend_exposes_siblings(void **state) {
    static const char only_edu[] = "{\"effect\":\"allow\",\"who\":{},\"what\":{\"id\":\"1234:11e8\"},"
                                   "\"reset\":\"optional\",\"siblings\":\"park\"}";
    static const char denied[] = "{\"effect\":\"allow\",\"who\":{},\"what\":{\"id\":\"1234:11e8\"},"
                                 "\"reset\":\"optional\",\"siblings\":\"park\"},"
                                 "{\"name\":\"no-nic\",\"effect\":\"deny\",\"who\":{},\"what\":{}}";
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    World *w = *state;
    _cleanup_(plan_done) Plan p = PLAN_NULL;

    expect(w, only_edu, EDU_SHARED, BACKEND_GROUP, VFIOD_ERROR_ACCESS_DENIED, "no rule allows that");
    assert_int_equal(plan(w, denied, EDU_SHARED, BACKEND_GROUP, &p, &refusal), VFIOD_ERROR_ACCESS_DENIED);
    assert_non_null(strstr(refusal.reason, "the policy does not allow that"));
    assert_string_equal(refusal.rule, "no-nic (f:1)");
    expect(w, only_edu, EDU_SHARED, BACKEND_IOMMUFD, _VFIOD_ERROR_INVALID, NULL);
    expect(w, RULE(OPTIONAL ",\"siblings\":\"park\""), EDU_SHARED, BACKEND_GROUP, _VFIOD_ERROR_INVALID, NULL);
}

/* Every device that the client can open is reset afterwards, claimed or not. No other device is. */
static void test_exposed_siblings_are_reset(void **state) {
    static const char strict[] = "{\"effect\":\"allow\",\"who\":{},\"what\":{\"id\":\"1234:11e8\"},"
                                 "\"reset\":\"optional\",\"siblings\":\"park\"}," RULE();
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    DeviceSnapshot edu = host[0], edu_shared = host[3];
    World *w = *state;
    int old_group;
    Device *d;
    _cleanup_(plan_done) Plan p = PLAN_NULL;

    assert_int_equal(plan(w, strict, EDU_SHARED, BACKEND_GROUP, &p, &refusal), _VFIOD_ERROR_INVALID);
    assert_int_equal(p.members[2].disposition, DISPOSITION_PARK);
    assert_true(p.members[2].reset);
    assert_int_equal(plan(w, strict, EDU_SHARED, BACKEND_IOMMUFD, &p, &refusal), _VFIOD_ERROR_INVALID);
    assert_false(p.members[2].reset);

    /* A sibling that is on its vfio driver already. */
    edu.group = 5;
    assert_true(inventory_update(w->inventory, &edu, &d, &old_group) >= 0);
    assert_int_equal(
            plan(w, RULE(OPTIONAL), EDU " " PREPARED, BACKEND_GROUP, &p, &refusal), _VFIOD_ERROR_INVALID);
    assert_int_equal(plan(w, RULE(OPTIONAL), EDU, BACKEND_GROUP, &p, &refusal), _VFIOD_ERROR_INVALID);
    assert_int_equal(p.members[1].disposition, DISPOSITION_NONE_NEEDED);
    assert_false(p.members[1].bind);
    assert_true(p.members[1].reset);
    assert_string_equal(p.members[1].target_driver, "vfio-pci");
    assert_int_equal(plan(w, RULE(OPTIONAL), EDU, BACKEND_IOMMUFD, &p, &refusal), _VFIOD_ERROR_INVALID);
    assert_false(p.members[1].reset);

    /* Its own rule requires a reset, and it has none. */
    edu_shared.group = 4;
    edu_shared.vfio_index = 3;
    (void) snprintf(edu_shared.driver, sizeof(edu_shared.driver), "vfio-pci");
    assert_true(inventory_update(w->inventory, &edu_shared, &d, &old_group) >= 0);
    expect(w, RULE(), NIC, BACKEND_GROUP, VFIOD_ERROR_RESET_UNSUPPORTED, "has no reset method");
    expect(w, RULE(), NIC, BACKEND_IOMMUFD, _VFIOD_ERROR_INVALID, NULL);
}

/* Claiming both functions of a group leaves nothing to park. A prepared device costs two small reads and no
 * walk. */
static void test_plan_of_prepared_and_whole_groups(void **state) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    World *w = *state;
    _cleanup_(plan_done) Plan p = PLAN_NULL;

    assert_int_equal(plan(w, RULE(OPTIONAL), EDU_SHARED " " NIC_SHARED, _BACKEND_INVALID, &p, &refusal),
            _VFIOD_ERROR_INVALID);
    assert_int_equal(p.n_claimed, 2);
    assert_int_equal(p.n_groups, 1);

    w->asked = 0;
    assert_int_equal(plan(w, RULE(), PREPARED, _BACKEND_INVALID, &p, &refusal), _VFIOD_ERROR_INVALID);
    assert_false(plan_needs_bind(&p));
    assert_true(plan_needs_reset(&p));
    assert_int_equal(w->asked, DEVICE_FACT_RESET_METHODS | DEVICE_FACT_ENABLE_COUNT);
}

/* The planner reads nothing: it returns the facts that it needs, and is called again. */
static void test_plan_waits_for_facts(void **state) {
    _cleanup_(policy_freep) Policy *policy =
            compile("{\"name\":\"r\",\"effect\":\"allow\",\"who\":{},\"what\":{\"numa\":1}}");
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(survey_done) Survey survey = {};
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    DeviceFacts facts = DEVICE_FACTS_NULL;
    World *w = *state;
    const PlanContext context = {.inventory = w->inventory, .policy = policy, .survey = &survey};

    assert_int_equal(request_add_device(&w->request, NIC, &refusal), 0);
    assert_int_equal(plan_build(&context, &w->request, &w->subject, &p, &refusal), -EAGAIN);
    assert_int_equal(refusal.code, _VFIOD_ERROR_INVALID);
    assert_true(survey_is_open(&survey));
    assert_int_equal(survey.n_devices, 1);
    assert_int_equal(survey.devices[0].wanted, DEVICE_FACT_NUMA_NODE);

    facts.numa_node = 1;
    facts.known = DEVICE_FACT_NUMA_NODE;
    survey_put(&survey.devices[0], DEVICE_FACT_NUMA_NODE, &facts, 0);
    assert_int_equal(plan_build(&context, &w->request, &w->subject, &p, &refusal), -EAGAIN);
    assert_true(survey.kernel_wanted);
    survey.kernel = kernel;
    survey.kernel_taken = true;
    assert_int_equal(plan_build(&context, &w->request, &w->subject, &p, &refusal), -EAGAIN);
    assert_int_equal(survey.devices[0].wanted & ~survey.devices[0].taken,
            DEVICE_FACT_RESET_METHODS | DEVICE_FACT_DRIVER_OVERRIDE | DEVICE_FACT_HOST_CRITICAL |
                    DEVICE_FACT_EXCLUSIVE_USE | DEVICE_FACT_DESCENDANTS | DEVICE_FACT_DIRECT_REGION |
                    DEVICE_FACT_LINKS | DEVICE_FACT_VARIANT);

    /* An error of the system is not a fact about the device. */
    survey_put(&survey.devices[0], DEVICE_FACT_HOST_CRITICAL | DEVICE_FACT_EXCLUSIVE_USE, &facts, -EMFILE);
    facts.reset_methods = 1U << RESET_METHOD_FLR;
    survey_put(&survey.devices[0],
            DEVICE_FACT_RESET_METHODS | DEVICE_FACT_DRIVER_OVERRIDE | DEVICE_FACT_DESCENDANTS |
                    DEVICE_FACT_DIRECT_REGION | DEVICE_FACT_LINKS | DEVICE_FACT_VARIANT,
            &facts, 0);
    assert_false(survey_is_open(&survey));
    assert_true(plan_build(&context, &w->request, &w->subject, &p, &refusal) < 0);
    assert_int_equal(refusal.code, VFIOD_ERROR_INTERNAL);
    assert_non_null(strstr(refusal.reason, strerror(EMFILE)));
}

/* Expects the codes of the refusal and of its obstacles, in their order. */
static void expect_all(World *w, const char *rules, const char *devices, const char *codes) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    _cleanup_strbuf_ StrBuf b = {};

    w->all_obstacles = true;
    (void) plan(w, rules, devices, _BACKEND_INVALID, &p, &refusal);
    if ((int) refusal.code >= 0)
        strbuf_add(&b, error_info(refusal.code)->name);
    for (size_t i = 0; i < refusal.n_obstacles; i++)
        strbuf_addf(&b, " %s", error_info(refusal.obstacles[i].code)->name);
    assert_string_equal(b.text ?: "", codes);
    w->all_obstacles = false;
    if ((int) refusal.code >= 0)
        expect(w, rules, devices, _BACKEND_INVALID, refusal.code, refusal.reason);
}

/* A caller that asks for all obstacles gets all of them. The first is the refusal of a claim. */
static void test_all_obstacles(void **state) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    World *w = *state;
    Claim other = {.id = "0123456789abcdef", .uid = 7, .state = CLAIM_HELD};
    DeviceSnapshot disk = host[6];
    int old_group;
    Device *d;

    expect_all(w, RULE(OPTIONAL), EDU, "");
    w->request.memlock = 4096;
    expect_all(w, RULE(",\"reason\":\"required\""), EDU_SHARED,
            "ResetUnsupported GroupNotViable ReasonRequired LimitExceeded");
    w->request.memlock = 0;
    /* A sibling that blocks the claim cannot be moved either, so no advice is to park it. */
    disk.group = 2;
    assert_true(inventory_update(w->inventory, &disk, &d, &old_group) >= 0);
    expect_all(w, RULE(OPTIONAL), EDU_SHARED, "GroupNotViable HostCritical");
    w->all_obstacles = true;
    (void) plan(w, RULE(OPTIONAL), EDU_SHARED, _BACKEND_INVALID, &p, &refusal);
    assert_non_null(strstr(refusal.remedy, "No rule helps"));
    w->all_obstacles = false;
    w->descendants = "a mediated device";
    expect_all(w, RULE(), DISK " " EDU,
            "HostCritical HostCritical HostCritical ResetUnsupported GroupNotViable HostCritical");
    w->descendants = NULL;
    /* A claimed device is not examined further, but the rule's terms are. */
    inventory_find_group(w->inventory, 2)->claim = &other;
    expect_all(w, RULE(",\"reason\":\"required\""), EDU_SHARED " " EDU,
            "DeviceClaimed ResetUnsupported ReasonRequired");
    expect_all(w, RULE(), EDU_SHARED, "DeviceClaimed");
    expect_all(w, RULE(), EDU_SHARED " " NO_IOMMU " 0000:00:1f.0", "NoSuchDevice DeviceClaimed NoIommuGroup");
}

/* If the policy denies the device, the caller learns nothing else. */
static void test_obstacles_of_a_stranger(void **state) {
    World *w = *state;
    Claim other = {.id = "0123456789abcdef", .uid = 7, .state = CLAIM_HELD};

    inventory_find_group(w->inventory, 2)->claim = &other;
    w->enable_count = 1;
    expect_all(w, "", EDU_SHARED " " PREPARED, "AccessDenied AccessDenied");
    expect_all(w, NULL, EDU_SHARED " " PREPARED, "PolicyBroken");
    expect_all(w,
            "{\"name\":\"r\",\"effect\":\"allow\",\"who\":{\"user\":1000},\"what\":{\"device\":\"" EDU "\"}}",
            EDU_SHARED " " PREPARED " " EDU, "AccessDenied AccessDenied ResetUnsupported");
}

/* The operator also learns what a rule for the denied devices would meet. */
static void test_obstacles_beyond_the_policy(void **state) {
    static const char deny[] = "{\"effect\":\"deny\",\"who\":{},\"what\":{\"device\":\"" EDU "\"}}";
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    World *w = *state;
    Claim other = {.id = "0123456789abcdef", .uid = 7, .state = CLAIM_HELD};

    w->beyond_policy = true;
    expect_all(w, "", NIC, "AccessDenied");
    expect_all(w, "", DISK, "AccessDenied HostCritical");
    expect_all(w, "", NO_IOMMU, "AccessDenied NoIommuGroup");
    expect_all(w, "", "template:x", "AccessDenied");
    expect_all(w, deny, EDU, "AccessDenied ResetUnsupported");
    expect_all(w, NULL, EDU, "PolicyBroken");
    w->request.memlock = 4096;
    expect_all(w, "", EDU_SHARED, "AccessDenied ResetUnsupported GroupNotViable LimitExceeded");
    w->request.memlock = 0;
    /* The rule for one device says nothing of the other. */
    expect_all(w,
            "{\"name\":\"r\",\"effect\":\"allow\",\"who\":{},\"what\":{\"device\":\"" EDU "\"}" OPTIONAL "}",
            EDU " " EDU_SHARED, "AccessDenied ResetUnsupported GroupNotViable");

    w->all_obstacles = true;
    w->request.memlock = 4096;
    assert_int_equal(plan(w, "", EDU_SHARED, _BACKEND_INVALID, &p, &refusal), VFIOD_ERROR_ACCESS_DENIED);
    assert_string_equal(refusal.obstacles[0].reason,
            "a rule by default requires a reset between owners, and the device has no reset method");
    assert_null(refusal.obstacles[0].rule);
    /* What would allow each loosens the policy, and the advice says that. */
    for (size_t i = 0; i < refusal.n_obstacles; i++) {
        const Refusal *o = &refusal.obstacles[i];

        assert_non_null(strstr(o->remedy ?: error_info(o->code)->remedy, "To loosen the policy, "));
    }
    w->request.memlock = 0;
    w->all_obstacles = false;

    inventory_find_group(w->inventory, 2)->claim = &other;
    w->enable_count = 1;
    expect_all(w, "", EDU_SHARED " " PREPARED, "AccessDenied AccessDenied DeviceClaimed GroupInUse");
}

static void expect_blockers(World *w, const char *rules, const char *devices, const char *blockers) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    _cleanup_strbuf_ StrBuf b = {};

    (void) plan(w, rules, devices, _BACKEND_INVALID, &p, &refusal);
    for (size_t i = 0; i < refusal.n_blockers; i++)
        strbuf_addf(&b, "%s%s %s: %s", i > 0 ? "; " : "", blocker_kind_to_string(refusal.blockers[i].kind),
                refusal.blockers[i].name, refusal.blockers[i].why);
    assert_string_equal(b.text ?: "", blockers);
}

static void test_blockers(void **state) {
    World *w = *state;
    Claim other = {.id = "0123456789abcdef", .uid = 7, .state = CLAIM_HELD};

    expect_blockers(w, "", EDU, "");
    expect_blockers(w, RULE(OPTIONAL), EDU_SHARED, "device pci:" NIC_SHARED ": driver e1000");
    expect_blockers(w, RULE(), DISK, "device pci:" DISK ": nvme0n1p1 is mounted on /srv");
    expect_blockers(w, RULE(), EDU, "rule r (f:1): its terms are not met");
    expect_blockers(w, "{\"name\":\"no\",\"effect\":\"deny\",\"who\":{\"user\":1000},\"what\":{}}", EDU,
            "rule no (f:1): denies it");
    inventory_find_group(w->inventory, 2)->claim = &other;
    expect_blockers(w, RULE(), EDU_SHARED, "claim 0123456789abcdef: uid 7, held");
}

/* The needs of a prepared device are known at once. */
static void test_need_is_foreseen(void **state) {
    _cleanup_(policy_freep) Policy *policy = compile(RULE());
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    World *w = *state;
    const FactSource source = {read_facts, read_kernel_facts, read_weakness, .userdata = w};
    _cleanup_(survey_done) Survey survey = {};
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    const PlanContext context = {.inventory = w->inventory, .policy = policy, .survey = &survey};

    assert_int_equal(request_add_device(&w->request, PREPARED, &refusal), 0);
    assert_int_equal(plan_need(&context, &w->request), 0);
    survey_take(&survey, &source, w->inventory, SURVEY_FACTS_SLEEPING);
    assert_int_equal(plan_build(&context, &w->request, &w->subject, &p, &refusal), 0);
}

#define TERMS                                                                                                \
    (RuleTerms) {                                                                                            \
        .backends = 1U << BACKEND_IOMMUFD | 1U << BACKEND_GROUP, .grants = 1U << GRANT_FD,                   \
        .tethers = TETHERS_DEFAULT, .reset = RESET_OPTIONAL, .limits = RULE_LIMITS_NONE                      \
    }

static void test_reason_and_taint(void **state) {
    RuleTerms terms = TERMS;
    World *w = *state;

    w->terms = &terms;
    terms.reason_required = true;
    expect(w, RULE(), EDU, _BACKEND_INVALID, VFIOD_ERROR_REASON_REQUIRED, NULL);
    (void) snprintf(w->request.reason, sizeof(w->request.reason), "ticket 7");
    expect(w, RULE(), EDU, _BACKEND_INVALID, _VFIOD_ERROR_INVALID, NULL);

    w->weakness = "vfio_iommu_type1.allow_unsafe_interrupts";
    expect(w, RULE(), EDU, _BACKEND_INVALID, _VFIOD_ERROR_INVALID, NULL); /* nobody requires it */
    w->request.untainted = true;
    expect(w, RULE(), EDU, _BACKEND_INVALID, VFIOD_ERROR_HOST_TAINTED, "allow_unsafe_interrupts");
    w->request.untainted = false;
    terms.untainted = true;
    expect(w, RULE(), EDU, _BACKEND_INVALID, VFIOD_ERROR_HOST_TAINTED, "allow_unsafe_interrupts");
    w->weakness = NULL;
    expect(w, RULE(), EDU, _BACKEND_INVALID, _VFIOD_ERROR_INVALID, NULL);
    w->weakness_error = -EIO; /* an unknown state counts as tainted */
    expect(w, RULE(), EDU, _BACKEND_INVALID, VFIOD_ERROR_HOST_TAINTED, "its taints are unknown");
}

static void plan_tether(World *w, TetherKind wanted, VfiodError code, const char *text, unsigned tethers) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    static const char rule[] = "{\"name\":\"r\",\"effect\":\"allow\",\"who\":{},\"what\":{}}";
    _cleanup_free_ char *message = NULL;

    w->request.tether = wanted;
    assert_int_equal(plan(w, rule, EDU, _BACKEND_INVALID, &p, &refusal), code);
    if ((int) code < 0) {
        assert_int_equal(p.tether, wanted);
        assert_int_equal(p.tethers, tethers);
        return;
    }
    message = refusal_format(&refusal);
    if (!strstr(message, text))
        fail_msg("%s", message);
}

static void test_tethers(void **state) {
    RuleTerms terms = TERMS;
    World *w = *state;

    w->terms = &terms;
    for (TetherKind t = 0; t < TETHER_EXPLICIT; t++)
        plan_tether(w, t, _VFIOD_ERROR_INVALID, NULL, TETHERS_DEFAULT);
    terms.tethers = 1U << TETHER_UNIT | 1U << TETHER_EXPLICIT;
    plan_tether(w, TETHER_UNIT, _VFIOD_ERROR_INVALID, NULL, terms.tethers);
    plan_tether(w, TETHER_PROCESS, VFIOD_ERROR_ACCESS_DENIED,
            "the rule does not allow the tether process [rule r (f:1)]. Request the tether unit. To "
            "loosen "
            "the policy, the operator can add \"process\" to \"tether\" of the rule.",
            0);
    /* The rule does not matter. */
    plan_tether(w, TETHER_EXPLICIT, VFIOD_ERROR_ACCESS_DENIED,
            "only root may have a claim with the tether explicit. Request the tether unit. No rule can allow",
            0);
    w->subject.uid = 0;
    plan_tether(w, TETHER_EXPLICIT, _VFIOD_ERROR_INVALID, NULL, terms.tethers);
    terms.tethers = TETHERS_DEFAULT;
    plan_tether(w, TETHER_EXPLICIT, VFIOD_ERROR_ACCESS_DENIED,
            "Request the tether lifeline, process, connection or unit. To loosen the policy, the operator "
            "can add \"explicit\"",
            0);
    /* The advice does not suggest what the caller could not have either. */
    terms.tethers = 1U << TETHER_EXPLICIT;
    w->subject.uid = 1000;
    plan_tether(w, TETHER_LIFELINE, VFIOD_ERROR_ACCESS_DENIED, "[rule r (f:1)]. To loosen the policy", 0);
}

static void plan_grant(World *w, GrantKind wanted, Backend backend, VfiodError code, const char *text) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    static const char rule[] = "{\"name\":\"r\",\"effect\":\"allow\",\"who\":{},\"what\":{}}";
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    _cleanup_free_ char *message = NULL;

    w->request.grant = wanted;
    assert_int_equal(plan(w, rule, PREPARED, backend, &p, &refusal), code);
    if ((int) code >= 0)
        message = refusal_format(&refusal);
    else
        assert_int_equal(p.grant, wanted);
    if (!strstr(message ?: p.exposes, text))
        fail_msg("%s", message ?: p.exposes);
}

static void test_grants(void **state) {
    RuleTerms terms = TERMS;
    World *w = *state;

    w->terms = &terms;
    w->describe = true;
    plan_grant(w, GRANT_FD, BACKEND_IOMMUFD, _VFIOD_ERROR_INVALID,
            "the opened /dev/iommu and /dev/vfio/devices/vfio0 go to the caller, who can pass them on");
    plan_grant(w, GRANT_NODE, BACKEND_IOMMUFD, VFIOD_ERROR_ACCESS_DENIED,
            "the rule does not allow the grant node [rule r (f:1)]. Request the grant fd. To loosen the "
            "policy, the operator can add \"node\" to \"grant\" of the rule.");
    terms.grants = 1U << GRANT_NODE | 1U << GRANT_NONE;
    plan_grant(w, GRANT_FD, BACKEND_IOMMUFD, VFIOD_ERROR_ACCESS_DENIED,
            "[rule r (f:1)]. To loosen the policy, the operator can add \"fd\" to \"grant\" of the rule.");
    plan_grant(w, GRANT_NODE, BACKEND_IOMMUFD, _VFIOD_ERROR_INVALID,
            "/dev/iommu and /dev/vfio/devices/vfio0 become usable by uid 1000, for every process of that uid "
            "and for as long as the claim lives");
    plan_grant(w, GRANT_NODE, BACKEND_GROUP, _VFIOD_ERROR_INVALID, "/dev/vfio/vfio and /dev/vfio/");
    plan_grant(w, GRANT_NONE, BACKEND_IOMMUFD, _VFIOD_ERROR_INVALID,
            "nothing is handed out; reserves the devices and binds them to their vfio driver");
    w->all_obstacles = true; /* the plan may have no member if it failed */
    w->terms = NULL;
    plan_grant(w, GRANT_FD, BACKEND_NOIOMMU, VFIOD_ERROR_BACKEND_UNAVAILABLE,
            "does not allow the backend noiommu");
}

/* ---- the vfio driver, and how it is reset ---- */

#define GPU "0000:08:00.0"
static const DeviceSnapshot gpu[] = {
        {.name = {.pci_bus = 8}, .vendor = 0x10de, .device = 0x2342, .group = 8, .vfio_index = -1},
        {.name = {.pci_bus = 8, .function = 1}, .vendor = 0x10de, .device = 1, .group = 9, .vfio_index = -1},
};

static void add_cards(World *w, const DeviceSnapshot *devices, size_t n) {
    for (size_t i = 0; i < n; i++) {
        Device *d;
        int old_group;

        assert_true(inventory_update(w->inventory, &devices[i], &d, &old_group) >= 0);
    }
}

static void expect_driver(World *w, const char *extra, const char *device, const char *driver,
        const char *module, const char *text) {
    _cleanup_free_ char *rule =
            format_string("{\"name\":\"r\",\"effect\":\"allow\",\"who\":{},\"what\":{}%s}", extra);
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan p = PLAN_NULL;

    assert_int_equal(plan(w, rule, device, BACKEND_IOMMUFD, &p, &refusal), _VFIOD_ERROR_INVALID);
    assert_string_equal(p.members[0].target_driver, driver);
    assert_string_equal(p.members[0].module, module);
    if (!streq_ptr(p.drivers, text))
        fail_msg("%s", p.drivers ?: "(nothing)");
}

static void test_vfio_driver(void **state) {
    static const char named[] = ",\"driver\":\"igb-vfio-pci\"", generic[] = ",\"driver\":\"vfio-pci\"";
    World *w = *state;

    w->describe = true;
    add_cards(w, gpu, 1);
    expect_driver(w, "", NIC, "vfio-pci", "",
            "pci:" NIC ": vfio-pci: whether this kernel has a more specific driver is unknown");
    w->variant = "";
    expect_driver(w, "", NIC, "vfio-pci", "",
            "pci:" NIC ": vfio-pci: this kernel has no more specific driver for it");
    expect_driver(w, "", GPU, "vfio-pci", "",
            "pci:" GPU
            ": vfio-pci: nvgrace_gpu_vfio_pci would be better (the memory of the GPU), and this kernel "
            "does not have the module");
    w->variant = "mlx5_vfio_pci";
    expect_driver(w, "", NIC, "mlx5_vfio_pci", "mlx5_vfio_pci",
            "pci:" NIC
            ": mlx5_vfio_pci: the most specific vfio driver of this kernel for it (live migration)");
    expect_driver(
            w, named, NIC, "igb-vfio-pci", "igb_vfio_pci", "pci:" NIC ": igb-vfio-pci: its rule names it");
    expect_driver(w, generic, NIC, "vfio-pci", "", "pci:" NIC ": vfio-pci: its rule names it");
    w->variant = "of_others";
    expect_driver(w, "", NIC, "of_others", "of_others",
            "pci:" NIC ": of_others: the most specific vfio driver of this kernel for it");
    w->variant_blocked = true;
    expect_driver(w, "", NIC, "vfio-pci", "",
            "pci:" NIC ": vfio-pci: the more specific of_others is blacklisted in modprobe.d");

    /* A device on a vfio driver stays there: a rule that names another one refuses it. */
    expect_driver(w, "", PREPARED, "vfio-pci", "", "pci:" PREPARED ": vfio-pci: it is bound to it already");
    expect_driver(w, generic, PREPARED, "vfio-pci", "", "pci:" PREPARED ": vfio-pci: its rule names it");
    expect(w, RULE(",\"driver\":\"mlx5_vfio_pci\""), PREPARED, BACKEND_IOMMUFD,
            VFIOD_ERROR_REQUIREMENT_NOT_MET,
            "its rule names the driver mlx5_vfio_pci, and it is bound to vfio-pci");

    /* A parked sibling needs no variant driver. */
    w->variant_blocked = false;
    {
        _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
        _cleanup_(plan_done) Plan p = PLAN_NULL;

        assert_int_equal(plan(w, RULE(OPTIONAL ",\"siblings\":\"park\",\"driver\":\"igb-vfio-pci\""),
                                 EDU_SHARED, BACKEND_IOMMUFD, &p, &refusal),
                _VFIOD_ERROR_INVALID);
        assert_string_equal(p.members[0].target_driver, "igb-vfio-pci");
        for (size_t i = 1; i < p.n_members; i++)
            assert_true(p.members[i].disposition != DISPOSITION_PARK ||
                    (streq(p.members[i].target_driver, "vfio-pci") && !p.members[i].module[0]));
    }
}

static void expect_reset(World *w, const char *devices, const char *text) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_(plan_done) Plan p = PLAN_NULL;

    assert_int_equal(plan(w, RULE(OPTIONAL), devices, BACKEND_IOMMUFD, &p, &refusal), _VFIOD_ERROR_INVALID);
    if (!streq_ptr(p.resets, text))
        fail_msg("%s", p.resets ?: "(nothing)");
}

static void test_reset_in_words(void **state) {
    World *w = *state;

    w->describe = true;
    add_cards(w, gpu, 2);
    expect_reset(w, EDU, "pci:" EDU ": not at all, it has no reset method");
    expect_reset(w, NIC,
            "pci:" NIC
            ": by a reset of the function (flr), which reaches it alone, as does a reset of its bus by the "
            "program that has it");
    expect_reset(w, GPU,
            "pci:" GPU
            ": by a reset of the function (flr), which reaches it alone; a reset of its bus would also "
            "reach pci:0000:08:00.1, so the kernel refuses that to the program");
    expect_reset(w, GPU " 0000:08:00.1",
            "pci:" GPU
            ": by a reset of the function (flr), which reaches it alone; a reset of its bus would also "
            "reach pci:0000:08:00.1, which the claim has, too\n"
            "pci:0000:08:00.1: by a reset of the function (flr), which reaches it alone; a reset of its bus "
            "would "
            "also reach pci:" GPU ", which the claim has, too");
}

/* Another card at a known place is refused, and the message shows what differs. */
static void test_changed(void **state) {
    static const char rule[] = "{\"name\":\"r\",\"effect\":\"allow\",\"who\":{\"user\":1000},"
                               "\"what\":{\"tag\":\"card\"}}";
    static const char stranger[] = "{\"name\":\"r\",\"effect\":\"allow\",\"who\":{\"user\":1001},"
                                   "\"what\":{\"tag\":\"card\"}}";
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    _cleanup_free_ char *text = NULL;
    World *w = *state;
    _cleanup_(plan_done) Plan p = PLAN_NULL;

    tags = "\"tags\":{\"card\":{\"slot\":\"" NIC "\",\"id\":\"8086:10d3\","
           "\"serial\":\"00-1b-21-ff-ff-a1-b2-c3\"}},";
    w->serial = "00-1b-21-ff-ff-a1-b2-c3";
    expect(w, rule, NIC, _BACKEND_INVALID, _VFIOD_ERROR_INVALID, NULL);
    expect(w, stranger, NIC, _BACKEND_INVALID, VFIOD_ERROR_ACCESS_DENIED, "no rule");
    w->serial = "00-1b-21-ff-ff-00-00-01";
    assert_int_equal(plan(w, rule, NIC, _BACKEND_INVALID, &p, &refusal), VFIOD_ERROR_DEVICE_CHANGED);
    text = refusal_format(&refusal);
    if (!strstr(text, "00-1b-21-ff-ff-a1-b2-c3") || !strstr(text, "00-1b-21-ff-ff-00-00-01"))
        fail_msg("%s", text);
    expect(w, stranger, NIC, _BACKEND_INVALID, VFIOD_ERROR_ACCESS_DENIED, "no rule");
    w->serial = NULL; /* an unread serial number does not differ */
    expect(w, rule, NIC, _BACKEND_INVALID, VFIOD_ERROR_ACCESS_DENIED, "no rule");
    tags = "";
}

static void test_memlock(void **state) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    RuleTerms terms = TERMS;
    World *w = *state;
    _cleanup_(plan_done) Plan p = PLAN_NULL;

    w->terms = &terms;
    w->request.memlock = UINT64_C(2) << 30;
    expect(w, RULE(), EDU, _BACKEND_INVALID, VFIOD_ERROR_LIMIT_EXCEEDED, "; 2G was requested");
    terms.memlock_max = UINT64_C(1) << 30;
    expect(w, RULE(), EDU, _BACKEND_INVALID, VFIOD_ERROR_LIMIT_EXCEEDED, "to 1G at most");
    terms.memlock_max = UINT64_C(2) << 30;
    assert_int_equal(plan(w, RULE(), EDU, _BACKEND_INVALID, &p, &refusal), _VFIOD_ERROR_INVALID);
    assert_int_equal(p.memlock, UINT64_C(2) << 30);

    /* Of two rules the smaller limit counts. */
    expect(w,
            "{\"effect\":\"allow\",\"who\":{},\"what\":{\"id\":\"1234:11e8\"}}," RULE(
                    ",\"reset\":\"optional\""),
            EDU " " NIC, _BACKEND_INVALID, VFIOD_ERROR_LIMIT_EXCEEDED,
            "does not let vfiod raise the locked-memory limit");
}

static void test_limits(void **state) {
    const struct {
        RuleLimits limits;
        RuleUsage usage;
        const char *says; /* NULL: it fits */
    } cases[] = {
            {{.claims = 2}, {.claims = 1}, NULL},
            {{.claims = 2}, {.claims = 2}, "\"claims\" is 2: 2 in use, and"},
            {{.devices = 3}, {.devices = 1}, NULL},
            {{.devices = 3}, {.devices = 2}, "\"devices\" is 3: 2 in use, and the request needs 2 more"},
            {{.devices = 1}, {}, "\"devices\" is 1: 0 in use"},
            {{.claims_per_user = 1}, {.claims = 7}, NULL},
            {{.claims_per_user = 1}, {.claims_of_user = 1}, "\"claims-per-user\" is 1: 1 in use by uid 1000"},
            {{.devices_per_user = 2}, {.devices = 7}, NULL},
            {{.devices_per_user = 2}, {.devices_of_user = 1}, "\"devices-per-user\" is 2"},
            {{.pinned = 3 << 20}, {.pinned = 2 << 20}, NULL},
            {{.pinned = 3 << 20}, {.pinned = 3 << 20},
                    "\"pinned\" is 3M: 3M in use, and the request needs 1M more"},
            {{.pinned = 3 << 20}, {.pinned = 3 << 20, .pinned_spare = 1 << 20}, NULL},
            {{.pinned = LIMIT_NONE - 1}, {.pinned = UINT64_MAX}, "\"pinned\""},
    };
    RuleTerms terms = TERMS;
    World *w = *state;

    w->terms = &terms;
    w->request.memlock = 1 << 20;
    terms.memlock_max = 1 << 20;
    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        const RuleLimits *l = &cases[i].limits;

        terms.limits = (RuleLimits){
                l->claims ?: LIMIT_NONE,
                l->devices ?: LIMIT_NONE,
                l->claims_per_user ?: LIMIT_NONE,
                l->devices_per_user ?: LIMIT_NONE,
                l->pinned ?: LIMIT_NONE,
        };
        w->usage = cases[i].usage;
        expect(w, RULE(), EDU " " NIC, _BACKEND_INVALID,
                cases[i].says ? VFIOD_ERROR_LIMIT_EXCEEDED : _VFIOD_ERROR_INVALID, cases[i].says);
    }
}

static void test_charges(void **state) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    World *w = *state;
    _cleanup_(plan_done) Plan p = PLAN_NULL;

    assert_int_equal(
            plan(w, RULE(OPTIONAL), EDU " " NIC, _BACKEND_INVALID, &p, &refusal), _VFIOD_ERROR_INVALID);
    assert_int_equal(p.n_charges, 1);
    assert_int_equal(p.charges[0].devices, 2);

    /* A sibling that the client can open counts by its own rule as well. */
    assert_int_equal(
            plan(w, RULE(OPTIONAL ",\"siblings\":\"park\""), EDU_SHARED, BACKEND_GROUP, &p, &refusal),
            _VFIOD_ERROR_INVALID);
    assert_int_equal(p.n_charges, 1);
    assert_int_equal(p.charges[0].devices, 2);
}

static void test_ask_and_host_critical(void **state) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    RuleTerms terms = TERMS;
    DeviceSnapshot disk = host[6];
    World *w = *state;
    int old_group;
    Device *d;
    _cleanup_(plan_done) Plan p = PLAN_NULL;

    assert_int_equal(plan(w, RULE(), NIC, _BACKEND_INVALID, &p, &refusal), _VFIOD_ERROR_INVALID);
    assert_false(p.ask);
    assert_int_equal(
            plan(w, "{\"effect\":\"ask\",\"who\":{},\"what\":{}}", NIC, _BACKEND_INVALID, &p, &refusal),
            _VFIOD_ERROR_INVALID);
    assert_true(p.ask);
    /* Whether the subject is in that unit is unknown, so authentication is for the rule that allows. */
    assert_int_equal(plan(w, "{\"effect\":\"ask\",\"who\":{\"unit\":\"a.service\"},\"what\":{}}," RULE(), NIC,
                             _BACKEND_INVALID, &p, &refusal),
            _VFIOD_ERROR_INVALID);
    assert_true(p.ask);
    assert_string_equal(p.charges[0].rule, "r");

    w->terms = &terms;
    terms.host_critical = HOST_CRITICAL_ALLOW;
    expect(w, RULE(), DISK, _BACKEND_INVALID, _VFIOD_ERROR_INVALID, NULL);

    /* The rule of the claimed device covers a parked sibling, unless the client could open that too. */
    disk.group = 2;
    assert_true(inventory_update(w->inventory, &disk, &d, &old_group) >= 0);
    terms.siblings = SIBLINGS_PARK;
    expect(w, RULE(), EDU_SHARED, _BACKEND_INVALID, _VFIOD_ERROR_INVALID, NULL);
    expect(w,
            "{\"name\":\"r\",\"effect\":\"allow\",\"who\":{},\"what\":{\"id\":\"1234:11e8\"}},"
            "{\"name\":\"other\",\"effect\":\"allow\",\"who\":{},\"what\":{},\"reset\":\"optional\"}",
            EDU_SHARED, BACKEND_GROUP, VFIOD_ERROR_HOST_CRITICAL, "/srv");
    /* Of two rules in a group the stricter one counts. */
    expect(w,
            "{\"name\":\"r\",\"effect\":\"allow\",\"who\":{},\"what\":{\"id\":\"1234:11e8\"}},"
            "{\"name\":\"other\",\"effect\":\"allow\",\"who\":{},\"what\":{},\"reset\":\"optional\","
            "\"siblings\":\"park\"}",
            EDU_SHARED " " NIC_SHARED, _BACKEND_INVALID, VFIOD_ERROR_HOST_CRITICAL, "/srv");
}

static void test_noiommu(void **state) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    RuleTerms terms = TERMS;
    World *w = *state;
    _cleanup_(plan_done) Plan p = PLAN_NULL;

    w->terms = &terms;
    expect(w, RULE(), NO_IOMMU, BACKEND_NOIOMMU, VFIOD_ERROR_BACKEND_UNAVAILABLE, "the rule does not allow");
    terms.backends |= 1U << BACKEND_NOIOMMU;
    terms.noiommu_reason = (char *) "no IOMMU in this machine";
    expect(w, RULE(), NO_IOMMU, BACKEND_NOIOMMU, VFIOD_ERROR_NOIOMMU_DISABLED, "host setting");
    w->host.noiommu = NOIOMMU_ON;
    expect(w, RULE(), NO_IOMMU, BACKEND_NOIOMMU, VFIOD_ERROR_CAPABILITY_REQUIRED, "capabilities are unknown");
    w->subject.capabilities_known = true;
    w->subject.capabilities = UINT64_MAX;
    w->subject.user_namespace = NAMESPACE_OTHER;
    expect(w, RULE(), NO_IOMMU, BACKEND_NOIOMMU, VFIOD_ERROR_CAPABILITY_REQUIRED, "namespace");
    w->subject.user_namespace = NAMESPACE_HOST;
    w->subject.capabilities = ~(UINT64_C(1) << 17);
    expect(w, RULE(), NO_IOMMU, BACKEND_NOIOMMU, VFIOD_ERROR_CAPABILITY_REQUIRED, "CAP_SYS_RAWIO");
    w->subject.capabilities = UINT64_C(1) << 17;
    expect(w, RULE(), NO_IOMMU, BACKEND_NOIOMMU, VFIOD_ERROR_BACKEND_UNAVAILABLE, "not loaded");
    kernel.noiommu_support = true;
    expect(w, RULE(), NO_IOMMU, BACKEND_NOIOMMU, VFIOD_ERROR_NOIOMMU_DISABLED, "parameter");
    w->host.noiommu = NOIOMMU_MANAGED;
    expect(w, RULE(), NO_IOMMU, BACKEND_NOIOMMU, _VFIOD_ERROR_INVALID, NULL);
    w->host.noiommu = NOIOMMU_ON;
    kernel.noiommu_enabled = true;
    expect(w, RULE(), NO_IOMMU, BACKEND_NOIOMMU, _VFIOD_ERROR_INVALID, NULL);
    kernel.lockdown = true;
    expect(w, RULE(), NO_IOMMU, BACKEND_NOIOMMU, VFIOD_ERROR_NOIOMMU_DISABLED, "locked down");
    kernel.lockdown = false;

    /* A device without an IOMMU must be named, is claimed alone, and never on a host that must be
     * untainted. */
    assert_int_equal(plan(w, RULE(), NO_IOMMU, _BACKEND_INVALID, &p, &refusal), VFIOD_ERROR_NO_IOMMU_GROUP);
    assert_non_null(strstr(refusal.remedy, "noiommu"));
    refusal_done(&refusal);
    expect(w, RULE(), NIC, BACKEND_NOIOMMU, VFIOD_ERROR_BACKEND_UNAVAILABLE, "IOMMU group 4");
    expect(w, RULE(), NO_IOMMU " " NIC, BACKEND_NOIOMMU, VFIOD_ERROR_INVALID_ARGUMENT,
            "must be claimed alone");
    w->request.untainted = true;
    expect(w, RULE(), NO_IOMMU, BACKEND_NOIOMMU, VFIOD_ERROR_HOST_TAINTED, "itself taints it");
    w->request.untainted = false;

    w->subject.capabilities = 0;
    terms.waive_sys_rawio = true;
    assert_int_equal(plan(w, RULE(), NO_IOMMU, BACKEND_NOIOMMU, &p, &refusal), _VFIOD_ERROR_INVALID);
    assert_int_equal(p.backend, BACKEND_NOIOMMU);
    assert_int_equal(p.n_groups, 0);
    assert_int_equal(p.n_members, 1);
    assert_int_equal(p.members[0].group, -1);
    assert_true(p.members[0].bind);
    assert_string_equal(p.noiommu_reason, "no IOMMU in this machine");
}

static void make_claim(World *w, Claim *c) {
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;

    *c = CLAIM_NULL;
    assert_int_equal(plan(w, RULE(",\"siblings\":\"park\"" OPTIONAL), EDU_SHARED " " NIC, _BACKEND_INVALID,
                             &c->plan, &refusal),
            _VFIOD_ERROR_INVALID);
    (void) snprintf(c->id, sizeof(c->id), "0123456789abcdef");
    (void) snprintf(c->lifeline, sizeof(c->lifeline), "fedcba9876543210");
    c->state = CLAIM_HELD;
    c->uid = 1000;
    c->pid = 4321;
    c->command = strdup("a \"quoted\" \xc3\xbc");
    c->since_usec = UINT64_C(1790000000000000);
    c->subject.uid = 1000;
    c->subject.pid = 4321;
    c->subject.gids = malloc(2 * sizeof(gid_t));
    assert_non_null(c->subject.gids);
    c->subject.gids[0] = 1000;
    c->subject.gids[1] = UINT32_MAX;
    c->subject.n_gids = 2;
    c->subject.cgroup = strdup("/user.slice");
    c->subject.scope = strdup("ci");
    c->subject.capabilities = UINT64_MAX - 1;
    c->subject.capabilities_unsure = 1;
    c->subject.capabilities_known = true;
    c->subject.user_namespace = NAMESPACE_OTHER;
}

static void test_a_record_of_a_sibling_without_a_driver(void **state) {
    static const char *const edits[][2] = {
            {"\"bind\":false,\"kept\":true", "\"bind\":true ,\"kept\":true"},
            {"\"targetDriver\":\"vfiod-parked\"", "\"targetDriver\":\"vfio-pci\""},
            {"\"targetDriver\":\"vfiod-parked\",\"originalDriver\":\"\"",
                    "\"targetDriver\":\"vfiod-parked\",\"originalDriver\":\"e1000\""},
    };
    _cleanup_(claim_done) Claim c = CLAIM_NULL, back = CLAIM_NULL;
    const Device *d;
    World *w = *state;
    _cleanup_free_ char *text = NULL;
    DeviceName name;
    PlanMember *m;
    size_t n;

    make_claim(w, &c);
    assert_int_equal(device_name_parse(NO_IOMMU, &name), 0);
    d = inventory_find_device(w->inventory, &name);
    m = plan_add_late_sibling(&c.plan,
            &(Device){.name = d->name,
                    .vendor = d->vendor,
                    .device = d->device,
                    .group = inventory_find_group(w->inventory, 2)});
    assert_non_null(m);
    n = c.plan.n_members;
    /* another device at its place */
    assert_ptr_equal(plan_add_late_sibling(&c.plan,
                             &(Device){.name = d->name,
                                     .vendor = d->vendor,
                                     .device = 0x4711,
                                     .group = inventory_find_group(w->inventory, 2)}),
            m);
    assert_int_equal(c.plan.n_members, n);
    assert_int_equal(m->device, 0x4711);
    text = claim_to_record(&c, "boot");
    assert_non_null(text);
    assert_int_equal(claim_from_record(text, strlen(text), "boot", &back, NULL), 0);
    m = &back.plan.members[back.plan.n_members - 1];
    assert_true(m->kept && m->came && !m->bind);
    assert_string_equal(m->target_driver, OVERRIDE_PARKED);
    for (size_t i = 0; i < ELEMENTSOF(edits); i++) {
        const char *at = strstr(text, edits[i][0]);
        _cleanup_free_ char *edited = NULL;
        Claim bad = CLAIM_NULL;

        assert_non_null(at);
        edited = format_string("%.*s%s%s", (int) (at - text), text, edits[i][1], at + strlen(edits[i][0]));
        assert_int_equal(claim_from_record(edited, strlen(edited), "boot", &bad, NULL), -EBADMSG);
    }
}

/* The memory of each claim. A typical claim has one device and one rule. */
static void test_size_of_a_claim(void **state) {
    _cleanup_(claim_done) Claim c = CLAIM_NULL;

    assert_non_null(plan_add_member(&c.plan));
    assert_non_null(plan_add_charge(&c.plan));
    assert_true(sizeof(c) + malloc_usable_size(c.plan.members) + malloc_usable_size(c.plan.charges) <= 4096);
    while (c.plan.n_members < PLAN_MEMBERS_MAX) {
        PlanMember *m = plan_add_member(&c.plan);

        assert_non_null(m);
        m->group = (int) c.plan.n_members;
    }
    assert_null(plan_add_member(&c.plan));
    for (size_t i = 1; i < PLAN_MEMBERS_MAX; i++)
        assert_int_equal(c.plan.members[i].group, i + 1);
}

static void test_record_round_trip(void **state) {
    _cleanup_(claim_done) Claim c = CLAIM_NULL, back = CLAIM_NULL;
    _cleanup_free_ char *text = NULL, *again = NULL;

    make_claim(*state, &c);
    assert_int_equal(claim_resume_state(&c), RESUME_NONE);
    c.plan.members[0].lost = MEMBER_FAILURE_POWER;
    put_text(c.plan.members[0].lost_seen, sizeof(c.plan.members[0].lost_seen), "its power state is error");
    c.plan.members[0].unchecked = true;
    c.plan.members[0].restore_d3cold = true;
    c.plan.hold.d3cold = true;
    text = claim_to_record(&c, "boot");
    assert_non_null(text);
    assert_int_equal(claim_from_record(text, strlen(text), "boot", &back, NULL), 0);
    assert_int_equal(back.plan.n_members, c.plan.n_members);
    assert_int_equal(claim_resume_state(&back), RESUME_FAILED);
    assert_string_equal(back.plan.members[0].lost_seen, "its power state is error");
    assert_false(back.plan.members[0].unchecked);
    assert_true(back.plan.members[0].restore_d3cold && !back.plan.members[1].restore_d3cold);
    assert_true(back.plan.hold.d3cold);
    assert_non_null(strstr(text, "\"version\":2")); /* an older vfiod accepts it */
    back.resume = RESUME_CHECKING;
    assert_int_equal(claim_resume_state(&back), RESUME_CHECKING);
    assert_string_equal(back.plan.members[1].original_override, "mine");
    assert_int_equal(back.subject.uid, 1000);
    assert_int_equal(back.subject.gids[1], UINT32_MAX);
    assert_string_equal(back.subject.cgroup, "/user.slice");
    assert_string_equal(claim_lifeline(&back), "fedcba9876543210");
    assert_null(back.subject.label);
    assert_string_equal(back.subject.scope, "ci");
    assert_true(back.subject.capabilities_known);
    assert_true(back.subject.capabilities == UINT64_MAX - 1);
    assert_int_equal(back.subject.capabilities_unsure, 1);
    assert_int_equal(back.subject.user_namespace, NAMESPACE_OTHER);
    again = claim_to_record(&back, "boot");
    assert_string_equal(text, again);

    claim_done(&back);
    assert_int_equal(claim_from_record(text, strlen(text), "other boot", &back, NULL), -ESTALE);
}

/* Before the device is created it has no group. */
static void test_record_of_a_made_device(void **state) {
    static const struct {
        const char *from, *to;
    } edits[] = {
            {"\"name\":\"mdev:" UUID, "\"name\":\"pci:0000:04:00.0"},
            {"\"parent\":\"mtty", "\"parent\":\"../mtty"}, {"\"parent\":\"mtty\"", "\"parent\":\"\""},
            {"\"mediatedType\":\"mtty-2", "\"mediatedType\":\"mtty/2"},
            {"\"mediatedType\":\"mtty-2\"", "\"mediatedType\":\"\""}, /* then it needs a group */
    };
    _cleanup_(claim_done) Claim c = CLAIM_NULL, back = CLAIM_NULL;
    _cleanup_free_ char *text = NULL;
    PlanMember *m;

    make_claim(*state, &c);
    while (c.plan.n_members > 1)
        c.plan.n_members--;
    c.plan.n_claimed = 1;
    c.plan.n_groups = 0;
    m = &c.plan.members[0];
    *m = (PlanMember){.disposition = DISPOSITION_CLAIM, .group = -1, .progress = MEMBER_BOUND};
    assert_int_equal(device_name_parse(UUID, &m->name), 0);
    strcpy(m->made.parent, "mtty");
    strcpy(m->made.type, "mtty-2");
    strcpy(m->made.template, "serial");
    text = claim_to_record(&c, "boot");
    assert_non_null(text);
    assert_int_equal(claim_from_record(text, strlen(text), "boot", &back, NULL), 0);
    assert_memory_equal(&back.plan.members[0].made, &m->made, sizeof(m->made));
    assert_non_null(strstr(text, "\"version\":3")); /* an older vfiod would not remove the device */
    assert_true(plan_member_is_changed(&back.plan.members[0]));
    for (size_t i = 0; i < ELEMENTSOF(edits); i++) {
        const char *at = strstr(text, edits[i].from);
        _cleanup_free_ char *edited = NULL;
        Claim bad = CLAIM_NULL;

        assert_non_null(at);
        edited = format_string("%.*s%s%s", (int) (at - text), text, edits[i].to, at + strlen(edits[i].from));
        assert_int_equal(claim_from_record(edited, strlen(edited), "boot", &bad, NULL), -EBADMSG);
    }
}

/* A reservation has no UUID yet. Every other device of a template has one. */
static void test_record_of_a_reserved_template(void **state) {
    static const struct {
        const char *from, *to;
    } edits[] = {
            {"\"state\":\"reserved\"", "\"state\":\"held\""},
            {"\"state\":\"reserved\"", "\"state\":\"quarantined\""},
            {"\"mediatedType\":\"mtty-2\"", "\"mediatedType\":\"\""},
            {"\"ticket\":", "\"tacket\":"},
    };
    _cleanup_(claim_done) Claim c = CLAIM_NULL, back = CLAIM_NULL;
    _cleanup_free_ char *text = NULL;
    PlanMember *m;

    make_claim(*state, &c);
    c.state = CLAIM_RESERVED;
    strcpy(c.ticket, "0123456789abcdef0123456789abcdef");
    c.plan.n_members = c.plan.n_claimed = 1;
    c.plan.n_groups = 0;
    m = &c.plan.members[0];
    *m = (PlanMember){.disposition = DISPOSITION_CLAIM, .group = -1};
    assert_int_equal(device_name_parse("template:serial", &m->name), 0);
    strcpy(m->made.parent, "mtty");
    strcpy(m->made.type, "mtty-2");
    strcpy(m->made.template, "serial");
    text = claim_to_record(&c, "boot");
    assert_non_null(text);
    assert_int_equal(claim_from_record(text, strlen(text), "boot", &back, NULL), 0);
    assert_int_equal(device_name_compare(&back.plan.members[0].name, &m->name), 0);
    for (size_t i = 0; i < ELEMENTSOF(edits); i++) {
        const char *at = strstr(text, edits[i].from);
        _cleanup_free_ char *edited = NULL;
        Claim bad = CLAIM_NULL;

        assert_non_null(at);
        edited = format_string("%.*s%s%s", (int) (at - text), text, edits[i].to, at + strlen(edits[i].from));
        assert_int_equal(claim_from_record(edited, strlen(edited), "boot", &bad, NULL), -EBADMSG);
    }
}

/* A record that is cut anywhere, or has one value of a wrong kind, is refused as a whole. */
static void test_record_damage(void **state) {
    static const struct {
        const char *from, *to;
    } edits[] = {
            {"\"version\":2", "\"version\":1"},
            {"\"id\":\"0123456789abcdef\"", "\"id\":\"../../../../etc/a\""},
            {"\"state\":\"held\"", "\"state\":\"free\""},
            {"\"lifeline\":\"fedcba9876543210\"", "\"lifeline\":\"node-watch\""},
            {"\"uid\":1000", "\"uid\":-1"},
            {"\"uid\":1000", "\"uid\":\"1000\""},
            {"\"pid\":4321", "\"pid\":4321.5"},
            {"\"backend\":\"iommufd\"", "\"backend\":\"vdpa\""},
            {"\"disposition\":\"claim\"", "\"disposition\":\"park\""},
            {"\"name\":\"pci:0000:03:02.0\"", "\"name\":\"pci:0000:03:02.8\""},
            {"\"vendor\":4660", "\"vendor\":65536"},
            {"\"resetMethods\":[]", "\"resetMethods\":[\"magic\"]"},
            {"\"resetMethods\":[]", "\"resetMethods\":[null]"},
            {"\"groups\":[", "\"groups\":[-1,"},
            {"\"groups\":[", "\"groups\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,"},
            {"\"bind\":true", "\"bind\":1"},
            {"\"memlock\":0", "\"memlock\":-1"},
            {"\"gids\":[", "\"gids\":[-1,"},
            {"\"gids\":[", "\"gids\":[\"1\","},
            {"\"gids\":", "\"gidz\":"},
            {"\"userNamespace\":\"other\"", "\"userNamespace\":\"mine\""},
            {"\"capabilities\":", "\"capabilities\":\"all\",\"x\":"},
            {"\"cgroup\":", "\"cgroup\":7,\"x\":"},
            {"\"charges\":[", "\"charges\":[7,"},
            {"\"devices\":2", "\"devices\":0"},
            {"\"group\":2", "\"group\":-2"},
            {"\"originalDriver\":\"e1000\"", "\"originalDriver\":\"e1000\\u0000x\""},
            {"\"originalDriver\":\"e1000\"",
                    "\"originalDriver\":"
                    "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\""},
    };
    _cleanup_(claim_done) Claim c = CLAIM_NULL, back = CLAIM_NULL;
    _cleanup_free_ char *text = NULL;

    make_claim(*state, &c);
    text = claim_to_record(&c, "boot");
    for (size_t n = 0; n < strlen(text); n++)
        assert_int_equal(claim_from_record(text, n, "boot", &back, NULL), -EBADMSG);
    for (size_t i = 0; i < ELEMENTSOF(edits); i++) {
        const char *at = strstr(text, edits[i].from);
        _cleanup_free_ char *bad = NULL;

        if (!at)
            fail_msg("%s is not in %s", edits[i].from, text);
        bad = format_string("%.*s%s%s", (int) (at - text), text, edits[i].to, at + strlen(edits[i].from));
        if (claim_from_record(bad, strlen(bad), "boot", &back, NULL) != -EBADMSG)
            fail_msg("%s was taken", edits[i].to);
    }
}

/* A quarantine keeps the bad devices, parked ones included, and their groups. */
static void test_keep_bad(void **state) {
    _cleanup_(plan_done) Plan p = PLAN_NULL;
    const Disposition dispositions[] = {
            DISPOSITION_CLAIM, DISPOSITION_CLAIM, DISPOSITION_PARK, DISPOSITION_NONE_NEEDED};

    for (size_t i = 0; i < ELEMENTSOF(dispositions); i++) {
        PlanMember *m = plan_add_member(&p);

        assert_non_null(m);
        *m = (PlanMember){.group = (int) i / 2, .disposition = dispositions[i], .vendor = (uint16_t) i};
        assert_int_equal(plan_member_is_moved(m), i < 3);
    }
    p.n_claimed = 2;
    p.groups[0] = 0;
    p.groups[1] = 1;
    p.n_groups = 2;
    assert_false(plan_has_bad(&p));
    p.members[2].progress = MEMBER_BAD;
    assert_true(plan_has_bad(&p));
    plan_keep_bad(&p);
    assert_int_equal(p.n_members, 1);
    assert_int_equal(p.n_claimed, 1);
    assert_int_equal(p.members[0].vendor, 2);
    assert_int_equal(p.members[0].disposition, DISPOSITION_CLAIM);
    assert_int_equal(p.n_groups, 1);
    assert_int_equal(p.groups[0], 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_host_critical_sibling, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_bridge_on_a_host_driver, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_in_use, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_claimed, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_virtual_functions, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_number_of_virtual_functions, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_devices_of_a_domain, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_other_descendants, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_claimed_parent, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_direct_region, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_backends, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_vdpa, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_mdev, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_platform, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_native, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_sibling_without_a_driver, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_record_of_a_sibling_without_a_driver, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_sibling_without_a_vfio_driver, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_changing_functions, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_kinds_that_are_only_shown, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_record_of_vdpa, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_plan_of_a_shared_group, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_idle_ports_are_not_counted, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_remedies, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_descendants_of_a_sibling, set_up, tear_down),
            cmocka_unit_test(test_remedies_of_uses),
            cmocka_unit_test_setup_teardown(test_group_backend_exposes_siblings, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_exposed_siblings_are_reset, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_plan_of_prepared_and_whole_groups, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_plan_waits_for_facts, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_need_is_foreseen, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_reason_and_taint, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_tethers, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_vfio_driver, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_reset_in_words, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_grants, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_changed, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_memlock, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_charges, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_ask_and_host_critical, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_noiommu, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_all_obstacles, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_obstacles_of_a_stranger, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_obstacles_beyond_the_policy, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_blockers, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_size_of_a_claim, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_template, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_parent_of_a_template, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_promised_instances, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_record_of_a_made_device, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_record_of_a_reserved_template, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_record_round_trip, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_record_damage, set_up, tear_down),
            cmocka_unit_test(test_keep_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
