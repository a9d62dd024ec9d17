/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The host of a rehearsal, this one or a recorded one, in the forms that parser, evaluator and planner need.
 * Callers need not know which it is. A recorded host is complete: accounts of this host are never used for
 * it.
 *
 * Functions with ret_problem return 0, or a negative errno with one sentence in *ret_problem, owned by the
 * caller (NULL: out of memory). */

#include "policy/parse.h"
#include "core/snapshot.h"

typedef struct HostView {
    HostSnapshot *snapshot; /* owned; NULL: this host */
    Inventory *scanned;     /* owned; the scan of this host, once it was needed */
    FactSource facts;
    Device template; /* the template that find_device() has returned last */
} HostView;

/* host: the file of a snapshot, "-" for standard input, or NULL for this host, which is read later. */
int host_view_open(const char *host, HostView *ret, char **ret_problem);
void host_view_done(HostView *v);

/* All devices, borrowed from the view. This host is scanned at the first call. */
int host_view_get_inventory(HostView *v, Inventory **ret, char **ret_problem);

/* resolve_name_t; userdata is the view. */
int host_view_resolve(void *userdata, bool is_group, const char *name, uint32_t *ret);
/* *ret: owned by the caller; NULL when the uid has no name. */
int host_view_user_name(const HostView *v, uid_t uid, char **ret);
/* The groups of an account, its primary group first. *ret is owned by the caller. -ENOENT: the host has no
 * such user. */
int host_view_user_groups(const HostView *v, uid_t uid, gid_t **ret, size_t *ret_n);

/* Adds lines as in group(5) for these groups. */
void host_view_add_group_lines(const HostView *v, const gid_t *gids, size_t n, StrBuf *lines);

typedef int (*visit_account_t)(void *userdata, bool is_group, const char *name, uint32_t id);
/* Visits every name, at most ACCOUNTS_MAX of each kind. A non-zero result of the visit ends the walk and is
 * returned. */
#define ACCOUNTS_MAX 4096U
int host_view_foreach_account(const HostView *v, visit_account_t visit, void *userdata);

/* Sets *ret_problem to the sentence and returns error. */
int problem(char **ret_problem, int error, const char *format, ...) _printf_(3, 4);
