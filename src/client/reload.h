/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The daemon reloads the policy: on its own, and after a file was edited. */

#include "client/calls.h"
#include "client/vfioctl.h"

#define ERROR_NAME_POLICY_BROKEN "PolicyBroken"

/* *ret: the manager with the new policy. Where the policy has errors, prints each on a line, unless --json is
 * given. Fills *error. */
int policy_reload(VfiodConnection *c, const Options *o, Object *ret, VfiodErrorText *error);
/* The number of rules, warnings, and claims that the policy denies now. */
void policy_reload_show(struct json_object *manager);
