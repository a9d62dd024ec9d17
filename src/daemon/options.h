/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The command line of vfiod; vfiod(8) explains it. */

#include "daemon/manager.h"

typedef struct Options {
    ManagerConfig manager;  /* its lists and strings are borrowed from argv and the lists below */
    const char *introspect; /* --bus-introspect=PATH, or NULL */
    const char **policy_directories, **shadow_directories; /* owned; ended by NULL */
    size_t n_policy_directories, n_shadow_directories;
} Options;

void options_done(Options *o);
/* 1: continue; 0: --help or --version was printed; negative errno: a message was printed. */
int options_parse(int argc, char **argv, Options *ret);
