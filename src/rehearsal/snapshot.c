/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Records this host. It needs no privilege: what the kernel shows to root alone (most of config space) is
 * left out of the document, and is then as unknown to the policy as it was to whoever recorded it. */

#include "base/str.h"
#include "core/snapshot.h"
#include "host/sysfs.h"
#include "rehearsal/rehearsal.h"

static void json_putp(struct json_object **o) {
    json_object_put(*o);
}
#define _cleanup_json_ _cleanup_(json_putp)

/* json-c's function takes the value over only when it succeeds; this one always does. */
static int add(struct json_object *o, const char *key, struct json_object *value) {
    if (!value)
        return -ENOMEM;
    if (json_object_object_add(o, key, value) < 0) {
        json_object_put(value);
        return -ENOMEM;
    }
    return 0;
}

static int add_kernel(struct json_object *o) {
    KernelFacts kernel;
    int r;

    r = sysfs_read_kernel_facts(&kernel);
    if (r < 0)
        return r;
    return add(o, "kernel", host_snapshot_kernel_to_json(&kernel));
}

int rehearsal_snapshot(bool with_serials, struct json_object **ret, char **ret_problem) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    int r;

    r = o ? add(o, "version", json_object_new_int(SNAPSHOT_VERSION)) : -ENOMEM;
    if (r >= 0)
        r = add_kernel(o);
    if (r < 0) {
        *ret_problem = format_string("cannot read this host: %s", strerror(-r));
        return r;
    }
    *ret = TAKE_PTR(o);
    return 0;
}
