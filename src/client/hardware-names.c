/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/hardware-names.h"

#include <inttypes.h>
#include <stdio.h>
#include <systemd/sd-hwdb.h>

#include "base/str.h"
#include "client/show.h"

struct HardwareNames {
    sd_hwdb *db; /* owned */
};

HardwareNames *hardware_names_new(void) {
    HardwareNames *names = calloc(1, sizeof(*names));
    const char *path = getenv("VFIOCTL_HWDB");
    int r = -ENOENT;

    if (names && path)
        r = *path ? sd_hwdb_new_from_path(path, &names->db) : -ENOENT;
    else if (names)
        r = sd_hwdb_new(&names->db);
    return r < 0 ? hardware_names_free(names) : names;
}

HardwareNames *hardware_names_free(HardwareNames *names) {
    if (!names)
        return NULL;
    sd_hwdb_unref(names->db);
    free(names);
    return NULL;
}

/* In the kernel's format. */
static char *modalias(struct json_object *device) {
    uint32_t class = (uint32_t) json_number(device, "class");

    return format_string("pci:v%08" PRIX32 "d%08" PRIX32 "sv%08" PRIX32 "sd%08" PRIX32 "bc%02" PRIX32
                         "sc%02" PRIX32 "i%02" PRIX32,
            (uint32_t) json_number(device, "vendor"), (uint32_t) json_number(device, "product"),
            (uint32_t) json_number(device, "subsystemVendor"),
            (uint32_t) json_number(device, "subsystemProduct"), class >> 16 & 0xff, class >> 8 & 0xff,
            class & 0xff);
}

static const char *look_up(sd_hwdb *db, const char *alias, const char *key) {
    const char *text = NULL;

    return sd_hwdb_get(db, alias, key, &text) >= 0 && text && *text ? text : NULL;
}

void hardware_names_find(
        HardwareNames *names, struct json_object *device, const char **ret_vendor, const char **ret_model) {
    _cleanup_free_ char *alias = names && is_pci(device) ? modalias(device) : NULL;

    *ret_vendor = alias ? look_up(names->db, alias, "ID_VENDOR_FROM_DATABASE") : NULL;
    *ret_model = alias ? look_up(names->db, alias, "ID_MODEL_FROM_DATABASE") : NULL;
}

static int add_name(struct json_object *device, const char *key, const char *text) {
    _cleanup_free_ char *safe = text ? sanitize(text, 256) : NULL;

    if (!text)
        return json_object_object_add(device, key, NULL) < 0 ? -ENOMEM : 0;
    return safe ? json_add(device, key, json_object_new_string(safe)) : -ENOMEM;
}

int hardware_names_add(HardwareNames *names, struct json_object *device) {
    const char *vendor, *model;
    int r;

    hardware_names_find(names, device, &vendor, &model);
    r = add_name(device, "vendorName", vendor);
    return r < 0 ? r : add_name(device, "modelName", model);
}

/* "Advanced Micro Devices, Inc. [AMD/ATI]" is "AMD/ATI", "Intel Corporation" is "Intel". */
static char *short_vendor(const char *vendor) {
    static const char *const forms[] = {" Corporation", " Corp.", " Corp", " Technologies", " Technology",
            " Semiconductor", " Electronics", " Incorporated", " Limited", " Company", " Group", " GmbH",
            " Inc.", " Inc", " Ltd.", " Ltd", " Co.", " Co", " LLC", " AG", ","};
    const char *open = strrchr(vendor, '['), *close = open ? strchr(open, ']') : NULL;
    size_t n = strlen(vendor);
    bool more = true;

    if (close && close > open + 1)
        return strndup(open + 1, (size_t) (close - open - 1));
    while (more) {
        more = false;
        for (size_t i = 0; i < ELEMENTSOF(forms) && !more; i++) {
            size_t k = strlen(forms[i]);

            more = n > k && memcmp(vendor + n - k, forms[i], k) == 0;
            n -= more ? k : 0;
        }
    }
    return strndup(vendor, n);
}

char *hardware_short_name(const char *vendor, const char *model) {
    _cleanup_free_ char *brief = vendor ? short_vendor(vendor) : NULL;

    if (brief && model)
        return format_string("%s %s", brief, model);
    return brief ? TAKE_PTR(brief) : model ? strdup(model) : NULL;
}
