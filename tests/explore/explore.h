/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Walks all states that a world can reach, breadth first, and checks each of them. The first broken invariant
 * is reported with a shortest path to it. */

#include "world.h"

typedef struct Explored {
    size_t n_states, n_steps, memory;
    bool complete;      /* all states were seen; else the walk has ended at its bound */
    const char *broken; /* NULL: every invariant holds */
} Explored;

/* max: of the states. loud: prints the path to what is broken. 0 or -ENOMEM. */
int explore(const WorldRules *rules, size_t max, bool loud, Explored *ret);
