/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Looks for what weakens the isolation of this host: the kernel's command line and taint bits, and the
 * parameters of vfio's modules. */

#include "core/taint.h"

/* Adds what there is to see now. What cannot be read is a finding, too, and counts as weak. */
void taint_reader_read(TaintList *l);
