/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The tree of a host's devices: root buses, ports, switches, functions, and devices that drivers made; which
 * of them share an IOMMU group, and which port is the cause. Pure: from objects of the daemon or of a
 * recorded host to a tree, and from there to text, JSON, SVG and dot. All text is hostile, and so is the
 * structure: parents may be missing or form circles. */

#include "base/json-build.h"
#include "client/table.h"

#define TOPOLOGY_NONE SIZE_MAX
#define TOPOLOGY_DEPTH_MAX 32U /* deeper devices are shown as roots */

/* What a device is for those below it. */
typedef enum TopologyRole {
    TOPOLOGY_FUNCTION,
    TOPOLOGY_VIRTUAL_FUNCTION,
    TOPOLOGY_ROOT_PORT,
    TOPOLOGY_UPSTREAM_PORT,   /* of a switch */
    TOPOLOGY_DOWNSTREAM_PORT, /* of a switch */
    TOPOLOGY_BRIDGE,          /* to conventional PCI, or unknown */
    _TOPOLOGY_ROLE_MAX,
    _TOPOLOGY_ROLE_INVALID = -EINVAL,
} TopologyRole;
DECLARE_STRING_TABLE(topology_role, TopologyRole);

typedef struct TopologyNode {
    struct json_object *device; /* borrowed */
    const char *name;           /* borrowed from it */
    TopologyRole role;
    size_t parent; /* TOPOLOGY_NONE: its root */
    size_t root;
    size_t group; /* TOPOLOGY_NONE: it has none */
    unsigned depth;
    bool last;             /* of its siblings */
    bool does_not_isolate; /* a port that makes the devices below it share a group */
    int64_t numa;          /* if it differs from the root's, and there are several; otherwise -1 */
    const char *iommu;     /* likewise; NULL */
} TopologyNode;

/* A root bus, or all devices of another kind than PCI. */
typedef struct TopologyRoot {
    char *label; /* owned: "root bus 0000:00", "platform devices" */
    char *bus;   /* owned: "0000:00", or the kind: "platform" */
    bool is_pci;
    int64_t numa;      /* -1: unknown, or the host has only one */
    const char *iommu; /* NULL: likewise */
    size_t first, n;   /* nodes */
} TopologyRoot;

typedef struct TopologyGroup {
    int64_t id;
    size_t n;  /* members */
    char *why; /* owned: why they share it; NULL: there is one member */
} TopologyGroup;

typedef struct Topology {
    struct json_object *claims; /* borrowed; may be NULL */
    TopologyNode *nodes;        /* owned; parents before their children, which are in order */
    size_t n_nodes;
    TopologyRoot *roots; /* owned */
    size_t n_roots;
    TopologyGroup *groups; /* owned; by number */
    size_t n_groups;
} Topology;

void topology_done(Topology *t);
/* devices: an array of the daemon's objects. claims: likewise, with "user", the name of the uid or null; may
 * be NULL. Both are borrowed. 0 or -ENOMEM. */
int topology_build(struct json_object *devices, struct json_object *claims, Topology *ret);
/* Keeps the n named devices, everything below them, the other members of their groups, and everything above
 * these. 0 or -ENOMEM. */
int topology_select(Topology *t, const char *const *names, size_t n);

bool topology_is_port(const TopologyNode *n); /* or a bridge */
/* "root port", "vga", "ethernet VF". Owned by the caller; NULL on ENOMEM. */
char *topology_kind(const TopologyNode *n);
/* Notes: "lacks ACS", "boot display", "held by alice (1000)"… in the order of importance, one for each call.
 * *ret is owned by the caller. 1; 0: there is no such note; or -ENOMEM. */
typedef enum TopologyNote {
    TOPOLOGY_NOTE_ISOLATION,
    TOPOLOGY_NOTE_STATE,
    TOPOLOGY_NOTE_HOST_USE,
    TOPOLOGY_NOTE_PLACE, /* NUMA node and IOMMU, if they differ from the root's */
    _TOPOLOGY_NOTE_MAX,
} TopologyNote;
int topology_note(const Topology *t, const TopologyNode *n, TopologyNote note, char **ret);
Colour topology_note_colour(const TopologyNode *n, TopologyNote note);
int64_t topology_numa(const TopologyNode *n); /* also when the host has only one; -1: none */
/* NUMA node and IOMMU of a root; "" when the host has only one. Owned by the caller; NULL on ENOMEM. */
char *topology_place(int64_t numa, const char *iommu);

/* The formats. All are owned by the caller; NULL on ENOMEM. */
char *topology_format_dot(const Topology *t);
char *topology_format_tree(const Topology *t, const TableStyle *style, bool utf8);
struct json_object *topology_to_json(const Topology *t);
