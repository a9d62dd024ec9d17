/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Looks for what weakens the isolation of this host: the kernel's command line and taint bits, and the
 * parameters of vfio's modules. */

#include "core/taint.h"

/* Is it us who let this user open the node of this path? */
typedef bool (*taint_is_granted_t)(void *userdata, const char *path, uid_t uid);

/* Adds what there is to see now. What cannot be read is a finding, too, and counts as weak. is_granted may be
 * NULL: nobody is let in by us. */
void taint_reader_read(TaintList *l, taint_is_granted_t is_granted, void *userdata);
