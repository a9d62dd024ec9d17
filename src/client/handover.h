/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the command of `vfioctl exec` gets: file descriptors from 3 on, and an environment that names them, as
 * sd_listen_fds(3) defines. It is made from a claim, or from a plan to show it in advance. */

#include <json-c/json.h>

#include "client/template.h"
#include "client/vfiod.h"

#define HANDOVER_FIRST_FD 3

typedef struct Handover {
    char *claim, *backend; /* owned; claim is NULL before the claim */
    char **devices, **fds; /* owned; full names in the order of the request; names of fds in order */
    char **nodes;          /* owned; none before the claim */
    char **vf_tokens;      /* owned; likewise; for each device, or "" */
    size_t n_devices, n_fds, n_nodes, n_vf_tokens;
    bool has_vf_tokens;
} Handover;

void handover_done(Handover *h);
#define _cleanup_handover_ _cleanup_(handover_done)

/* 0 or -ENOMEM. */
int handover_from_claim(const VfiodClaim *claim, Handover *ret);
/* The same for the claim in plan, an answer to Plan. grant: NULL means "fd". */
int handover_from_plan(struct json_object *plan, const char *grant, const TemplateDevice *devices,
        size_t n_devices, Handover *ret);

/* The command's number of a file descriptor, or -ENOENT. */
int handover_number(const Handover *h, const char *fd_name);
/* "NAME=value", ended by NULL, for free_arguments(). pid: the receiver; with 0 LISTEN_PID is left out. */
int handover_environment(const Handover *h, pid_t pid, char ***ret);
