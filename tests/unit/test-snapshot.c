/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "base/str.h"
#include "policy/parse.h"
#include "core/record.h"
#include "core/snapshot.h"

/* ---- A host, and its document ---- */

typedef struct Fixture {
    DeviceSnapshot device;
    DeviceFacts facts;
} Fixture;

#define KNOWN_ALL .known = DEVICE_FACT_ALL
static char *properties[] = {(char *) "ID_PATH=pci-0000:04:00.0", (char *) "ID_SERIAL_SHORT=abc", NULL};

/* A NIC alone, one on its vfio driver, an edu and a NIC behind one bridge, a mounted disk, one without IOMMU,
 * and one that was mostly unreadable. */
static const Fixture fixtures[] = {
        {{.name = {.pci_bus = 4},
                 .vendor = 0x8086,
                 .device = 0x10d3,
                 .subsystem_vendor = 0x1af4,
                 .subsystem_device = 0x1100,
                 .class_code = 0x020000,
                 .revision = 3,
                 .group = 4,
                 .driver = "e1000e",
                 .vfio_index = -1},
                {KNOWN_ALL, .numa_node = 1, .reset_methods = 1 << RESET_METHOD_FLR | 1 << RESET_METHOD_BUS,
                        .driver_override = "mine", .removable = REMOVABLE_FIXED, .enable_count = 1,
                        .acs = ACS_COMPLETE, .slot_path = "0000:00:1c.0/00.0",
                        .serial = "00-1b-21-ff-ff-a1-b2-c3", .properties = properties}},
        {{.name = {.pci_bus = 5},
                 .vendor = 0x8086,
                 .device = 0x10d3,
                 .class_code = 0x020000,
                 .group = 5,
                 .driver = "vfio-pci",
                 .vfio_index = 7,
                 .vfio_rdev = 0x1234},
                {KNOWN_ALL, .numa_node = -1, .reset_methods = 1 << RESET_METHOD_FLR, .acs = ACS_INCOMPLETE,
                        .removable = REMOVABLE_REMOVABLE}},
        {{.name = {.pci_bus = 2},
                 .vendor = 0x1b36,
                 .device = 0xe,
                 .class_code = 0x060400,
                 .group = 2,
                 .vfio_index = -1},
                {KNOWN_ALL, .numa_node = -1}},
        {{.name = {.pci_bus = 3, .slot = 1},
                 .vendor = 0x8086,
                 .device = 0x100e,
                 .class_code = 0x020000,
                 .group = 2,
                 .driver = "e1000",
                 .vfio_index = -1},
                {KNOWN_ALL, .numa_node = -1}},
        {{.name = {.pci_bus = 3, .slot = 2},
                 .vendor = 0x1234,
                 .device = 0x11e8,
                 .class_code = 0x00ff00,
                 .group = 2,
                 .vfio_index = -1},
                {KNOWN_ALL, .numa_node = -1, .reset_methods = 1 << RESET_METHOD_PM}},
        {{.name = {.pci_bus = 6},
                 .vendor = 0x1b36,
                 .device = 0x10,
                 .class_code = 0x010802,
                 .group = 6,
                 .driver = "nvme",
                 .vfio_index = -1},
                {KNOWN_ALL, .numa_node = -1, .reset_methods = 1 << RESET_METHOD_FLR,
                        .host_critical = (char *) "nvme0n1p1 is mounted on /srv"}},
        {{.name = {.pci_bus = 7},
                 .vendor = 0x8086,
                 .device = 0x10d3,
                 .class_code = 0x020000,
                 .group = -1,
                 .vfio_index = -1,
                 .has_parent = true,
                 .parent = {.pci_bus = 6}},
                {KNOWN_ALL, .descendants = (char *) "the mediated device 1", .numa_node = -1,
                        .reset_methods = 1 << RESET_METHOD_FLR}},
        {{.name = {.pci_bus = 8},
                 .vendor = 0x8086,
                 .device = 0x10d3,
                 .class_code = 0x020000,
                 .group = 8,
                 .vfio_index = -1},
                {.numa_node = -1, .enable_count = -1, .known = DEVICE_FACT_DRIVER_OVERRIDE}},
};

static const KernelFacts kernel = {.iommufd = true, .device_cdev = true, .container = true, .iommu = true};
static Inventory *inventory;

static int set_up(void **state) {
    inventory = inventory_new();
    for (size_t i = 0; i < ELEMENTSOF(fixtures); i++)
        assert_true(inventory_update(inventory, &fixtures[i].device, NULL, NULL) >= 0);
    return 0;
}

static int tear_down(void **state) {
    inventory = inventory_free(inventory);
    return 0;
}

static const DeviceFacts *facts_of(const DeviceName *name) {
    for (size_t i = 0; i < ELEMENTSOF(fixtures); i++)
        if (device_name_compare(&fixtures[i].device.name, name) == 0)
            return &fixtures[i].facts;
    abort();
}

/* The original host's reader. It returns copies, as every reader does. */
static int read_facts(void *userdata, const Device *d, unsigned what, DeviceFacts *ret) {
    const DeviceFacts *f = facts_of(&d->name);

    *ret = *f;
    ret->known &= what;
    ret->host_critical = NULL;
    ret->descendants = what & DEVICE_FACT_DESCENDANTS && f->descendants ? strdup(f->descendants) : NULL;
    ret->properties = NULL;
    if (what & DEVICE_FACT_HOST_CRITICAL && !(f->known & DEVICE_FACT_HOST_CRITICAL))
        ret->host_critical = strdup("whether the host uses it is unknown: Permission denied");
    else if (what & DEVICE_FACT_HOST_CRITICAL && f->host_critical)
        ret->host_critical = strdup(f->host_critical);
    if (ret->known & DEVICE_FACT_PROPERTIES && f->properties) {
        ret->properties = calloc(3, sizeof(char *));
        for (size_t i = 0; f->properties[i]; i++)
            ret->properties[i] = strdup(f->properties[i]);
    }
    return 0;
}

static int read_kernel_facts(void *userdata, KernelFacts *ret) {
    *ret = kernel;
    return 0;
}

static int read_weakness(void *userdata, char **ret) {
    *ret = strdup("pcie_acs_override=downstream");
    return 0;
}

static int add_device(Device *d, void *userdata) {
    return json_object_array_add(userdata, host_snapshot_device_to_json(d, facts_of(&d->name), true));
}

static int add_group(Group *g, void *userdata) {
    const GroupFacts facts = {
            .type = "DMA-FQ",
            .regions = {{.start = 0xfee00000, .end = 0xfeefffff, .type = "msi"},
                    {.start = 1, .end = UINT64_MAX, .type = "reserved"}},
            .n_regions = 2,
            .node_present = g->id == 5,
    };

    return json_object_array_add(userdata, host_snapshot_group_to_json(g, &facts));
}

static struct json_object *record(void) {
    struct json_object *o = json_object_new_object(), *devices = json_object_new_array(),
                       *groups = json_object_new_array();
    TaintList *taints = calloc(1, sizeof(*taints));

    taint_list_add_command_line(taints, "iommu=pt pcie_acs_override=downstream");
    inventory_foreach_device(inventory, add_device, devices);
    inventory_foreach_group(inventory, add_group, groups);
    json_object_object_add(o, "version", json_object_new_int(SNAPSHOT_VERSION));
    json_object_object_add(o, "groups", groups);
    json_object_object_add(o, "devices", devices);
    json_object_object_add(o, "kernel", host_snapshot_kernel_to_json(&kernel));
    json_object_object_add(o, "taints", taint_list_to_json(taints));
    json_object_object_add(o, "accounts",
            json_tokener_parse("{\"users\": {\"alice\": {\"uid\": 1000, \"groups\": [1000, 2000]}},"
                               " \"groups\": {\"vm-users\": 2000}}"));
    free(taints);
    return o;
}

static HostSnapshot *parse(const char *text) {
    HostSnapshot *s = NULL;
    char *problem = NULL;

    if (host_snapshot_parse(text, strlen(text), &s, &problem) < 0)
        fail_msg("%s", problem);
    return s;
}

static HostSnapshot *record_and_parse(void) {
    struct json_object *o = record();
    HostSnapshot *s = parse(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));

    json_object_put(o);
    return s;
}

/* ---- Round trips ---- */

/* Other versions can read what this one writes, and vice versa. */
static void test_written_as_ever(void **state) {
    struct json_object *expected = json_object_from_file(SOURCE_ROOT "/tests/unit/data/snapshot.json"),
                       *whole, *devices;
    struct json_object *o = record(), *without_serials = json_object_new_array();

    assert_true(json_object_object_get_ex(expected, "with-serials", &whole));
    if (!json_object_equal(o, whole))
        fail_msg("%s", json_object_to_json_string(o));
    assert_true(json_object_object_get_ex(expected, "devices-without-serials", &devices));
    for (size_t i = 0; i < ELEMENTSOF(fixtures); i++)
        json_object_array_add(without_serials,
                host_snapshot_device_to_json(inventory_find_device(inventory, &fixtures[i].device.name),
                        &fixtures[i].facts, false));
    if (!json_object_equal(without_serials, devices))
        fail_msg("%s", json_object_to_json_string(without_serials));
    json_object_put(expected);
    json_object_put(o);
    json_object_put(without_serials);
}

/* Members that records of earlier versions lack. */
static void test_where_devices_are(void **state) {
    const DeviceName name = {.pci_bus = 3}, port = {.slot = 0x1c};
    const DeviceFacts facts = {.known = DEVICE_FACT_ACS | DEVICE_FACT_IOMMU_UNIT,
            .numa_node = -1,
            .enable_count = -1,
            .acs = ACS_INCOMPLETE,
            .has_acs_blocker = true,
            .acs_blocker = port,
            .iommu_unit = "dmar1"};
    struct json_object *o = json_object_new_object(), *devices = json_object_new_array();
    _cleanup_(host_snapshot_freep) HostSnapshot *s = NULL;
    _cleanup_(device_facts_done) DeviceFacts f;
    const Device d = {.name = name};
    FactSource source;
    Device *again;

    json_object_array_add(devices, host_snapshot_device_to_json(&d, &facts, false));
    json_object_object_add(o, "version", json_object_new_int(SNAPSHOT_VERSION));
    json_object_object_add(o, "devices", devices);
    s = parse(json_object_to_json_string(o));
    json_object_put(o);
    source = host_snapshot_facts(s);
    again = inventory_find_device(host_snapshot_inventory(s), &name);
    assert_non_null(again);
    assert_int_equal(source.read_facts(source.userdata, again, facts.known, &f), 0);
    assert_int_equal(f.known, facts.known);
    assert_string_equal(f.iommu_unit, "dmar1");
    assert_true(f.has_acs_blocker);
    assert_int_equal(device_name_compare(&f.acs_blocker, &port), 0);
}

static void test_facts_come_back(void **state) {
    _cleanup_(host_snapshot_freep) HostSnapshot *s = record_and_parse();
    Inventory *again = host_snapshot_inventory(s);
    FactSource source = host_snapshot_facts(s);

    inventory_check(again);
    assert_int_equal(inventory_n_devices(again), ELEMENTSOF(fixtures));
    assert_int_equal(inventory_n_groups(again), inventory_n_groups(inventory));
    for (size_t i = 0; i < ELEMENTSOF(fixtures); i++) {
        const DeviceSnapshot *was = &fixtures[i].device;
        const DeviceFacts *facts = &fixtures[i].facts;
        const Device *d = inventory_find_device(again, &was->name);
        _cleanup_(device_facts_done) DeviceFacts f = DEVICE_FACTS_NULL;

        assert_non_null(d);
        assert_true(device_is_same_hardware(d, was));
        assert_string_equal(d->driver ?: "", was->driver);
        assert_int_equal(d->group ? d->group->id : -1, was->group);
        assert_int_equal(d->vfio_index, was->vfio_index);
        assert_true((d->vfio_rdev != 0) == (was->vfio_rdev != 0));

        assert_int_equal(source.read_facts(source.userdata, d, DEVICE_FACT_ALL, &f), 0);
        /* the missing serial number is known, and so are all other facts of these */
        assert_int_equal(f.known & ~(DEVICE_FACT_ACS | DEVICE_FACT_REMOVABLE),
                facts->known & ~(DEVICE_FACT_ACS | DEVICE_FACT_REMOVABLE));
        assert_int_equal(f.numa_node, facts->numa_node);
        assert_int_equal(f.reset_methods, facts->reset_methods);
        assert_int_equal(f.removable, facts->removable);
        assert_int_equal(f.acs, facts->acs);
        assert_int_equal(f.enable_count, facts->enable_count);
        assert_string_equal(f.driver_override, facts->driver_override);
        assert_string_equal(f.slot_path, facts->slot_path);
        assert_string_equal(f.serial, facts->serial);
        assert_string_equal(f.descendants ?: "", facts->descendants ?: "");
        assert_true(!device_parent_name(d) == !was->has_parent);
        if (was->has_parent)
            assert_int_equal(device_name_compare(device_parent_name(d), &was->parent), 0);
    }
}

static void test_the_rest_comes_back(void **state) {
    _cleanup_(host_snapshot_freep) HostSnapshot *s = record_and_parse();
    FactSource source = host_snapshot_facts(s);
    const GroupFacts *g = host_snapshot_group_facts(s, 5);
    _cleanup_free_ char *weakness = NULL;
    const gid_t *gids;
    KernelFacts k;
    uint32_t id;
    size_t n;

    assert_string_equal(g->type, "DMA-FQ");
    assert_int_equal(g->n_regions, 2);
    assert_true(g->regions[1].end == UINT64_MAX && g->node_present);
    assert_false(host_snapshot_group_facts(s, 2)->node_present);
    assert_null(host_snapshot_group_facts(s, 3));

    assert_int_equal(source.read_kernel_facts(source.userdata, &k), 0);
    assert_memory_equal(&k, &kernel, sizeof(k));
    assert_int_equal(source.read_weakness(source.userdata, &weakness), 0);
    assert_string_equal(weakness, "pcie_acs_override=downstream");
    assert_int_equal(host_snapshot_taints(s)->n, 2);

    assert_int_equal(host_snapshot_resolve(s, false, "alice", &id), 0);
    assert_int_equal(id, 1000);
    assert_int_equal(host_snapshot_resolve(s, true, "vm-users", &id), 0);
    assert_int_equal(id, 2000);
    assert_int_equal(host_snapshot_resolve(s, true, "alice", &id), -ENOENT);
    assert_string_equal(host_snapshot_user_name(s, 1000), "alice");
    assert_null(host_snapshot_user_name(s, 0));
    assert_int_equal(host_snapshot_user_groups(s, 1000, &gids, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(gids[1], 2000);
    assert_int_equal(host_snapshot_user_groups(s, 1, &gids, &n), -ENOENT);
}

static int no_names(void *userdata, bool is_group, const char *name, uint32_t *ret) {
    return -ENOENT;
}

static Policy *parse_policy(const char *rules) {
    _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(no_names, NULL);
    _cleanup_free_ char *text = format_string("{\"rules\": [%s]}", rules);
    Policy *policy = NULL;

    assert_int_equal(policy_parser_add(p, "f", text, strlen(text)), 0);
    if (policy_parser_n_errors(p) > 0)
        fail_msg("%s", policy_parser_error(p, 0));
    assert_int_equal(policy_parser_finish(p, &policy), 0);
    return policy;
}

/* The plan, or the refusal, as text. */
static char *judge(
        Inventory *i, const FactSource *source, const Policy *policy, const char *device, bool untainted) {
    _cleanup_(survey_done) Survey survey = {};
    const PlanContext context = {.inventory = i, .policy = policy, .survey = &survey};
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    Request request = REQUEST_NULL;
    Subject subject = SUBJECT_NULL;
    struct json_object *json;
    _cleanup_(plan_done) Plan plan = PLAN_NULL;
    char *text;

    subject.uid = 1000;
    request.untainted = untainted;
    assert_int_equal(request_add_device(&request, device, &refusal), 0);
    if (plan_build_from(&context, source, &request, &subject, &plan, &refusal) < 0)
        return strdup(error_info(refusal.code)->name);
    json = plan_to_json(&plan);
    text = strdup(json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN));
    json_object_put(json);
    return text;
}

static void test_verdicts_are_the_same(void **state) {
    static const char *const policies[] = {
            "{\"effect\": \"allow\", \"who\": {}, \"what\": {}}",
            "{\"effect\": \"allow\", \"who\": {}, \"what\": {}, \"siblings\": \"park\", \"reset\": "
            "\"optional\","
            " \"host-critical\": \"allow\", \"backend\": \"group\"}",
            "{\"effect\": \"allow\", \"who\": {}, \"what\": {\"numa\": 1}}",
            "{\"effect\": \"allow\", \"who\": {}, \"what\": {\"property\": {\"ID_PATH\": \"pci-*\"}}}",
            "{\"effect\": \"deny\", \"who\": {}, \"what\": {\"property\": {\"ID_PATH\": \"pci-*\"}}},"
            "{\"effect\": \"allow\", \"who\": {}, \"what\": {}}",
            "{\"effect\": \"allow\", \"who\": {}, \"what\": {\"isolation\": {\"acs\": true}}}",
            "{\"effect\": \"deny\", \"who\": {}, \"what\": {\"isolation\": {\"removable\": true}}},"
            "{\"effect\": \"allow\", \"who\": {}, \"what\": {\"isolation\": {\"reset\": true}}}",
            "{\"effect\": \"deny\", \"who\": {}, \"what\": {\"driver\": \"e1000e\"}}",
    };
    _cleanup_(host_snapshot_freep) HostSnapshot *s = record_and_parse();
    const FactSource original = {.read_facts = read_facts,
                             .read_kernel_facts = read_kernel_facts,
                             .read_weakness = read_weakness},
                     recorded = host_snapshot_facts(s);
    unsigned n_plans = 0, n_refusals = 0;

    for (size_t p = 0; p < ELEMENTSOF(policies); p++) {
        _cleanup_(policy_freep) Policy *policy = parse_policy(policies[p]);

        for (size_t i = 0; i < ELEMENTSOF(fixtures) * 2; i++) {
            char name[DEVICE_NAME_MAX];
            _cleanup_free_ char *was = NULL, *is = NULL;

            device_name_format(&fixtures[i / 2].device.name, name);
            was = judge(inventory, &original, policy, name, i % 2);
            is = judge(host_snapshot_inventory(s), &recorded, policy, name, i % 2);
            assert_string_equal(was, is);
            *(was[0] == '{' ? &n_plans : &n_refusals) += 1;
        }
    }
    /* there was something to compare */
    assert_true(n_plans > 10 && n_refusals > 10);
}

static void test_serials_are_hidden(void **state) {
    Device *nic = inventory_find_device(inventory, &fixtures[0].device.name);
    Device *disk = inventory_find_device(inventory, &fixtures[5].device.name);
    struct json_object *o = host_snapshot_device_to_json(nic, &fixtures[0].facts, false), *properties_of;

    assert_false(json_object_object_get_ex(o, "serial", NULL));
    assert_true(json_object_object_get_ex(o, "properties", &properties_of));
    assert_string_equal(
            json_object_get_string(json_object_object_get(properties_of, "ID_SERIAL_SHORT")), "hidden");
    assert_string_equal(
            json_object_get_string(json_object_object_get(properties_of, "ID_PATH")), "pci-0000:04:00.0");
    json_object_put(o);

    o = host_snapshot_device_to_json(nic, &fixtures[0].facts, true);
    assert_string_equal(
            json_object_get_string(json_object_object_get(o, "serial")), "00-1b-21-ff-ff-a1-b2-c3");
    json_object_put(o);

    /* still critical, but not why */
    o = host_snapshot_device_to_json(disk, &fixtures[5].facts, false);
    assert_string_equal(
            json_object_get_string(json_object_object_get(o, "hostCritical")), "the host uses it");
    assert_string_equal(json_object_get_string(json_object_object_get(o, "serial")), "");
    json_object_put(o);
}

/* ---- What is refused ---- */

#define DEVICE(more)                                                                                         \
    "{\"name\": \"04:00.0\", \"vendor\": 1, \"product\": 2, \"class\": 3, \"group\": 4" more "}"
#define HOST(devices, more) "{\"version\": 1, \"devices\": [" devices "]" more "}"

static void test_least(void **state) {
    _cleanup_(host_snapshot_freep) HostSnapshot *s = parse(HOST(DEVICE(""), "")),
                                                *empty = parse(HOST("", ""));
    const DeviceName name = {.pci_bus = 4};
    const Device *d = inventory_find_device(host_snapshot_inventory(s), &name);
    FactSource source = host_snapshot_facts(s);
    _cleanup_(device_facts_done) DeviceFacts f = DEVICE_FACTS_NULL;
    _cleanup_free_ char *weakness = NULL;
    KernelFacts k;

    /* nothing is recorded, so everything is unknown, and unknown is never good */
    assert_int_equal(source.read_facts(source.userdata, d, DEVICE_FACT_ALL, &f), -ENODATA);
    assert_int_equal(
            source.read_facts(source.userdata, d, DEVICE_FACT_ALL & ~DEVICE_FACT_DRIVER_OVERRIDE, &f), 0);
    assert_int_equal(f.known, 0);
    assert_non_null(f.host_critical);
    assert_int_equal(f.enable_count, -1);
    assert_int_equal(source.read_kernel_facts(source.userdata, &k), -ENODATA);
    assert_int_equal(source.read_weakness(source.userdata, &weakness), 0);
    assert_non_null(weakness);
    assert_int_equal(inventory_n_devices(host_snapshot_inventory(empty)), 0);
    assert_int_equal(source.read_facts(host_snapshot_facts(empty).userdata, d, 0, &f), -ENODEV);
}

static void test_refused(void **state) {
    static const char *const table[][2] = {
            {"", "line 1, column 1: "},
            {"{\"version\": 1, \"devices\": [", "line 1, column 28: "},
            {"[]", "the snapshot (line 1): expected object, found array"},
            {"{\"devices\": []}", "the snapshot (line 1): \"version\" is missing"},
            {"{\"version\": 1}", "the snapshot (line 1): \"devices\" is missing"},
            {"{\"version\": 2, \"devices\": []}",
                    "version (line 1): version 2 is not supported, only version 1"},
            {"{\"version\": 1, \"devices\": {}}", "devices (line 1): expected array, found object"},
            {HOST("", ", \"kernal\": {}"), "kernal (line 1): unknown member; did you mean 'kernel'?"},
            {HOST("", ", \"kernel\": {\"iommu\": 1}"),
                    "kernel.iommu (line 1): expected boolean, found integer"},
            {HOST("7", ""), "devices[0] (line 1): expected object, found integer"},
            {HOST("{}", ""), "devices[0] (line 1): \"name\" is missing"},
            {HOST("{\"name\": \"x\"}", ""), "devices[0].name (line 1): not the name of a device"},
            {HOST(DEVICE("") ",\n" DEVICE(""), ""),
                    "devices[1] (line 2): there is another device of this name"},
            {HOST(DEVICE(", \"driver\": null"), ""),
                    "devices[0].driver (line 1): expected string, found null"},
            {HOST(DEVICE(", \"subsystemVendor\": 65536"), ""),
                    "devices[0].subsystemVendor (line 1): 65536 is not from 0 to 65535"},
            {HOST(DEVICE(", \"revision\": -1"), ""), "devices[0].revision (line 1): -1 is not from 0 to 255"},
            {HOST(DEVICE(", \"resetMethods\": [\"flr\", 1]"), ""),
                    "devices[0].resetMethods[1] (line 1): expected string, found integer"},
            {HOST(DEVICE(", \"resetMethod\": [\"flr\"]"), ""),
                    "devices[0].resetMethod (line 1): unknown member; did you mean 'resetMethods'?"},
            {HOST(DEVICE(", \"acsPath\": \"unknown\""), ""),
                    "devices[0].acsPath (line 1): expected \"complete\""},
            {HOST(DEVICE(", \"acsPath\": \"complete\", \"acsBlocker\": \"pci:0000:00:1c.0\""), ""),
                    "devices[0] (line 1): \"acsBlocker\" is only for"},
            {HOST(DEVICE(", \"acsBlocker\": \"pci:0000:00:1c.0\""), ""),
                    "devices[0] (line 1): \"acsBlocker\" is only for"},
            {HOST(DEVICE(", \"acsPath\": \"incomplete\", \"acsBlocker\": \"a port\""), ""),
                    "devices[0].acsBlocker (line 1): not the name of a device"},
            {HOST(DEVICE(", \"removable\": \"unknown\""), ""),
                    "devices[0].removable (line 1): expected \"fixed\""},
            {HOST(DEVICE(", \"serial\": \"00-1B-21-ff-ff-a1-b2-c3\""), ""),
                    "devices[0].serial (line 1): not a serial number"},
            {HOST(DEVICE(", \"serial\": \"00-1b-21-ff-ff-a1-b2-c3-\""), ""),
                    "devices[0].serial (line 1): not a serial number"},
            {HOST(DEVICE(", \"serial\": \"00\""), ""), "devices[0].serial (line 1): not a serial number"},
            {HOST(DEVICE(", \"properties\": {\"A\": 1}"), ""),
                    "devices[0].properties.A (line 1): expected string, found integer"},
            {HOST(DEVICE(", \"properties\": {\"A=B\": \"\"}"), ""),
                    "devices[0].properties.A=B (line 1): not the name of a property"},
            {HOST(DEVICE(", \"vfioNode\": \"/dev/vfio/devices/vfio1\""), ""),
                    "devices[0] (line 1): \"vfioNode\" does not belong to its \"vfioIndex\""},
            {HOST(DEVICE(", \"vfioIndex\": 0, \"vfioNode\": \"/dev/vfio/devices/vfio1\""), ""),
                    "devices[0] (line 1): \"vfioNode\" does not belong to its \"vfioIndex\""},
            {HOST(DEVICE(""), ", \"groups\": [{\"id\": 5}]"),
                    "groups[0] (line 1): no device is in this group"},
            {HOST(DEVICE(""), ", \"groups\": [{\"id\": 4}, {\"id\": 4}]"),
                    "groups (line 1): 2 are more than the 1 that are taken"},
            {HOST(DEVICE(""), ", \"groups\": [{\"id\": 4, \"reservedRegions\": [{\"start\": \"7\"}]}]"),
                    "groups[0].reservedRegions[0].start (line 1): expected an address"},
            {HOST("", ", \"taints\": [{\"kind\": \"x\", \"weakens\": true, \"what\": \"\"}]"),
                    "taints[0].kind (line 1): not a kind of taint"},
            {HOST("", ", \"accounts\": {\"users\": {\"alice\": 1000}}"),
                    "accounts.users.alice (line 1): expected object, found integer"},
            {HOST("", ", \"accounts\": {\"users\": {\"alice\": {\"uid\": 4294967295}}}"),
                    "accounts.users.alice.uid (line 1): 4294967295 is not from 0 to 4294967294"},
            {HOST("", ", \"accounts\": {\"groups\": {\"a\": {}}}"),
                    "accounts.groups.a (line 1): expected integer, found object"},
            /* quoted text is safe for a terminal */
            {HOST("", ", \"\\u001b[31m\": {}"), "\\x1b[31m (line 1): unknown member"},
            {HOST("", ", \"devices\": []"), "line 1, column "},
    };

    for (size_t i = 0; i < ELEMENTSOF(table); i++) {
        _cleanup_free_ char *problem = NULL;
        HostSnapshot *s = NULL;

        assert_int_equal(host_snapshot_parse(table[i][0], strlen(table[i][0]), &s, &problem), -EBADMSG);
        assert_null(s);
        if (!startswith(problem, table[i][1]))
            fail_msg("\"%s\" does not begin with \"%s\"", problem, table[i][1]);
    }
}

static void test_bounds(void **state) {
    const size_t size = SNAPSHOT_SIZE_MAX + 1;
    _cleanup_free_ char *text = malloc(size), *problem = NULL;
    HostSnapshot *s = NULL;

    memset(text, ' ', size);
    assert_int_equal(host_snapshot_parse(text, size, &s, &problem), -EBADMSG);
    assert_non_null(strstr(problem, "larger than"));

    /* many small elements in few bytes */
    free(problem);
    problem = NULL;
    memset(text, '[', 100);
    assert_int_equal(host_snapshot_parse(text, 100, &s, &problem), -EBADMSG);
    assert_non_null(strstr(problem, "nested more than"));
    free(problem);
    problem = NULL;
    memcpy(text, "[0", 2);
    for (size_t i = 2; i + 1 < 2 * (SNAPSHOT_VALUES_MAX + 2); i += 2)
        memcpy(text + i, ",0", 2);
    assert_int_equal(host_snapshot_parse(text, 2 * (SNAPSHOT_VALUES_MAX + 2), &s, &problem), -EBADMSG);
    assert_non_null(strstr(problem, "values"));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
            TEST(test_written_as_ever),
            TEST(test_where_devices_are),
            TEST(test_facts_come_back),
            TEST(test_the_rest_comes_back),
            TEST(test_verdicts_are_the_same),
            TEST(test_serials_are_hidden),
            TEST(test_least),
            TEST(test_refused),
            TEST(test_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
