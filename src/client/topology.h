/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How the devices of a host hang together: root buses, ports, switches, functions, and what their drivers
 * made below them; which of them share an IOMMU group, and which port is to blame. Pure: from the objects of
 * the daemon, or of a recorded host, to a tree, and from there to text, JSON, SVG and dot. Names and all
 * other text are hostile, and so is the shape: parents may be missing, or go in circles. */

#include "base/json-build.h"
#include "client/table.h"

#define TOPOLOGY_NONE SIZE_MAX
#define TOPOLOGY_DEPTH_MAX 32U /* what is deeper is shown as if nothing were above it */

/* What a device is for those below it. */
typedef enum TopologyRole {
    TOPOLOGY_FUNCTION,
    TOPOLOGY_VIRTUAL_FUNCTION,
    TOPOLOGY_ROOT_PORT,
    TOPOLOGY_UPSTREAM_PORT,   /* of a switch */
    TOPOLOGY_DOWNSTREAM_PORT, /* of a switch */
    TOPOLOGY_BRIDGE,          /* to conventional PCI, or it cannot be told */
    _TOPOLOGY_ROLE_MAX,
    _TOPOLOGY_ROLE_INVALID = -EINVAL,
} TopologyRole;
DECLARE_STRING_TABLE(topology_role, TopologyRole);

typedef struct TopologyNode {
    struct json_object *device; /* borrowed */
    const char *name;           /* borrowed from it */
    TopologyRole role;
    size_t parent; /* TOPOLOGY_NONE: it hangs on its root */
    size_t root;
    size_t group; /* TOPOLOGY_NONE: it has none */
    unsigned depth;
    bool last;             /* of its siblings */
    bool does_not_isolate; /* a port, because of which those below it share a group */
    int64_t numa;          /* where it is not that of its root and there are several; -1 */
    const char *iommu;     /* likewise; NULL */
} TopologyNode;

/* A root bus, or devices of another kind than PCI. */
typedef struct TopologyRoot {
    char *label; /* owned: "root bus 0000:00", "platform devices" */
    char *bus;   /* owned: "0000:00", or the kind: "platform" */
    bool is_pci;
    int64_t numa;      /* -1: unknown, or the host has not several */
    const char *iommu; /* NULL: likewise */
    size_t first, n;   /* nodes */
} TopologyRoot;

typedef struct TopologyGroup {
    int64_t id;
    size_t n;  /* members */
    char *why; /* owned: why they share it; NULL: there is only one */
} TopologyGroup;

typedef struct Topology {
    struct json_object *claims; /* borrowed; may be NULL */
    TopologyNode *nodes;        /* owned; parents before their children, which follow in order */
    size_t n_nodes;
    TopologyRoot *roots; /* owned */
    size_t n_roots;
    TopologyGroup *groups; /* owned; by number */
    size_t n_groups;
} Topology;

void topology_done(Topology *t);
/* All devices, an array of objects as the daemon lists them; claims likewise, with "user", the name of the
 * uid or null; may be NULL. Both are borrowed. 0, or -ENOMEM. */
int topology_build(struct json_object *devices, struct json_object *claims, Topology *ret);
/* Leaves of it the devices of these names (n of them), what is below them, the other members of their groups,
 * and everything above all of these. 0, or -ENOMEM. */
int topology_select(Topology *t, const char *const *names, size_t n);

bool topology_is_port(const TopologyNode *n); /* or a bridge */
/* "root port", "vga", "ethernet VF". Owned by the caller; NULL on ENOMEM. */
char *topology_kind(const TopologyNode *n);
/* "lacks ACS", "boot display", "held by alice (1000)"… in the order of their weight, at most one per call; 0:
 * there is no such note. *ret is owned by the caller. 1; 0; -ENOMEM. */
typedef enum TopologyNote {
    TOPOLOGY_NOTE_ISOLATION,
    TOPOLOGY_NOTE_STATE,
    TOPOLOGY_NOTE_HOST_USE,
    TOPOLOGY_NOTE_PLACE, /* NUMA node and IOMMU, where they are not those of the root */
    _TOPOLOGY_NOTE_MAX,
} TopologyNote;
int topology_note(const Topology *t, const TopologyNode *n, TopologyNote note, char **ret);
Colour topology_note_colour(const TopologyNode *n, TopologyNote note);
int64_t topology_numa(const TopologyNode *n); /* whether it is told apart or not; -1: none */
/* NUMA node and IOMMU of a root, "" where there is nothing to tell apart. Owned; NULL on ENOMEM. */
char *topology_place(int64_t numa, const char *iommu);

/* The forms. All are owned by the caller; NULL on ENOMEM. */
char *topology_format_dot(const Topology *t);
char *topology_format_tree(const Topology *t, const TableStyle *style, bool utf8);
struct json_object *topology_to_json(const Topology *t);
