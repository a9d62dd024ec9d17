/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Claim <-> JSON document, the form that is kept in /run/vfiod/claims, and the one JSON shape of a plan that
 * `--json` and Plan() show as well. Field names are those of the D-Bus properties with a small first letter,
 * and one table serves both directions. Reading is strict: a record is written by vfiod alone, so anything
 * odd in it is damage. */

#include <json-c/json.h>

#include "core/claim.h"

#define RECORD_VERSION 2
/* Of a record with settings of a network card that have to be put back, or with a device that has to be
 * removed: an older vfiod would forget that, so it must not read this one. */
#define RECORD_VERSION_UNDO 3
/* Likewise of one with a sibling that is kept without a driver, a device that its own driver registers with
 * VFIO, or one that is to be scrubbed. */
#define RECORD_VERSION_KEPT 4
#define RECORD_SIZE_MAX (256U * 1024)

char *plan_to_text(const Plan *p);                          /* owned by the caller; NULL on ENOMEM */
struct json_object *plan_to_json(const Plan *p);            /* likewise */
char *claim_to_record(const Claim *c, const char *boot_id); /* text of the file; owned; NULL on ENOMEM */

/* 0; -EBADMSG when it is not a record of this version or any field is wrong, with *ret_problem (owned: one
 * sentence with the path of the member; may be NULL); -ESTALE when boot_id is another (after a reboot nothing
 * is bound any more; NULL: any will do); -ENOMEM. *ret is initialised by success only. ret_problem: NULL when
 * nobody wants to know. */
int claim_from_record(const char *text, size_t size, const char *boot_id, Claim *ret, char **ret_problem);
