/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Devices that have only the name which the kernel's bus gives them. The name goes into sysfs paths, to
 * terminals and into globs, so it must not contain characters that are special there. */

#include <stdio.h>

#include "base/str.h"
#include "core/device-kind.h"

static bool is_alphanumeric(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool device_kind_text_has(char c) {
    return is_alphanumeric(c) || (c && strchr("._:@,+-", c));
}

int device_kind_text_parse(DeviceKind kind, const char *s, DeviceName *ret) {
    DeviceName name = {.kind = (uint8_t) kind};
    size_t n = 0;

    if (!is_alphanumeric(s[0]))
        return -EINVAL;
    for (; device_kind_text_has(s[n]); n++)
        if (n + 1 == sizeof(name.text))
            return -EINVAL;
    if (s[n])
        return -EINVAL;
    memcpy(name.text, s, n);
    *ret = name;
    return 0;
}

void device_kind_text_format(const DeviceName *name, char buf[static DEVICE_NAME_MAX]) {
    (void) snprintf(buf, DEVICE_NAME_MAX, "%s", name->text);
}

int device_kind_text_compare(const DeviceName *a, const DeviceName *b) {
    return strcmp(a->text, b->text);
}
