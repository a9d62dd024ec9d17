/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reloads the policy: for `vfioctl reload`, and after a file was edited. */

#include "client/calls.h"
#include "client/vfioctl.h"

#define ERROR_NAME_POLICY_BROKEN "PolicyBroken"

/* *ret: the manager with the new policy. Prints errors of the policy one per line, unless --json is given.
 * Sets *error. */
int policy_reload(VfiodConnection *c, const Options *o, Object *ret, VfiodErrorText *error);
/* Shows the number of rules, warnings, and claims that the policy denies now. */
void policy_reload_show(struct json_object *manager);
