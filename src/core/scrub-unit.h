/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names of scrub units: "vfiod-scrub@.service" in the policy, and "vfiod-scrub@0000:06:00.0.service" for one
 * device. Names that would need escaping are refused. */

#include "base/macro.h"

#define SCRUB_TEMPLATE_MAX 64U
#define SCRUB_UNIT_MAX 160U

bool scrub_template_is_valid(const char *template);
/* Can the kernel's name of a device be the instance? */
bool scrub_instance_is_valid(const char *instance);
/* 0; -EINVAL: one of the names is invalid; -E2BIG. */
int scrub_unit_name(const char *template, const char *instance, char ret[static SCRUB_UNIT_MAX]);
