/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Walks all states that a world can reach, breadth first, and checks each of them. The first broken invariant
 * is reported with a shortest path to it. */

#include "world.h"

typedef struct Explored {
    size_t n_states, n_steps, memory;
    bool complete;      /* all states were seen; otherwise the walk ended at its limit */
    const char *broken; /* NULL: every invariant holds */
} Explored;

/* max: the maximum number of states. loud: prints the path to a broken invariant. 0 or -ENOMEM. */
int explore(const WorldRules *rules, size_t max, bool loud, Explored *ret);
