/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/device-name.h"

#include "base/str.h"
#include "core/device-kind.h"

int device_name_parse(const char *s, DeviceName *ret) {
    const char *rest = s;
    DeviceKind kind = device_kind_of(s, &rest);
    const DeviceKindInfo *info;

    if ((int) kind < 0) /* PCI addresses do without */
        return device_kind_info(DEVICE_KIND_PCI)->parse(s, ret);
    info = device_kind_info(kind);
    if (!info->parse)
        return -EOPNOTSUPP;
    /* Paths and the spelling of libvirt name the kind themselves. */
    if (startswith(rest, "/") || strchr(rest, '_'))
        return -EINVAL;
    return info->parse(rest, ret);
}

int device_name_parse_pci_address(const char *s, DeviceName *ret) {
    return device_kind_info(DEVICE_KIND_PCI)->parse_kernel(s, ret);
}

int device_name_parse_syspath(const char *path, DeviceName *ret) {
    int r = -EINVAL;

    for (const char *p = path + strspn(path, "/"); *p; p += strspn(p, "/")) {
        size_t n = strcspn(p, "/");
        char word[DEVICE_NAME_MAX];

        if (n < sizeof(word)) {
            memcpy(word, p, n);
            word[n] = '\0';
            if (device_name_parse_pci_address(word, ret) >= 0)
                r = 0;
        }
        p += n;
    }
    return r;
}

const char *device_name_format_kernel(const DeviceName *name, char buf[static DEVICE_NAME_MAX]) {
    device_kind_info(name->kind)->format(name, buf);
    return buf;
}

const char *device_name_format(const DeviceName *name, char buf[static DEVICE_NAME_MAX]) {
    const char *kind = device_kind_info(name->kind)->name;
    size_t n = strlen(kind);
    char kernel[DEVICE_NAME_MAX];

    put_text(buf, DEVICE_NAME_MAX - 1, kind);
    buf[n] = ':';
    put_text(buf + n + 1, DEVICE_NAME_MAX - n - 1, device_name_format_kernel(name, kernel));
    return buf;
}

int device_name_compare(const DeviceName *a, const DeviceName *b) {
    DeviceKey x, y;

    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    x = device_kind_info(a->kind)->key(a);
    y = device_kind_info(b->kind)->key(b);
    if (x.high != y.high)
        return x.high < y.high ? -1 : 1;
    return x.low < y.low ? -1 : x.low > y.low;
}
