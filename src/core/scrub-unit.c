/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/scrub-unit.h"

#include <stdio.h>

#include "base/str.h"

#define SUFFIX "@.service"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

bool scrub_template_is_valid(const char *template) {
    size_t n = strspn(template, LETTERS "-_.:");

    return n > 0 && template[0] != '.' && streq(template + n, SUFFIX) &&
            strlen(template) < SCRUB_TEMPLATE_MAX;
}

/* systemd reads "-" as "/". */
bool scrub_instance_is_valid(const char *instance) {
    return *instance && instance[strspn(instance, LETTERS ":._")] == '\0';
}

int scrub_unit_name(const char *template, const char *instance, char ret[static SCRUB_UNIT_MAX]) {
    int n;

    if (!scrub_template_is_valid(template) || !scrub_instance_is_valid(instance))
        return -EINVAL;
    n = snprintf(ret, SCRUB_UNIT_MAX, "%.*s@%s.service", (int) (strlen(template) - strlen(SUFFIX)), template,
            instance);
    return n < 0 || (size_t) n >= SCRUB_UNIT_MAX ? -E2BIG : 0;
}
