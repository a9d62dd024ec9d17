/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One line on a terminal for as long as something takes, erased at the end. Nothing where standard error is
 * no terminal, and nothing for what is done at once. */

#include "base/macro.h"
#include "client/vfiod.h"

typedef struct Progress {
    char *text; /* owned; NULL: there is no terminal */
    uint64_t begin, shown;
} Progress;

/* text: "Claiming pci:0000:06:0d.0". */
void progress_begin(Progress *p, const char *format, ...) _printf_(2, 3);
void progress_end(Progress *p);
#define _cleanup_progress_ _cleanup_(progress_end)

/* Dispatches until *done, shows the line meanwhile. deadline: CLOCK_MONOTONIC in microseconds, or UINT64_MAX.
 * 0; -ETIMEDOUT: the deadline has passed; another negative errno: the connection broke. */
int progress_wait(Progress *p, VfiodConnection *c, const bool *done, uint64_t deadline);
