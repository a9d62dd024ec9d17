/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The tables: the members of a snapshot's objects, with their types and ranges. An unknown member is an
 * error: people also write snapshots for tests, and a misspelt fact would silently be unknown. Unknown facts
 * are left out, which distinguishes them from facts with the value "none". */

#include "core/snapshot-internal.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

#include "core/device-kind.h"

/* ---- Devices ---- */

static int read_removable(FieldReader *r, const JsonNode *value, void *place) {
    Removable removable = removable_from_string(value->string);

    if (removable < 0 || removable == REMOVABLE_UNKNOWN)
        return fields_fail(
                r, value, "expected \"fixed\" or \"removable\"; leave the member out when it is unknown");
    *(Removable *) place = removable;
    return 0;
}

static void write_removable(StrBuf *b, const void *place) {
    strbuf_add_json(b, removable_to_string(*(const Removable *) place));
}

static int read_acs_path(FieldReader *r, const JsonNode *value, void *place) {
    AcsPath acs = acs_path_from_string(value->string);

    if (acs < 0 || acs == ACS_UNKNOWN)
        return fields_fail(r, value,
                "expected \"complete\", \"incomplete\" or \"not-needed\"; leave the member out when it is "
                "unknown");
    *(AcsPath *) place = acs;
    return 0;
}

static void write_acs_path(StrBuf *b, const void *place) {
    strbuf_add_json(b, acs_path_to_string(*(const AcsPath *) place));
}

/* "00-1b-21-ff-ff-a1-b2-c3", or "" for none. */
static int read_serial(FieldReader *r, const JsonNode *value, void *place) {
    const char *s = value->string;

    if (s[0] && !pci_serial_is_valid(s))
        return fields_fail(r, value, "not a serial number as lspci writes it");
    strcpy(place, s);
    return 0;
}

static void write_serial(StrBuf *b, const void *place) {
    strbuf_add_json(b, place);
}

static size_t count_children(const JsonNode *n) {
    size_t count = 0;

    for (const JsonNode *c = n->children; c; c = c->next)
        count++;
    return count;
}

static int read_property(FieldReader *r, const JsonNode *m, char **ret, size_t *size) {
    int e = fields_expect(r, m, JSON_STRING);

    if (e < 0)
        return e;
    if (!m->key[0] || strchr(m->key, '='))
        return fields_fail(r, m, "not the name of a property");
    *size += strlen(m->key) + strlen(m->string) + 1;
    if (*size > PROPERTIES_SIZE_MAX)
        return fields_fail(r, m, "the properties have more than %u bytes together", PROPERTIES_SIZE_MAX);
    *ret = format_string("%s=%s", m->key, m->string);
    return *ret ? 0 : -ENOMEM;
}

static int read_properties(FieldReader *r, const JsonNode *object, void *place) {
    size_t n = count_children(object), size = 0, i = 0;
    char **properties;

    if (n > PROPERTIES_MAX)
        return fields_fail(r, object, "%zu are more than the %u that are taken", n, PROPERTIES_MAX);
    properties = *(char ***) place = calloc(n + 1, sizeof(char *));
    if (!properties)
        return -ENOMEM;
    for (const JsonNode *m = object->children; m; m = m->next) {
        size_t depth = fields_enter_member(r, m->key);
        int e = read_property(r, m, &properties[i++], &size);

        if (e < 0)
            return e;
        fields_leave(r, depth);
    }
    return 0;
}

/* Would the value identify this machine? */
static bool is_private(const char *property) {
    static const char *const parts[] = {"SERIAL", "UUID", "WWN", "MAC"};
    size_t n = strcspn(property, "=");

    for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
        const char *found = strstr(property, parts[i]);

        if (found && found < property + n)
            return true;
    }
    return false;
}

static void write_properties(StrBuf *b, const void *place) {
    const RecordedDevice *d =
            (const RecordedDevice *) ((const char *) place - offsetof(RecordedDevice, facts.properties));
    const char *separator = "";

    strbuf_add(b, "{");
    for (char **p = d->facts.properties; p && *p; p++) {
        const char *value = strchr(*p, '=');
        char key[256];

        if (!value || (size_t) (value - *p) >= sizeof(key))
            continue;
        (void) snprintf(key, sizeof(key), "%.*s", (int) (value - *p), *p);
        strbuf_add(b, separator);
        strbuf_add_json(b, key);
        strbuf_add(b, ":");
        strbuf_add_json(b, d->with_serials || !is_private(*p) ? value + 1 : "hidden");
        separator = ",";
    }
    strbuf_add(b, "}");
}

/* The number of the node is not recorded; it only matters that there is one. */
static int check_device(FieldReader *r, const JsonNode *object, void *target) {
    RecordedDevice *d = target;
    const int index = d->snapshot.vfio_index;
    char expected[DEVICE_NODE_MAX];

    if ((d->facts.variant[0] && !driver_name_is_valid(d->facts.variant)) ||
            (d->facts.variant_driver[0] && !driver_name_is_valid(d->facts.variant_driver)))
        return fields_fail(r, object, "\"variant\" is not the name of a module");
    if (!d->facts.variant_driver[0])
        memcpy(d->facts.variant_driver, d->facts.variant, sizeof(d->facts.variant));
    if (d->facts.has_acs_blocker && d->facts.acs != ACS_INCOMPLETE)
        return fields_fail(r, object, "\"acsBlocker\" is only for the \"acsPath\" \"incomplete\"");
    if (!d->node[0])
        return 0;
    if (index < 0 || !streq(d->node, device_node_path(d->snapshot.name.kind, index, expected)))
        return fields_fail(r, object, "\"vfioNode\" does not belong to its \"vfioIndex\"");
    d->snapshot.vfio_rdev = (dev_t) index + 1;
    return 0;
}

DEFINE_FIELD_WORDS(reset_method, _RESET_METHOD_MAX, "a reset method", .unknown = RESET_METHOD_UNKNOWN);

static const Field device_fields[] = {
        FIELD_CUSTOM("name", RecordedDevice, snapshot.name, JSON_STRING, document_read_name,
                document_write_name, .flags = FIELD_REQUIRED),
        FIELD_NUMBER("vendor", RecordedDevice, snapshot.vendor, 0, UINT16_MAX, .flags = FIELD_REQUIRED),
        FIELD_NUMBER("product", RecordedDevice, snapshot.device, 0, UINT16_MAX, .flags = FIELD_REQUIRED),
        FIELD_NUMBER("subsystemVendor", RecordedDevice, snapshot.subsystem_vendor, 0, UINT16_MAX),
        FIELD_NUMBER("subsystemProduct", RecordedDevice, snapshot.subsystem_device, 0, UINT16_MAX),
        FIELD_NUMBER("class", RecordedDevice, snapshot.class_code, 0, 0xffffff, .flags = FIELD_REQUIRED),
        FIELD_NUMBER("revision", RecordedDevice, snapshot.revision, 0, UINT8_MAX),
        FIELD_TEXT("driver", RecordedDevice, snapshot.driver),
        FIELD_NUMBER("group", RecordedDevice, snapshot.group, 0, INT_MAX, .flags = FIELD_OMIT),
        FIELD_NUMBER("vfioIndex", RecordedDevice, snapshot.vfio_index, 0, INT_MAX, .flags = FIELD_OMIT),
        FIELD_TEXT("vfioNode", RecordedDevice, node, .flags = FIELD_OMIT),
        FIELD_CUSTOM("parent", RecordedDevice, snapshot.parent, JSON_STRING, document_read_name,
                document_write_name, .flags = FIELD_IF_KNOWN,
                .known = offsetof(RecordedDevice, snapshot.has_parent)),
        /* facts */
        FIELD_WORDS("resetMethods", RecordedDevice, facts.reset_methods, &reset_method_words,
                .fact = DEVICE_FACT_RESET_METHODS),
        FIELD_NUMBER("numaNode", RecordedDevice, facts.numa_node, -1, INT_MAX, .fact = DEVICE_FACT_NUMA_NODE),
        FIELD_TEXT(
                "driverOverride", RecordedDevice, facts.driver_override, .fact = DEVICE_FACT_DRIVER_OVERRIDE),
        FIELD_CUSTOM("removable", RecordedDevice, facts.removable, JSON_STRING, read_removable,
                write_removable, .fact = DEVICE_FACT_REMOVABLE),
        FIELD_STRING("hostCritical", RecordedDevice, facts.host_critical, .fact = DEVICE_FACT_HOST_CRITICAL),
        FIELD_STRING("descendants", RecordedDevice, facts.descendants, .fact = DEVICE_FACT_DESCENDANTS),
        FIELD_NUMBER(
                "enable", RecordedDevice, facts.enable_count, 0, INT_MAX, .fact = DEVICE_FACT_ENABLE_COUNT),
        FIELD_CUSTOM("acsPath", RecordedDevice, facts.acs, JSON_STRING, read_acs_path, write_acs_path,
                .fact = DEVICE_FACT_ACS),
        FIELD_CUSTOM("acsBlocker", RecordedDevice, facts.acs_blocker, JSON_STRING, document_read_name,
                document_write_name, .flags = FIELD_IF_KNOWN,
                .known = offsetof(RecordedDevice, facts.has_acs_blocker)),
        FIELD_TEXT("iommuUnit", RecordedDevice, facts.iommu_unit, .fact = DEVICE_FACT_IOMMU_UNIT),
        FIELD_TEXT("variant", RecordedDevice, facts.variant, .fact = DEVICE_FACT_VARIANT),
        FIELD_TEXT("variantDriver", RecordedDevice, facts.variant_driver, .flags = FIELD_OMIT),
        FIELD_BOOLEAN("variantBlocked", RecordedDevice, facts.variant_blocked, .flags = FIELD_OMIT),
        FIELD_TEXT("slotPath", RecordedDevice, facts.slot_path, .fact = DEVICE_FACT_SLOT_PATH),
        FIELD_CUSTOM("serial", RecordedDevice, facts.serial, JSON_STRING, read_serial, write_serial,
                .fact = DEVICE_FACT_SERIAL),
        FIELD_CUSTOM("properties", RecordedDevice, facts.properties, JSON_OBJECT, read_properties,
                write_properties, .fact = DEVICE_FACT_PROPERTIES),
        /* Only when known: older versions refuse the member. */
        FIELD_OBJECT("capabilities", RecordedDevice, caps, &device_caps_table, .flags = FIELD_IF_KNOWN,
                .known = offsetof(RecordedDevice, has_caps)),
};
const FieldTable host_snapshot_device_table =
        FIELD_TABLE(device_fields, .facts = offsetof(RecordedDevice, facts.known), .check = check_device);

/* ---- Groups ---- */

static const Field region_fields[] = {
        FIELD_CUSTOM("start", ReservedRegion, start, JSON_STRING, document_read_address,
                document_write_address, .flags = FIELD_REQUIRED),
        FIELD_CUSTOM("end", ReservedRegion, end, JSON_STRING, document_read_address, document_write_address,
                .flags = FIELD_REQUIRED),
        FIELD_TEXT("type", ReservedRegion, type, .flags = FIELD_REQUIRED),
};
static const FieldTable region_table = FIELD_TABLE(region_fields);

static int read_group_node(FieldReader *r, const JsonNode *value, void *place) {
    *(bool *) place = value->string[0];
    return 0;
}

static void write_group_node(StrBuf *b, const void *place) {
    const RecordedGroup *g =
            (const RecordedGroup *) ((const char *) place - offsetof(RecordedGroup, facts.node_present));

    if (g->facts.node_present)
        strbuf_addf(b, "\"/dev/vfio/%d\"", g->id);
    else
        strbuf_add(b, "\"\"");
}

static const Field group_fields[] = {
        FIELD_NUMBER("id", RecordedGroup, id, 0, INT_MAX, .flags = FIELD_REQUIRED),
        FIELD_TEXT("type", RecordedGroup, facts.type),
        FIELD_CUSTOM("vfioNode", RecordedGroup, facts.node_present, JSON_STRING, read_group_node,
                write_group_node),
        FIELD_OBJECTS("reservedRegions", RecordedGroup, facts.regions, facts.n_regions, &region_table, 0,
                RESERVED_REGIONS_MAX),
};
const FieldTable host_snapshot_group_table = FIELD_TABLE(group_fields);

/* ---- The kernel ---- */

static const Field kernel_fields[] = {
        FIELD_BOOLEAN("iommufd", KernelFacts, iommufd),
        FIELD_BOOLEAN("deviceCdev", KernelFacts, device_cdev),
        FIELD_BOOLEAN("container", KernelFacts, container),
        FIELD_BOOLEAN(
                "compat", KernelFacts, compat, .flags = FIELD_OMIT), /* older versions refuse the member */
        FIELD_BOOLEAN("noiommuSupport", KernelFacts, noiommu_support),
        FIELD_BOOLEAN("noiommuEnabled", KernelFacts, noiommu_enabled),
        FIELD_BOOLEAN("vhostVdpa", KernelFacts, vhost_vdpa, .flags = FIELD_OMIT),
        FIELD_BOOLEAN("iommu", KernelFacts, iommu),
        FIELD_BOOLEAN("lockdown", KernelFacts, lockdown),
};
const FieldTable host_snapshot_kernel_table = FIELD_TABLE(kernel_fields);

/* ---- Writing ---- */

static struct json_object *to_json(const FieldTable *table, const void *target) {
    _cleanup_strbuf_ StrBuf b = {};

    fields_write(&b, table, target);
    return b.error < 0 ? NULL : json_tokener_parse(b.text);
}

/* Facts that were read, but have no value to record. */
static unsigned count_as_unknown(const DeviceFacts *f, bool with_serials) {
    return (f->removable == REMOVABLE_UNKNOWN ? DEVICE_FACT_REMOVABLE : 0) |
            (f->enable_count < 0 ? DEVICE_FACT_ENABLE_COUNT : 0) |
            (f->acs == ACS_UNKNOWN ? DEVICE_FACT_ACS : 0) |
            /* that a device has no serial number is not private */
            (!with_serials && f->serial[0] ? DEVICE_FACT_SERIAL : 0);
}

static void take_device(RecordedDevice *r, const Device *d) {
    const DeviceName *parent = device_parent_name(d);

    r->snapshot = (DeviceSnapshot){
            .name = d->name,
            .vendor = d->vendor,
            .device = d->device,
            .subsystem_vendor = d->subsystem_vendor,
            .subsystem_device = d->subsystem_device,
            .class_code = d->class_code,
            .revision = d->revision,
            .group = d->group ? d->group->id : -1,
            .vfio_index = d->vfio_index,
            .has_parent = parent,
    };
    if (parent)
        r->snapshot.parent = *parent;
    (void) snprintf(r->snapshot.driver, sizeof(r->snapshot.driver), "%s", d->driver ?: "");
    if (d->vfio_index >= 0 && d->vfio_rdev != 0)
        (void) device_node_path(d->name.kind, d->vfio_index, r->node);
}

struct json_object *host_snapshot_device_to_json(
        const Device *d, const DeviceFacts *facts, bool with_serials) {
    static char critical[] = "the host uses it", depends[] = "something depends on its driver";
    RecordedDevice r = {.facts = *facts, .with_serials = with_serials};

    take_device(&r, d);
    if (facts->caps) {
        r.caps = *facts->caps;
        r.has_caps = true;
    }
    r.facts.known &= ~count_as_unknown(facts, with_serials);
    /* The reasons contain mount points and addresses. */
    if (!with_serials && r.facts.host_critical)
        r.facts.host_critical = critical;
    if (!with_serials && r.facts.descendants)
        r.facts.descendants = depends;
    return to_json(&host_snapshot_device_table, &r);
}

struct json_object *host_snapshot_group_to_json(const Group *g, const GroupFacts *facts) {
    const RecordedGroup r = {.id = g->id, .facts = *facts};

    return to_json(&host_snapshot_group_table, &r);
}

struct json_object *host_snapshot_kernel_to_json(const KernelFacts *k) {
    return to_json(&host_snapshot_kernel_table, k);
}

struct json_object *host_snapshot_mdev_types_to_json(const MdevTypes *t) {
    _cleanup_free_ char *text = mdev_types_to_text(t);
    struct json_object *document = text ? json_tokener_parse(text) : NULL, *list = NULL;

    if (document && json_object_object_get_ex(document, "mediatedTypes", &list))
        (void) json_object_get(list);
    json_object_put(document);
    return list;
}
