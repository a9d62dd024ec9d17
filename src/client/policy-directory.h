/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A directory of policy files, for a verb that writes one: locked, so that of two such verbs the second does
 * not undo what the first checked. */

#include "client/error-text.h"

/* Opens and locks the directory; *ret_fd is owned and holds the lock. make: create it first, with its parent.
 * Fails when another process has the lock. Fills *error. */
int policy_directory_open(const char *path, bool make, int *ret_fd, VfiodErrorText *error);
/* Puts a file in place by rename: mode 0644, the owner is the caller, and a label of SELinux is that of new
 * files in this directory. On disk when it returns. 0 or negative errno. */
int policy_directory_install(int fd, const char *name, const char *text, size_t size);
