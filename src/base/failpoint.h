/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Places at which a test can kill the daemon or make a file operation fail: before and after each step that a
 * crash can separate from the next. Only vfiod-failpoints (tests/fakes/failpoints.c) is compiled with them.
 * It is run by tests and never installed. In vfiod the macro expands to 0, and its arguments are not
 * evaluated. */

#ifdef VFIOD_FAILPOINTS
/* Returns 0, or the negative errno with which a test wants this operation to fail. */
int failpoint(const char *kind, const char *name, const char *when);
#else
#define failpoint(kind, name, when) 0
#endif
