/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Explanations for people, whether the rehearsal or the daemon gave them: they have one shape, see
 * org.vfiod1(5). */

#include "client/show.h"

/* The list "obstacles" of an explanation; nothing where there are fewer than two, since the error says it. */
void show_obstacles(const Options *o, struct json_object *obstacles);
int show_answer(const Options *o, struct json_object *result);
/* The devices that a plan makes. */
void show_made(const Options *o, struct json_object *plan);
