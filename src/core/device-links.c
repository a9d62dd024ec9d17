/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/device-links.h"

/* Unknown words count as yes: otherwise the host could lose a driver unexpectedly. */
bool device_link_unbinds(const char *status) {
    static const char *const harmless[] = {"not tracked", "dormant", "available", "consumer unbound"};

    for (size_t i = 0; i < ELEMENTSOF(harmless); i++)
        if (streq(status, harmless[i]))
            return false;
    return true;
}

void device_links_describe(const DeviceLinks *links, StrBuf *b) {
    for (size_t i = 0; links && i < links->n; i++) {
        const DeviceLink *l = &links->items[i];

        strbuf_addf(b, "%s%s %s", i > 0 ? ", " : "", l->is_consumer ? "consumer" : "supplier", l->name);
        if (*l->driver)
            strbuf_addf(b, " (driver %s)", l->driver);
    }
}
