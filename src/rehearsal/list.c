/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Lists the devices of a recorded host as the daemon would. */

#include "base/json-build.h"
#include "base/str.h"
#include "rehearsal/decide.h"
#include "rehearsal/rehearsal.h"

#define FACTS                                                                                                \
    ((unsigned) (DEVICE_FACT_NUMA_NODE | DEVICE_FACT_HOST_CRITICAL | DEVICE_FACT_ACS |                       \
            DEVICE_FACT_SLOT_PATH | DEVICE_FACT_IOMMU_UNIT))

typedef struct Lister {
    HostView host;
    struct json_object *devices; /* borrowed */
} Lister;

static int add_acs_path(struct json_object *o, const DeviceFacts *facts) {
    _cleanup_json_ struct json_object *acs = json_object_new_object();
    char blocker[DEVICE_NAME_MAX] = "";

    if (facts->has_acs_blocker)
        (void) device_name_format(&facts->acs_blocker, blocker);
    if (!acs || json_add_string(acs, "path", acs_path_to_string(facts->acs)) < 0 ||
            json_add_string(acs, "blocker", blocker) < 0)
        return -ENOMEM;
    json_object_object_del(o, "acsBlocker");
    return json_add(o, "acsPath", TAKE_PTR(acs));
}

/* The defaults that the daemon reports for a device without these members. */
static int add_missing(struct json_object *o) {
    if (!json_object_object_get_ex(o, "group", NULL) && json_object_object_add(o, "group", NULL) < 0)
        return -ENOMEM;
    if (!json_object_object_get_ex(o, "parent", NULL) && json_object_object_add(o, "parent", NULL) < 0)
        return -ENOMEM;
    return 0;
}

static int add_device(Device *d, void *userdata) {
    _cleanup_(device_facts_done) DeviceFacts facts = DEVICE_FACTS_NULL;
    _cleanup_json_ struct json_object *o = NULL;
    Lister *l = userdata;
    int r;

    r = l->host.facts.read_facts(l->host.facts.userdata, d, FACTS, &facts);
    if (r < 0)
        return r;
    o = host_snapshot_device_to_json(d, &facts, /* with_serials= */ true);
    if (!o || add_acs_path(o, &facts) < 0 || add_missing(o) < 0)
        return -ENOMEM;
    return json_append(l->devices, TAKE_PTR(o));
}

static int add_selected(Lister *l, const char *word, struct json_object *selected, char **ret_problem) {
    char text[DEVICE_NAME_MAX];
    DeviceName name;
    Device *d;
    int r;

    if (device_name_parse(word, &name) < 0)
        return problem(ret_problem, -EINVAL, "%s: not the name of a device", word);
    r = find_device(&l->host, &name, &d, ret_problem);
    if (r < 0)
        return r;
    return json_append(selected, json_object_new_string(device_name_format(&d->name, text)));
}

int rehearsal_list(const char *host, const char *const *words, struct json_object **ret, char **ret_problem) {
    _cleanup_json_ struct json_object *o = json_object_new_object(), *devices = json_object_new_array(),
                                      *selected = json_object_new_array();
    Lister l = {.devices = devices};
    Inventory *inventory;
    int r;

    assert(host);

    *ret_problem = NULL;
    if (!o || !devices || !selected)
        return -ENOMEM;
    r = host_view_open(host, &l.host, ret_problem);
    if (r < 0)
        return r;
    r = host_view_get_inventory(&l.host, &inventory, ret_problem);
    if (r >= 0)
        r = inventory_foreach_device(inventory, add_device, &l);
    for (size_t i = 0; r >= 0 && words && words[i]; i++)
        r = add_selected(&l, words[i], selected, ret_problem);
    host_view_done(&l.host);
    if (r < 0)
        return r;
    if (json_add(o, "devices", TAKE_PTR(devices)) < 0 || json_add(o, "selected", TAKE_PTR(selected)) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(o);
    return 0;
}
