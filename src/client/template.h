/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* {iommufd}, {device:1}, {group:8} in the arguments of `vfioctl exec`. Pure.
 *
 * A template stands for the name of a file descriptor in the claim ("iommufd", "device:pci:0000:06:0d.0"); a
 * callback returns its number. So one expansion with a callback that only notes the names checks everything
 * before anything is claimed, and a second one with the real numbers makes the command line. */

#include "base/macro.h"

typedef struct TemplateDevice {
    const char *name;     /* full: "pci:0000:06:0d.0" */
    const char *spelling; /* as it was given on the command line */
    int64_t group;        /* -1: none */
    const char *vf_token; /* NULL: it needs none, or there is no claim yet */
} TemplateDevice;

/* Returns the number of a file descriptor, or -ENOENT when there is none of that name. */
typedef int (*template_number_t)(void *userdata, const char *fd_name);

/* Expands every template in argument; "{{" becomes "{"; "}" alone is an ordinary character. 0; -EINVAL with
 * *ret_problem, a sentence owned by the caller; or -ENOMEM. */
int template_expand(const char *argument, const TemplateDevice *devices, size_t n_devices,
        template_number_t number, void *userdata, char **ret, char **ret_problem);
