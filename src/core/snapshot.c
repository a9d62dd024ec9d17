/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The writing half: what was read of a host, as a document. Facts that are not known are left out, so that a
 * reader can tell them from facts that say "none". */

#include "core/snapshot.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/json-build.h"

static int add_number(struct json_object *o, const char *key, int64_t number) {
    return json_add(o, key, json_object_new_int64(number));
}

static int add_reset_methods(struct json_object *o, unsigned mask) {
    _cleanup_json_ struct json_object *array = json_object_new_array();
    int r = array ? 0 : -ENOMEM;

    for (ResetMethod m = 0; r >= 0 && m < _RESET_METHOD_MAX; m++)
        if (mask & (1U << m))
            r = json_append(array, json_object_new_string(reset_method_to_string(m)));
    return r < 0 ? r : json_add(o, "resetMethods", TAKE_PTR(array));
}

/* Would the value tell this machine from all others? */
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

static int add_properties(struct json_object *o, char **properties, bool with_serials) {
    _cleanup_json_ struct json_object *object = json_object_new_object();
    int r = object ? 0 : -ENOMEM;

    for (char **p = properties; r >= 0 && p && *p; p++) {
        const char *value = strchr(*p, '=');
        char key[256];

        if (!value || (size_t) (value - *p) >= sizeof(key))
            continue;
        (void) snprintf(key, sizeof(key), "%.*s", (int) (value - *p), *p);
        r = json_add_string(object, key, with_serials || !is_private(*p) ? value + 1 : "hidden");
    }
    return r < 0 ? r : json_add(o, "properties", TAKE_PTR(object));
}

static int add_facts(struct json_object *o, const DeviceFacts *f, bool with_serials) {
    int r = 0;

    if (f->known & DEVICE_FACT_RESET_METHODS)
        r = add_reset_methods(o, f->reset_methods);
    if (r >= 0 && f->known & DEVICE_FACT_NUMA_NODE)
        r = add_number(o, "numaNode", f->numa_node);
    if (r >= 0 && f->known & DEVICE_FACT_DRIVER_OVERRIDE)
        r = json_add_string(o, "driverOverride", f->driver_override);
    if (r >= 0 && f->known & DEVICE_FACT_REMOVABLE && f->removable != REMOVABLE_UNKNOWN)
        r = json_add_string(o, "removable", removable_to_string(f->removable));
    /* The reason tells of mount points and addresses. */
    if (r >= 0 && f->known & DEVICE_FACT_HOST_CRITICAL)
        r = json_add_string(o, "hostCritical",
                !f->host_critical      ? ""
                        : with_serials ? f->host_critical
                                       : "the host uses it");
    if (r >= 0 && f->known & DEVICE_FACT_DESCENDANTS)
        r = json_add_string(o, "descendants",
                !f->descendants        ? ""
                        : with_serials ? f->descendants
                                       : "something depends on its driver");
    if (r >= 0 && f->known & DEVICE_FACT_ENABLE_COUNT && f->enable_count >= 0)
        r = add_number(o, "enable", f->enable_count);
    if (r >= 0 && f->known & DEVICE_FACT_ACS && f->acs != ACS_UNKNOWN)
        r = json_add_string(o, "acsPath", acs_path_to_string(f->acs));
    if (r >= 0 && f->known & DEVICE_FACT_SLOT_PATH)
        r = json_add_string(o, "slotPath", f->slot_path);
    /* That it has none is no secret. */
    if (r >= 0 && f->known & DEVICE_FACT_SERIAL && (with_serials || !f->serial[0]))
        r = json_add_string(o, "serial", f->serial);
    if (r >= 0 && f->known & DEVICE_FACT_PROPERTIES)
        r = add_properties(o, f->properties, with_serials);
    return r;
}

static int add_node(struct json_object *o, const Device *d) {
    char node[48];
    int r;

    if (d->vfio_index < 0)
        return 0;
    r = add_number(o, "vfioIndex", d->vfio_index);
    if (r < 0 || d->vfio_rdev == 0)
        return r;
    (void) snprintf(node, sizeof(node), SNAPSHOT_NODE_FORMAT, d->vfio_index);
    return json_add_string(o, "vfioNode", node);
}

static int add_parent(struct json_object *o, const Device *d) {
    const DeviceName *parent = device_parent_name(d);
    char name[DEVICE_NAME_MAX];

    return parent ? json_add_string(o, "parent", device_name_format(parent, name)) : 0;
}

struct json_object *host_snapshot_device_to_json(
        const Device *d, const DeviceFacts *facts, bool with_serials) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    char name[DEVICE_NAME_MAX];

    if (!o || json_add_string(o, "name", device_name_format(&d->name, name)) < 0 ||
            add_number(o, "vendor", d->vendor) < 0 || add_number(o, "product", d->device) < 0 ||
            add_number(o, "subsystemVendor", d->subsystem_vendor) < 0 ||
            add_number(o, "subsystemProduct", d->subsystem_device) < 0 ||
            add_number(o, "class", d->class_code) < 0 || add_number(o, "revision", d->revision) < 0 ||
            json_add_string(o, "driver", d->driver ?: "") < 0 ||
            (d->group && add_number(o, "group", d->group->id) < 0) || add_node(o, d) < 0 ||
            add_parent(o, d) < 0 || add_facts(o, facts, with_serials) < 0)
        return NULL;
    return TAKE_PTR(o);
}

static struct json_object *region_to_json(const ReservedRegion *region) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    char start[24], end[24];

    /* As text: a JSON number is not good for 64 bits. */
    (void) snprintf(start, sizeof(start), "0x%" PRIx64, region->start);
    (void) snprintf(end, sizeof(end), "0x%" PRIx64, region->end);
    if (!o || json_add_string(o, "start", start) < 0 || json_add_string(o, "end", end) < 0 ||
            json_add_string(o, "type", region->type) < 0)
        return NULL;
    return TAKE_PTR(o);
}

struct json_object *host_snapshot_group_to_json(const Group *g, const GroupFacts *facts) {
    _cleanup_json_ struct json_object *o = json_object_new_object(), *regions = json_object_new_array();
    char node[32] = "";

    if (facts->node_present)
        (void) snprintf(node, sizeof(node), "/dev/vfio/%d", g->id);
    if (!o || !regions || add_number(o, "id", g->id) < 0 || json_add_string(o, "type", facts->type) < 0 ||
            json_add_string(o, "vfioNode", node) < 0)
        return NULL;
    for (size_t i = 0; i < facts->n_regions; i++)
        if (json_append(regions, region_to_json(&facts->regions[i])) < 0)
            return NULL;
    if (json_add(o, "reservedRegions", TAKE_PTR(regions)) < 0)
        return NULL;
    return TAKE_PTR(o);
}

struct json_object *host_snapshot_kernel_to_json(const KernelFacts *k) {
    _cleanup_json_ struct json_object *o = json_object_new_object();

    if (!o || json_add(o, "iommufd", json_object_new_boolean(k->iommufd)) < 0 ||
            json_add(o, "deviceCdev", json_object_new_boolean(k->device_cdev)) < 0 ||
            json_add(o, "container", json_object_new_boolean(k->container)) < 0 ||
            json_add(o, "noiommuSupport", json_object_new_boolean(k->noiommu_support)) < 0 ||
            json_add(o, "noiommuEnabled", json_object_new_boolean(k->noiommu_enabled)) < 0 ||
            json_add(o, "iommu", json_object_new_boolean(k->iommu)) < 0 ||
            json_add(o, "lockdown", json_object_new_boolean(k->lockdown)) < 0)
        return NULL;
    return TAKE_PTR(o);
}
