/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Shows explanations, from the rehearsal or the daemon. Both have the same format, see org.vfiod1(5). */

#include "client/show.h"

/* The list "obstacles" of an explanation. Fewer than two are not shown, because the error says the same. */
void show_obstacles(const Options *o, struct json_object *obstacles);
int show_answer(const Options *o, struct json_object *result);
/* The devices that a plan makes. */
void show_made(const Options *o, struct json_object *plan);
