/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A claim that a person may have to allow. On a terminal that is said while it is waited for, and polkit's
 * agent for terminals is there meanwhile, so that the person can answer right here when no desktop asks. */

#include "client/vfioctl.h"

/* vfiod_acquire_request(), with that around it. */
int ask_and_acquire(
        const Options *o, const VfiodRequest *request, VfiodClaim **ret_claim, VfiodErrorText *error);
