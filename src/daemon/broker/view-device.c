/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What devices and their groups show. */

#include <inttypes.h>
#include <stdio.h>

#include "base/str.h"
#include "core/device-kind.h"
#include "daemon/broker/views.h"
#include "host/seen-caps.h"

/* Reads one fact; the caller frees *ret. */
static void read_fact(const ViewQuery *q, DeviceFactMask what, DeviceFacts *ret) {
    const FactSource *source = &q->host->source->facts;

    *ret = DEVICE_FACTS_NULL;
    if (source->read_facts(source->userdata, q->thing, what, ret) >= 0)
        return;
    device_facts_done(ret);
    *ret = DEVICE_FACTS_NULL;
}

static int put_name(const ViewQuery *q, const ViewSink *out) {
    const Device *d = q->thing;
    char name[DEVICE_NAME_MAX];

    return view_text(out, device_name_format(&d->name, name));
}

static int put_vendor(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 'q', ((const Device *) q->thing)->vendor);
}

static int put_product(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 'q', ((const Device *) q->thing)->device);
}

static int put_subsystem_vendor(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 'q', ((const Device *) q->thing)->subsystem_vendor);
}

static int put_subsystem_product(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 'q', ((const Device *) q->thing)->subsystem_device);
}

static int put_class(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 'u', ((const Device *) q->thing)->class_code);
}

static int put_revision(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 'y', ((const Device *) q->thing)->revision);
}

static int put_driver(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, ((const Device *) q->thing)->driver);
}

static int put_driver_override(const ViewQuery *q, const ViewSink *out) {
    _cleanup_(device_facts_done) DeviceFacts facts;

    read_fact(q, DEVICE_FACT_DRIVER_OVERRIDE, &facts);
    return view_text(out, facts.driver_override);
}

static int put_group(const ViewQuery *q, const ViewSink *out) {
    const Device *d = q->thing;

    return view_refer_group(out, d->group ? d->group->id : -1);
}

static int put_device_node(const ViewQuery *q, const ViewSink *out) {
    const Device *d = q->thing;
    char node[DEVICE_NODE_MAX] = "";

    if (d->vfio_index >= 0 && d->vfio_rdev != 0)
        (void) device_node_path(d->name.kind, d->vfio_index, node);
    return view_text(out, node);
}

/* Taking a device locks its whole group, so a device that was not requested counts as claimed too. */
static const Claim *claim_of_device(const Device *d) {
    if (d->claim)
        return d->claim;
    return d->group ? d->group->claim : NULL;
}

const char *view_device_state(const Device *d) {
    return view_state_of(claim_of_device(d), d->quarantined);
}

static int put_device_state(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, view_device_state(q->thing));
}

const char *view_quarantine_cause(const Device *d) {
    const Claim *c = d->claim;

    if (!d->quarantined)
        return NULL;
    for (size_t i = 0; c && i < c->plan.n_members; i++) {
        const PlanMember *m = &c->plan.members[i];

        if (m->failure != MEMBER_FAILURE_NONE && device_name_compare(&m->name, &d->name) == 0)
            return member_failure_to_string(m->failure);
    }
    return "unknown";
}

static int put_quarantine_cause(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, view_quarantine_cause(q->thing));
}

static int put_device_claim(const ViewQuery *q, const ViewSink *out) {
    const Claim *c = claim_of_device(q->thing);

    return view_refer_claim(out, c ? c->id : NULL);
}

/* For the reader only: the access of others would reveal the policy. */
static int put_access(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, broker_access(q->host->broker, q->thing, q->reader));
}

/* A fact from the survey; unknown when it could not be read. */
static const DeviceFacts *surveyed(const ViewQuery *q, DeviceFactMask what) {
    static const DeviceFacts unknown = {.numa_node = -1, .enable_count = -1};
    const DeviceFacts *facts = &unknown;

    if (q->survey)
        (void) survey_get(q->survey, &((const Device *) q->thing)->name, what, &facts);
    return facts;
}

static int put_tag(void *userdata, const char *tag) {
    return view_text(userdata, tag);
}

#define FACTS_OF_TAGS (DEVICE_FACT_SLOT_PATH | DEVICE_FACT_SERIAL)

/* For the reader only, as the access. */
static int put_tags(const ViewQuery *q, const ViewSink *out) {
    int r = view_open(out, 'a', "s");

    if (r >= 0)
        r = broker_foreach_tag(
                q->host->broker, q->thing, surveyed(q, FACTS_OF_TAGS), q->reader, put_tag, (void *) out);
    return r < 0 ? r : view_close(out);
}

static int put_numa_node(const ViewQuery *q, const ViewSink *out) {
    _cleanup_(device_facts_done) DeviceFacts facts;

    read_fact(q, DEVICE_FACT_NUMA_NODE, &facts);
    return view_number(out, 'i', (uint64_t) (int64_t) facts.numa_node);
}

static int put_reset_methods(const ViewQuery *q, const ViewSink *out) {
    _cleanup_(device_facts_done) DeviceFacts facts;
    int r;

    read_fact(q, DEVICE_FACT_RESET_METHODS, &facts);
    r = view_open(out, 'a', "s");
    for (int i = 0; i < _RESET_METHOD_MAX && r >= 0; i++)
        if (facts.reset_methods & (1U << i))
            r = view_text(out, reset_method_to_string((ResetMethod) i));
    return r < 0 ? r : view_close(out);
}

static int put_acs_path(const ViewQuery *q, const ViewSink *out) {
    const DeviceFacts *facts = surveyed(q, DEVICE_FACT_ACS);
    char blocker[DEVICE_NAME_MAX] = "";
    int r;

    if (facts->has_acs_blocker)
        (void) device_name_format(&facts->acs_blocker, blocker);
    r = view_open(out, 'r', "ss");
    if (r >= 0)
        r = view_text(out, acs_path_to_string(facts->acs));
    if (r >= 0)
        r = view_text(out, blocker);
    return r < 0 ? r : view_close(out);
}

static int put_slot_path(const ViewQuery *q, const ViewSink *out) {
    _cleanup_(device_facts_done) DeviceFacts facts;

    read_fact(q, DEVICE_FACT_SLOT_PATH, &facts);
    return view_text(out, facts.slot_path);
}

static int put_parent(const ViewQuery *q, const ViewSink *out) {
    return view_refer_device(out, device_parent_name(q->thing));
}

static int put_iommu_unit(const ViewQuery *q, const ViewSink *out) {
    _cleanup_(device_facts_done) DeviceFacts facts;

    read_fact(q, DEVICE_FACT_IOMMU_UNIT, &facts);
    return view_text(out, facts.iommu_unit);
}

static int put_removable(const ViewQuery *q, const ViewSink *out) {
    _cleanup_(device_facts_done) DeviceFacts facts;

    read_fact(q, DEVICE_FACT_REMOVABLE, &facts);
    return view_text(out, removable_to_string(facts.removable));
}

static int put_functions_max(const ViewQuery *q, const ViewSink *out) {
    _cleanup_(device_facts_done) DeviceFacts facts;

    read_fact(q, DEVICE_FACT_FUNCTIONS_MAX, &facts);
    return view_number(out, 'q', facts.functions_max);
}

typedef struct FunctionList {
    const Device *of;
    const ViewSink *out;
} FunctionList;

static int put_function(Device *d, void *userdata) {
    const FunctionList *list = userdata;

    if (!device_is_virtual_function(d) || device_name_compare(device_parent_name(d), &list->of->name) != 0)
        return 0;
    return view_refer_device(list->out, &d->name);
}

static int put_functions(const ViewQuery *q, const ViewSink *out) {
    FunctionList list = {.of = q->thing, .out = out};
    int r;

    r = view_open(out, 'a', "o");
    if (r >= 0)
        r = inventory_foreach_descendant(q->host->inventory, list.of, put_function, &list);
    return r < 0 ? r : view_close(out);
}

static int put_physical_function(const ViewQuery *q, const ViewSink *out) {
    const Device *d = q->thing;

    return view_refer_device(out, device_is_virtual_function(d) ? device_parent_name(d) : NULL);
}

static int put_network(const ViewQuery *q, const ViewSink *out) {
    const Device *d = q->thing;
    const PlanMember *m = d->claim ? plan_find_member(&d->claim->plan, &d->name) : NULL;
    char text[VF_NETWORK_TEXT_MAX];

    return view_text(out, m ? vf_network_format(&m->network, text) : "");
}

static int put_host_critical(const ViewQuery *q, const ViewSink *out) {
    const Device *d = q->thing;
    const DeviceFacts *facts = NULL;
    _cleanup_free_ char *unknown = NULL;
    int r;

    r = q->survey ? survey_get(q->survey, &d->name, DEVICE_FACT_HOST_CRITICAL, &facts) : -ENODATA;
    if (r >= 0)
        return view_text(out, facts->host_critical);
    /* not "", which would mean that the host does not use it */
    unknown = format_string("whether the host uses it is unknown: %s", strerror(-r));
    return unknown ? view_text(out, unknown) : -ENOMEM;
}

static int put_range(const ViewSink *out, const IovaRange *range) {
    int r;

    r = view_open(out, 'r', "tt");
    if (r >= 0)
        r = view_number(out, 't', range->start);
    if (r >= 0)
        r = view_number(out, 't', range->end);
    return r < 0 ? r : view_close(out);
}

static int put_ranges(const DeviceCaps *c, const ViewSink *out) {
    int r;

    r = view_open(out, 'a', "(tt)");
    for (size_t i = 0; i < c->n_iova && r >= 0; i++)
        r = put_range(out, &c->iova[i]);
    return r < 0 ? r : view_close(out);
}

static int put_page_sizes(const DeviceCaps *c, const ViewSink *out) {
    int r;

    r = view_open(out, 'a', "t");
    for (unsigned i = 0; i < 64 && r >= 0; i++)
        if (c->page_sizes & (UINT64_C(1) << i))
            r = view_number(out, 't', UINT64_C(1) << i);
    return r < 0 ? r : view_close(out);
}

static int put_migration(const DeviceCaps *c, const ViewSink *out) {
    int r;

    r = view_open(out, 'a', "s");
    for (MigrationMode m = 0; m < _MIGRATION_MODE_MAX && r >= 0; m++)
        if (c->migration & (1U << m))
            r = view_text(out, migration_mode_to_string(m));
    return r < 0 ? r : view_close(out);
}

/* Those that are not just yes or no. */
static const struct {
    const char *type;
    int (*put)(const DeviceCaps *c, const ViewSink *out);
} cap_lists[_DEVICE_CAP_MAX] = {
        [DEVICE_CAP_MIGRATION] = {"as", put_migration},
        [DEVICE_CAP_PAGE_SIZES] = {"at", put_page_sizes},
        [DEVICE_CAP_IOVA_RANGES] = {"a(tt)", put_ranges},
};

static int put_cap(const DeviceCaps *c, DeviceCap cap, const ViewSink *out) {
    int r;

    if (cap == DEVICE_CAP_PASID)
        return view_number_entry(out, device_cap_to_string(cap), 'u', c->pasid_bits);
    if (!cap_lists[cap].put)
        return view_number_entry(out, device_cap_to_string(cap), 'b', c->present >> cap & 1U);
    r = view_open(out, 'e', "sv");
    if (r >= 0)
        r = view_text(out, device_cap_to_string(cap));
    if (r >= 0)
        r = view_open(out, 'v', cap_lists[cap].type);
    if (r >= 0)
        r = cap_lists[cap].put(c, out);
    if (r >= 0)
        r = view_close(out);
    return r < 0 ? r : view_close(out);
}

/* Unknown capabilities are left out. */
static int put_caps(const DeviceCaps *c, const ViewSink *out) {
    int r;

    r = view_open(out, 'a', "{sv}");
    if (r >= 0 && c && c->driver[0])
        r = view_text_entry(out, "driver", c->driver);
    if (r >= 0 && c && c->iommu != IOMMU_TYPE_UNKNOWN)
        r = view_text_entry(out, "iommu", iommu_type_to_string(c->iommu));
    for (DeviceCap cap = 0; cap < _DEVICE_CAP_MAX && r >= 0; cap++)
        if (device_caps_know(c, cap))
            r = put_cap(c, cap, out);
    return r < 0 ? r : view_close(out);
}

static const DeviceCaps *find_caps(const ViewQuery *q, const Device *d) {
    seen_caps_check(q->host->inventory, &d->name);
    return inventory_find_caps(q->host->inventory, &d->name);
}

static int put_capabilities(const ViewQuery *q, const ViewSink *out) {
    return put_caps(find_caps(q, q->thing), out);
}

static int put_companions(const ViewQuery *q, const ViewSink *out) {
    _cleanup_(device_facts_done) DeviceFacts facts;
    _cleanup_strbuf_ StrBuf b = {};

    read_fact(q, DEVICE_FACT_LINKS, &facts);
    device_links_describe(facts.links, &b);
    return b.error < 0 ? -ENOMEM : view_text(out, b.text);
}

const ViewField view_device_fields[] = {
        {"Name", "s", VIEW_CONSTANT, VIEW_FOR_ALL, put_name},
        {"Vendor", "q", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_vendor},
        {"Product", "q", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_product},
        {"SubsystemVendor", "q", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_subsystem_vendor},
        {"SubsystemProduct", "q", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_subsystem_product},
        {"Class", "u", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_class},
        {"Revision", "y", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_revision},
        {"Driver", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_driver},
        {"DriverOverride", "s", VIEW_SILENT, VIEW_FOR_ALL, put_driver_override},
        {"Group", "o", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_group},
        {"VfioNode", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_device_node},
        {"State", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_device_state},
        {"Claim", "o", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_device_claim},
        {"QuarantineCause", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_quarantine_cause},
        {"Access", "s", VIEW_SILENT, VIEW_FOR_ALL, put_access},
        {"NumaNode", "i", VIEW_SILENT, VIEW_FOR_ALL, put_numa_node},
        {"ResetMethods", "as", VIEW_SILENT, VIEW_FOR_ALL, put_reset_methods},
        {"AcsPath", "(ss)", VIEW_COSTLY, VIEW_FOR_ALL, put_acs_path, DEVICE_FACT_ACS, "path blocker"},
        {"SlotPath", "s", VIEW_SILENT, VIEW_FOR_ALL, put_slot_path},
        {"Parent", "o", VIEW_SILENT, VIEW_FOR_ALL, put_parent},
        {"IommuUnit", "s", VIEW_SILENT, VIEW_FOR_ALL, put_iommu_unit},
        {"Companions", "s", VIEW_SILENT, VIEW_FOR_ALL, put_companions},
        {"Removable", "s", VIEW_SILENT, VIEW_FOR_ALL, put_removable},
        {"VirtualFunctionsMax", "q", VIEW_SILENT, VIEW_FOR_ALL, put_functions_max},
        {"VirtualFunctions", "ao", VIEW_SILENT, VIEW_FOR_ALL, put_functions},
        {"PhysicalFunction", "o", VIEW_SILENT, VIEW_FOR_ALL, put_physical_function},
        {"Network", "s", VIEW_SILENT, VIEW_FOR_ALL, put_network},
        {"HostCritical", "s", VIEW_COSTLY, VIEW_FOR_ALL, put_host_critical, DEVICE_FACT_HOST_CRITICAL},
        {"Tags", "as", VIEW_COSTLY, VIEW_FOR_ALL, put_tags, FACTS_OF_TAGS},
        {"Capabilities", "a{sv}", VIEW_SILENT, VIEW_FOR_ALL, put_capabilities, .members = "start end"},
        {},
};

/* ---- Groups ---- */

static int put_id(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 'u', (uint32_t) ((const Group *) q->thing)->id);
}

static int put_members(const ViewQuery *q, const ViewSink *out) {
    const Group *g = q->thing;
    int r;

    r = view_open(out, 'a', "o");
    FOREACH_MEMBER(d, g) {
        if (r < 0)
            return r;
        r = view_refer_device(out, &d->name);
    }
    return r < 0 ? r : view_close(out);
}

static int put_fingerprint(const ViewQuery *q, const ViewSink *out) {
    char text[17];

    (void) snprintf(text, sizeof(text), "%016" PRIx64, group_fingerprint(q->thing));
    return view_text(out, text);
}

const char *view_group_state(const Group *g) {
    bool quarantined = false;

    FOREACH_MEMBER(d, g)
        quarantined = quarantined || d->quarantined;
    return view_state_of(g->claim, quarantined);
}

static int put_group_state(const ViewQuery *q, const ViewSink *out) {
    return view_text(out, view_group_state(q->thing));
}

static int put_group_claim(const ViewQuery *q, const ViewSink *out) {
    const Group *g = q->thing;

    return view_refer_claim(out, g->claim ? g->claim->id : NULL);
}

static void read_group(const ViewQuery *q, GroupFacts *ret) {
    const HostSource *source = q->host->source;

    *ret = (GroupFacts){};
    if (source->read_group(source->facts.userdata, ((const Group *) q->thing)->id, ret) < 0)
        *ret = (GroupFacts){};
}

static int put_type(const ViewQuery *q, const ViewSink *out) {
    GroupFacts facts;

    read_group(q, &facts);
    return view_text(out, facts.type[0] ? facts.type : "unknown");
}

static int put_region(const ViewSink *out, const ReservedRegion *region) {
    int r;

    r = view_open(out, 'r', "tts");
    if (r >= 0)
        r = view_number(out, 't', region->start);
    if (r >= 0)
        r = view_number(out, 't', region->end);
    if (r >= 0)
        r = view_text(out, region->type);
    return r < 0 ? r : view_close(out);
}

/* The capabilities that all its devices have. Bridges do not count, because they are never opened. */
static int put_group_capabilities(const ViewQuery *q, const ViewSink *out) {
    DeviceCaps common = {};
    bool first = true;

    FOREACH_MEMBER(d, (const Group *) q->thing) {
        const DeviceCaps *c = find_caps(q, d);

        if (device_is_bridge(d))
            continue;
        if (!c)
            return put_caps(NULL, out);
        if (first)
            common = *c;
        else
            device_caps_keep_common(&common, c);
        first = false;
    }
    return put_caps(first ? NULL : &common, out);
}

static int put_reserved_regions(const ViewQuery *q, const ViewSink *out) {
    GroupFacts facts;
    int r;

    read_group(q, &facts);
    r = view_open(out, 'a', "(tts)");
    for (size_t i = 0; i < facts.n_regions && r >= 0; i++)
        r = put_region(out, &facts.regions[i]);
    return r < 0 ? r : view_close(out);
}

static int put_group_node(const ViewQuery *q, const ViewSink *out) {
    char node[32] = "";
    GroupFacts facts;

    read_group(q, &facts);
    if (facts.node_present)
        (void) snprintf(node, sizeof(node), "/dev/vfio/%d", ((const Group *) q->thing)->id);
    return view_text(out, node);
}

bool view_group_is_viable(const Group *g) {
    bool viable = true;

    FOREACH_MEMBER(d, g)
        viable = viable && device_leaves_group_viable(d);
    return viable;
}

static int put_viable(const ViewQuery *q, const ViewSink *out) {
    return view_number(out, 'b', view_group_is_viable(q->thing));
}

const ViewField view_group_fields[] = {
        {"Id", "u", VIEW_CONSTANT, VIEW_FOR_ALL, put_id},
        {"Devices", "ao", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_members},
        {"Fingerprint", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_fingerprint},
        {"State", "s", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_group_state},
        {"Claim", "o", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_group_claim},
        {"Type", "s", VIEW_SILENT, VIEW_FOR_ALL, put_type},
        {"ReservedRegions", "a(tts)", VIEW_SILENT, VIEW_FOR_ALL, put_reserved_regions,
                .members = "start end type"},
        {"VfioNode", "s", VIEW_SILENT, VIEW_FOR_ALL, put_group_node},
        {"Viable", "b", VIEW_ANNOUNCED, VIEW_FOR_ALL, put_viable},
        {"Capabilities", "a{sv}", VIEW_SILENT, VIEW_FOR_ALL, put_group_capabilities, .members = "start end"},
        {},
};
