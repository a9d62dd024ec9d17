/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The changes between two versions of the rules, as names for a report. Rules are equal when all their keys
 * are, wherever they are written. */

#include <json-c/json.h>

#include "base/macro.h"

/* before, after: results of rehearsal_show(); NULL: no rules. Adds to o "rulesAdded", "rulesRemoved" and
 * "rulesChanged" (lists of names), "orderChanged" (of rules in both) and "settingsChanged" (tags or settings
 * of the host). 0 or -ENOMEM. */
int rule_changes_add(struct json_object *o, struct json_object *before, struct json_object *after);
