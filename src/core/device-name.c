/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/device-name.h"

#include "base/str.h"
#include "core/device-kind.h"

static_assert(sizeof(DeviceName) == 40, "each device of the host has one");

/* /sys/bus/KIND/devices/NAME names the kind. In other paths only PCI addresses and UUIDs are recognised. A
 * trailing slash from shell completion is accepted. */
static int parse_path(const char *path, DeviceName *ret) {
    const char *end = path + strlen(path), *start;
    char word[DEVICE_NAME_MAX];

    while (end > path && end[-1] == '/')
        end--;
    for (start = end; start > path && start[-1] != '/'; start--)
        ;
    if ((size_t) (end - start) >= sizeof(word))
        return -EINVAL;
    memcpy(word, start, (size_t) (end - start));
    word[end - start] = '\0';

    for (DeviceKind k = 0; k < _DEVICE_KIND_MAX; k++) {
        const DeviceKindInfo *info = device_kind_info(k);
        const char *rest = info->directory ? startswith(path, info->directory) : NULL;

        if (k != DEVICE_KIND_PCI && rest && startswith(rest, "/devices/") &&
                rest + strlen("/devices/") == start)
            return info->parse(k, word, ret);
    }
    if (device_kind_info(DEVICE_KIND_PCI)->parse(DEVICE_KIND_PCI, path, ret) >= 0)
        return 0;
    return device_kind_info(DEVICE_KIND_MDEV)->parse(DEVICE_KIND_MDEV, word, ret);
}

int device_name_parse(const char *s, DeviceName *ret) {
    const char *rest = s;
    DeviceKind kind = device_kind_of(s, &rest);

    if (startswith(s, "/sys/"))
        return parse_path(s, ret);
    if ((int) kind < 0) { /* PCI addresses and UUIDs need no kind */
        int r = device_kind_info(DEVICE_KIND_PCI)->parse(DEVICE_KIND_PCI, s, ret);

        return r < 0 ? device_kind_info(DEVICE_KIND_MDEV)->parse(DEVICE_KIND_MDEV, s, ret) : r;
    }
    /* libvirt's spelling includes the kind */
    if (kind == DEVICE_KIND_PCI && strchr(rest, '_'))
        return -EINVAL;
    return device_kind_info(kind)->parse(kind, rest, ret);
}

int device_name_parse_pci_address(const char *s, DeviceName *ret) {
    return device_kind_info(DEVICE_KIND_PCI)->parse_kernel(DEVICE_KIND_PCI, s, ret);
}

int device_name_parse_above(const char *path, const char *below, DeviceKind kind, DeviceName *ret) {
    const char *above = NULL, *end;
    char word[DEVICE_NAME_MAX];
    size_t n;

    for (const char *p = path + strspn(path, "/"), *before = NULL; *p; p += strspn(p, "/")) {
        n = strcspn(p, "/");
        if (n == strlen(below) && strncmp(p, below, n) == 0)
            above = before;
        before = p;
        p += n;
    }
    end = above ? strchr(above, '/') : NULL;
    if (!end || (n = (size_t) (end - above)) >= sizeof(word))
        return -EINVAL;
    memcpy(word, above, n);
    word[n] = '\0';
    return device_kind_info(kind)->parse_kernel(kind, word, ret);
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
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    return device_kind_info(a->kind)->compare(a, b);
}

uint64_t device_name_hash(const DeviceName *name) {
    uint64_t hash = name->kind;
    char kernel[DEVICE_NAME_MAX];

    if (name->kind == DEVICE_KIND_PCI)
        return (uint64_t) name->domain << 16 | (uint64_t) name->pci_bus << 8 | (uint64_t) (name->slot << 3) |
                name->function;
    for (const char *p = device_name_format_kernel(name, kernel); *p; p++)
        hash = hash * 31 + (unsigned char) *p;
    return hash;
}
