/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A directory of policy files, locked for a verb that writes one: otherwise a second such verb could undo
 * what the first has checked. */

#include "client/error-text.h"

/* Opens and locks the directory. *ret_fd is owned by the caller and holds the lock. make: create it and its
 * parent if missing. Fails when another process has the lock. Sets *error. */
int policy_directory_open(const char *path, bool make, int *ret_fd, VfiodErrorText *error);
/* Installs a file by rename: mode 0644, owned by the caller's user, with the SELinux label of new files in
 * this directory. On disk on return. 0 or negative errno. */
int policy_directory_install(int fd, const char *name, const char *text, size_t size);
