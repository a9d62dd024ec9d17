/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "client/vmm.h"

/* Backend and grant of a claim for this program, where the user has left them open: the first that program,
 * rule and kernel support. Asks for a plan only where there is a choice: which of them rule and kernel allow,
 * the planner knows. */
int vmm_choose(Vmm vmm, const VmmAbilities *abilities, VfiodRequest *request, VfiodErrorText *error);
