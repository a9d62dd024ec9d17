/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Explanations for people, whether the rehearsal or the daemon gave them: they have one shape, see
 * org.vfiod1(5). */

#include "client/show.h"

int show_answer(const Options *o, struct json_object *result);
