/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names for PCI classes, so that a policy can have "ethernet" instead of "0200". */

#include "base/macro.h"

typedef struct PciClass {
    const char *name;
    uint32_t value, mask; /* of the 24 bits of a class code */
} PciClass;

/* Ended by a row without a name. A name with several rows means each of them. */
extern const PciClass pci_classes[];
/* All names, each once, ended by NULL, for nearest(). */
const char *const *pci_class_names(void);
/* "02", "0200" or "020000", without the "0x". 0 or -EINVAL. */
int pci_class_parse_number(const char *s, uint32_t *ret_value, uint32_t *ret_mask);
/* Is the class code of the class with this name or number? 1 or 0; -EINVAL: it is neither. */
int pci_class_match(const char *text, uint32_t class_code);
