/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The terminal behind standard output, with or without a pager in front of it. */

#include <sys/ioctl.h>

#include "client/vfioctl.h"

/* Also while a pager takes what is written. */
bool screen_is_terminal(void);
/* 0 or negative errno. */
int screen_get_size(struct winsize *ret);

/* With more rights than the person at the terminal has, a pager must not run commands or open files for them:
 * so whoever came by sudo, doas, pkexec or su gets less(1) in its secure mode, and no other pager. The
 * session that logind knows is the person's; without one, nobody knows. SYSTEMD_PAGERSECURE decides where it
 * is set. */
typedef struct PagerSituation {
    const char *wish; /* SYSTEMD_PAGERSECURE; NULL: not set */
    uid_t uid, euid, owner;
    bool has_owner; /* of the session */
    bool elevated;  /* a program that gives rights away says that it has */
} PagerSituation;
bool pager_must_be_secure(const PagerSituation *s);

/* Has a pager take standard output, as systemctl(1) does: see ENVIRONMENT of vfioctl(1). Without a terminal,
 * without a pager, or with --no-pager, nothing happens. */
void pager_open(const Options *o);
/* Ends standard output, and waits until the person has left the pager. */
void pager_close(void);
