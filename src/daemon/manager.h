/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The composition root: builds inventory, broker, hotplug and faces, owns the event loop, and carries what
 * one of them says to the others. Decides nothing about claims. Here are the things that concern the process:
 * signals, policy reload, what systemd is told, and when to stop. */

#include "base/macro.h"

typedef struct Manager Manager;

#define EXIT_IDLE_NEVER UINT64_MAX

typedef struct ManagerConfig {
    const char *const *policy_directories; /* borrowed, as the strings are; ends with NULL */
    const char *credentials_directory;     /* which of them has credentials of systemd; NULL: none */
    const char *const *shadow_directories; /* likewise */
    const char *state_directory, *cdi_directory, *passwd;
    const char *simulate;    /* file of a recorded host to run on instead of this one, NULL */
    uint64_t exit_idle_usec; /* without claims and listeners; EXIT_IDLE_NEVER */
    uint64_t worker_timeout_usec, ask_timeout_usec;
    int spawner, spawner_process; /* borrowed, see spawner.h; -EBADF: none */
} ManagerConfig;

int manager_new(const ManagerConfig *config, Manager **ret);
Manager *manager_free(Manager *m);
DEFINE_TRIVIAL_CLEANUP_FUNC(Manager *, manager_free);

/* Serves until a signal, idleness or a failure ends it. An exit status, or negative errno. The status is 0,
 * or EX_TEMPFAIL: the service manager is to start another. */
int manager_run(Manager *m);
