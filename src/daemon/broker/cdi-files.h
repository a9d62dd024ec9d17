/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* For each claim whose nodes its user opens by itself, a file in /run/cdi, where that directory is: container
 * engines find the nodes by the claim's id then. It is written here and not by the client, because nobody
 * else knows when a claim ends, and the directory belongs to root. It says nothing that the claim does not
 * show to everybody. The claim does not depend on it: what fails is logged. */

#include "daemon/broker/claims.h"

/* Of the directory, -EBADF: there is none. */
int cdi_open_directory(const char *path);
/* Also when the claim has other nodes now. */
void cdi_write(ClaimRun *j);
/* Before its nodes are taken back. */
void cdi_remove(ClaimRun *j);
/* After a crash: those that are left of claims that have ended. */
void cdi_sweep(Broker *e);
