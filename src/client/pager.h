/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The terminal at standard output, with or without a pager. */

#include <sys/ioctl.h>

#include "client/vfioctl.h"

/* True also when a pager gets the output. */
bool screen_is_terminal(void);
/* 0 or negative errno. */
int screen_get_size(struct winsize *ret);

/* If vfioctl has more rights than the person at the terminal, the pager must not run commands or open files.
 * So after sudo, doas, pkexec or su only less(1) in its secure mode is used. logind's session tells whose
 * terminal it is; without a session that is unknown. SYSTEMD_PAGERSECURE overrides this. */
typedef struct PagerSituation {
    const char *wish; /* SYSTEMD_PAGERSECURE; NULL: not set */
    uid_t uid, euid, owner;
    bool has_owner; /* of the session */
    bool elevated;  /* a variable of sudo or a similar program is set */
} PagerSituation;
bool pager_must_be_secure(const PagerSituation *s);

/* Starts a pager for standard output like systemctl(1): see ENVIRONMENT of vfioctl(1). Does nothing without a
 * terminal or a pager, or with --no-pager. */
void pager_open(const Options *o);
/* Closes standard output, and waits until the user has left the pager. */
void pager_close(void);
