/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The verbs for libvirt are a separate program, because it needs libvirt's bindings and vfioctl needs no such
 * library. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/libvfiod-internal.h"
#include "client/vfioctl.h"

#define PROGRAM VFIOD_LIBEXECDIR "/vfioctl-virt"

int verb_virt(const Options *o, VfiodErrorText *error) {
    const char **arguments = calloc(o->n_arguments + 4, sizeof(*arguments));
    size_t n = 0;

    if (!arguments)
        return error_text_errno(error, -ENOMEM, "Cannot run vfioctl virt");
    arguments[n++] = PROGRAM;
    if (o->connect) {
        arguments[n++] = "--connect";
        arguments[n++] = o->connect;
    }
    memcpy(arguments + n, o->arguments, o->n_arguments * sizeof(*arguments));
    (void) execv(PROGRAM, (char **) arguments);
    free(arguments);
    return error_text_errno(error, -errno, "Cannot run " PROGRAM);
}
