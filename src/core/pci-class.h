/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names for PCI classes, so that a policy can say "ethernet" instead of "0200". */

#include "base/macro.h"

typedef struct PciClass {
    const char *name;
    uint32_t value, mask; /* of the 24 bits of a class code */
} PciClass;

/* Ended by a row without a name. A name may have several rows: it is each of them. */
extern const PciClass pci_classes[];
/* The names, each once, ended by NULL: for nearest(). */
const char *const *pci_class_names(void);
