/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PCI functions.
 *
 * The parser takes exactly what it expects or fails. It skips nothing, so no name is half understood: a wrong
 * digit names another device, which may be somebody's disk. */

#include "base/str.h"
#include "core/device-kind.h"

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -EINVAL;
}

/* Takes all hex digits at *p. Fails when there are fewer than min or more than max. */
static bool take_hex(const char **p, unsigned min, unsigned max, uint32_t *ret) {
    const char *s = *p;
    uint32_t v = 0;
    unsigned n = 0;

    for (int d; (d = hex_digit(*s)) >= 0; s++) {
        if (++n > max)
            return false;
        v = v << 4 | (uint32_t) d;
    }
    if (n < min)
        return false;

    *p = s;
    *ret = v;
    return true;
}

static bool take_char(const char **p, char c) {
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

/* [DOMAIN sep] BUS sep SLOT dot FUNCTION, up to end. */
static int parse_pci(
        const char *s, const char *end, char separator, char dot, bool need_domain, DeviceName *ret) {
    uint32_t domain = 0, bus, slot, function;
    const char *p = s, *q = s;

    /* A domain has at least four digits and a bus has two, so the first separator distinguishes them. */
    if (take_hex(&q, 4, 8, &domain) && take_char(&q, separator))
        p = q;
    else if (need_domain)
        return -EINVAL;
    else
        domain = 0;

    if (!take_hex(&p, 2, 2, &bus) || !take_char(&p, separator) || !take_hex(&p, 2, 2, &slot) ||
            !take_char(&p, dot) || !take_hex(&p, 1, 1, &function) || p != end)
        return -EINVAL;
    if (slot > 0x1f || function > 7)
        return -EINVAL;

    *ret = (DeviceName){
            .kind = DEVICE_KIND_PCI,
            .domain = domain,
            .pci_bus = (uint8_t) bus,
            .slot = (uint8_t) slot,
            .function = (uint8_t) function,
    };
    return 0;
}

/* The last component of a path below /sys. A trailing slash from shell completion is accepted. */
static int parse_sysfs_path(const char *path, DeviceName *ret) {
    const char *end = path + strlen(path), *start;

    while (end > path && end[-1] == '/')
        end--;
    for (start = end; start > path && start[-1] != '/'; start--)
        ;
    return parse_pci(start, end, ':', '.', /* need_domain= */ true, ret);
}

int device_kind_pci_parse(DeviceKind kind, const char *s, DeviceName *ret) {
    const char *rest;

    if (startswith(s, "/sys/"))
        return parse_sysfs_path(s, ret);

    rest = startswith(s, "pci_");
    if (rest)
        return parse_pci(rest, rest + strlen(rest), '_', '_', /* need_domain= */ true, ret);
    return parse_pci(s, s + strlen(s), ':', '.', /* need_domain= */ false, ret);
}

int device_kind_pci_parse_kernel(DeviceKind kind, const char *s, DeviceName *ret) {
    char kernel[DEVICE_NAME_MAX];
    DeviceName name;
    int r;

    r = parse_pci(s, s + strlen(s), ':', '.', /* need_domain= */ true, &name);
    if (r < 0)
        return r;
    /* The kernel writes %04x:%02x:%02x.%d only. Any other spelling is not the kernel's. */
    device_kind_pci_format(&name, kernel);
    if (!streq(kernel, s))
        return -EINVAL;

    *ret = name;
    return 0;
}

void device_kind_pci_format(const DeviceName *name, char buf[static DEVICE_NAME_MAX]) {
    char *at = put_hex(buf, name->domain, 4);

    *at++ = ':';
    at = put_hex(at, name->pci_bus, 2);
    *at++ = ':';
    at = put_hex(at, name->slot & 0x1fU, 2);
    *at++ = '.';
    (void) put_hex(at, name->function & 7U, 1);
}

static uint64_t pack(const DeviceName *name) {
    return (uint64_t) name->domain << 16 | (uint64_t) name->pci_bus << 8 |
            (uint64_t) (name->slot & 0x1fU) << 3 | (name->function & 7U);
}

int device_kind_pci_compare(const DeviceName *a, const DeviceName *b) {
    uint64_t x = pack(a), y = pack(b);

    return x < y ? -1 : x > y;
}
