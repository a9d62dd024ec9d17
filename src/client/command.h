/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The program that `vfioctl exec` will run, found before anything is claimed: a claim takes devices from
 * their drivers, and a typing error is no reason for that. */

#include "client/error-text.h"

/* The path that execvp(3) would execute for name: it contains a '/'. Looks at the interpreter of a script
 * too. -ENOENT ("CommandNotFound") or -EACCES ("NotExecutable"), as env(1) distinguishes them, with *error
 * filled. */
int command_find(const char *name, char **ret, VfiodErrorText *error);
/* The error of a command that cannot be run; returns -errnum. */
int command_error(const char *name, int errnum, VfiodErrorText *error);
/* Runs the program, a path, with one option, and reads what it prints until it ends, says too much, or takes
 * longer than 10 s; then it is killed. *ret is owned by the caller. 0 or negative errno, which may be
 * -ETIMEDOUT. */
int command_ask(const char *program, const char *option, char **ret);
/* The same with several arguments, ended by NULL. */
int command_ask_with(const char *program, const char *const *arguments, char **ret);
