/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a program names "one of these" devices: a device by any spelling of its name, a glob over names
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

/* 0; -EINVAL with a problem as from device_pattern_parse(). An undefined tag is not an error here. */
int device_selector_parse(const char *text, DeviceSelector *ret, char *problem, size_t problem_size);

/* May the subject learn which devices these are? A tag is shown only to subjects whom a rule with it
 * concerns. */
bool device_selector_concerns(const DeviceSelector *s, const Policy *policy, const Subject *subject);

typedef int (*visit_tag_t)(void *userdata, const char *tag);
/* Visits the tags of a device that the subject (NULL: unknown) may know. Where facts (may be NULL) are
 * missing, a tag does not match. A negative errno of visit ends the walk and is returned. */
int policy_foreach_tag_of(const Policy *policy, const Device *d, const DeviceFacts *facts,
        const Subject *subject, visit_tag_t visit, void *userdata);

/* Is the device one of them? 1 or 0; -ENODATA: the facts in the returned mask are needed, and facts (may be
 * NULL) does not have them. */
int device_selector_match(const DeviceSelector *s, const Policy *policy, const Device *d,
        const DeviceFacts *facts, unsigned *ret_needed);
