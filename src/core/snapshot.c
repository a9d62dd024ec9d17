/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/snapshot.h"

static void json_putp(struct json_object **o) {
    json_object_put(*o);
}
#define _cleanup_json_ _cleanup_(json_putp)

/* json-c's function takes the value over only when it succeeds; this one always does. */
static int add(struct json_object *o, const char *key, struct json_object *value) {
    if (!value)
        return -ENOMEM;
    if (json_object_object_add_ex(
                o, key, value, JSON_C_OBJECT_ADD_KEY_IS_NEW | JSON_C_OBJECT_KEY_IS_CONSTANT) < 0) {
        json_object_put(value);
        return -ENOMEM;
    }
    return 0;
}

struct json_object *host_snapshot_kernel_to_json(const KernelFacts *k) {
    _cleanup_json_ struct json_object *o = json_object_new_object();

    if (!o || add(o, "iommufd", json_object_new_boolean(k->iommufd)) < 0 ||
            add(o, "deviceCdev", json_object_new_boolean(k->device_cdev)) < 0 ||
            add(o, "container", json_object_new_boolean(k->container)) < 0 ||
            add(o, "noiommuSupport", json_object_new_boolean(k->noiommu_support)) < 0 ||
            add(o, "noiommuEnabled", json_object_new_boolean(k->noiommu_enabled)) < 0 ||
            add(o, "iommu", json_object_new_boolean(k->iommu)) < 0 ||
            add(o, "lockdown", json_object_new_boolean(k->lockdown)) < 0)
        return NULL;
    return TAKE_PTR(o);
}
