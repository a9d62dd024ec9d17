/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names of accounts -> ids, in a process of its own: the name service may ask a directory on the network and
 * hang for minutes, or for ever. The process is this program executed anew (`vfiod --look-up`) without any
 * privilege. It is not waited for: it ends itself, and what it has not answered in time is unknown. */

#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct Account {
    bool is_group;
    char *name;     /* owned */
    int32_t result; /* 0, -ENOENT, another negative errno */
    uint32_t id;
} Account;

typedef struct AccountTable {
    Account *items; /* owned */
    size_t n, allocated;
} AccountTable;

void account_table_done(AccountTable *t);
/* As visit_account_name_t. The same name may be added again. */
int account_table_add(void *table, bool is_group, const char *name);
/* As resolve_name_t: what a lookup has found. */
int account_table_resolve(void *table, bool is_group, const char *name, uint32_t *ret);

typedef struct AccountLookup AccountLookup;

/* Fills the table, which is borrowed until then, and calls done once, from the event loop. */
int account_lookup_new(sd_event *event, AccountTable *table, void (*done)(void *userdata), void *userdata,
        AccountLookup **ret);
AccountLookup *account_lookup_free(AccountLookup *l);
DEFINE_TRIVIAL_CLEANUP_FUNC(AccountLookup *, account_lookup_free);

/* The program of that process. Returns an exit status. */
int account_lookup_main(void);
