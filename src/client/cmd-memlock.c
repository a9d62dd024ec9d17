/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "base/json-build.h"
#include "base/str.h"
#include "client/show.h"

static int show_memlock_json(const VfiodMemlock *m) {
    _cleanup_json_ struct json_object *o = json_object_new_object();

    if (!o || json_add(o, "bytes", json_object_new_int64((int64_t) m->bytes)) < 0 ||
            json_add(o, "addressSpaces", json_object_new_int64(m->address_spaces)) < 0 ||
            json_add(o, "margin", json_object_new_int64((int64_t) m->margin)) < 0 ||
            json_add(o, "derivation", json_object_new_string(m->derivation)) < 0)
        return -ENOMEM;
    return show_json(stdout, o, /* pretty= */ true);
}

int verb_memlock_for(const Options *o, VfiodErrorText *error) {
    unsigned n_devices = o->n_of_devices > 0 ? o->n_of_devices : 1;
    char size[FORMAT_SIZE_MAX];
    VfiodMemlock memlock;
    int r;

    if (o->ram == 0)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "memlock-for requires --ram.");
    r = vfiod_memlock_for(o->ram, n_devices, o->viommu, &memlock);
    if (r < 0)
        return error_text_set(
                error, ERANGE, ERROR_NAME_USAGE, "That is more memory than a machine can lock.");
    if (o->json) {
        r = show_memlock_json(&memlock);
        return r < 0 ? error_text_errno(error, r, "Cannot show the number") : 0;
    }
    printf("%s\n= %s\n", format_size(memlock.bytes, size), memlock.derivation);
    return 0;
}
