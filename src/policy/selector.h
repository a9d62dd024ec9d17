/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Devices as a program asks for "one of these": a device by any spelling of its name, a glob over names
 * ("0000:06:*"), a class ("class:ethernet", "class:0200"), or a tag of the policy ("tag:nic"). */

#include "policy/policy.h"

typedef enum SelectorKind {
    SELECT_DEVICE,
    SELECT_CLASS,
    SELECT_TAG,
} SelectorKind;

typedef struct DeviceSelector {
    SelectorKind kind;
    DevicePattern device;
    char word[DEVICE_PATTERN_MAX + 1]; /* of a class or tag */
} DeviceSelector;

/* 0; -EINVAL with a sentence that continues `"TEXT" ` in problem, as device_pattern_parse() has it. That
 * there is no tag of this name is not an error here. */
int device_selector_parse(const char *text, DeviceSelector *ret, char *problem, size_t problem_size);

/* May the subject know which devices these are? A tag is the operator's word, for those alone whom a rule
 * with it concerns. */
bool device_selector_concerns(const DeviceSelector *s, const Policy *policy, const Subject *subject);

typedef int (*visit_tag_t)(void *userdata, const char *tag);
/* The tags that a device has, of those that the subject (NULL: unknown) may know: where facts (may be NULL)
 * do not tell, it has none. A negative errno of visit ends it. */
int policy_foreach_tag_of(const Policy *policy, const Device *d, const DeviceFacts *facts,
        const Subject *subject, visit_tag_t visit, void *userdata);

/* Is the device one of them? 1 or 0; -ENODATA: that takes these facts, which facts (may be NULL) does not
 * have. */
int device_selector_match(const DeviceSelector *s, const Policy *policy, const Device *d,
        const DeviceFacts *facts, unsigned *ret_needed);
