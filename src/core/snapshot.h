/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A host as a document: devices, groups, what the kernel supports, taints, and the accounts that a policy
 * needs. `vfioctl snapshot` writes it; every rehearsal of a policy (--host) and `vfiod --simulate` read it.
 * So a bug report becomes a test case. Member names are those of the D-Bus properties with a small first
 * letter:
 *
 *   {
 *     "version": 1,
 *     "vfiod": "0.1.0",                    // the version that recorded it, for people
 *     "kernel": {"iommu": true, …},        // as the property
 *     "devices": [ {
 *       "name": "pci:0000:06:0d.0", "vendor": 32902, "product": 4307, "subsystemVendor": 6900,
 *       "subsystemProduct": 4352, "class": 131072, "revision": 16, "driver": "e1000e",
 *       "group": 7,                          // absent: none
 *       "parent": "pci:0000:06:00.0",        // physical function, or controller of its domain
 *       "vfioIndex": 0, "vfioNode": "/dev/vfio/devices/vfio0",  // absent: no such
 *       // facts; absent: could not be read
 *       "numaNode": 0, "resetMethods": ["flr"], "driverOverride": "", "removable": "fixed",
 *       "hostCritical": "", "enable": 1, "acsPath": "complete", "slotPath": "0000:00:1c.0/00.0",
 *       "iommuUnit": "dmar0", "acsBlocker": "pci:0000:00:1c.0",  // with "incomplete", if known
 *       "serial": "00-1b-21-ff-ff-a1-b2-c3", "properties": {"ID_PATH": "pci-0000:06:0d.0"},
 *       "capabilities": {"driver": "vfio-pci", "known": ["pasid"], "pasidBits": 20} } ],
 *     "groups": [ { "id": 7, "type": "DMA-FQ", "vfioNode": "",
 *                   "reservedRegions": [ {"start": "0xfee00000", "end": "0xfeefffff", "type": "msi"} ] } ],
 *     "mediatedTypes": [ { "parent", "type", "name", "deviceApi", "available", "devices" } ],
 *     "taints": [ { "kind", "weakens", "what", "since", "device", "rule", "reason", "uid" } ],
 *     "accounts": { "users": {"alice": {"uid": 1000, "groups": [1000, 2000]}}, "groups": {"vm-users": 2000} }
 *   }
 *
 * Only version and devices are required. Without kernel, taints or a fact these are unknown, which never
 * counts as favourable. Unless serials are requested, everything that could identify a machine is left out:
 * serial numbers, values of such properties ("hidden"), and the details of host-critical uses.
 *
 * Reading is strict and bounded, because snapshots come from strangers. */

#include "core/facts.h"
#include "core/inventory.h"
#include "core/plan.h"
#include "core/taint.h"

#define SNAPSHOT_VERSION 1
#define SNAPSHOT_SIZE_MAX (64U * 1024 * 1024)
#define SNAPSHOT_VALUES_MAX (2U * 1024 * 1024)
#define SNAPSHOT_DEVICES_MAX (64U * 1024)
#define SNAPSHOT_ACCOUNTS_MAX 4096U /* of users, and of groups */

typedef struct HostSnapshot HostSnapshot;

HostSnapshot *host_snapshot_free(HostSnapshot *s);
DEFINE_TRIVIAL_CLEANUP_FUNC(HostSnapshot *, host_snapshot_free);

/* 0; -EBADMSG with *ret_problem (owned by the caller: one sentence with the path of the wrong member); or
 * -ENOMEM. */
int host_snapshot_parse(const char *text, size_t size, HostSnapshot **ret, char **ret_problem);

/* The recorded host in the forms that planner and evaluator need. All of it is borrowed from the snapshot. */
Inventory *host_snapshot_inventory(HostSnapshot *s);
FactSource host_snapshot_facts(HostSnapshot *s);
/* NULL when it is not recorded, or there is no such group. */
const GroupFacts *host_snapshot_group_facts(const HostSnapshot *s, int id);
/* When taints are not recorded, an entry of the list says so. */
const TaintList *host_snapshot_taints(const HostSnapshot *s);
/* resolve_name_t; userdata is the snapshot. */
int host_snapshot_resolve(void *userdata, bool is_group, const char *name, uint32_t *ret);
/* The recorded name of a uid, or NULL. */
const char *host_snapshot_user_name(const HostSnapshot *s, uid_t uid);
/* The groups of a recorded user, the primary group first; borrowed. -ENOENT when the user is not recorded. */
int host_snapshot_user_groups(const HostSnapshot *s, uid_t uid, const gid_t **ret, size_t *ret_n);
/* Visits every recorded name, users first. A non-zero result of visit ends the walk and is returned. */
int host_snapshot_foreach_account(const HostSnapshot *s,
        int (*visit)(void *userdata, bool is_group, const char *name, uint32_t id), void *userdata);

/* For writing: add what was read, then take the document. Owned by the caller; NULL on ENOMEM. */
struct json_object *host_snapshot_device_to_json(
        const Device *d, const DeviceFacts *facts, bool with_serials);
struct json_object *host_snapshot_group_to_json(const Group *g, const GroupFacts *facts);
struct json_object *host_snapshot_kernel_to_json(const KernelFacts *k);
struct json_object *host_snapshot_mdev_types_to_json(const MdevTypes *t); /* the list */
