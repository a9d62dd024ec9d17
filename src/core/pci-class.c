/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/pci-class.h"

#include "base/str.h"

/* From "PCI Code and ID Assignment". */
const PciClass pci_classes[] = {
        {"storage", 0x010000, 0xff0000},
        {"scsi", 0x010000, 0xffff00},
        {"ide", 0x010100, 0xffff00},
        {"raid", 0x010400, 0xffff00},
        {"sata", 0x010600, 0xffff00},
        {"sas", 0x010700, 0xffff00},
        {"nvme", 0x010802, 0xffffff},
        {"network", 0x020000, 0xff0000},
        {"ethernet", 0x020000, 0xffff00},
        {"infiniband", 0x020700, 0xffff00},
        {"display", 0x030000, 0xff0000},
        {"vga", 0x030000, 0xffff00},
        {"3d", 0x030200, 0xffff00},
        {"multimedia", 0x040000, 0xff0000},
        {"video", 0x040000, 0xffff00},
        /* Cards older than High Definition Audio have a subclass of their own. */
        {"audio", 0x040100, 0xffff00},
        {"audio", 0x040300, 0xffff00},
        {"memory", 0x050000, 0xff0000},
        {"bridge", 0x060000, 0xff0000},
        {"serial", 0x070000, 0xff0000},
        {"system", 0x080000, 0xff0000},
        {"input", 0x090000, 0xff0000},
        {"processor", 0x0b0000, 0xff0000},
        {"bus", 0x0c0000, 0xff0000},
        {"firewire", 0x0c0000, 0xffff00},
        {"usb", 0x0c0300, 0xffff00},
        {"smbus", 0x0c0500, 0xffff00},
        {"wireless", 0x0d0000, 0xff0000},
        /* Most Wi-Fi cards have the class "network controller, other". */
        {"wireless", 0x028000, 0xffff00},
        {"crypto", 0x100000, 0xff0000},
        {"signal-processing", 0x110000, 0xff0000},
        {"accelerator", 0x120000, 0xff0000},
        {NULL, 0, 0},
};

const char *const *pci_class_names(void) {
    static const char *const names[] = {"storage", "scsi", "ide", "raid", "sata", "sas", "nvme", "network",
            "ethernet", "infiniband", "display", "vga", "3d", "multimedia", "video", "audio", "memory",
            "bridge", "serial", "system", "input", "processor", "bus", "firewire", "usb", "smbus", "wireless",
            "crypto", "signal-processing", "accelerator", NULL};

    return names;
}

int pci_class_parse_number(const char *s, uint32_t *ret_value, uint32_t *ret_mask) {
    size_t n = strlen(s);
    unsigned shift;
    uint64_t v;

    if ((n != 2 && n != 4 && n != 6) || parse_unsigned(s, 16, 0xffffff, &v) < 0)
        return -EINVAL;
    shift = (unsigned) (24 - 4 * n);
    *ret_value = (uint32_t) v << shift;
    *ret_mask = (0xffffffU << shift) & 0xffffff;
    return 0;
}

/* "3d" is a class name, although it looks like a number: there is no class 3d. */
int pci_class_match(const char *text, uint32_t class_code) {
    uint32_t value, mask;
    bool known = false;

    for (const PciClass *c = pci_classes; c->name; c++) {
        if (!streq(c->name, text))
            continue;
        known = true;
        if ((class_code & c->mask) == c->value)
            return 1;
    }
    if (known)
        return 0;
    if (pci_class_parse_number(text, &value, &mask) < 0)
        return -EINVAL;
    return (class_code & mask) == value;
}
