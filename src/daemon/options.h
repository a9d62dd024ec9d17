/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The command line of vfiod; vfiod(8) explains it. */

#include "daemon/manager.h"

typedef struct Options {
    ManagerConfig manager;  /* its lists and strings are borrowed from argv and from the lists below */
    const char *introspect; /* --bus-introspect=PATH, else NULL */
    const char **policy_directories, **shadow_directories; /* owned; end with NULL */
    size_t n_policy_directories, n_shadow_directories;
} Options;

void options_done(Options *o);
/* 1: go on. 0: --help or --version was answered, all is done. Negative errno: a message was printed. */
int options_parse(int argc, char **argv, Options *ret);
