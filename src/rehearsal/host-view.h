/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The host that is rehearsed on, this one or a recorded one, in the forms that parser, evaluator and planner
 * take. Nobody behind this needs to know which it is. A recorded host is complete: no name of this host
 * answers for it.
 *
 * Functions that take ret_problem return 0, or a negative errno with one sentence in *ret_problem (NULL:
 * out of memory). */

#include "policy/parse.h"
#include "core/snapshot.h"

typedef struct HostView {
    HostSnapshot *snapshot; /* owned; NULL: this host */
    Inventory *scanned;     /* owned; of this host, when it was looked at */
    FactSource facts;
    Device template; /* what find_device() has found last, of a template */
} HostView;

/* host: file of a snapshot, "-" for standard input, NULL for this host, of which nothing is read yet. */
int host_view_open(const char *host, HostView *ret, char **ret_problem);
void host_view_done(HostView *v);

/* All devices; of this host they are read at the first call. */
int host_view_get_inventory(HostView *v, Inventory **ret, char **ret_problem);

/* resolve_name_t; userdata is the view. */
int host_view_resolve(void *userdata, bool is_group, const char *name, uint32_t *ret);
/* *ret: owned by the caller; NULL for one without a name. */
int host_view_user_name(const HostView *v, uid_t uid, char **ret);
/* The groups of an account, its own first. -ENOENT: the host has no such user. */
int host_view_user_groups(const HostView *v, uid_t uid, gid_t **ret, size_t *ret_n);

typedef int (*visit_account_t)(void *userdata, bool is_group, const char *name, uint32_t id);
/* Every name, at most ACCOUNTS_MAX of each kind; a non-zero return stops and is handed back. */
#define ACCOUNTS_MAX 4096U
int host_view_foreach_account(const HostView *v, visit_account_t visit, void *userdata);

/* Sets *ret_problem to the sentence and returns error. */
int problem(char **ret_problem, int error, const char *format, ...) _printf_(3, 4);
