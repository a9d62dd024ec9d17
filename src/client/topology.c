/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Makes a tree of a list of devices. */

#include "client/topology.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/str.h"
#include "client/show.h"

void topology_done(Topology *t) {
    for (size_t i = 0; i < t->n_roots; i++) {
        free(t->roots[i].label);
        free(t->roots[i].bus);
    }
    for (size_t i = 0; i < t->n_groups; i++)
        free(t->groups[i].why);
    free(t->roots);
    free(t->groups);
    free(t->nodes);
    *t = (Topology){};
}

/* ---- Parents ---- */

typedef struct Entry {
    struct json_object *device; /* borrowed, as are the texts */
    const char *name, *slot_path;
    size_t parent;
    size_t first_child, next; /* children of the same parent, or root */
    char *bus;                /* owned; for children of a root: "0000:00", "platform" */
    size_t place;             /* index of its node */
} Entry;

typedef struct Builder {
    Entry *entries; /* owned, in the order of the list */
    size_t n;
    const Entry **by_name, **by_path; /* owned; sorted, of the same length */
} Builder;

static void builder_done(Builder *b) {
    for (size_t i = 0; b->entries && i < b->n; i++)
        free(b->entries[i].bus);
    free(b->entries);
    free(b->by_name);
    free(b->by_path);
}

static int compare_names(const void *a, const void *b) {
    return strcmp((*(const Entry *const *) a)->name, (*(const Entry *const *) b)->name);
}

static int compare_paths(const void *a, const void *b) {
    return strcmp((*(const Entry *const *) a)->slot_path, (*(const Entry *const *) b)->slot_path);
}

static int take_entries(Builder *b, struct json_object *devices) {
    size_t n = json_object_array_length(devices);

    b->entries = calloc(n + 1, sizeof(Entry));
    b->by_name = calloc(n + 1, sizeof(Entry *));
    b->by_path = calloc(n + 1, sizeof(Entry *));
    if (!b->entries || !b->by_name || !b->by_path)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        struct json_object *device = json_object_array_get_idx(devices, i);

        b->entries[b->n] = (Entry){
                .device = device,
                .name = json_text(device, "name"),
                .slot_path = json_text(device, "slotPath"),
                .parent = TOPOLOGY_NONE,
                .first_child = TOPOLOGY_NONE,
                .next = TOPOLOGY_NONE,
        };
        b->by_name[b->n] = b->by_path[b->n] = &b->entries[b->n];
        b->n++;
    }
    qsort(b->by_name, b->n, sizeof(Entry *), compare_names);
    qsort(b->by_path, b->n, sizeof(Entry *), compare_paths);
    return 0;
}

static size_t find_name(const Builder *b, const char *name) {
    const Entry key = {.name = name}, *wanted = &key, **found;

    found = *name ? bsearch(&wanted, b->by_name, b->n, sizeof(Entry *), compare_names) : NULL;
    return found ? (size_t) (*found - b->entries) : TOPOLOGY_NONE;
}

/* The nearest existing port above it. */
static int find_port(const Builder *b, const Entry *e, size_t *ret) {
    _cleanup_free_ char *path = strdup(e->slot_path);
    char *slash;

    *ret = TOPOLOGY_NONE;
    if (!path)
        return -ENOMEM;
    while (*ret == TOPOLOGY_NONE && (slash = strrchr(path, '/'))) {
        const Entry key = {.slot_path = path}, *wanted = &key, **found;

        *slash = '\0';
        found = bsearch(&wanted, b->by_path, b->n, sizeof(Entry *), compare_paths);
        *ret = found ? (size_t) (*found - b->entries) : TOPOLOGY_NONE;
    }
    return 0;
}

/* "pci:0000:00" of "pci:0000:00:1c.0"; the kind of another device. */
static size_t domain_length(const char *name) {
    return startswith(name, "pci:") ? 4 + strcspn(name + 4, ":") : strcspn(name, ":");
}

static bool is_of_domain_of(const char *name, const char *other) {
    size_t n = domain_length(name);

    return startswith(name, "pci:") && n == domain_length(other) && memcmp(name, other, n) == 0;
}

/* The parent of a virtual function is its physical function and not the port above both. The controller of a
 * PCI domain comes after the ports in it. */
static int find_parent(Builder *b, Entry *e) {
    const char *name = json_text(e->device, "parent");
    int r;

    if (is_of_domain_of(e->name, name))
        e->parent = find_name(b, name);
    if (e->parent == TOPOLOGY_NONE) {
        r = find_port(b, e, &e->parent);
        if (r < 0)
            return r;
    }
    if (e->parent == TOPOLOGY_NONE)
        e->parent = find_name(b, name);
    if (e->parent < b->n && &b->entries[e->parent] == e)
        e->parent = TOPOLOGY_NONE;
    return 0;
}

/* Whatever the input was, the result is a forest: a circle is infinitely deep. */
static void cut_what_is_too_deep(Builder *b) {
    for (size_t i = 0; i < b->n; i++) {
        unsigned depth = 0;

        for (size_t k = i; depth <= TOPOLOGY_DEPTH_MAX && b->entries[k].parent != TOPOLOGY_NONE; depth++)
            k = b->entries[k].parent;
        if (depth > TOPOLOGY_DEPTH_MAX)
            b->entries[i].parent = TOPOLOGY_NONE;
    }
}

/* "0000:00" of "0000:00:1c.0", limited in length; for other kinds the kind. */
static char *bus_of(const Entry *e) {
    const char *address = startswith(e->name, "pci:");
    size_t n;

    if (!address)
        return strndup(e->name, strcspn(e->name, ":"));
    if (*e->slot_path)
        address = e->slot_path;
    n = strcspn(address, ":");
    n += address[n] ? 1 + strcspn(address + n + 1, ":/") : 0;
    return strndup(address, n);
}

static int link_entries(Builder *b, size_t **ret_roots, size_t *ret_n_roots) {
    _cleanup_free_ size_t *roots = calloc(b->n + 1, sizeof(size_t));
    size_t n = 0;

    if (!roots)
        return -ENOMEM;
    for (size_t i = b->n; i-- > 0;) {
        Entry *e = &b->entries[i];

        if (e->parent == TOPOLOGY_NONE)
            continue;
        e->next = b->entries[e->parent].first_child;
        b->entries[e->parent].first_child = i;
    }
    for (size_t i = 0; i < b->n; i++) {
        if (b->entries[i].parent != TOPOLOGY_NONE)
            continue;
        b->entries[i].bus = bus_of(&b->entries[i]);
        if (!b->entries[i].bus)
            return -ENOMEM;
        roots[n++] = i;
    }
    *ret_roots = TAKE_PTR(roots);
    *ret_n_roots = n;
    return 0;
}

static int compare_roots(const void *a, const void *b, void *userdata) {
    const Entry *entries = userdata, *x = entries + *(const size_t *) a, *y = entries + *(const size_t *) b;
    bool pci_x = startswith(x->name, "pci:"), pci_y = startswith(y->name, "pci:");
    int r;

    if (pci_x != pci_y)
        return (int) pci_y - (int) pci_x;
    /* numbers in hex with leading zeros as needed */
    r = pci_x && strlen(x->bus) != strlen(y->bus) ? strlen(x->bus) < strlen(y->bus) ? -1 : 1
                                                  : strcmp(x->bus, y->bus);
    return r != 0 ? r : x < y ? -1 : 1;
}

static int add_root(Topology *t, const Entry *e) {
    TopologyRoot *root = t->n_roots > 0 ? &t->roots[t->n_roots - 1] : NULL, *grown;
    bool pci = startswith(e->name, "pci:");

    if (root && root->is_pci == pci && streq(root->bus, e->bus))
        return 0;
    grown = reallocarray(t->roots, t->n_roots + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    t->roots = grown;
    root = &grown[t->n_roots++];
    *root = (TopologyRoot){.first = t->n_nodes, .numa = -1, .is_pci = pci};
    root->bus = strdup(e->bus);
    root->label = pci ? format_string("root bus %s", e->bus) : format_string("%s devices", e->bus);
    return root->label && root->bus ? 0 : -ENOMEM;
}

static void add_node(Topology *t, Builder *b, size_t i) {
    Entry *e = &b->entries[i];
    size_t parent = e->parent == TOPOLOGY_NONE ? TOPOLOGY_NONE : b->entries[e->parent].place;

    e->place = t->n_nodes;
    t->nodes[t->n_nodes++] = (TopologyNode){
            .device = e->device,
            .name = e->name,
            .parent = parent,
            .root = t->n_roots - 1,
            .group = TOPOLOGY_NONE,
            .depth = parent == TOPOLOGY_NONE ? 0 : t->nodes[parent].depth + 1,
            .numa = -1,
    };
    t->roots[t->n_roots - 1].n++;
}

/* Adds i and everything below it, without recursion. */
static void add_branch(Topology *t, Builder *b, size_t i) {
    size_t at = i;

    for (;;) {
        add_node(t, b, at);
        if (b->entries[at].first_child != TOPOLOGY_NONE) {
            at = b->entries[at].first_child;
            continue;
        }
        while (at != i && b->entries[at].next == TOPOLOGY_NONE)
            at = b->entries[at].parent;
        if (at == i)
            return;
        at = b->entries[at].next;
    }
}

static int grow(Topology *t, Builder *b) {
    _cleanup_free_ size_t *roots = NULL;
    size_t n = 0;
    int r;

    r = link_entries(b, &roots, &n);
    if (r < 0)
        return r;
    qsort_r(roots, n, sizeof(size_t), compare_roots, b->entries);
    t->nodes = calloc(b->n + 1, sizeof(TopologyNode));
    if (!t->nodes)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        r = add_root(t, &b->entries[roots[i]]);
        if (r < 0)
            return r;
        add_branch(t, b, roots[i]);
    }
    return 0;
}

/* Marks the last of all siblings, from the end. */
static int find_last(Topology *t) {
    _cleanup_free_ bool *seen = calloc(t->n_nodes + t->n_roots + 1, sizeof(bool));

    if (!seen)
        return -ENOMEM;
    for (size_t i = t->n_nodes; i-- > 0;) {
        TopologyNode *n = &t->nodes[i];
        size_t above = n->parent == TOPOLOGY_NONE ? t->n_nodes + n->root : n->parent;

        n->last = !seen[above];
        seen[above] = true;
    }
    return 0;
}

/* ---- Roles ---- */

static bool is_pci_bridge(const TopologyNode *n) {
    return is_pci(n->device) && class_is((uint32_t) json_number(n->device, "class"), "pci-bridge");
}

static bool is_virtual_function(const Topology *t, const TopologyNode *n) {
    const char *parent = json_text(n->device, "parent");

    return n->parent != TOPOLOGY_NONE && streq(t->nodes[n->parent].name, parent) &&
            is_of_domain_of(n->name, parent);
}

bool topology_is_port(const TopologyNode *n) {
    return n->role >= TOPOLOGY_ROOT_PORT;
}

/* Only ports of PCI Express have the driver pcieport. Below a root port is the upstream port of a switch,
 * below that its downstream ports, and so on. */
static void find_roles(Topology *t) {
    for (size_t i = 0; i < t->n_nodes; i++) {
        TopologyNode *n = &t->nodes[i];
        TopologyRole above = n->parent == TOPOLOGY_NONE ? TOPOLOGY_FUNCTION : t->nodes[n->parent].role;

        if (!is_pci_bridge(n)) {
            n->role = is_virtual_function(t, n) ? TOPOLOGY_VIRTUAL_FUNCTION : TOPOLOGY_FUNCTION;
            continue;
        }
        n->role = TOPOLOGY_BRIDGE;
        if (!streq(json_text(n->device, "driver"), "pcieport"))
            continue;
        if (above == TOPOLOGY_FUNCTION)
            n->role = TOPOLOGY_ROOT_PORT;
        else if (above == TOPOLOGY_UPSTREAM_PORT)
            n->role = TOPOLOGY_DOWNSTREAM_PORT;
        else if (above == TOPOLOGY_ROOT_PORT || above == TOPOLOGY_DOWNSTREAM_PORT)
            n->role = TOPOLOGY_UPSTREAM_PORT;
    }
}

static int compare_groups(const void *a, const void *b) {
    const TopologyGroup *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

/* False: it has none. */
static bool get_group(const TopologyNode *n, int64_t *ret) {
    struct json_object *group = json_member(n->device, "group");

    if (!json_object_is_type(group, json_type_int))
        return false;
    *ret = json_object_get_int64(group);
    return true;
}

static int find_groups(Topology *t) {
    size_t n = 0;

    t->groups = calloc(t->n_nodes + 1, sizeof(TopologyGroup));
    if (!t->groups)
        return -ENOMEM;
    for (size_t i = 0; i < t->n_nodes; i++)
        if (get_group(&t->nodes[i], &t->groups[n].id))
            n++;
    qsort(t->groups, n, sizeof(TopologyGroup), compare_groups);
    for (size_t i = 0; i < n; i++)
        if (t->n_groups == 0 || t->groups[t->n_groups - 1].id != t->groups[i].id)
            t->groups[t->n_groups++] = t->groups[i];
    for (size_t i = 0; i < t->n_nodes; i++) {
        TopologyGroup key = {}, *found;

        if (!get_group(&t->nodes[i], &key.id))
            continue;
        found = bsearch(&key, t->groups, t->n_groups, sizeof(key), compare_groups);
        t->nodes[i].group = (size_t) (found - t->groups);
        found->n++;
    }
    return 0;
}

/* ---- Why they share a group ---- */

static bool shares_group_with_parent(const Topology *t, const TopologyNode *n) {
    return n->group != TOPOLOGY_NONE && n->parent != TOPOLOGY_NONE && t->nodes[n->parent].group == n->group;
}

/* Functions of one slot: the same name up to the dot. */
static bool is_of_slot_of(const TopologyNode *n, const TopologyNode *other) {
    const char *dot = strrchr(n->name, '.');
    size_t length = dot ? (size_t) (dot - n->name) + 1 : 0;

    return length > 0 && strncmp(n->name, other->name, length) == 0 && !strchr(other->name + length, '.');
}

/* If the kernel puts a bridge into one group with devices below it, the bridge or one above it does not
 * isolate. If one above did not, it would be in the group too. So it is the topmost bridge in the group. This
 * needs no config space, which is not read while a device is in use. */
static void blame_topmost(Topology *t) {
    for (size_t i = 0; i < t->n_nodes; i++) {
        TopologyNode *parent;

        if (!shares_group_with_parent(t, &t->nodes[i]))
            continue;
        parent = &t->nodes[t->nodes[i].parent];
        if (topology_is_port(parent) && !shares_group_with_parent(t, parent))
            parent->does_not_isolate = true;
    }
}

/* Also true for a port that has ACS and does not enable it. */
static void blame_reported(Topology *t, const Builder *b) {
    for (size_t i = 0; i < t->n_nodes; i++) {
        struct json_object *acs = json_member(t->nodes[i].device, "acsPath");
        const char *path = json_object_is_type(acs, json_type_object) ? json_text(acs, "path") : "";
        size_t blocker = streq(path, "incomplete") ? find_name(b, json_text(acs, "blocker")) : TOPOLOGY_NONE;
        TopologyNode *node = blocker != TOPOLOGY_NONE ? &t->nodes[b->entries[blocker].place] : NULL;

        if (node && topology_is_port(node))
            node->does_not_isolate = true;
    }
}

static const char *role_word(TopologyRole role) {
    static const char *const words[_TOPOLOGY_ROLE_MAX] = {
            [TOPOLOGY_ROOT_PORT] = "root port",
            [TOPOLOGY_UPSTREAM_PORT] = "switch",
            [TOPOLOGY_DOWNSTREAM_PORT] = "switch port",
            [TOPOLOGY_BRIDGE] = "bridge",
    };

    return words[role];
}

/* A bridge to conventional PCI cannot have ACS. */
static const char *fault_of(const TopologyNode *n) {
    return n->role == TOPOLOGY_BRIDGE ? "does not isolate" : "lacks ACS";
}

#define NAMED_PORTS 3U

typedef struct Why {
    const TopologyNode *top;                /* the first member without a member above it */
    const TopologyNode *ports[NAMED_PORTS]; /* the first ones that do not isolate */
    size_t n_ports;
    bool one_slot; /* all members without a member above them are functions of one slot */
} Why;

static void look_at_members(const Topology *t, Why *why) {
    for (size_t i = 0; i < t->n_nodes; i++) {
        const TopologyNode *n = &t->nodes[i];
        Why *w = n->group != TOPOLOGY_NONE ? &why[n->group] : NULL;

        if (w && n->does_not_isolate && w->n_ports++ < NAMED_PORTS)
            w->ports[w->n_ports - 1] = n;
        if (!w || shares_group_with_parent(t, n))
            continue;
        w->one_slot = w->top ? w->one_slot && is_of_slot_of(n, w->top) : true;
        w->top = w->top ?: n;
    }
}

static char *explain_ports(const Why *w) {
    size_t n = MIN(w->n_ports, (size_t) NAMED_PORTS);
    bool acs = true, one = w->n_ports == 1;
    _cleanup_strbuf_ StrBuf b = {};

    for (size_t i = 0; i < n; i++) {
        strbuf_addf(&b, "%s%s (%s)",
                i == 0                        ? ""
                        : i + 1 == w->n_ports ? " and "
                                              : ", ",
                w->ports[i]->name, role_word(w->ports[i]->role));
        acs = acs && w->ports[i]->role != TOPOLOGY_BRIDGE;
    }
    if (w->n_ports > n)
        strbuf_addf(&b, " and %zu more", w->n_ports - n);
    if (acs)
        strbuf_add(&b, one ? " lacks ACS, and so" : " lack ACS, and so");
    strbuf_add(&b, one ? " does not isolate what is below it" : " do not isolate what is below them");
    return strbuf_steal(&b);
}

static char *explain(const Why *w) {
    if (w->n_ports > 0)
        return explain_ports(w);
    if (w->one_slot && is_pci(w->top->device))
        return strdup("functions of one card, which does not isolate them from each other");
    return strdup("the kernel does not isolate them from each other; why is unknown");
}

static int find_reasons(Topology *t) {
    _cleanup_free_ Why *why = calloc(t->n_groups + 1, sizeof(Why));

    if (!why)
        return -ENOMEM;
    look_at_members(t, why);
    for (size_t i = 0; i < t->n_groups; i++) {
        if (t->groups[i].n < 2)
            continue;
        t->groups[i].why = explain(&why[i]);
        if (!t->groups[i].why)
            return -ENOMEM;
    }
    return 0;
}

/* ---- NUMA nodes and IOMMUs ---- */

int64_t topology_numa(const TopologyNode *n) {
    struct json_object *numa = json_member(n->device, "numaNode");

    return json_object_is_type(numa, json_type_int) ? json_object_get_int64(numa) : -1;
}

/* For a root that of its first device with one; for a device only if it differs from the root's. */
static void find_numa(Topology *t) {
    int64_t first = -1;
    bool several = false;

    for (size_t i = 0; i < t->n_nodes; i++) {
        int64_t numa = topology_numa(&t->nodes[i]);

        several = several || (first >= 0 && numa >= 0 && numa != first);
        first = first < 0 ? numa : first;
    }
    for (size_t i = 0; several && i < t->n_nodes; i++) {
        TopologyRoot *root = &t->roots[t->nodes[i].root];
        int64_t numa = topology_numa(&t->nodes[i]);

        root->numa = root->numa < 0 ? numa : root->numa;
        t->nodes[i].numa = numa == root->numa ? -1 : numa;
    }
}

static void find_iommus(Topology *t) {
    const char *first = "";
    bool several = false;

    for (size_t i = 0; i < t->n_nodes; i++) {
        const char *unit = json_text(t->nodes[i].device, "iommuUnit");

        several = several || (*first && *unit && !streq(unit, first));
        first = *first ? first : unit;
    }
    for (size_t i = 0; several && i < t->n_nodes; i++) {
        TopologyRoot *root = &t->roots[t->nodes[i].root];
        const char *unit = json_text(t->nodes[i].device, "iommuUnit");

        if (!*unit)
            continue;
        root->iommu = root->iommu ?: unit;
        t->nodes[i].iommu = streq(unit, root->iommu) ? NULL : unit;
    }
}

int topology_build(struct json_object *devices, struct json_object *claims, Topology *ret) {
    _cleanup_(topology_done) Topology t = {.claims = claims};
    _cleanup_(builder_done) Builder b = {};
    int r;

    r = take_entries(&b, devices);
    for (size_t i = 0; r >= 0 && i < b.n; i++)
        r = find_parent(&b, &b.entries[i]);
    if (r < 0)
        return r;
    cut_what_is_too_deep(&b);
    r = grow(&t, &b);
    if (r >= 0)
        r = find_last(&t);
    if (r >= 0)
        r = find_groups(&t);
    if (r < 0)
        return r;
    find_roles(&t);
    blame_topmost(&t);
    blame_reported(&t, &b);
    find_numa(&t);
    find_iommus(&t);
    r = find_reasons(&t);
    if (r < 0)
        return r;
    *ret = TAKE_GENERIC(t, (Topology){});
    return 0;
}

/* ---- Selecting ---- */

static bool is_named(const TopologyNode *n, const char *const *names, size_t n_names) {
    for (size_t i = 0; i < n_names; i++)
        if (streq(n->name, names[i]))
            return true;
    return false;
}

/* place: scratch space for the new number of each node. */
static void keep(Topology *t, const bool *shown, size_t *place) {
    size_t n_roots = 0, n_nodes = 0;

    for (size_t r = 0; r < t->n_roots; r++) {
        TopologyRoot root = t->roots[r];
        size_t first = n_nodes;

        for (size_t i = root.first; i < root.first + root.n; i++) {
            TopologyNode n = t->nodes[i];

            if (!shown[i])
                continue;
            n.parent = n.parent == TOPOLOGY_NONE ? TOPOLOGY_NONE : place[n.parent];
            n.root = n_roots;
            place[i] = n_nodes;
            t->nodes[n_nodes++] = n;
        }
        if (n_nodes == first) {
            free(root.label);
            free(root.bus);
            continue;
        }
        root.first = first;
        root.n = n_nodes - first;
        t->roots[n_roots++] = root;
    }
    t->n_nodes = n_nodes;
    t->n_roots = n_roots;
}

int topology_select(Topology *t, const char *const *names, size_t n) {
    _cleanup_free_ bool *shown = calloc(t->n_nodes + 1, sizeof(bool));
    _cleanup_free_ bool *groups = calloc(t->n_groups + 1, sizeof(bool));
    _cleanup_free_ size_t *place = calloc(t->n_nodes + 1, sizeof(size_t));

    if (!shown || !groups || !place)
        return -ENOMEM;
    for (size_t i = 0; i < t->n_nodes; i++) {
        const TopologyNode *node = &t->nodes[i];

        shown[i] = is_named(node, names, n) || (node->parent != TOPOLOGY_NONE && shown[node->parent]);
        if (shown[i] && node->group != TOPOLOGY_NONE)
            groups[node->group] = true;
    }
    for (size_t i = t->n_nodes; i-- > 0;) {
        const TopologyNode *node = &t->nodes[i];

        shown[i] = shown[i] || (node->group != TOPOLOGY_NONE && groups[node->group]);
        if (shown[i] && node->parent != TOPOLOGY_NONE)
            shown[node->parent] = true;
    }
    keep(t, shown, place);
    return find_last(t);
}

/* ---- Text ---- */

char *topology_kind(const TopologyNode *n) {
    char class[24];

    if (topology_is_port(n))
        return strdup(role_word(n->role));
    if (!is_pci(n->device))
        return strndup(n->name, strcspn(n->name, ":"));
    return format_string("%s%s", class_word((uint32_t) json_number(n->device, "class"), class, sizeof(class)),
            n->role == TOPOLOGY_VIRTUAL_FUNCTION ? " VF" : "");
}

char *topology_place(int64_t numa, const char *iommu) {
    _cleanup_strbuf_ StrBuf b = {};

    strbuf_add(&b, "");
    if (numa >= 0)
        strbuf_addf(&b, "NUMA node %" PRIi64, numa);
    if (iommu)
        strbuf_addf(&b, "%sIOMMU %s", numa >= 0 ? ", " : "", iommu);
    return strbuf_steal(&b);
}

static struct json_object *find_claim(const Topology *t, const char *id) {
    for (size_t i = 0; t->claims && i < json_object_array_length(t->claims); i++) {
        struct json_object *claim = json_object_array_get_idx(t->claims, i);

        if (streq(json_text(claim, "id"), id))
            return claim;
    }
    return NULL;
}

/* For a device that is not free. */
static char *describe_state(const Topology *t, const TopologyNode *n) {
    const char *state = json_text(n->device, "state"), *id = json_text(n->device, "claim"), *user;
    struct json_object *claim = *id ? find_claim(t, id) : NULL;
    const char *relation = streq(state, "claimed") ? "held by" : "claim of";
    const char *before = streq(state, "claimed") ? "" : state;
    int64_t uid = json_number(claim, "uid");

    if (!claim)
        return strdup(state);
    user = json_text(claim, "user");
    if (*user)
        return format_string("%s%s%s %s (%" PRIi64 ")", before, *before ? ", " : "", relation, user, uid);
    return format_string("%s%s%s uid %" PRIi64, before, *before ? ", " : "", relation, uid);
}

int topology_note(const Topology *t, const TopologyNode *n, TopologyNote note, char **ret) {
    const char *state = json_text(n->device, "state");

    *ret = NULL;
    if (note == TOPOLOGY_NOTE_ISOLATION && n->does_not_isolate)
        *ret = strdup(fault_of(n));
    else if (note == TOPOLOGY_NOTE_ISOLATION && t->n_groups > 0 && is_pci(n->device) &&
            n->group == TOPOLOGY_NONE)
        *ret = strdup("no IOMMU");
    else if (note == TOPOLOGY_NOTE_STATE && *state && !streq(state, "free"))
        *ret = describe_state(t, n);
    else if (note == TOPOLOGY_NOTE_HOST_USE && *json_text(n->device, "hostCritical"))
        *ret = strdup(json_text(n->device, "hostCritical"));
    else if (note == TOPOLOGY_NOTE_PLACE && (n->numa >= 0 || n->iommu))
        *ret = topology_place(n->numa, n->iommu);
    else
        return 0;
    return *ret ? 1 : -ENOMEM;
}

Colour topology_note_colour(const TopologyNode *n, TopologyNote note) {
    static const Colour colours[_TOPOLOGY_NOTE_MAX] = {
            [TOPOLOGY_NOTE_ISOLATION] = COLOUR_RED, [TOPOLOGY_NOTE_HOST_USE] = COLOUR_YELLOW};

    return note == TOPOLOGY_NOTE_STATE ? state_colour(json_text(n->device, "state")) : colours[note];
}
