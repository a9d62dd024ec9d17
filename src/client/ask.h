/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A claim that a person may have to allow. On a terminal, vfioctl says that it waits for the answer, and runs
 * polkit's agent for terminals meanwhile, so that the person can answer here if no desktop asks. */

#include "client/vfioctl.h"

/* Calls vfiod_acquire_request() and does that. Returns like it. */
int ask_and_acquire(
        const Options *o, const VfiodRequest *request, VfiodClaim **ret_claim, VfiodErrorText *error);
