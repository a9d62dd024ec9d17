/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Looks for what weakens the isolation of this host: the kernel's command line and taint bits, parameters of
 * vfio's modules, and nodes that users may open. */

#include "core/taint.h"

/* Did vfiod itself let this user open the node? */
typedef bool (*taint_is_granted_t)(void *userdata, const char *path, uid_t uid);

/* Adds what weakens the host now. What cannot be read is a finding, too, and counts as weakening. is_granted
 * may be NULL: vfiod has let nobody in. */
void taint_reader_read(TaintList *l, taint_is_granted_t is_granted, void *userdata);
