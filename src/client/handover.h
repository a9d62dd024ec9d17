/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the command of `vfioctl exec` gets: file descriptors from 3 on, and an environment that names them, as
 * sd_listen_fds(3) defines it. Taken from a claim, or from a plan to show it before there is one. */

#include <json-c/json.h>

#include "client/template.h"
#include "client/vfiod.h"

#define HANDOVER_FIRST_FD 3

typedef struct Handover {
    char *claim, *backend; /* owned; claim is NULL before there is one */
    char **devices, **fds; /* owned; full names in the order of the request; names of fds in order */
    char **nodes;          /* owned; none before there is a claim */
    char **vf_tokens;      /* owned; likewise; of each device, or "" */
    size_t n_devices, n_fds, n_nodes, n_vf_tokens;
    bool has_vf_tokens;
} Handover;

void handover_done(Handover *h);
#define _cleanup_handover_ _cleanup_(handover_done)

/* 0 or -ENOMEM. */
int handover_from_claim(const VfiodClaim *claim, Handover *ret);
/* The same for the claim that plan, an answer to Plan, describes. grant: NULL is "fd". */
int handover_from_plan(struct json_object *plan, const char *grant, const TemplateDevice *devices,
        size_t n_devices, Handover *ret);

/* The number that the command has for a file descriptor, or -ENOENT. */
int handover_number(const Handover *h, const char *fd_name);
/* "NAME=value", ended by NULL, for free_arguments(). pid: who receives them; 0 leaves LISTEN_PID out. */
int handover_environment(const Handover *h, pid_t pid, char ***ret);
