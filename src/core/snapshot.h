/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A host as a document: devices, groups, what the kernel offers, what weakens it, and the names of accounts
 * that a policy needs. Written by `vfioctl snapshot`, read by everything that rehearses a policy (--host) and
 * by `vfiod --simulate`: a bug report becomes a test case. Field names are those of the D-Bus properties with
 * a small first letter. Serial numbers are left out unless they are asked for.
 *
 * Reading is strict and bounded: a snapshot comes by mail. */

#include "core/facts.h"
#include "core/inventory.h"
#include "core/plan.h"
#include "core/taint.h"

#define SNAPSHOT_VERSION 1
#define SNAPSHOT_SIZE_MAX (64U * 1024 * 1024)

typedef struct HostSnapshot HostSnapshot;

HostSnapshot *host_snapshot_free(HostSnapshot *s);
DEFINE_TRIVIAL_CLEANUP_FUNC(HostSnapshot *, host_snapshot_free);

/* 0; -EBADMSG with *ret_problem (owned: one sentence with the path of the member that is wrong); -ENOMEM. */
int host_snapshot_parse(const char *text, size_t size, HostSnapshot **ret, char **ret_problem);

/* The recorded host in the forms that planner and evaluator take. All borrowed from the snapshot. */
Inventory *host_snapshot_inventory(HostSnapshot *s);
FactSource host_snapshot_facts(HostSnapshot *s);
const TaintList *host_snapshot_taints(const HostSnapshot *s);
/* resolve_name_t; userdata is the snapshot. */
int host_snapshot_resolve(void *userdata, bool is_group, const char *name, uint32_t *ret);
/* The recorded name of a uid, or NULL. */
const char *host_snapshot_user_name(const HostSnapshot *s, uid_t uid);
/* The groups of a recorded user, his own first; borrowed. -ENOENT when it is not recorded. */
int host_snapshot_user_groups(const HostSnapshot *s, uid_t uid, const gid_t **ret, size_t *ret_n);
/* Every recorded name, users first; a non-zero return of visit stops and is handed back. */
int host_snapshot_foreach_account(const HostSnapshot *s,
        int (*visit)(void *userdata, bool is_group, const char *name, uint32_t id), void *userdata);

/* Building one: add what was read, then take the document. NULL on ENOMEM. */
struct json_object *host_snapshot_device_to_json(
        const Device *d, const DeviceFacts *facts, bool with_serials);
struct json_object *host_snapshot_group_to_json(const Group *g, const GroupFacts *facts);
struct json_object *host_snapshot_kernel_to_json(const KernelFacts *k);
