/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Places at which a test may kill the daemon, or make a file operation fail: before and after everything that
 * a crash can tell apart. Only vfiod-failpoints, which tests run and nobody installs, is compiled with them
 * (tests/fakes/failpoints.c); in vfiod nothing is left of them, not even their arguments. */

#ifdef VFIOD_FAILPOINTS
/* 0; or a negative errno that the operation is to fail with, where there is one. */
int failpoint(const char *kind, const char *name, const char *when);
#else
#define failpoint(kind, name, when) 0
#endif
