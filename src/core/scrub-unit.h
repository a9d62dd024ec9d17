/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The names of scrub units: "vfiod-scrub@.service" in the policy, and "vfiod-scrub@0000:06:00.0.service" of
 * one device. Nothing is escaped: what would have to be is no name. */

#include "base/macro.h"

#define SCRUB_TEMPLATE_MAX 64U
#define SCRUB_UNIT_MAX 160U

bool scrub_template_is_valid(const char *template);
/* May a device with this name of the kernel be the instance? */
bool scrub_instance_is_valid(const char *instance);
/* 0; -EINVAL: one of both is no name; -E2BIG. */
int scrub_unit_name(const char *template, const char *instance, char ret[static SCRUB_UNIT_MAX]);
