/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/variant.h"

#include <stdio.h>

#include "base/str.h"
#include "core/variant-table.h"

#define ROW(module_, driver_, gain_, only_virtual_, vendor_, first_, last_)                                  \
    {.module = module_,                                                                                      \
            .driver = driver_,                                                                               \
            .gain = gain_,                                                                                   \
            .only_virtual = only_virtual_,                                                                   \
            .vendor = vendor_,                                                                               \
            .first = first_,                                                                                 \
            .last = last_},
static const VariantInfo table[] = {VARIANT_TABLE(ROW)};

const VariantInfo *variant_of_ids(uint16_t vendor, uint16_t device, bool is_virtual_function) {
    for (size_t i = 0; i < ELEMENTSOF(table); i++)
        if (table[i].vendor == vendor && table[i].first <= device && device <= table[i].last &&
                (is_virtual_function || !table[i].only_virtual))
            return &table[i];
    return NULL;
}

const VariantInfo *variant_of_module(const char *module) {
    for (size_t i = 0; i < ELEMENTSOF(table); i++)
        if (streq(table[i].module, module))
            return &table[i];
    return NULL;
}

int variant_alias(const char *modalias, char *ret, size_t size) {
    const char *ids = startswith(modalias, "pci:");
    int n;

    if (!ids)
        return -EINVAL;
    n = snprintf(ret, size, VARIANT_PREFIX "%s", ids);
    return n < 0 || (size_t) n >= size ? -E2BIG : 0;
}

unsigned variant_alias_width(const char *alias) {
    unsigned n = 0;

    for (const char *c = alias; *c; c++)
        n += *c == '*' || *c == '?' || *c == '[';
    return n;
}

bool driver_name_is_valid(const char *name) {
    static const char known[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    size_t n = strlen(name);

    return n > 0 && n < VARIANT_NAME_MAX && strspn(name, known) == n && name[0] != '-';
}

void variant_module_name(const char *driver, char ret[static VARIANT_NAME_MAX]) {
    (void) snprintf(ret, VARIANT_NAME_MAX, "%s", driver);
    for (char *c = ret; *c; c++)
        *c = *c == '-' ? '_' : *c;
}
