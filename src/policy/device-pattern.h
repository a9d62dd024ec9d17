/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which devices a rule means: one device, by any spelling of its name, or a glob over canonical names. The
 * bus may be left out in front of a glob: `pci:0000:06:*` and `0000:06:*` are the same while there is one
 * bus. */

#include "core/device-name.h"

#define DEVICE_PATTERN_MAX 63U
#define DEVICE_PATTERN_PROBLEM_MAX 256U

typedef struct DevicePattern {
    bool exact;
    union {
        DeviceName name; /* exact */
        struct {
            DeviceKind kind;                   /* _DEVICE_KIND_INVALID: any */
            char glob[DEVICE_PATTERN_MAX + 1]; /* lower case, over the name behind the bus */
        };
    };
} DevicePattern;

/* Parses text. 0; -EINVAL with a sentence that continues `"TEXT" ` in problem, whose hostile parts are
 * sanitized ("can never match a name like 0000:06:0d.0, …"). *ret is untouched on failure. */
int device_pattern_parse(const char *text, DevicePattern *ret, char *problem, size_t problem_size);

/* kernel_name is what device_name_format_kernel() makes of name: the caller has many patterns and one name.
 */
bool device_pattern_match(const DevicePattern *pattern, const DeviceName *name, const char *kernel_name);
