/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A claim as a JSON document, which is kept in /run/vfiod/claims. The JSON of a plan, which `--json` and
 * Plan() show, has the same form. Fields have the names of the D-Bus properties with a small first letter,
 * and one table serves both directions. Reading is strict: only vfiod writes records, so anything odd is
 * damage. */

#include <json-c/json.h>

#include "core/claim.h"

#define RECORD_VERSION 2
/* A record with network settings that must be restored, or with a device that must be removed. An older vfiod
 * would forget that, so it must not read this record. */
#define RECORD_VERSION_UNDO 3
/* A record with a sibling that is kept without a driver, a device that its own driver registers with VFIO, or
 * a device that is to be scrubbed. An older vfiod must not read it either. */
#define RECORD_VERSION_KEPT 4
#define RECORD_SIZE_MAX (256U * 1024)

char *plan_to_text(const Plan *p);                          /* owned by the caller; NULL on ENOMEM */
struct json_object *plan_to_json(const Plan *p);            /* likewise */
char *claim_to_record(const Claim *c, const char *boot_id); /* text of the file; owned; NULL on ENOMEM */

/* Returns 0 and initialises *ret. -EBADMSG: it is not a record of this version or a field is wrong. -ESTALE:
 * it has another boot_id, so nothing is bound any more (boot_id may be NULL: any will do). -ENOMEM.
 *
 * *ret_problem is owned: one sentence with the path of the member, or NULL. ret_problem may be NULL. */
int claim_from_record(const char *text, size_t size, const char *boot_id, Claim *ret, char **ret_problem);
