/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* For each claim whose user opens the nodes, a file in /run/cdi, if that directory exists, by which container
 * engines find the nodes from the claim's id. The daemon writes it, because nobody else knows when a claim
 * ends, and the directory belongs to root. It contains only what the claim shows to everybody. The claim does
 * not depend on it: errors are logged. */

#include "daemon/broker/claims.h"

/* Opens the directory. -EBADF: there is none. */
int cdi_open_directory(const char *path);
/* Writes the file, also again when the nodes have changed. */
void cdi_write(ClaimRun *j);
/* Call before the nodes are taken back. */
void cdi_remove(ClaimRun *j);
/* After a crash: removes files of claims that have ended. */
void cdi_sweep(Broker *e);
