/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The composition root: it builds inventory, broker, hotplug and faces, owns the event loop, and passes
 * events between them. It decides nothing about claims. It handles what concerns the process: signals, policy
 * reload, notifications to systemd, and when to stop. */

#include "base/macro.h"

typedef struct Manager Manager;

#define EXIT_IDLE_NEVER UINT64_MAX

typedef struct ManagerConfig {
    const char *const *policy_directories; /* borrowed, as are the strings; ended by NULL */
    const char *credentials_directory;     /* the one with credentials of systemd; NULL: none */
    const char *const *shadow_directories; /* likewise */
    const char *state_directory, *cdi_directory, *passwd;
    const char *simulate;    /* file of a recorded host to use instead of this one, or NULL */
    uint64_t exit_idle_usec; /* how long to run without claims and listeners; EXIT_IDLE_NEVER */
    uint64_t worker_timeout_usec, ask_timeout_usec;
    int spawner, spawner_process; /* borrowed, see spawner.h; -EBADF: none */
} ManagerConfig;

int manager_new(const ManagerConfig *config, Manager **ret);
Manager *manager_free(Manager *m);
DEFINE_TRIVIAL_CLEANUP_FUNC(Manager *, manager_free);

/* Serves until a signal, idleness or a failure ends it. Returns an exit status (0, or EX_TEMPFAIL: the
 * service manager should restart it) or negative errno. */
int manager_run(Manager *m);
