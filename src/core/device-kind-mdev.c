/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Mediated devices. The kernel names them by a UUID that their creator chose. */

#include "base/str.h"
#include "core/device-kind.h"

/* Is there a hyphen after byte i? 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001. */
static bool ends_field(size_t i) {
    return i == 3 || i == 5 || i == 7 || i == 9;
}

int device_kind_mdev_parse(DeviceKind kind, const char *s, DeviceName *ret) {
    DeviceName name = {.kind = DEVICE_KIND_MDEV};

    for (size_t i = 0; i < sizeof(name.uuid); i++) {
        char digits[3] = {};
        uint64_t v;

        if (!s[0] || !s[1])
            return -EINVAL;
        memcpy(digits, s, 2);
        if (parse_unsigned(digits, 16, UINT8_MAX, &v) < 0)
            return -EINVAL;
        name.uuid[i] = (uint8_t) v;
        s += 2;
        if (ends_field(i) && *s++ != '-')
            return -EINVAL;
    }
    if (*s)
        return -EINVAL;
    *ret = name;
    return 0;
}

int device_kind_mdev_parse_kernel(DeviceKind kind, const char *s, DeviceName *ret) {
    char kernel[DEVICE_NAME_MAX];
    DeviceName name;

    if (device_kind_mdev_parse(kind, s, &name) < 0)
        return -EINVAL;
    device_kind_mdev_format(&name, kernel);
    if (!streq(kernel, s))
        return -EINVAL;
    *ret = name;
    return 0;
}

void device_kind_mdev_format(const DeviceName *name, char buf[static DEVICE_NAME_MAX]) {
    for (size_t i = 0; i < sizeof(name->uuid); i++) {
        buf = put_hex(buf, name->uuid[i], 2);
        if (ends_field(i))
            *buf++ = '-';
    }
}

int device_kind_mdev_compare(const DeviceName *a, const DeviceName *b) {
    return memcmp(a->uuid, b->uuid, sizeof(a->uuid));
}
