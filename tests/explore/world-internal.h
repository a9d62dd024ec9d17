/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between world.c and world-evict.c. */

#include "world.h"

#define EVICTED 0U /* the claim that can be evicted */
#define WAITER 1U

World *world_add(Steps *s, const World *w, const char *what, int claim, bool mishap);
/* A step that a client or person may take, and need not. */
World *world_will(Steps *s, const World *w, const char *what, unsigned k);
void world_push(Steps *s, World *w, unsigned k, ClaimEvent event);
void world_write_record(World *t, unsigned k);
void world_drop_all(World *t, unsigned k);
void world_broken_unless(Steps *s, bool holds, const char *what);

/* The claim is held from now on. */
void world_evict_limit(World *t, unsigned k, const WorldRules *rules);
/* A worker looks for the processes that have its devices open. */
bool world_evict_searches(const World *w, unsigned k);
/* set_state() */
void world_evict_note(World *t, unsigned k, ClaimState before, ClaimState next, const WorldRules *rules);
void world_evict_steps(Steps *s, const World *w, const WorldRules *rules);
/* Time, workers and holders. */
void world_evict_outside(Steps *s, const World *w, const WorldRules *rules);
void world_evict_crash(World *t);
void world_evict_recover(Steps *s, World *t, ClaimEvent event, const WorldRules *rules);
