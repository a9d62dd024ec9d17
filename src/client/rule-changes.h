/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a person has changed in the rules: names for a report. Two rules are the same when everything that
 * they say is, wherever they stand. */

#include <json-c/json.h>

#include "base/macro.h"

/* before, after: what rehearsal_show() gives; NULL: no rules. Adds to o "rulesAdded", "rulesRemoved" and
 * "rulesChanged" (lists of names), "orderChanged" (of rules that are in both) and "settingsChanged" (tags, or
 * settings of the host). 0 or -ENOMEM. */
int rule_changes_add(struct json_object *o, struct json_object *before, struct json_object *after);
