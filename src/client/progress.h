/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One line on a terminal during a call, erased at its end. Nothing is shown if standard error is not a
 * terminal, or for a quick call. */

#include "base/macro.h"
#include "client/vfiod.h"

typedef struct Progress {
    char *text; /* owned; NULL: no terminal */
    uint64_t begin, shown;
} Progress;

/* text: "Claiming pci:0000:06:0d.0". */
void progress_begin(Progress *p, const char *format, ...) _printf_(2, 3);
void progress_end(Progress *p);
#define _cleanup_progress_ _cleanup_(progress_end)

/* Dispatches until *done, and shows the line meanwhile. deadline: CLOCK_MONOTONIC in microseconds, or
 * UINT64_MAX. 0; -ETIMEDOUT; or another negative errno: the connection broke. */
int progress_wait(Progress *p, VfiodConnection *c, const bool *done, uint64_t deadline);
