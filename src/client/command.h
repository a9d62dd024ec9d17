/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Finds the program that `vfioctl exec` will run before anything is claimed: a claim takes devices from their
 * drivers, which a typing error should not do. */

#include "client/error-text.h"

/* The path that execvp(3) would execute for name; it contains a '/', and is owned by the caller. Checks the
 * interpreter of a script too. 0; -ENOENT ("CommandNotFound") or -EACCES ("NotExecutable"), as env(1)
 * distinguishes them, with *error set. */
int command_find(const char *name, char **ret, VfiodErrorText *error);
/* Sets the error of a command that cannot be run; returns -errnum. */
int command_error(const char *name, int errnum, VfiodErrorText *error);
/* Runs the program, a path, with one option, and reads its output until it ends, writes too much, or takes
 * longer than 10 s; then it is killed. *ret is owned by the caller. 0 or negative errno, possibly
 * -ETIMEDOUT. */
int command_ask(const char *program, const char *option, char **ret);
/* The same with several arguments, ended by NULL. */
int command_ask_with(const char *program, const char *const *arguments, char **ret);
