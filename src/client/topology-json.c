/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The topology for scripts: the daemon's objects as a tree. */

#include "client/topology.h"

#include "base/str.h"
#include "client/show.h"

static const char *const topology_role_table[_TOPOLOGY_ROLE_MAX] = {
        [TOPOLOGY_FUNCTION] = "function",
        [TOPOLOGY_VIRTUAL_FUNCTION] = "virtual-function",
        [TOPOLOGY_ROOT_PORT] = "root-port",
        [TOPOLOGY_UPSTREAM_PORT] = "upstream-port",
        [TOPOLOGY_DOWNSTREAM_PORT] = "downstream-port",
        [TOPOLOGY_BRIDGE] = "bridge",
};
DEFINE_STRING_TABLE(topology_role, TopologyRole);

/* A device from the daemon with what was derived. *ret_below: the list of its children, borrowed. */
static int node_to_json(const TopologyNode *n, struct json_object **ret, struct json_object **ret_below) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    struct json_object *below = json_object_new_array();
    int r = o && below ? 0 : -ENOMEM;

    json_object_object_foreach(n->device, key, value) {
        if (r >= 0 && json_object_object_add(o, key, json_object_get(value)) < 0)
            r = -ENOMEM;
    }
    if (r >= 0)
        r = json_add(o, "role", json_object_new_string(topology_role_to_string(n->role)));
    if (r >= 0 && topology_is_port(n))
        r = json_add(o, "isolates", json_object_new_boolean(!n->does_not_isolate));
    if (r < 0) {
        json_object_put(below);
        return r;
    }
    r = json_add(o, "below", below);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(o);
    *ret_below = below;
    return 0;
}

static int root_to_json(const TopologyRoot *root, struct json_object **ret, struct json_object **ret_below) {
    _cleanup_json_ struct json_object *o = json_object_new_object(), *below = json_object_new_array();

    if (!o || !below || json_add_string(o, "bus", root->is_pci ? root->bus : NULL) < 0 ||
            json_add_string(o, "kind", root->is_pci ? "pci" : root->bus) < 0)
        return -ENOMEM;
    *ret_below = below;
    if (json_add(o, "below", TAKE_PTR(below)) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(o);
    return 0;
}

static int add_roots(const Topology *t, struct json_object *roots) {
    _cleanup_free_ struct json_object **below = calloc(t->n_nodes + 1, sizeof(*below));
    struct json_object *o = NULL, *of_root = NULL;
    int r = below ? 0 : -ENOMEM;

    for (size_t k = 0; k < t->n_roots && r >= 0; k++) {
        const TopologyRoot *root = &t->roots[k];

        r = root_to_json(root, &o, &of_root);
        if (r >= 0)
            r = json_append(roots, o);
        for (size_t i = root->first; i < root->first + root->n && r >= 0; i++) {
            const TopologyNode *n = &t->nodes[i];

            r = node_to_json(n, &o, &below[i]);
            if (r >= 0)
                r = json_append(n->parent == TOPOLOGY_NONE ? of_root : below[n->parent], o);
        }
    }
    return r;
}

static int group_to_json(const Topology *t, size_t group, struct json_object *groups) {
    _cleanup_json_ struct json_object *o = json_object_new_object(), *devices = json_object_new_array();
    int r = o && devices ? json_add(o, "id", json_object_new_int64(t->groups[group].id)) : -ENOMEM;

    for (size_t i = 0; i < t->n_nodes && r >= 0; i++)
        if (t->nodes[i].group == group)
            r = json_append(devices, json_object_new_string(t->nodes[i].name));
    if (r < 0 || json_object_array_length(devices) == 0)
        return r;
    r = json_add(o, "devices", TAKE_PTR(devices));
    if (r >= 0)
        r = json_add_string(o, "why", t->groups[group].why);
    return r < 0 ? r : json_append(groups, TAKE_PTR(o));
}

static int add_groups(const Topology *t, struct json_object *groups) {
    int r = 0;

    for (size_t i = 0; i < t->n_groups && r >= 0; i++)
        r = group_to_json(t, i, groups);
    return r;
}

struct json_object *topology_to_json(const Topology *t) {
    _cleanup_json_ struct json_object *o = json_object_new_object(), *roots = json_object_new_array(),
                                      *groups = json_object_new_array();

    if (!o || !roots || !groups || add_roots(t, roots) < 0 || add_groups(t, groups) < 0 ||
            json_add(o, "roots", TAKE_PTR(roots)) < 0 || json_add(o, "groups", TAKE_PTR(groups)) < 0 ||
            json_add(o, "claims", t->claims ? json_object_get(t->claims) : json_object_new_array()) < 0)
        return NULL;
    return TAKE_PTR(o);
}
