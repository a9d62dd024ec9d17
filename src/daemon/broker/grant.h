/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a client gets what it was granted. Each kind is a GrantType; a claim has one. */

#include "daemon/broker/claims.h"

typedef struct GrantType {
    /* Last of all; j->granted says whether somebody took it. */
    void (*give)(ClaimRun *j);
    /* It shall not be given, or was: nothing of it stays here. */
    void (*drop)(ClaimRun *j);
} GrantType;

extern const GrantType grant_fd;

/* The kind of this claim. */
const GrantType *claim_run_grant(const ClaimRun *j);

/* Between the open and the reply: takes *fd over under the name that the client will see. */
int grant_add(ClaimRun *j, int *fd, const char *format, ...) _printf_(3, 4);
