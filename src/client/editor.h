/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The user's editor: $SUDO_EDITOR, $VISUAL or $EDITOR, otherwise one that is installed. */

#include "client/error-text.h"

/* The shell command that edits files. Owned by the caller. */
int editor_find(char **ret, VfiodErrorText *error);
/* Runs it on a file and waits. Sets *error when it cannot be run, fails or is killed. */
int editor_run(const char *command, const char *path, VfiodErrorText *error);
