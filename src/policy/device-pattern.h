/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which devices a rule matches: one device by any spelling of its name, or a glob over the kernel's names of
 * one kind. Without a kind in front, a glob is about PCI: `pci:0000:06:*` and `0000:06:*` are the same, and
 * `*` matches no mediated device. */

#include "core/device-name.h"

#define DEVICE_PATTERN_MAX 63U
#define DEVICE_PATTERN_PROBLEM_MAX 256U

typedef struct DevicePattern {
    bool exact;
    union {
        DeviceName name; /* exact */
        struct {
            DeviceKind kind;
            char glob[DEVICE_PATTERN_MAX + 1]; /* over the name without its kind; in lower case where the
                                                * kernel's names are */
        };
    };
} DevicePattern;

/* Parses text. Returns 0, or -EINVAL with a problem that continues `"TEXT" ` ("can never match a name like
 * 0000:06:0d.0, …") and is printable. *ret is untouched on failure. */
int device_pattern_parse(const char *text, DevicePattern *ret, char *problem, size_t problem_size);

DeviceKind device_pattern_kind(const DevicePattern *pattern);
/* kernel_name is the result of device_name_format_kernel() for name. The caller passes it, because it tries
 * many patterns on one name. */
bool device_pattern_match(const DevicePattern *pattern, const DeviceName *name, const char *kernel_name);
